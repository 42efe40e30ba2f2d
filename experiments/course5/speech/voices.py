"""Words by the voices of espeak-ng, a program that need not be there (Debian's package espeak-ng)."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxnn.audio import read_wav, resample

__all__ = ["VOICES", "installed", "spoken"]

PROGRAM = "espeak-ng"
LANGUAGES = ("en-gb", "en-us", "en-gb-scotland")
VOICES = tuple(f"{language}+{voice}" for language in LANGUAGES for voice in ("m1", "m2", "m3", "f1", "f2"))


def installed() -> bool:
    return shutil.which(PROGRAM) is not None


def spoken(words: Iterable[str], voices: Iterable[str], rate: int) -> list[np.ndarray]:
    """Each word by each voice, float32, at this rate.

    Raises:
      CalledProcessError: the program refuses a voice.
      BadFile: what it writes is no WAV file.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "word.wav")
        for word in words:
            for voice in voices:
                # In a file: what goes to a pipe has a size in its head that the program does not yet know.
                subprocess.run([PROGRAM, "-v", voice, "-w", str(path), "--", word], check=True, capture_output=True,
                               timeout=60)
                sound = read_wav(path)
                found.append(np.asarray(resample(padded(sound.mono), sound.rate, rate)))
    return found


def padded(x: np.ndarray, n: int = 2**15) -> np.ndarray:
    """With silence up to a multiple of n samples: one program for many lengths."""
    return np.pad(x, (0, -len(x) % n))
