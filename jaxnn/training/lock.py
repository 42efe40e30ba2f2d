"""One run in a directory at a time: a file that its process holds locked, and that names the process and its host.

The system releases the lock when the process ends, however it ends, so that a killed run leaves none in the way.
Where a file system knows no locks, and where a process that a killed run has forked still holds its lock, the
process id and the host in the file decide.
"""

import contextlib
import json
import os
import socket
from pathlib import Path
from types import ModuleType

from jaxnn.checks import InputError

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

__all__ = ["Lock"]

NAME = "lock"
MOST = 1000  # bytes of such a file that are read


class Lock:
    """The lock of a directory; `take` takes it, and `release` gives it back and removes the file."""

    def __init__(self, directory: Path):
        self.path = directory / NAME
        self._file: int | None = None

    def take(self) -> None:
        """Takes the lock, which lasts while this process lives.

        Raises:
          InputError: another run has it; the message names its process.
          OSError: the directory cannot be written to.
        """
        for _ in range(100):  # the file may be removed by its holder between the two calls
            try:
                if self._try_to_take():
                    return
            except OSError as error:
                if not os.path.lexists(self.path) or (self.path.is_file() and not self.path.is_symlink()):
                    raise
                raise InputError("fit", f"expects a file as {self.path}, or none; got something else "
                                 f"({error.strerror}); move it away") from error
        raise InputError("fit", f"expects a directory that no other run uses; got {self.path}, which changes all the "
                         "time; name another directory")

    def is_held(self) -> bool:
        """Whether the file in the directory is still the one that was locked."""
        return self._file is not None and _is_same(self._file, self.path)

    def release(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                if self.is_held():
                    os.unlink(self.path)
            with contextlib.suppress(OSError):
                os.close(self._file)
            self._file = None

    def _try_to_take(self) -> bool:
        # O_NONBLOCK: a pipe of this name would be waited for. O_NOFOLLOW: a link may lead to anybody's file.
        flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | flags, 0o644)
        try:
            is_locked = _lock(file)
            if not is_locked:
                host, process = _holder(file)
                is_left = host == socket.gethostname() and process is not None and not _is_alive(process)
                if is_locked is False and not is_left:
                    raise self._refusal(host, process)
                if is_locked is None and host is not None and not is_left and process != os.getpid():
                    raise self._refusal(host, process)
                if is_left:
                    os.unlink(self.path)
                    return False
            if not _is_same(file, self.path):
                return False
            text = json.dumps({"host": socket.gethostname(), "process": os.getpid()}).encode()
            with contextlib.suppress(OSError):  # on a full disk the lock holds without its text
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
                os.write(file, text)
            self.release()
            self._file, file = file, -1
            return True
        finally:
            if file >= 0:
                os.close(file)

    def _refusal(self, host: str | None, process: int | None) -> InputError:
        name = f"process {process} on {host}" if host is not None else "another process"
        return InputError("fit", f"expects a directory that no other run uses; got {self.path.parent}, used by {name}; "
                          f"wait for its end or name another directory (if it has ended, remove {self.path})")


def _lock(file: int) -> bool | None:
    """Whether the lock was free, and is now taken; None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # the file system has no locks
        return None
    return True


def _holder(file: int) -> tuple[str | None, int | None]:
    """Host and process in the file; None, None where it holds something else, or nothing yet."""
    try:
        os.lseek(file, 0, os.SEEK_SET)
        holder = json.loads(os.read(file, MOST))
        return str(holder["host"]), int(holder["process"])
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None, None


def _is_alive(process: int) -> bool:
    if os.name == "nt":
        return True  # there the call below would end it
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return process > 0


def _is_same(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except OSError:
        return False
