"""All routes that were asked for, one after another, and their common remarks."""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from jaxnn.gradients import timing
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.leaf import Leaf
from jaxnn.gradients.remark import Attempt, Kind, Remark, attempt
from jaxnn.gradients.routes.blame import blame_reference
from jaxnn.gradients.routes.differences import along_coordinates, along_directions
from jaxnn.gradients.routes.forward import by_forward_mode
from jaxnn.gradients.routes.kinks import excuse_kinks
from jaxnn.gradients.routes.unjudged import judge_by_slopes
from jaxnn.gradients.routes.whole import by_float64, by_pass, by_second_order

__all__ = ["compare_by_routes"]

MOST_COORDINATES = 10_000  # of a leaf, for finite differences along each


def compare_by_routes(candidate: Candidate, routes: Sequence[str], directions: int,
                      every_coordinate: bool) -> Attempt:
    """The leaves of the gradient by each route, with remarks."""
    attempts = [_timed(route, functools.partial(by_pass, candidate, route), f"{route} backward: f raised")
                for route in ("explicit", "lifted")
                if route in routes and (route == "lifted" or candidate.has_passes)]
    is_lifted = any(leaf.route == "lifted" for done in attempts for leaf in done.results)
    if is_lifted or "lifted" not in routes:  # where JAX cannot apply the rule, no other route does
        attempts += _by_other_routes(candidate, routes, directions, every_coordinate)
    leaves = [leaf for done in attempts for leaf in done.results]
    with timing.route("who is right"):
        by_slopes = judge_by_slopes(candidate, leaves) if is_lifted or "lifted" not in routes else Attempt(
            tuple(leaves))
        leaves = list(by_slopes.results)
        if any(not leaf.ok for leaf in leaves):
            leaves = excuse_kinks(candidate, leaves)
        by_value = blame_reference(candidate, leaves)
        leaves = list(by_value.results)
        remarks = [*(remark for done in attempts for remark in done.remarks), *by_slopes.remarks, *by_value.remarks,
                   *_of_the_reference(candidate), *_of_many_leaves(candidate, leaves), *_doubts(candidate, leaves)]
    return Attempt(tuple(leaves), tuple(remarks))


def _timed(name: str, *args: Any) -> Attempt:
    with timing.route(name):
        return attempt(*args)


def _by_other_routes(candidate: Candidate, routes: Sequence[str], directions: int,
                     every_coordinate: bool) -> Iterator[Attempt]:
    if "float64" in routes:
        yield _timed("float64", lambda: by_float64(candidate), "float64: f raised", Kind.NOTE)
    # What a function has no rule for is a limit of the function, not a wrong gradient.
    if "forward" in routes:
        yield _timed("forward", lambda: by_forward_mode(candidate, directions), "f has no forward mode:", Kind.NOTE)
    if {"finite differences", "taylor"} & set(routes):
        yield _timed("finite differences, taylor", lambda: along_directions(candidate, directions, routes),
                     "finite differences: f raised")
        if not candidate.runs_in_float64:
            yield Attempt(remarks=(Remark(
                Kind.NOTE, "f does not run in float64: finite differences were taken in its own precision, and "
                "there is no Taylor order"),))
    if "second order" in routes:
        yield _timed("second order", lambda: by_second_order(candidate), "f has no second derivative:", Kind.NOTE)
    if every_coordinate:
        yield _timed("every coordinate", lambda: along_coordinates(candidate, MOST_COORDINATES),
                     "every coordinate: f raised")


def _of_the_reference(candidate: Candidate) -> Iterator[Remark]:
    problem = candidate.problem
    if problem.without_reverse:
        yield Remark(Kind.NOTE, problem.without_reverse)
    if problem.differs_in_float64:
        yield Remark(Kind.NOTE, "the reference is another function in float64 (does it draw random numbers?): its "
                     "noise was measured in its own precision")
    if problem.held:
        yield Remark(Kind.NOTE, f"the reference holds {', '.join(map(repr, problem.held))} of its value fixed: "
                     "finite differences leave it out")


def _of_many_leaves(candidate: Candidate, leaves: Sequence[Leaf]) -> Iterator[Remark]:
    if candidate.problem.together and any(leaf.route in ("forward", "finite differences") for leaf in leaves):
        yield Remark(Kind.NOTE, f"forward mode and finite differences moved all {len(candidate.problem.moving)} leaves "
                     "together, and fewer only where that showed an error")


def _doubts(candidate: Candidate, leaves: list[Leaf]) -> Iterator[Remark]:
    """Is the reference wrong? Where a leaf is wrong, and f's own value agrees with f."""
    for path in candidate.problem.paths:
        by_route = {leaf.route: leaf for leaf in leaves if leaf.path == path}
        checks = [by_route[route] for route in ("finite differences", "taylor") if route in by_route]
        is_wrong = any(not leaf.ok and leaf.judge == "reference" for leaf in by_route.values())
        if is_wrong and len(checks) == 2 and all(leaf.ok and not leaf.excused for leaf in checks):
            yield Remark(Kind.NOTE, f"{path}: finite differences side with f: is it the reference that is wrong?")
