"""The records of runs: every metrics.json below a directory, with the pictures and sounds beside it."""

import dataclasses
import importlib
import json
import math
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from experiments.gallery.data_sets import DATA_SETS, DataSet
from experiments.gallery.facts import FACTS, Figure

__all__ = ["Compared", "Problem", "Run", "compared", "data_of", "read_runs", "shown"]

MOST_BYTES = 50_000_000  # of one metrics.json; ours have less than a hundredth of that


class Run(NamedTuple):
    """One run of an experiment: `record` is its metrics.json."""

    folder: Path
    experiment: str
    record: dict[str, Any]
    pictures: tuple[Path, ...]
    sounds: tuple[Path, ...]


class Problem(NamedTuple):
    """A file that is no record of an experiment, and why."""

    path: Path
    why: str


class Compared(NamedTuple):
    figure: Figure
    ours: float


def read_runs(directory: Path, names: Any) -> tuple[list[Run], list[Problem]]:
    """The runs below a directory, and the files that could not be read as one.

    Args:
      names: of the registered experiments.
    """
    runs: list[Run] = []
    problems: list[Problem] = []
    for path in sorted(directory.rglob("metrics.json")):
        if any(part.startswith(".unfinished_") for part in path.parts):
            continue  # of a run that is going on
        try:
            runs.append(_read(path, names))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(Problem(path, str(error) or type(error).__name__))
    return runs, problems


def _read(path: Path, names: Any) -> Run:
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"expects at most {MOST_BYTES:,} bytes; the file has {path.stat().st_size:,}")
    try:
        record = json.loads(path.read_bytes())
    except UnicodeDecodeError as error:
        raise ValueError(f"expects JSON in UTF-8; {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"expects JSON; it ends or breaks at line {error.lineno}: {error.msg}") from error
    if not isinstance(record, dict) or "experiment" not in record:
        raise ValueError("expects the record of an experiment, with the key 'experiment'; it is another program's")
    name = record["experiment"]
    if not isinstance(name, str) or name not in names:
        raise ValueError(f"expects the name of a registered experiment; got {str(name)[:60]!r}")
    for key, kind, what in (("configuration", dict, "the knobs"), ("seconds", int | float, "a number"),
                            ("pictures", list, "names of files"), ("versions", dict, "names and versions")):
        if not isinstance(record.get(key), kind):
            raise ValueError(f"expects {key!r}, {what}; got {str(record.get(key))[:60]!r}; run the experiment again")
    folder = path.parent
    # A name with a folder in it would lead elsewhere: only what lies beside the record is its picture.
    pictures = [folder / Path(str(picture)).name for picture in record["pictures"]]
    return Run(folder, name, record, tuple(picture for picture in pictures if picture.is_file()),
               tuple(sorted(folder.glob("*.wav"))))


def changed_knobs(run: Run, module: str) -> dict[str, Any]:
    """The knobs of a run that are not the experiment's defaults of today."""
    knobs = importlib.import_module(module).Knobs
    defaults = {field.name: field.default for field in dataclasses.fields(knobs)}
    return {name: value for name, value in run.record["configuration"].items()
            if name not in defaults or _plain(defaults[name]) != value}


def command(run: Run, module: str) -> str:
    """The command that repeats the run."""
    words = ["python", "-m", "experiments", "run", run.experiment]
    for name, value in changed_knobs(run, module).items():
        words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def data_value(run: Run) -> str:
    """What chose the data: the record's own `data`, which knows what "auto" became, else the knob."""
    facts = FACTS.get(run.experiment)
    value = run.record.get("data")
    if not isinstance(value, str):
        value = run.record["configuration"].get(facts.knob if facts else "data", "")
    return value if isinstance(value, str) else ""


def data_of(run: Run) -> tuple[DataSet | None, bool]:
    """The data set of a run, None where no table has it, and whether it stands in place of the course's."""
    facts = FACTS.get(run.experiment)
    if facts is None:
        return None, False
    value = data_value(run)
    name = facts.data.get(value, facts.data.get(""))
    return (DATA_SETS[name] if name else None), value in facts.substitutes


def compared(run: Run) -> list[Compared]:
    """The figures of a run, those that have a published one first."""
    facts = FACTS.get(run.experiment)
    found = []
    for figure in facts.figures if facts else ():
        value = _at(run.record, figure.path)
        if value is not None and (not figure.only or data_value(run) in figure.only):
            found.append(Compared(figure, 1 - value if figure.unit == "error %" else value))
    return sorted(found, key=lambda one: one.figure.published is None)


def _at(record: Any, path: str) -> float | None:
    """The number at a path; None where there is none."""
    for key in path.split("."):
        try:
            record = record[int(key)] if isinstance(record, list) else record[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    is_number = isinstance(record, int | float) and not isinstance(record, bool) and math.isfinite(record)
    return float(record) if is_number else None


def shown(value: float | None, unit: str) -> str:
    """A number with its unit, as precise as it deserves."""
    if value is None:
        return "–"
    if unit in ("%", "error %"):
        return f"{100 * value:.2f} %"
    if value == int(value) and abs(value) < 1e15:
        number = f"{int(value):,}"
    elif 1e-3 <= abs(value) < 1e5:
        number = f"{value:.6g}"
    else:
        number = f"{value:.3g}"
    return f"{number} {unit}".strip()
