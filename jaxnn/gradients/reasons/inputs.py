"""A leaf that is the reference's own at another cotangent or at other arguments.

The reference is asked for its gradient with dy reversed, shifted, one output left out, a kernel flipped, a weight
transposed.
"""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.leaf import as_wide
from jaxnn.gradients.reasons.evidence import Evidence, Reason, axes_of, output_name, shifted
from jaxnn.gradients.reasons.words import kernel_not_flipped

__all__ = ["at_another_argument", "at_another_cotangent", "unused_argument"]


def at_another_cotangent(evidence: Evidence) -> Iterator[Reason]:
    problem = evidence.problem
    for o, (out, dy) in enumerate(zip(problem.outputs, problem.dy, strict=True)):
        for kind, words, other in _changed_cotangents(as_wide(dy), output_name("dy", out.path)):
            cotangent = list(problem.dy)
            cotangent[o] = jnp.asarray(other, dy.dtype)
            if evidence.fits(evidence.reference_at(dy=cotangent)):
                yield Reason(kind, words)


def _changed_cotangents(dy: np.ndarray, name: str) -> Iterator[tuple[str, str, np.ndarray]]:
    yield "cotangent unused", f"it is the gradient without {name}: that cotangent is not used", np.zeros_like(dy)
    yield "cotangent ignored", f"it is the gradient for {name} = 1: the cotangent is ignored", np.ones_like(dy)
    for axes in axes_of(dy):
        along = f"axes {', '.join(map(str, axes))}"
        yield "cotangent reversed", f"it is the gradient for {name} reversed along {along}", np.flip(dy, axes)
    for (axis,) in (axes for axes in axes_of(dy) if len(axes) == 1):
        for by in (1, -1):
            step = f"it is the gradient for {name} shifted by one step along axis {axis}"
            yield "cotangent shifted", step, shifted(dy, axis, by)
            yield "cotangent shifted", f"{step}, which wraps around", np.roll(dy, by, axis)
        for index, which in ((0, "first"), (-1, "last")):
            alone, without = np.zeros_like(dy), dy.copy()
            np.moveaxis(alone, axis, 0)[index] = np.moveaxis(dy, axis, 0)[index]
            np.moveaxis(without, axis, 0)[index] = 0
            part = f"the {which} of {name} along axis {axis}"
            yield "cotangent alone", f"it is the gradient for {part} alone", alone
            yield "cotangent short", f"{part} is left out", without
        mean = np.broadcast_to(dy.mean(axis, keepdims=True), dy.shape)
        yield "cotangent averaged", f"it is the gradient for {name} averaged over axis {axis}", mean


def at_another_argument(evidence: Evidence) -> Iterator[Reason]:
    yield from _at_arguments(evidence, _changed_arguments)


def unused_argument(evidence: Evidence) -> Iterator[Reason]:
    yield from _at_arguments(evidence, lambda x, path: iter([
        ("argument unused", f"it is the gradient for {path} = {n}", np.full_like(x, n)) for n in (0, 1)]))


def _at_arguments(evidence: Evidence, changes: Callable) -> Iterator[Reason]:
    problem = evidence.problem
    places = list(enumerate(zip(problem.paths, problem.moving, strict=True)))
    if problem.is_large:  # the budget may end: what stands beside the wrong leaf is the likeliest
        places.sort(key=lambda place: abs(place[0] - evidence.i))
    for a, (path, leaf) in places:
        if leaf.size < 2:
            continue
        for kind, words, other in changes(as_wide(leaf), path):
            if not evidence.budget.left:
                return
            moving = list(problem.moving)
            moving[a] = jnp.asarray(other, leaf.dtype)
            if evidence.fits(evidence.reference_at(moving=moving)):
                yield Reason(kind, words)


def _changed_arguments(x: np.ndarray, path: str) -> Iterator[tuple[str, str, np.ndarray]]:
    for i in range(x.ndim):
        for j in range(i + 1, x.ndim):
            if x.shape[i] == x.shape[j]:
                yield ("argument transposed", f"it is the gradient for {path} with axes {i} and {j} "
                       "exchanged, which is not transposed, or once too often", np.swapaxes(x, i, j))
    for axes in axes_of(x):
        along = f"reversed along axes {', '.join(map(str, axes))}"
        yield "argument reversed", f"it is the gradient for {path} {along}{kernel_not_flipped(path)}", np.flip(x, axes)
    for (axis,) in (axes for axes in axes_of(x) if len(axes) == 1):
        for by in (1, -1):
            step = f"it is the gradient for {path} shifted by one step along axis {axis}"
            yield "argument shifted", step, shifted(x, axis, by)
            yield "argument shifted", f"{step}, which wraps around", np.roll(x, by, axis)
    yield "argument negated", f"it is the gradient for -{path}", -x
