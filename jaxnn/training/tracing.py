"""What is known when a step is traced: its shapes, what it must keep, and whether examples mix."""

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, expect
from jaxnn.layers import Layer

__all__ = ["Retraced", "Traces", "expect_same_tree", "is_finite", "mixes_examples", "stays_finite"]


class Retraced(UserWarning):
    """A function that is compiled once was traced again: the message says what changed."""


class Traces:
    """The shapes a function was traced for; a second one is reported as it happens."""

    def __init__(self) -> None:
        self.seen: dict[str, list[dict[str, str]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self.seen.values()))

    def note(self, name: str, **trees: Any) -> None:
        now = {jax.tree_util.keystr(path): _type(leaf)
               for path, leaf in jax.tree_util.tree_flatten_with_path(trees)[0]}
        seen = self.seen.setdefault(name, [])
        if now in seen:
            return
        if seen:
            before = seen[-1]
            changes = [f"{_path(p)} was {before.get(p, 'absent')}, is {now.get(p, 'absent')}"
                       for p in {**before, **now} if before.get(p) != now.get(p)]
            shown = "; ".join(changes[:5]) + (f"; and {len(changes) - 5} more" if len(changes) > 5 else "")
            warnings.warn(f"{name} is compiled again: {shown}", Retraced, stacklevel=2)
        seen.append(now)


def _type(leaf: Any) -> str:
    aval = jax.typeof(leaf)
    weak = " (weak)" if getattr(aval, "weak_type", False) else ""
    return f"{aval.dtype}[{','.join(map(str, aval.shape))}]{weak}"


def _path(keystr: str) -> str:
    return keystr.replace("['", "/").replace("']", "").lstrip("/")


def expect_same_tree(who: str, wanted: str, before: Any, after: Any) -> None:
    """Raises InputError unless both trees have one structure, and leaves of the same shapes and dtypes."""
    structures: list[Any] = [jax.tree.structure(tree) for tree in (before, after)]
    told: list[dict[str, Any]] = [
        {jax.tree_util.keystr(path, simple=True, separator="/"): (jnp.shape(leaf), jnp.result_type(leaf))
         for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]} for tree in (before, after)]
    if told[0] == told[1] and structures[0] == structures[1]:
        return
    differ = [f"'{p}' is {_told(told[1].get(p))} in place of {_told(told[0].get(p))}"
              for p in {**told[0], **told[1]} if told[0].get(p) != told[1].get(p)]
    expect(False, who, wanted, ", ".join(differ[:5]) or f"{structures[1]} in place of {structures[0]}",
           "return what optax's own transformations do")


def _told(leaf: Any) -> str:
    return "nothing" if leaf is None else f"{leaf[1]}{list(leaf[0])}"


def is_finite(tree: Any) -> jax.Array:
    """Whether every floating-point number in the tree is finite."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)
              if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]
    return jnp.all(jnp.stack(leaves)) if leaves else jnp.asarray(True)


def stays_finite(before: Any, after: Any) -> jax.Array:
    """Whether no floating-point number that was finite has ceased to be."""
    pairs = [(a, b) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
             if jnp.issubdtype(jnp.result_type(b), jnp.inexact)]
    kept = [jnp.all(jnp.isfinite(b) | ~jnp.isfinite(a)) for a, b in pairs]
    return jnp.all(jnp.stack(kept)) if kept else jnp.asarray(True)


def mixes_examples(layer: Layer, state: Any, x: Any) -> bool:
    """Whether one example's output depends on the others, as in batch norm: such a layer cannot be
    traced outside of an axis of examples."""
    one = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a)[1:], jnp.result_type(a)), x)
    try:
        jax.eval_shape(functools.partial(layer, train=True), state.params, state.state, one, state.key)
    except (NameError, InputError):  # the axis is not there; any other fault will show where the step is traced
        return True
    return False
