"""Killed with -9 at random moments and started again: is it the run that was never interrupted?

Of each kind an uninterrupted run keeps its state at every step. Others are killed and started again until
they end; after each kill the newest good checkpoint is compared with the uninterrupted run's state at its
step, bit for bit: parameters, optimiser state, running statistics, key, step.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults.outcomes import Tally, same
from experiments.faults.runs import KINDS, STEPS
from experiments.shared.run import say, table
from jaxnn.training import checkpoint

__all__ = ["Killed", "kill", "started", "tally"]

SAVE_EVERY = 2
ROOT = Path(__file__).parents[2]
# As at a terminal: what a shell starts in the background ignores Ctrl-C.
BEGIN = ("import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
         "runpy.run_module('experiments.faults.runs', run_name='__main__', alter_sys=True)")


class Killed(NamedTuple):
    """One kill: the checkpoint's step after it (None: there was none yet), whether it hit a save, and
    whether that checkpoint is the uninterrupted run's, bit for bit."""

    kind: str
    step: int | None
    in_save: bool
    is_equal: bool


def kill(n: int, seed: int, jobs: int = 2, steps: int = STEPS, kinds: tuple[str, ...] = tuple(KINDS)) -> list[Killed]:
    """n kills, dealt over the kinds, and their table."""
    shares = [(name, n // len(kinds) + (i < n % len(kinds))) for i, name in enumerate(kinds)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(
            lambda i: _kind(*shares[i], Path(folder) / str(i), seed + i, steps), range(len(shares))))
    killed = [k for result in results for k in result]
    rows = []
    for name in (*kinds, "all"):
        of_kind = [k for k in killed if name in (k.kind, "all")]
        rows.append((name, len(of_kind), sum(k.in_save for k in of_kind), sum(k.step is None for k in of_kind),
                     f"{sum(k.is_equal for k in of_kind)} of {len(of_kind)}"))
    say(table(("killed with -9", "kills", "in a save", "before any", "equal bit for bit"), rows))
    return killed


def tally(killed: list[Killed]) -> Tally:
    whole = sum(k.is_equal for k in killed)
    return Tally("runs killed with -9", whole, 0, 0, len(killed) - whole)


def _kind(name: str, n: int, folder: Path, seed: int, steps: int) -> list[Killed]:
    chance, whole, killed = random.Random(seed), folder / "whole", list[Killed]()
    _end(started(name, whole, steps, keep=steps))
    run = 0
    while len(killed) < n:
        directory = folder / f"run_{run}"
        ended = had_one = False
        while len(killed) < n and not ended:
            process = started(name, directory, steps, keep=3)
            ended = not _interrupt(process, directory, chance)
            in_save = any(directory.glob("**/.writing_*"))
            if not ended:
                step, is_equal = _compare(directory, whole)
                is_equal = is_equal and (step is not None or not had_one)
                had_one = step is not None
                killed.append(Killed(name, step, in_save, is_equal))
        run += 1
    return killed


def started(name: str, directory: Path, steps: int, keep: int) -> Any:
    """The process of a run, which has begun."""
    command = [sys.executable, "-c", BEGIN, name, str(directory), "--steps", str(steps),
               "--save-every", str(1 if keep == steps else SAVE_EVERY), "--keep", str(keep)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(_cache(directory)),
                                              "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"})


def _cache(directory: Path) -> Path:
    """Where the runs of a kind find what one of them has compiled."""
    return directory.parent / "compiled"


def _interrupt(process: Any, directory: Path, chance: random.Random) -> bool:
    """Kills the process somewhere in its training, now and then as it starts; False if the training had ended."""
    log = directory / "metrics.jsonl"
    before = _size(log)
    if chance.random() < 0.05:
        time.sleep(chance.uniform(0, 2))
    else:
        # The first new line of the log shows that the training has begun.
        while process.poll() is None and (_size(log) <= before or log.read_bytes().count(b"\n") < 2):
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.4))
    process.send_signal(signal.SIGKILL)
    return _end(process) == -signal.SIGKILL


def _end(process: Any) -> int:
    errors = process.communicate()[1]
    if process.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(f"a run ended by itself with status {process.returncode}:\n{errors}")
    return int(process.returncode)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _compare(directory: Path, whole: Path) -> tuple[int | None, bool]:
    if not directory.is_dir() or not checkpoint.steps_in(directory):
        return None, True  # nothing was saved, so nothing can be lost
    newest = checkpoint.load(directory)
    expected = checkpoint.load(whole, step=newest.step)
    return newest.step, newest.tree.keys() == expected.tree.keys() and all(
        same(leaf, expected.tree[path]) for path, leaf in newest.tree.items())
