"""Files of data and weights, mutated: does a reader crash, hang, take memory without end or give a stranger's error?

Whole files of each format are mutated, or made to exhaust the memory, and read in a process whose address space is
capped. The only right outcomes: an error of jaxnn's own, or arrays, where what is left of the file is one of its kind.
Most formats (IDX, HDF5, safetensors, WAV, MIDI, word vectors, Darknet's weights) have no checksum of their data, so
that a pixel, a sample or a number that is changed cannot be found.
"""

import collections
import contextlib
import errno
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.faults.outcomes import Tally
from experiments.shared.run import progress, say, table

__all__ = ["VERDICTS", "files"]

ROOT = Path(__file__).parents[2]
SECONDS = 60  # after which a read counts as a wait without end
MEMORY = 2**29  # that the reading process may take beyond what it has when all its libraries are loaded
MOST_ARRAYS = 2**27  # bytes of the arrays that a file of a few kilobytes may give
VERDICTS = ("arrays", "own error", "foreign error", "out of memory", "crash", "hang")


def files(n: int, seed: int, formats: Sequence[str] = ()) -> Tally:
    """n mutations, dealt over the formats and the kinds, and the table of what the readers did."""
    outcomes, bad = collections.Counter[tuple[str, str]](), list[str]()
    with tempfile.TemporaryDirectory() as temporary:
        done = 0
        steps = iter(progress(range(n), "file"))
        while done < n:
            errors = Path(temporary) / "errors"
            with errors.open("wb") as stderr, _started(Path(temporary), seed, done, n, formats, stderr) as process:
                begun = ""
                for line in _lines(process):
                    word, _, text = line.partition(" ")
                    if word == "reads":
                        begun = text
                    elif word == "is":
                        verdict, _, text = text.partition(" ")
                        _count(outcomes, bad, done, begun, verdict.replace("_", " "), text)
                        done, begun = done + 1, ""
                        next(steps, None)
            if done < n:
                if not begun:
                    raise RuntimeError(f"the reading process ended by itself: {errors.read_text()[-2000:]}")
                _count(outcomes, bad, done, begun, "hang" if process.returncode == -9 else "crash",
                       f"status {process.returncode}")
                done += 1
                next(steps, None)
    names = sorted({name for name, _ in outcomes})
    total = [sum(outcomes[name, v] for name in names) for v in VERDICTS]
    say(table(("format", *VERDICTS), [*((name, *(outcomes[name, v] for v in VERDICTS)) for name in names),
                                      ("all", *total)]))
    for text in bad[:20]:
        say(text)
    return Tally("files of data and weights", total[0], total[1], sum(total[2:]), 0)


def _count(outcomes: collections.Counter[tuple[str, str]], bad: list[str], number: int, what: str, verdict: str,
           text: str) -> None:
    name, mutation = what.split("; ")
    outcomes[name, verdict] += 1
    if verdict not in VERDICTS[:2]:
        bad.append(f"{verdict}: number {number}, {name}, {mutation}: {text}")


def _started(folder: Path, seed: int, first: int, n: int, formats: Sequence[str], stderr: Any) -> Any:
    command = [sys.executable, "-c", "from experiments.faults.files import _read_all; "
               f"_read_all({str(folder)!r}, {seed}, {first}, {n}, {list(formats)!r})"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True,
                            env=os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"})


def _lines(process: Any) -> Any:
    """What the process writes; it is killed where it writes nothing for too long."""
    while True:
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        line = process.stdout.readline()
        timer.cancel()
        if not line:
            process.wait()
            return
        yield line.rstrip("\n")


# In the process that reads.


def _read_all(folder: str, seed: int, first: int, n: int, chosen: Sequence[str]) -> None:
    from experiments.faults.formats import FORMATS
    from experiments.faults.mutations import MUTATIONS, mutated

    formats = {name: FORMATS[name] for name in chosen or FORMATS}
    place = Path(folder)
    good = {name: list(f.make(place)) for name, f in formats.items()}
    everything = [data for each in good.values() for data in each]
    target = place / "file"
    for name, f in formats.items():  # all libraries are loaded before the memory is measured
        for data in good[name]:
            target.write_bytes(data)
            _expect_arrays(f.read(target))
    kinds = [*MUTATIONS, "made to exhaust memory"]
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    for i in range(first, n):
        chance = random.Random(f"{seed} {i}")
        name = list(formats)[i % len(formats)]
        kind = kinds[i // len(formats) % len(kinds)]
        data = (formats[name].bombs(place, chance) if kind == kinds[-1]
                else mutated(chance.choice(good[name]), chance, everything, kind))
        target.write_bytes(data)
        print(f"reads {name}; {kind}", flush=True)
        verdict, text = _verdict(formats[name].read, target)
        print(f"is {verdict.replace(' ', '_')} {text}", flush=True)


def _verdict(read: Any, target: Path) -> tuple[str, str]:
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _expect_arrays(read(target))
    except BaseException as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        causes: list[Any] = [error]
        while causes[-1].__cause__ or causes[-1].__context__:
            causes.append(causes[-1].__cause__ or causes[-1].__context__)
        if any(map(_is_out_of_memory, causes)):
            return "out of memory", text
        return ("own error" if type(error).__module__.startswith("jaxnn") else "foreign error"), text
    return "arrays", ""


def _is_out_of_memory(error: BaseException) -> bool:
    """By the error's type and code: the message of a reader that refuses too large a file speaks of memory too."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return str(error).startswith("RESOURCE_EXHAUSTED")  # XLA's code, which stands in front of its text
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)


def _expect_arrays(value: Any) -> None:
    """Arrays of numbers of a size that such a file may have."""
    arrays = [np.asarray(leaf) for leaf in jax.tree.leaves(value) if not isinstance(leaf, str)]
    if not arrays or any(a.dtype.hasobject for a in arrays) or sum(a.nbytes for a in arrays) > MOST_ARRAYS:
        raise AssertionError(f"arrays {[(a.dtype, a.shape) for a in arrays]}")
