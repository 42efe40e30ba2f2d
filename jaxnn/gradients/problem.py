"""One point at which gradients are compared: a reference, its arguments, and a random cotangent there.

The gradient is that of φ(args) = <dy, reference(args)>, one leaf for each floating-point leaf of the
arguments. All that is known from the reference alone is found here, once for any number of candidates.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import InputError
from jaxnn.cotangents import is_inexact
from jaxnn.gradients.leaf import Wanted, as_wide, difference, largest
from jaxnn.linearity import equations

__all__ = ["Output", "Problem", "Side", "one_line", "pair", "precision", "random_like"]

# A leaf below this part of the whole gradient's largest element, in float64, is zero but for rounding:
# the bias ahead of a batch norm, say.
ZERO = 1e-12
# What series and iterations leave over in float64, in units of its eps: some 1e-12.
SERIES = 1e4
# In units of the square root of eps: a function whose gradient moves by more than this between its dtype and
# float64 is another one there.
ANOTHER = 8.0


class Output(NamedTuple):
    """A floating-point leaf of the value."""

    path: str
    shape: tuple[int, ...]
    dtype: Any


class Side:
    """A function of the moving leaves, (moving) -> inexact leaves of the value, and its derivatives."""

    def __init__(self, name: str, outputs: Callable[[list[Any]], list[Any]]):
        self.name, self.outputs = name, outputs
        self.value = jax.jit(outputs)
        self.pull_back = jax.jit(self.pulled_back)
        self.push_forward = jax.jit(lambda moving, t: jax.jvp(outputs, (moving,), (_like(moving, t),))[1])
        self.second_order = jax.jit(lambda moving, dy, t: jax.jvp(
            lambda m: self.pulled_back(m, dy), (moving,), (_like(moving, t),))[1])
        self.changes = jax.jit(self._changes)

    def pulled_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        """The cotangents of the moving leaves."""
        y, pull = jax.vjp(self.outputs, moving)
        return pull([d.astype(leaf.dtype) for d, leaf in zip(dy, y, strict=True)])[0]

    def _changes(self, moving: list[Any], dy: list[Any], t: list[Any], steps: Any) -> Any:
        """<dy, y(x + h t) - y(x)> for each step h, and what rounding y by one unit may add to it."""
        y = self.outputs(moving)

        def change(h: Any) -> Any:
            moved = self.outputs([m + (h * d).astype(m.dtype)
                                  for m, d in zip(moving, _like(moving, t), strict=True)])
            return sum(pair(d, b - a) for d, a, b in zip(dy, y, moved, strict=True))

        eps = sum(jnp.sum(jnp.abs(d * a)) * jnp.finfo(a.dtype).eps for d, a in zip(dy, y, strict=True))
        return lax.map(change, steps), eps


class Problem:
    """A reference at its arguments and one cotangent.

    Args:
      reference: any callable of the arguments.
      args: its arguments. Floating-point arrays and Python floats move; integers, PRNG keys and whatever
        else there is are held.
      static: its keyword arguments.
      names: of the positional arguments, for the paths.
      seed: of the cotangent and the directions.
      only: paths of the outputs to look at; None for all.
      hold: numbers of arguments that are left as they are, floating-point or not.
    Raises:
      InputError: the reference fails, or there is nothing to differentiate.
    """

    def __init__(self, reference: Callable, args: tuple, static: dict[str, Any] | None = None, *,
                 names: tuple[str, ...] | None = None, seed: int = 0, only: set[str] | None = None,
                 hold: tuple[int, ...] = ()):
        self.callable, self.static, self.seed, self.only = reference, dict(static or {}), seed, only
        self.names = names or argument_names(reference)
        flat, self.tree = jax.tree_util.tree_flatten_with_path(args)
        self.hold = hold
        self.leaves = [leaf if path[0].idx in hold else _as_array(leaf) for path, leaf in flat]
        self.all_paths = [_path(path, self.names) for path, _ in flat]
        self.smooth = [i for i, leaf in enumerate(self.leaves)
                       if isinstance(leaf, jax.Array) and is_inexact(leaf) and flat[i][0][0].idx not in hold]
        self.paths = [self.all_paths[i] for i in self.smooth]
        self.moving = [self.leaves[i] for i in self.smooth]
        if not self.moving:
            came = ", ".join(map(_kind, self.leaves)) or "none"
            raise InputError("compare_gradients", "expects at least one floating-point argument; got "
                             f"{came}; pass floats where a gradient is due")
        try:
            self.y = jax.eval_shape(lambda: reference(*args, **self.static))
        except Exception as error:
            raise InputError("compare_gradients", "expects a reference that can be called with these "
                             f"arguments; it raised {one_line(error)}") from error
        self.outputs = [out for out in outputs_of(self.y) if only is None or out.path in only]
        if not self.outputs:
            raise InputError("compare_gradients", "expects a function with a floating-point value; the "
                             f"reference returns {_kinds(self.y)}: there is nothing to differentiate")
        self.reference = Side("the reference", self.function_of(reference))
        rng = np.random.default_rng(seed)
        self.dy = [_normal(rng, out.shape, out.dtype) for out in self.outputs]

    @property
    def args(self) -> tuple:
        return self.arguments(self.moving)

    def arguments(self, moving: list[Any]) -> tuple:
        """The arguments with these moving leaves."""
        filled = list(self.leaves)
        for i, leaf in zip(self.smooth, moving, strict=True):
            filled[i] = leaf
        return jax.tree.unflatten(self.tree, filled)

    def function_of(self, f: Callable) -> Callable[[list[Any]], list[Any]]:
        """f as (moving) -> the outputs that are looked at."""
        wanted = [out.path for out in self.outputs]

        def outputs(moving: list[Any]) -> list[Any]:
            y = f(*self.arguments(moving), **self.static)
            by_path = {_path(path, ()): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(y)}
            return [jnp.asarray(by_path[path]) for path in wanted]

        return outputs

    def cotangent(self, y: Any, dy: list[Any]) -> Any:
        """dy in the structure of y, which may have more outputs than are looked at: None for integers."""
        given = dict(zip([out.path for out in self.outputs], dy, strict=True))

        def one(path: Any, leaf: Any) -> Any:
            if not is_inexact(leaf):
                return None
            here = given.get(_path(path, ()))
            return jnp.zeros(leaf.shape, leaf.dtype) if here is None else here.astype(leaf.dtype)

        return jax.tree_util.tree_map_with_path(one, y)

    def tangents(self, seed: int, only: int | None = None) -> list[Any]:
        """A random direction of the arguments; of one leaf, zeros elsewhere, with `only`."""
        rng = np.random.default_rng((self.seed, seed))
        return [_normal(rng, m.shape, m.dtype) if only in (None, i) else jnp.zeros(m.shape, m.dtype)
                for i, m in enumerate(self.moving)]

    @functools.cached_property
    def gradient(self) -> list[Any]:
        return self.reference.pull_back(self.moving, self.dy)

    @functools.cached_property
    def wide(self) -> tuple[list[Any], list[Any]]:
        """(moving, dy) in float64, for use under `precision`."""
        with precision():
            return [widen(m) for m in self.moving], [widen(d) for d in self.dy]

    def in_float64(self, program: Callable) -> list[np.ndarray] | None:
        """program(moving, dy) in float64; None where it can't be run so."""
        try:
            with precision():
                return [as_wide(leaf) for leaf in program(*self.wide)]
        except Exception:  # bound to one precision
            return None

    @functools.cached_property
    def in_other_precision(self) -> list[np.ndarray] | None:
        """The reference's gradient in float64, as it comes."""
        return self.in_float64(self.reference.pull_back)

    @functools.cached_property
    def wanted64(self) -> list[Wanted] | None:
        """What f should give in float64. None where the reference can't be run so, or rounds to a narrower
        dtype inside."""
        if self.in_other_precision is None or not self.is_wide(self.reference):
            return None
        eps = float(np.finfo(np.float64).eps)
        moved = [self._one_rounding_away(self.reference.pull_back, seed, True, eps) for seed in (1, 2)]
        wanted = self._with_noise(self.paths, self.in_other_precision, None, moved, lambda i: eps)
        return [leaf._replace(noise=max(leaf.noise, SERIES)) for leaf in wanted]

    def is_wide(self, side: Side) -> bool:
        """Whether all that a side computes in float64 is float64, and nothing is hidden from JAX."""
        def is_narrow(aval: Any) -> bool:
            dtype = getattr(aval, "dtype", None)
            return dtype is not None and jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits < 64

        try:
            with precision():
                jaxpr = jax.make_jaxpr(side.pulled_back)(*self.wide).jaxpr
        except Exception:
            return False
        return not any(
            eqn.primitive.name in _HIDDEN or any(is_narrow(v.aval) for v in (*eqn.invars, *eqn.outvars))
            for eqn in equations(jaxpr))

    @functools.cached_property
    def oracle(self) -> list[np.ndarray] | None:
        """The reference's gradient in float64; None where it can't be run so, or is another function there.

        Random numbers are drawn anew in another precision: a dropout mask, say.
        """
        exact = self.in_other_precision
        if exact is None:
            return None
        whole = max(map(largest, exact))
        for value, true in zip(self.gradient, exact, strict=True):
            wide, limit = as_wide(value), ANOTHER * np.sqrt(float(jnp.finfo(value.dtype).eps)) * largest(true)
            off = difference(wide, true)[np.isfinite(wide)]  # float64 decides where it overflows
            if largest(true) > ZERO * whole and off.max(initial=0) > limit:
                return None
        return exact

    @functools.cached_property
    def wanted(self) -> list[Wanted]:
        """What each leaf of the gradient should be."""
        return self.judge(self.paths, self.gradient, self.oracle, self.reference.pull_back)

    @functools.cached_property
    def value(self) -> list[Wanted]:
        """What each output should be."""
        def program(moving: list[Any], dy: list[Any]) -> list[Any]:
            return self.reference.value(moving)

        exact = None if self.oracle is None else self.in_float64(program)
        return self.judge([out.path for out in self.outputs], program(self.moving, self.dy), exact, program)

    @functools.cached_property
    def second_order(self) -> list[Wanted]:
        """What the product of φ's Hessian with the direction `tangents(0)` should be.

        Its terms are of the gradient's size even where they cancel: a unit is a rounding of the larger one.
        """
        def program(moving: list[Any], dy: list[Any]) -> list[Any]:
            return self.reference.second_order(moving, dy, self.tangents(0))

        exact = None if self.oracle is None else self.in_float64(program)
        wanted = self.judge(self.paths, program(self.moving, self.dy), exact, program)
        scales = [max(w.scale, g.scale) for w, g in zip(wanted, self.wanted, strict=True)]
        return [w._replace(scale=scale, noise=w.noise * (w.scale or 1.0) / (scale or 1.0))
                for w, scale in zip(wanted, scales, strict=True)]

    @functools.cached_property
    def elsewhere(self) -> list[Any]:
        """Other arguments, near these."""
        rng = np.random.default_rng((self.seed, 4))
        return [jnp.asarray(m * (1 + 0.1 * rng.standard_normal(m.shape)), m.dtype) for m in self.moving]

    @functools.cached_property
    def reference_elsewhere(self) -> list[Any] | None:
        """The reference's gradient there; None where it does not run."""
        try:
            self.reference.outputs(self.elsewhere)  # op by op, so that it sees the values
            return self.reference.pull_back(self.elsewhere, self.dy)
        except Exception:  # arguments that must sum to one, say
            return None

    @functools.cached_property
    def held(self) -> list[str]:
        """The outputs that the reference holds fixed: no direction of the arguments moves them."""
        pushed = self.reference.push_forward(self.moving, self.tangents(0))
        return [out.path for out, leaf in zip(self.outputs, pushed, strict=True)
                if leaf.size and not np.any(np.asarray(leaf))]

    def judge(self, paths: list[str], values: list[Any], exact: list[np.ndarray] | None,
              program: Callable) -> list[Wanted]:
        """The reference's leaves with their noise: how far they are from float64, and how far a rounding of
        the arguments moves them."""
        moved = [self._one_rounding_away(program, seed, exact is not None) for seed in (1, 2)]
        return self._with_noise(paths, [as_wide(value) for value in values], exact, moved,
                                lambda i: float(jnp.finfo(values[i].dtype).eps))

    @staticmethod
    def _with_noise(paths: list[str], wide: list[np.ndarray], exact: list[np.ndarray] | None,
                    moved: list[list[np.ndarray] | None], eps_of: Callable[[int], float]) -> list[Wanted]:
        true = wide if exact is None else exact
        whole = max(map(largest, true))
        wanted = []
        for i, path in enumerate(paths):
            eps, own = eps_of(i), largest(true[i])
            scale = own if own > (eps if exact is None else ZERO) * whole else whole
            leaf = Wanted(path, wide[i], None if exact is None else exact[i], scale, eps, 0.0)
            off = [difference(wide[i], true[i])]
            for other in moved:
                # What jumps with a rounding is no noise but a kink: relu at 0, a tie in a max.
                change = difference(other[i], true[i]) if other is not None else np.zeros(())
                off.append(np.where(change > ANOTHER * np.sqrt(eps) * scale, 0, change))
            wanted.append(leaf._replace(noise=max(map(largest, off)) / leaf.unit))
        return wanted

    def _one_rounding_away(self, program: Callable, seed: int, in_float64: bool,
                           eps: float | None = None) -> list[np.ndarray] | None:
        """program at arguments and a cotangent that are each moved by up to one unit in their last place, in
        their own dtype or by a given eps."""
        rng = np.random.default_rng((self.seed, seed, 7))

        def nudge(x: Any) -> Any:
            factor = 1 + (eps or float(jnp.finfo(x.dtype).eps)) * rng.uniform(-1, 1, x.shape)
            with precision():
                moved = jnp.asarray(as_wide(x) * factor)
            return moved if in_float64 else jnp.asarray(np.asarray(moved), x.dtype)

        moving, dy = ([nudge(x) for x in leaves] for leaves in (self.moving, self.dy))
        try:
            with precision(in_float64):
                return [as_wide(leaf) for leaf in program(moving, dy)]
        except Exception:
            return None


def precision(float64: bool = True) -> contextlib.AbstractContextManager:
    """Float64, whether the session has it or not; the session's own precision with False."""
    return jax.enable_x64(True) if float64 else contextlib.nullcontext()


# What these compute, and in which precision, JAX does not see.
_HIDDEN = {"pure_callback", "io_callback", "ffi_call", "custom_call", "pallas_call"}


def _like(moving: list[Any], t: list[Any]) -> list[Any]:
    return [d.astype(m.dtype) for m, d in zip(moving, t, strict=True)]


def widen(x: Any) -> Any:
    return jnp.asarray(as_wide(x))


def pair(a: Any, b: Any) -> Any:
    """<a, b>: JAX's pairing of a cotangent with a tangent, the real part of Σ a b for complex ones."""
    return (a * b).real.sum()  # of NumPy arrays in float64, of JAX arrays in theirs


def outputs_of(y: Any) -> list[Output]:
    return [Output(_path(path, ()), leaf.shape, leaf.dtype)
            for path, leaf in jax.tree_util.tree_leaves_with_path(y) if is_inexact(leaf)]


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


def random_like(rng: np.random.Generator, x: Any) -> Any:
    return _normal(rng, x.shape, x.dtype)


def one_line(error: BaseException) -> str:
    """The name of an error and what its text says first."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    said = lines[0] if len(lines) == 1 or not lines[0].endswith((":", "error")) else f"{lines[0]} {lines[1]}"
    return f"{type(error).__name__}: {said}".rstrip(": ")


def _normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Any:
    x = rng.standard_normal(shape)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        x = x + 1j * rng.standard_normal(shape)
    return jnp.asarray(x, dtype)


def _as_array(leaf: Any) -> Any:
    """Python integers, booleans and what is no number stay as they are: they may be static."""
    return jnp.asarray(leaf) if isinstance(leaf, float | complex | np.ndarray | np.generic) else leaf


def _path(path: tuple, names: tuple[str, ...]) -> str:
    """params/weight; the first entry is the number of a positional argument where names are given."""
    entries = [str(getattr(e, "key", getattr(e, "idx", getattr(e, "name", e)))) for e in path]
    if names and path:
        i = path[0].idx
        entries[0] = names[i] if i < len(names) else f"args[{i}]"
    return "/".join(entries)


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else type(leaf).__name__


def _kinds(y: Any) -> str:
    return ", ".join(map(_kind, jax.tree.leaves(y))) or "nothing"
