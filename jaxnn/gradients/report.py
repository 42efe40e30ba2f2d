"""What a comparison found: as a table, JSON, Markdown and a picture."""

import json
import math
from typing import Any, NamedTuple

import numpy as np

from jaxnn.gradients.leaf import THRESHOLD, Leaf

__all__ = ["Cost", "Finding", "GradientReport", "Law"]

WHOLE = ("explicit", "lifted", "float64", "second order", "every coordinate")  # routes that see each element


class Law(NamedTuple):
    """A property that a right gradient has wherever its reference has it."""

    name: str
    holds: bool | None
    """None: the reference does not have it, or it does not apply."""
    evidence: str = ""


class Cost(NamedTuple):
    """One measure of f's gradient beside the reference's."""

    what: str
    f: float | None
    reference: float | None
    unit: str

    @property
    def ratio(self) -> float | None:
        if self.f is None or self.reference is None:
            return None
        return self.f / self.reference if self.reference else (1.0 if self.f == 0 else math.inf)


class Finding(NamedTuple):
    """Why a leaf is wrong: a reason that was checked in numbers."""

    path: str
    kind: str
    words: str


class GradientReport(NamedTuple):
    """The leaves of the gradient, by each route; print it."""

    name: str
    leaves: tuple[Leaf, ...]
    """At the arguments as they came, compiled."""
    under: tuple[Leaf, ...] = ()
    """Under other transformations and in other dtypes: the worst of each leaf."""
    laws: tuple[Law, ...] = ()
    costs: tuple[Cost, ...] = ()
    findings: tuple[Finding, ...] = ()
    failures: tuple[str, ...] = ()
    """What could not be compared, and which side is to blame: the report is not ok."""
    notes: tuple[str, ...] = ()
    threshold: float = THRESHOLD

    @property
    def ok(self) -> bool:
        return (all(leaf.ok for leaf in (*self.leaves, *self.under)) and not self.failures
                and all(law.holds is not False for law in self.laws))

    @property
    def wrong(self) -> tuple[Leaf, ...]:
        return tuple(leaf for leaf in (*self.leaves, *self.under) if not leaf.ok)

    @property
    def worst(self) -> Leaf:
        """The leaf with the largest error, by the backward pass itself before what follows from it."""
        rows = self.leaves or self.under
        return max(rows, key=_order)

    def __str__(self) -> str:
        rows = [*_aligned(self._leaf_rows()), *self._after()] if self.leaves else self._after()
        return "\n".join([self._title(), "", *rows])

    def to_markdown(self) -> str:
        """The same as a document."""
        def table(rows: list[list[str]]) -> list[str]:
            head, *body = [["" if c is None else c.replace("|", "\\|") for c in row] for row in rows]
            line = lambda row: "| " + " | ".join(row) + " |"  # noqa: E731
            return [line(head), line(["---"] * len(head)), *map(line, body)]

        return "\n".join([f"## {self._title()}", "", *table(self._leaf_rows()), *self._after(table, "- ")])

    def to_json(self) -> str:
        """All numbers; what is not finite as a string."""
        def plain(x: Any) -> Any:
            if isinstance(x, Leaf):
                return plain(x._asdict() | {"errors": None, "ok": x.ok})
            if isinstance(x, Cost):
                return plain(x._asdict() | {"ratio": x.ratio})
            if hasattr(x, "_asdict"):
                return plain(x._asdict())
            if isinstance(x, dict):
                return {k: plain(v) for k, v in x.items() if k != "errors"}
            if isinstance(x, tuple | list):
                return [plain(v) for v in x]
            if isinstance(x, np.generic):
                return plain(x.item())
            if isinstance(x, complex):
                return [plain(x.real), plain(x.imag)]
            if isinstance(x, float) and not math.isfinite(x):
                return str(x)
            return x

        return json.dumps({"ok": self.ok, "verdict": self.verdict} | plain(self._asdict()), indent=1,
                          ensure_ascii=False)

    @property
    def verdict(self) -> str:
        """One line."""
        if self.ok:
            return f"right: equal to the reference's gradient (within {self.threshold:g} units)"
        if not self.wrong:
            broken = [law.name for law in self.laws if law.holds is False]
            return "WRONG: " + "; ".join([*self.failures, *(f"not {name}" for name in broken)])
        worst = self.worst if not self.worst.ok else max(self.under, key=_order)
        how = "" if worst is self.worst else f", under {worst.under} in {worst.dtype}"
        return (f"WRONG at {_place(worst)}: {_number(worst.value)}, reference {_number(worst.reference)} "
                f"({worst.route}{how}, {_units(worst.error)} units)")

    def plot(self) -> Any:
        """Where the error sits: for each leaf the error of every element, as a matplotlib Figure."""
        from jaxnn.gradients.picture import error_maps
        return error_maps(self)

    def _title(self) -> str:
        own = [leaf.dtype for leaf in self.leaves if leaf.route not in ("taylor", "float64")]
        dtypes = ", ".join(dict.fromkeys(own))
        if not self.leaves:
            return f"{self.name}: nothing of its gradient could be compared"
        return (f"{self.name}: its gradient beside jax.vjp of the reference, {dtypes}; errors in units of "
                "eps · max|leaf|")

    def _leaf_rows(self) -> list[list[str]]:
        """One row for each leaf, one column for each route."""
        routes = list(dict.fromkeys(leaf.route for leaf in self.leaves))
        rows = [["leaf", "shape", *(_HEADS.get(route, route) for route in routes), "noise"]]
        for path in dict.fromkeys(leaf.path for leaf in self.leaves):
            here = {leaf.route: leaf for leaf in self.leaves if leaf.path == path}
            whole = _whole(here)
            rows.append([path, _shape(whole.shape), *(_cell(here.get(route)) for route in routes),
                         _units(whole.noise)])
        return rows

    def _detail_rows(self) -> list[list[str]]:
        """One row for each leaf that was seen whole: its worst element, and measures beside the error."""
        rows = [["worst element", "f", "reference", "ULPs", "cosine", "‖a-b‖/(‖a‖+‖b‖)", "bits",
                 "nearer float64"]]
        for path in dict.fromkeys(leaf.path for leaf in self.leaves):
            leaf = _whole({leaf.route: leaf for leaf in self.leaves if leaf.path == path})
            if leaf.errors is not None:
                rows.append([_place(leaf), _number(leaf.value), _number(leaf.reference), _units(leaf.ulps),
                             f"{leaf.cosine:.6f}", f"{leaf.relative_difference:.1e}",
                             "equal" if leaf.exact else "differ", leaf.nearer])
        return rows

    def _after(self, table: Any = None, bullet: str = "") -> list[str]:
        table = table or _aligned
        lines = ["", *table(rows)] if len(rows := self._detail_rows()) > 1 else []
        for leaf in self._in_detail():
            lines += ["", f"{bullet}{_in_words(leaf)}"]
            lines += [f"{'  ' if bullet else '    '}{finding.words}" for finding in self.findings
                      if finding.path == leaf.path]
        if self.under:
            lines += ["", *table(self._under_rows())]
        broken = [law for law in self.laws if law.holds is False]
        if broken:
            lines += ["", *table([["law", "holds", "evidence"], *(
                [law.name, "✗ NO", law.evidence] for law in broken)])]
        if kept := [law.name for law in self.laws if law.holds]:
            lines += ["", f"{bullet}holds: {', '.join(kept)}"]
        if self.costs:
            lines += ["", *table([["gradient", "f", "reference", "ratio"], *(
                [c.what, _amount(c.f, c.unit), _amount(c.reference, c.unit),
                 "" if c.ratio is None else f"{c.ratio:.2f}"] for c in self.costs)])]
        said = dict.fromkeys([*self.failures, *self.notes, *(
            f"{leaf.path}: {leaf.note}" for leaf in self.leaves if leaf.note and leaf.ok)])
        if said:
            lines += ["", *(f"{bullet}{note}" for note in said)]
        return [*lines, "", self.verdict]

    def _in_detail(self) -> list[Leaf]:
        """Of each leaf that is wrong, the row that says most: one that sees every element."""
        best: dict[str, Leaf] = {}
        for leaf in self.leaves:
            if not leaf.ok and (leaf.path not in best or (
                    leaf.route in WHOLE and best[leaf.path].route not in WHOLE)):
                best[leaf.path] = leaf
        return list(best.values())

    def _under_rows(self) -> list[list[str]]:
        dtypes = list(dict.fromkeys(leaf.dtype for leaf in self.under))
        rows = [["under", *dtypes]]
        for under in dict.fromkeys(leaf.under for leaf in self.under):
            here = [[leaf for leaf in self.under if (leaf.under, leaf.dtype) == (under, d)] for d in dtypes]
            rows.append([under, *(_cell(max(leaves, key=_order)
                                        if leaves else None) for leaves in here)])
        return rows


_HEADS = {"finite differences": "finite diff.", "taylor": "Taylor order", "every coordinate": "every coord."}


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.ljust(w) if i == 0 or not _is_numeric(rows, i) else cell.rjust(w)
                 for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def _is_numeric(rows: list[list[str]], column: int) -> bool:
    return all(not row[column] or row[column].lstrip("✗ -")[:1] in set("0123456789<i") for row in rows[1:])


def _whole(routes: dict[str, Leaf]) -> Leaf:
    """Of a leaf by its routes the one that is shown: the rule as JAX applies it, if it is there."""
    wrong = [leaf for leaf in routes.values() if not leaf.ok and leaf.errors is not None]
    known = [routes[name] for name in ("lifted", "explicit") if name in routes]
    return next(iter([leaf for leaf in wrong if leaf in known] or known or list(routes.values())))


def _place(leaf: Leaf) -> str:
    return f"{leaf.path}{list(leaf.element) if leaf.element else ''}"


def _cell(leaf: Leaf | None) -> str:
    if leaf is None:
        return "-"
    text = _units(leaf.error)
    if leaf.route == "taylor":
        text = "exact" if leaf.value == math.inf else f"{leaf.value:.2f}"
    return text if leaf.ok and not leaf.excused else f"({text})" if leaf.excused else f"✗ {text}"


def _in_words(leaf: Leaf) -> str:
    """A wrong leaf by the route that sees most of it."""
    if leaf.route == "taylor":
        return f"{leaf.path}: its Taylor remainder falls with order {leaf.value:.2f}, where a right one has 2"
    where = _place(leaf) if leaf.errors is not None else f"{leaf.path} along a random direction"
    return (f"{where}: {_number(leaf.value)}, reference {_number(leaf.reference)} ({leaf.route}, "
            f"{_units(leaf.error)} units)" + (f"; {leaf.note}" if leaf.note else ""))


def _units(x: float) -> str:
    if not math.isfinite(x):
        return str(x)
    return f"{x:.2f}" if x < 100 else f"{x:,.0f}" if x < 1e6 else f"{x:.1e}"


def _number(x: Any) -> str:
    return f"{x:.6g}"


def _order(leaf: Leaf) -> tuple:
    """Wrong before right, the backward pass before what follows from it, then by error."""
    rank = {"explicit": 2, "lifted": 2, "float64": 1}.get(leaf.route, 0)
    return (not leaf.ok, rank, bool(leaf.element), _size(leaf.error))


def _size(x: float) -> float:
    return math.inf if math.isnan(x) else x


def _shape(shape: tuple[int, ...]) -> str:
    return str(shape).replace(" ", "")


def _amount(x: float | None, unit: str) -> str:
    if x is None:
        return "-"
    if unit == "s":
        return f"{1e3 * x:.3g} ms"
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if x >= size:
            return f"{x / size:.3g} {prefix}{unit}"
    return f"{x:g} {unit}"
