"""A leaf that is wrong at some of its elements: zero, masked, not finite, rounded or clipped."""

from collections.abc import Iterator

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.reasons.evidence import Evidence, Reason
from jaxnn.gradients.reasons.words import elements_in_words, is_slice, number_of_elements

__all__ = ["coarse", "first_only", "not_finite", "nothing", "place", "some_elements"]


def not_finite(evidence: Evidence) -> Iterator[Reason]:
    bad = ~np.isfinite(evidence.value) & np.isfinite(evidence.reference)
    if bad.any():
        numbers = evidence.value[bad]
        name = "NaN" if np.isnan(numbers).all() else "infinite" if np.isinf(numbers).all() else "NaN or infinite"
        first = tuple(np.argwhere(bad)[0])
        yield Reason("not finite", f"{name} at {elements_in_words(bad)}, where the reference is "
                     f"{evidence.reference[first]:.6g}")


def nothing(evidence: Evidence) -> Iterator[Reason]:
    if not np.any(evidence.value):
        yield Reason("all zero", "zero everywhere")


def some_elements(evidence: Evidence) -> Iterator[Reason]:
    """Right but for some elements that are zero, or that should be."""
    value, reference, wrong = evidence.value, evidence.reference, evidence.wrong
    if wrong.all():
        return
    if not np.any(value[wrong]) and not any(_is_first(~wrong, axis) for axis in range(reference.ndim)):
        yield Reason("zero", f"zero at {elements_in_words(wrong)}")
    if not np.any(reference[wrong]):
        yield Reason("mask", f"not zero at {number_of_elements(wrong)} where the reference is zero, and right "
                     "elsewhere: what is masked comes through")


def first_only(evidence: Evidence) -> Iterator[Reason]:
    """A cache or a mask of the first example used for all of them."""
    shape = evidence.reference.shape
    for axis in range(len(shape)):
        if _is_first(~evidence.wrong, axis):
            is_batch = axis == 0 and all(out.shape[:1] == shape[:1] for out in evidence.problem.outputs)
            yield Reason("first only", "right only in the first example of the batch" if is_batch else (
                f"right only at index 0 of axis {axis}"))


def coarse(evidence: Evidence) -> Iterator[Reason]:
    """Every element near the reference's, but with fewer digits, or clipped."""
    value, reference = evidence.value, evidence.reference
    if np.iscomplexobj(value):
        return
    for narrow in ("bfloat16", "float16"):
        eps = float(jnp.finfo(narrow).eps)
        if eps > jnp.finfo(evidence.dtype).eps:
            rounded = np.asarray(jnp.asarray(value).astype(narrow)).astype(np.float64)
            size = np.maximum(np.abs(reference), evidence.leaf.scale * eps)
            if np.array_equal(rounded, value) and np.all(np.abs(value - reference) <= 8 * eps * size):
                yield Reason("precision", f"rounded to {narrow}: each element is such a number near the reference's")
    limit = np.abs(value).max()
    above = np.abs(reference) > limit * (1 + 1e-6)
    if limit > 0 and np.count_nonzero(above) >= 2 and evidence.fits(np.clip(reference, -limit, limit)):
        yield Reason("clipped", f"clipped to ±{limit:.6g}: the reference is beyond at {number_of_elements(above)}")


def place(evidence: Evidence) -> Iterator[Reason]:
    """No reason was found: where the leaf differs, and by how much."""
    value, reference, wrong = evidence.value, evidence.reference, evidence.wrong
    if not wrong.any():
        yield Reason("unexplained", "no element differs by itself beyond rounding")
        return
    relative = (np.abs(value - reference)[wrong] / (np.abs(reference)[wrong] + 1e-300)).max()
    by = f"by {relative:.2g} of it" if relative < 1e3 else "where the reference is near zero"
    is_one = wrong.sum() == 1
    yield Reason("one element" if is_one else "unexplained", f"differs from the reference at "
                 f"{elements_in_words(wrong)}, {'' if is_one else 'at most '}{by}; no reason was found")


def _is_first(mask: np.ndarray, axis: int) -> bool:
    return mask.shape[axis] > 2 and is_slice(mask, axis, 0)
