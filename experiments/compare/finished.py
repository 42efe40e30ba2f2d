"""The finished part of a campaign on disk: one file for each op at each size, and the settings that all of them have.

    runs/mutants/outcomes/settings.json         checkers, versions, device, a hash of each source file
    runs/mutants/outcomes/dense.small.json      an Outcome

A file is whole or not there: it is written under another name and renamed. A campaign of the same settings goes on from
these files; one of other settings, or of a changed source, is refused until it is told to begin anew.
"""

import contextlib
import hashlib
import json
import os
import platform
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import experiments
import jaxnn
from experiments.compare.campaign import Outcome, Task
from experiments.shared.run import device, prepare, say
from jaxnn.checks import InputError

__all__ = ["Finished", "settings_of", "versions", "write_whole"]

PACKAGES = ("jax", "jaxlib", "chex", "torch", "numpy")
MOST_NAMED = 3  # changed files in a message; the rest is counted


def settings_of(checkers: Sequence[str]) -> dict[str, Any]:
    """All that an outcome depends on, beside its op and its size."""
    return {"checkers": list(checkers), "versions": versions(), "device": device(), "source": _source()}


def versions() -> dict[str, str | None]:
    """Of Python and of the packages that judge; None for one that is not installed."""
    of_packages: dict[str, str | None] = dict.fromkeys(PACKAGES)
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            of_packages[name] = metadata.version(name)
    return {"python": platform.python_version(), **of_packages}


def _source() -> dict[str, str]:
    """A hash of each source file: the library, the catalogue and the campaign."""
    library, own = Path(jaxnn.__file__).parent, Path(experiments.__file__).parent
    files = [*library.rglob("*.py"), own / "catalogue.py", *(own / "compare").glob("*.py")]
    roots = {library: library.parent, own: own.parent}
    return {path.relative_to(next(roots[r] for r in roots if path.is_relative_to(r))).as_posix():
            hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest() for path in sorted(files)}


class Finished:
    """The outcomes in a directory.

    Args:
      out: the directory of the campaign.
      settings: of `settings_of`.
      anew: outcomes of other settings are deleted.
    Raises:
      InputError: there are outcomes of other settings, and not `anew`; or nothing can be written there.
    """

    def __init__(self, out: Path, settings: dict[str, Any], anew: bool = False):
        self.folder = prepare(prepare(out) / "outcomes")
        file = self.folder / "settings.json"
        if anew:
            for path in self._files():
                path.unlink()
        elif any(self._files()) and (changes := _changes(_read(file) or {}, settings)):
            raise InputError("--out", f"expects outcomes of the same source and settings, or none; {self.folder} has "
                             f"others: {'; '.join(changes)}; begin anew with --anew, or name another --out")
        write_whole(file, json.dumps(settings, indent=1))

    def _files(self) -> list[Path]:
        return [path for path in self.folder.glob("*.json") if path.name != "settings.json"]

    def _file(self, task: Task) -> Path:
        return self.folder / f"{task.op}.{task.size}.json"

    def add(self, outcome: Outcome) -> None:
        write_whole(self._file(Task(outcome.op, outcome.size)), json.dumps(outcome._asdict(), indent=1))

    def outcomes(self, tasks: Sequence[Task]) -> list[Outcome]:
        """Those of the tasks that are finished, in the order of the tasks. A damaged file is reported, and its task
        counts as unfinished."""
        return [outcome for task in tasks if (outcome := self._outcome(task)) is not None]

    def _outcome(self, task: Task) -> Outcome | None:
        file = self._file(task)
        if not file.exists():
            return None
        record = _read(file)
        if record is None or set(record) != set(Outcome._fields) or (record["op"], record["size"]) != task:
            say(f"{file} is damaged: {task.op}, {task.size} is judged again")
            file.unlink()
            return None
        return Outcome(**record)


def _changes(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """How the settings differ, in words."""
    if not before:
        return ["their settings.json is missing or damaged"]
    words = [f"{name} {before.get(name)!r}, and not {value!r}" for name, value in after.items()
             if name not in ("source", "versions") and before.get(name) != value]
    old, new = before.get("versions") or {}, after["versions"]
    words += [f"{name} {old.get(name)}, and not {new[name]}" for name in new if old.get(name) != new[name]]
    old, new = before.get("source") or {}, after["source"]
    files = sorted(path for path in {*old, *new} if old.get(path) != new.get(path))
    if files:
        rest = f" and {len(files) - MOST_NAMED} more files" if len(files) > MOST_NAMED else ""
        words.append(f"another {', '.join(files[:MOST_NAMED])}{rest}")
    return words


def _read(file: Path) -> dict[str, Any] | None:
    """The record in a file; None where there is none, or a damaged one."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that at any moment the old one or the new one is there, and whole."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, file)
    finally:
        beside.unlink(missing_ok=True)
