"""Along which values of a jaxpr a gradient passes: those that depend smoothly on what is differentiated (moving), and
those that what is asked for depends on (asked).

A rule is judged along these alone: what an implicit solver's rule says of its first guess, a constant, no one asks.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

from jax.extend import core

from jaxnn.cotangents import is_inexact
from jaxnn.gradients.rules.plain import OPENED, kind_of, plain_of, steps_of
from jaxnn.linearity import opened

__all__ = ["asked", "asked_of_scan", "moving", "moving_of_scan", "moving_of_while"]

Flags = list[bool]

# Their derivative is zero everywhere, which JAX does not pass on.
_STOPS = {"stop_gradient", "floor", "ceil", "round", "sign", "nextafter", "is_finite"}


def moving(jaxpr: Any, given: Sequence[bool]) -> dict[Any, bool]:
    """Of each variable whether it moves. given: of the arguments; constants do not."""
    flags = dict.fromkeys(jaxpr.constvars, False)
    flags |= {var: flag and _is_smooth(var) for var, flag in zip(jaxpr.invars, given, strict=True)}
    for eqn in jaxpr.eqns:
        out = _through(eqn, [_read(flags, atom) for atom in eqn.invars])
        flags.update((var, flag and _is_smooth(var)) for var, flag in zip(eqn.outvars, out, strict=True))
    return flags


def asked(jaxpr: Any, given: Sequence[bool]) -> dict[Any, bool]:
    """Of each variable whether it is asked for. given: of the values."""
    flags: dict[Any, bool] = {}

    def ask(atom: Any, flag: bool) -> None:
        if not isinstance(atom, core.Literal) and flag and _is_smooth(atom):
            flags[atom] = True

    for atom, flag in zip(jaxpr.outvars, given, strict=True):
        ask(atom, flag)
    for eqn in reversed(jaxpr.eqns):
        back = _back(eqn, [_read(flags, var) for var in eqn.outvars])
        for atom, flag in zip(eqn.invars, back, strict=True):
            ask(atom, flag)
    return flags


def _read(flags: dict[Any, bool], atom: Any) -> bool:
    return not isinstance(atom, core.Literal) and flags.get(atom, False)


def _is_smooth(atom: Any) -> bool:
    return hasattr(atom.aval, "dtype") and is_inexact(atom.aval)


def _outs(inner: Any, given: Sequence[bool]) -> Flags:
    jaxpr = opened(inner)[0]
    flags = moving(jaxpr, given)
    return [_read(flags, atom) for atom in jaxpr.outvars]


def _ins(inner: Any, given: Sequence[bool]) -> Flags:
    jaxpr = opened(inner)[0]
    flags = asked(jaxpr, given)
    return [_read(flags, var) for var in jaxpr.invars]


def _opened_by(eqn: Any) -> Any:
    """What stands inside of a call or a custom rule; None for any other equation."""
    if eqn.primitive.name in OPENED:
        return next(eqn.params[key] for key in OPENED[eqn.primitive.name] if key in eqn.params)
    return plain_of(eqn) if kind_of(eqn) in ("custom_vjp", "custom_jvp") else None


def _through(eqn: Any, given: Flags) -> Flags:
    name = eqn.primitive.name
    if not any(given) or name in _STOPS:
        return [False] * len(eqn.outvars)
    if (inner := _opened_by(eqn)) is not None:
        return _outs(inner, given)
    if name == "cond":
        return _joined(_outs(branch, given[1:]) for branch in eqn.params["branches"])
    if name == "scan":
        return _outs(eqn.params["jaxpr"], moving_of_scan(eqn, given))
    if name == "while":
        return moving_of_while(eqn, given)[eqn.params["body_nconsts"]:]
    return [True] * len(eqn.outvars)


def moving_of_scan(eqn: Any, given: Flags) -> Flags:
    """Of the arguments of a scan's body, at some step."""
    n_consts, n_carry = steps_of(eqn)
    carry = slice(n_consts, n_consts + n_carry)

    def step(flags: Flags) -> Flags:
        return [*flags[:n_consts], *_outs(eqn.params["jaxpr"], flags)[:n_carry], *flags[n_consts + n_carry:]]

    return _grown(list(given), step, carry)


def moving_of_while(eqn: Any, given: Flags) -> Flags:
    """Of the arguments of a while loop's body, at some step."""
    n_cond, n_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]

    def step(flags: Flags) -> Flags:
        return [*flags[:n_body], *_outs(eqn.params["body_jaxpr"], flags)]

    return _grown(list(given[n_cond:]), step, slice(n_body, None))


def asked_of_scan(eqn: Any, given: Flags) -> Flags:
    """Of the values of a scan's body, at some step."""
    n_consts, n_carry = steps_of(eqn)

    def step(flags: Flags) -> Flags:
        return [*_ins(eqn.params["jaxpr"], flags)[n_consts:n_consts + n_carry], *flags[n_carry:]]

    return _grown(list(given), step, slice(0, n_carry))


def _back(eqn: Any, given: Flags) -> Flags:
    name = eqn.primitive.name
    if not any(given) or name in _STOPS:
        return [False] * len(eqn.invars)
    if (inner := _opened_by(eqn)) is not None:
        return _ins(inner, given)
    if name == "cond":
        return [False, *_joined(_ins(branch, given) for branch in eqn.params["branches"])]
    if name == "scan":
        return _ins(eqn.params["jaxpr"], asked_of_scan(eqn, given))
    return [True] * len(eqn.invars)


def _grown(flags: Flags, step: Callable[[Flags], Flags], part: slice) -> Flags:
    """The flags once another step sets no more of those that are carried."""
    while True:
        further = step(flags)
        joined = list(flags)
        joined[part] = [a or b for a, b in zip(flags[part], further[part], strict=True)]
        if joined == flags:
            return flags
        flags = joined


def _joined(rows: Any) -> Flags:
    return [any(column) for column in itertools.zip_longest(*rows)]
