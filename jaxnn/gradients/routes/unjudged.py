"""Elements at which the reference has no gradient, NaN say: there the slopes of f's own value judge f.

Along the coordinate of such an element φ = <dy, f> has a slope from below and one from above. f's gradient has to lie
between them; where φ is smooth the two are one number. Elements that share a kink, as those of a norm at zero, are
moved together too: along f's own gradient g, <g, g> has to lie between the slopes of φ.
"""

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Leaf, as_wide, difference
from jaxnn.gradients.remark import Attempt, Kind, Remark
from jaxnn.gradients.routes.ladder import Sides, coordinate, sides
from jaxnn.gradients.routes.slope import norm

__all__ = ["judge_by_slopes"]

Element = tuple[int, ...]

MOST = 1_000  # elements of a leaf whose slopes are taken
TODO = ("give a reference that is finite there (jnp.where around the argument, and not only around the value), or "
        "arguments at which it is")


def judge_by_slopes(candidate: Candidate, leaves: list[Leaf]) -> Attempt:
    """The leaves, those elements judged by slopes at which the reference has no gradient; with remarks."""
    remarks: list[Remark] = []
    for i, (path, reference) in enumerate(zip(candidate.problem.paths, candidate.problem.gradient, strict=True)):
        elements = [tuple(map(int, element)) for element in np.argwhere(~np.isfinite(reference.finite))]
        if not elements:
            continue
        routes = [n for n, leaf in enumerate(leaves) if leaf.path == path and leaf.route in ("explicit", "lifted")
                  and leaf.errors is not None]
        slopes = {element: found for element in elements[:MOST] if routes and (
            found := _slopes(candidate, i, element)) is not None}
        open_: set[Element] = set() if routes else set(elements)
        for n in routes:
            leaves[n] = _judged(candidate, i, leaves[n], slopes)
            value = as_wide(candidate.gradient(leaves[n].route)[i])
            open_ |= {e for e in elements if e not in slopes and difference(value[e], reference.finite[e]) > 0}
        where = (f"{path}: the reference's gradient is not finite at {len(elements):,} of "
                 f"{reference.value.size:,} elements")
        if slopes:
            remarks.append(Remark(Kind.NOTE, f"{where}; at {len(slopes):,} of them finite differences of f's own value "
                                  "judge f"))
        if open_:
            why = ("by these routes" if not routes else "since f's own value has no finite slope there" if len(
                elements) <= MOST else f"since f's own value has no finite slope there, or they are more than {MOST:,}")
            remarks.append(Remark(Kind.UNJUDGED, f"{where}, and at {len(open_):,} of them, first at "
                                  f"{list(min(open_))}, nothing judges f, {why}: {TODO}"))
    return Attempt(tuple(leaves), tuple(remarks))


def _slopes(candidate: Candidate, i: int, element: Element) -> Sides | None:
    """f's slopes along the coordinate of one element."""
    size = float(np.abs(as_wide(candidate.problem.moving[i])[element])) or None
    return sides(candidate, i, coordinate(candidate, i, element), size, at_an_edge=True)


def _judged(candidate: Candidate, i: int, leaf: Leaf, slopes: dict[Element, Sides]) -> Leaf:
    """A leaf with the errors of those elements beside f's own slopes."""
    if not slopes:
        return leaf
    reference, value = candidate.problem.gradient[i], as_wide(candidate.gradient(leaf.route)[i])
    steepest = max(max(map(abs, found.range)) for found in slopes.values())
    unit = reference.eps * (reference.scale or steepest or 1.0)
    errors, nearest = np.array(leaf.errors), {}
    for element, found in slopes.items():
        is_finite = np.isfinite(value[element])
        errors[element] = found.excess(float(value[element].real)) / unit if is_finite else np.inf
        nearest[element] = float(np.clip(value[element].real, *found.range)) if is_finite else found.above
    together = _together(candidate, i, value, list(slopes), unit)
    notes = [leaf.note]
    if together > reference.limit and max(errors[element] for element in slopes) <= reference.limit:
        steep = max(slopes, key=lambda element: abs(value[element]))
        errors[steep] = together
        notes.append("each of those elements lies between f's own slopes, but not all of them together")
    worst = np.unravel_index(np.argmax(errors), errors.shape)
    element = tuple(map(int, worst))
    leaf = leaf._replace(errors=errors, error=float(errors[element]), element=element, value=value[element].item(),
                         reference=reference.finite[element].item(), note="; ".join(filter(None, notes)))
    if element not in slopes:
        return leaf
    low, high = slopes[element].range
    is_kink = high - low > 2 * slopes[element].doubt + 1e-4 * max(abs(low), abs(high))
    words = (f"f's own value has slopes from {low:.6g} to {high:.6g} there" if is_kink else
             f"f's own value has the slope {high:.6g} there")
    is_wrong = errors[element] > reference.limit
    return leaf._replace(reference=nearest[element], judge="finite differences", ulps=np.nan, nearer="",
                         note="; ".join(filter(None, [leaf.note, words if is_wrong else ""])))


def _together(candidate: Candidate, i: int, value: np.ndarray, elements: list[Element], unit: float) -> float:
    """By how many units f's gradient g lies beyond the slopes along g itself, at those elements together."""
    direction = np.zeros_like(value)
    for element in elements:
        direction[element] = value[element] if np.isfinite(value[element]) else 0
    size = norm(direction)
    if len(elements) < 2 or not size or np.iscomplexobj(value):
        return 0.0
    tangents = [np.zeros(m.shape, m.dtype) for m in candidate.problem.moving]
    tangents[i] = (direction / size).astype(tangents[i].dtype)
    found = sides(candidate, i, tangents, at_an_edge=True)
    return 0.0 if found is None else found.excess(float(np.vdot(as_wide(tangents[i]), direction).real)) / unit
