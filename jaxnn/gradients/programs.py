"""A function of the leaves that move, with its value and its derivatives, compiled once for every user.

A gradient is compared in several precisions: each program is compiled once in each. What several routes need at the
same point is one program, in which XLA finds what they have in common.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from jaxnn.config import config
from jaxnn.gradients.compiling import Program, unrounded_products
from jaxnn.gradients.leaf import as_wide
from jaxnn.gradients.timing import note
from jaxnn.gradients.widths import Widths, widths
from jaxnn.linearity import equations

__all__ = ["MOST_STEPS", "Programs", "arguments_of_changes", "hides_something", "pair", "precision", "widen"]

MOST_STEPS = 14  # of one run of the program of finite differences, up and down

# What these compute, and in which precision, JAX does not see.
_HIDDEN = {"pure_callback", "io_callback", "ffi_call", "custom_call", "pallas_call"}
_LATE = {*_HIDDEN, "call_hi_primitive"}


class Programs:
    """The programs of one function, (moving) -> inexact leaves of its value.

    moving, dy and tangents are lists of arrays: the leaves of the arguments that move, a cotangent of the value and
    a tangent of the arguments.

    explicit: (moving, dy) -> the gradient by the passes as they are written, for a function that has some.
    """

    def __init__(self, outputs: Callable[[list[Any]], list[Any]], explicit: Callable | None = None):
        self.outputs = outputs
        self.pull_back_traced = jax.jit(self._value_and_gradient)  # traced once for all programs that contain it
        self.parts: dict[str, Callable] = {
            "lifted": jax.jit(lambda moving, dy, tangents: self.pull_back_traced(moving, dy)),
            "forward": jax.jit(self._pushed_forward),
            "second order": jax.jit(self._second_order)}
        if explicit is not None:
            self.parts["explicit"] = jax.jit(lambda moving, dy, tangents: explicit(moving, dy))
        self.changes = Program(self._changes)
        self._value = Program(outputs)
        self._traces: dict[Any, core.ClosedJaxpr] = {}
        self._joint: dict[tuple[str, ...], Program] = {}
        self._together: dict[bool, tuple[str, ...]] = {}  # by whether float64 is on
        self._latest: tuple[Any, dict[str, Any]] | None = None

    # The derivatives, as functions.

    def pulled_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        """The cotangents of the leaves that move; op by op, unless it is compiled."""
        return self._differentiated(self.outputs, moving, dy)[1]

    def traced(self, moving: list[Any]) -> list[Any]:
        """The value, by the function's trace: Python runs once, and then JAX has all that it differentiates."""
        if config.jax_disable_jit:
            return self.outputs(moving)
        return core.jaxpr_as_fun(self.trace(moving))(*moving)

    def trace(self, moving: list[Any]) -> Any:
        """The jaxpr of the value."""
        key = _is_float64(), tuple((m.shape, m.dtype, bool(getattr(m, "weak_type", False))) for m in moving)
        if key not in self._traces:
            shapes = [jax.ShapeDtypeStruct(m.shape, m.dtype) for m in moving]
            with unrounded_products():
                self._traces[key] = jax.make_jaxpr(self.outputs)(shapes)
        return self._traces[key]

    def has_late_rules(self, moving: list[Any]) -> bool:
        """Whether Python, or what JAX does not see into, runs when a pull-back is used, and not before: the backward
        pass of a `jax.custom_vjp`."""
        return bool(config.jax_disable_jit) or any(
            eqn.primitive.name.startswith("custom_vjp") or eqn.primitive.name in _LATE
            for eqn in equations(self.trace(moving).jaxpr))

    def _value_and_gradient(self, moving: list[Any], dy: list[Any]) -> tuple[list[Any], list[Any]]:
        return self._differentiated(self.traced, moving, dy)

    def _differentiated(self, outputs: Callable, moving: list[Any], dy: list[Any]) -> tuple[list[Any], list[Any]]:
        y, pull = jax.vjp(outputs, moving)
        return y, pull([d.astype(leaf.dtype) for d, leaf in zip(dy, y, strict=True)])[0]

    def _pushed_forward(self, moving: list[Any], dy: list[Any], tangents: list[Any]) -> list[Any]:
        return jax.jvp(self.traced, (moving,), (_in_dtypes_of(moving, tangents),))[1]

    def _second_order(self, moving: list[Any], dy: list[Any], tangents: list[Any]) -> list[Any]:
        """The product of the Hessian of <dy, y> with the tangents."""
        return jax.jvp(lambda m: self.pull_back_traced(m, dy)[1], (moving,), (_in_dtypes_of(moving, tangents),))[1]

    def _changes(self, moving: list[Any], dy: list[Any], tangents: list[Any], steps: Any, n: Any) -> Any:
        """<dy, y(x + h t) - y(x)> for each of the first n steps h, and what rounding y by one unit may add to each."""
        tangents = _in_dtypes_of(moving, tangents)
        steps = jnp.concatenate([jnp.zeros_like(steps[:1]), steps])  # the step 0 comes first: y(x)

        def change(i: Any, so_far: tuple[list[Any], Any]) -> tuple[list[Any], Any]:
            first, changes = so_far
            y = self.traced([m + (steps[i] * t).astype(m.dtype) for m, t in zip(moving, tangents, strict=True)])
            first = [jnp.where(i == 0, a, b) for a, b in zip(y, first, strict=True)]
            own = sum(pair(d, b - a) for d, a, b in zip(dy, first, y, strict=True))
            return first, changes.at[i].set(own.astype(changes.dtype))

        zeros = [jnp.zeros(y.shape, y.dtype) for y in jax.eval_shape(self.traced, moving)]
        wide = jnp.result_type(*(jnp.finfo(y.dtype).dtype for y in zeros), steps.dtype)
        first, changes = lax.fori_loop(0, n + 1, change, (zeros, jnp.zeros(steps.shape, wide)))
        eps = sum(jnp.sum(jnp.abs(d * a)) * jnp.finfo(a.dtype).eps for d, a in zip(dy, first, strict=True))
        return changes[1:], eps

    # The same, compiled.

    def prepare(self, parts: Sequence[str], moving: list[Any], dy: list[Any], tangents: list[Any]) -> None:
        """Has one program made of these parts, those that cannot be traced left out: `run` raises their errors."""
        if not config.jax_disable_jit:
            begin = time.perf_counter()
            args = moving, dy, tangents
            together = tuple(part for part in parts if part in self.parts and self._is_traced(part, *args))
            note(tracing=time.perf_counter() - begin)
            if together:
                self._together[_is_float64()] = together
                self._program(together).prepare(*args)

    def run(self, part: str, moving: list[Any], dy: list[Any], tangents: list[Any] | None = None, *,
            anew: bool = False) -> Any:
        """A part at some arguments; with the other parts, where they are one program, whose latest results are kept.
        anew: whether to run the program though its results are there."""
        return self._results(part, moving, dy, tangents, anew)[part]

    def run_all(self, parts: Sequence[str], moving: list[Any], dy: list[Any]) -> dict[str, Any]:
        """Several parts at the same arguments; those of one program by one run."""
        found: dict[str, Any] = {}
        for part in parts:
            if part not in found:
                found |= self._results(part, moving, dy, None, False)
        return {part: found[part] for part in parts}

    def _results(self, part: str, moving: list[Any], dy: list[Any], tangents: list[Any] | None,
                 anew: bool) -> dict[str, Any]:
        """A part, and those that are one program with that."""
        together = self._together.get(_is_float64(), ())
        names = together if part in together else (part,)
        args = moving, dy, moving if tangents is None else tangents
        inputs = [id(leaf) for leaf in jax.tree.leaves(args[:2 if tangents is None else 3])]
        if self._latest is not None and not anew:
            held, results = self._latest
            if part in results and inputs == [id(leaf) for leaf in jax.tree.leaves(held)][:len(inputs)]:
                return results
        results = self._program(names)(*args)
        if len(names) > 1 and self._latest is None:
            self._latest = args, results
        return results

    def both(self, moving: list[Any], dy: list[Any]) -> tuple[list[Any], list[Any]]:
        """(the value, its gradient)."""
        return self.run("lifted", moving, dy)

    def pull_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        return self.both(moving, dy)[1]

    def value(self, moving: list[Any]) -> list[Any]:
        """The value alone, of a function that has no gradient say."""
        return self._value(moving)

    def widths(self, moving: list[Any], dy: list[Any] | None) -> Widths:
        """Whether all that is computed of float64 arguments is float64, and nothing is hidden from JAX: of the
        gradient, or of the value alone where there is no dy."""
        try:
            with precision():
                traced = self.trace(moving) if dy is None else self.pull_back_traced.trace(moving, dy).jaxpr
        except Exception:
            return Widths(False, False)
        jaxpr = traced.jaxpr
        return Widths(False, False) if hides_something(jaxpr) else widths(jaxpr)

    def _program(self, names: tuple[str, ...]) -> Program:
        if names not in self._joint:
            parts = {name: self.parts[name] for name in names}

            def joint(moving: list[Any], dy: list[Any], tangents: list[Any]) -> dict[str, Any]:
                return {name: part(moving, dy, tangents) for name, part in parts.items()}

            self._joint[names] = Program(joint)
        return self._joint[names]

    def _is_traced(self, part: str, *args: Any) -> bool:
        """Whether JAX can differentiate the function so."""
        try:
            program: Any = self.parts[part]
            traced = program.trace(*args)
        except Exception:
            return False
        # What stands for the forward mode of a custom_vjp, of which JAX says only later that there is none.
        return not any(eqn.primitive.name == "custom_lin" for eqn in equations(traced.jaxpr.jaxpr))


class ForwardPrograms(Programs):
    """Those of a function without reverse mode, one with a `while_loop` say: <J_fᵀ dy, e> = <dy, J_f e> for each
    coordinate e, one after another."""

    def _differentiated(self, outputs: Callable, moving: list[Any], dy: list[Any]) -> tuple[list[Any], list[Any]]:
        def derivative(i: int, k: Any) -> Any:
            def along(step: Any) -> list[Any]:
                moved = list(moving)
                moved[i] = moving[i].reshape(-1).at[k].add(step).reshape(moving[i].shape)
                return outputs(moved)

            def slope(unit: Any) -> Any:
                unit = jnp.asarray(unit, moving[i].dtype)
                y, dy_along = jax.jvp(along, (jnp.zeros_like(unit),), (unit,))
                return sum(pair(d.astype(leaf.dtype), t) for d, leaf, t in zip(dy, y, dy_along, strict=True))

            if not jnp.issubdtype(moving[i].dtype, jnp.complexfloating):
                return slope(1)
            return slope(1) - 1j * slope(1j)  # JAX pairs without conjugating: Re(c t) for each t

        return outputs(moving), [
            lax.map(lambda k, i=i: derivative(i, k), jnp.arange(m.size)).reshape(m.shape).astype(m.dtype)
            for i, m in enumerate(moving)]


class NoPrograms(Programs):
    """Those of a function without derivatives: its gradient is NaN, which judges nothing."""

    def _differentiated(self, outputs: Callable, moving: list[Any], dy: list[Any]) -> tuple[list[Any], list[Any]]:
        return outputs(moving), [jnp.full_like(m, jnp.nan) for m in moving]

    def _second_order(self, moving: list[Any], dy: list[Any], tangents: list[Any]) -> list[Any]:
        return self.pulled_back(moving, dy)


def arguments_of_changes(moving: list[Any], dy: list[Any], tangents: list[Any], steps: Any = ()) -> tuple[Any, ...]:
    """What `Programs.changes` takes: the steps are filled up with zeros, so that one program serves any number."""
    filled = np.zeros(MOST_STEPS)
    filled[:len(steps)] = steps
    return moving, dy, tangents, filled, len(steps)


def pair(a: Any, b: Any) -> Any:
    """<a, b>: JAX's pairing of a cotangent with a tangent, the real part of Σ a b for complex ones."""
    return (a * b).real.sum()  # of NumPy arrays in float64, of JAX arrays in theirs


def precision(float64: bool = True) -> contextlib.AbstractContextManager:
    """Float64, whether the session has it or not; the session's own precision with False."""
    return jax.enable_x64(True) if float64 else contextlib.nullcontext()


def hides_something(jaxpr: Any) -> bool:
    """Whether something is computed by what JAX does not see into: a callback, a kernel."""
    return any(eqn.primitive.name in _HIDDEN for eqn in equations(jaxpr))


def widen(x: Any) -> Any:
    """x in float64 or complex128, as a JAX array, for use under `precision`."""
    return jax.device_put(as_wide(x))


def _in_dtypes_of(moving: list[Any], tangents: list[Any]) -> list[Any]:
    return [t.astype(m.dtype) for m, t in zip(moving, tangents, strict=True)]


def _is_float64() -> bool:
    return bool(config.jax_enable_x64)
