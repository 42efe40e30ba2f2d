"""compare --mutants: how many wrong backward passes does each gradient checker find, and which not?

Every op of the catalogue is given every mistake of `jaxnn.gradients.mutants` at three sizes, in
float32; every checker judges each, and the right backward pass too, with its default options.
"""

import argparse
import collections
import concurrent.futures
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.catalogue import CASES, SIZES, find
from experiments.compare.checkers import ACCEPTED, CHECKERS, FOUND, NOT_RUN, REFUSED, has_torch
from experiments.compare.point import Point
from experiments.shared.run import device, prepare, progress, say, table
from jaxnn.checks import InputError

__all__ = ["Outcome", "campaign", "mutation", "outcome_of", "report", "write"]


class Outcome(NamedTuple):
    """What the checkers said of one op at one size."""

    op: str
    size: str
    kinds: dict[str, str]
    """Of each mutant, by its name."""
    equivalent: list[str]
    repeated: list[str]
    verdicts: dict[str, dict[str, str]]
    """By checker and mutant."""
    unchanged: dict[str, str]
    """By checker: the verdict on the right backward pass."""
    seconds: dict[str, float]


def mutation(argv: Sequence[str]) -> int:
    """compare --mutants: gradient checkers against wrong backward passes."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        "python -m experiments compare --mutants", allow_abbrev=False,
        description="Gives every op wrong backward passes and counts which checker finds how many.")
    parser.add_argument("--sizes", type=_words, default=SIZES, metavar="A,B", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ops", type=_words, default=names, metavar="A,B", help=f"of {', '.join(names)}")
    parser.add_argument("--checkers", type=_words, default=[c.name for c in CHECKERS], metavar="A,B",
                        help="; ".join(f"{c.name}: {c.note}" for c in CHECKERS))
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="processes side by side (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/mutants"), metavar="DIR",
                        help="where mutants.txt, .md and .json go (default: runs/mutants)")
    options = parser.parse_args(argv)
    begin = time.perf_counter()
    try:
        out = prepare(options.out)
        outcomes: list[Outcome] = []
        for outcome in campaign(options.ops, options.sizes, options.checkers, jobs=options.jobs):
            outcomes.append(outcome)
            outcomes.sort(key=lambda o: (options.ops.index(o.op), SIZES.index(o.size)))
            write(out, outcomes, len(options.ops) * len(options.sizes), time.perf_counter() - begin)
    except InputError as error:
        parser.error(str(error))
    say((out / "mutants.txt").read_text(encoding="utf-8"))
    say(f"{out / 'mutants.json'}, .md and .txt, {time.perf_counter() - begin:.0f} s")
    return 0


def campaign(ops: Sequence[str], sizes: Sequence[str] = SIZES, checkers: Sequence[str] | None = None, *,
             jobs: int = 1) -> Iterator[Outcome]:
    """The outcomes for each op at each size, as they come.

    Args:
      ops: names of the catalogue.
      sizes: among "small", "medium", "large".
      checkers: names among CHECKERS; None for all. PyTorch's are left out, with a word, where it is missing.
      jobs: processes side by side.
    Raises:
      InputError: a name that is not known, or jobs < 1.
    """
    known = [checker.name for checker in CHECKERS]
    wanted = known if checkers is None else list(checkers)
    for what, given, choices in (("--sizes", sizes, SIZES), ("--checkers", wanted, known)):
        for name in given:
            if name not in choices:
                raise InputError(what, f"expects names among {', '.join(choices)}; got {name!r}")
    if jobs < 1:
        raise InputError("--jobs", f"expects at least one process; got {jobs}")
    for name in ops:
        find(name)
    of_torch = {checker.name for checker in CHECKERS if checker.needs_torch}
    if not has_torch() and of_torch & set(wanted):
        say("PyTorch is not installed: torch.autograd.gradcheck is left out; install jaxnn[parity] for it")
        wanted = [name for name in wanted if name not in of_torch]
    # The longest first, so that no process is left alone with one at the end.
    tasks = [(op, size, wanted) for size in sorted(sizes, key=SIZES.index, reverse=True) for op in ops]
    done = _each(tasks, jobs)
    return (next(done) for _ in progress(range(len(tasks)), "op"))


def _each(tasks: list[tuple[str, str, list[str]]], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from (outcome_of(*task) for task in tasks)
        return
    # Not by fork: JAX has threads.
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        for done in concurrent.futures.as_completed([pool.submit(outcome_of, *task) for task in tasks]):
            yield done.result()


def outcome_of(op: str, size: str, checkers: Sequence[str]) -> Outcome:
    """All checkers on all mutants of one op at one size."""
    point = Point(find(op), size)
    verdicts: dict[str, dict[str, str]] = {}
    unchanged, seconds = {}, {}
    for checker in CHECKERS:
        if checker.name in checkers:
            begin = time.perf_counter()
            unchanged[checker.name] = checker.verdict(point, point.unchanged)
            verdicts[checker.name] = {m.mutation.name: checker.verdict(point, m) for m in point.mutants}
            seconds[checker.name] = time.perf_counter() - begin
    kinds = {m.mutation.name: m.mutation.kind for m in point.mutants}
    jax.clear_caches()  # the next op has other programs; those of all ops together take gigabytes
    return Outcome(op, size, kinds, list(point.mutants.equivalent), list(point.mutants.repeated), verdicts,
                   unchanged, seconds)


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


def write(out: Path, outcomes: list[Outcome], planned: int, seconds: float) -> None:
    """mutants.txt, .md and .json of the outcomes so far."""
    text, markdown, record = report(outcomes, planned, seconds)
    for name, content in (("mutants.txt", text), ("mutants.md", markdown),
                          ("mutants.json", json.dumps(record, indent=1))):
        (out / name).write_text(content + "\n", encoding="utf-8")


def report(outcomes: list[Outcome], planned: int, seconds: float) -> tuple[str, str, dict[str, Any]]:
    """The outcomes as text, as Markdown and as a record for JSON."""
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

    versions = {name: _version(name) for name in ("jax", "jaxlib", "chex", "torch", "numpy")}
    record = {
        "command": "python -m experiments compare --mutants", "seconds": round(seconds, 1),
        "done": len(outcomes), "planned": planned,
        "device": device(), "versions": {"python": platform.python_version(), **versions},
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


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]
