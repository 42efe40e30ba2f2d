"""The ops that every trap is tried on, and how a trap is laid: the leaves of an op's arguments by name.

    leaves_of(case, args)   what each leaf is called, and whether it is differentiated
    split(case, args)       the leaves that move, and the op as a function of them
    both_ways(f, moving)    the value, the cotangents and the tangents, for one compiled program
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from experiments.catalogue import CASES, Case
from jaxnn.cotangents import is_inexact
from tests.cases import TYPICAL

OPS = [case for case in CASES if case.kind != "network"]
EACH = pytest.mark.parametrize("case", OPS, ids=[case.name for case in OPS])
EACH_ONCE = pytest.mark.parametrize("case", [pytest.param(
    case, id=case.name, marks=[] if case.name in TYPICAL else [pytest.mark.exhaustive]) for case in OPS])


class Leaf(NamedTuple):
    """argument: its name; path: with the place in it; moves: whether a gradient is due."""

    argument: str
    path: str
    moves: bool


def leaves_of(case: Case, args: tuple[Any, ...]) -> list[Leaf]:
    return [Leaf(name := case.op.arguments[path[0].idx], name + jax.tree_util.keystr(path[1:]),
                 is_inexact(leaf) and name != "state")
            for path, leaf in jax.tree_util.tree_leaves_with_path(args)]


def value(case: Case, y: Any) -> Any:
    """Without the state that batch norm gives beside its value."""
    return y[0] if case.kind == "state" else y


def split(case: Case, args: tuple[Any, ...]) -> tuple[list[Any], Callable]:
    """(the leaves that move, f of them with the others as they are); f takes the op's reference on request."""
    leaves, tree = jax.tree.flatten(args)
    moves = [leaf.moves for leaf in leaves_of(case, args)]

    def f(moving: list[Any], others: list[Any] | None = None, *, reference: bool = False) -> Any:
        remaining, rest = iter(moving), iter(others or [leaf for leaf, m in zip(leaves, moves) if not m])
        filled = [next(remaining) if m else next(rest) for m in moves]
        op = case.op.reference if reference else case.op
        return value(case, op(*jax.tree.unflatten(tree, filled), **case.static))

    return [leaf for leaf, m in zip(leaves, moves) if m], f


def both_ways(f: Callable, moving: Any) -> tuple[Any, Any, Any]:
    """(y, the cotangents at dy = 1, the tangents at 1)."""
    ones = functools.partial(jax.tree.map, jnp.ones_like)
    y, pull_back = jax.vjp(f, moving)
    _, tangents = jax.jvp(f, (moving,), (ones(moving),))
    return y, pull_back(ones(y))[0], tangents
