"""A factor or a term that is missing or too many, made of the arguments, the value and its cotangent."""

from collections.abc import Iterator

import numpy as np

from jaxnn.gradients.reasons.evidence import Evidence, Reason, axes_of

__all__ = ["lacks_a_factor", "lacks_a_term"]


def lacks_a_factor(evidence: Evidence) -> Iterator[Reason]:
    """reference = value v or value = reference v, v made of an argument, the value or its cotangent."""
    value, reference = evidence.value, evidence.reference
    for name, array in evidence.arrays():
        for v in _fitted(array, reference.shape):
            for words, factor in ((name, v), (f"(1 - {name})", 1 - v), (f"(1 - {name}²)", 1 - v * v),
                                 (f"{name}²", v * v)):
                if not evidence.is_wrong(reference * factor):
                    continue
                if evidence.equal(value * factor, reference) and np.any(factor):
                    yield Reason("factor", f"it lacks the factor {words}")
                if evidence.fits(reference * factor):
                    yield Reason("factor", f"it has the factor {words} once too often")


def lacks_a_term(evidence: Evidence) -> Iterator[Reason]:
    """value = reference + a v, where a is one number for each place along the axes that are not summed over."""
    value, reference = evidence.value, evidence.reference
    error = value - reference
    for name, array in evidence.arrays():
        if array.shape != reference.shape:
            continue
        for axes in axes_of(reference):
            if np.prod([reference.shape[a] for a in axes]) < 3:
                continue  # as many coefficients as numbers
            centred = array - array.mean(axes, keepdims=True)
            for words, v in ((name, array), (f"{name} less its mean", centred)):
                power = (v * v).sum(axes, keepdims=True)
                a = (error * v).sum(axes, keepdims=True) / np.where(power == 0, 1, power)
                if evidence.fits(reference + a * v):
                    along = "" if len(axes) == reference.ndim else (
                        f", one for each place off axes {', '.join(map(str, axes))}")
                    size = f"{a.ravel()[0]:.6g} · " if a.size == 1 else "a multiple of "
                    yield Reason("term", f"it is the reference plus {size}{words}{along}: that term is missing, or "
                                 "too many")


def _fitted(array: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """The array laid along the last or the first axes of a shape."""
    if not array.ndim or array.ndim > len(shape) or array.size < 2:
        return
    if array.shape == shape[len(shape) - array.ndim:]:
        yield np.broadcast_to(array, shape)
    if array.ndim < len(shape) and array.shape == shape[:array.ndim]:
        yield np.broadcast_to(array.reshape(array.shape + (1,) * (len(shape) - array.ndim)), shape)
