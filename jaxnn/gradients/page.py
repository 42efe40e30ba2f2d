"""A report in words and tables, as plain text and as Markdown."""

import math
from collections.abc import Callable, Iterable
from typing import Any

from jaxnn.gradients.leaf import Leaf, badness
from jaxnn.gradients.routes import WHOLE
from jaxnn.gradients.selection import select

__all__ = ["aligned", "beside", "markdown", "number", "place", "table_in_markdown", "text", "units", "verdict"]

Rows = list[list[str]]

LEAST_TIME = 0.005  # seconds: of a route that the table of times shows

HEADS = {"finite differences": "finite diff.", "taylor": "Taylor order", "every coordinate": "every coord."}

KEY = {
    "explicit": "f's backward(cache, dy), called by itself",
    "lifted": "f's backward pass as jax.vjp applies it",
    "float64": "the same, with f and the reference in float64",
    "forward": "<dy, J t> by jax.jvp, beside <Jᵀ dy, t>",
    "finite differences": "slopes of f's own value along random directions",
    "taylor": "no error: the order at which the remainder falls, 2 if right, 1 if wrong; exact: nothing remains",
    "second order": "a product with the Hessian",
    "every coordinate": "finite differences along each coordinate",
    "noise": "how far the reference itself is from exact: up to 16 times it, and 16 units at least, is right"}
"""What the columns of the table of leaves are."""


def text(report: Any) -> str:
    """The report as plain text."""
    leaves = aligned(_leaf_rows(report)) if report.leaves else []
    return "\n".join([_title(report), "", *leaves, *_after_leaves(report, aligned, "", "    ")])


def markdown(report: Any) -> str:
    """The report as a document."""
    return "\n".join([f"## {_title(report)}", "", *table_in_markdown(_leaf_rows(report)),
                      *_after_leaves(report, table_in_markdown, "- ", "  ")])


def verdict(report: Any) -> str:
    """The report in one line."""
    if report.ok:
        return f"right: equal to the reference's gradient (within {report.threshold:g} units)"
    leaf = report.blamed
    if leaf is None and report.wrong_reference and not report.failures:
        return "REFERENCE WRONG: " + "; ".join(report.wrong_reference)  # the laws are asked of the reference too
    if leaf is None and not report.failures and not report.broken_laws:
        return "NOT JUDGED: " + "; ".join(report.unjudged)
    if leaf is None:
        return "WRONG: " + "; ".join([*report.failures, *(f"not {law.name}" for law in report.broken_laws)])
    is_repeated = not any(leaf is other for other in report.leaves or report.under)
    condition = f", under {leaf.under} in {leaf.dtype}" if is_repeated else ""
    return f"WRONG at {place(leaf)}: {beside(leaf)} ({leaf.route}{condition}{_in_units(leaf)})"


def _title(report: Any) -> str:
    if not report.leaves:
        return f"{report.name}: nothing of its gradient could be compared"
    dtypes = dict.fromkeys(leaf.dtype for leaf in report.leaves if leaf.route not in ("taylor", "float64"))
    return (f"{report.name}: its gradient beside jax.vjp of the reference, {', '.join(dtypes)}; errors in units of "
            "eps · max|leaf|")


def _by_path(leaves: Iterable[Leaf]) -> dict[str, dict[str, Leaf]]:
    """{path: {route: leaf}}, of those leaves that are shown one by one."""
    leaves = tuple(leaves)
    by_path: dict[str, dict[str, Leaf]] = {path: {} for path in select(leaves).paths}
    for leaf in leaves:
        if leaf.path in by_path:
            by_path[leaf.path][leaf.route] = leaf
    return by_path


def _leaf_rows(report: Any) -> Rows:
    """One row for each leaf, one column for each route."""
    routes = list(dict.fromkeys(leaf.route for leaf in report.leaves))
    rows = [["leaf", "shape", *(HEADS.get(route, route) for route in routes), "noise"]]
    for path, by_route in _by_path(report.leaves).items():
        leaf = _most_telling(by_route)
        rows.append([path, str(leaf.shape).replace(" ", ""), *(_cell(by_route.get(route)) for route in routes),
                     units(leaf.noise)])
    return rows


def _element_rows(report: Any) -> Rows:
    """One row for each leaf that was compared whole: its worst element, and measures beside the error."""
    rows = [["worst element", "f", "reference", "ULPs", "cosine", "‖a-b‖/(‖a‖+‖b‖)", "bits", "nearer float64"]]
    for by_route in _by_path(report.leaves).values():
        leaf = _most_telling(by_route)
        if leaf.errors is not None:
            by_slope = leaf.judge != "reference"  # the reference has no gradient there
            rows.append([place(leaf), number(leaf.value),
                         f"slope {number(leaf.reference)}" if by_slope else number(leaf.reference),
                         "-" if math.isnan(leaf.ulps) else units(leaf.ulps), _known(leaf.cosine, ".6f"),
                         _known(leaf.relative_difference, ".1e"),
                         "-" if by_slope else "equal" if leaf.exact else "differ", leaf.nearer])
    if any(leaf.judge != "reference" for by_route in _by_path(report.leaves).values()
           for leaf in [_most_telling(by_route)]):
        rows[0][2] = "reference, or slope of f"
    return rows


def _condition_rows(report: Any) -> Rows:
    """One row for each transformation, one column for each dtype: the worst leaf."""
    dtypes = list(dict.fromkeys(leaf.dtype for leaf in report.under))
    rows = [["under", *dtypes]]
    for under in dict.fromkeys(leaf.under for leaf in report.under):
        leaves = [[leaf for leaf in report.under if (leaf.under, leaf.dtype) == (under, d)] for d in dtypes]
        rows.append([under, *(_cell(max(some, key=badness, default=None)) for some in leaves)])
    return rows


def _after_leaves(report: Any, table: Callable[[Rows], list[str]], bullet: str,
                  indent: str) -> list[str]:
    """All that follows the table of the leaves."""
    selection = select(report.leaves)
    lines: list[str] = [""] * bool(selection.subtrees)
    lines += [f"{bullet}{subtree.words}" for subtree in selection.subtrees]
    if len(rows := _element_rows(report)) > 1:
        lines += ["", *table(rows)]
    for leaf in (leaf for leaf in _wrong_ones(report) if leaf.path in selection.paths):
        lines += ["", f"{bullet}{_in_words(leaf)}"]
        lines += [f"{indent}{finding.words}" for finding in report.findings if finding.path == leaf.path]
    if selection.n_wrong_unshown:
        lines += ["", f"{bullet}{selection.n_wrong_unshown:,} more leaves are wrong: see .leaves"]
    if report.under:
        lines += ["", *table(_condition_rows(report))]
    if report.broken_laws:
        lines += ["", *table([["law", "holds", "evidence"], *(
            [law.name, "✗ NO", law.evidence] for law in report.broken_laws)])]
    if kept := [law.name for law in report.laws if law.holds]:
        lines += ["", f"{bullet}laws that hold: {', '.join(kept)}"]
    if report.costs:
        lines += ["", *table([["gradient", "f", "reference", "ratio"], *(
            [c.what, _amount(c.f, c.unit), _amount(c.reference, c.unit),
             "" if c.ratio is None else f"{c.ratio:.2f}"] for c in report.costs)])]
    if remarks := _remarks(report, selection.paths):
        lines += ["", *(f"{bullet}{words}" for words in remarks)]
    if report.times:
        lines += ["", *table(_time_rows(report))]
    if report.leaves:
        lines += ["", *table(_key_rows(report))]
    return [*lines, "", report.verdict]


def _remarks(report: Any, paths: Iterable[str]) -> list[str]:
    """All remarks but those that stand beside a wrong leaf; of leaves of which the same is to be said, one."""
    told = {leaf.path: leaf.note for leaf in _wrong_ones(report)}
    words = [*report.failures, *report.wrong_reference, *report.unjudged, *report.notes, *(
        f"{leaf.path}: {leaf.note}" for leaf in report.leaves if leaf.note and leaf.ok and leaf.path in paths
        and leaf.note not in told.get(leaf.path, ""))]
    of: dict[str, list[str]] = {}
    for path, colon, rest in (remark.partition(": ") for remark in dict.fromkeys(words)):
        is_leaf = colon and path in paths
        of.setdefault(rest if is_leaf else f"{path}{colon}{rest}", []).extend([path] * bool(is_leaf))
    return [f"{', '.join(leaves)}: {rest}" if leaves else rest for rest, leaves in of.items()]


def _key_rows(report: Any) -> Rows:
    """What each column of the table of leaves is, and the marks in it."""
    columns = [*dict.fromkeys(leaf.route for leaf in report.leaves), "noise"]
    rows = [[HEADS.get(column, column), KEY[column]] for column in columns if column in KEY]
    return [["column", "the worst error of the leaf by this route; ✗: wrong; (...): excused, and a remark says why"],
            *rows]


def _time_rows(report: Any) -> Rows:
    """One row for each route that took time, and their sum."""
    times = [time for time in report.times if time.total >= LEAST_TIME]
    sums = [sum(getattr(time, part) for time in report.times) for part in ("tracing", "compiling", "running")]
    n = sum(time.programs for time in report.times)
    return [["seconds by route", "tracing", "compiling", "running", "programs"],
            *([t.route, *(f"{x:.2f}" for x in (t.tracing, t.compiling, t.running)), str(t.programs)] for t in times),
            ["all", *(f"{x:.2f}" for x in sums), str(n)]]


def _most_telling(by_route: dict[str, Leaf]) -> Leaf:
    """Of a leaf by its routes the one that is shown: the rule as JAX applies it, if that is there."""
    passes = [by_route[route] for route in ("lifted", "explicit") if route in by_route]
    wrong = [leaf for leaf in by_route.values() if leaf in passes and not leaf.ok and leaf.errors is not None]
    return next(iter([*wrong, *passes, *by_route.values()]))


def _wrong_ones(report: Any) -> list[Leaf]:
    """Of each leaf that is wrong, its most telling route: one that compares every element."""
    wrong: dict[str, Leaf] = {}
    for leaf in report.leaves:
        if not leaf.ok and (leaf.path not in wrong or (
                leaf.route in WHOLE and wrong[leaf.path].route not in WHOLE)):
            wrong[leaf.path] = leaf
    return list(wrong.values())


# A table as lines.


def aligned(rows: Rows) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    numeric = [i > 0 and _is_numeric(rows, i) for i in range(len(widths))]
    return ["  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(
        row, widths, numeric, strict=True)).rstrip() for row in rows]


def _is_numeric(rows: Rows, column: int) -> bool:
    return all(row[column] in ("", "-") or row[column].lstrip("✗ -")[:1] in set("0123456789<i") for row in rows[1:])


def table_in_markdown(rows: Rows) -> list[str]:
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body)]


# Leaves and numbers in words.


def place(leaf: Leaf) -> str:
    """weight[2, 3]"""
    return f"{leaf.path}{list(leaf.element) if leaf.element else ''}"


def _cell(leaf: Leaf | None) -> str:
    if leaf is None:
        return "-"
    error = units(leaf.error)
    if leaf.route == "taylor":
        error = "exact" if leaf.value == math.inf else f"{leaf.value:.2f}"
    return f"({error})" if leaf.excused else error if leaf.ok else f"✗ {error}"


def _in_words(leaf: Leaf) -> str:
    """A wrong leaf by the route that compares most of it."""
    if leaf.route == "taylor":
        return f"{leaf.path}: its Taylor remainder falls with order {leaf.value:.2f}, where a right one has 2"
    where = place(leaf) if leaf.errors is not None or leaf.element else f"{leaf.path} along a random direction"
    return f"{where}: {beside(leaf)} ({leaf.route}{_in_units(leaf)})" + (f"; {leaf.note}" if leaf.note else "")


def beside(leaf: Leaf) -> str:
    """The worst element of a leaf, and what judges it."""
    if leaf.judge == "reference":
        return f"{number(leaf.value)}, reference {number(leaf.reference)}"
    without = "the reference has no gradient and " if leaf.route in WHOLE else ""
    return f"{number(leaf.value)}, where {without}{leaf.judge} of f's own value give {number(leaf.reference)}"


def _in_units(leaf: Leaf) -> str:
    """The error, after the route: nothing where only one of the two is finite."""
    return f", {units(leaf.error)} units" if math.isfinite(leaf.error) else ""


def units(x: float) -> str:
    if not math.isfinite(x):
        return str(x)
    return f"{x:.2f}" if x < 100 else f"{x:,.0f}" if x < 1e6 else f"{x:.1e}"


def _known(x: float, form: str) -> str:
    """A number, or "-" where there is none: a leaf of zeros has no direction, and so no cosine."""
    return "-" if math.isnan(x) else format(x, form)


def number(x: Any) -> str:
    return f"{x:.6g}"


def _amount(x: float | None, unit: str) -> str:
    if x is None:
        return "-"
    if unit == "s":
        return f"{1e3 * x:.3g} ms"
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if x >= size:
            return f"{x / size:.3g} {prefix}{unit}"
    return f"{x:g} {unit}"
