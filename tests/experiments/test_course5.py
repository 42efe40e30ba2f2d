"""Course 5, week 1: the course's loops and its printed numbers, the fast ops beside them, the dinosaurs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.course5 import assignment, by_hand, dinosaurus, long_memory, loops, names
from jaxnn import rnn
from tests import course

CASES = course.load()
NEEDS_CASES = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")
NEEDS_DATA = pytest.mark.skipif(course.data_directory() is None,
                                reason="the course's data are not here: set JAXNN_DATA")


def assert_case(name, got):
    case = CASES[name]
    for key, value in got.items():
        want = np.asarray(case["expected"][key])
        tolerance = case["tolerance"]["rel_to_max_abs"] * max(1, np.abs(want).max())
        np.testing.assert_allclose(value, want, rtol=0, atol=tolerance, err_msg=f"{name}: {key}")


def inputs(name):
    return {key: np.asarray(value, float) for key, value in CASES[name]["inputs"].items()}


def at(found):
    """The elements that the assignment prints of each gradient."""
    places = {"dxt": (1, 2), "da_prev": (2, 3), "dc_prev": (2, 3), "dWax": (3, 1), "dWaa": (1, 2), "dWf": (3, 1),
              "dWi": (1, 2), "dWc": (3, 1), "dWo": (1, 2)}
    picked = {f"{name}_{'_'.join(map(str, place))}": found[name][place]
              for name, place in places.items() if name in found}
    return picked | {f"{name}_4": found[name][4, 0] for name in found if name.startswith("db")}


@NEEDS_CASES
def test_forward_passes_of_the_course():
    p = inputs("c5w1.rnn_cell_forward")
    a, y, _ = loops.rnn_cell_forward(p["xt"], p["a_prev"], p)
    assert_case("c5w1.rnn_cell_forward", {"a_next_4": a[4], "yt_1": y[1]})
    p = inputs("c5w1.rnn_forward.test")
    a, *_ = loops.rnn_forward(p["x"], p["a0"], p)
    assert_case("c5w1.rnn_forward.test", {"a": a[5, 2, 2:6]})
    p = inputs("c5w1.lstm_cell_forward")
    a, c, y, _ = loops.lstm_cell_forward(p["xt"], p["a_prev"], p["c_prev"], p)
    assert_case("c5w1.lstm_cell_forward", {"a_next_4": a[4], "c_next_2": c[2], "yt_1": y[1]})
    p = inputs("c5w1.lstm_forward.test")
    a, y, c, _ = loops.lstm_forward(p["x"], p["a0"], p)
    assert_case("c5w1.lstm_forward.test", {"a": a[2, 1, 4:6], "c": c[2, 1, 4:6], "y": y[1, 1, 4:6]})


@NEEDS_CASES
def test_backward_passes_of_the_course():
    p = inputs("c5w1.rnn_cell_backward.2019")
    _, _, cache = loops.rnn_cell_forward(p["xt"], p["a_prev"], p)
    assert_case("c5w1.rnn_cell_backward.2019", at(loops.rnn_cell_backward(p["da_next"], cache)))
    p = inputs("c5w1.lstm_cell_backward")
    *_, cache = loops.lstm_cell_forward(p["xt"], p["a_prev"], p["c_prev"], p)
    assert_case("c5w1.lstm_cell_backward", at(loops.lstm_cell_backward(p["da_next"], p["dc_next"], cache)))
    p = inputs("c5w1.rnn_backward")
    *_, caches = loops.rnn_forward(p["x"], p["a0"], p)
    found = loops.rnn_backward(p["da"], caches)
    assert_case("c5w1.rnn_backward", {"dx_1_2": found["dx"][1, 2], "da0_2_3": found["da0"][2, 3]} | at(
        {name: found[name] for name in ("dWax", "dWaa", "dba")}))


@NEEDS_CASES
@pytest.mark.usefixtures("x64")
def test_the_ops_print_the_courses_numbers():
    """`rnn` forward and back; the LSTM's are in tests/test_ground_truth_images_sequences.py."""
    p = inputs("c5w1.rnn_backward")
    program = by_hand._program(rnn, by_hand.rnn_gradients)
    found = jax.jit(lambda *args: program(*args))
    a, *_ = loops.rnn_forward(p["x"], p["a0"], p)
    np.testing.assert_allclose(found(by_hand.rnn_params(p), p["x"], p["a0"])["a"], a, rtol=1e-12)
    _, cache = jax.vmap(lambda x, a: rnn.forward(by_hand.rnn_params(p), x, a))(p["x"].transpose(1, 2, 0), p["a0"].T)
    dparams, dx, da0, _ = jax.vmap(rnn.backward)(cache, (jnp.asarray(p["da"].transpose(1, 2, 0)), jnp.zeros((10, 5))))
    gradients = by_hand.rnn_gradients(jax.tree.map(lambda g: jnp.sum(g, 0), dparams))
    assert_case("c5w1.rnn_backward", {"dx_1_2": dx[2, :, 1], "da0_2_3": da0[3, 2]} | at(gradients))


@pytest.mark.usefixtures("x64")
def test_loops_and_ops_agree():
    rows = by_hand.compare(by_hand.Knobs(examples=2, steps=4))
    assert len(rows) == 2 and max(error for _, error, _, _ in rows) < 1e-12


def test_step_by_step():
    assert by_hand.step_by_step().splitlines()[-1].split()[:4] == ["3", "0", "-0.196", "0.334"]


# The dinosaurs.


def course_params(seed, order, n_a=100):
    """Weights of N(0, 1), drawn in the course's order."""
    rng = np.random.RandomState(seed)
    shapes = {"a_prev": (n_a, 1), "Wax": (n_a, 27), "Waa": (n_a, n_a), "Wya": (27, n_a), "b": (n_a, 1), "by": (27, 1)}
    p = {name: rng.randn(*shapes[name]) for name in order}
    return p, {"rnn": {"weight_x": p["Wax"], "weight_h": p["Waa"], "bias": p["b"][:, 0]},
               "head": {"weight": p["Wya"], "bias": p["by"][:, 0]}}


@NEEDS_CASES
@pytest.mark.parametrize(("name", "seed"), [("c5w1.sample.2018-20", 2), ("c5w1.sample.2021", 24)])
def test_samples_of_the_course(name, seed):
    _, params = course_params(seed, ("Wax", "Waa", "Wya", "b", "by"))
    want = np.asarray(CASES[name]["expected"]).tolist()
    assert assignment.sample(params, 0)[:len(want)] == want


@NEEDS_CASES
def test_clip_of_the_course():
    case = CASES["c5w1.clip.5"]
    found = {k: np.asarray(v) for k, v in assignment.clip(case["inputs"]["gradients"], 5).items()}
    assert_case("c5w1.clip.5", {"dWaa_1_2": found["dWaa"][1, 2], "dWax_3_1": found["dWax"][3, 1],
                                "dWya_1_2": found["dWya"][1, 2], "db_4": found["db"][4, 0],
                                "dby_1": found["dby"][1, 0]})


@NEEDS_CASES
@pytest.mark.usefixtures("x64")
def test_a_step_of_the_course():
    case = CASES["c5w1.optimize"]
    p, params = course_params(1, ("a_prev", "Wax", "Waa", "Wya", "b", "by"))
    X, Y = case["inputs"]["X"], np.asarray(case["inputs"]["Y"])
    assert list(X[1:]) == Y[:-1].tolist() or len(X) == len(Y)
    table = jnp.concatenate([jnp.zeros((1, 27)), jnp.eye(27)])  # row 0 for no letter

    def cost(params):
        x = table[jnp.asarray([0 if i is None else int(i) + 1 for i in X])]
        a, last = rnn(params["rnn"], x, jnp.asarray(p["a_prev"][:, 0]))
        z = a @ params["head"]["weight"].T + params["head"]["bias"]
        return -jnp.sum(jax.nn.log_softmax(z)[jnp.arange(len(Y)), Y]), last

    (loss, last), gradients = jax.jit(jax.value_and_grad(cost, has_aux=True))(
        jax.tree.map(jnp.asarray, params))
    clipped = assignment.clip(gradients, assignment.CLIP)
    assert_case("c5w1.optimize", {
        "loss": loss, "dWaa_1_2": clipped["rnn"]["weight_h"][1, 2],
        "argmax_dWax": int(np.argmax(clipped["rnn"]["weight_x"])), "dWya_1_2": clipped["head"]["weight"][1, 2],
        "db_4": clipped["rnn"]["bias"][4], "dby_1": clipped["head"]["bias"][1], "a_last_4": last[4]})


@NEEDS_DATA
@pytest.mark.usefixtures("x64")
def test_costs_and_names_that_the_course_prints():
    printed = list(assignment.train(names.load_names(), 4001))
    want = [dinosaurus.PRINTED[p.iteration] for p in printed]
    np.testing.assert_allclose([p.loss for p in printed], want, rtol=0, atol=5.1e-7)
    assert printed[0].names[:4] == ["Nkzxwtdmfqoeyhsqwasjkjvu", "Kneb", "Kzxwtdmfqoeyhsqwasjkjvu", "Neb"]
    assert printed[1].names[:4] == ["Liusskeomnolxeros", "Hmdaairus", "Hytroligoraurus", "Lecalosapaus"]


def test_names():
    ids, lengths = names.as_arrays(["ab", "c"])
    assert ids.tolist() == [[1, 2, 0], [3, 0, 0]] and lengths.tolist() == [3, 2]
    assert names.spelled([1, 2, 0, 3]) == "Ab"
    assert len(set(names.NAMES)) == len(names.NAMES) == 54
    if course.data_directory() is not None:
        loaded = names.load_names()
        assert len(loaded) == 1536 and sum(map(len, loaded)) + len(loaded) - 1 == 19_909


@pytest.mark.parametrize(("text", "words"), [("Rex\nT-Rex\n", r"symbols \['-'\]"), ("Rex\n\nAbc", "an empty line")])
def test_refused_names(tmp_path, text, words):
    (tmp_path / "dinos.txt").write_text(text)
    with pytest.raises(ValueError, match=words):
        names.load_names(tmp_path)


def test_networks_of_equal_size():
    knobs = dinosaurus.Knobs(parameters=2000, embedding=4)
    sizes = {kind: dinosaurus._parameters(dinosaurus.network_of(knobs, kind)) for kind in dinosaurus.CELLS}
    assert all(abs(n - 2000) < 100 for n in sizes.values()), sizes


@pytest.mark.exhaustive
def test_dinosaurus_in_short(tmp_path, monkeypatch):
    monkeypatch.setattr(dinosaurus, "CELLS", {"GRU": dinosaurus.GRU})  # one of the three: each is compiled by itself
    knobs = dinosaurus.Knobs(iterations=1, parameters=300, embedding=2, epochs=1, trials=1)
    measures = dinosaurus.run(knobs, tmp_path, None)
    assert 0 < measures["networks"]["GRU"]["dev_nats_per_letter"][0] < 4
    assert (tmp_path / "dinosaurus.png").stat().st_size > 10_000


# Long memory.


def test_tasks():
    task = long_memory.adding(9)
    x, labels = task.draw(jax.random.key(0), 500)
    assert x.shape == (500, 9, 2) and task.shape == (9, 2)
    np.testing.assert_array_equal(x[:, :, 1].sum(1), 2)
    np.testing.assert_array_equal(x[:, :4, 1].sum(1), 1)  # one in each half
    np.testing.assert_allclose(jnp.sum(x[:, :, 0] * x[:, :, 1], 1, keepdims=True), labels, rtol=1e-6)
    blind = jnp.mean(jax.vmap(task.loss)(jnp.ones((500, 1)), labels))
    np.testing.assert_allclose(blind, task.blind, rtol=0.15)

    task = long_memory.copying(4)
    x, labels = task.draw(jax.random.key(0), 3)
    assert x.shape == (3, *task.shape) and labels.shape == (3, 5)
    read = np.argmax(x, -1)
    np.testing.assert_array_equal(read[:, :5], labels)
    assert (read[:, 5:9] == 8).all() and (read[:, 9] == 9).all() and (read[:, 10:] == 8).all()
    np.testing.assert_allclose(task.loss(jnp.zeros((5, 8)), labels[0]), task.blind, rtol=1e-6)


def test_the_look_inside_is_the_gradient_of_each_step():
    """‖dz_t‖ is the gradient by something added to z_t: by the input, where W_x is the identity."""
    net = long_memory.adding(5).head(lambda **options: long_memory.NETWORKS["RNN, orthogonal start"](2, **options))
    params, _ = net.init(jax.random.key(0), (5, 2))
    params["recurrent"]["weight_x"] = jnp.eye(2)
    x = jax.random.normal(jax.random.key(1), (3, 5, 2))
    dx = jax.vmap(jax.grad(lambda x: jnp.sum(rnn(params["recurrent"], x)[0][-1])))(x)
    want = np.sqrt(np.mean(np.sum(np.square(dx), -1), 0))
    np.testing.assert_allclose(long_memory.cotangents(net, params, x), want, rtol=1e-5)


@pytest.mark.exhaustive
def test_long_memory_in_short(tmp_path, monkeypatch):
    few = {name: long_memory.NETWORKS[name] for name in ("RNN, orthogonal start",)}
    monkeypatch.setattr(long_memory, "NETWORKS", few)
    measures = long_memory.run(long_memory.Knobs(lengths=(4,), hidden=4, steps=2, batch_size=2), tmp_path, None)
    assert set(measures["costs_of_networks"]) == {"adding", "copy"}
    assert {path.name for path in tmp_path.iterdir()} == {"costs.png", "gradients.png"}
