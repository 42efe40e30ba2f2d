"""Files and directories that a process may be killed beside: whole or not there, whenever it happens."""

import os
import shutil
import tempfile
from pathlib import Path

from jaxnn.checks import InputError, expect

__all__ = ["expect_no_file", "flush", "make", "put", "write"]


def expect_no_file(who: str, directory: Path) -> None:
    """Raises InputError where there is something else than a directory in its place."""
    # os.path tells of a name that cannot be that there is nothing; Path raises an error.
    expect(not os.path.exists(directory) or os.path.isdir(directory), who, "a directory for checkpoints",
           f"the file {directory}", "name another place")


def make(directory: Path) -> None:
    """Makes a directory, and makes sure that it can be written to."""
    expect_no_file("prepare", directory)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError("prepare", f"expects a directory that can be written to; got {directory} "
                         f"({error.strerror}); name another place") from error


def write(path: Path, data: bytes) -> None:
    """A new file, which is on the disk when this returns."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest):]  # one call writes 2 GB at most
        os.fsync(file)
    finally:
        os.close(file)


def flush(directory: Path) -> None:
    """What is in the directory is on the disk, not only in the system's memory."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def put(beside: Path, final: Path) -> None:
    """Renames; an existing checkpoint is kept, under a name that `load` knows, until the new one has its name."""
    old = final.with_name(final.name + ".old")
    if not final.exists():
        os.rename(beside, final)
        return
    shutil.rmtree(old, ignore_errors=True)
    os.rename(final, old)
    try:
        os.rename(beside, final)
    except OSError:
        os.rename(old, final)
        raise
    flush(final.parent)
    shutil.rmtree(old, ignore_errors=True)
