"""Is a function of float64 arguments computed in float64 throughout? Read off its jaxpr.

What no output is computed from does not count, nor does a narrower constant that is only moved about, since that
rounds nothing.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.extend import core

__all__ = ["Widths", "widths"]

# They move numbers and round none.
_MOVES = {"broadcast_in_dim", "copy", "expand_dims", "reshape", "rev", "slice", "squeeze", "transpose", "gather",
          "dynamic_slice", "concatenate", "iota", "stop_gradient", "pvary", "pcast"}
_CALLS = {"pjit": "jaxpr", "jit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr",
          "checkpoint": "jaxpr", "remat2": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


class Widths(NamedTuple):
    all_wide: bool
    """Whether nothing is computed in less than float64."""
    moving_wide: bool
    """Whether nothing that depends on the arguments is; constants may be."""


def widths(jaxpr: Any) -> Widths:
    """Of a jaxpr whose inputs are the arguments."""
    found, _ = _walk(jaxpr, [True] * len(jaxpr.invars), [True] * len(jaxpr.outvars))
    return found


def _walk(jaxpr: Any, depends: Sequence[bool], used: Sequence[bool]) -> tuple[Widths, list[bool]]:
    """The widths, and which outputs depend on the arguments. depends: which inputs do; used: which outputs count."""
    live = {var for var, is_used in zip(jaxpr.outvars, used, strict=True) if is_used and _is_var(var)}
    equations = []
    for eqn in reversed(jaxpr.eqns):
        if eqn.effects or any(var in live for var in eqn.outvars):
            equations.append((eqn, [var in live for var in eqn.outvars]))
            live |= set(filter(_is_var, eqn.invars))
    moving = {var for var, does in zip(jaxpr.invars, depends, strict=True) if does}
    all_wide = moving_wide = True
    for eqn, is_used in reversed(equations):
        reads = [_is_var(var) and var in moving for var in eqn.invars]
        found, own = _of_equation(eqn, reads, is_used)
        all_wide, moving_wide = all_wide and found.all_wide, moving_wide and found.moving_wide
        moving |= {var for var, does in zip(eqn.outvars, own, strict=True) if does}
    return Widths(all_wide, moving_wide), [_is_var(var) and var in moving for var in jaxpr.outvars]


def _of_equation(eqn: Any, reads: list[bool], used: list[bool]) -> tuple[Widths, list[bool]]:
    if eqn.primitive.name in _CALLS:
        inner = eqn.params[_CALLS[eqn.primitive.name]]
        return _walk(getattr(inner, "jaxpr", inner), reads, used)
    depends = [any(reads)] * len(eqn.outvars)
    inner_jaxprs = [getattr(p, "jaxpr", p) for value in eqn.params.values()
                    for p in (value if isinstance(value, tuple | list) else [value])
                    if isinstance(p, core.Jaxpr | core.ClosedJaxpr)]
    if inner_jaxprs:  # loops and branches
        found = [_walk(inner, [any(reads)] * len(inner.invars), [True] * len(inner.outvars))[0]
                 for inner in inner_jaxprs]
        return Widths(all(w.all_wide for w in found), all(w.moving_wide for w in found)), depends
    narrow = any(_is_narrow(var.aval) for var in eqn.outvars)
    is_moved = eqn.primitive.name in _MOVES or (eqn.primitive.name == "convert_element_type" and not jnp.issubdtype(
        eqn.invars[0].aval.dtype, jnp.inexact))
    return Widths(not narrow or (is_moved and not any(reads)), not narrow or not any(reads)), depends


def _is_var(atom: Any) -> bool:
    return not isinstance(atom, core.Literal)


def _is_narrow(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits < 64
