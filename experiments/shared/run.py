"""What every run of an experiment shares: where it writes, what it records, how it reports progress."""

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn.checks import InputError
from jaxnn.training.log import number_to_json

__all__ = ["counted", "device", "divergences", "percent", "prepare", "printed", "progress", "results", "say", "series",
           "table", "write_metrics"]

MOST_COSTS = 200  # of one record: enough for a curve


def prepare(out: Path) -> Path:
    """Makes the directory of the results, and checks that files can be written to that directory.

    Raises:
      InputError: `out` is a file, or cannot be made or written to. Better before the training than after.
    """
    if out.exists() and not out.is_dir():
        raise InputError("--out", f"expects a directory; got the file {out}; name another place")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise InputError("--out", f"expects a directory that can be written to; got {out} "
                         f"({error.strerror}); name another place") from error
    return out


@contextlib.contextmanager
def results(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A directory for the files of a run, which are moved to `out` when the run has ended: one that fails leaves there
    what was there.

    Args:
      overwrite: whether to replace the results of an earlier run, its metrics.json and its pictures.
    Raises:
      InputError: `out` holds the results of an earlier run, and overwrite is False; or as `prepare`.
    """
    earlier = _earlier(prepare(out), overwrite=overwrite)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished_", dir=out))
    try:
        yield unfinished
        for path in earlier:
            path.unlink(missing_ok=True)
        for path in sorted(unfinished.iterdir()):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _earlier(out: Path, *, overwrite: bool) -> list[Path]:
    """The files of the run whose results `out` holds."""
    path = out / "metrics.json"
    if not os.path.lexists(path):
        return []
    try:
        record = json.loads(path.read_bytes())
        name, pictures = f"those of {record['experiment']}, seed {record['seed']}", list(record.get("pictures", []))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        name, pictures = "a metrics.json that is none of an experiment", []
    if not overwrite:
        raise InputError("--out", f"expects a directory without results; got {out} with {name}; name another place, or "
                         "pass --overwrite to replace them")
    return [path, *(out / Path(str(picture)).name for picture in pictures)]


def printed(n: int, most: int = 10) -> list[int]:
    """Of n iterations those that a table or a curve shows: the first, each 1st, 2nd, 5th, 10th ... and the last, so
    that about `most` are left, and among them the round numbers at which a course prints its costs."""
    every = next(m * 10**k for k in range(20) for m in (1, 2, 5) if n <= m * 10**k * most)
    return sorted({*range(0, n, every), n - 1})


def series(costs: Any, step: str = "iteration", at: Any = None, *, start: float | None = None) -> dict[str, Any]:
    """Costs over a training as a record: {step: numbers, "cost": nats}, at most about 200 of them, evenly spaced, with
    the first and the last.

    Args:
      at: the number of each cost; None counts from 0.
      start: the cost before the first step, where the first of the costs is a mean over several steps.
    """
    costs = np.asarray(costs, float)
    numbers = np.arange(len(costs)) if at is None else np.asarray(at)
    kept = printed(len(costs), MOST_COSTS) if len(costs) else []
    return {step: numbers[kept].tolist(), "cost": costs[kept].tolist(), **({} if start is None else {"start": start})}


def divergences(measures: Any, name: str = "") -> Iterator[str]:
    """A sentence for each training whose costs are among the measures, as `series`, and that diverged: a cost is not
    finite, or the last tenth is more than twice the cost at the start."""
    if not isinstance(measures, dict):
        return
    costs = measures.get("cost")
    steps = [key for key in measures if key not in ("cost", "start")]
    if not (isinstance(costs, list) and len(steps) == 1):
        for key, part in measures.items():
            yield from divergences(part, f"{name} {key}".strip() if key != "costs" else name)
        return
    (step,), values = steps, np.array(costs, float)
    start: Any = measures.get("start", costs[0] if costs else None)
    bad = np.flatnonzero(~np.isfinite(values))
    whose = f"the cost of '{name}'" if name else "the cost"
    if len(bad):
        yield f"{whose} is {values[bad[0]]:g} at {step} {measures[step][bad[0]]}"
    elif len(values) and values[-max(1, len(values) // 10):].mean() > 2 * abs(start):
        yield f"{whose} is {start:.4g} nats at first and {values[-1]:.4g} at last"


def write_metrics(out: Path, experiment: str, knobs: Any, metrics: dict[str, Any], seconds: float) -> Path:
    """Writes metrics.json: the measures at its top level, and beside them what they were measured with."""
    record = {
        **_plain(metrics),
        "experiment": experiment,
        "seed": knobs.seed,
        "configuration": dataclasses.asdict(knobs),
        "commit": _commit(),
        "device": device(),
        "versions": {"python": platform.python_version(),
                     **{name: metadata.version(name) for name in ("jax", "jaxlib", "optax", "numpy")}},
        "seconds": round(seconds, 2),
        "pictures": sorted(path.name for path in out.glob("*.png")),
    }
    path = out / "metrics.json"
    path.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def _plain(value: Any) -> Any:
    """Measures as JSON can hold them: NaN, which it cannot, is null, and infinity is text."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return number_to_json(value)


def device() -> str:
    """What the arrays are on: "2 CPU cores", or the name and number of the accelerators."""
    first = jax.devices()[0]
    if first.platform == "cpu":
        return f"{os.cpu_count()} CPU cores"
    return f"{jax.device_count()} {first.device_kind}"


def _commit() -> str | None:
    """The commit of the code that runs, with "-dirty" if it was changed since; None outside of git."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--exclude=*", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def progress(steps: Iterable[Any], unit: str) -> Iterable[Any]:
    """The steps, under a progress bar on a terminal that has tqdm."""
    if not sys.stderr.isatty():
        return steps
    try:
        from tqdm import tqdm
    except ImportError:
        return steps
    return tqdm(steps, unit=unit, leave=False)


def say(line: str = "") -> None:
    """Prints a line, above the progress bar if there is one."""
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=sys.stdout)
    else:
        print(line)
    sys.stdout.flush()


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Rows as aligned text: the first column to the left, the others to the right."""
    body = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*body, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]),
                        *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
             for row in body]
    return "\n".join([lines[0], "  ".join("-" * w for w in widths), *lines[1:]])


def counted(n: int, noun: str) -> str:
    """A number and its noun: "1 run", "2 runs"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
