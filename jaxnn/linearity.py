"""Is a traced function linear in its inputs? Read off its jaxpr, before JAX transposes it.

`jax.linear_transpose` trusts its caller: `dy + 1` and `where(mask, dy, 1)` are transposed as if the
constants were not there. A backward pass that adds a constant is a mistake, so this module looks for it.

One walk along the equations gives every value one kind:

    ZERO     the constant 0
    LINEAR   a linear function of dy
    FIXED    anything else that does not depend on dy
    a reason, in words: why the value is not a linear function of dy

A product keeps at most one linear factor, a sum never mixes linear with fixed. A primitive that is
not listed is taken to be linear: the transposition after this refuses it if it is not.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

__all__ = ["dependence", "equations", "is_linear", "opened", "why_not_linear"]

ZERO, LINEAR, FIXED = "zero", "linear", "fixed"

_PRODUCTS = {"mul", "dot_general", "conv_general_dilated", "ragged_dot"}
_SUMS = {"add", "sub", "add_any", "concatenate", "stack", "complex", "pad"}
# (operand, indices, updates)
_SCATTERS = {"scatter", "scatter-add", "scatter_add", "scatter-sub", "scatter_sub"}
_READS = {"gather", "dynamic_slice"}  # (operand, indices...)
# They move numbers and change none, so that an integer 0 stays 0.
_MOVES = {"broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "pcast", "pvary", "reshape", "rev",
          "slice", "squeeze", "transpose"}
_CALLS = {"pjit", "jit", "closed_call", "core_call", "checkpoint", "remat2", "custom_jvp_call"}
# Linear in all their operands, or in the first. A primitive that is in no list is called nonlinear where that is asked.
_LINEAR = {"neg", "reduce_sum", "cumsum", "real", "imag", "conj", "psum", "psum_invariant", "pmean", "all_gather",
           "ppermute", "all_to_all", "optimization_barrier", "sharding_constraint", "reduce_precision", "split",
           "stop_gradient", "select_and_gather_add", "device_put", "fft", "triangular_solve", "reduce_scatter"}
_RULED = _PRODUCTS | _SUMS | _SCATTERS | _READS | _CALLS - {"custom_jvp_call"} | {
    "div", "select_n", "dynamic_update_slice", "scan", "cond"}
_NONLINEAR = {
    "abs", "sign", "max", "min", "clamp", "reduce_max", "reduce_min", "argmax", "argmin", "cumprod",
    "cummax", "cummin", "sort", "eq", "ne", "gt", "ge", "lt", "le", "is_finite", "floor", "ceil",
    "round", "exp", "exp2", "expm1", "log", "log1p", "sin", "cos", "tan", "tanh", "logistic", "erf",
    "erfc", "erf_inv", "sqrt", "rsqrt", "cbrt", "square", "integer_pow", "pow", "rem", "lgamma",
    "digamma", "sinh", "cosh", "asin", "acos", "atan", "atan2", "while"}


def why_not_linear(function: Callable, *examples: Any) -> list[str | None]:
    """For each output leaf of `function`: why it is not linear in all inputs, None where it is."""
    closed = jax.make_jaxpr(function)(*examples)
    kinds = _walk(closed.jaxpr, closed.consts, [LINEAR] * len(closed.jaxpr.invars))
    kinds = ["it does not depend on dy and is not zero" if k == FIXED else k for k in kinds]
    return [None if k in (ZERO, LINEAR) else k for k in kinds]


def dependence(closed: Any, n_fixed: int) -> list[list[bool]]:
    """For each output of a closed jaxpr on which of its inputs, those after the first n_fixed, it depends linearly: on
    none where it is a zero by its structure, as the gradient of a value that is held fixed."""
    n = len(closed.jaxpr.invars) - n_fixed
    rows = []
    for i in range(n):
        kinds = [FIXED] * n_fixed + [LINEAR if j == i else ZERO for j in range(n)]
        rows.append([kind != ZERO for kind in _walk(closed.jaxpr, closed.consts, kinds)])
    return [list(column) for column in zip(*rows, strict=True)]


def is_linear(eqn: Any, moving: Sequence[bool]) -> bool:
    """Whether an equation is linear in those of its inputs that are moving, but for constants that it adds."""
    name = eqn.primitive.name
    if name not in _RULED | _MOVES | _LINEAR:
        return False
    still = ZERO if name in _SUMS else FIXED
    return all(kind in (ZERO, LINEAR, FIXED) for kind in _equation(eqn, [LINEAR if m else still for m in moving]))


def equations(jaxpr: Any) -> Iterator[Any]:
    """All equations of a jaxpr, those of the jaxprs inside of them too."""
    for eqn in jaxpr.eqns:
        yield eqn
        for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def _walk(jaxpr: Any, consts: Sequence[Any], inputs: Sequence[str]) -> list[str]:
    kinds: dict[Any, str] = dict(zip(jaxpr.invars, inputs, strict=True))
    kinds.update((var, _constant(c)) for var, c in zip(jaxpr.constvars, consts, strict=True))

    def kind(atom: Any) -> str:
        return _constant(atom.val) if isinstance(atom, core.Literal) else kinds[atom]

    for eqn in jaxpr.eqns:
        out = _equation(eqn, [kind(atom) for atom in eqn.invars])
        kinds.update(zip(eqn.outvars, out, strict=True))
    return [kind(atom) for atom in jaxpr.outvars]


def _equation(eqn: Any, kinds: list[str]) -> list[str]:
    name = eqn.primitive.name
    if name == "cond":
        return _cond(eqn, kinds)
    if name == "scan":
        return _scan(eqn, kinds)
    if name in _CALLS:
        return _walk(*_inner(eqn), kinds)
    result = _result(name, kinds)
    if result == ZERO and name in _MOVES:
        return [ZERO] * len(eqn.outvars)
    # An integer made of dy is a rounding, a comparison or a place in an order.
    rounded = f"it takes {name} of dy" if result == LINEAR else FIXED if result == ZERO else result
    return [result if _is_inexact(v) else rounded for v in eqn.outvars]


def _is_inexact(var: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(var.aval, "dtype", np.float32), np.inexact)


def _inner(eqn: Any) -> tuple[Any, Sequence[Any]]:
    return opened(next(eqn.params[k] for k in ("jaxpr", "call_jaxpr") if k in eqn.params))


def opened(inner: Any) -> tuple[Any, Sequence[Any]]:
    """A jaxpr and its constants, whether it is closed or not."""
    return getattr(inner, "jaxpr", inner), getattr(inner, "consts", ())


def _result(name: str, kinds: list[str]) -> str:
    reason = next((k for k in kinds if k not in (ZERO, LINEAR, FIXED)), None)
    if reason is not None:
        return reason
    if name in _PRODUCTS:
        if ZERO in kinds:
            return ZERO
        if kinds.count(LINEAR) > 1:
            return f"it multiplies dy with itself ({name})"
        return LINEAR if LINEAR in kinds else FIXED
    if name == "div":
        return "it divides by dy" if kinds[1] == LINEAR else kinds[0]
    if name in _SUMS:
        return _join(kinds, name)
    if name in _SCATTERS:
        return _join([kinds[0], kinds[2]], name)
    if name == "dynamic_update_slice":  # (operand, update, indices...)
        return _join(kinds[:2], name)
    if name == "select_n":
        return "it depends on the sign or size of dy" if kinds[0] == LINEAR else _join(kinds[1:], "where")
    if LINEAR in kinds:
        return f"it takes {name} of dy" if name in _NONLINEAR else LINEAR
    operands = kinds[:1] if name in _READS else kinds
    return ZERO if operands and set(operands) == {ZERO} and name not in _NONLINEAR else FIXED


def _scan(eqn: Any, kinds: list[str]) -> list[str]:
    """A carry may start at zero and become linear, so its kinds are walked to a fixed point."""
    jaxpr, closed_over = _inner(eqn)
    # The order is constants, carry, slices; only slices lose an axis on the way in or out.
    is_slice = [len(a.aval.shape) > len(b.aval.shape) for a, b in zip(eqn.invars, jaxpr.invars, strict=True)]
    n_carry = sum(len(a.aval.shape) == len(b.aval.shape)
                  for a, b in zip(eqn.outvars, jaxpr.outvars, strict=True))
    first_slice = len(kinds) - sum(is_slice)
    consts, xs = kinds[:first_slice - n_carry], kinds[first_slice:]
    carry = kinds[first_slice - n_carry:first_slice]
    while True:  # ends: a kind only ever rises, zero -> linear or fixed -> a reason
        out = _walk(jaxpr, closed_over, consts + carry + xs)
        risen = [_join([a, b], "scan") for a, b in zip(carry, out[:n_carry], strict=True)]
        if risen == carry:
            return carry + out[n_carry:]
        carry = risen


def _cond(eqn: Any, kinds: list[str]) -> list[str]:
    if kinds[0] not in (FIXED, ZERO):
        return ["it branches on dy (cond)"] * len(eqn.outvars)
    branches = [_walk(*opened(b), kinds[1:]) for b in eqn.params["branches"]]
    return [_join(list(out), "cond") for out in zip(*branches, strict=True)]


def _join(kinds: list[str], name: str) -> str:
    reason = next((k for k in kinds if k not in (ZERO, LINEAR, FIXED)), None)
    if reason is not None:
        return reason
    if LINEAR in kinds and FIXED in kinds:
        return f"it adds a term that does not depend on dy ({name})"
    return LINEAR if LINEAR in kinds else FIXED if FIXED in kinds else ZERO


def _constant(value: Any) -> str:
    """Zero or fixed; a large constant on a device is not read, as `zeros` is a broadcast of one scalar."""
    is_unread = isinstance(value, jax.core.Tracer) or (isinstance(value, jax.Array) and np.size(value) != 1)
    if is_unread or not _is_number(value):
        return FIXED
    return FIXED if np.any(np.asarray(value)) else ZERO


def _is_number(value: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(value, "dtype", type(value)), np.number)  # bfloat16 too
