"""Jaxprs as a whole: captured values made arguments, the value of one equation, and when two jaxprs are the same."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

__all__ = ["evaluate", "have_same_jaxpr", "hoisted"]

_COMPARED = 1024  # elements of a constant up to which its values are compared; a larger one is the same object or not
_NAMES = {"line", "name"}  # parameters of equations that say where one stands, and nothing of its value


def hoisted(closed: Any) -> tuple[Any, list[Any]]:
    """A closed jaxpr without traced values, and those values, which are its last arguments.

    A function that is traced inside of another trace may close over values of that one. They are not its own: whoever
    keeps the jaxpr would keep the outer trace too.
    """
    jaxpr = closed.jaxpr
    constants = list(zip(jaxpr.constvars, closed.consts, strict=True))
    captured = [(var, value) for var, value in constants if isinstance(value, jax.core.Tracer)]
    if not captured:
        return closed, []
    fixed = [(var, value) for var, value in constants if not isinstance(value, jax.core.Tracer)]
    moved = _jaxpr("captured", [var for var, _ in fixed], [*jaxpr.invars, *(var for var, _ in captured)],
                   jaxpr.outvars, jaxpr.eqns, jaxpr.effects)
    return core.ClosedJaxpr(moved, [value for _, value in fixed]), [value for _, value in captured]


def evaluate(eqn: Any, values: Sequence[Any]) -> list[Any]:
    """The values of one equation of a jaxpr, for these values of what it reads."""
    ins = [core.Var(atom.aval) for atom in eqn.invars]
    jaxpr = _jaxpr(eqn.primitive.name, [], ins, eqn.outvars, [eqn.replace(invars=ins)], eqn.effects)
    return list(jax.core.eval_jaxpr(jaxpr, [], *values))


def _jaxpr(name: str, constants: list[Any], ins: list[Any], outs: Sequence[Any], eqns: list[Any], effects: Any) -> Any:
    info = core.DebugInfo("jit", name, ("",) * len(ins), ("",) * len(outs))
    return core.Jaxpr(constants, ins, list(outs), eqns, effects, info)


def have_same_jaxpr(a: Any, b: Any) -> bool:
    """Whether two closed jaxprs are the same program: equation by equation the same primitives with the same
    parameters, that read the same values, with equal constants. Names and lines of source do not count.

    Where that cannot be told, of two functions in the parameters say, it is False.
    """
    if a is b:
        return True
    if len(a.consts) != len(b.consts) or not all(map(_same_constant, a.consts, b.consts)):
        return False
    return _same_jaxpr(a.jaxpr, b.jaxpr)


def _same_jaxpr(a: Any, b: Any) -> bool:
    numbers: tuple[dict[Any, int], dict[Any, int]] = {}, {}

    def same_new(vars_a: Sequence[Any], vars_b: Sequence[Any]) -> bool:
        for of, variables in zip(numbers, (vars_a, vars_b), strict=True):
            of.update((var, len(of) + i) for i, var in enumerate(variables))
        return len(vars_a) == len(vars_b) and all(x.aval == y.aval for x, y in zip(vars_a, vars_b, strict=True))

    def same_read(atom_a: Any, atom_b: Any) -> bool:
        if isinstance(atom_a, core.Literal) or isinstance(atom_b, core.Literal):
            return (type(atom_a) is type(atom_b) and atom_a.aval == atom_b.aval
                    and _same_constant(atom_a.val, atom_b.val))
        return numbers[0][atom_a] == numbers[1][atom_b]

    return (len(a.eqns) == len(b.eqns) and same_new(a.constvars, b.constvars) and same_new(a.invars, b.invars)
            and all(x.primitive is y.primitive and x.effects == y.effects and _all(same_read, x.invars, y.invars)
                    and _same_parameters(x.params, y.params) and same_new(x.outvars, y.outvars)
                    for x, y in zip(a.eqns, b.eqns, strict=True))
            and _all(same_read, a.outvars, b.outvars))


def _same_parameters(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return a.keys() == b.keys() and all(_same(a[name], b[name]) for name in a if name not in _NAMES)


def _same(a: Any, b: Any) -> bool:
    """Whether two parameters of an equation are the same."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, tuple | list):
        return _all(_same, a, b)
    if hasattr(a, "consts") and hasattr(a, "jaxpr"):
        return have_same_jaxpr(a, b)
    if hasattr(a, "eqns"):
        return _same_jaxpr(a, b)
    if hasattr(a, "shape"):
        return _same_constant(a, b)
    return bool(a == b)


def _same_constant(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if isinstance(a, jax.core.Tracer) or isinstance(b, jax.core.Tracer) or np.shape(a) != np.shape(b):
        return False
    small = np.size(a) <= _COMPARED and np.size(b) <= _COMPARED
    types = [getattr(x, "dtype", type(x)) for x in (a, b)]
    if types[0] != types[1] or not small or not all(map(_is_number, types)):
        return False
    return np.asarray(a).tobytes() == np.asarray(b).tobytes()  # NaN is the same as NaN, and 0 is not -0


def _is_number(dtype: Any) -> bool:
    return jax.dtypes.issubdtype(dtype, np.number) or jax.dtypes.issubdtype(dtype, np.bool_)


def _all(same: Callable[[Any, Any], bool], a: Sequence[Any], b: Sequence[Any]) -> bool:
    return len(a) == len(b) and all(map(same, a, b))
