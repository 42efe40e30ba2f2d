"""Spoken digits, real or made here, and what a network is given of a sound."""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.shared.data import real_or_embedded
from jaxnn.audio import log_mel, resample
from jaxnn.data import SpokenDigits, load_spoken_digits

__all__ = ["CHOICES", "HOP", "N_FFT", "N_MELS", "RATE", "SMALLEST", "WHY", "WINDOW", "at_speeds", "features",
           "frames_of", "level_to", "levelled", "load", "loudest", "synthetic_digits"]

CHOICES = ("auto", "recordings", "synthetic")
WHY = "the recordings where their file is found, else voices made here"
RATE, N_FFT, WINDOW, HOP, N_MELS = 8000, 256, 200, 80, 40  # frames of 25 ms, 10 ms apart
SMALLEST = 1e-6  # of a band: the noise of a quiet room
LEVEL = -26.0  # decibels, of every recording
PITCHES = (95.0, 115.0, 135.0, 180.0, 205.0, 235.0)  # hertz, of the voices made here


def load(name: str, data_dir: Path | None, seed: int) -> tuple[str, SpokenDigits]:
    """(what is taken, the recordings) by name, one of CHOICES; "auto" prints a line where voices are made here.

    Raises:
      MissingData: the recordings were asked for and are not there.
      BadFile: they are there and damaged.
    """
    return real_or_embedded(
        name, "recordings", lambda: ("recordings", load_spoken_digits(data_dir, instead="--data synthetic")),
        lambda: ("synthetic", synthetic_digits(seed)), "voices made here in place of the recordings")


def synthetic_digits(seed: int, per_digit: int = 12) -> SpokenDigits:
    """Ten "digits" of six "voices": harmonics of a pitch under two resonances that glide through three vowels, each
    digit through its own. A voice has its pitch and the length of its throat; each recording has its own speed and
    noise."""
    vowels = np.random.RandomState(0).uniform((300, 1000), (850, 2500), (10, 3, 2))  # hertz
    rng = np.random.default_rng(seed)
    samples: list[np.ndarray] = []
    keys: list[tuple[int, int, int]] = []
    for speaker, pitch in enumerate(PITCHES):
        throat = 0.88 + 0.3 * speaker / (len(PITCHES) - 1)
        for digit in range(10):
            for number in range(per_digit):
                n = int(RATE * rng.uniform(0.3, 0.5))
                at = np.linspace(0, 2, n)
                first, second = (np.interp(at, (0, 1, 2), throat * rng.normal(1, 0.04) * vowels[digit, :, i])
                                 for i in range(2))
                f0 = pitch * rng.normal(1, 0.05) * np.linspace(1.05, 0.9, n)
                k = np.arange(1, int(3600 / pitch))[:, None]
                strength = np.exp(-((k * f0 - first) / 150) ** 2) + 0.6 * np.exp(-((k * f0 - second) / 200) ** 2)
                voice = np.sum(strength * np.sin(2 * np.pi * k * np.cumsum(f0) / RATE), 0) * np.sin(np.pi * at / 2)
                noise = rng.normal(size=n) * np.abs(voice).max() * 0.02
                samples.append((0.3 * (voice + noise) / np.abs(voice).max()).astype(np.float32))
                keys.append((speaker, digit, number))
    speaker, y, number = np.array(keys, np.int64).T
    return SpokenDigits(tuple(samples), y, speaker, number, tuple("ABCDEF"), RATE)


def level_to(x: np.ndarray, decibels: float) -> np.ndarray:
    """A sound (n,) or (n, channels), float32, at this level under a sound of ±1 throughout; silence as it is."""
    power = np.mean(np.square(x, dtype=np.float64))
    return x if power == 0 else (x * np.sqrt(10 ** (decibels / 10) / power)).astype(np.float32)


def levelled(x: np.ndarray) -> np.ndarray:
    """The recording (n,) at LEVEL; silence as it is."""
    return level_to(x, LEVEL)


def loudest(x: np.ndarray, n: int) -> np.ndarray:
    """(n,): the n samples in a row that have the most energy; a shorter sound with zeros on both sides."""
    if len(x) <= n:
        before = (n - len(x)) // 2
        return np.pad(x, (before, n - len(x) - before))
    energy = np.concatenate([[0], np.cumsum(np.square(x, dtype=np.float64))])
    first = int(np.argmax(energy[n:] - energy[:-n]))
    return x[first:first + n]


def at_speeds(samples: Sequence[np.ndarray], speeds: Sequence[float], rate: int = RATE) -> list[list[np.ndarray]]:
    """For each speed all the sounds, so many times as quick, and as high: resampled."""
    lengths = np.array([len(x) for x in samples])
    rows = np.zeros((len(samples), lengths.max()), np.float32)
    for row, x in zip(rows, samples, strict=True):
        row[:len(x)] = x
    found = []
    for speed in speeds:
        down, up = round(100 * speed), 100
        quick = np.asarray(_all_resampled(rows, down, up)) if down != up else rows
        found.append([x[:-(-n * up // down)] for x, n in zip(quick, lengths, strict=True)])
    return found


@functools.partial(jax.jit, static_argnums=(1, 2))
def _all_resampled(rows: Any, rate: int, new_rate: int) -> Any:
    return jax.lax.map(lambda x: resample(x, rate, new_rate), rows)


def frames_of(n_samples: Any) -> Any:
    """How many frames so many samples have."""
    return 1 + (n_samples - N_FFT) // HOP


@jax.jit
def features(x: Any) -> jax.Array:
    """(B, samples) at LEVEL -> (B, frames_of(samples), N_MELS): log mel spectra, of about mean 0 and deviation 1."""
    spectra = jax.vmap(lambda x: log_mel(x, rate=RATE, n_mels=N_MELS, n_fft=N_FFT, hop=HOP, window=WINDOW,
                                         smallest=SMALLEST))(x)
    return (spectra + 7) / 3.5
