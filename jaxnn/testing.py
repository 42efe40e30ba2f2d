"""Gradient comparison as an assertion, for the tests of a backward pass.

With pytest there is the fixture `gradients`, which is called alike; see `pytest --fixtures`.
"""

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from jaxnn.gradients.compare import compare_gradients
from jaxnn.gradients.leaf import Leaf
from jaxnn.gradients.report import GradientReport

__all__ = ["assert_gradients_match", "explain"]


def assert_gradients_match(f: Callable, *args: Any, reference: Callable | None = None,
                           **options: Any) -> GradientReport:
    """Asserts that the gradient of f is that of its reference, as `jaxnn.compare_gradients` finds it.

    Args:
      f, args, reference: as of `compare_gradients`.
      options: its other keyword arguments (`under`, `dtypes`, `laws`, `every_coordinate`, `seed`, ...), and
        the static ones of f.
    Returns:
      The report.
    Raises:
      AssertionError: the gradient is wrong; the message says where and why, and leaves out what is right.
      TypeError, InputError: as `compare_gradients`, which could then compare nothing.
    Warns:
      UserWarning: something that was asked for was not run, for want of a second device, say.

    >>> import jax
    >>> square = jax.custom_vjp(lambda x: x * x)
    >>> square.defvjp(lambda x: (x * x, x), lambda x, dy: (2 * x * dy,))
    >>> assert_gradients_match(square, 3.0, reference=lambda x: x * x).ok
    True
    """
    __tracebackhide__ = True
    report = compare_gradients(f, *args, reference=reference, **options)
    if not report.ok:
        raise AssertionError(explain(report))
    for note in _not_run(report):
        warnings.warn(f"{report.name}: {note}", stacklevel=2)
    return report


def explain(report: GradientReport) -> str:
    """What is wrong, and nothing else: verdict, wrong leaves with their reasons, broken laws, failures."""
    plain = [_Row(leaf, "") for leaf in report.leaves if not leaf.ok]
    repeated = [_Row(leaf, f"under {leaf.under} in {leaf.dtype}") for leaf in report.under if not leaf.ok]
    verdict = report.verdict
    blocks: list[list[str]] = []
    for path in dict.fromkeys(row.leaf.path for row in (*plain, *repeated)):
        rows = [row for row in (*plain, *repeated) if row.leaf.path == path]
        shown = min(rows, key=lambda row: (not _is_of(verdict, row), *_rank(row)))
        rows.remove(shown)
        said = [finding.words for finding in report.findings if finding.path == path]
        said += [shown.leaf.note] if shown.leaf.note else []
        said += [f"also {'; '.join(_where(rows))}"] if rows else []
        said = [f"    {words}" for words in said]
        if _is_of(verdict, shown):
            blocks.insert(0, [verdict, *said])
        else:
            blocks.append([_in_words(shown), *said])
    if not blocks or blocks[0][0] != verdict:
        blocks.insert(0, [verdict])
    rest = [f"law broken: {law.name}" + (f" ({law.evidence})" if law.evidence else "")
            for law in report.laws if law.holds is False]
    rest += [failure for failure in report.failures if failure not in verdict]
    rest += _not_run(report)
    return "\n\n".join("\n".join(block) for block in (*blocks, rest) if block)


@dataclasses.dataclass(eq=False)
class _Row:
    """A wrong leaf, and under what; nothing for the arguments as they came."""

    leaf: Leaf
    condition: str


def _rank(row: _Row) -> tuple[bool, ...]:
    """First what sees every element, at the arguments as they came."""
    return not row.leaf.element, bool(row.condition), row.leaf.route == "taylor"


def _is_of(verdict: str, row: _Row) -> bool:
    """Whether the verdict says all that is to be said of this row."""
    leaf = row.leaf
    return (verdict.startswith(f"WRONG at {_place(leaf)}: {leaf.value:.6g}, ") and leaf.route in verdict
            and row.condition in verdict)


def _place(leaf: Leaf) -> str:
    return leaf.path + (f"[{', '.join(map(str, leaf.element))}]" if leaf.element else "")


def _in_words(row: _Row) -> str:
    leaf = row.leaf
    if leaf.route == "taylor":
        return (f"{leaf.path}: the Taylor remainder falls with order {leaf.value:.2f}; that of a right "
                "gradient with 2")
    direction = "" if leaf.element or not leaf.shape else " along a random direction"
    how = ", ".join(filter(None, (leaf.route, row.condition)))
    return (f"{_place(leaf)}{direction}: {leaf.value:.6g}, reference {leaf.reference:.6g} "
            f"({how}; {leaf.error:,.4g} units of eps · max|leaf|)")


def _where(rows: list[_Row]) -> list[str]:
    """By which routes, and under what in which dtypes."""
    routes = list(dict.fromkeys(row.leaf.route for row in rows if not row.condition))
    dtypes: dict[str, list[str]] = {}
    for row in rows:
        if row.condition:
            dtypes.setdefault(row.leaf.under, []).append(row.leaf.dtype)
    return [f"by {', '.join(routes)}"] * bool(routes) + [
        f"under {under} in {', '.join(names)}" for under, names in dtypes.items()]


def _not_run(report: GradientReport) -> list[str]:
    """The notes on what was asked for and could not be run."""
    notes = [*report.notes, *(f"{leaf.path}: {leaf.note}" for leaf in report.leaves)]
    return [note for note in notes if "not run" in note]
