"""The benchmark: the command's table, and that the sides of a row compute the same."""

import json
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from experiments import catalogue
from experiments.__main__ import main
from experiments.bench import (
    attention,
    command,
    flax_networks,
    losses,
    measure,
    networks,
    ops,
    overheads,
    recurrent,
    steps,
    tables,
    torch_device,
    words,
)
from experiments.bench.cases import CASES
from experiments.bench.equations import EQUATIONS
from experiments.bench.measure import Case, Row, Side


def test_the_command_writes_a_row_for_each_side(tmp_path, capsys):
    assert main(["bench", "dispatch", "step-overhead", "--rounds", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "dense 16 -> 16, not compiled: 100 calls" in printed and "100 training steps" in printed
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [(row["case"], row["side"]) for row in rows] == [
        ("step-overhead", "jax.jit"), ("step-overhead", "jaxnn"),
        ("dispatch", "jax.numpy"), ("dispatch", "jax.jit"), ("dispatch", "jaxnn")]
    assert all(row["milliseconds"] > 0 and row["ratio"] > 0 for row in rows)


def test_an_unknown_name_is_refused_with_all_names(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "mpl"])
    assert "unknown benchmark 'mpl'; choose from mlp, explicit" in capsys.readouterr().err


def test_the_names_are_unique():
    assert len({case.name for case in CASES}) == len(CASES)


def assert_the_same(sides):
    first, *others = [jax.tree.leaves(side.call()) for side in sides]
    assert others
    for leaves in others:
        for a, b in zip(leaves, first, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(np.abs(b).max()))


@pytest.mark.exhaustive
@pytest.mark.parametrize("sides", [
    networks.explicit_passes, networks.mlp_gradient, overheads.dispatch,
    partial(ops.embedding_step, rows=7, d=3, t=5)], ids=["explicit", "mlp", "dispatch", "embedding"])
def test_the_sides_of_a_row_compute_the_same(sides):
    assert_the_same(sides())


@pytest.mark.exhaustive
@pytest.mark.parametrize("sides", [
    partial(attention.gradient, 6, 2, 3), partial(attention.decoding, (5, 9, 300), 4, 2, 3),
    partial(losses.many_classes, 5, 4, 1100), partial(losses.alignment, 3, 9, 5, 3)],
    ids=["attention", "decoding", "many classes", "ctc"])
def test_the_sides_of_a_sequence_s_row_compute_the_same(sides):
    assert_the_same(sides())


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_recurrent_gradients_are_the_peers_and_the_bare_products_have_their_shapes(name):
    first, *others = recurrent.gradient(name, "3x5x4x6")
    assert {side.name for side in others} >= {"bare products", "jaxnn"}
    want = [np.asarray(d) for d in first.call()]
    for side in others:
        got = [np.asarray(d) for d in side.call()]
        if side.name == "bare products":
            assert {d.shape for d in want[:2]} <= {product.shape for product in got}
            continue
        for a, b in zip(got, want, strict=True):  # Flax has its weights transposed
            np.testing.assert_allclose(a if a.shape == b.shape else a.T, b, rtol=0, atol=1e-5 * np.abs(b).max())


@pytest.mark.exhaustive  # a training step of each peer is compiled
@pytest.mark.parametrize("name", ["character-lstm", "transformer"])
def test_steps_of_networks_for_text_run(name):
    sides = steps.text_step(name, batch=2, time=4)
    assert [side.name for side in sides][::len(sides) - 1] == ["autodiff", "jaxnn"]
    of_autodiff, of_jaxnn = (jax.tree.leaves(sides[i].call()) for i in (0, -1))
    for a, b in zip(of_autodiff, of_jaxnn, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-3)  # Adam's first step is the gradient's sign, times 1e-3
    for peer in sides[1:-1]:
        peer.call()


@pytest.mark.exhaustive
def test_steps_in_bfloat16_keep_wide_parameters():
    *_, of_float32 = steps.text_step("character-lstm", batch=2, time=4)
    first, *peers, last = steps.text_step("character-lstm", batch=2, time=4, dtype="bfloat16")
    want, *both = (jax.tree.leaves(side.call()[0]) for side in (of_float32, first, last))
    for leaves in both:
        assert {leaf.dtype.name for leaf in leaves} == {"float32"}
        apart = np.concatenate([np.ravel(np.abs(a - b)) for a, b in zip(leaves, want, strict=True)])
        # Adam's first step is 1e-3 in the direction of the gradient's sign: a wrong gradient makes 2e-3.
        assert apart.max() > 0 and np.mean(apart < 5e-4) > 0.98
    for peer in peers:
        peer.call()


def test_flax_layers_compute_in_the_dtype():
    nnx = pytest.importorskip("flax.nnx")
    narrow = flax_networks._Computing(nnx, "bfloat16")
    assert narrow.Linear(2, 3, rngs=nnx.Rngs(0))(np.ones((1, 2), np.float32)).dtype == "bfloat16"
    assert narrow.Rngs is nnx.Rngs and all(hasattr(nnx, name) for name in narrow.LAYERS)


@pytest.mark.parametrize(("precision", "products", "dtype"), [
    ("float32", "highest", None), ("tf32", "tensorfloat32", None), ("bfloat16", "tensorfloat32", "bfloat16")])
def test_sides_are_made_and_called_in_the_precision(precision, products, dtype):
    seen = []

    def note():
        seen.append(jax.config.jax_default_matmul_precision)

    def sides(dtype=None):
        note()
        seen.append(dtype)
        return [Side("a", note), Side("b", note)]

    measure.measure(Case("case", "what", sides, is_step=True), 1, precision)
    assert seen[:2] == [products, dtype] and set(seen[2:]) == {products}
    assert jax.config.jax_default_matmul_precision is None


@pytest.fixture
def flags(torch):
    """Those of PyTorch's that say whether products are rounded; afterwards as they were."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    yield flags
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


@pytest.mark.parametrize(("precision", "rounded"), [("highest", False), ("tensorfloat32", True), (None, True)])
def test_pytorch_is_as_precise_as_jax(torch, flags, precision, rounded):
    with jax.default_matmul_precision(precision):
        assert torch_device.pytorch() is torch
    assert [flag.allow_tf32 for flag in flags] == [rounded, rounded]


def test_pytorch_s_values_are_where_jax_computes(torch):
    assert isinstance(torch_device.on_device(torch.nn.Linear(2, 2)), torch.nn.Module)
    array, = torch_device.as_result([torch_device.on_device(np.ones(3, np.float32))])
    assert isinstance(array, np.ndarray) and array.tolist() == [1, 1, 1]


def test_pytorch_is_left_out_without_the_gpu_that_jax_has(torch, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert torch_device.pytorch() is None


def test_a_gpu_is_waited_for_at_the_end_of_a_round(torch, monkeypatch):
    waits = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waits.append(1))
    result = torch_device.as_result([SimpleNamespace(is_cuda=True)])
    assert not waits
    jax.block_until_ready(result)
    assert waits


@pytest.mark.exhaustive
@pytest.mark.parametrize("optimizer", tables.OPTIMIZERS)
def test_steps_on_tables_learn_and_have_a_side_for_each_number_of_words(optimizer):
    sides = tables.skip_gram_step(optimizer, (40, 60), d=3, batch=4, negatives=2)
    assert [side.name for side in sides] == ["40 words", "60 words"]
    for side in sides:
        costs = [float(side.call()) for _ in range(5)]
        assert costs[-1] < costs[0]


def test_limits_are_of_the_sides_that_were_measured():
    rows = [Row("case", "a", 4.0, 1.0, 0.5, 100, None), Row("case", "b", 1.0, 0.25, 2.0, None, None),
            Row("case", "c", 2.0, 0.5, 1.0, 30, None)]
    case = Case("case", "what", list, 0.6, {"b": 1.5, "not installed": 1.0}, memory=0.2)
    assert command._verdict(case, rows) == (
        " (at most 0.6 of a: yes; at most 1.5 of b: NO; at most 0.2 of its temporaries: NO)")
    assert command._verdict(Case("case", "what", list), rows) == ""


ONE_OF_EACH_KIND = {case.kind: case.name for case in reversed(catalogue.CASES)}.values()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", sorted({*ONE_OF_EACH_KIND, *EQUATIONS}))
def test_an_op_and_its_equation_have_one_gradient(name):
    sides = ops.sides(name, "small", 3)
    assert [side.name for side in sides] == ["autodiff", *["reference"] * (name in EQUATIONS), "jaxnn"]
    assert all(side.kept is not None for side in sides)
    assert_the_same(sides)


@pytest.mark.sampled
@pytest.mark.parametrize("name", EQUATIONS)
def test_an_op_and_its_equation_have_one_value(name):
    case = catalogue.find(name)
    args = case.args(seed=1)
    values = [jax.tree.leaves(f(*args)) for f in (EQUATIONS[name], partial(case.op, **case.static))]
    for a, b in zip(*values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_the_backward_pass_alone():
    args = {"batch": 2, "height": 4, "width": 4, "c": 3}
    whole, alone = (ops.sides("max_pool", "small", backward=backward, **args) for backward in (False, True))
    assert_the_same([*whole, *alone])
    assert alone[0].kept == 0 < alone[-1].kept  # XLA's own rule keeps x alone; ours where the maxima are


def test_the_catalogue_s_sizes_and_options_reach_the_op(monkeypatch):
    """But for its chunks, which are small for tests: how an array is cut is the op's own choice."""
    monkeypatch.setattr(ops, "_gradient", lambda name, f, problem: (name, f, [m.shape for m in problem.moving]))
    *_, (name, op, shapes) = ops.sides("attention", "small", 3, t=9, v=5)
    assert name == "jaxnn" and op.keywords == {"causal": True}
    assert shapes == [(3, 9, 2), (3, 9, 2), (3, 9, 5)]
    (_, reference, _), (_, op, _) = ops.sides("huber")
    assert reference.keywords == op.keywords == {"delta": 0.7}


@pytest.mark.exhaustive
def test_ops_at_the_command_line(tmp_path, capsys):
    argv = ["--op", "dense", "--op", "lstm-from-zeros", "--size", "small", "--sizes", "i=5", "--batch", "2"]
    assert main(["bench", *argv, "--rounds", "1", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "ops of the catalogue, small, i = 5, batch 2: gradient"
    assert lines[1].split()[:3] == ["op", "autodiff", "ms"]
    assert [line.split()[0] for line in lines[3:5]] == ["dense", "lstm-from-zeros"]
    rows = json.loads((tmp_path / "bench.json").read_text())["rows"]
    assert [(row["case"], row["side"]) for row in rows] == [
        ("dense", "autodiff"), ("dense", "jaxnn"),
        *(("lstm-from-zeros", side) for side in ("autodiff", "reference", "jaxnn"))]
    assert all(row["milliseconds"] > 0 and row["temporary"] >= 0 and row["kept"] >= 0 for row in rows)


@pytest.mark.exhaustive
def test_all_ops_have_a_row_each(tmp_path, capsys, monkeypatch):
    asked = []

    def sides(name, size, batch):
        asked.append((name, size, batch))
        return [Side("autodiff", list, 2_000, 4_000), Side("jaxnn", list, 1_000, None)]

    monkeypatch.setattr(ops, "sides", sides)
    assert main(["bench", "--all-ops", "--batch", "64", "--rounds", "1", "--out", str(tmp_path)]) == 0
    assert asked == [(case.name, "large", 64) for case in catalogue.CASES]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:-1]] == [case.name for case in catalogue.CASES]
    assert lines[3].split()[-3:] == ["2.0", "1.0", "4.0"]


@pytest.mark.parametrize(("argv", "message"), [
    (["--op", "dens"], "the catalogue expects the name of an op; got 'dens'; did you mean 'dense'?"),
    (["--op", "dense", "--size", "huge"], "dense expects a size, one of small, medium, large; got 'huge'"),
    (["--op", "dense", "--sizes", "t=4"], "dense expects sizes named o, i; got 't'"),
    (["--op", "dense", "--sizes", "seed=4"], "dense expects sizes named o, i; got 'seed'"),
    (["--op", "dense", "--sizes", "i"], "--sizes expects NAME=N, as in t=1024,d=64; got 'i'"),
    (["--op", "dense", "--sizes", "i=0"], "--sizes i expects an integer at least 1; got '0'"),
    (["--op", "dense", "--batch", "0"], "--batch expects an integer at least 1; got '0'"),
    (["--all-ops", "--op", "dense"], "--all-ops expects no --op and no --sizes; got one"),
    (["ctc", "--precision", "float16"], "--precision expects one of float32, tf32, bfloat16; got 'float16'"),
    (["ctc", "--precision", "tf32"], "--precision tf32 needs a GPU; got cpu; leave it out"),
    (["ctc", "lenet-5", "--precision", "bfloat16"], "--precision bfloat16 is for training steps: lenet-5, resnet-18, "),
    (["--op", "dense", "--precision", "bfloat16"], "--precision bfloat16 is for training steps: lenet-5, resnet-18, "),
    (["mlp", "--batch", "3"], "--sizes and --batch expect the ops that they are for; got none; add --op NAME"),
    (["--rounds", "0"], "--rounds expects at least 1; got 0"),
])
def test_what_is_refused(argv, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["bench", *argv, "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("seconds", "n"), [(1e-9, measure.MOST_CALLS), (0.4 * measure.SHORTEST, 3),
                                            (2 * measure.SHORTEST, 1)])
def test_a_short_program_is_run_many_times_in_a_round(monkeypatch, seconds, n):
    monkeypatch.setattr(measure, "take_turns", lambda calls, rounds: [[seconds] for _ in calls])
    assert measure.calls_in_a_round([Side("a", list), Side("b", list)]) == n


def test_each_round_makes_its_calls(monkeypatch):
    monkeypatch.setattr(measure, "calls_in_a_round", lambda sides: 7)
    calls = []
    measure.measure(Case("name", "what", lambda: [Side("a", lambda: calls.append(0))]), 2)
    assert len(calls) == 3 * 7  # three rounds, one uncounted


def test_a_ratio_is_the_median_of_the_rounds_ratios_to_the_first_side(monkeypatch):
    """And not the ratio of the medians, 5 to 2: a round that is slow for both sides does not move the ratio."""
    monkeypatch.setattr(measure, "calls_in_a_round", lambda sides: 1)
    monkeypatch.setattr(measure, "take_turns", lambda *_: [[0.001, 0.002, 0.01], [0.005, 0.002, 0.02]])
    first, second = measure.measure(Case("name", "what", lambda: [Side("a", list), Side("b", list)]), 3)
    assert (first.milliseconds, first.ratio) == (2.0, 1.0)
    assert second.milliseconds == 5.0 and second.ratio == pytest.approx(2.0)
    assert second.last == 1.0 and first.last == pytest.approx(2.0)


@pytest.mark.exhaustive
def test_word_vectors_have_their_rows_and_gensim_beside_them():
    rows, whole = words.beside_rows(300, 8, 2)
    assert (rows.name, whole.name) == ("its rows alone", "whole step")
    jax.block_until_ready(rows.call())
    first = float(whole.call())
    for _ in range(20):
        last = float(whole.call())
    assert last < first
    if words.gensim_is_there():
        gensim, ours = words.beside_gensim(4000, 8)
        gensim.call()
        first = float(ours.call())
        assert float(ours.call()) < first


def test_memory_cannot_be_kept_everywhere(monkeypatch, capsys):
    monkeypatch.setattr(command, "keep_memory", lambda: False)
    with pytest.raises(SystemExit):
        main(["bench", "ctc", "--keep-memory"])
    assert "--keep-memory needs Linux with glibc; leave it out here" in capsys.readouterr().err
