"""The rules inside a function, each with its own comparison, and the verdict on them all."""

import json
from typing import Any, NamedTuple

from jaxnn.gradients import page
from jaxnn.gradients.report import GradientReport

__all__ = ["Rule", "RulesReport"]


class Rule(NamedTuple):
    """A rule inside a function, at the shapes and dtypes that it gets there."""

    name: str
    kind: str
    """"op", "custom_vjp" or "custom_jvp"."""
    inputs: str
    """Their dtypes and shapes."""
    places: tuple[str, ...]
    """Scope, line, and step of a loop, of each use; compared at the first."""
    report: GradientReport | None
    """None where there is nothing to compare, or comparing raised."""
    note: str = ""
    """Why there is no report."""
    failed: bool = False
    """Whether comparing raised."""

    @property
    def ok(self) -> bool:
        return not self.failed if self.report is None else self.report.ok

    @property
    def verdict(self) -> str:
        """One line."""
        if self.report is None:
            return f"{'NOT COMPARED' if self.failed else 'nothing to compare'}: {self.note}"
        return "right" if self.report.ok else self.report.verdict


class RulesReport(NamedTuple):
    """All distinct rules inside a function; print it."""

    name: str
    rules: tuple[Rule, ...]

    @property
    def ok(self) -> bool:
        return all(rule.ok for rule in self.rules)

    @property
    def wrong(self) -> tuple[Rule, ...]:
        """Those that are wrong, or could not be judged."""
        return tuple(rule for rule in self.rules if not rule.ok)

    @property
    def verdict(self) -> str:
        """One line."""
        if not self.rules:
            return "right: there is no rule inside, JAX itself differentiates all of it"
        if self.ok:
            return f"right: each of the {len(self.rules)} rules inside has its plain function's gradient"
        return "WRONG: " + "; ".join(f"{rule.name} at {rule.places[0]}" for rule in self.wrong)

    def __str__(self) -> str:
        lines = [self._title]
        if self.rules:
            lines += ["", *page.aligned(self._rows)]
        for rule in self.wrong:
            lines += ["", f"{rule.name} ({rule.kind}), at {'; '.join(rule.places[:5])}"]
            lines += [f"    {words}" for words in (rule.verdict, *self._reasons(rule))]
        return "\n".join([*lines, "", self.verdict])

    def to_markdown(self) -> str:
        """The same as a document: the table, and the whole report of each rule that is wrong."""
        lines = [f"## {self._title}", "", *(page.table_in_markdown(self._rows) if self.rules else []), ""]
        for rule in self.wrong:
            lines += [rule.report.to_markdown() if rule.report else f"{rule.name}: {rule.verdict}", ""]
        return "\n".join([*lines, self.verdict])

    def to_json(self) -> str:
        """All numbers; what is not finite as a string."""
        rules = [rule._asdict() | {"ok": rule.ok, "verdict": rule.verdict, "report": None if rule.report is None
                                   else json.loads(rule.report.to_json())} for rule in self.rules]
        return json.dumps({"ok": self.ok, "verdict": self.verdict, "name": self.name, "rules": rules}, indent=1,
                          ensure_ascii=False)

    @property
    def _title(self) -> str:
        return f"{self.name}: each rule inside beside its plain function, at the inputs that it gets there"

    @property
    def _rows(self) -> list[list[str]]:
        rows = [["rule", "kind", "inputs", "uses", "first at", "verdict"]]
        for rule in sorted(self.rules, key=lambda rule: rule.ok):
            verdict = rule.verdict.partition(":")[0] if not rule.ok else rule.verdict
            rows.append([rule.name, rule.kind, rule.inputs, str(len(rule.places)), rule.places[0],
                         verdict if rule.ok else f"✗ {verdict}"])
        return rows

    @staticmethod
    def _reasons(rule: Rule) -> list[Any]:
        if rule.report is None:
            return []
        return [f"{finding.path}: {finding.words}" for finding in rule.report.findings]
