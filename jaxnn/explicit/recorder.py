"""What an op does while a function is recorded: it hands itself to the recorder in place of computing its value."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["Recorder", "recorder", "recording"]

Recorder = Callable[[Any, tuple, dict[str, Any]], Any]  # (op, args, static) -> y
_RECORDER: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def recorder() -> Recorder | None:
    """What an op does in place of its value while a function is recorded; None at all other times."""
    return _RECORDER.get()


@contextmanager
def recording(recorder: Recorder | None) -> Iterator[None]:
    """Sets the recorder; None: ops compute their values."""
    token = _RECORDER.set(recorder)
    try:
        yield
    finally:
        _RECORDER.reset(token)
