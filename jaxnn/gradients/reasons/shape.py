"""A leaf of another shape than its argument."""

from collections.abc import Iterator

from jaxnn.gradients.reasons.evidence import Evidence, Reason

__all__ = ["wrong_shape"]


def wrong_shape(evidence: Evidence) -> Iterator[Reason]:
    value, reference = evidence.value, evidence.reference
    if value.shape == reference.shape:
        return
    if evidence.equal(value.T, reference):
        yield Reason("transpose", f"it is the transpose: {value.shape}, where {reference.shape} is due")
    for n in range(1, value.ndim - reference.ndim + 1):
        if evidence.equal(value.sum(tuple(range(n))), reference):
            yield Reason("not summed", f"it is not summed over its first {n} axes" if n > 1 else (
                f"it is not summed over axis 0, of size {value.shape[0]}"))
    if value.ndim < reference.ndim and evidence.equal(
            value, reference.sum(tuple(range(reference.ndim - value.ndim)))):
        yield Reason("summed", "it is summed over leading axes that the argument has")
    yield Reason("shape", f"it has shape {value.shape}; the argument has {reference.shape}")
