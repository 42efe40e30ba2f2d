"""bench: the table of the benchmarks, and bench.json beside it."""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from experiments.bench.cases import CASES
from experiments.bench.measure import Case, Row, measure
from experiments.shared.run import prepare, say, table

__all__ = ["bench"]


def bench(argv: Sequence[str]) -> int:
    """bench [NAME ...]: times and memory beside autodiff's, as ratios."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser("python -m experiments bench", description=(
        "Measures each op beside what autodiff makes of the same equation. The sides take turns; "
        "ratios are medians over the rounds, to the first side."))
    parser.add_argument("name", nargs="*", metavar="NAME",
                        help=f"which (default: all): {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="how often (default: 9)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"), metavar="DIR",
                        help="where bench.json goes (default: runs/bench)")
    options = parser.parse_args(argv)
    unknown = [name for name in options.name if name not in names]
    if unknown:
        parser.error(f"unknown benchmark {unknown[0]!r}; choose from {', '.join(names)}")
    if options.rounds < 1:
        parser.error(f"--rounds expects at least 1; got {options.rounds}")
    out = prepare(options.out)
    rows: list[Row] = []
    for case in CASES:
        if case.name in (options.name or names):
            rows += (measured := measure(case, options.rounds))
            say(f"{case.what}{_verdict(case, measured)}\n{_table(measured)}\n")
    if not options.name:
        say(f"import: {_import_ratio(options.rounds)}")
    record = {"device": jax.devices()[0].device_kind, "python": platform.python_version(),
              "jax": metadata.version("jax"), "rounds": options.rounds, "rows": [r._asdict() for r in rows]}
    (out / "bench.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return 0


def _verdict(case: Case, rows: list[Row]) -> str:
    if case.limit is None:
        return ""
    return f" (at most {case.limit}: {'yes' if rows[-1].ratio <= case.limit else 'NO'})"


def _table(rows: list[Row]) -> str:
    return table(("side", "ms", "ratio", "temporary MB", "kept MB"), [
        (row.side, f"{row.milliseconds:.2f}", f"{row.ratio:.2f}", _mega(row.temporary), _mega(row.kept))
        for row in rows])


def _mega(n_bytes: int | None) -> str:
    return "" if n_bytes is None else f"{n_bytes / 1e6:.1f}"


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
