"""A leaf with the right numbers at the wrong places, or those of another leaf."""

import itertools
from collections.abc import Iterator

import numpy as np

from jaxnn.gradients.reasons.evidence import Evidence, Reason, axes_of, shifted
from jaxnn.gradients.reasons.words import axes_in_words, kernel_not_flipped

__all__ = ["another_leaf", "rearranged"]


def another_leaf(evidence: Evidence) -> Iterator[Reason]:
    for other in evidence.problem.gradient:
        if other.path != evidence.path and other.value.size > 1 and evidence.fits(other.value):
            yield Reason("another leaf", f"it is the gradient of {other.path}")


def rearranged(evidence: Evidence) -> Iterator[Reason]:
    reference = evidence.reference
    for i, j in itertools.combinations(range(reference.ndim), 2):
        if reference.shape[i] == reference.shape[j] and evidence.fits(np.swapaxes(reference, i, j)):
            yield Reason("transpose", "it is the transpose" if reference.ndim == 2 else (
                f"axes {i} and {j} are exchanged"))
    for axes in axes_of(reference):
        if evidence.fits(np.flip(reference, axes)):
            yield Reason("reversed", f"it is reversed along {axes_in_words(axes)}{kernel_not_flipped(evidence.path)}")
    for (axis,) in (axes for axes in axes_of(reference) if len(axes) == 1):
        for by in (1, -1):
            step = f"it is shifted by one step along axis {axis}, to {'later' if by > 0 else 'earlier'} places"
            if evidence.fits(np.roll(reference, by, axis)):
                yield Reason("shifted", f"{step}, and wraps")
            if evidence.fits(shifted(reference, axis, by)):
                yield Reason("shifted", step)
    is_varied = reference.size > 2 and len(np.unique(reference)) > 2
    if is_varied and evidence.fits(_in_order_of(evidence.value, np.sort(reference, axis=None))):
        yield Reason("permuted", "it has the reference's numbers at other places")


def _in_order_of(value: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The sorted numbers at the places that the order of value gives them."""
    placed = np.empty(value.size, numbers.dtype)
    placed[np.argsort(value, axis=None)] = numbers
    return placed.reshape(value.shape)
