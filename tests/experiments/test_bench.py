"""The benchmark: the command's table, and that the sides of a row compute the same."""

import json

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.bench import measure, networks, overheads
from experiments.bench.cases import CASES
from experiments.bench.measure import Case, Side


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


def test_a_ratio_is_the_median_of_the_rounds_ratios_to_the_first_side(monkeypatch):
    """And not the ratio of the medians, 5 to 2: a round that is slow for both sides does not move the ratio."""
    monkeypatch.setattr(measure, "take_turns", lambda programs, rounds: [[0.001, 0.002, 0.01], [0.005, 0.002, 0.02]])
    first, second = measure.measure(Case("name", "what", lambda: [Side("a", list), Side("b", list)]), 3)
    assert (first.milliseconds, first.ratio) == (2.0, 1.0)
    assert second.milliseconds == 5.0 and second.ratio == pytest.approx(2.0)
