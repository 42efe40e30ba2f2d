"""A leaf that is averaged, or that lacks or has a subtraction of its mean."""

from collections.abc import Iterator

import numpy as np

from jaxnn.gradients.reasons.evidence import Evidence, Reason, axes_of
from jaxnn.gradients.reasons.words import axes_in_words

__all__ = ["averaged"]


def averaged(evidence: Evidence) -> Iterator[Reason]:
    value, reference = evidence.value, evidence.reference
    for axes in axes_of(reference):
        mean = reference.mean(axes, keepdims=True)
        if evidence.fits(np.broadcast_to(mean, reference.shape)):
            yield Reason("averaged", f"each element is the reference's mean over {axes_in_words(axes)}")
        if evidence.fits(reference - mean):
            yield Reason("mean taken off", f"it is the reference less its mean over {axes_in_words(axes)}")
        if evidence.equal(value - value.mean(axes, keepdims=True), reference) and evidence.is_wrong(value):
            yield Reason("mean term", f"it equals the reference once its own mean over {axes_in_words(axes)} is "
                         "taken off: the mean term is missing")
    if reference.size > 2:
        offset = (value - reference).mean()
        if evidence.fits(reference + offset):
            yield Reason("constant", f"{offset:.6g} is added at every element")
