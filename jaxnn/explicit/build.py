"""From a jaxpr with ops in it to a program: which equations are ops, loops and recomputed parts, and which are glue."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxnn.axes import Axes, unbound
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.jaxprs import evaluate
from jaxnn.explicit.parameters import REARRANGED, parameters_read
from jaxnn.explicit.program import ForwardOnly, Glue, OpStep, Program, Recompute, Scan, Step
from jaxnn.explicit.recording import is_users, op_primitive
from jaxnn.linearity import dependence, equations, is_linear, opened
from jaxnn.varying import zeros_like_aval

__all__ = ["build", "line_of", "scopes_of"]

_OPENED = {"pjit", "jit", "closed_call", "core_call"}
_RECOMPUTED = {"remat", "remat2", "checkpoint"}


class _Equation(NamedTuple):
    """An equation of a jaxpr, or of one inside, with slots for its variables."""

    eqn: Any
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    place: str


def build(closed: Any, *, n_moving: int | None = None, watched: bool = False, axes: Axes = ()) -> Program:
    """The program of a closed jaxpr.

    n_moving: how many of its arguments, the first ones, have a gradient; all by default. watched: the values of its ops
    are on the tape too. axes: named axes around it that no `vmap` binds, (name, size), for a table alone.
    """
    return _Builder(watched, axes).program(closed.jaxpr, closed.consts, n_moving)


class _Builder:
    """The slots of one program: their shapes, and which carry a gradient from the arguments."""

    def __init__(self, watched: bool, axes: Axes):
        self.watched, self.axes = watched, axes
        self.avals: list[Any] = []
        self.constants: dict[int, Any] = {}
        self.moving: set[int] = set()
        self.rearranged: dict[int, int] = {}  # the slot of an array, of the slot of the same numbers in another place

    def slot(self, aval: Any) -> int:
        self.avals.append(aval)
        return len(self.avals) - 1

    def constant(self, value: Any, aval: Any) -> int:
        slot = self.slot(aval)
        self.constants[slot] = value if hasattr(value, "shape") else np.asarray(value, aval.dtype)
        return slot

    def program(self, jaxpr: Any, consts: Sequence[Any], n_moving: int | None = None) -> Program:
        ins = [self.slot(var.aval) for var in jaxpr.invars]
        self.moving.update(slot for slot in ins[:n_moving] if is_inexact(self.avals[slot]))
        flat: list[_Equation] = []
        outs = self.flatten(jaxpr, consts, ins, "", flat)
        steps = self.steps(flat, outs)
        # The arguments come first, then the constants, then what steps write.
        written = (slot for slot in range(len(ins), len(self.avals)) if slot not in self.constants)
        order = [*ins, *self.constants, *written]
        numbers = {slot: n for n, slot in enumerate(order)}
        renumbered = [dataclasses.replace(
            step, ins=tuple(numbers[slot] for slot in step.ins), outs=tuple(numbers[slot] for slot in step.outs),
            parameters=tuple((numbers[source] if isinstance(source, int) else source, n)
                             for source, n in step.parameters)) for step in steps]
        return Program(tuple(self.avals[slot] for slot in ins), tuple(self.constants.values()), tuple(renumbered),
                       tuple(numbers[slot] for slot in outs), tuple(self.avals[slot] for slot in order), self.axes)

    def flatten(self, jaxpr: Any, consts: Sequence[Any], ins: Sequence[int], place: str,
                flat: list[_Equation]) -> list[int]:
        """Appends the jaxpr's equations, those inside of a `jit` in its place; returns the slots of its outs."""
        slots = dict(zip(jaxpr.invars, ins, strict=True))
        slots.update((var, self.constant(value, var.aval)) for var, value in zip(jaxpr.constvars, consts, strict=True))

        def read(atom: Any) -> int:
            return self.constant(atom.val, atom.aval) if isinstance(atom, core.Literal) else slots[atom]

        for eqn in jaxpr.eqns:
            read_slots = tuple(map(read, eqn.invars))
            scope = "/".join(filter(None, (place, scopes_of(eqn))))
            if eqn.primitive.name in _OPENED:
                inner = eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]
                outs = tuple(self.flatten(*opened(inner), read_slots, scope, flat))
            else:
                outs = tuple(self.slot(var.aval) for var in eqn.outvars)
                if self.moving.intersection(read_slots):
                    self.moving.update(slot for slot in outs if is_inexact(self.avals[slot]))
                if eqn.primitive.name in REARRANGED and read_slots:
                    self.rearranged[outs[0]] = self.rearranged.get(read_slots[0], read_slots[0])
                flat.append(_Equation(eqn, read_slots, outs, scope))
            slots.update(zip(eqn.outvars, outs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def steps(self, flat: list[_Equation], outs: Sequence[int]) -> Iterator[Step]:
        runs: list[list[_Equation]] = []
        for equation in flat:
            if runs and _is_glue(equation) and _is_glue(runs[-1][0]):
                runs[-1].append(equation)
            else:
                runs.append([equation])
        read_later = set(outs)
        steps: list[Step] = []
        for run in reversed(runs):
            written = {slot for equation in run for slot in equation.outs}
            steps.append(self.step(run, tuple(sorted(written & read_later))))
            read_later.update(slot for equation in run for slot in equation.ins)
        return reversed(steps)

    def step(self, run: list[_Equation], live: tuple[int, ...]) -> Step:
        first = run[0]
        name, params = first.eqn.primitive.name, first.eqn.params
        parameters = tuple(self.parameters(run))
        if first.eqn.primitive is op_primitive:
            return OpStep(first.ins, first.outs, first.place, params["line"], parameters, params["call"], self.watched)
        line = line_of(first.eqn)
        if not _is_glue(first):
            if name == "while":
                return ForwardOnly(first.ins, first.outs, first.place, line, parameters, first.eqn)
            inner = _Builder(self.watched, self.axes).program(*opened(params["jaxpr"]))
            if name in _RECOMPUTED:
                return Recompute(first.ins, first.outs, first.place, line, (), inner, params.get("policy") is not None)
            return _scan(first, inner, line)
        written = {slot for e in run for slot in e.outs}
        ins = tuple(dict.fromkeys(slot for e in run for slot in e.ins if slot not in written))
        nonlinear = dict.fromkeys(_name(e.eqn) for e in run if not self.is_linear(e))
        moving = self.moving
        passes = _passes(self.axes, run, ins, live, [self.avals[slot] for slot in ins],
                         [i for i, slot in enumerate(ins) if slot in moving],
                         [i for i, slot in enumerate(live) if slot in moving])
        names = tuple(dict.fromkeys(_name(e.eqn) for e in run))
        return Glue(ins, live, first.place, line, parameters, names, tuple(nonlinear),
                    not moving.isdisjoint(live), *passes)

    def parameters(self, run: list[_Equation]) -> Iterator[tuple[Any, int]]:
        for equation in run:
            for source, n in parameters_read(equation.eqn, equation.ins):
                if source in self.rearranged:
                    slot = self.rearranged[source]
                    yield slot, math.prod(self.avals[slot].shape)
                else:
                    yield source, n

    def is_linear(self, equation: _Equation) -> bool:
        """Whether an equation is linear, or a sum with constants, in what carries a gradient."""
        if not self.moving.intersection(equation.outs):
            return True
        return is_linear(equation.eqn, [slot in self.moving for slot in equation.ins])


def _is_glue(equation: _Equation) -> bool:
    eqn = equation.eqn
    name = eqn.primitive.name
    if eqn.primitive is op_primitive or name in _RECOMPUTED or name == "while":
        return False
    return name != "scan" or not any(e.primitive is op_primitive for e in equations(opened(eqn.params["jaxpr"])[0]))


def _passes(axes: Axes, run: list[_Equation], ins: Sequence[int], live: Sequence[int], avals: Sequence[Any],
            smooth_ins: list[int], smooth_outs: list[int]) -> tuple[Callable, Callable]:
    """Glue forward, (*ins) -> [*outs, *kept], and backward, (kept, dy of the outs) -> cotangents of the ins."""
    def values(*given: Any) -> list[Any]:
        slots = dict(zip(ins, given, strict=True))
        for e in run:
            slots.update(zip(e.outs, evaluate(e.eqn, [slots[slot] for slot in e.ins]), strict=True))
        return [slots[slot] for slot in live]

    if not smooth_ins or not smooth_outs:
        return values, lambda kept, dy: [None] * len(ins)
    trees: list[Any] = []

    def forward(*given: Any) -> list[Any]:
        def of_smooth(moving: list[Any]) -> tuple[list[Any], list[Any]]:
            filled = list(given)
            for i, x in zip(smooth_ins, moving, strict=True):
                filled[i] = x
            out = values(*filled)
            return [out[i] for i in smooth_outs], out

        _, pull_back, out = jax.vjp(of_smooth, [given[i] for i in smooth_ins], has_aux=True)
        kept, tree = jax.tree.flatten(pull_back)
        trees[:] = [tree]
        return [*out, *kept]

    forward_jaxpr = jax.make_jaxpr(forward, axis_env=unbound(axes))(*avals)
    out_avals = [var.aval for var in forward_jaxpr.jaxpr.outvars]
    kept_avals, dy_avals = out_avals[len(live):], [out_avals[i] for i in smooth_outs]
    backward_jaxpr = jax.make_jaxpr(lambda kept, dy: jax.tree.unflatten(trees[0], kept)(dy)[0], axis_env=unbound(axes))(
        kept_avals, dy_avals)
    return core.jaxpr_as_fun(forward_jaxpr), _backward_pass(backward_jaxpr, len(kept_avals), dy_avals, len(ins),
                                                            smooth_ins, smooth_outs)


def _backward_pass(backward: Any, n_kept: int, dy_avals: Sequence[Any], n_ins: int, smooth_ins: list[int],
                   smooth_outs: list[int]) -> Callable:
    """(kept, dy of the outs) -> the cotangents of the ins, by a jaxpr of those that are smooth.

    None, and not zeros, where no cotangent arrives: an op is not asked for a gradient that nothing looks at.
    """
    arrives = dependence(backward, n_kept)

    def pass_back(kept: list[Any], dy: list[Any]) -> list[Any]:
        given = [dy[i] for i in smooth_outs]
        filled = [zeros_like_aval(aval) if d is None else d
                  for d, aval in zip(given, dy_avals, strict=True)]
        found: list[Any] = [None] * n_ins
        cotangents = core.jaxpr_as_fun(backward)(*kept, *filled)
        for i, cotangent, of_outs in zip(smooth_ins, cotangents, arrives, strict=True):
            if any(depends and d is not None for depends, d in zip(of_outs, given, strict=True)):
                found[i] = cotangent
        return found

    return pass_back


def _scan(equation: _Equation, inner: Program, line: str) -> Scan:
    eqn = equation.eqn
    body = opened(eqn.params["jaxpr"])[0]
    # The order is constants, carry, slices; only slices lose an axis on the way in or out.
    n_slices = sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(eqn.invars, body.invars, strict=True))
    n_carry = sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(eqn.outvars, body.outvars, strict=True))
    n_consts = len(eqn.invars) - n_slices - n_carry
    jaxpr, consts = opened(inner.traced[0])
    is_fixed = dict.fromkeys((*jaxpr.invars[:n_consts], *jaxpr.constvars), True)
    fixed: list[Any] = []
    for e in jaxpr.eqns:
        atoms = [atom for atom in e.invars if not isinstance(atom, core.Literal)]
        if all(is_fixed.get(atom, False) for atom in atoms) and not e.effects:
            fixed.append(e)
            is_fixed.update(dict.fromkeys(e.outvars, True))
    kept = jaxpr.outvars[len(inner.out_avals):]
    is_varying = tuple(not isinstance(atom, core.Literal) and not is_fixed.get(atom, False) for atom in kept)

    def invariants(given: Sequence[Any]) -> list[Any]:
        values = dict(zip((*jaxpr.invars[:n_consts], *jaxpr.constvars), (*given, *consts), strict=True))

        def read(atom: Any) -> Any:
            return jnp.asarray(atom.val) if isinstance(atom, core.Literal) else values[atom]

        for e in fixed:
            values.update(zip(e.outvars, evaluate(e, list(map(read, e.invars))), strict=True))
        return [read(atom) for atom, varies in zip(kept, is_varying, strict=True) if not varies]

    return Scan(equation.ins, equation.outs, equation.place, line, (), inner, n_consts, n_carry, eqn.params["length"],
                eqn.params["reverse"], eqn.params["unroll"], is_varying, invariants)


def _name(eqn: Any) -> str:
    """The primitive's name; of a function with a rule that is no op, the function's."""
    inner = eqn.params.get("call_jaxpr")
    info = getattr(getattr(inner, "jaxpr", inner), "debug_info", None)
    name = getattr(info, "func_name", None)
    return f"{name} ({eqn.primitive.name.removesuffix('_call')})" if name else eqn.primitive.name


def scopes_of(eqn: Any) -> str:
    """The named scopes around an equation, without the transformations that JAX writes about them: "vmap(encoder)"."""
    stack, before = str(getattr(eqn.source_info, "name_stack", "")), ""
    while stack != before:
        stack, before = re.sub(r"\b\w+\(([^()]*)\)", r"\1", stack), stack
    return "/".join(filter(None, stack.split("/")))


def line_of(eqn: Any) -> str:
    frames = getattr(getattr(eqn.source_info, "traceback", None), "frames", ())
    return next((f"{f.function_name.split('.')[-1]}:{f.line_num}" for f in frames if is_users(f.file_name)), "")
