"""The rules inside a function, each with its own comparison, and the verdict on them all."""

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from jaxnn.gradients import page
from jaxnn.gradients.report import GradientReport

__all__ = ["Rule", "RulesReport"]

MOST_ROWS = 15  # of right rules; more are gathered by name
MOST_LETTERS = 48  # of a rule's inputs in the table
MOST_PLACES = 5  # of a wrong rule that are named


class Rule(NamedTuple):
    """A rule inside a function, at the shapes and dtypes that it gets there."""

    name: str
    kind: str
    """"op", "custom_vjp", "custom_jvp" or "hijax"; or the name of a primitive that is not opened."""
    inputs: str
    """Their dtypes and shapes."""
    uses: int
    """How often f uses it at these shapes: in a loop at every step."""
    compared: int
    """At how many of those it was compared: at all, but in a loop at the first, the middle and the last step."""
    places: tuple[str, ...]
    """Scope, line, and steps of loops, of each use that was compared."""
    report: GradientReport | None
    """At the use where it is worst. None where there is nothing to compare, or comparing raised."""
    note: str = ""
    """Why there is no report; of a rule that is wrong, what it may be on purpose."""
    failed: bool = False
    """Whether nothing judges it: comparing raised, or it stands in what is not opened."""
    wrong_places: tuple[str, ...] = ()
    """Where it is wrong, that of the report first."""
    inside: str = ""
    """The rule in whose plain function it stands. f's gradient passes through that one, and not through this one: so
    this one, if it is wrong, does not make f's gradient wrong."""

    is_righter: bool = False
    """Whether its value's own slopes side with it where it differs from the plain function's gradient, at a tie of a
    maximum say, which may be why it has a rule."""
    is_intended: bool = False
    """Whether it is declared to differ from its plain function, as a straight-through estimator does."""

    @property
    def ok(self) -> bool:
        """Whether nothing is amiss: it is right, or differs as it is declared to."""
        return not self.failed if self.report is None else self.is_right or self.is_intended

    @property
    def is_right(self) -> bool:
        return self.report is not None and (self.report.ok or self.is_righter)

    @property
    def differs_as_declared(self) -> bool:
        return self.is_intended and self.report is not None and not self.is_right

    @property
    def verdict(self) -> str:
        """One line."""
        if self.report is None:
            return f"{'NOT COMPARED' if self.failed else 'nothing to compare'}: {self.note}"
        if self.differs_as_declared:
            return "differs as declared"
        if self.is_intended:
            return "declared to differ, and does not: it has its plain function's gradient"
        if self.is_righter:
            return "right, where the plain function's gradient is not"
        return "right" if self.report.ok else self.report.verdict


class RulesReport(NamedTuple):
    """All distinct rules inside a function; print it."""

    name: str
    rules: tuple[Rule, ...]
    notes: tuple[str, ...] = ()
    """At which cotangents the rules were compared, and at which steps of loops."""

    @property
    def ok(self) -> bool:
        return not self.wrong

    @property
    def wrong(self) -> tuple[Rule, ...]:
        """Those that are wrong, or could not be judged, and through which f's gradient passes."""
        return tuple(rule for rule in self.rules if not rule.ok and not rule.inside)

    @property
    def wrong_inside(self) -> tuple[Rule, ...]:
        """The same of those that stand in the plain functions of other rules."""
        return tuple(rule for rule in self.rules if not rule.ok and rule.inside)

    @property
    def declared(self) -> tuple[Rule, ...]:
        """Those that differ from their plain functions as they are declared to: neither right nor wrong."""
        return tuple(rule for rule in self.rules if rule.differs_as_declared)

    @property
    def uses(self) -> int:
        """How often f uses a rule, over all rules and steps."""
        return sum(rule.uses for rule in self.rules)

    @property
    def compared(self) -> int:
        """At how many of those a rule was compared."""
        return sum(rule.compared for rule in self.rules)

    @property
    def verdict(self) -> str:
        """One line."""
        if not self.rules:
            return "right: there is no rule inside, JAX itself differentiates all of it"
        if not self.ok:
            return "WRONG: " + "; ".join(f"{rule.name} at {_first(rule)}{_more(rule)}" for rule in self.wrong)
        if not self.compared:
            rules = "the one rule inside is not" if len(self.rules) == 1 else (
                f"none of the {len(self.rules)} rules inside is")
            return f"right: {rules} used where there is something to compare"
        if self.declared:
            names = ", ".join(dict.fromkeys(rule.name for rule in self.declared))
            n = len(self.rules) - len(self.declared)
            return (f"as declared: {names} differ{'s' if len(self.declared) == 1 else ''} from the plain function; "
                    f"the others, {n} of {len(self.rules)} rules inside, are right")
        if self.wrong_inside:
            names = ", ".join(dict.fromkeys(rule.name for rule in self.wrong_inside))
            return ("right: each rule through which the gradient passes has its plain function's gradient; not so "
                    f"{names}, in the plain functions of others")
        rules = "the one rule" if len(self.rules) == 1 else f"each of the {len(self.rules)} rules"
        uses = "its one use" if self.uses == 1 else f"{self.compared:,} of {self.uses:,} uses"
        return f"right: {rules} inside has its plain function's gradient, at {uses}"

    def __str__(self) -> str:
        lines = [self._title]
        if self.rules:
            lines += ["", *page.aligned(self._rows)]
        for rule in (*self.wrong, *self.wrong_inside):
            lines += ["", f"{rule.name} ({rule.kind}), at {_first(rule)}"]
            lines += [f"    {words}" for words in (rule.verdict, *_details(rule))]
        return "\n".join([*lines, *([""] if self.notes else []), *self.notes, "", self.verdict])

    def to_markdown(self) -> str:
        """The same as a document: the table, and the whole report of each rule that is wrong."""
        lines = [f"## {self._title}", "", *(page.table_in_markdown(self._rows) if self.rules else [])]
        for rule in (*self.wrong, *self.wrong_inside):
            lines += ["", f"### {rule.name} ({rule.kind}), at {_first(rule)}", ""]
            lines += [f"- {words}" for words in _details(rule)]
            lines += ["", rule.report.to_markdown() if rule.report else rule.verdict]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes), "", self.verdict])

    def to_json(self) -> str:
        """All numbers; what is not finite as a string."""
        rules = [rule._asdict() | {"ok": rule.ok, "verdict": rule.verdict, "report": None if rule.report is None
                                   else json.loads(rule.report.to_json())} for rule in self.rules]
        return json.dumps({"ok": self.ok, "verdict": self.verdict, "name": self.name, "uses": self.uses,
                           "compared": self.compared, "notes": self.notes, "rules": rules}, indent=1,
                          ensure_ascii=False)

    @property
    def _title(self) -> str:
        return (f"{self.name}: each rule inside beside its plain function, at its own inputs; errors in units of "
                "eps · max|leaf|")

    @property
    def _rows(self) -> list[list[str]]:
        """The wrong rules, then the others; many right ones of one name in one row."""
        rows = [["rule", "kind", "inputs", "uses", "compared", "worst error", "first at", "verdict"]]
        right = [rule for rule in self.rules if rule.ok]
        groups: dict[Any, list[Rule]] = {}
        for n, rule in enumerate(right):
            key = (rule.name, rule.kind, rule.verdict) if len(right) > MOST_ROWS else n
            groups.setdefault(key, []).append(rule)
        for rules in ([rule] for rule in (*self.wrong, *self.wrong_inside)):
            rows.append(_row(rules, f"✗ {rules[0].verdict.partition(':')[0]}"))
        return [*rows, *(_row(rules, rules[0].verdict) for rules in groups.values())]


def _row(rules: list[Rule], verdict: str) -> list[str]:
    first = rules[0]
    worst = max((rule.report.worst for rule in rules if rule.report is not None and rule.report.leaves),
                key=lambda leaf: leaf.error, default=None)
    noise = "" if worst is None or worst.noise < 2 else f", noise {page.units(worst.noise)}"
    inputs = first.inputs
    if len(inputs) > MOST_LETTERS:
        inputs = inputs[:MOST_LETTERS].rpartition(" ")[0] + " ..."
    return [first.name, first.kind, inputs if len(rules) == 1 else f"{len(rules)} kinds of inputs",
            f"{sum(rule.uses for rule in rules):,}", f"{sum(rule.compared for rule in rules):,}",
            "" if worst is None else page.units(worst.error) + noise, _first(first), verdict]


def _first(rule: Rule) -> str:
    """The place of the report, or else the first."""
    return (*rule.wrong_places, *rule.places)[0]


def _more(rule: Rule) -> str:
    n = len(rule.wrong_places) - 1
    return f" and at {n:,} more of its uses" if n > 0 else ""


def _details(rule: Rule) -> Iterator[str]:
    """Why a rule is wrong, and at which of its uses."""
    if rule.report is None:
        return
    yield from (f"{finding.path}: {finding.words}" for finding in rule.report.findings)
    is_verdict = not rule.report.wrong and len(rule.report.failures) == 1
    yield from () if is_verdict else rule.report.failures
    if rule.note:
        yield rule.note
    if (n := len(rule.wrong_places)) and rule.compared > 1:
        others = rule.wrong_places[1:]
        yield (f"wrong at {n:,} of the {rule.compared:,} uses that were compared"
               + (f", also at {'; '.join(others[:MOST_PLACES])}" if others else "")
               + ("; ..." if len(others) > MOST_PLACES else ""))
