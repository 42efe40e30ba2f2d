"""Which of the two is wrong where f and the reference differ: f's own value may contradict the reference.

The reference is to blame where both have the same value, f's gradient agrees with finite differences and with the
Taylor order along random directions, and at each element at which the two differ the slopes of f's value agree with f
and not with the reference.
"""

import numpy as np

from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Excuse, Leaf, as_wide, difference, largest
from jaxnn.gradients.remark import Attempt, Kind, Remark
from jaxnn.gradients.routes.ladder import coordinate, sides

__all__ = ["blame_reference"]

MOST = 64  # elements of a leaf whose slopes are taken, those that differ most


def blame_reference(candidate: Candidate, leaves: list[Leaf]) -> Attempt:
    """The leaves, those excused in which it is the reference that is wrong; with a remark on each."""
    remarks, excused = [], {}
    for i, path in enumerate(candidate.problem.paths):
        own = [leaf for leaf in leaves if leaf.path == path]
        wrong = [leaf for leaf in own if not leaf.ok and leaf.errors is not None and leaf.judge == "reference"
                 and leaf.route in ("explicit", "lifted")]
        checks = [leaf for leaf in own if leaf.route in ("finite differences", "taylor")]
        sides_with_f = bool(checks) and all(leaf.ok and not leaf.excused for leaf in checks)
        if wrong and sides_with_f and _same_value(candidate) and (words := _contradiction(candidate, i, wrong)):
            remarks.append(Remark(Kind.REFERENCE, f"{path}: {words}"))
            excused[path] = "f's own value contradicts the reference's gradient"
    if excused:
        # A second derivative has terms of all leaves, of those with a wrong reference too.
        first = next(iter(excused.values()))
        leaves = [leaf._replace(excuse=Excuse.REFERENCE, note=excused.get(leaf.path, first))
                  if not leaf.ok and (leaf.path in excused or leaf.route == "second order") else leaf
                  for leaf in leaves]
    return Attempt(tuple(leaves), tuple(remarks))


def _same_value(candidate: Candidate) -> bool:
    """Whether f and the reference are one function at the arguments."""
    problem = candidate.problem
    values = zip(problem.value, map(as_wide, candidate.value), strict=True)
    return all(largest(np.where(np.isfinite(leaf.finite), difference(y, leaf.finite), 0)) <= leaf.limit * leaf.unit
               for leaf, y in values)


def _contradiction(candidate: Candidate, i: int, wrong: list[Leaf]) -> str | None:
    """Where the reference is wrong, in words; None where f may be."""
    reference = candidate.problem.gradient[i]
    errors = np.max([leaf.errors for leaf in wrong], axis=0)
    elements = [tuple(map(int, e)) for e in np.argwhere((errors > reference.limit) & np.isfinite(reference.finite))]
    elements.sort(key=lambda e: -errors[e])
    values = [as_wide(candidate.gradient(leaf.route)[i]) for leaf in wrong]
    if not elements or np.iscomplexobj(reference.value):
        return None
    for element in elements[:MOST]:
        size = float(np.abs(as_wide(candidate.problem.moving[i])[element])) or None
        found = sides(candidate, i, coordinate(candidate, i, element), size, at_an_edge=True)
        slack = reference.limit * reference.unit
        if found is None or any(not found.excess(float(value[element])) <= slack for value in values):
            return None
        if found.excess(float(reference.finite[element])) <= slack:
            return None
    first = elements[0]
    return (f"the reference is wrong at {len(elements):,} of {reference.value.size:,} elements: at {list(first)} its "
            f"gradient is {reference.finite[first]:.6g}, f's is {values[0][first]:.6g}, and finite differences of f's "
            f"own value agree with f; if the reference holds something fixed on purpose (stop_gradient), it is f that "
            "is wrong")
