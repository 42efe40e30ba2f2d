"""Looking inside: the numbers of each op against NumPy's and `jax.grad`'s, the first op that went bad, vanished and
exploded cotangents, dead units; plain functions, scans and checkpoints; the table, its JSON and its chart."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    InputError,
    Residual,
    Sequential,
    hand_derived,
    look_inside,
    network,
    ops,
    over_examples,
)
from jaxnn.hand_derived import Static
from jaxnn.inside.report import Numbers


def plain_op(name, forward, slope):
    """An op, element by element."""
    def op(x):
        return forward(x), x

    op.__name__ = name
    op = hand_derived(op)
    op.defbackward(lambda x, dy: (dy * slope(x),))
    return op


def times(factor):
    return plain_op("times", lambda x: factor * x, lambda x: factor)


root = plain_op("root", jnp.sqrt, lambda x: 0.5 / jnp.sqrt(x))  # at 0 finite forward, infinite backward
logarithm = plain_op("logarithm", jnp.log, lambda x: 1 / x)


def dense_params(n_in, n_out, seed=0):
    rng = np.random.default_rng(seed)
    return {"weight": jnp.asarray(rng.standard_normal((n_out, n_in)), jnp.float32), "bias": jnp.ones(n_out)}


NET = Sequential(Dense(4), ops.relu, Dense(2))
PARAMS = {"dense1": dense_params(3, 4), "dense2": dense_params(4, 2, 1)}
X = jnp.asarray(np.random.default_rng(2).standard_normal((5, 3)), jnp.float32)


def look(*parts, x, **options):
    """Looks inside of ops one after another, which have no parameters."""
    return look_inside(Sequential(*parts), {}, {}, x, **options)


def mean_square(y):
    return jnp.mean(jnp.sum(y**2, -1))


def test_every_number_of_a_small_network():
    report = look_inside(over_examples(NET), PARAMS, {}, X, loss=mean_square)
    first, last = PARAMS["dense1"], PARAMS["dense2"]
    z = X @ first["weight"].T + first["bias"]
    h = jnp.maximum(z, 0)
    y = h @ last["weight"].T + last["bias"]
    dy = 2 * y / 5
    dh = dy @ last["weight"]
    dz = dh * (z > 0)
    norm = lambda *arrays: float(np.linalg.norm(np.concatenate([np.ravel(a) for a in arrays])))  # noqa: E731
    wanted = [  # value, cache, cotangent, dx, gradient
        (norm(z), norm(first["weight"], X), norm(dz), norm(dz @ first["weight"]), norm(dz.T @ X, dz.sum(0))),
        (norm(h), None, norm(dh), norm(dz), None),
        (norm(y), norm(last["weight"], h), norm(dy), norm(dh), norm(dy.T @ h, dy.sum(0)))]
    for row, numbers in zip(report.rows, wanted, strict=True):
        got = [row.value, row.cache, row.cotangent, row.dx, row.gradient]
        assert [g is None for g in got] == [n is None for n in numbers]
        assert [g.norm for g in got if g] == pytest.approx([n for n in numbers if n], rel=1e-5)
        assert row.gain == pytest.approx(numbers[3] / numbers[2], rel=1e-5)
    assert [(row.path, row.layer, row.shape) for row in report.rows] == [
        ("dense1", "dense", (5, 4)), ("relu1", "relu", (5, 4)), ("dense2", "dense", (5, 2))]
    assert report.rows[0].params.norm == pytest.approx(norm(*first.values()), rel=1e-5)
    assert report.rows[1].params is None
    assert report.rows[1].value.zeros == int(jnp.sum(h == 0)) > 0
    assert report.rows[1].value.share_of_zeros == pytest.approx(float(jnp.mean(h == 0)))
    assert report.rows[1].dead == pytest.approx(float(jnp.mean(jnp.all(h == 0, 0))))
    assert (report.x.norm, report.dy.norm) == pytest.approx((norm(X), norm(dy)), rel=1e-5)
    assert report.first_bad is None and report.vanished == () == report.exploded
    assert report.verdict == "all finite; ‖dy‖ stays between 0.001 and 1000 times the output's"


def test_one_example_and_a_batch_of_it():
    one = look_inside(NET, PARAMS, {}, X[0], dy=jnp.ones(2))
    batch = look_inside(over_examples(NET), PARAMS, {}, X[:1], dy=jnp.ones((1, 2)))
    for a, b in zip(one.rows, batch.rows, strict=True):
        assert a.dead is None and b.dead == pytest.approx(b.value.share_of_zeros)
        for name in ("value", "cache", "cotangent", "dx", "gradient"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None)
            assert x is None or x == pytest.approx(y, rel=1e-5)


def test_layers_in_both_modes():
    net = Sequential(Conv(4), BatchNorm(), ops.relu, Flatten(),
                     Residual(Sequential(Dense(36), Dropout(0.5))), Dense(3))
    params, state = net.init(jax.random.key(0), (3, 3, 2))
    x, labels = jax.random.normal(jax.random.key(1), (8, 3, 3, 2)), jnp.arange(8) % 3
    args = (params, state, x, jax.random.key(2))
    for train in (False, True):
        report = look_inside(over_examples(net), *args, loss=ops.softmax_cross_entropy, labels=labels,
                             train=train)
        assert [(row.path, row.layer) for row in report.rows] == [
            ("conv1", "conv"), ("batchnorm1", "batch_norm" if train else "batch_norm_inference"), ("relu1", "relu"),
            ("flatten1", "flatten"), ("residual1/body/dense1", "dense"),
            *[("residual1/body/dropout1", "dropout")] * train, ("residual1", "add"), ("dense1", "dense")]

        def cost(params, mode=train):
            logits, _ = network(over_examples(net)).reference(params, *args[1:], train=mode)
            return jnp.mean(jax.vmap(ops.softmax_cross_entropy)(logits, labels))

        grads = jax.jit(jax.grad(cost))(params)
        wanted = [np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grad)))
                  for grad in (grads["conv1"], grads["batchnorm1"], grads["residual1"]["body"], grads["dense1"])]
        got = [row.gradient.norm for row in report.rows if row.gradient is not None]
        assert got == pytest.approx(wanted, rel=1e-3, abs=1e-6)  # a bias before batch norm is rounding alone
    assert report.source == "of the loss"
    assert 0.2 < report.rows[5].value.share_of_zeros < 0.8


def test_integers_have_no_numbers():
    net = Sequential(Embedding(4, 3), Flatten(), Dense(2))
    params, state = net.init(jax.random.key(0), (2,))
    x = jnp.array([[0, 1], [2, 3], [1, 1]])
    report = look_inside(over_examples(net), params, state, x, loss=mean_square)
    assert report.x is None
    assert (report.rows[0].cache, report.rows[0].dx, report.rows[0].gain) == (None, None, None)
    assert report.rows[0].gradient.norm > 0
    assert report.rows[1].cache is None  # a shape alone


@hand_derived
def keeps_anything(x, key):
    """A cache of a key, an integer, a mask, a number that is static, and NaN beside it all."""
    return x, (key, jnp.arange(3), x > 0, Static(2.0), {"nothing": None, "bad": jnp.full(2, jnp.nan)})


keeps_anything.defbackward(lambda cache, dy: (dy, None))


@pytest.mark.parametrize("batch", [False, True])
def test_a_cache_of_many_kinds(batch):
    def net(x, key):
        return keeps_anything(ops.tanh(x), key)

    x = jnp.ones((4, 3))
    report = look_inside(jax.vmap(net, (0, None)) if batch else net, x, jax.random.key(0), dy=x)
    assert report.rows[1].cache[1:] == (2, 0, 2, 0)
    assert str(report.first_bad) == f"'{report.rows[1].path}' (keeps_anything), 2 NaN of 2 in its cache"


def test_an_op_by_itself():
    report = look_inside(ops.sigmoid, jnp.zeros(4), dy=2 * jnp.ones(4))
    (row,) = report.rows
    assert (row.layer, row.value.norm, row.cotangent.norm, row.dx.norm) == ("sigmoid", 1, 4, 1)


# Functions without layers.


def skips_and_loops(params, x):
    """A skip, three steps of a scan and a checkpoint, all with one weight; each op's value is among what it returns."""
    first = ops.dense(params, x)
    h = ops.tanh(first)

    def step(h, _):
        z = ops.dense(params, h)
        h = ops.tanh(z)
        return h, (z, h)

    last, (zs, hs) = jax.lax.scan(step, h + x, length=3)
    with jax.named_scope("end"):
        y = jax.checkpoint(lambda x: ops.sigmoid(ops.relu(x)))(last + h)
    return y, (first, h, zs, hs, jnp.maximum(last + h, 0), y)


@pytest.mark.parametrize("batch", [False, True])
def test_a_plain_function_with_skips_a_scan_and_a_checkpoint(batch):
    """Places, values, and ∂L/∂value: what the value adds to itself, 0, has that gradient."""
    f = jax.vmap(skips_and_loops, (None, 0)) if batch else skips_and_loops
    x = X if batch else X[0]
    params = dense_params(3, 3)

    def loss(y):
        return jnp.sum(jnp.cos(3 * y[0]))

    report = look_inside(f, params, x, loss=loss)
    places = [row.path.replace(row.path.split(":")[1].split("/")[0], "N") if ":" in row.path else row.path
              for row in report.rows]
    assert list(zip(places, (row.layer for row in report.rows))) == [
        ("skips_and_loops:N", "dense"), ("skips_and_loops:N", "tanh"), ("skips_and_loops:N/scan", "dense"),
        ("skips_and_loops:N/scan", "tanh"), ("end/checkpoint", "relu"), ("end/checkpoint", "sigmoid")]

    def with_shifts(params, x, shifts):
        first, h, zs, hs, mid, end = shifts
        h0 = jnp.tanh(params["weight"] @ x + params["bias"] + first) + h

        def step(h, shift):
            h = jnp.tanh(params["weight"] @ h + params["bias"] + shift[0]) + shift[1]
            return h, None

        last, _ = jax.lax.scan(step, h0 + x, (zs, hs))
        return jax.nn.sigmoid(jax.nn.relu(last + h0) + mid) + end

    shifted = jax.vmap(with_shifts, (None, 0, 0)) if batch else with_shifts

    @jax.jit
    def program(params, x):
        _, values = f(params, x)
        wanted = jax.grad(lambda shifts: loss((shifted(params, x, shifts),)))(jax.tree.map(jnp.zeros_like, values))
        norms = lambda trees: [jnp.linalg.norm(leaf.ravel()) for leaf in trees]  # noqa: E731
        return norms(values), norms(wanted)

    values, cotangents = program(params, x)
    # What is returned beside y gets no gradient of this loss.
    assert [row.value.norm for row in report.rows] == pytest.approx(list(map(float, values)), rel=1e-5)
    assert [row.cotangent.norm for row in report.rows] == pytest.approx(list(map(float, cotangents)), rel=1e-4)
    assert [row.dead is None for row in report.rows] == [not batch] * 6


def test_dead_units_in_a_scan():
    """The second unit is 0 at all times in every example, the first at some, the third in some."""
    def f(x):
        return jax.lax.scan(lambda carry, x_t: (carry, ops.relu(x_t)), 0.0, x)[1]

    x = jnp.array([[[1.0, -1, 0], [-1, -1, 0]], [[1, -1, 1], [-1, -1, 1]]])
    (row,) = look_inside(jax.vmap(f), x, dy=x).rows
    assert (row.value.share_of_zeros, row.dead) == (pytest.approx(8 / 12), pytest.approx(1 / 3))


# What vanishes and what explodes.


def test_norms_far_below_the_smallest_square():
    """After 12 factors of 0.001 the cotangent is 1e-36, and its square is no float32."""
    report = look(*[times(1e-3)] * 12, x=jnp.ones(4), dy=jnp.ones(4))
    norms = [row.cotangent.norm for row in report.rows]
    assert norms == pytest.approx([2 * 1e-3 ** (11 - i) for i in range(12)], rel=1e-5)
    assert [row.path for row in report.vanished] == [f"times{i}" for i in range(10, 0, -1)]
    assert report.verdict == (
        "the cotangent vanishes: ‖dy‖ = 2 at the output, 2e-33 at 'times1' (times), a factor 0.001 for each "
        "layer; below 0.001 of the output's from 'times10' (times) back")
    assert all(row.gain == pytest.approx(1e-3, rel=1e-5) for row in report.rows)


def test_norms_far_above_the_largest_square():
    report = look(*[times(1e4)] * 9, x=jnp.full(9, 1e-10), dy=jnp.ones(9))
    assert report.rows[0].cotangent.norm == pytest.approx(3e32, rel=1e-5)
    assert [row.path for row in report.exploded] == [f"times{i}" for i in range(8, 0, -1)]
    assert "the cotangent explodes: ‖dy‖ = 3 at the output, 3e+32 at 'times1' (times)" in report.verdict
    assert "vanish" not in report.verdict


def test_fifty_layers_of_sigmoids():
    net = Sequential(*[Dense(8), ops.sigmoid] * 50)
    params = {f"dense{i}": {"weight": jnp.eye(8), "bias": jnp.zeros(8)} for i in range(1, 51)}
    report = look_inside(over_examples(net), params, {}, jnp.ones((4, 8)))
    assert report.source == "random"
    # σ' at the fixed point of the sigmoid, 0.659: every layer takes its share.
    gains = [row.gain for row in report.rows if row.layer == "sigmoid"]
    assert gains[10:] == pytest.approx([0.2247] * 40, rel=1e-2)
    assert report.rows[0].cotangent.norm / report.dy.norm == pytest.approx(np.prod(gains), rel=1e-3)
    assert report.rows[0].cotangent.norm < 1e-30
    assert "a factor 0.47 for each layer" in report.verdict
    assert str(report).count("vanished") == len(report.vanished) > 80


def test_the_limits_are_the_caller_s():
    parts = [times(0.1)] * 3
    assert len(look(*parts, x=jnp.ones(2), dy=jnp.ones(2)).vanished) == 0
    report = look(*parts, x=jnp.ones(2), dy=jnp.ones(2), vanishing=0.05, exploding=0.5)
    assert [row.path for row in report.vanished] == ["times1"]
    assert [row.path for row in report.exploded] == ["times3"]


def test_dead_units():
    """Two of four units are below zero for every example, one for some."""
    x = jnp.array([[1.0, -1.0, -2.0, 1.0], [1.0, -1.0, -1.0, -3.0]])
    net = jax.vmap(lambda x: times(2.0)(ops.relu(x)))
    report = look_inside(net, x, dy=x)
    assert [row.dead for row in report.rows] == [0.5, 0.5]
    assert report.rows[0].value.share_of_zeros == 5 / 8
    assert "dead" not in report.verdict
    report = look_inside(net, x.at[:, 3].set(-1), dy=x)
    assert report.verdict.splitlines()[-1] == (
        f"dead: 75% of '{report.rows[0].path}' (relu) is 0 in every example, and over half of 1 more")


def test_a_cotangent_of_zero():
    report = look(ops.tanh, ops.relu, x=jnp.ones(3), dy=jnp.zeros(3))
    assert [row.gain for row in report.rows] == [None, None]
    assert report.vanished == ()
    stopped = look(ops.tanh, ops.relu, x=-jnp.ones(3), dy=jnp.ones(3))
    assert [row.path for row in stopped.vanished] == ["tanh1"]
    assert "0 at 'tanh1' (tanh); below" in stopped.verdict  # no factor can be told


# What went bad.


def test_the_first_bad_value():
    report = look(ops.tanh, logarithm, Residual(Sequential(times(2.0), ops.relu)), ops.tanh,
                  x=jnp.array([0.5, -0.5, 0.2, 0.0]), dy=jnp.ones(4))
    assert str(report.first_bad) == "'logarithm1' (logarithm), 1 NaN, 1 inf of 4 in its value"
    assert (report.first_bad.path, report.first_bad.where) == ("logarithm1", "value")
    assert report.rows[1].value.norm == pytest.approx(np.hypot(*np.log(np.tanh([0.5, 0.2]))), rel=1e-5)
    assert [row.path for row in report.rows if not row.value.finite] == [
        "logarithm1", "residual1/body/times1", "residual1/body/relu1", "residual1", "tanh2"]
    assert report.verdict.splitlines()[0] == f"first bad going forward: {report.first_bad}"


def test_bad_params_come_before_the_value_they_spoil():
    last = PARAMS["dense2"]
    params = PARAMS | {"dense2": last | {"weight": last["weight"].at[0, 1].set(jnp.inf)}}
    report = look_inside(over_examples(NET), params, {}, X, dy=jnp.ones((5, 2)))
    assert str(report.first_bad) == "'dense2' (dense), 1 inf of 10 in its params"


def test_a_bad_x():
    report = look_inside(over_examples(NET), PARAMS, {}, X.at[2, 0].set(jnp.nan), dy=jnp.ones((5, 2)))
    assert str(report.first_bad) == "1 NaN of 15 in x"


def test_the_first_bad_cotangent():
    """√x has a value at 0 and no slope: all is finite going forward, and going backward the root begins it."""
    report = look(times(2.0), root, times(3.0), x=jnp.array([0.0, 1.0]), dy=jnp.ones(2))
    assert report.bad_forward is None
    assert str(report.first_bad) == str(report.bad_backward) == "'root1' (root), 1 inf of 2 in its dx"
    assert report.verdict.startswith("first bad going backward: 'root1' (root), 1 inf of 2 in its dx")
    assert [row.dx.finite for row in report.rows] == [False, False, True]


def test_a_bad_gradient_alone():
    @hand_derived
    def scaled(params, x):
        return params * x, (params, x)

    scaled.defbackward(lambda cache, dy: (jnp.sum(dy * cache[1]) / 0, cache[0] * dy))
    report = look_inside(lambda params, x: scaled(params, ops.tanh(x)), jnp.asarray(2.0), jnp.ones(3), dy=jnp.ones(3))
    assert str(report.first_bad) == f"'{report.rows[1].path}' (scaled), 1 inf of 1 in its gradient"


def test_a_bad_loss():
    report = look_inside(ops.tanh, jnp.zeros(2), loss=lambda y: jnp.sum(jnp.sqrt(y)))
    assert str(report.first_bad) == "2 inf of 2 in dy at the output"


# Losses and cotangents.


def test_losses():
    labels = jnp.arange(5) % 2
    batch = over_examples(NET)
    of_each = look_inside(batch, PARAMS, {}, X, loss=ops.softmax_cross_entropy, labels=labels)
    cost = lambda y: jnp.mean(jax.vmap(ops.softmax_cross_entropy)(y, labels))  # noqa: E731
    of_all = look_inside(batch, PARAMS, {}, X, loss=cost)
    norms = [[row.cotangent.norm for row in report.rows] for report in (of_each, of_all)]
    assert norms[0] == pytest.approx(norms[1])
    one = look_inside(NET, PARAMS, {}, X[0], loss=ops.softmax_cross_entropy, labels=1)
    dy = jax.grad(ops.softmax_cross_entropy)(NET(PARAMS, {}, X[0])[0], 1)
    assert one.dy.norm == pytest.approx(float(jnp.linalg.norm(dy)), rel=1e-5)


def test_several_outputs_and_an_integer_among_them():
    @hand_derived
    def largest(x):
        return (jnp.max(x), jnp.argmax(x)), x

    largest.defbackward(lambda x, dy: (dy[0] * (jnp.arange(3) == jnp.argmax(x)),))
    for given in ({}, {"loss": lambda y: y[0] ** 2}):
        report = look_inside(lambda x: largest(ops.tanh(x)), jnp.arange(3.0), **given)
        assert report.rows[1].shape == ((), ())
        assert (report.rows[1].value.size, report.dy.size) == (1, 1)
        assert report.rows[1].gain == pytest.approx(1)


def test_compiled_once():
    @chex.assert_max_traces(n=1)
    def traced(x):
        return ops.tanh(x)

    assert look_inside(traced, X, dy=X) == look_inside(traced, X, dy=X)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    report = look_inside(times(1.0), jnp.full(4096, 100, dtype), dy=jnp.ones(4096, dtype))
    # 100² is within float16's reach, the sum of 4,096 of them is not.
    assert (report.rows[0].value.norm, report.rows[0].cotangent.norm) == (6400, 64)


# The table, JSON and chart.


def test_the_table():
    report = look_inside(over_examples(NET), PARAMS, {}, X, dy=jnp.ones((5, 2)))
    lines = str(report).splitlines()
    assert lines[0] == "y: a layer's value; dy = ∂L/∂y, at the output given; gain = ‖∂L/∂x‖ / ‖dy‖"
    assert lines[2].split() == [
        "path", "layer", "shape", "‖y‖", "zero", "dead", "‖cache‖", "zero", "‖dy‖", "zero", "gain",
        "‖dparams‖"]
    assert lines[4].split()[:4] == ["dense1", "dense", "(5,", "4)"]
    row = report.rows[1]
    assert lines[5].split() == [
        "relu1", "relu", "(5,", "4)", f"{row.value.norm:.2e}", f"{row.value.share_of_zeros:.0%}",
        f"{row.dead:.0%}", f"{row.cotangent.norm:.2e}",
        f"{row.cotangent.share_of_zeros:.0%}", f"{row.gain:.2g}"]
    assert lines[-1] == report.verdict
    assert [line[8:13].strip() for line in lines[2:6]] == ["layer", "-----", "dense", "relu"]
    bad = str(look_inside(over_examples(NET), PARAMS, {}, X.at[0].set(jnp.nan), dy=jnp.ones((5, 2))))
    assert bad.splitlines()[4].endswith("4 NaN in y, 3 NaN in cache, 12 NaN in dparams")


def test_json():
    text = look(ops.tanh, logarithm, x=jnp.array([0.0, 1.0]), dy=jnp.ones(2)).to_json()
    found = json.loads(text)
    assert found["first_bad"] == {"path": "logarithm1", "layer": "logarithm", "where": "value",
                                  "numbers": {"norm": pytest.approx(-np.log(np.tanh(1)), rel=1e-4), "size": 2,
                                              "zeros": 0, "nans": 0, "infinities": 1}}
    assert [row["layer"] for row in found["rows"]] == ["tanh", "logarithm"]
    assert found["rows"][1]["gain"] > 0 and found["vanishing"] == 1e-3
    assert json.loads(look_inside(ops.tanh, jnp.zeros(2)).to_json())["first_bad"] is None


def test_the_chart(tmp_path):
    figure = look(ops.tanh, logarithm, times(2.0), x=jnp.array([0.0, 1.0]), dy=jnp.ones(2)).plot()
    up, down = figure.axes
    assert (up.get_yscale(), down.get_yscale()) == ("log", "log")
    assert up.get_ylabel() == "Euclidean norm (units of y)"
    assert down.get_ylabel() == "Euclidean norm (units of L per unit)"
    assert [label.get_text() for label in down.get_xticklabels()] == [
        "tanh1 tanh", "logarithm1 logarithm", "times1 times"]
    assert "'logarithm1' (logarithm), 1 inf of 2 in its value" in up.get_title()
    value, *_ = up.get_lines()
    assert value.get_ydata()[0] == pytest.approx(np.tanh(1), rel=1e-5)
    figure.savefig(tmp_path / "inside.png")
    deep = look(*[ops.tanh] * 70, x=jnp.ones(2)).plot()
    assert len(deep.axes[1].get_xticklabels()) <= 50
    # A zero has no place on a logarithmic axis, and is no error.
    zero = look(ops.relu, ops.relu, x=-jnp.ones(2), dy=jnp.zeros(2))
    zero.plot().savefig(tmp_path / "zero.png")


def test_trouble_in_words():
    assert [Numbers(1.0, 9, 0, *counts).trouble for counts in ((0, 0), (3, 0), (0, 1), (3, 1))] == [
        "", "3 NaN of 9", "1 inf of 9", "3 NaN, 1 inf of 9"]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: look_inside(ops.tanh, X, dy=X, loss=mean_square), "look_inside expects a loss or dy; got both"),
    (lambda: look_inside(ops.tanh, X, labels=X), "look_inside expects a loss with labels; got labels alone"),
    (lambda: look_inside(NET, PARAMS),
     "Sequential expects (params, state, x); got 1 of them; params and state come from init, and state is {} "
     "where there is none: y, state = layer(params, state, x)"),
    (lambda: look_inside(ops.tanh, X, X), "tanh expects (x): too many positional arguments"),
    (lambda: look_inside(ops.tanh, X, dy=X[0]),
     "look_inside expects dy of the shape of y, (5, 3); got (3,)"),
    (lambda: look_inside(ops.tanh, X, train=True),
     "tanh expects (x): got an unexpected keyword argument 'train'"),
    (lambda: look_inside(ops.tanh, X, vanishing=1.0, exploding=0.5),
     "look_inside expects 0 <= vanishing < exploding; got 1.0 and 0.5"),
    (lambda: look_inside(NET, PARAMS, {}, X),
     "Dense at 'dense1' expects x of shape (3,); got (5, 3); put Flatten() before it, or for a batch use jax.vmap, or "
     "over_examples around a layer"),
    (lambda: look_inside(Sequential(ops.tanh, Dropout(0.5)), {}, {}, X, train=True),
     "Dropout at 'dropout1' expects a PRNG key; got None; pass key=jax.random.key(seed)"),
])
def test_errors(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == words
