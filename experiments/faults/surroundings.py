"""The surroundings that a run is tried in, by name."""

import errno
import functools
import os
import resource
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.faults.callers import (
    Closed,
    Terminal,
    between,
    configured,
    damaged,
    held,
    in_a_directory,
    in_a_thread,
    left_by_a_killed_run,
    measured,
    metrics_of,
    nan_batch,
    released,
    replaced_by_another_run,
    saved_alone,
    second_run,
    shown_on,
    tensorboard,
    terminated,
    to_another_directory,
    warnings_are_errors,
    watched,
)
from experiments.faults.disturbances import (
    Surroundings,
    failing_call,
    full_disk,
    holding,
    in_place,
    limited,
    named,
    one_after_another,
    raising,
    remove,
    restored,
    signalled,
    taken_away,
)

__all__ = ["ALL"]

WORDS = {"a file": "file", "a pipe": "pipe", "a socket": "socket", "a link to itself": "loop",
         "a link to nothing": "nothing", "a link to /dev/full": "/dev/full", "a link to /dev/zero": "/dev/zero"}
OTHER_KEY = {"configuration": {"key": 1}}
VALUES: tuple[Any, ...] = (
    float("inf"), float("-inf"), float("nan"), np.float32(0.1), np.int64(3), True, 10**300, 10**400, "0.5",
    None, 1j, [], np.ones(2), b"1", jax.numpy.bfloat16(1.5))

ALL: dict[str, Surroundings] = {
    "nothing": Surroundings(),
    # Where the directory is.
    "a directory that exists": Surroundings(before=lambda directory: directory.mkdir()),
    "a link to a directory": Surroundings(before=in_place("", "elsewhere")),
    **{f"{words} in its place": Surroundings(before=in_place("", kind), mend=taken_away("")) for words, kind in
       WORDS.items()},
    **{f"a directory called {name[:12]!r}": Surroundings(
        options=named(name), options_then=named(name)) for name in (
            "two words", "line\nline", "é\u200b漢字", "-rf", "*?[a]", "\udcff", "a" * 250, "step_00000001")},
    **{f"a directory called {name[:12]!r}, which cannot be": Surroundings(
        options=named(name)) for name in ("a" * 300, "a\0b")},
    "a directory in /proc": Surroundings(options=lambda directory: {"directory": Path("/proc/none/run")}),
    "a directory as text": Surroundings(options=lambda directory: {"directory": str(directory)}),
    "a working directory that is gone": Surroundings(around=lambda: in_a_directory(is_removed=True)),
    "a relative directory of a working directory that is gone": Surroundings(
        around=lambda: in_a_directory(is_removed=True), options=lambda directory: {"directory": "run"}),
    "a relative directory, and os.chdir": Surroundings(
        around=in_a_directory, options=lambda directory: {"directory": "run"}, during=to_another_directory),
    # What is in it before.
    **{f"metrics.jsonl is {words}": Surroundings(before=in_place("metrics.jsonl", kind), mend=taken_away(
        "metrics.jsonl")) for words, kind in {**WORDS, "a directory": "directory"}.items() if kind != "file"},
    **{f"lock is {words}": Surroundings(before=in_place("lock", kind), mend=taken_away("lock")) for words, kind in
       {**WORDS, "a directory": "directory"}.items() if kind != "/dev/zero"},
    **{f"best is {words}": Surroundings(before=in_place("best", kind), mend=taken_away("best")) for words, kind in
       WORDS.items()},
    "tensorboard is a file": tensorboard(before=in_place("tensorboard", "file"), mend=taken_away("tensorboard")),
    "a lock of a killed run": Surroundings(before=left_by_a_killed_run),
    "a lock of another run": Surroundings(before=held, mend=released),
    "what a killed save left, a file": Surroundings(before=holding(".writing_step_00000002", b"x")),
    "what a killed save left, a directory": Surroundings(before=in_place(".writing_step_00000002", "directory")),
    "step_00000002 is a file": Surroundings(before=holding("step_00000002", b"x"), mend=taken_away("step_00000002")),
    "step_00000009 is empty": Surroundings(before=in_place("step_00000009", "directory"),
                                           mend=taken_away("step_00000009")),
    "a checkpoint of save alone": Surroundings(before=saved_alone, mend=taken_away("")),
    "files of somebody else": Surroundings(before=in_place("notes", "directory")),
    **{f"metrics.jsonl begins {line[:12]!r}": Surroundings(before=holding("metrics.jsonl", line)) for line in (
        b'{"step": 1e400}\n', b"[" * 100_000 + b"\n", b"\0" * 100, b"x" * 10**7, b"\xff\xfe\n", b'{"step": 7}\n')},
    # What happens to it.
    **{f"{name or 'the directory'} removed": Surroundings(during=taken_away(name)) for name in (
        "", "best", "metrics.jsonl", "lock", "step_00000002")},
    "the directory removed, and a batch that raises": Surroundings(during=one_after_another(
        remove, raising(KeyError("name")))),
    **{f"{name or 'the directory'} becomes {words}": Surroundings(during=in_place(name, kind), mend=taken_away(name))
       for name in ("", "best", "metrics.jsonl")
       for words, kind in (("a file", "file"), ("a link to nothing", "nothing"))},
    "metrics.jsonl becomes a directory": Surroundings(during=in_place("metrics.jsonl", "directory"),
                                                      mend=taken_away("metrics.jsonl")),
    "the directory becomes another run's": Surroundings(
        during=replaced_by_another_run, mend=one_after_another(released, remove)),
    "the directory moved away": Surroundings(during=lambda directory: directory.rename(f"{directory}_moved") and None),
    # The disk.
    "no file can be written": full_disk(at_first=True),
    "a full disk": full_disk(),
    "a full disk, and a batch that raises": full_disk(raising(KeyError("name"))),
    "a full disk, and SIGTERM": full_disk(signalled(signal.SIGTERM)),
    "a full disk, and Ctrl-C": full_disk(signalled(signal.SIGINT)),
    "a full disk, and a metric that raises": full_disk(options=metrics_of(KeyError("name"))),
    "a full disk, and steps that diverge": full_disk(nan_batch, options=lambda directory: {"max_skipped": 1},
                                                     goes_on=False),
    "a full disk, and warnings that are errors": Surroundings(
        around=warnings_are_errors, during=limited(resource.RLIMIT_FSIZE, 16)),
    "no file can be opened": Surroundings(around=lambda: restored(resource.RLIMIT_NOFILE),
                                          during=limited(resource.RLIMIT_NOFILE, 0)),
    **{f"{name} fails, {os.strerror(number)}": Surroundings(around=failing_call(name, number)) for name, number in (
        ("fsync", errno.EIO), ("rename", errno.EROFS), ("mkdir", errno.EACCES), ("write", errno.EDQUOT),
        ("open", errno.ENFILE))},
    "TensorBoard on a full disk": tensorboard(),
    # The terminal.
    **{f"a terminal with {error}": shown_on(functools.partial(Terminal, error)) for error in (
        OSError(errno.EIO, "Input/output error"), BrokenPipeError(errno.EPIPE, "Broken pipe"),
        UnicodeEncodeError("ascii", "é", 0, 1, "no"))},
    "a terminal that is closed": shown_on(Closed),
    "no terminal": shown_on(lambda: None),
    "a terminal that is /dev/full": shown_on(lambda: open("/dev/full", "w", buffering=1)),  # noqa: SIM115
    # What metrics give.
    **{f"a watched metric of {value!r:.20}": watched(value) for value in VALUES},
    "a watched metric that is missing": Surroundings(options=metrics_of(lambda plain: {})),
    "metrics of a name of the record": Surroundings(options=metrics_of(lambda plain: {"error": plain, "step": 3})),
    "metrics that are a list": Surroundings(options=metrics_of(lambda plain: [plain])),
    **{f"another metric of {value!r:.20}": measured(value) for value in (float("inf"), "text", 10**400)},
    **{f"metrics that raise {type(error).__name__}": measured(error) for error in (
        ZeroDivisionError("none"), RecursionError("deep"), MemoryError("much"), StopIteration(), OSError(5, "none"))},
    # What batches do.
    **{f"a batch that raises {type(error).__name__}": Surroundings(during=raising(error)) for error in (
        KeyError("name"), StopIteration(), MemoryError("much"), OSError(5, "none"), RecursionError("deep"),
        ValueError("none"))},
    "a batch that ends the process": Surroundings(during=raising(SystemExit(5)), raises=SystemExit),
    "a batch that is interrupted": Surroundings(during=raising(KeyboardInterrupt()), raises=KeyboardInterrupt),
    "a batch of other shapes": Surroundings(during=lambda directory: (np.zeros((3, 8), np.float32), np.zeros(2, int))),
    "a batch that is none": Surroundings(during=lambda directory: 7),
    "steps that diverge": Surroundings(during=nan_batch, options=lambda directory: {"max_skipped": 1}, goes_on=False),
    # How it is called.
    "SIGTERM": Surroundings(during=signalled(signal.SIGTERM)),
    "Ctrl-C": Surroundings(during=signalled(signal.SIGINT)),
    "SIGTERM, and a batch that raises": Surroundings(during=signalled(signal.SIGTERM, KeyError("name"))),
    "SIGTERM in metrics": Surroundings(options=metrics_of(terminated)),
    "a second run, meanwhile": Surroundings(during=lambda directory: second_run(directory)),
    "in a thread": Surroundings(call=in_a_thread),
    # What becomes of a run between two calls.
    "called again": between(),
    "the newest checkpoint damaged": between(damaged("step_00000004/0000.bin")),
    "all checkpoints damaged": between(damaged("step_*/0000.bin"), is_refused=True),
    "the newest left as .old": between(lambda directory: (directory / "step_00000004").rename(
        directory / "step_00000004.old") and None),
    "best gone": between(taken_away("best")),
    "best damaged": between(damaged("best/step_*/0000.bin")),
    **{f"best is {words} then": between(in_place("best", kind)) for words, kind in WORDS.items()},
    "metrics.jsonl gone": between(taken_away("metrics.jsonl")),
    "metrics.jsonl torn": between(damaged("metrics.jsonl")),
    **{f"a configuration of {value!r}": between(
        then=configured(value), is_refused=True)
       for value in (["rate"], "text", {1: 2}, {"a": float("inf")}, {"rate": 0.1})},
}
