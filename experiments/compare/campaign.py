"""A campaign: every checker on every mutant of an op at a size, one op after another or in several processes.

What is found of one op at one size is an Outcome. Outcomes do not depend on one another, so a campaign may stop after
any of them and go on later (`experiments.compare.finished`).
"""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from typing import Any, NamedTuple

import jax

from experiments.catalogue import SIZES, find
from experiments.compare.checkers import CHECKERS, has_torch
from experiments.compare.point import Point
from experiments.shared.run import say
from jaxnn.checks import InputError
from jaxnn.gradients.remark import one_line

__all__ = ["Failure", "Outcome", "Task", "campaign", "checkers_at_hand", "interruptible", "outcome_of", "tasks_of"]


class Task(NamedTuple):
    op: str
    size: str


class Outcome(NamedTuple):
    """The verdicts on one op at one size."""

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


class Failure(NamedTuple):
    """An op that could not be judged at a size: an exception that no checker should raise."""

    op: str
    size: str
    error: str


Results = Generator[Outcome | Failure, None, None]


def tasks_of(ops: Sequence[str], sizes: Sequence[str]) -> list[Task]:
    """Each op at each size, the small sizes first: if the campaign is interrupted, as much as can be is finished.

    Raises:
      InputError: a name that is not known.
    """
    _expect_known("--sizes", sizes, SIZES)
    for name in ops:
        find(name)
    return [Task(op, size) for size in SIZES if size in sizes for op in dict.fromkeys(ops)]


def checkers_at_hand(names: Sequence[str] | None = None) -> list[str]:
    """The checkers of these names, of all for None; PyTorch's are left out, with a word, where PyTorch is missing.

    Raises:
      InputError: a name that is not known.
    """
    known = [checker.name for checker in CHECKERS]
    _expect_known("--checkers", known if names is None else names, known)
    chosen = [name for name in known if names is None or name in names]
    of_torch = {checker.name for checker in CHECKERS if checker.needs_torch}
    if of_torch & set(chosen) and not has_torch():
        say("PyTorch is not installed: torch.autograd.gradcheck is left out; install jaxnn[parity] for it")
        chosen = [name for name in chosen if name not in of_torch]
    return chosen


def _expect_known(option: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise InputError(option, f"expects names among {', '.join(known)}; got {name!r}")
    if not names:
        raise InputError(option, f"expects at least one name among {', '.join(known)}; got none")


def campaign(tasks: Sequence[Task], checkers: Sequence[str], jobs: int = 1) -> Results:
    """What the checkers find, task by task, in the order in which the tasks end.

    An exception ends its task only. When the iterator is closed, or interrupted, the other processes are ended too.

    Args:
      tasks: of `tasks_of`.
      checkers: of `checkers_at_hand`.
      jobs: processes side by side, at least 1.
    Raises:
      concurrent.futures.process.BrokenProcessPool: a process was killed, for want of memory say.
    """
    return _in_turn(tasks, checkers) if jobs == 1 else _side_by_side(tasks, checkers, jobs)


def _in_turn(tasks: Sequence[Task], checkers: Sequence[str]) -> Results:
    for task in tasks:
        yield _attempt(task, checkers)


def _side_by_side(tasks: Sequence[Task], checkers: Sequence[str], jobs: int) -> Results:
    others = set(multiprocessing.active_children())
    # Not by fork: JAX has threads.
    pool = concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _follow_the_first)
    try:
        for done in concurrent.futures.as_completed([pool.submit(_attempt, task, checkers) for task in tasks]):
            yield done.result()
    finally:
        # At the end no process has work left. At an interruption, each would first end a task of minutes.
        processes = set(multiprocessing.active_children()) - others
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _follow_the_first() -> None:
    """In each process of the pool: Ctrl-C reaches every process of a terminal, and the first alone decides what is done
    about it; when the first is killed, there is nobody left to judge for."""
    def end_with(first: Any) -> None:
        first.join()
        os._exit(1)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()


def _attempt(task: Task, checkers: Sequence[str]) -> Outcome | Failure:
    try:
        return outcome_of(*task, checkers)
    except Exception as error:
        return Failure(*task, one_line(error))


def outcome_of(op: str, size: str, checkers: Sequence[str]) -> Outcome:
    """The checkers on all mutants of one op at one size."""
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


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt inside, also where a shell has started the process with SIGINT
    ignored, as it does in the background."""
    signals = signal.SIGINT, signal.SIGTERM
    before = [signal.signal(number, signal.default_int_handler) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
