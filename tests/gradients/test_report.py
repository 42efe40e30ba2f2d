"""What a report shows: as text, Markdown, JSON and a picture."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, ops
from jaxnn.gradients import Leaf
from tests.cases import array, several, weights

RNG = np.random.default_rng(0)
X = array(6)(RNG, jnp.float32)
PARAMS = several(weights(6, 5), weights(5, 3))(RNG, jnp.float32)


def two_layers(params, x):
    return ops.dense(params[1], ops.tanh(ops.dense(params[0], x)))


@pytest.fixture(scope="module")
def right():
    return compare_gradients(two_layers, PARAMS, X, cost=True)


@pytest.fixture(scope="module")
def wrong():
    @jax.custom_vjp
    def f(weight, x):
        return weight @ x

    f.defvjp(lambda w, x: (w @ x, (w, x)),
             lambda a, dy: (jnp.outer(dy, a[1]).at[2, 3].set(0), 1.5 * a[0].T @ dy))
    weight = array(5, 6)(RNG, jnp.float32)
    return compare_gradients(f, weight, X, reference=lambda w, x: w @ x, under=("jit", "scan"))


def test_the_table(right):
    lines = str(right).splitlines()
    assert lines[0] == ("two_layers: its gradient beside jax.vjp of the reference, float32; errors in units of "
                        "eps · max|leaf|")
    assert re.split(r"  +", lines[2]) == [
        "leaf", "shape", "explicit", "lifted", "float64", "forward", "finite diff.", "Taylor order",
        "second order", "noise"]
    assert re.split(r"  +", lines[9]) == ["worst element", "f", "reference", "ULPs", "cosine",
                                          "‖a-b‖/(‖a‖+‖b‖)", "bits", "nearer float64"]
    assert [line.split("[")[0] for line in lines[10:15]] == [line.split()[0] for line in lines[3:8]]
    assert [line.split()[0] for line in lines[3:8]] == [
        "params/0/bias", "params/0/weight", "params/1/bias", "params/1/weight", "x"]
    assert lines[-1] == "right: equal to the reference's gradient (within 16 units)"
    assert max(map(len, lines)) < 240
    key = lines[lines.index(next(line for line in lines if line.startswith("column "))) + 1:-2]
    assert [re.split(r"  +", line)[0] for line in key] == re.split(r"  +", lines[2])[2:], "each column is explained"


def test_costs(right):
    assert [cost.what for cost in right.costs] == [
        "time", "temporary memory", "operations", "kept for backward", "tracing", "compiling"]
    assert all(cost.ratio is None or cost.ratio > 0 for cost in right.costs)
    kept = next(cost for cost in right.costs if cost.what == "kept for backward")
    assert kept.f == 2 * 5 * 4  # tanh's slope, and its value for the next layer; inputs are there anyway
    assert re.search(r"^time +[0-9.e+-]+ ms +[0-9.e+-]+ ms +[0-9.]+$", str(right), re.MULTILINE)


def test_what_is_wrong_stands_out(wrong):
    text = str(wrong)
    assert not wrong.ok
    assert wrong.worst.path == "weight" or wrong.worst.path == "x"
    assert "weight[2, 3]: 0, reference " in text
    assert "    zero at 1 of 30 elements, [2, 3]" in text
    assert "    1.5 x the reference at every element" in text
    (row,) = [line.split() for line in text.splitlines() if line.startswith("weight[2, 3]  ")]
    assert row[2] == "0" and row[-2:] == ["differ", "reference"]
    assert text.splitlines()[-1].startswith("WRONG at ")
    assert text.count("✗") >= 8


def test_json(right, wrong):
    for report in (right, wrong):
        record = json.loads(report.to_json())
        assert (record["ok"], record["verdict"]) == (report.ok, report.verdict)
        assert [leaf["path"] for leaf in record["leaves"]] == [leaf.path for leaf in report.leaves]
        assert [leaf["error"] for leaf in record["leaves"]] == [leaf.error for leaf in report.leaves]
    assert {finding["kind"] for finding in json.loads(wrong.to_json())["findings"]} == {"zero", "scale"}
    exact = next(leaf for leaf in json.loads(right.to_json())["leaves"] if leaf["value"] == "inf")
    assert exact["route"] == "taylor"


def test_markdown(right, wrong):
    for report in (right, wrong):
        text = report.to_markdown()
        for block in text.split("\n\n"):
            rows = [line for line in block.splitlines() if line.startswith("| ")]
            counts = {line.replace("\\|", "").count("|") for line in rows}
            assert len(counts) <= 1  # a table has as many cells in each row
        assert text.startswith("## ")
        assert report.verdict in text
    assert "| time |" in right.to_markdown()


def test_picture(right, wrong):
    figure = right.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert [title.split(" ")[0] for title in titles if title] == [
        "params/0/bias", "params/0/weight", "params/1/bias", "params/1/weight", "x"]
    figure = wrong.plot()
    assert figure.axes[0].get_title().startswith("weight (5, 6): WRONG, worst ")
    (cross,) = figure.axes[0].lines
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (3, 2)
    figure.canvas.draw()


def test_a_leaf_by_itself():
    """ULPs, cosine and the course's measure of a known difference."""
    @jax.custom_vjp
    def f(x):
        return x.sum()

    f.defvjp(lambda x: (x.sum(), x), lambda x, dy: (jnp.ones_like(x).at[0].add(4 * 2.0**-23) * dy,))
    report = compare_gradients(f, jnp.ones(10_000), reference=jnp.sum, routes="lifted", laws=False)
    (leaf,) = report.leaves
    assert isinstance(leaf, Leaf)
    assert (leaf.ulps, leaf.element, leaf.exact, leaf.nearer) == (4, (0,), False, "reference")
    assert leaf.error == pytest.approx(4, rel=0.01)
    assert leaf.relative_difference < 1e-8  # "great", the course would say
    assert leaf.cosine == pytest.approx(1)
    assert leaf.ok


def test_a_gradient_that_is_zero_everywhere():
    """It has no scale and no direction: nothing is divided by zero, and there is no cosine."""
    def plain(x):
        return jnp.sum(jnp.where(x > 0, 0 * x, x))

    report = compare_gradients(plain, jnp.ones(3), reference=plain, routes="lifted")
    assert report.ok and {law.holds for law in report.laws} == {True}
    (row,) = (line.split() for line in str(report).splitlines() if line.startswith("x[0]"))
    assert row == ["x[0]", "0", "0", "0.00", "-", "0.0e+00", "equal", "both"]
