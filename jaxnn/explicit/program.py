"""A recorded function as a list of steps, read forward and backward: the chain rule, by hand.

    forward    y_s, cache_s = step_s(x_s) for each step in order              the caches are the tape
    backward   dx_s = backward_s(cache_s, dy_s) in reverse order; a value that several steps read gets the sum
               of what they send, Σ dx_s, and a value that none reads gets nothing

A step is an op, or the glue between ops (reshape, add, slice, concatenate, ...), which JAX itself transposes; a
`scan` with ops inside is a forward scan whose caches are stacked and a reversed scan backward; a `checkpoint`
keeps its arguments and runs forward again. `jit` is opened. `cond` is glue that goes by the ops' lifted rules.
"""

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.axes import Axes, unbound
from jaxnn.checks import InputError
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.call import Call
from jaxnn.explicit.jaxprs import evaluate
from jaxnn.varying import zeros_like_aval

__all__ = ["ForwardOnly", "Glue", "OpStep", "Program", "Recompute", "Scan", "Step", "op_backward"]

Slot = int  # the number of a value in a program

OpBackward = Callable[["OpStep", list[Any], list[Any]], tuple[list[Any], Any]]


def op_backward(step: "OpStep", kept: list[Any], dy: list[Any]) -> tuple[list[Any], Any]:
    """(the cotangents of an op's leaves, nothing kept)."""
    return step.call.backward(step.cache(kept), dy), None


@dataclasses.dataclass(frozen=True, eq=False)
class Step:
    """What every step has: the slots it reads and writes, and where it stands."""

    ins: tuple[Slot, ...]
    outs: tuple[Slot, ...]
    place: str
    """The named scopes around it: "encoder/dense1"; "" without any."""
    line: str
    """The function and line that it was called from: "siamese:12"."""
    parameters: tuple[tuple[Hashable, int], ...]
    """For each array of parameters that its ops read: its slot, or what is made inside; and how many numbers it
    holds."""

    def forward(self, values: list[Any]) -> tuple[list[Any], Any]:
        """(values of the outs, the tape: arrays that are kept for backward)."""
        raise NotImplementedError

    def backward(self, tape: Any, dy: list[Any], op_backward: OpBackward) -> tuple[list[Any], Any]:
        """(cotangents of the ins, None where there is none; what op_backward keeps)."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, eq=False)
class OpStep(Step):
    """An op: its own forward and its own backward pass. Its value is on the tape too where it is watched."""

    call: Call
    watched: bool

    def forward(self, values):
        with _at(self):
            y, cache = self.call.forward(*values)
        return y, [*cache, *y] if self.watched else cache

    def backward(self, tape, dy, op_backward):
        filled = [zeros_like_aval(aval) if d is None and is_inexact(aval) else d
                  for d, aval in zip(dy, self.call.out_avals, strict=True)]
        with _at(self):
            return op_backward(self, tape, filled)

    def cache(self, tape: list[Any]) -> list[Any]:
        return tape[:len(tape) - len(self.outs)] if self.watched else tape

    def value(self, tape: list[Any]) -> list[Any]:
        return tape[len(tape) - len(self.outs):]


@dataclasses.dataclass(frozen=True, eq=False)
class Glue(Step):
    """Equations between ops, differentiated by JAX; what they keep is found when the function is recorded."""

    names: tuple[str, ...]
    """Of the primitives, and of functions with rules that are not ops."""
    nonlinear: tuple[str, ...]
    """Those among them that are not linear in the function's arguments."""
    differentiable: bool
    """Whether a gradient passes through it."""
    forward_pass: Callable
    backward_pass: Callable

    def forward(self, values):
        out = self.forward_pass(*values)
        return out[:len(self.outs)], out[len(self.outs):]

    def backward(self, tape, dy, op_backward):
        return self.backward_pass(tape, dy), None


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardOnly(Step):
    """A `while_loop`, which has no reverse mode: refused where a gradient would have to pass through it."""

    equation: Any

    def forward(self, values):
        return evaluate(self.equation, values), []

    def backward(self, tape, dy, op_backward):
        with _at(self):
            raise InputError("while_loop", "has no reverse mode, for its number of steps is known at run time only; "
                             "use jax.lax.scan, or fori_loop between two Python integers")


@dataclasses.dataclass(frozen=True, eq=False)
class Recompute(Step):
    """A `jax.checkpoint`: its arguments are kept, and its forward pass is run again for the backward pass.

    All of it: a policy, by which JAX keeps some of the values inside, is passed over. The gradient is the same.
    """

    inner: "Program"
    has_policy: bool

    def forward(self, values):
        return self.inner.forward(values)[0], list(values)

    def backward(self, tape, dy, op_backward):
        # Behind a barrier, or the compiler finds the first forward pass again and keeps all of it after all.
        # One for each value: together they would all vary over the mesh axes over which one of them varies.
        values = [lax.optimization_barrier(value) if is_inexact(value) else value for value in tape]
        return self.inner.backward(self.inner.forward(values)[1], dy, op_backward)


@dataclasses.dataclass(frozen=True, eq=False)
class Scan(Step):
    """A `scan` with ops inside. With the state s_t and the constants c, (s_t, y_t) = f(c, s_{t-1}, x_t):

        ds_{t-1}, dx_t, dc += J_tᵀ (ds_t, dy_t)        from the last step to the first

    What f keeps that is the same at all times, a weight, is kept once. dc is summed in float32 at least.
    """

    inner: "Program"
    n_consts: int
    n_carry: int
    length: int
    reverse: bool
    unroll: Any
    is_varying: tuple[bool, ...]
    """Of the arrays on the inner tape: whether they differ from step to step."""
    invariants: Callable
    """(constants) -> those arrays on the inner tape that do not."""

    def forward(self, values):
        first, slices = self.n_consts, self.n_consts + self.n_carry
        consts, carry, xs = list(values[:first]), list(values[first:slices]), list(values[slices:])

        def step(carry: list[Any], x: list[Any]) -> tuple[list[Any], Any]:
            out, tape = self.inner.forward([*consts, *carry, *x])
            varying = [leaf for leaf, v in zip(jax.tree.leaves(tape), self.is_varying, strict=True) if v]
            return out[:self.n_carry], (out[self.n_carry:], varying)

        last, (ys, each) = lax.scan(step, carry, xs, self.length, self.reverse, self.unroll)
        return [*last, *ys], (self.invariants(consts), each)

    def backward(self, tape, dy, op_backward):
        once, each = tape
        avals, out_avals, n = self.inner.in_avals, self.inner.out_avals, self.n_consts + self.n_carry
        smooth = [i for i, aval in enumerate(avals) if is_inexact(aval)]
        consts, slices = [i for i in smooth if i < self.n_consts], [i for i in smooth if i >= n]
        carried = [i for i in range(self.n_carry) if is_inexact(out_avals[i])]
        stacked = [i for i in range(self.n_carry, len(out_avals)) if dy[i] is not None]

        def step(sums: tuple[list[Any], list[Any]], at_t: tuple[list[Any], list[Any]]) -> Any:
            (dcarry, dconsts), (varying, dy_t) = sums, at_t
            constant, changing = iter(once), iter(varying)
            leaves = [next(changing) if v else next(constant) for v in self.is_varying]
            d_out: list[Any] = [None] * len(out_avals)
            for i, d in (*zip(carried, dcarry, strict=True), *zip(stacked, dy_t, strict=True)):
                d_out[i] = d
            found, kept = self.inner.backward(self.inner.tape_tree.unflatten(leaves), d_out, op_backward)
            filled = [zeros_like_aval(avals[i]) if d is None else d for i, d in enumerate(found)]
            totals = [total + filled[i].astype(total.dtype) for total, i in zip(dconsts, consts, strict=True)]
            return ([filled[self.n_consts + i] for i in carried], totals), ([filled[i] for i in slices], kept)

        start = ([zeros_like_aval(out_avals[i]) if dy[i] is None else dy[i] for i in carried],
                 [_wide(zeros_like_aval(avals[i])) for i in consts])
        (dcarry, dconsts), (dslices, kept) = lax.scan(
            step, start, (each, [dy[i] for i in stacked]), self.length, not self.reverse, self.unroll)
        cotangents: list[Any] = [None] * len(avals)
        dconsts = [d.astype(avals[i].dtype) for i, d in zip(consts, dconsts, strict=True)]
        places = [*consts, *(self.n_consts + i for i in carried), *slices]
        for i, d in zip(places, [*dconsts, *dcarry, *dslices], strict=True):
            cotangents[i] = d
        return cotangents, kept


@dataclasses.dataclass(frozen=True, eq=False)
class Program:
    """Steps between values in numbered slots: first the arguments, then the constants, then what steps write."""

    in_avals: tuple[Any, ...]
    constants: tuple[Any, ...]
    steps: tuple[Step, ...]
    outs: tuple[Slot, ...]
    slot_avals: tuple[Any, ...]
    axes: Axes = ()
    """Named axes around it that no `vmap` binds, for a table alone."""

    @property
    def out_avals(self) -> tuple[Any, ...]:
        return tuple(self.slot_avals[slot] for slot in self.outs)

    def forward(self, values: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        """(the value's leaves, the tape: one entry for each step)."""
        slots = dict(enumerate((*values, *self.constants)))
        tape = []
        for step in self.steps:
            out, kept = step.forward([slots[i] for i in step.ins])
            slots.update(zip(step.outs, out, strict=True))
            tape.append(kept)
        return [slots[i] for i in self.outs], tape

    def backward(self, tape: Sequence[Any], dy: Sequence[Any], op_backward: OpBackward = op_backward
                 ) -> tuple[list[Any], list[Any]]:
        """(one cotangent for each argument, None where none arrives; for each step what op_backward keeps)."""
        cotangents: dict[Slot, Any] = {}

        def send(slot: Slot, d: Any) -> None:
            if d is not None:
                cotangents[slot] = cotangents[slot] + d if slot in cotangents else d

        for slot, aval, d in zip(self.outs, self.out_avals, dy, strict=True):
            send(slot, d if is_inexact(aval) else None)
        records: list[Any] = []
        for step, kept in zip(reversed(self.steps), reversed(tape), strict=True):
            dy_step = [cotangents.pop(slot, None) for slot in step.outs]
            if all(d is None for d in dy_step):
                records.append(None)
                continue
            found, record = step.backward(kept, dy_step, op_backward)
            records.append(record)
            for slot, d in zip(step.ins, found, strict=True):
                send(slot, d)
        return [cotangents.get(slot) for slot in range(len(self.in_avals))], records[::-1]

    @functools.cached_property
    def traced(self) -> tuple[Any, Any]:
        """The jaxpr of (value, tape), and the structure of the tape."""
        found: list[Any] = []

        def flat(*values: Any) -> list[Any]:
            out, tape = self.forward(values)
            leaves, tree = jax.tree.flatten(tape)
            found[:] = [tree]
            return [*out, *leaves]

        return jax.make_jaxpr(flat, axis_env=unbound(self.axes))(*self.in_avals), found[0]

    @property
    def tape_tree(self) -> Any:
        return self.traced[1]

    def walk(self) -> Iterator[Step]:
        """All steps, and those inside of them after each."""
        for step in self.steps:
            yield step
            if isinstance(step, Scan | Recompute):
                yield from step.inner.walk()


def _wide(x: Any) -> Any:
    """In at least float32: a sum of ones in bfloat16 stops at 256, in float16 at 2,048."""
    return lax.convert_element_type(x, jnp.promote_types(x.dtype, jnp.float32))


@contextmanager
def _at(step: Step) -> Iterator[None]:
    """Adds the step's place to an InputError that names none."""
    try:
        yield
    except InputError as error:
        if not error.path:
            error.path = tuple((step.place or step.line).split("/"))
        raise
