"""The leaves of arguments and values: their paths, and what they are in words."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.cotangents import is_inexact

__all__ = ["Output", "argument_names", "as_array", "describe", "normal", "outputs_of", "path_of", "to_device"]


class Output(NamedTuple):
    """A floating-point leaf of the value."""

    path: str
    shape: tuple[int, ...]
    dtype: Any


def outputs_of(y: Any) -> list[Output]:
    return [Output(path_of(path), leaf.shape, leaf.dtype)
            for path, leaf in jax.tree_util.tree_leaves_with_path(y) if is_inexact(leaf)]


def path_of(path: tuple, names: tuple[str, ...] = ()) -> str:
    """params/weight; the first entry is the number of a positional argument where names are given."""
    entries = [str(getattr(e, "key", getattr(e, "idx", getattr(e, "name", e)))) for e in path]
    if names and path:
        i = path[0].idx
        entries[0] = names[i] if i < len(names) else f"args[{i}]"
    return "/".join(entries)


def argument_names(f: Callable) -> tuple[str, ...]:
    """The names of the positional arguments; none where the signature has none, (*args) say."""
    names = getattr(f, "arguments", None)
    if names is not None:
        return tuple(names)
    try:
        parameters = inspect.signature(f).parameters.values()
    except (TypeError, ValueError):
        return ()
    return tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD))


def as_array(leaf: Any) -> Any:
    """Python integers, booleans and what is no number stay as they are: they may be static."""
    return jnp.asarray(leaf) if isinstance(leaf, float | complex | np.ndarray | np.generic) else leaf


def describe(leaf: Any) -> str:
    """float32[3], or the name of the type of what is no array."""
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__


def normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    """Standard normal numbers, the real and the imaginary part each."""
    x = rng.standard_normal(shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        x = x + 1j * rng.standard_normal(shape)
    return to_device(x, dtype)


def to_device(x: np.ndarray, dtype: Any) -> Any:
    """x as a JAX array. Rounded by NumPy: JAX would compile a program for each shape."""
    return jax.device_put(np.asarray(x).astype(dtype))
