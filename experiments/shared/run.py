"""What every run of an experiment shares: where it writes, what it records, how it reports progress."""

import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jaxnn.checks import InputError

__all__ = ["device", "percent", "prepare", "progress", "say", "table", "write_metrics"]


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


def write_metrics(out: Path, experiment: str, knobs: Any, metrics: dict[str, Any], seconds: float) -> Path:
    """Writes metrics.json: the measures at its top level, and beside them what they were measured with."""
    record = {
        **metrics,
        "experiment": experiment,
        "seed": knobs.seed,
        "configuration": dataclasses.asdict(knobs),
        "commit": _commit(),
        "device": device(),
        "versions": {"python": platform.python_version(),
                     **{name: metadata.version(name) for name in ("jax", "jaxlib", "optax", "numpy")}},
        "seconds": round(seconds, 2),
    }
    path = out / "metrics.json"
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return path


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


def percent(fraction: float) -> str:
    return f"{100 * fraction:.2f} %"
