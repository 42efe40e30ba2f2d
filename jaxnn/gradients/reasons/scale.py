"""A leaf that is the reference's times one number, which may have a name: a sign, 1 - rate, the size of the batch."""

import math
from collections.abc import Iterator

import numpy as np

from jaxnn.gradients.reasons.evidence import Evidence, Reason, output_name

__all__ = ["sign_or_size"]


def sign_or_size(evidence: Evidence) -> Iterator[Reason]:
    """value = c reference, where c has a name; with two elements or more also where c has none."""
    value, reference = evidence.value, evidence.reference
    power = float(np.vdot(reference, reference).real)
    if power == 0:
        return
    if evidence.fits(-reference):
        yield Reason("sign", "the sign is flipped")
    if np.iscomplexobj(reference) and evidence.fits(reference.conj()):
        yield Reason("conjugate", "it is the complex conjugate")
    for out, dy in zip(evidence.problem.outputs, evidence.problem.dy, strict=True):
        if dy.size == 1 and (number := float(dy.real.ravel()[0])) and evidence.fits(reference / number):
            name = output_name("dy", out.path)
            yield Reason("cotangent ignored", f"it is the gradient for {name} = 1: the cotangent is ignored")
    c = float(np.vdot(reference, value).real) / power
    if not evidence.fits(c * reference):
        return
    yield from _static_number(evidence, c)
    for words, number in (("twice", 2.0), ("half", 0.5)):
        if _is(evidence, c, number) and not any(n == 2 for n, _ in evidence.sizes()):
            yield Reason("scale", f"exactly {words} the reference")
    yield from _sum_or_mean(evidence, c)
    for n, name in evidence.sizes():
        for words, number in ((f"√{n}", math.sqrt(n)), (f"1/√{n}", 1 / math.sqrt(n))):
            if _is(evidence, c, number):
                yield Reason("root", f"exactly {words} x the reference, {n} being {name}")
    if reference.size > 1:
        yield Reason("scale", f"{c:.6g} x the reference at every element")


def _is(evidence: Evidence, c: float, number: float) -> bool:
    """Whether the factor c is a number."""
    return evidence.fits(number * evidence.reference) and math.isclose(c, number, rel_tol=1e-3)


def _static_number(evidence: Evidence, c: float) -> Iterator[Reason]:
    """A number that f was made with."""
    for name, number in evidence.numbers.items():
        if _is(evidence, c, 1 - number):
            zeros = "; kept elements are not divided by it" if np.any(evidence.reference == 0) else ""
            yield Reason("static", f"{c:.6g} x the reference, which is 1 - {name}{zeros}")
        for words, factor in ((name, number), (f"1 / {name}", 1 / number if number else 0),
                              (f"1 / (1 - {name})", 1 / (1 - number) if number != 1 else 0)):
            if factor not in (0, 1) and _is(evidence, c, factor):
                yield Reason("static", f"{c:.6g} x the reference, which is {words}")


def _sum_or_mean(evidence: Evidence, c: float) -> Iterator[Reason]:
    """The size of an axis or of an array: a sum in place of a mean, or a mean in place of a sum."""
    for n, name in evidence.sizes():
        if _is(evidence, c, n):
            yield Reason("sum for mean", f"exactly {n} x the reference, {n} being {name}: " + (
                f"the cost is a mean over {n} examples (it stays the same when they are given twice) and "
                "the gradient is a sum" if evidence.growth(n) == 1 else "a sum where a mean is due"))
        if _is(evidence, c, 1 / n):
            yield Reason("mean for sum", f"exactly 1/{n} of the reference, {n} being {name}: " + (
                f"the cost is a sum over {n} examples (it doubles when they are given twice) and the "
                "gradient is a mean" if evidence.growth(n) == 2 else "a mean where a sum is due"))
