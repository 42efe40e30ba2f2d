"""A few mutants of a few ops, drawn by a seed: the comparison finds each, and accepts the ops themselves.

The seed is 0, or the environment variable JAXNN_MUTANTS_SEED; the number of ops is 4, or JAXNN_MUTANTS_OPS. All of
them: `python -m experiments compare --mutants --checkers jaxnn`.
"""

import os

import numpy as np
import pytest

from experiments.catalogue import CASES, find
from experiments.compare.checkers import ACCEPTED, CHECKERS
from experiments.compare.point import Point

SEED = int(os.environ.get("JAXNN_MUTANTS_SEED", "0"))
N_OPS = min(int(os.environ.get("JAXNN_MUTANTS_OPS", "4")), len(CASES))
N_MUTANTS = 4  # of each op

OURS = [checker for checker in CHECKERS if checker.is_ours]


def drawn_ops(seed):
    return [CASES[i].name for i in np.random.default_rng(seed).choice(len(CASES), N_OPS, replace=False)]


def judge(op, seed):
    """What was judged against the expectation, as text; empty if nothing was."""
    point = Point(find(op), "small")
    rng = np.random.default_rng((seed, [case.name for case in CASES].index(op)))
    drawn = [point.mutants.mutants[i] for i in rng.choice(len(point.mutants), N_MUTANTS, replace=False)]
    lines = [f"{checker.name} accepts {mutant.name}" for checker in OURS for mutant in drawn
             if checker.verdict(point, mutant) == ACCEPTED]
    lines += [f"{checker.name} finds {op} itself wrong" for checker in OURS
              if checker.verdict(point, point.unchanged) != ACCEPTED]
    if lines:
        lines += [f"again: JAXNN_MUTANTS_SEED={seed} JAXNN_MUTANTS_OPS={N_OPS} python -m pytest "
                  f"'tests/experiments/test_mutants_sample.py::test_the_comparison_finds_those_drawn[{op}]'",
                  f"all mutants: python -m experiments compare --mutants --ops {op} --sizes small --checkers jaxnn"]
    return "\n".join(lines)


@pytest.mark.parametrize("op", drawn_ops(SEED))
def test_the_comparison_finds_those_drawn(op):
    assert not (words := judge(op, SEED)), words


def test_a_failure_says_how_to_repeat_the_draw(monkeypatch):
    blind = OURS[0]._replace(verdict=lambda point, mutant: ACCEPTED)
    monkeypatch.setitem(globals(), "OURS", [blind])
    lines = judge("relu", 7).splitlines()
    assert len(lines) == N_MUTANTS + 2 and len(set(lines)) == len(lines)
    assert all(line.startswith("jaxnn accepts relu, ") for line in lines[:N_MUTANTS])
    assert lines[-2] == (f"again: JAXNN_MUTANTS_SEED=7 JAXNN_MUTANTS_OPS={N_OPS} python -m pytest "
                         "'tests/experiments/test_mutants_sample.py::test_the_comparison_finds_those_drawn[relu]'")
    assert judge("relu", 7).splitlines() == lines and judge("relu", 8).splitlines() != lines
