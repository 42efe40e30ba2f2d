"""Every call to the system that a save makes fails in turn: does the older checkpoint always load?

The disk is full, the device broken, the directory read-only; or the process ends there, without a chance to
tidy up.
"""

import collections
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from experiments.faults.outcomes import Tally, same
from experiments.faults.runs import KINDS, begin
from experiments.shared.run import say, table
from jaxnn.training import checkpoint, files

__all__ = ["failing", "tally"]

CALLS = ("mkdir", "open", "write", "fsync", "rename", "close")
FAULTS: dict[str, Any] = {"disk full": errno.ENOSPC, "input/output error": errno.EIO, "read-only": errno.EROFS,
                          "the process ends": None}


class Ended(BaseException):
    """Stands for the end of the process."""


def failing() -> collections.Counter[tuple[str, str, bool]]:
    """(fault, call, whether the older or the newer checkpoint loads, whole): how often; and their table."""
    outcomes = collections.Counter[tuple[str, str, bool]]()
    with tempfile.TemporaryDirectory() as temporary:
        good, trial = Path(temporary) / "good", Path(temporary) / "trial"
        run = begin(next(iter(KINDS)))[0]
        # Each kind of leaf once: every file is written by the same calls.
        state = {"weight": run.params["dense1"]["weight"], "key": run.key, "step": run.step}
        checkpoint.save(good, 1, state)
        newer = state | {"step": state["step"] + 1}
        whole = {step: checkpoint.load(good).tree | {"step": step - 1} for step in (1, 2)}
        for step in (1, 2):  # over the checkpoint that is there, and beside it
            n = _attempt(good, trial, step, newer if step == 2 else state, None, None)[0]
            for fault, number in FAULTS.items():
                for at in range(n):
                    _, call = _attempt(good, trial, step, newer if step == 2 else state, at, number)
                    newest = checkpoint.load(trial)
                    is_whole = newest.step in whole and all(
                        same(leaf, whole[newest.step][path]) for path, leaf in newest.tree.items() if path != "step")
                    # And the next save goes through.
                    checkpoint.save(trial, 3, state)
                    outcomes[fault, call, is_whole and checkpoint.load(trial).step == 3] += 1
    rows = [(fault, *(f"{outcomes[fault, c, True]} of {outcomes[fault, c, True] + outcomes[fault, c, False]}"
                      for c in CALLS)) for fault in FAULTS]
    say(table(("a good checkpoint loads after", *CALLS), rows))
    return outcomes


def tally(outcomes: collections.Counter[tuple[str, str, bool]]) -> Tally:
    whole = sum(n for (*_, is_whole), n in outcomes.items() if is_whole)
    return Tally("calls of a save that fail", whole, 0, 0, sum(outcomes.values()) - whole)


def _attempt(good: Path, trial: Path, step: int, state: Any, at: int | None, number: int | None) -> tuple[int, str]:
    """Saves with call number `at` failing: (how many calls there were, the name of the one that failed)."""
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(good, trial)
    count, failed = 0, ""

    def wrapped(name: str) -> Any:
        real = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count, failed
            count += 1
            if at is not None and count - 1 == at:
                failed = name
                if name == "close":
                    real(*args)  # a file whose closing fails is closed
                raise Ended if number is None else OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        return call

    # A process that ends tidies nothing up.
    tidy = shutil.rmtree if number is not None else lambda *args, **kwargs: None
    system = mock.Mock(wraps=os, **{name: wrapped(name) for name in CALLS})
    for name in ("PathLike", "O_WRONLY", "O_CREAT", "O_EXCL", "O_RDONLY"):
        setattr(system, name, getattr(os, name))
    with mock.patch.object(checkpoint, "os", system), mock.patch.object(files, "os", system), \
            mock.patch.object(checkpoint.shutil, "rmtree", tidy):
        try:
            checkpoint.save(trial, step, state)
        except (OSError, Ended):
            pass
        else:
            assert at is None or not failed, f"save went on although {failed} failed"
    return count, failed
