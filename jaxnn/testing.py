"""Gradient comparison as an assertion, for the tests of a backward pass.

With pytest there is the fixture `gradients`, which is called alike; see `pytest --fixtures`.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jaxnn.gradients.compare import compare_gradients
from jaxnn.gradients.leaf import Leaf
from jaxnn.gradients.page import beside, place
from jaxnn.gradients.report import GradientReport
from jaxnn.gradients.rules.report import RulesReport
from jaxnn.gradients.selection import MOST_LEAVES

__all__ = ["assert_gradients_match", "failure_message"]


def assert_gradients_match(f: Callable, *args: Any, reference: Callable | None = None, **options: Any) -> Any:
    """Asserts that the gradient of f is that of its reference, as `jaxnn.compare_gradients` finds it.

    Args:
      f, args, reference: as of `compare_gradients`.
      options: its other keyword arguments (`under`, `dtypes`, `laws`, `every_coordinate`, `seed`, ...), and
        the static ones of f.
    Returns:
      The report: a GradientReport, or with by="rule" a RulesReport.
    Raises:
      AssertionError: the gradient is wrong; the message shows where and why, and leaves out what is right.
      TypeError, InputError: as `compare_gradients`, which could then compare nothing.
    Warns:
      UserWarning: something that was asked for could not be run, because there is no second device, say.

    >>> import jax
    >>> square = jax.custom_vjp(lambda x: x * x)
    >>> square.defvjp(lambda x: (x * x, x), lambda x, dy: (2 * x * dy,))
    >>> assert_gradients_match(square, 3.0, reference=lambda x: x * x).ok
    True
    """
    __tracebackhide__ = True
    report: Any = compare_gradients(f, *args, reference=reference, **options)
    if isinstance(report, RulesReport):
        if not report.ok:
            raise AssertionError(str(report))
        return report
    if not report.ok:
        raise AssertionError(failure_message(report))
    for words in report.not_run:
        warnings.warn(f"{report.name}: {words}", stacklevel=2)
    return report


def failure_message(report: GradientReport) -> str:
    """What is wrong, and nothing else: verdict, wrong leaves with their reasons, broken laws, failures."""
    blamed = report.blamed
    wrong = [*(_WrongLeaf(leaf, "") for leaf in report.leaves if not leaf.ok),
             *(_WrongLeaf(leaf, f"under {leaf.under} in {leaf.dtype}") for leaf in report.under if not leaf.ok)]
    paths = list(dict.fromkeys(row.leaf.path for row in wrong))
    if blamed is not None:
        paths.sort(key=lambda path: path != blamed.path)  # the leaf of the verdict first
    blocks = [_block(report, [row for row in wrong if row.leaf.path == path]) for path in paths[:MOST_LEAVES]]
    if len(paths) > MOST_LEAVES:
        blocks.append([f"{len(paths) - MOST_LEAVES:,} more leaves are wrong: see .leaves of the report"])
    if blamed is None:
        blocks = [[report.verdict]]
    rest = [f"law broken: {law.name}" + (f" ({law.evidence})" if law.evidence else "") for law in report.broken_laws]
    if blamed is not None:  # else the verdict names them
        rest += report.failures
    if blamed is not None or report.failures or report.broken_laws:
        rest += (*report.wrong_reference, *report.unjudged)
    rest += report.not_run
    return "\n\n".join("\n".join(block) for block in (*blocks, rest) if block)


class _WrongLeaf(NamedTuple):
    """A wrong leaf, and under what; nothing for the arguments themselves."""

    leaf: Leaf
    condition: str


def _block(report: GradientReport, rows: Sequence[_WrongLeaf]) -> list[str]:
    """One leaf of the gradient: its most telling row, the reason, and where else it is wrong."""
    shown = min(rows, key=lambda row: (row.leaf is not report.blamed, *_rank(row)))
    others = [row for row in rows if row is not shown]
    details = [finding.words for finding in report.findings if finding.path == shown.leaf.path]
    details += [shown.leaf.note] if shown.leaf.note else []
    details += [f"also {'; '.join(_places(others))}"] if others else []
    head = report.verdict if shown.leaf is report.blamed else _in_words(shown)
    return [head, *(f"    {words}" for words in details)]


def _rank(row: _WrongLeaf) -> tuple[bool, ...]:
    """First what compares every element, at the arguments themselves."""
    return not row.leaf.element, bool(row.condition), row.leaf.route == "taylor"


def _in_words(row: _WrongLeaf) -> str:
    leaf = row.leaf
    if leaf.route == "taylor":
        return (f"{leaf.path}: the Taylor remainder falls with order {leaf.value:.2f}; that of a right "
                "gradient with 2")
    direction = "" if leaf.element or not leaf.shape else " along a random direction"
    how = ", ".join(filter(None, (leaf.route, row.condition)))
    return (f"{place(leaf)}{direction}: {beside(leaf)} "
            f"({how}; {leaf.error:,.4g} units of eps · max|leaf|)")


def _places(rows: Sequence[_WrongLeaf]) -> list[str]:
    """By which routes, and under what in which dtypes."""
    routes = list(dict.fromkeys(row.leaf.route for row in rows if not row.condition))
    dtypes: dict[str, list[str]] = {}
    for row in rows:
        if row.condition:
            dtypes.setdefault(row.leaf.under, []).append(row.leaf.dtype)
    return [f"by {', '.join(routes)}"] * bool(routes) + [
        f"under {under} in {', '.join(names)}" for under, names in dtypes.items()]
