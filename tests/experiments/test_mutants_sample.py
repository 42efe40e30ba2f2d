"""A few mutants of a few ops, drawn by a seed: the comparison finds each.

The seed is 0, or the environment variable JAXNN_MUTANTS_SEED; the number of ops is 4, or JAXNN_MUTANTS_OPS. All
mutants of all ops: `python -m experiments compare --mutants --checkers jaxnn`.
"""

import os

import numpy as np
import pytest

from experiments.catalogue import CASES, find
from experiments.compare.checkers import ACCEPTED, by_jaxnn
from experiments.compare.point import Point

SEED = int(os.environ.get("JAXNN_MUTANTS_SEED", "0"))
N_OPS = min(int(os.environ.get("JAXNN_MUTANTS_OPS", "4")), len(CASES))
N_MUTANTS = 4  # of each op


def drawn_ops(seed):
    return [CASES[i].name for i in np.random.default_rng(seed).choice(len(CASES), N_OPS, replace=False)]


def not_found(op, seed, verdict=by_jaxnn):
    """The mutants of an op that are drawn and accepted, and the commands that judge them again, as text; empty if all
    are found."""
    point = Point(find(op), "small")
    rng = np.random.default_rng((seed, [case.name for case in CASES].index(op)))
    drawn = [point.mutants.mutants[i] for i in rng.choice(len(point.mutants), N_MUTANTS, replace=False)]
    lines = [f"accepted: {op}, {mutant.mutation.name}" for mutant in drawn if verdict(point, mutant) == ACCEPTED]
    if lines:
        lines += [f"again: JAXNN_MUTANTS_SEED={seed} JAXNN_MUTANTS_OPS={N_OPS} python -m pytest "
                  f"'tests/experiments/test_mutants_sample.py::test_the_comparison_finds_those_drawn[{op}]'",
                  f"all mutants: python -m experiments compare --mutants --ops {op} --sizes small --checkers jaxnn"]
    return "\n".join(lines)


@pytest.mark.sampled
@pytest.mark.parametrize("op", drawn_ops(SEED))
def test_the_comparison_finds_those_drawn(op):
    assert not (words := not_found(op, SEED)), words


def test_a_failure_says_how_to_repeat_the_draw():
    def accepted(seed):
        return not_found("relu", seed, lambda point, mutant: ACCEPTED).splitlines()

    lines = accepted(7)
    assert len(set(lines)) == len(lines) == N_MUTANTS + 2
    assert all(line.startswith("accepted: relu, ") for line in lines[:N_MUTANTS])
    assert lines[-2] == (f"again: JAXNN_MUTANTS_SEED=7 JAXNN_MUTANTS_OPS={N_OPS} python -m pytest "
                         "'tests/experiments/test_mutants_sample.py::test_the_comparison_finds_those_drawn[relu]'")
    assert accepted(7) == lines != accepted(8)
