"""Why a leaf is wrong, in words. No reason is named that was not checked in numbers.

Each hypothesis makes of the reference's leaf what would have come if it were true, and is named if that is
what came. It is free to choose a place or a number, never more, so that it does not fit by chance.
"""

import itertools
import math
from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.causes import (
    at_another_argument,
    at_another_cotangent,
    lacks_a_factor,
    lacks_a_term,
    unused_argument,
)
from jaxnn.gradients.evidence import Evidence, Reason, axes_of, list_of, shifted
from jaxnn.gradients.report import Finding

__all__ = ["diagnose"]


def diagnose(seen: Evidence) -> Finding:
    """The first hypothesis that explains the whole leaf; failing that, where it differs."""
    reasons = itertools.chain.from_iterable(hypothesis(seen) for hypothesis in HYPOTHESES)
    return Finding(seen.path, *next(reasons))


def wrong_shape(seen: Evidence) -> Iterator[Reason]:
    got, want = seen.got, seen.want
    if got.shape == want.shape:
        return
    if seen.equal(got.T, want):
        yield "transpose", f"it is the transpose: {got.shape}, where {want.shape} is due"
    for n in range(1, got.ndim - want.ndim + 1):
        if seen.equal(got.sum(tuple(range(n))), want):
            yield "not summed", f"it is not summed over its first {n} axes" if n > 1 else (
                f"it is not summed over axis 0, of size {got.shape[0]}")
    if got.ndim < want.ndim and seen.equal(got, want.sum(tuple(range(want.ndim - got.ndim)))):
        yield "summed", "it is summed over leading axes that the argument has"
    yield "shape", f"it has shape {got.shape}; the argument has {want.shape}"


def not_finite(seen: Evidence) -> Iterator[Reason]:
    bad = ~np.isfinite(seen.got) & np.isfinite(seen.want)
    if bad.any():
        what = "NaN" if np.isnan(seen.got[bad]).all() else "infinite" if np.isinf(seen.got[bad]).all() else (
            "NaN or infinite")
        first = tuple(np.argwhere(bad)[0])
        yield "not finite", f"{what} at {_where(bad)}, where the reference is {seen.want[first]:.6g}"


def nothing(seen: Evidence) -> Iterator[Reason]:
    if not np.any(seen.got):
        yield "all zero", "zero everywhere"


def sign_or_size(seen: Evidence) -> Iterator[Reason]:
    """got = c want, where c has a name; with two elements or more also where it has none."""
    got, want = seen.got, seen.want
    power = float(np.vdot(want, want).real)
    if power == 0:
        return
    if seen.explains(-want):
        yield "sign", "the sign is flipped"
    if np.iscomplexobj(want) and seen.explains(want.conj()):
        yield "conjugate", "it is the complex conjugate"
    c = float(np.vdot(want, got).real) / power
    for out, dy in zip(seen.problem.outputs, seen.problem.dy, strict=True):
        if dy.size == 1 and float(dy.real.ravel()[0]) and seen.explains(want / float(dy.real.ravel()[0])):
            name = f"dy of {out.path}" if out.path else "dy"
            yield "cotangent ignored", f"it is the gradient for {name} = 1: the cotangent is ignored"
    if not seen.explains(c * want):
        return
    is_ = lambda number: seen.explains(number * want) and math.isclose(c, number, rel_tol=1e-3)  # noqa: E731
    for name, number in seen.numbers.items():
        if is_(1 - number):
            zeros = "; kept elements are not divided by it" if np.any(want == 0) else ""
            yield "static", f"{c:.6g} x the reference, which is 1 - {name}{zeros}"
        for what, value in ((name, number), (f"1 / {name}", 1 / number if number else 0),
                            (f"1 / (1 - {name})", 1 / (1 - number) if number != 1 else 0)):
            if value not in (0, 1) and is_(value):
                yield "static", f"{c:.6g} x the reference, which is {what}"
    for what, value in (("twice", 2.0), ("half", 0.5)):
        if is_(value) and not any(n == 2 for n, _ in seen.sizes()):
            yield "scale", f"exactly {what} the reference"
    for n, name in seen.sizes():
        if is_(n):
            mean = seen.repeated(n) == "same"
            yield "sum for mean", f"exactly {n} x the reference, {n} being {name}: " + (
                f"the cost is a mean over {n} examples (it stays the same when they are given twice) and "
                "the gradient is a sum" if mean else "a sum where a mean is due")
        if is_(1 / n):
            sum_ = seen.repeated(n) == "doubled"
            yield "mean for sum", f"exactly 1/{n} of the reference, {n} being {name}: " + (
                f"the cost is a sum over {n} examples (it doubles when they are given twice) and the "
                "gradient is a mean" if sum_ else "a mean where a sum is due")
    for n, name in seen.sizes():
        for what, value in ((f"√{n}", math.sqrt(n)), (f"1/√{n}", 1 / math.sqrt(n))):
            if is_(value):
                yield "root", f"exactly {what} x the reference, {n} being {name}"
    if want.size > 1:
        yield "scale", f"{c:.6g} x the reference at every element"


def another_leaf(seen: Evidence) -> Iterator[Reason]:
    for other in seen.problem.wanted:
        if other.path != seen.path and other.value.size > 1 and seen.explains(other.value):
            yield "another leaf", f"it is the gradient of {other.path}"


def rearranged(seen: Evidence) -> Iterator[Reason]:
    want = seen.want
    for i, j in itertools.combinations(range(want.ndim), 2):
        if want.shape[i] == want.shape[j] and seen.explains(np.swapaxes(want, i, j)):
            yield "transpose", "it is the transpose" if want.ndim == 2 else f"axes {i} and {j} are exchanged"
    for axes in axes_of(want):
        if seen.explains(np.flip(want, axes)):
            kernel = ": the kernel is not flipped" if seen.path.endswith("kernel") else ""
            yield "reversed", f"it is reversed along {_axes(axes)}{kernel}"
    for (axis,) in (axes for axes in axes_of(want) if len(axes) == 1):
        for by in (1, -1):
            way = "later" if by > 0 else "earlier"
            if seen.explains(np.roll(want, by, axis)):
                yield "shifted", f"it is shifted by one step along axis {axis}, to {way} places, and wraps"
            if seen.explains(shifted(want, axis, by)):
                yield "shifted", f"it is shifted by one step along axis {axis}, to {way} places"
    if want.size > 2 and len(np.unique(want)) > 2 and seen.explains(_put(np.sort(want, axis=None), seen.got)):
        yield "permuted", "it has the reference's numbers at other places"


def averaged(seen: Evidence) -> Iterator[Reason]:
    want, got = seen.want, seen.got
    for axes in axes_of(want):
        mean = want.mean(axes, keepdims=True)
        if seen.explains(np.broadcast_to(mean, want.shape)):
            yield "averaged", f"each element is the reference's mean over {_axes(axes)}"
        if seen.explains(want - mean):
            yield "mean taken off", f"it is the reference less its mean over {_axes(axes)}"
        if seen.equal(got - got.mean(axes, keepdims=True), want) and seen.is_wrong(got):
            yield "mean term", (f"it equals the reference once its own mean over {_axes(axes)} is taken off: "
                                "the mean term is missing")
    if want.size > 2:
        offset = got - want
        if seen.explains(want + offset.mean()):
            yield "constant", f"{offset.mean():.6g} is added at every element"


def some_elements(seen: Evidence) -> Iterator[Reason]:
    """Right but for some elements that are zero, or that should be."""
    got, want, wrong = seen.got, seen.want, seen.differs
    right = ~wrong
    if not right.any():
        return
    if not np.any(got[wrong]) and not any(_is_first(right, axis) for axis in range(want.ndim)):
        yield "zero", f"zero at {_where(wrong)}"
    if not np.any(want[wrong]):
        yield "mask", (f"not zero at {_count(wrong)} where the reference is zero, and right elsewhere: "
                       "what is masked comes through")


def first_only(seen: Evidence) -> Iterator[Reason]:
    """A cache or a mask of the first example used for all of them."""
    for axis in range(seen.want.ndim):
        if _is_first(~seen.differs, axis):
            batch = axis == 0 and all(out.shape[:1] == seen.want.shape[:1] for out in seen.problem.outputs)
            yield "first only", "right only in the first example of the batch" if batch else (
                f"right only at index 0 of axis {axis}")


def coarse(seen: Evidence) -> Iterator[Reason]:
    """Every element near the reference's, but fewer digits."""
    if np.iscomplexobj(seen.got):
        return
    for narrow in ("bfloat16", "float16"):
        if jnp.finfo(narrow).eps > jnp.finfo(seen.dtype).eps:
            rounded = np.asarray(jnp.asarray(seen.got).astype(narrow)).astype(np.float64)
            eps = float(jnp.finfo(narrow).eps)
            size = np.maximum(np.abs(seen.want), seen.wanted.scale * eps)
            if np.array_equal(rounded, seen.got) and np.all(np.abs(seen.got - seen.want) <= 8 * eps * size):
                yield "precision", f"rounded to {narrow}: each element is such a number near the reference's"
    limit = np.abs(seen.got).max()
    above = np.abs(seen.want) > limit * (1 + 1e-6)
    if limit > 0 and np.count_nonzero(above) >= 2 and seen.explains(np.clip(seen.want, -limit, limit)):
        yield "clipped", f"clipped to ±{limit:.6g}: the reference is beyond at {_count(above)}"


def place(seen: Evidence) -> Iterator[Reason]:
    """No reason was found: where it differs, and by how much."""
    wrong = seen.differs
    if not wrong.any():
        yield "unexplained", "no element differs by itself beyond rounding"
        return
    off = np.abs(seen.got - seen.want)[wrong] / (np.abs(seen.want)[wrong] + 1e-300)
    by = f"by {off.max():.2g} of it" if off.max() < 1e3 else "where the reference is near zero"
    yield ("one element" if wrong.sum() == 1 else "unexplained"), (
        f"differs from the reference at {_where(wrong)}, {'' if wrong.sum() == 1 else 'at most '}{by}; "
        "no reason was found")


HYPOTHESES = (wrong_shape, not_finite, nothing, sign_or_size, another_leaf, rearranged, some_elements,
              averaged, coarse, at_another_cotangent, at_another_argument, lacks_a_factor, lacks_a_term,
              unused_argument, first_only, place)


def _put(sorted_values: np.ndarray, got: np.ndarray) -> np.ndarray:
    """The sorted values at the places that the order of got gives them."""
    out = np.empty(got.size, sorted_values.dtype)
    out[np.argsort(got, axis=None)] = sorted_values
    return out.reshape(got.shape)


def _only(shape: tuple[int, ...], axis: int, index: int) -> np.ndarray:
    mask = np.zeros(shape, bool)
    np.moveaxis(mask, axis, 0)[index] = True
    return mask


def _is_first(mask: np.ndarray, axis: int) -> bool:
    return mask.shape[axis] > 2 and np.array_equal(mask, _only(mask.shape, axis, 0))


def _where(mask: np.ndarray) -> str:
    """The marked elements in words: one of them, a slice, or how many."""
    places = np.argwhere(mask)
    if not mask.ndim:
        return "its only element"
    if len(places) == 1:
        return f"1 of {mask.size:,} elements, {list_of(places[0])}"
    for axis in range(mask.ndim):
        indices = np.unique(places[:, axis])
        if len(indices) == 1 and mask.shape[axis] > 1 and np.array_equal(
                mask, _only(mask.shape, axis, int(indices[0]))):
            return f"all of index {indices[0]} of axis {axis}"
    return f"{_count(mask)}, first at {list_of(places[0])}"


def _count(mask: np.ndarray) -> str:
    return f"{int(mask.sum()):,} of {mask.size:,} elements"


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
