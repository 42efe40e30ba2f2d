"""bench: the tables of the benchmarks, and bench.json beside them."""

import argparse
import json
import platform
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from experiments import catalogue
from experiments.bench import ops
from experiments.bench.cases import CASES
from experiments.bench.measure import PRECISIONS, Case, Row, measure
from experiments.catalogue import SIZES
from experiments.shared.run import prepare, progress, say, table
from jaxnn.checks import InputError
from jaxnn.memory import keep_memory

__all__ = ["bench"]


def bench(argv: Sequence[str]) -> int:
    """bench [NAME ...] [--op NAME] [--all-ops]: times and memory beside autodiff's, as ratios."""
    parser = _parser()
    options = parser.parse_args(argv)
    names = [case.name for case in CASES]
    unknown = [name for name in options.name if name not in names]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(names)}")
    if options.rounds < 1:
        parser.error(f"--rounds expects at least 1; got {options.rounds}")
    try:
        of_ops = _cases_of_ops(options)
        out = prepare(options.out)
    except InputError as error:
        parser.error(str(error))
    chosen = options.name or ([] if of_ops else names)
    if options.precision not in PRECISIONS:
        parser.error(f"--precision expects one of {', '.join(PRECISIONS)}; got {options.precision!r}")
    if options.precision == "tf32" and jax.default_backend() != "gpu":
        parser.error(f"--precision tf32 needs a GPU; got {jax.default_backend()}; leave it out")
    if options.precision == "bfloat16":
        of_steps = [case.name for case in CASES if case.is_step]
        if of_ops or not set(chosen) <= {*of_steps}:
            parser.error(f"--precision bfloat16 is for training steps: {', '.join(of_steps)}; name some of them")
    if options.keep_memory and not keep_memory():
        parser.error("--keep-memory needs Linux with glibc; leave it out here")
    rows: list[Row] = []
    for case in CASES:
        if case.name in chosen:
            rows += (measured := measure(case, options.rounds, options.precision))
            say(f"{case.what}{_verdict(case, measured)}\n{_table(measured)}\n")
    if of_ops:
        measured_ops = [measure(case, options.rounds, options.precision) for case in progress(of_ops, "op")]
        rows += [row for of_op in measured_ops for row in of_op]
        say(f"{of_ops[0].what}\n{_table_of_ops(measured_ops)}\n")
    if chosen == names:
        say(f"import: {_import_ratio(options.rounds)}")
    record = {"device": jax.devices()[0].device_kind, "python": platform.python_version(),
              "jax": metadata.version("jax"), "rounds": options.rounds, "precision": options.precision,
              "keep_memory": options.keep_memory, "rows": [r._asdict() for r in rows]}
    (out / "bench.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m experiments bench", allow_abbrev=False, description=(
        "Measures each op beside what autodiff makes of the same equation. The sides\n"
        "take turns; ratios are medians over the rounds, to the first side."),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="what can be measured:\n" + textwrap.fill(
            "  ".join(case.name for case in CASES), 98, initial_indent="  ", subsequent_indent="  ",
            break_on_hyphens=False))
    parser.add_argument("name", nargs="*", metavar="NAME",
                        help="what is measured, of the names below (default: all of them, unless ops are named)")
    parser.add_argument("--op", action="append", default=[], metavar="NAME",
                        help="measures the gradient of an op or a network of the catalogue (compare --list names "
                        "all); may be given several times")
    parser.add_argument("--all-ops", action="store_true", help="measures all of the catalogue, one row each")
    parser.add_argument("--size", default="large", metavar="SIZE",
                        help=f"size of the ops' arguments: {', '.join(SIZES)} (default: large)")
    parser.add_argument("--sizes", default="", metavar="NAME=N,...",
                        help="numbers by name in place of those of SIZE, for --op: t=1024,d=64")
    parser.add_argument("--batch", metavar="N", help="number of examples for the ops, which share the parameters")
    parser.add_argument("--precision", default="float32", metavar="NAME",
                        help="float32; tf32, to which a GPU may round the factors of float32 products; or bfloat16, in "
                        "which the layers of a training step compute, float32 products then being TF32 (default: "
                        "float32)")
    parser.add_argument("--keep-memory", action="store_true",
                        help="memory that arrays give back stays with the process, for all sides (jaxnn.keep_memory)")
    parser.add_argument("--rounds", type=int, default=9, metavar="N",
                        help="number of times that each side is measured (default: 9)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="DIR",
                        help="where bench.json goes (default: runs/bench)")
    return parser


def _cases_of_ops(options: argparse.Namespace) -> list[Case]:
    """A benchmark of each op that is asked for.

    Raises:
      InputError: what the catalogue does not know, or options that do not fit together.
    """
    if options.all_ops and (options.op or options.sizes):
        raise InputError("--all-ops", "expects no --op and no --sizes; got one; leave it out, or name the ops")
    chosen = [catalogue.find(name) for name in dict.fromkeys(options.op)]
    if options.all_ops:
        chosen = list(catalogue.CASES)
    if not chosen and (options.sizes or options.batch):
        raise InputError("--sizes and --batch", "expect the ops that they are for; got none; add --op NAME")
    batch = None if options.batch is None else _integer("--batch", options.batch)
    sizes: dict[str, Any] = {}
    for word in filter(None, options.sizes.split(",")):
        name, equals, number = word.partition("=")
        if not equals:
            raise InputError("--sizes", f"expects NAME=N, as in t=1024,d=64; got {word!r}")
        sizes[name] = _integer(f"--sizes {name}", number)
    for case in chosen:
        case.numbers(options.size, sizes)  # refuses a size before the first op is measured
    over = "" if batch is None else f", batch {batch}"
    by_name = "".join(f", {name} = {number}" for name, number in sizes.items())
    what = f"ops of the catalogue, {options.size}{by_name}{over}: gradient"
    return [Case(case.name, what, partial(ops.sides, case.name, options.size, batch, **sizes)) for case in chosen]


def _integer(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError(option, f"expects an integer at least 1; got {text!r}")
    return int(text)


def _verdict(case: Case, rows: list[Row]) -> str:
    """Whether the last side keeps what is asked of it, for each other side that was measured."""
    first, *_, last = rows
    limits = {} if case.limit is None else {first.side: case.limit}
    parts = [f"at most {most} of {row.side}: {_yes(row.last <= most)}"
             for row in rows for most in [{**limits, **case.limits}.get(row.side)] if most is not None]
    if case.memory is not None and first.temporary and last.temporary is not None:
        fits = last.temporary <= case.memory * first.temporary
        parts.append(f"at most {case.memory} of its temporaries: {_yes(fits)}")
    return f" ({'; '.join(parts)})" if parts else ""


def _yes(holds: bool) -> str:
    return "yes" if holds else "NO"


def _table(rows: list[Row]) -> str:
    last = rows[-1].side
    return table(("side", "ms", "ratio", f"{last} over this", "temporary MB", "kept MB"), [
        (row.side, f"{row.milliseconds:.2f}", f"{row.ratio:.2f}", f"{row.last:.2f}", _mega(row.temporary),
         _mega(row.kept)) for row in rows])


def _mega(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e6:.1f}"


def _table_of_ops(measured: list[list[Row]]) -> str:
    """One row for each op: its first side and its last, autodiff and jaxnn."""
    head = ("op", "autodiff ms", "jaxnn ms", "ratio", "temporary kB, autodiff", "jaxnn", "kept kB, autodiff", "jaxnn")
    return table(head, [
        (a.case, f"{a.milliseconds:.3f}", f"{b.milliseconds:.3f}", f"{b.ratio:.2f}", _kilo(a.temporary),
         _kilo(b.temporary), _kilo(a.kept), _kilo(b.kept)) for a, *_, b in measured])


def _kilo(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e3:,.1f}"


def _import_ratio(rounds: int) -> str:
    """Cold imports in processes of their own, taking turns."""
    def seconds(modules: str) -> float:
        code = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return float(done.stdout)

    pairs: list[Any] = [(seconds("jax, optax"), seconds("jaxnn")) for _ in range(rounds)]
    base, library = (sorted(times)[rounds // 2] for times in zip(*pairs, strict=True))
    ratio = sorted(b / a for a, b in pairs)[rounds // 2]
    return f"jax, optax {base:.2f} s; jaxnn {library:.2f} s; ratio {ratio:.2f} (at most 1.5)"
