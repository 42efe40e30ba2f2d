"""What is known when a step is traced: its shapes, what it must keep, and whether examples mix."""

import functools
import re
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, expect

__all__ = ["Retraced", "Traces", "expect_kept", "expect_same_tree", "is_finite", "mixes_examples", "path_of",
           "stays_finite"]


DELETED = re.compile(r"deleted|donated", re.IGNORECASE)


class Retraced(UserWarning):
    """A function that is compiled once was traced again: the message names what changed."""


class Traces:
    """The shapes a function was traced for; a second set of them is reported as it happens."""

    def __init__(self) -> None:
        self._signatures: dict[str, list[dict[str, str]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._signatures.values()))

    def note(self, name: str, **trees: Any) -> None:
        """To be called while the function is traced, with its arguments."""
        signature = {jax.tree_util.keystr(path): _type(leaf)
                     for path, leaf in jax.tree_util.tree_flatten_with_path(trees)[0]}
        earlier = self._signatures.setdefault(name, [])
        if signature in earlier:
            return
        if earlier:
            last = earlier[-1]
            changes = [f"{_readable(p)} was {last.get(p, 'absent')}, is {signature.get(p, 'absent')}"
                       for p in {**last, **signature} if last.get(p) != signature.get(p)]
            shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
            warnings.warn(f"{name} is compiled again: {shown}", Retraced, stacklevel=2)
        earlier.append(signature)


def _type(leaf: Any) -> str:
    aval = jax.typeof(leaf)
    weak = " (weak)" if getattr(aval, "weak_type", False) else ""
    return f"{aval.dtype}[{','.join(map(str, aval.shape))}]{weak}"


def _readable(keystr: str) -> str:
    return keystr.replace("['", "/").replace("']", "").lstrip("/")


def path_of(path: Any) -> str:
    """A leaf's path as text: 'hidden/weight'."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def expect_kept(who: str, what: str, tree: Any, error: Exception | None = None) -> None:
    """Raises InputError where a step has taken over the buffers of the tree. error: what JAX says of it, where it is
    known; one of another kind is not looked into."""
    if error is not None and not DELETED.search(str(error)):
        return
    gone = [path_of(path) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]
            if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) and leaf.is_deleted()]
    if gone:
        raise InputError(who, f"expects {what} that no step has taken over; got one whose '{gone[0]}' is deleted; use "
                         "the train state that the step returned, or copy the one that you want to keep: "
                         "jax.tree.map(lambda a: a.copy(), train_state)") from error


def expect_same_tree(who: str, expected: str, before: Any, after: Any) -> None:
    """Raises InputError unless both trees have one structure, and leaves of the same shapes and dtypes."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (before, after)]
    old, new = ({path_of(path): f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}"
                 for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]} for tree in (before, after))
    if old == new and structures[0] == structures[1]:
        return
    changes = [f"'{p}' is {new.get(p, 'nothing')} in place of {old.get(p, 'nothing')}"
               for p in {**old, **new} if old.get(p) != new.get(p)]
    expect(False, who, expected, ", ".join(changes[:5]) or f"{structures[1]} in place of {structures[0]}",
           "keep the structure, shapes and dtypes")


def is_finite(tree: Any) -> jax.Array:
    """Whether every floating-point number in the tree is finite."""
    return _all(_finite_leaves(tree))


def stays_finite(before: Any, after: Any, others: Any = ()) -> jax.Array:
    """Whether no floating-point number that was finite has ceased to be, and those of the other tree are finite."""
    pairs = [(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
             if jnp.issubdtype(jnp.result_type(b), jnp.inexact)]
    return _all([*_finite_leaves(others), *(jnp.isfinite(b) | ~jnp.isfinite(a) for a, b in pairs)])


def _finite_leaves(tree: Any) -> list[jax.Array]:
    return [jnp.isfinite(leaf) for leaf in jax.tree.leaves(tree)
            if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]


def _all(conditions: list[jax.Array]) -> jax.Array:
    """Whether all elements of all arrays are true. Those of one shape are joined first: so an optimiser's moments
    and its update are computed and looked at in one loop."""
    by_shape: dict[tuple[int, ...], jax.Array] = {}
    for condition in conditions:
        shape = condition.shape
        by_shape[shape] = by_shape[shape] & condition if shape in by_shape else condition
    return jnp.all(jnp.stack([jnp.all(joined) for joined in by_shape.values()])) if by_shape else jnp.asarray(True)


def mixes_examples(layer: Callable, train_state: Any, x: Any) -> bool:
    """Whether one example's output depends on the others, as in batch norm: such a layer cannot be
    traced outside of an axis of examples."""
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a)[1:], jnp.result_type(a)), x)
    try:
        jax.eval_shape(functools.partial(layer, train=True), train_state.params, train_state.state, one,
                       train_state.key)
    except (NameError, InputError):  # the axis is missing; any other fault appears where the step is traced
        return True
    return False
