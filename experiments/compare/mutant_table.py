"""The tables of a campaign: how many wrong backward passes each checker finds, which it accepts, its false alarms."""

import collections
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from experiments.catalogue import SIZES
from experiments.compare.campaign import Outcome
from experiments.compare.checkers import ACCEPTED, CHECKERS, FOUND, NOT_RUN, REFUSED
from experiments.compare.finished import versions, write_whole
from experiments.shared.run import device, table

__all__ = ["report", "write"]


class _Tally(NamedTuple):
    """One checker over some outcomes."""

    verdicts: collections.Counter[str]
    alarms: list[str]
    judged: int
    """Right backward passes that it was asked about."""
    beside_alarms: int
    """Found where the right backward pass is found wrong too."""
    accepted: list[dict[str, str]]
    seconds: float

    @property
    def killed(self) -> int:
        return self.verdicts[FOUND] + self.verdicts[REFUSED]

    @property
    def total(self) -> int:
        return self.killed + self.verdicts[ACCEPTED]


def _tally(checker: str, outcomes: Iterable[Outcome]) -> _Tally:
    verdicts: collections.Counter[str] = collections.Counter()
    alarms, accepted, judged, beside, seconds = [], [], 0, 0, 0.0
    for o in outcomes:
        verdicts.update(o.verdicts[checker].values())
        accepted += [{"op": o.op, "size": o.size, "mutant": name, "kind": o.kinds[name]}
                     for name, verdict in o.verdicts[checker].items() if verdict == ACCEPTED]
        seconds += o.seconds[checker]
        judged += o.unchanged[checker] != NOT_RUN
        if o.unchanged[checker] == FOUND:
            alarms.append(f"{o.op}, {o.size}")
            beside += list(o.verdicts[checker].values()).count(FOUND)
    return _Tally(verdicts, alarms, judged, beside, accepted, seconds)


def write(out: Path, outcomes: list[Outcome], planned: int) -> None:
    """mutants.txt, .md and .json of the outcomes so far, of at least one; `planned` is their number in the end."""
    text, markdown, record = report(outcomes, planned)
    for name, content in (("mutants.txt", text), ("mutants.md", markdown),
                          ("mutants.json", json.dumps(record, indent=1))):
        write_whole(out / name, content)


def report(outcomes: list[Outcome], planned: int) -> tuple[str, str, dict[str, Any]]:
    """The outcomes as text, as Markdown and as a record for JSON. Nothing in it depends on the order in which they were
    found, nor on how often the campaign was interrupted."""
    checkers = [c for c in CHECKERS if c.name in outcomes[0].verdicts]
    sizes = [size for size in SIZES if any(o.size == size for o in outcomes)]
    tallies = {c.name: _tally(c.name, outcomes) for c in checkers}
    by_size = {(c.name, size): _tally(c.name, [o for o in outcomes if o.size == size])
               for c in checkers for size in sizes}
    mutants = sum(len(o.kinds) for o in outcomes)
    ops = len({o.op for o in outcomes})
    kinds = collections.Counter(kind for o in outcomes for kind in o.kinds.values())
    missed = {c.name: collections.Counter(a["kind"] for a in tallies[c.name].accepted) for c in checkers}

    head = ("checker", *(f"found, {size}" for size in sizes), "accepted", "refused", "not run",
            "false alarms", "beside one", "ms each")
    rows = [(c.name, *(_of(by_size[c.name, size].killed, by_size[c.name, size].total) for size in sizes),
             _of((t := tallies[c.name]).verdicts[ACCEPTED], t.total), f"{t.verdicts[REFUSED]:,}",
             f"{t.verdicts[NOT_RUN]:,}", _of(len(t.alarms), t.judged), f"{t.beside_alarms:,}",
             f"{1e3 * t.seconds / mutants:.0f}") for c in checkers]
    worst_first = sorted(kinds, key=lambda kind: -sum(of[kind] for of in missed.values()))
    kind_rows = [(kind, f"{kinds[kind]:,}", *(f"{missed[c.name][kind]:,}" for c in checkers))
                 for kind in worst_first]
    kind_head = ("accepted, by kind of mistake", "mutants", *(c.name for c in checkers))
    left_out = (f"left out: {sum(len(o.equivalent) for o in outcomes):,} whose gradient is the right one, "
                f"{sum(len(o.repeated) for o in outcomes):,} whose gradient another has")

    def page(heading: str, layout: Callable[[Any, Any], str]) -> str:
        notes = [*(f"{c.name}: {c.note}" for c in checkers),
                 "refused: not linear in dy, said when the rule is lifted",
                 "beside one: found where the right backward pass is found wrong too, a false alarm"]
        unfinished = f"; {len(outcomes)} of {planned} done" if len(outcomes) < planned else ""
        parts = [f"{heading}{mutants:,} wrong backward passes of {ops} ops and networks, float32{unfinished}",
                 left_out,
                 layout(head, rows), "\n".join(f"- {note}" for note in notes)]
        for c in checkers:
            t = tallies[c.name]
            if t.alarms:
                parts.append(f"false alarms of {c.name}: {'; '.join(t.alarms)}")
            if c.is_ours:
                lines = [f"{a['op']}, {a['size']}, {a['mutant']}" for a in t.accepted]
                parts.append(f"accepted by {c.name}: {'; '.join(lines) or 'none'}")
        return "\n\n".join([*parts, layout(kind_head, kind_rows)])

    record = {
        "command": "python -m experiments compare --mutants",
        "seconds": round(sum(t.seconds for t in tallies.values()), 1),
        "done": len(outcomes), "planned": planned,
        "device": device(), "versions": versions(),
        "mutants": mutants, "kinds": dict(kinds),
        "checkers": {c.name: {
            "what": c.note, **{v.replace(" ", "_"): tallies[c.name].verdicts[v] for v in (
                FOUND, REFUSED, ACCEPTED, NOT_RUN)},
            "by_size": {size: dict(by_size[c.name, size].verdicts) for size in sizes},
            "false_alarms": tallies[c.name].alarms, "right_ones": tallies[c.name].judged,
            "found_beside_a_false_alarm": tallies[c.name].beside_alarms,
            "seconds": round(tallies[c.name].seconds, 1),
            "accepted_mutants": tallies[c.name].accepted} for c in checkers},
        "points": [{"op": o.op, "size": o.size, "mutants": len(o.kinds), "equivalent": o.equivalent,
                    "repeated": o.repeated} for o in outcomes],
    }
    return page("", table), page("# ", _markdown), record


def _of(n: int, total: int) -> str:
    return f"{n:,} of {total:,}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

