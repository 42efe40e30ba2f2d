"""An equation with a rule of its own: its kind, where it was called, and the plain function that it stands for."""

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core

from jaxnn.config import config
from jaxnn.explicit.program import evaluate
from jaxnn.explicit.recording import is_users, op_primitive
from jaxnn.linearity import equations, opened

__all__ = ["OPENED", "has_rule", "inner_jaxprs", "kind_of", "line_of", "name_of", "over_levels", "plain_of",
           "steps_of", "without_rules"]

CUSTOM = {"custom_vjp_call": "custom_vjp", "custom_vjp_call_jaxpr": "custom_vjp", "custom_jvp_call": "custom_jvp",
          "call_hi_primitive": "hijax"}
OPENED = dict.fromkeys(("pjit", "jit", "closed_call", "core_call", "remat", "remat2", "checkpoint"),
                       ("jaxpr", "call_jaxpr")) | {"custom_vmap_call": ("call",)}
"""Primitives that change no value, and which of their parameters is the jaxpr inside."""


def kind_of(eqn: Any) -> str:
    """"op", "custom_vjp", "custom_jvp" or "hijax"; "" for an equation that JAX itself differentiates."""
    return "op" if eqn.primitive is op_primitive else CUSTOM.get(eqn.primitive.name, "")


def name_of(eqn: Any) -> str:
    """The name of the function that has the rule."""
    if kind_of(eqn) == "op":
        return str(eqn.params["call"].op.name)
    if kind_of(eqn) == "hijax":
        primitive = eqn.params["_prim"]
        return str(getattr(getattr(primitive, "traced", None), "fun_name", None) or type(primitive).__name__)
    info = opened(plain_of(eqn))[0].debug_info
    return str(getattr(info, "func_name", None) or kind_of(eqn))


def line_of(eqn: Any) -> str:
    """The line of a user's code: "model.py:12 in block"."""
    frames = getattr(getattr(eqn.source_info, "traceback", None), "frames", ())
    return next((f"{os.path.basename(f.file_name)}:{f.line_num} in {f.function_name.split('.')[-1]}" for f in frames
                 if is_users(f.file_name)), "")


def plain_of(eqn: Any) -> Any:
    """The closed jaxpr of the plain function: of an op its reference, of a hijax primitive what it expands to."""
    if kind_of(eqn) == "op":
        return _plain_of_op(eqn.params["call"], config.jax_enable_x64)
    if kind_of(eqn) == "hijax":
        return _expanded(eqn)
    return eqn.params.get("call_jaxpr") or eqn.params["fun_jaxpr"]


@functools.lru_cache(maxsize=1024)
def _expanded(eqn: Any) -> Any:
    primitive = eqn.params["_prim"]

    def expanded(*leaves: Any) -> list[Any]:
        return jax.tree.leaves(primitive.expand(*jax.tree.unflatten(primitive.in_tree, leaves)))

    return jax.make_jaxpr(expanded)(*(atom.aval for atom in eqn.invars))


@functools.lru_cache(maxsize=1024)
def _plain_of_op(call: Any, x64: bool) -> Any:
    function = over_levels(call, call.op.reference)
    return jax.make_jaxpr(function)(*call.arg_shapes())


def over_levels(call: Any, function: Callable) -> Callable[..., list[Any]]:
    """An op, or its reference, over the `vmap`s around it: (leaves of the arguments) -> leaves of the value."""
    def one(*leaves: Any) -> list[Any]:
        return jax.tree.leaves(function(*jax.tree.unflatten(call.tree, leaves), **dict(call.static)))

    for level in call.levels:
        one = level.map(one, level.args, list(level.value))
    return one


def inner_jaxprs(eqn: Any) -> Iterator[Any]:
    """The jaxprs inside of an equation."""
    for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "jaxpr")):
        jaxpr = opened(value)[0]
        if isinstance(jaxpr, core.Jaxpr):
            yield jaxpr


def has_rule(jaxpr: Any) -> bool:
    return any(kind_of(eqn) for eqn in equations(jaxpr))


def steps_of(scan: Any) -> tuple[int, int]:
    """(number of constants, number of carried values) of a scan: only slices lose an axis on the way in or out."""
    inner = opened(scan.params["jaxpr"])[0]
    n_slices = sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(scan.invars, inner.invars, strict=True))
    n_carry = sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(scan.outvars, inner.outvars, strict=True))
    return len(scan.invars) - n_slices - n_carry, n_carry


def without_rules(closed: Any, rules: set[int]) -> Any:
    """The closed jaxpr with some rules, those of the equations with these ids, replaced by their plain functions."""
    jaxpr, consts = opened(closed)
    if not any(id(eqn) in rules for eqn in equations(jaxpr)):
        return closed
    avals: list[Any] = [var.aval for var in jaxpr.invars]
    shapes = [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals]
    return jax.make_jaxpr(lambda *values: _run(jaxpr, consts, values, rules))(*shapes)


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], rules: set[int]) -> list[Any]:
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        aval: Any = atom.aval
        return jnp.asarray(atom.val, aval.dtype) if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        ins, name = list(map(read, eqn.invars)), eqn.primitive.name
        if id(eqn) in rules:
            outs = _run(*opened(plain_of(eqn)), ins, rules)
        elif name in OPENED:
            inner = next(eqn.params[key] for key in OPENED[name] if key in eqn.params)
            outs = _run(*opened(inner), ins, rules)
        else:
            params = {key: _replaced(value, rules) for key, value in eqn.params.items()} if name in (
                "scan", "while", "cond") else eqn.params
            outs = evaluate(eqn.replace(params=params), ins)
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _replaced(value: Any, rules: set[int]) -> Any:
    """A parameter of a loop or branch, rules inside of it replaced."""
    if isinstance(value, tuple):
        return tuple(_replaced(part, rules) for part in value)
    return without_rules(value, rules) if isinstance(opened(value)[0], core.Jaxpr) else value
