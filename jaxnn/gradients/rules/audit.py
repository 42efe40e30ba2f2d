"""Compares each rule inside a function, by itself, with its plain function."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxnn.checks import InputError
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.program import evaluate
from jaxnn.gradients.remark import one_line
from jaxnn.gradients.report import GradientReport
from jaxnn.gradients.rules.report import Rule, RulesReport
from jaxnn.gradients.rules.walk import Use, uses_of_rules

__all__ = ["ROUTES_OF_A_RULE", "audit"]

ROUTES_OF_A_RULE = ("explicit", "lifted", "forward", "finite differences")
"""There may be many rules: those of the routes that cost least and compare all that a rule is asked for."""

Comparison = Callable[..., GradientReport]


def audit(f: Callable, args: tuple, static: dict[str, Any], compare: Comparison) -> RulesReport:
    """The rules inside f at these arguments, each distinct one compared once.

    compare: (rule, *inputs, reference=..., **static) -> the comparison of one rule.
    Raises:
      InputError: f cannot be called with these arguments.
    """
    try:
        uses = list(uses_of_rules(f, args, static))
    except Exception as error:
        raise InputError("compare_gradients", "expects a function that can be traced and run at these arguments; it "
                         f"raised {one_line(error)}") from error
    distinct: dict[Any, list[Use]] = {}
    for use in uses:
        distinct.setdefault(_key(use), []).append(use)
    name = getattr(f, "name", None) or getattr(f, "__name__", None) or type(f).__name__
    return RulesReport(name, tuple(_compared(same, compare) for same in distinct.values()))


def _key(use: Use) -> Any:
    """What two uses of one rule have in common: the rule, shapes and dtypes; the steps of a loop are kept apart."""
    if use.kind == "op":
        return use.eqn.params["call"], use.place.step
    avals = tuple((value.shape, str(value.dtype)) for value in use.values)
    return use.kind, _name(use), str(use.plain), _traced_rule(use), avals, use.place.step


def _traced_rule(use: Use) -> Any:
    """What a custom rule does, as a trace with its constants: two rules may have one name and one plain function."""
    smooth = [i for i, value in enumerate(use.values) if is_inexact(value)]

    def gradient(*values: Any) -> Any:
        def value(moving: list[Any]) -> list[Any]:
            filled = list(values)
            for i, x in zip(smooth, moving, strict=True):
                filled[i] = x
            return [y for y in evaluate(use.eqn, filled) if is_inexact(y)]

        y, pull_back = jax.vjp(value, [values[i] for i in smooth])
        return pull_back(y)

    try:
        closed = jax.make_jaxpr(gradient)(*use.values)
        return str(closed.jaxpr), tuple(hash(np.asarray(const).tobytes()) for const in closed.consts)
    except Exception:  # no reverse mode, or a rule that fails, which the comparison shows
        return id(use.eqn)


def _name(use: Use) -> str:
    if use.kind == "op":
        return use.eqn.params["call"].op.name
    info = use.plain.jaxpr.debug_info
    return (getattr(info, "func_name", None) or use.kind) if info is not None else use.kind


def _compared(uses: Sequence[Use], compare: Comparison) -> Rule:
    """One rule, at the inputs of its first use."""
    use = uses[0]
    inputs = " ".join(f"{value.dtype}{list(value.shape)}".replace(" ", "") for value in use.values)
    places = tuple(str(other.place) for other in uses)
    rule = Rule(_name(use), use.kind, inputs, places, None)
    if not any(map(is_inexact, use.values)) or not any(is_inexact(var.aval) for var in use.eqn.outvars):
        return rule._replace(note="neither its inputs nor its value have floating-point numbers that move together")
    try:
        return rule._replace(report=_of_op(use, compare) if use.kind == "op" else _of_custom(use, compare))
    except Exception as error:
        return rule._replace(note=one_line(error), failed=True)


def _of_op(use: Use, compare: Comparison) -> GradientReport:
    """An op beside its reference, both over the `vmap`s around them."""
    call = use.eqn.params["call"]
    args = jax.tree.unflatten(call.tree, use.values)
    if not call.levels:
        return compare(call.op, *args, reference=call.op.reference, **dict(call.static))

    def of_examples(function: Callable) -> Callable:
        def one(*leaves: Any) -> list[Any]:
            return jax.tree.leaves(function(*jax.tree.unflatten(call.tree, leaves), **dict(call.static)))

        for level in call.levels:
            one = level.map(one, level.args, list(level.value))

        def value(*args: Any) -> Any:
            return jax.tree.unflatten(call.y_tree, one(*jax.tree.leaves(args)))

        return _named(value, call.op.name, tuple(call.op.arguments))

    return compare(of_examples(call.op), *args, reference=of_examples(call.op.reference))


def _of_custom(use: Use, compare: Comparison) -> GradientReport:
    """A `custom_vjp` or `custom_jvp` beside the plain function that it carries."""
    given = getattr(use.plain.jaxpr.debug_info, "arg_names", None) or ()
    names = tuple(name or f"args[{i}]" for i, name in enumerate(given))
    if len(names) != len(use.values) or len(set(names)) != len(names):
        names = tuple(f"args[{i}]" for i in range(len(use.values)))
    name = _name(use)
    rule = _named(lambda *values: tuple(evaluate(use.eqn, values)), name, names)
    plain = _named(lambda *values: tuple(core.jaxpr_as_fun(use.plain)(*values)), name, names)
    return compare(rule, *use.values, reference=plain)


def _named(function: Any, name: str, arguments: tuple[str, ...]) -> Callable:
    function.__name__, function.arguments = name, arguments
    return function
