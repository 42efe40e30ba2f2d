"""Short-time spectra: a sound cut into frames that overlap, each weighted by a window and transformed.

    X[t, k] = Σ_n w_n x[t hop + n] e^{-2πi k n / n_fft}        w_n = (1 - cos(2π n / N)) / 2, Hann's window

One sound at a time, samples (n,) in [-1, 1]; `jax.vmap` makes the batch. Time comes first, (time, frequency): so
the layers of this library have it. Silence has the spectrum 0; a sound shorter than one frame is refused.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_bool, expect_float, expect_shape, is_integer, is_number

__all__ = ["frames", "hann", "power_spectrum", "spectrogram", "stft"]

COURSE_WINDOW, COURSE_HOP, COURSE_RATE = 200, 80, 8000


def hann(n: int, *, periodic: bool = True) -> np.ndarray:
    """Hann's window, (n,) float64: one period of it, or with `periodic=False` both ends at 0.

    >>> hann(4).round(3).tolist()
    [0.0, 0.5, 1.0, 0.5]
    """
    expect(is_integer(n, 1), "hann", "n, a positive integer", repr(n))
    expect_bool("hann", "periodic", periodic)
    if n == 1:
        return np.ones(1)
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / (n if periodic else n - 1))


@functools.partial(jax.jit, static_argnames=("size", "hop"))
def frames(x: Any, *, size: int, hop: int) -> jax.Array:
    """(1 + (n - size) // hop, size): x[t hop : t hop + size] for each t. What does not fill a frame at the end is left
    out.

    Args:
      x: (n,) floating-point numbers.
      size, hop: samples of a frame, and from one to the next.
    Raises:
      InputError: an argument is not as above, or x is shorter than a frame.
    """
    who = "frames"
    expect_samples(who, x)
    for name, n in (("size", size), ("hop", hop)):
        expect(is_integer(n, 1), who, f"{name}, a positive integer", repr(n))
    expect(x.shape[0] >= size, who, f"a sound of at least one frame, {size} samples", str(x.shape[0]),
           "fill it up with zeros: jnp.pad")
    n = 1 + (x.shape[0] - size) // hop
    if size % hop == 0:  # slices side by side, which is much quicker than a gather
        blocks = size // hop
        rows = x[:(n + blocks - 1) * hop].reshape(-1, hop)
        return jnp.concatenate([rows[i:i + n] for i in range(blocks)], 1)
    return x[np.arange(n)[:, None] * hop + np.arange(size)]


@functools.partial(jax.jit, static_argnames=("n_fft", "hop", "window", "centred"))
def stft(x: Any, *, n_fft: int, hop: int, window: int | None = None, centred: bool = False) -> jax.Array:
    """X, (time, n_fft // 2 + 1) complex.

    Args:
      x: (n,) floating-point numbers.
      n_fft: samples of a frame.
      hop: samples from one frame to the next.
      window: samples of Hann's window in the middle of the frame; None for n_fft.
      centred: whether frame t has its middle at t hop, with n_fft // 2 zeros put before and behind the sound; else it
        begins there.
    Raises:
      InputError: an argument is not as above, or x (with its zeros) is shorter than a frame.
    With centred=True, the transpose of librosa's and of PyTorch's with the same settings and zeros for padding.
    """
    who = "stft"
    expect_samples(who, x)
    _expect_frame(who, n_fft, hop, window)
    expect_bool(who, "centred", centred)
    window = n_fft if window is None else window
    before = (n_fft - window) // 2
    weights = np.pad(hann(window), (before, n_fft - window - before))
    if centred:
        x = jnp.pad(x, n_fft // 2)
    cut = frames(x, size=n_fft, hop=hop)
    return jnp.fft.rfft(cut * jnp.asarray(weights, cut.dtype))


@functools.partial(jax.jit, static_argnames=("n_fft", "hop", "window", "centred"))
def power_spectrum(x: Any, *, n_fft: int, hop: int, window: int | None = None, centred: bool = False) -> jax.Array:
    """|X|², (time, n_fft // 2 + 1). Arguments as of `stft`."""
    X = stft(x, n_fft=n_fft, hop=hop, window=window, centred=centred)
    return X.real**2 + X.imag**2


@jax.jit
def spectrogram(x: Any) -> jax.Array:
    """The course's spectrogram, (101, time), frequency first as the course has it: (101, 5511) of 441,000 samples.

        S[k, t] = c_k |X[t, k]|² / (8000 Σ_n w_n²)      c_k = 2, and 1 for the first and the last k

    with frames of 200 samples, 80 apart, and Hann's window with both ends at 0. That is a power per hertz for a sound
    of 8,000 samples a second; the course takes this rate for its sounds of 44,100, and so does its network.

    Args:
      x: (n,) samples. The course takes 16-bit integers as they are: 2^15 times those of `read_wav`, and S is 2^30
        times as large.
    Raises:
      InputError: x is not as above, or shorter than 200 samples.
    Source: Deep Learning Specialization, course 5, week 3; equal to matplotlib's
    `specgram(x, NFFT=200, Fs=8000, noverlap=120)`.
    """
    expect_samples("spectrogram", x)
    weights = hann(COURSE_WINDOW, periodic=False)
    cut = frames(x, size=COURSE_WINDOW, hop=COURSE_HOP)
    X = jnp.fft.rfft(cut * jnp.asarray(weights, cut.dtype))
    sides = np.full(COURSE_WINDOW // 2 + 1, 2.0)
    sides[[0, -1]] = 1
    scale = jnp.asarray(sides / (COURSE_RATE * np.sum(weights**2)), cut.dtype)
    return ((X.real**2 + X.imag**2) * scale).T


def expect_samples(who: str, x: Any) -> None:
    """Refuses all but one sound of one channel."""
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("n",), "for channels or a batch use jax.vmap")


def expect_rate(who: str, name: str, rate: Any) -> None:
    expect(is_number(rate) and rate > 0, who, f"{name}, frames per second above 0", repr(rate))


def _expect_frame(who: str, n_fft: Any, hop: Any, window: Any) -> None:
    expect(is_integer(n_fft, 2), who, "n_fft, an integer of at least 2", repr(n_fft))
    expect(is_integer(hop, 1), who, "hop, a positive integer", repr(hop))
    expect(window is None or (is_integer(window, 1) and window <= n_fft), who,
           f"window, samples in 1 .. n_fft = {n_fft}, or None", repr(window))
