"""Sent a signal that asks it to stop, at a random moment: does a run end with the signal's status, and lose no step?

A run in a process of its own gets SIGTERM, SIGHUP or Ctrl-C as it starts, while it trains, or as it ends. Its exit
status must be 128 + the signal's number, or the run must be complete; before `fit` is called, any other but 0 will do.
A run that is complete although the signal came as it started has lost the signal: Python must have said so. Then it is
called again, and must end as the undisturbed run, bit for bit.
"""

import random
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults.kill import started
from experiments.faults.outcomes import Tally, same
from experiments.shared.run import say, table
from jaxnn.training import checkpoint

__all__ = ["MOMENTS", "Signalled", "signals", "tally"]

KIND, STEPS = "dense, dropout, Adam", 60
MOMENTS = ("as it starts", "while it trains", "as it ends")
# What Python writes of a Ctrl-C that it drops: one inside of JAX's callback of the garbage collector, say.
IGNORED = "Exception ignored in"
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Signalled(NamedTuple):
    """One signal. status: of the process, 128 + n where a signal n ended it; step: the newest checkpoint after it, None
    where there is none; is_right: as the module's docstring asks."""

    name: str
    moment: str
    status: int
    step: int | None
    is_right: bool


def signals(n: int, seed: int, jobs: int = 2, moments: tuple[str, ...] = MOMENTS) -> list[Signalled]:
    """n signals, dealt over the moments and the kinds, and their table."""
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        whole = Path(folder) / "whole"
        _finished(started(KIND, whole, STEPS, keep=STEPS))
        sent = list(pool.map(lambda i: _one(i, moments[i // len(NUMBERS) % len(moments)], Path(folder), whole,
                                            random.Random(f"{seed} {i}")), range(n)))
    rows = []
    for name in (s.name for s in NUMBERS):
        for moment in moments:
            of_kind = [s for s in sent if (s.name, s.moment) == (name, moment)]
            statuses = sorted({s.status for s in of_kind})
            right = f"{sum(s.is_right for s in of_kind)} of {len(of_kind)}"
            rows.append((f"{name}, {moment}", len(of_kind), " ".join(map(str, statuses)),
                         sum(s.step == STEPS for s in of_kind), right))
    say(table(("signal", "sent", "exit statuses", "run complete", "right"), rows))
    return sent


def tally(sent: list[Signalled]) -> Tally:
    right = sum(s.is_right for s in sent)
    return Tally("SIGTERM, SIGHUP and Ctrl-C", right, 0, 0, len(sent) - right)


def _one(i: int, moment: str, folder: Path, whole: Path, chance: random.Random) -> Signalled:
    number = NUMBERS[i % len(NUMBERS)]
    directory = folder / str(i)
    process = started(KIND, directory, STEPS, keep=3)
    _wait(process, directory, moment, chance)
    was_complete = max(checkpoint.steps_in(directory), default=None) == STEPS
    process.send_signal(number)
    errors = process.communicate()[1]
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    step = max(checkpoint.steps_in(directory), default=None)
    is_expected = status == 128 + number or (status == 0 and step == STEPS and (
        was_complete or moment != "as it starts" or IGNORED in errors))
    # Before fit is called, Python and JAX answer as they do: NumPy and JAX end with other statuses while they are
    # imported.
    is_expected = is_expected or (status != 0 and not (directory / "metrics.jsonl").exists())
    _finished(started(KIND, directory, STEPS, keep=3))
    ended, expected = (checkpoint.load(d, step=STEPS).tree for d in (directory, whole))
    is_equal = all(same(leaf, expected[path]) for path, leaf in ended.items())
    if not (is_expected and is_equal):
        say(f"{number.name}, {moment}: status {status}, step {step}, equal: {is_equal}\n{errors}")
    return Signalled(number.name, moment, status, step, is_expected and is_equal)


def _wait(process: Any, directory: Path, moment: str, chance: random.Random) -> None:
    log = directory / "metrics.jsonl"

    def n_records() -> int:
        return log.read_bytes().count(b"\n") if log.exists() else 0

    if moment == "as it starts":  # importing, compiling, the first steps
        time.sleep(chance.uniform(0, 6))
        return
    n = chance.randrange(1, STEPS // 2 - 2) if moment == "while it trains" else STEPS // 2
    while process.poll() is None and n_records() < n:
        time.sleep(0.0005)
    time.sleep(chance.uniform(0, 0.02))


def _finished(process: Any) -> None:
    errors = process.communicate()[1]
    if process.returncode != 0:
        raise RuntimeError(f"a run ended by itself with status {process.returncode}:\n{errors}")
