"""Reports of large trees: wrong leaves first, the worst few, and one line for each subtree of the rest."""

import jax
import jax.numpy as jnp
import pytest

from jaxnn import compare_gradients
from jaxnn.gradients.selection import MOST_LEAVES
from jaxnn.testing import failure_message
from tests.gradients.routes.test_routes import rule


def tree(n_blocks):
    return {f"block{b}": {"attention": {name: jnp.full((2,), 0.1 * b + 0.3) for name in "qkv"},
                          "scale": jnp.full((2,), 0.7)} for b in range(n_blocks)}


def total(params):
    return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(params))


def wrong_in(*blocks):
    def backward(args, dy):
        (params,) = args
        return ({name: {"attention": {k: dy * jnp.cos(x) * (1.5 if name in blocks else 1)
                                      for k, x in block["attention"].items()},
                        "scale": dy * jnp.cos(block["scale"])} for name, block in params.items()},)

    return rule(total, backward)


def compared(n_blocks, *blocks):
    return compare_gradients(wrong_in(*blocks), tree(n_blocks), reference=total, routes="lifted", laws=False)


def test_a_tree_of_twenty_leaves_is_shown_whole():
    report = compared(5, "block2")
    assert "more lea" not in str(report)
    assert [line.split(" ")[0] for line in str(report).splitlines()[3:23]] == list(
        dict.fromkeys(leaf.path for leaf in report.leaves))


def test_a_large_tree():
    report = compared(12, "block7")
    assert len(report.leaves) == 48
    for shown in (str(report), report.to_markdown()):
        rows = [line.lstrip("| ") for line in shown.splitlines() if line.lstrip("| -").startswith("params/")]
        assert [row.startswith("params/block7/attention/") for row in rows[:4]] == [True, True, True, False]
        assert "params/block3/...: 4 more leaves, right, worst error 0 units" in shown
        assert len(shown.splitlines()) < 60
    assert "WRONG" not in "".join(line for line in str(report).splitlines() if "more leaves" in line)


def test_more_wrong_leaves_than_are_shown():
    report = compared(12, *(f"block{b}" for b in range(12)))
    n_more = len(report.wrong) - MOST_LEAVES
    assert n_more == 16
    assert f"{n_more} more leaves are wrong: see .leaves" in str(report)
    assert f"{n_more} more leaves are wrong: see .leaves of the report" in failure_message(report)
    assert "WRONG, worst error" in str(report)


def test_the_picture():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure = compared(12, "block7").plot()
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert len(titles) == 8
    assert all("WRONG" in title for title in titles[:3])
