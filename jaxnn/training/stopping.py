"""Being asked to stop: SIGTERM and Ctrl-C are heard between two steps, by all processes at the same one."""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

__all__ = ["Interrupted", "StopRequests"]


class Interrupted(SystemExit):
    """Training was asked to stop and has saved what it had. Not caught, it ends the process quietly, with
    128 + the signal's number as its status.

    state, history: as far as training has come.
    """

    def __init__(self, name: str, state: Any, history: Any):
        super().__init__(128 + signal.Signals[name])
        self.name, self.state, self.history = name, state, history


class StopRequests:
    """While it is entered, SIGTERM and Ctrl-C do not end the process but are noted; a second Ctrl-C does.

    With several processes JAX passes a SIGTERM that one gets on to all, and finds the first step that none
    has done yet; Ctrl-C takes the same way.
    """

    def __init__(self) -> None:
        self._name: str | None = None
        self._before: dict[int, Any] = {}
        self._times = 0

    def __enter__(self) -> "StopRequests":
        if threading.current_thread() is threading.main_thread():  # Python allows it nowhere else
            heard = [signal.SIGINT] if jax.process_count() > 1 else [signal.SIGINT, signal.SIGTERM]
            self._before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._name = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
            if jax.process_count() > 1:
                os.kill(os.getpid(), signal.SIGTERM)  # which JAX hears, and passes on

    def asked(self) -> str | None:
        """The name of the signal after which to stop now. To be called as often by all processes: it is
        the same call at which all of them get it."""
        self._times += 1
        if jax.process_count() > 1:
            return "SIGTERM" if multihost_utils.reached_preemption_sync_point(self._times) else None
        return self._name
