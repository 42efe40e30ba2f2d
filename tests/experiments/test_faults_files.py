"""The campaign against the readers of files, small, by the same code as the command."""

import errno
import random

import jax
import numpy as np
import pytest

from experiments.faults import files as campaign
from experiments.faults.command import faults
from experiments.faults.formats import FORMATS
from experiments.faults.mutations import MUTATIONS, mutated
from jaxnn.checks import InputError

pytest.importorskip("h5py")
pytest.importorskip("safetensors")
pytest.importorskip("PIL")


def test_every_reader_refuses_or_reads(capsys):
    n = len(FORMATS) * (len(MUTATIONS) + 1)  # each format with each kind of mutation
    tally = campaign.files(n, seed=1)
    shown = capsys.readouterr().out
    assert (tally.tried, tally.foreign, tally.wrong) == (n, 0, 0), shown
    assert tally.refused > 80 and tally.whole > 10
    assert all(name in shown for name in FORMATS)


def test_an_unknown_format_is_refused_with_the_names_of_the_others(capsys):
    with pytest.raises(SystemExit):
        faults(["files", "-n", "1", "--formats", "WAV", "MP3"])
    assert "--formats expects formats among safetensors, " in (text := capsys.readouterr().err)
    assert "WAV, MIDI" in text and "got 'MP3'" in text


@pytest.mark.parametrize("name", MUTATIONS)
def test_mutations_change_a_file(name):
    data, others = bytes(range(200)), [b"another file"]
    changed = [mutated(data, random.Random(i), others, name) != data for i in range(20)]
    assert sum(changed) >= 12
    assert mutated(data, random.Random(3), others, name) == mutated(data, random.Random(3), others, name)


@pytest.mark.parametrize(("value", "verdict"), [
    (lambda path: np.ones(3), "arrays"), (lambda path: refused(), "own error"), (lambda path: {}["x"], "foreign error"),
    (lambda path: 1 / 0, "foreign error"), (lambda path: hidden(), "out of memory"),
    (lambda path: raised(InputError("a reader", "expects a file that fits into memory")), "own error"),
    (lambda path: raised(OSError(errno.ENOMEM, "Cannot allocate memory")), "out of memory"),
    (lambda path: raised(OSError(errno.ENOENT, "No memory of such a file")), "foreign error"),
    (lambda path: raised(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")), "out of memory"),
    (lambda path: np.array([None]), "foreign error"),
    (lambda path: np.broadcast_to(np.float64(0), 2**30), "foreign error")])
def test_verdicts(value, verdict, tmp_path):
    """Memory that ran out counts, even behind an error of jaxnn's own; the word in a message does not."""
    assert campaign._verdict(value, tmp_path)[0] == verdict


def refused():
    raise InputError("a reader", "expects another file")


def raised(error):
    raise error


def hidden():
    try:
        raise MemoryError
    except MemoryError as error:
        raise InputError("a reader", "expects another file") from error


CRASH = "import os, sys; print('reads PNG; cut off', flush=True); {}"


@pytest.mark.parametrize(("end", "verdict"), [("os.abort()", "crash"), ("import time; time.sleep(60)", "hang")])
def test_a_crash_and_a_hang_would_be_counted(end, verdict, monkeypatch, capsys):
    real = campaign._started

    def started(folder, seed, first, n, formats, stderr):
        import subprocess
        import sys
        if first > 0:
            return real(folder, seed, first, n, formats, stderr)
        return subprocess.Popen([sys.executable, "-c", CRASH.format(end)], stdout=subprocess.PIPE,
                                stderr=stderr, text=True)

    monkeypatch.setattr(campaign, "_started", started)
    monkeypatch.setattr(campaign, "SECONDS", 3 if verdict == "hang" else 60)
    tally = campaign.files(1, seed=0)
    assert (tally.foreign, tally.tried) == (1, 1)
    assert f"{verdict}: number 0, PNG, cut off" in capsys.readouterr().out
