"""The benchmark: the command's table, and that the sides of a row compute the same."""

import json

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.bench import networks, overheads
from experiments.bench.cases import CASES
from experiments.bench.measure import Case, Side, measure


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


@pytest.mark.parametrize("sides", [networks.explicit_passes, networks.mlp_gradient, overheads.dispatch])
def test_the_sides_of_a_row_compute_the_same(sides):
    first, *others = [jax.tree.leaves(side.call()) for side in sides()]
    for leaves in others:
        for a, b in zip(leaves, first, strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * float(np.abs(b).max()))


def test_a_ratio_is_that_to_the_first_side():
    """One side takes ten times the calls of the other."""
    x = jax.numpy.ones(100)

    def calls(n):
        return lambda: [jax.block_until_ready(x + i) for i in range(n)][-1]

    rows = measure(Case("calls", "calls", lambda: [Side("one", calls(30)), Side("ten", calls(300))]), 5)
    assert [row.side for row in rows] == ["one", "ten"]
    assert rows[0].ratio == 1 and 4 < rows[1].ratio < 25
