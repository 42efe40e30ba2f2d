"""Checks at the edge of every public function, and the wording of a refusal.

A refusal is one sentence: which function expected what of which argument, what it got, and what to do. Shapes
and dtypes are static, so checking them costs nothing under `jit`; values are checked only where they are
concrete.
"""

import contextlib
import dataclasses
import functools
import inspect
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["Entries", "InputError", "accepts", "as_numpy", "as_path", "at", "expect", "expect_array", "expect_arrays",
           "expect_bool", "expect_float", "expect_integers", "expect_key", "expect_like", "expect_real",
           "expect_shape", "has_numbers", "is_integer", "is_number", "known", "weights"]


class InputError(ValueError, TypeError):
    """A refused argument. Each container on the way up adds the place in the network."""

    def __init__(self, who: str, problem: str):
        super().__init__(who, problem)
        self.who, self.problem = who, problem
        self.layer: str | None = None
        self.path: tuple[str, ...] = ()

    def __str__(self) -> str:
        place = f" at '{'/'.join(self.path)}'" if self.path else ""
        return f"{self.layer or self.who}{place} {self.problem}"


@contextmanager
def at(part: str | None = None, *, layer: str | None = None) -> Iterator[None]:
    """Names a part of a network: the scope of its equations, and the place and the layer of an InputError inside."""
    try:
        with contextlib.nullcontext() if part is None else jax.named_scope(part):
            yield
    except InputError as error:
        if layer is not None and error.layer is None and not error.path:
            error.layer = layer
        if part is not None:
            error.path = (part, *error.path)
        raise
    except KeyError as error:
        if layer is None:
            raise
        found = InputError(layer, f"reads an entry {error} that its params or its state do not have; make them with "
                           "the init of this layer")
        found.path = () if part is None else (part,)
        raise found from error


def expect(condition: bool, who: str, expected: str, actual: str, advice: str = "") -> None:
    """Raises InputError '{who} expects {expected}; got {actual}; {advice}' unless the condition holds."""
    if not condition:
        raise InputError(who, f"expects {expected}; got {actual}" + (f"; {advice}" if advice else ""))


def expect_array(who: str, name: str, x: Any) -> None:
    if hasattr(x, "dtype") or isinstance(x, bool | int | float | complex):
        return
    actual, advice = type(x).__name__, f"convert it: jnp.asarray({name})" if isinstance(x, list | tuple) else ""
    shapes = [str(part.shape) for part in x if getattr(part, "shape", ())] if isinstance(x, list | tuple) else []
    if shapes:  # which jnp.asarray would stack
        actual += f" with {'an array of shape' if len(shapes) == 1 else 'arrays of shapes'} {', '.join(shapes)}"
        advice = "pass that array itself" if len(x) == 1 else (
            f"pass one of them, or join them first: jnp.stack({name}), jnp.concatenate({name})")
    expect(False, who, f"{name} to be an array", actual, advice)


def expect_arrays(who: str, name: str, tree: Any) -> None:
    """A tree of arrays of numbers and PRNG keys, and of Python's numbers: what JAX takes for a leaf."""
    if not all(map(_is_leaf, jax.tree.leaves(tree))):  # a step asks this each time: the paths come after
        path, leaf = next(pair for pair in jax.tree_util.tree_leaves_with_path(tree) if not _is_leaf(pair[1]))
        found = f"an array of dtype {leaf.dtype}" if hasattr(leaf, "dtype") else type(leaf).__name__
        expect(False, who, f"{name} of arrays of numbers", f"{found} as {name}{jax.tree_util.keystr(path)}")


def _is_leaf(x: Any) -> bool:
    if isinstance(x, np.ndarray | np.generic):
        return has_numbers(x)
    return hasattr(x, "dtype") or isinstance(x, bool | int | float | complex)


def as_numpy(who: str, name: str, x: Any) -> np.ndarray:
    """x as an array of NumPy, if its rows are of one length."""
    try:
        return np.asarray(x)
    except ValueError as error:
        raise InputError(who, f"expects {name}, an array; got {type(x).__name__} of rows of unequal length") from error


def as_path(who: str, name: str, path: Any) -> Path:
    """A path, of text or of an object that stands for one."""
    is_path = isinstance(path, str | os.PathLike) and str(path) != "" and "\0" not in str(path)
    expect(is_path, who, f"{name}, text or a path", repr(path))
    return Path(path)


def has_numbers(x: np.ndarray | np.generic) -> bool:
    """Whether NumPy's dtype is one of numbers: text, dates and Python objects are none."""
    return x.dtype.kind in "biufc" or (x.dtype.kind == "V" and x.dtype.names is None)  # V: bfloat16 and its kind


def accepts(f: Any, n: int, **keywords: Any) -> bool:
    """Whether f can be called with n positional arguments and these keywords, as far as its signature tells."""
    if not callable(f) or isinstance(f, type):
        return False
    try:
        inspect.signature(f).bind(*[None] * n, **keywords)
    except TypeError:
        return False
    except ValueError:  # a function in C has no signature to look at
        return True
    return True


def expect_shape(who: str, name: str, x: Any, shape: Sequence[int | str], advice: str = "") -> None:
    """Checks x against a shape in which a word stands for any size: ("time", 64)."""
    expect_array(who, name, x)
    if not _fits(jnp.shape(x), shape):
        if not advice and name == "x" and jnp.ndim(x) == len(shape) + 1:
            advice = "it takes one example: use jax.vmap for a batch, or over_examples around a layer"
        elif not advice and name == "x" and _fits(jnp.shape(x), shape[1:]) and (
                any(isinstance(n, int) for n in shape[1:] or shape)):
            advice = "an axis is missing in front, under jax.vmap or over_examples that of the examples: x[None]"
        expect(False, who, f"{name} of shape {_written(shape)}", str(jnp.shape(x)), advice)


def _fits(sizes: tuple[int, ...], shape: Sequence[int | str]) -> bool:
    return len(sizes) == len(shape) and all(isinstance(n, str) or n == m for n, m in zip(shape, sizes, strict=True))


def expect_float(who: str, name: str, x: Any) -> None:
    expect_array(who, name, x)
    if not jnp.issubdtype(_dtype(x), jnp.floating):
        scaled = ", and pixels to 0..1: {}.astype(jnp.float32) / 255" if _dtype(x) == jnp.uint8 else (
            ": {}.astype(jnp.float32)")
        expect(False, who, f"floating-point {name}", str(_dtype(x)), f"convert it{scaled.format(name)}")


def expect_integers(who: str, name: str, x: Any) -> None:
    expect_array(who, name, x)
    if not jnp.issubdtype(_dtype(x), jnp.integer):
        expect(False, who, f"integer {name}", str(_dtype(x)), f"convert it: {name}.astype(jnp.int32)")


def expect_real(who: str, name: str, x: Any) -> None:
    """Floating-point numbers, integers or booleans."""
    expect_array(who, name, x)
    dtype = _dtype(x)
    is_real = any(jnp.issubdtype(dtype, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_))
    expect(is_real, who, f"real {name}, floating-point numbers, integers or booleans", str(dtype))


def expect_key(who: str, key: Any) -> None:
    """One PRNG key: of `jax.random.key`, or of the older `jax.random.PRNGKey`."""
    advice = "pass key=jax.random.key(seed)"
    if not hasattr(key, "dtype"):
        expect(False, who, "a PRNG key", "None" if key is None else f"{type(key).__name__} {key!r}", advice)
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    is_raw = key.dtype == jnp.uint32 and jnp.ndim(key) == 1 and key.shape[0] in (2, 4)
    expect(is_typed or is_raw, who, "a PRNG key", f"{key.dtype}{list(jnp.shape(key))}", advice)
    expect(is_raw or jnp.ndim(key) == 0, who, "one PRNG key", f"keys of shape {jnp.shape(key)}",
           "take one of them, or use jax.vmap for one each")


def expect_bool(who: str, name: str, value: Any) -> None:
    """A static choice: 1, "no" and None are none."""
    expect(isinstance(value, bool | np.bool_), who, f"{name} to be True or False", repr(value))


def _dtype(x: Any) -> Any:
    return x.dtype if hasattr(x, "dtype") else jnp.result_type(x)


def expect_like(who: str, name: str, pattern_name: str, tree: Any, pattern: Any) -> list[Any]:
    """The leaves of a tree that must have the structure and shapes of a pattern; None fits in place of any part."""
    def is_none(x: Any) -> bool:
        return x is None

    prefix: Any = jax.tree.structure(tree, is_leaf=is_none)
    leaves: list[Any] = []
    try:
        for leaf, part in zip(jax.tree.leaves(tree, is_leaf=is_none), prefix.flatten_up_to(pattern), strict=True):
            n = len(jax.tree.leaves(part))
            if leaf is not None and n != 1:
                raise ValueError
            leaves += [leaf] * n
    except ValueError:
        expect(False, who, f"{name} with the structure of {pattern_name}, {jax.tree.structure(pattern)}", str(prefix))
    for leaf, (path, like) in zip(leaves, jax.tree_util.tree_leaves_with_path(pattern), strict=True):
        if leaf is not None:
            part = name + jax.tree_util.keystr(path)
            expect(hasattr(leaf, "shape") or isinstance(leaf, bool | int | float | complex), who, f"an array as {part}",
                   type(leaf).__name__)
            expect(jnp.shape(leaf) == like.shape, who, f"{part} of the shape of {pattern_name}, {like.shape}",
                   str(jnp.shape(leaf)))
    return [leaf if leaf is None or hasattr(leaf, "dtype") else jnp.asarray(leaf) for leaf in leaves]


def is_integer(n: Any, least: float = -math.inf) -> bool:
    """Whether n is a Python or NumPy integer of at least this size; True and False are none."""
    return isinstance(n, int | np.integer) and not isinstance(n, bool) and bool(n >= least)


def is_number(x: Any, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether x is a finite real number of Python or NumPy in [least, most]; True and False are none."""
    is_real = isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)
    return is_real and bool(np.isfinite(x)) and bool(least <= x <= most)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Entries:
    """Which entries a mapping of params has. It rides in a cache, so that backward returns the mapping's own
    structure: a dict, an OrderedDict, with or without None in the place of an entry that is left out."""

    names: tuple[str, ...]
    """Of the entries that are arrays, in the order of the mapping's leaves."""
    structure: Any

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def fill(self, **arrays: Any) -> Any:
        """A mapping like the one that was given, of these arrays; one for an entry left out is not used."""
        return self.structure.unflatten([arrays[name] for name in self.names])


def weights(who: str, params: Any, /, argument: str = "params", **shapes: str) -> tuple[Any, ...]:
    """The arrays of a mapping of params, in the order of `shapes`, and its Entries.

    Args:
      who: the op's name, for the message.
      params: a dict, or another mapping that JAX knows as a pytree.
      argument: what params is called in a message.
      shapes: for each entry its axes, in words. A word stands for one size throughout: weight="n_out n_in",
        bias="n_out". Also "3", a size; "4*n", a multiple of n; "..." in front, any number of axes; and "?"
        at the end for an entry that may be left out or be None, which comes back as None.
    Raises:
      InputError: an entry is missing or not known, is no array of floating-point numbers, or its shape does
        not fit.

    >>> params = {"weight": jnp.ones((3, 2)), "bias": None}
    >>> weight, bias, entries = weights("dense", params, weight="n_out n_in", bias="n_out?")
    >>> bias, entries.fill(weight="dW", bias="db")
    (None, {'bias': None, 'weight': 'dW'})
    """
    _expect_entries(who, params, argument, shapes)
    sizes: dict[str, int] = {}
    arrays = []
    for name, shape in shapes.items():
        x = params.get(name)
        if x is not None:
            expect_float(who, name, x)
            axes = shape.rstrip("?").split()
            found = _sizes(axes, jnp.shape(x), sizes)
            if found is None:
                expected = [axis if (n := _size(axis, sizes)) is None else n for axis in axes]
                expect(False, who, f"{name} of shape {_written(expected)}", str(jnp.shape(x)))
            else:
                sizes = found
        arrays.append(x)
    present = tuple(name for name, x in zip(shapes, arrays, strict=True) if x is not None)
    return *arrays, _entries(who, jax.tree.structure(params), present)


@functools.lru_cache(maxsize=1024)
def _entries(who: str, structure: Any, present: tuple[str, ...]) -> Entries:
    places = structure.unflatten(range(structure.num_leaves))
    for name in present:  # a single entry that holds arrays may know better than this what may be done with it
        place = places[name]
        expect(isinstance(place, int) or len(present) == 1, who, f"{name}, an array",
               f"{type(place).__name__}, which holds arrays",
               f"pass the array in it, such as params['{name}'][...] of a Flax variable")
    return Entries(tuple(sorted(present, key=lambda name: places[name])), structure)


def _expect_entries(who: str, params: Any, argument: str, shapes: dict[str, str]) -> None:
    if isinstance(params, Mapping):
        missing = [name for name, shape in shapes.items() if params.get(name) is None and not shape.endswith("?")]
        if not set(params) <= set(shapes) or not set(missing) <= set(params):
            actual = f"keys {sorted(map(str, params))}"
        elif missing:
            actual = f"None for {missing}"
        elif jax.tree_util.all_leaves([params]) and params:
            actual = f"{type(params).__name__}, which JAX takes for a leaf; convert it: dict({argument})"
        else:
            return
    else:
        actual = type(params).__name__
    entries = ", ".join(f"'{name}': {_written(shape.rstrip('?').split())}" + " or None" * shape.endswith("?")
                        for name, shape in shapes.items())
    expect(False, who, f"{argument} to be {{{entries}}}", actual)


def _sizes(axes: list[str], shape: tuple[int, ...], sizes: dict[str, int]) -> dict[str, int] | None:
    """The sizes known from before and those that the shape gives to the axes; None where it does not fit."""
    if axes[:1] == ["..."]:
        axes = axes[1:]
        shape = shape[max(len(shape) - len(axes), 0):]
    if len(axes) != len(shape):
        return None
    found = dict(sizes)
    for axis, n in zip(axes, shape, strict=True):
        if _size(axis, found) is None:
            factor, _, name = axis.rpartition("*")
            found[name] = n // int(factor or 1)
        if _size(axis, found) != n:
            return None
    return found


def _size(axis: str, sizes: dict[str, int]) -> int | None:
    """The size of an axis as it is described, "n", "3" or "4*n"; None where n is not known."""
    factor, _, name = axis.rpartition("*")
    n = int(name) if name.isdecimal() else sizes.get(name)
    return None if n is None else int(factor or 1) * n


def _written(shape: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def known(x: Any) -> np.ndarray | None:
    """The values of x where they are known at the call; None under `jit`.

    Under `vmap` alone an array is wrapped but its values are there: those of all examples are returned, the
    axes of `vmap` in front, the outermost first.
    """
    if not isinstance(x, jax.core.Tracer):
        return np.asarray(x)
    # A tracer of `jit` has a `val` too, but that is a variable of the jaxpr.
    values = known(x.val) if hasattr(x, "batch_dim") else None
    if values is None or not isinstance(x.batch_dim, int):
        return values
    outer = values.ndim - jnp.ndim(x.val)
    return np.moveaxis(values, outer + x.batch_dim, outer)
