"""Requests to stop: SIGTERM, SIGHUP and Ctrl-C take effect between two steps, in all processes at the same one."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

__all__ = ["Interrupted", "StopRequests"]

# SIGHUP comes when the terminal is closed or its connection is lost; Windows has none.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(SystemExit):
    """Training stopped at a signal, and saved its train state if it could. Not caught, this ends the process quietly,
    with 128 + the signal's number as its status.

    train_state, history: up to the last step taken; is_saved: whether they are in the run's directory.
    """

    def __init__(self, name: str, train_state: Any, history: Any, is_saved: bool):
        super().__init__(128 + signal.Signals[name])
        self.name, self.train_state, self.history, self.is_saved = name, train_state, history, is_saved


class StopRequests:
    """Within this context SIGTERM, SIGHUP and Ctrl-C are noted and do not end the process; a second Ctrl-C does. One
    that the process ignores stays ignored, as SIGHUP is under nohup.

    With several processes JAX passes a SIGTERM that one receives on to all, and finds the first step that none
    has done yet. SIGHUP and Ctrl-C are turned into a SIGTERM.
    """

    def __init__(self) -> None:
        self._signal: str | None = None
        self._handlers: dict[int, Any] = {}
        self._calls = 0

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            numbers = [n for n in SIGNALS if n != signal.SIGTERM or jax.process_count() == 1]
            # A shell starts what runs in the background with Ctrl-C ignored: it is meant for another program.
            self._handlers = {number: signal.signal(number, self._note) for number in numbers
                              if signal.getsignal(number) is not signal.SIG_IGN}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._handlers[signal.SIGINT])
        if jax.process_count() > 1:
            os.kill(os.getpid(), signal.SIGTERM)  # which JAX passes on

    @property
    def noted(self) -> str | None:
        """The name of the signal that this process has received, if there was one."""
        return self._signal

    def pending(self) -> str | None:
        """The name of the signal at which to stop, if there was one. All processes call this equally often, and
        get the name at the same call."""
        self._calls += 1
        if jax.process_count() > 1:
            return "SIGTERM" if multihost_utils.reached_preemption_sync_point(self._calls) else None
        return self._signal
