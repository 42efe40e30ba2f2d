"""Looking inside: losses and cotangents, and the report as a table, JSON and a chart."""

import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    Dropout,
    InputError,
    Sequential,
    hand_derived,
    look_inside,
    network,
    ops,
    over_examples,
)
from jaxnn.inside.look import _measure
from jaxnn.inside.report import Numbers
from tests.compare import AS_USERS_COMPILE
from tests.inside.small_network import NET, PARAMS, X, logarithm, look, mean_square, times

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


def test_memory():
    """A leaf is measured once, however often it is kept, and no array is written for a statistic of it."""
    n, size = 8, 300
    x = jnp.ones((size, size))

    def f(x):
        for _ in range(n):
            x = ops.tanh(x)
        return x

    measure = _measure.lower(network(f), None, (), (x,), None, x).compile(AS_USERS_COMPILE)
    kept = 4 * size**2 * (n + 1 + n)  # the values, and their cotangents
    assert measure.memory_analysis().temp_size_in_bytes < 1.5 * kept


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    report = look_inside(times(1.0), jnp.full(4096, 100, dtype), dy=jnp.ones(4096, dtype))
    # 100² is within float16's reach, the sum of 4,096 of them is not.
    assert (report.rows[0].value.norm, report.rows[0].cotangent.norm) == (6400, 64)


# The table, JSON and chart.


def test_the_table():
    report = look_inside(over_examples(NET), PARAMS, {}, X, dy=jnp.ones((5, 2)))
    lines = str(report).splitlines()
    assert lines[0] == "y: an op's value; dy = ∂L/∂y, at the output given; gain = ‖∂L/∂x‖ / ‖dy‖"
    assert lines[2].split() == [
        "path", "op", "shape", "‖y‖", "zero", "dead", "‖cache‖", "zero", "‖dy‖", "zero", "gain",
        "‖dparams‖"]
    assert lines[4].split()[:4] == ["dense1", "dense", "(5,", "4)"]
    row = report.rows[1]
    assert lines[5].split() == [
        "relu1", "relu", "(5,", "4)", f"{row.value.norm:.2e}", f"{row.value.share_of_zeros:.0%}",
        f"{row.dead:.0%}", f"{row.cotangent.norm:.2e}",
        f"{row.cotangent.share_of_zeros:.0%}", f"{row.gain:.2g}"]
    assert lines[-1] == report.verdict
    assert [line[8:13].strip() for line in lines[2:6]] == ["op", "-----", "dense", "relu"]
    bad = str(look_inside(over_examples(NET), PARAMS, {}, X.at[0].set(jnp.nan), dy=jnp.ones((5, 2))))
    assert bad.splitlines()[4].endswith("4 NaN in y, 3 NaN in cache, 12 NaN in dparams")


def test_json():
    text = look(ops.tanh, logarithm, x=jnp.array([0.0, 1.0]), dy=jnp.ones(2)).to_json()
    found = json.loads(text)
    assert found["first_bad"] == {"path": "logarithm1", "op": "logarithm", "where": "value",
                                  "numbers": {"norm": pytest.approx(-np.log(np.tanh(1)), rel=1e-4), "size": 2,
                                              "zeros": 0, "nans": 0, "infinities": 1}}
    assert [row["op"] for row in found["rows"]] == ["tanh", "logarithm"]
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
