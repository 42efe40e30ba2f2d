"""Where the time of a comparison goes, by route: seconds of tracing, of waiting for the compiler, and of the rest."""

import contextlib
import contextvars
import time
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Time", "note", "route", "timed"]


class Time(NamedTuple):
    """The seconds of one route. What serves several routes, a program say, counts for the one that runs first."""

    route: str
    tracing: float
    """In Python, by JAX: what makes a program of a function."""
    compiling: float
    """Waited for programs; they are compiled beside the tracing of others."""
    running: float
    """All else: the programs themselves, and what is done with their results."""
    programs: int
    """How many programs were compiled."""

    @property
    def total(self) -> float:
        return self.tracing + self.compiling + self.running


class _Clock:
    def __init__(self) -> None:
        self.times: dict[str, Time] = {}
        self.open: list[str] = []
        self.since = time.perf_counter()

    def credit(self) -> None:
        """The seconds since the last call are those of the route that is open."""
        now = time.perf_counter()
        if self.open:
            self.add(self.open[-1], running=now - self.since)
        self.since = now

    def add(self, name: str, tracing: float = 0.0, compiling: float = 0.0, running: float = 0.0,
            programs: int = 0) -> None:
        old = self.times.get(name, Time(name, 0.0, 0.0, 0.0, 0))
        self.times[name] = Time(name, old.tracing + tracing, old.compiling + compiling, old.running + running,
                                old.programs + programs)


_CLOCK: contextvars.ContextVar[_Clock | None] = contextvars.ContextVar("clock", default=None)


@contextlib.contextmanager
def timed(times: list[Time]) -> Iterator[None]:
    """Measures what is done inside, and appends the times of its routes."""
    clock = _Clock()
    token = _CLOCK.set(clock)
    try:
        yield
    finally:
        _CLOCK.reset(token)
        times += clock.times.values()


@contextlib.contextmanager
def route(name: str) -> Iterator[None]:
    """What is done inside belongs to this route, but for what belongs to a route opened inside."""
    clock = _CLOCK.get()
    if clock is None:
        yield
        return
    clock.credit()
    clock.open.append(name)
    try:
        yield
    finally:
        clock.credit()
        clock.open.pop()


def note(tracing: float = 0.0, compiling: float = 0.0, programs: int = 0) -> None:
    """Of the seconds of the route that is open, those just spent on tracing and on waiting for the compiler."""
    clock = _CLOCK.get()
    if clock is not None and clock.open:
        clock.add(clock.open[-1], tracing, compiling, -tracing - compiling, programs)
