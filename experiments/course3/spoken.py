"""Spoken digits as features and a small network for them: what the experiments with sound share."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.data import real_or_embedded
from experiments.shared.run import say
from jaxnn import Conv, Dense, Dropout, Flatten, MaxPool, Sequential, relu
from jaxnn.audio import log_mel
from jaxnn.data import load_spoken_digits

__all__ = ["CHOICES", "HOP", "N_MELS", "RATE", "WHY", "Spoken", "features", "load", "network", "padded"]

CHOICES = ("auto", "fsdd", "made")
WHY = "the Free Spoken Digit Dataset where its file is found, else made words of tones"
RATE, HOP, N_FFT, N_MELS = 8000, 128, 256, 24
FRAMES = 6400  # 0.8 s: longer than nine words of ten


class Spoken(NamedTuple):
    """Recordings of ten words by several speakers, 8,000 samples a second."""

    name: str
    samples: tuple[np.ndarray, ...]
    y: np.ndarray
    speaker: np.ndarray
    """(n,) places in speakers."""
    number: np.ndarray
    """Which of its speaker's recordings of the word."""
    speakers: tuple[str, ...]


def load(name: str, data_dir: Path | None, seed: int, *, most: int | None = None) -> Spoken:
    """The recordings by name, one of CHOICES; "auto" prints a line where made ones take the place.

    Args:
      most: recordings of each word by each speaker, the first ones; None takes all.
    """
    spoken = real_or_embedded(name, "fsdd", lambda: free_spoken_digits(data_dir), lambda: made(seed),
                              "made words in place of spoken digits")
    if most is not None:
        kept = np.flatnonzero(spoken.number < most)
        spoken = spoken._replace(samples=tuple(spoken.samples[i] for i in kept), y=spoken.y[kept],
                                 speaker=spoken.speaker[kept], number=spoken.number[kept])
    say(f"{spoken.name}: {len(spoken.y)} recordings of ten words by {', '.join(spoken.speakers)}")
    return spoken


def free_spoken_digits(data_dir: Path | None) -> Spoken:
    found = load_spoken_digits(data_dir, instead="--data made")
    return Spoken("fsdd", found.samples, found.y, found.speaker, found.number, found.speakers)


def made(seed: int, n_each: int = 8) -> Spoken:
    """Words of two tones that glide, in voices of six speakers who differ in pitch, pace and noise: a stand-in."""
    random = np.random.default_rng(seed)
    words = random.uniform(300, 2500, (10, 2, 2))  # of each word two tones, from one frequency to another
    voices = np.linspace(0.8, 1.3, 6)
    rows = [(s, d, i) for s in range(6) for d in range(10) for i in range(n_each)]
    samples = []
    for s, d, _ in rows:
        n = int(RATE * random.uniform(0.3, 0.5) * (2 - voices[s]))
        t = np.arange(n) / RATE
        hertz = words[d] * voices[s] * random.normal(1, 0.06, (2, 1))
        phase = 2 * np.pi * (hertz[:, :1] * t + (hertz[:, 1:] - hertz[:, :1]) / 2 * t**2 / t[-1])
        sound = np.sin(phase).sum(0) * np.hanning(n) * random.uniform(0.1, 0.3)
        samples.append((sound + random.normal(0, 0.01 * (1 + s), n)).astype(np.float32))
    s, d, i = np.array(rows).T
    return Spoken("made", tuple(samples), d, s, i, tuple(f"voice {k}" for k in range(6)))


def padded(samples: Any, frames: int = FRAMES) -> np.ndarray:
    """(n, frames) float32: each recording in the middle of silence, or its middle where it is longer."""
    x = np.zeros((len(samples), frames), np.float32)
    for row, sound in zip(x, samples, strict=True):
        cut = max(0, (len(sound) - frames) // 2)
        sound = sound[cut:cut + frames]
        begin = (frames - len(sound)) // 2
        row[begin:begin + len(sound)] = sound
    return x


def features(x: np.ndarray) -> np.ndarray:
    """(n, time, N_MELS, 1) float32, log mel bands about 0 with deviations about 1, of (n, frames) samples."""
    bands = [np.asarray(_bands(jnp.asarray(x[i:i + 250]))) for i in range(0, len(x), 250)]
    return np.concatenate(bands)[..., None]


@jax.jit
def _bands(x: Any) -> Any:
    bands = jax.vmap(lambda x: log_mel(x, rate=RATE, n_mels=N_MELS, n_fft=N_FFT, hop=HOP, smallest=1e-4))(x)
    return (bands + 4) / 3


def network(dropout: float = 0.3) -> Sequential:
    return Sequential(Conv(12), relu, MaxPool(2), Conv(24), relu, MaxPool(2), Conv(24), relu, MaxPool(2), Flatten(),
                      Dropout(dropout), Dense(10))
