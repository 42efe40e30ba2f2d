"""A saved tree and the tree it is to fill: the same leaves, placed on the same devices."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect
from jaxnn.training.tracing import path_of

__all__ = ["expect_like", "is_key", "leaves_by_path", "placed_like"]


def placed_like(like: Any, leaves: dict[str, Any], checkpoint: Path) -> Any:
    """The leaves in the structure of `like`, each where the leaf in `like` lies.

    Raises:
      InputError: as `expect_like`; checkpoint: where they come from, for its message.
    """
    expect_like(like, leaves, checkpoint)
    return jax.tree.unflatten(jax.tree.structure(like), [
        _placed(leaves[path], leaf) for path, leaf in leaves_by_path(like).items()])


def expect_like(like: Any, tree: Any, checkpoint: Path) -> None:
    """Raises InputError, with every leaf that differs, unless both have the same paths, shapes and dtypes."""
    expected, found = leaves_by_path(like), tree if isinstance(tree, dict) else leaves_by_path(tree)
    missing, extra = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    others = [f"'{p}' is {_type(found[p])}, not {_type(leaf)}" for p, leaf in expected.items()
              if p in found and _type(found[p]) != _type(leaf)]
    differences = [*(f"'{p}' is missing" for p in missing), *(f"'{p}' is extra" for p in extra), *others]
    expect(not differences, "load", f"a checkpoint like the tree it is to fill; {checkpoint}", ", ".join(differences),
           "build the model and the optimizer it was saved with")


def leaves_by_path(tree: Any) -> dict[str, Any]:
    """{path: leaf}, of a tree in which no two leaves have one path."""
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    leaves = {path_of(path): leaf for path, leaf in flat}
    expect(len(leaves) == len(flat), "checkpoint", "a tree whose leaves have paths of their own",
           f"{len(flat)} leaves with {len(leaves)} paths", "use no '/' in a key")
    return leaves


def is_key(leaf: Any) -> bool:
    """Whether this is an array of JAX's typed random keys."""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _placed(leaf: Any, like: Any) -> Any:
    if type(like) in (bool, int, float, complex):
        return leaf
    if isinstance(like, np.generic):
        return np.asarray(leaf)[()]
    sharding = getattr(like, "sharding", None)
    if sharding is not None and not sharding.is_fully_addressable:
        data = jax.random.key_data(leaf) if is_key(leaf) else leaf
        spread = jax.make_array_from_callback(data.shape, sharding, lambda index: np.asarray(data)[index])
        return jax.random.wrap_key_data(spread, impl=jax.random.key_impl(leaf)) if is_key(leaf) else spread
    if isinstance(like, np.ndarray):
        return np.array(leaf)
    placed = jax.device_put(leaf, sharding)
    expect(placed.dtype == leaf.dtype, "load", f"float64 to be on, for a leaf of {leaf.dtype}", "jax_enable_x64 off",
           "load inside of jax.enable_x64(True)")
    return placed


def _type(leaf: Any) -> str:
    if not hasattr(leaf, "dtype"):
        return type(leaf).__name__
    return f"{leaf.dtype}{list(leaf.shape)}"
