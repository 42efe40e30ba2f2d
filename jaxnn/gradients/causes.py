"""Reasons for a wrong leaf that only the reference itself can confirm.

It is asked for its gradient at another cotangent (dy reversed, shifted, one output left out) or at other
arguments (a kernel flipped, a weight transposed); or a factor or a term is looked for among the arguments,
the value and its cotangent.
"""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.evidence import Evidence, Reason, axes_of, shifted
from jaxnn.gradients.leaf import as_wide

__all__ = ["at_another_argument", "at_another_cotangent", "lacks_a_factor", "lacks_a_term", "unused_argument"]


def at_another_cotangent(seen: Evidence) -> Iterator[Reason]:
    problem = seen.problem
    for o, (out, dy) in enumerate(zip(problem.outputs, problem.dy, strict=True)):
        name = f"dy of {out.path}" if out.path else "dy"
        for kind, words, other in _changed_cotangents(as_wide(dy)):
            cotangent = list(problem.dy)
            cotangent[o] = jnp.asarray(other, dy.dtype)
            candidate = seen.reference_at(dy=cotangent)
            if candidate is not None and seen.explains(candidate):
                yield kind, words.replace("dy", name)


def _changed_cotangents(dy: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    yield "cotangent unused", "it is the gradient without dy: that cotangent is not used", np.zeros_like(dy)
    yield "cotangent ignored", "it is the gradient for dy = 1: the cotangent is ignored", np.ones_like(dy)
    for axes in axes_of(dy):
        along = f"axes {', '.join(map(str, axes))}"
        yield "cotangent reversed", f"it is the gradient for dy reversed along {along}", np.flip(dy, axes)
    for (axis,) in (axes for axes in axes_of(dy) if len(axes) == 1):
        for by in (1, -1):
            step = f"it is the gradient for dy shifted by one step along axis {axis}"
            yield "cotangent shifted", step, shifted(dy, axis, by)
            yield "cotangent shifted", f"{step}, which wraps around", np.roll(dy, by, axis)
        for index, which in ((0, "first"), (-1, "last")):
            alone, without = np.zeros_like(dy), dy.copy()
            np.moveaxis(alone, axis, 0)[index] = np.moveaxis(dy, axis, 0)[index]
            np.moveaxis(without, axis, 0)[index] = 0
            part = f"the {which} of dy along axis {axis}"
            yield "cotangent alone", f"it is the gradient for {part} alone", alone
            yield "cotangent short", f"{part} is left out", without
        mean = np.broadcast_to(dy.mean(axis, keepdims=True), dy.shape)
        yield "cotangent averaged", f"it is the gradient for dy averaged over axis {axis}", mean


def at_another_argument(seen: Evidence) -> Iterator[Reason]:
    yield from _at_arguments(seen, _changed_arguments)


def unused_argument(seen: Evidence) -> Iterator[Reason]:
    yield from _at_arguments(seen, lambda x, path: iter([
        ("argument unused", f"it is the gradient for {path} = {n}", np.full_like(x, n)) for n in (0, 1)]))


def _at_arguments(seen: Evidence, changes: Callable) -> Iterator[Reason]:
    problem = seen.problem
    for a, (path, leaf) in enumerate(zip(problem.paths, problem.moving, strict=True)):
        if leaf.size < 2:
            continue
        for kind, words, other in changes(as_wide(leaf), path):
            moving = list(problem.moving)
            moving[a] = jnp.asarray(other, leaf.dtype)
            candidate = seen.reference_at(moving=moving)
            if candidate is not None and seen.explains(candidate):
                yield kind, words


def _changed_arguments(x: np.ndarray, path: str) -> Iterator[tuple[str, str, np.ndarray]]:
    for i in range(x.ndim):
        for j in range(i + 1, x.ndim):
            if x.shape[i] == x.shape[j]:
                yield ("argument transposed", f"it is the gradient for {path} with axes {i} and {j} "
                       "exchanged, which is not transposed, or once too often", np.swapaxes(x, i, j))
    for axes in axes_of(x):
        along = f"reversed along axes {', '.join(map(str, axes))}"
        flipped = ": the kernel is not flipped" if path.endswith("kernel") else ""
        yield "argument reversed", f"it is the gradient for {path} {along}{flipped}", np.flip(x, axes)
    for (axis,) in (axes for axes in axes_of(x) if len(axes) == 1):
        for by in (1, -1):
            step = f"it is the gradient for {path} shifted by one step along axis {axis}"
            yield "argument shifted", step, shifted(x, axis, by)
            yield "argument shifted", f"{step}, which wraps around", np.roll(x, by, axis)
    yield "argument negated", f"it is the gradient for -{path}", -x


def lacks_a_factor(seen: Evidence) -> Iterator[Reason]:
    """want = got v or got = want v, v made of an argument, the value or its cotangent."""
    got, want = seen.got, seen.want
    for name, array in seen.arrays():
        for v in _fitted(array, want.shape):
            for what, factor in ((name, v), (f"(1 - {name})", 1 - v), (f"(1 - {name}²)", 1 - v * v),
                                 (f"{name}²", v * v)):
                if not seen.is_wrong(want * factor):
                    continue
                if seen.equal(got * factor, want) and np.any(factor):
                    yield "factor", f"it lacks the factor {what}"
                if seen.explains(want * factor):
                    yield "factor", f"it has the factor {what} once too often"


def lacks_a_term(seen: Evidence) -> Iterator[Reason]:
    """got = want + a v, a one number for each place along the axes that are not summed over."""
    got, want = seen.got, seen.want
    rest = got - want
    for name, array in seen.arrays():
        if array.shape != want.shape:
            continue
        for axes in axes_of(want):
            if np.prod([want.shape[a] for a in axes]) < 3:
                continue  # as many coefficients as numbers
            centred = array - array.mean(axes, keepdims=True)
            for what, v in ((name, array), (f"{name} less its mean", centred)):
                power = (v * v).sum(axes, keepdims=True)
                a = (rest * v).sum(axes, keepdims=True) / np.where(power == 0, 1, power)
                if seen.explains(want + a * v):
                    along = "" if len(axes) == want.ndim else (
                        f", one for each place off axes {', '.join(map(str, axes))}")
                    size = f"{a.ravel()[0]:.6g} · " if a.size == 1 else "a multiple of "
                    yield "term", (f"it is the reference plus {size}{what}{along}: that term is missing, or "
                                   "too many")


def _fitted(array: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The array laid along the last or the first axes of a shape."""
    if not array.ndim or array.ndim > len(shape) or array.size < 2:
        return
    if array.shape == shape[len(shape) - array.ndim:]:
        yield np.broadcast_to(array, shape)
    if array.ndim < len(shape) and array.shape == shape[:array.ndim]:
        yield np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape)
