"""The results of a comparison, as values: leaves, laws, costs, findings and remarks; and the verdict on them."""

import json
import math
from typing import Any, NamedTuple

import numpy as np

from jaxnn.gradients import page, picture
from jaxnn.gradients.leaf import THRESHOLD, Excuse, Leaf, badness
from jaxnn.gradients.remark import Kind, Remark
from jaxnn.gradients.timing import Time

__all__ = ["Cost", "Finding", "GradientReport", "Law"]


class Law(NamedTuple):
    """A property that a right gradient has wherever its reference has it."""

    name: str
    holds: bool | None
    """None: the reference does not have it, or it does not apply."""
    evidence: str = ""

    @property
    def is_broken(self) -> bool:
        return self.holds is False


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
    """At the arguments themselves, compiled."""
    under: tuple[Leaf, ...] = ()
    """Under other transformations and in other dtypes: the worst of each leaf."""
    laws: tuple[Law, ...] = ()
    costs: tuple[Cost, ...] = ()
    findings: tuple[Finding, ...] = ()
    remarks: tuple[Remark, ...] = ()
    """What could not be compared, what was not run, and other remarks."""
    threshold: float = THRESHOLD
    times: tuple[Time, ...] = ()
    """Where the time of the comparison went, in seconds."""

    @property
    def ok(self) -> bool:
        return not (self.wrong or self.failures or self.broken_laws or self.wrong_reference or self.unjudged)

    @property
    def wrong(self) -> tuple[Leaf, ...]:
        return tuple(leaf for leaf in (*self.leaves, *self.under) if not leaf.ok)

    @property
    def broken_laws(self) -> tuple[Law, ...]:
        return tuple(law for law in self.laws if law.is_broken)

    @property
    def failures(self) -> tuple[str, ...]:
        """What could not be compared, and which side is to blame: the report is not ok."""
        return tuple(remark.words for remark in self.remarks if remark.kind is Kind.FAILURE)

    @property
    def wrong_reference(self) -> tuple[str, ...]:
        """Where the reference's gradient is wrong, since f's own value contradicts it: the report is not ok."""
        return tuple(remark.words for remark in self.remarks if remark.kind is Kind.REFERENCE)

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Which parts of the gradient are judged by nothing, and what to do: the report is not ok."""
        return tuple(remark.words for remark in self.remarks if remark.kind is Kind.UNJUDGED)

    @property
    def notes(self) -> tuple[str, ...]:
        """All other remarks."""
        return tuple(remark.words for remark in self.remarks if remark.kind in (Kind.NOTE, Kind.NOT_RUN))

    @property
    def not_run(self) -> tuple[str, ...]:
        """What was asked for and could not be run."""
        return (*(remark.words for remark in self.remarks if remark.kind is Kind.NOT_RUN),
                *(f"{leaf.path}: {leaf.note}" for leaf in self.leaves if leaf.excuse is Excuse.NOT_RUN))

    @property
    def worst(self) -> Leaf:
        """The leaf with the largest error, by the backward pass itself before what follows from it."""
        return max(self.leaves or self.under, key=badness)

    @property
    def blamed(self) -> Leaf | None:
        """The wrong leaf that the verdict names; None where no leaf is wrong."""
        if not self.wrong:
            return None
        return max(self.under if self.leaves and self.worst.ok else self.leaves or self.under, key=badness)

    @property
    def verdict(self) -> str:
        """One line."""
        return page.verdict(self)

    def __str__(self) -> str:
        return page.text(self)

    def to_markdown(self) -> str:
        """The same as a document."""
        return page.markdown(self)

    def to_json(self) -> str:
        """All numbers; what is not finite as a string."""
        record = {"ok": self.ok, "verdict": self.verdict} | self._asdict()
        del record["remarks"]
        record |= {"failures": self.failures, "wrong_reference": self.wrong_reference, "unjudged": self.unjudged,
                   "notes": self.notes}
        return json.dumps(_plain(record), indent=1, ensure_ascii=False)

    def plot(self) -> Any:
        """Where the error sits: for each leaf the error of every element, as a matplotlib Figure."""
        return picture.error_maps(self)


def _plain(x: Any) -> Any:
    """x as what JSON has."""
    if isinstance(x, Leaf):
        record = x._asdict() | {"ok": x.ok, "excused": x.excused}
        return {k: _plain(v) for k, v in record.items() if k not in ("errors", "excuse")}
    if isinstance(x, Cost):
        return _plain(x._asdict() | {"ratio": x.ratio})
    if hasattr(x, "_asdict"):
        return _plain(x._asdict())
    if isinstance(x, dict):
        return {k: _plain(v) for k, v in x.items()}
    if isinstance(x, tuple | list):
        return [_plain(v) for v in x]
    if isinstance(x, np.generic):
        return _plain(x.item())
    if isinstance(x, complex):
        return [_plain(x.real), _plain(x.imag)]
    if isinstance(x, float) and not math.isfinite(x):
        return str(x)
    return x
