"""A function of the leaves that move, with its value and its derivatives compiled once for every user.

A gradient is compared in several precisions: each program is compiled once in each.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.gradients.leaf import as_wide
from jaxnn.linearity import equations

__all__ = ["Programs", "pair", "precision", "widen"]

# What these compute, and in which precision, JAX does not see.
_HIDDEN = {"pure_callback", "io_callback", "ffi_call", "custom_call", "pallas_call"}


class Programs:
    """The programs of one function, (moving) -> inexact leaves of its value.

    moving, dy and tangents are lists of arrays: the leaves of the arguments that move, a cotangent of the value and
    a tangent of the arguments.
    """

    def __init__(self, outputs: Callable[[list[Any]], list[Any]]):
        self.outputs = outputs
        self.value = jax.jit(outputs)
        self.pull_back = jax.jit(self.pulled_back)
        self.push_forward = jax.jit(self._pushed_forward)
        self.second_order = jax.jit(self._second_order)
        self.changes = jax.jit(self._changes)

    def pulled_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        """The cotangents of the leaves that move."""
        y, pull = jax.vjp(self.outputs, moving)
        return pull([d.astype(leaf.dtype) for d, leaf in zip(dy, y, strict=True)])[0]

    def _pushed_forward(self, moving: list[Any], tangents: list[Any]) -> list[Any]:
        return jax.jvp(self.outputs, (moving,), (_in_dtypes_of(moving, tangents),))[1]

    def _second_order(self, moving: list[Any], dy: list[Any], tangents: list[Any]) -> list[Any]:
        """The product of the Hessian of <dy, y> with the tangents."""
        return jax.jvp(lambda m: self.pulled_back(m, dy), (moving,), (_in_dtypes_of(moving, tangents),))[1]

    def _changes(self, moving: list[Any], dy: list[Any], tangents: list[Any], steps: Any) -> Any:
        """<dy, y(x + h t) - y(x)> for each step h, and what rounding y by one unit may add to each."""
        y = self.outputs(moving)
        tangents = _in_dtypes_of(moving, tangents)

        def change(h: Any) -> Any:
            moved = self.outputs([m + (h * t).astype(m.dtype) for m, t in zip(moving, tangents, strict=True)])
            return sum(pair(d, b - a) for d, a, b in zip(dy, y, moved, strict=True))

        eps = sum(jnp.sum(jnp.abs(d * a)) * jnp.finfo(a.dtype).eps for d, a in zip(dy, y, strict=True))
        return lax.map(change, steps), eps

    def is_wide(self, moving: list[Any], dy: list[Any]) -> bool:
        """Whether all that is computed of float64 arguments is float64, and nothing is hidden from JAX."""
        try:
            with precision():
                jaxpr = jax.make_jaxpr(self.pulled_back)(moving, dy).jaxpr
        except Exception:
            return False
        return not any(
            eqn.primitive.name in _HIDDEN or any(_is_narrow(v.aval) for v in (*eqn.invars, *eqn.outvars))
            for eqn in equations(jaxpr))


class ForwardPrograms(Programs):
    """Those of a function without reverse mode, one with a `while_loop` say: <J_fᵀ dy, e> = <dy, J_f e> for each
    coordinate e, one after another."""

    def pulled_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        def derivative(i: int, k: Any) -> Any:
            def along(step: Any) -> list[Any]:
                moved = list(moving)
                moved[i] = moving[i].reshape(-1).at[k].add(step).reshape(moving[i].shape)
                return self.outputs(moved)

            def slope(unit: Any) -> Any:
                unit = jnp.asarray(unit, moving[i].dtype)
                y, dy_along = jax.jvp(along, (jnp.zeros_like(unit),), (unit,))
                return sum(pair(d.astype(leaf.dtype), t) for d, leaf, t in zip(dy, y, dy_along, strict=True))

            if not jnp.issubdtype(moving[i].dtype, jnp.complexfloating):
                return slope(1)
            return slope(1) - 1j * slope(1j)  # JAX pairs without conjugating: Re(c t) for each t

        return [lax.map(lambda k, i=i: derivative(i, k), jnp.arange(m.size)).reshape(m.shape).astype(m.dtype)
                for i, m in enumerate(moving)]


class NoPrograms(Programs):
    """Those of a function without derivatives: its gradient is NaN, which judges nothing."""

    def pulled_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        return [jnp.full_like(m, jnp.nan) for m in moving]

    def _second_order(self, moving: list[Any], dy: list[Any], tangents: list[Any]) -> list[Any]:
        return self.pulled_back(moving, dy)


def pair(a: Any, b: Any) -> Any:
    """<a, b>: JAX's pairing of a cotangent with a tangent, the real part of Σ a b for complex ones."""
    return (a * b).real.sum()  # of NumPy arrays in float64, of JAX arrays in theirs


def precision(float64: bool = True) -> contextlib.AbstractContextManager:
    """Float64, whether the session has it or not; the session's own precision with False."""
    return jax.enable_x64(True) if float64 else contextlib.nullcontext()


def widen(x: Any) -> Any:
    """x in float64 or complex128, as a JAX array, for use under `precision`."""
    return jnp.asarray(as_wide(x))


def _in_dtypes_of(moving: list[Any], tangents: list[Any]) -> list[Any]:
    return [t.astype(m.dtype) for m, t in zip(moving, tangents, strict=True)]


def _is_narrow(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits < 64
