"""Mel spectra and cepstra: a spectrum in bands as wide as the ear's, its logarithm, and the cosine transform of that.

    mel(f) = 3 f / 200 up to 1000 Hz, above 15 + 27 log(f / 1000) / log 6.4      Slaney (1998)
           = 2595 log10(1 + f / 700)                                             "htk", O'Shaughnessy (1987)
    bands: n triangles, whose corners f_0 < f_1 < ... < f_{n+1} are evenly spaced in mel; band i rises from f_{i-1} to
           f_i and falls to f_{i+1}; divided by half its width in hertz, so that all have the same area
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.audio.spectra import expect_rate, power_spectrum
from jaxnn.checks import expect, expect_bool, expect_float, is_integer, is_number

__all__ = ["decibels", "log_mel", "mel_filters", "mfcc"]

SCALES = ("slaney", "htk")
SMALLEST = 1e-10  # the power below which a spectrum is silence


def mel_filters(n_mels: int, *, n_fft: int, rate: float, low: float = 0.0, high: float | None = None,
                scale: str = "slaney", same_area: bool = True) -> np.ndarray:
    """The bands as weights of a power spectrum, (n_mels, n_fft // 2 + 1) float64.

    Args:
      n_mels: bands.
      n_fft, rate: of the spectrum, samples of a frame and samples per second.
      low, high: hertz, where the first band begins and the last one ends; None for rate / 2.
      scale: "slaney" or "htk".
      same_area: divide each band by half its width in hertz; else each has the height 1.
    Raises:
      InputError: an argument is not as above; or a band is so narrow that it has no frequency of the spectrum, and
        would be silent for ever.
    Equal to librosa's `filters.mel`.
    """
    who = "mel_filters"
    expect(is_integer(n_mels, 1), who, "n_mels, a positive integer", repr(n_mels))
    expect(is_integer(n_fft, 2), who, "n_fft, an integer of at least 2", repr(n_fft))
    expect_rate(who, "rate", rate)
    high = rate / 2 if high is None else high
    expect(is_number(low, 0) and is_number(high, 0) and low < high <= rate / 2, who,
           f"0 <= low < high <= rate / 2 = {rate / 2:g} hertz", f"{low!r} and {high!r}")
    expect(scale in SCALES, who, f"scale, one of {', '.join(SCALES)}", repr(scale))
    expect_bool(who, "same_area", same_area)
    to_mel, to_hertz = (_slaney, _slaney_inverse) if scale == "slaney" else (_htk, _htk_inverse)
    corners = to_hertz(np.linspace(to_mel(np.array(low)), to_mel(np.array(high)), n_mels + 2))
    f = np.arange(n_fft // 2 + 1) * rate / n_fft
    rise = (f - corners[:-2, None]) / (corners[1:-1] - corners[:-2])[:, None]
    fall = (corners[2:, None] - f) / (corners[2:] - corners[1:-1])[:, None]
    weights = np.maximum(0, np.minimum(rise, fall))
    empty = np.flatnonzero(weights.max(1) == 0)
    expect(not len(empty), who, f"bands with a frequency of the spectrum, which are {rate / n_fft:.4g} hertz apart",
           f"{len(empty)} of {n_mels} without" + (f", the first from {corners[empty[0]]:.0f} to "
                                                  f"{corners[empty[0] + 2]:.0f} hertz" if len(empty) else ""),
           "take fewer bands or a longer n_fft")
    return weights * (2 / (corners[2:] - corners[:-2]))[:, None] if same_area else weights


@functools.partial(jax.jit, static_argnames=("rate", "n_mels", "n_fft", "hop", "window", "centred", "low", "high",
                                             "scale", "smallest"))
def log_mel(x: Any, *, rate: float, n_mels: int, n_fft: int, hop: int, window: int | None = None,
            centred: bool = False, low: float = 0.0, high: float | None = None, scale: str = "slaney",
            smallest: float = SMALLEST) -> jax.Array:
    """log max(the power in each band, smallest), (time, n_mels), nats.

    Args:
      x: (n,) samples in [-1, 1].
      n_fft, hop, window, centred: as of `stft`.
      rate, n_mels, low, high, scale: as of `mel_filters`.
      smallest: the power that silence has, > 0: a band of silence is log smallest, and never -inf.
    Raises:
      InputError: an argument is not as above, or x is shorter than a frame.
    """
    _expect_smallest("log_mel", smallest)
    return jnp.log(jnp.maximum(_mel(x, rate, n_mels, n_fft, hop, window, centred, low, high, scale), smallest))


@functools.partial(jax.jit, static_argnames=("smallest", "most_below"))
def decibels(power: Any, *, smallest: float = SMALLEST, most_below: float | None = 80.0) -> jax.Array:
    """10 log10 max(power, smallest), and nothing more than `most_below` under the largest of them.

    Args:
      power: of any shape with at least one number, one sound's: the largest is that of all.
      smallest: > 0. Silence is 10 log10 smallest.
      most_below: decibels >= 0, or None for no such limit.
    Raises:
      InputError: an argument is not as above.
    Equal to librosa's `power_to_db` with the same numbers.
    """
    expect_float("decibels", "power", power)
    expect(jnp.size(power) > 0, "decibels", "power of at least one number", str(jnp.shape(power)))
    _expect_smallest("decibels", smallest)
    expect(most_below is None or is_number(most_below, 0), "decibels", "most_below, decibels >= 0, or None",
           repr(most_below))
    d = 10 / np.log(10) * jnp.log(jnp.maximum(power, smallest))
    return d if most_below is None else jnp.maximum(d, jnp.max(d) - most_below)


@functools.partial(jax.jit, static_argnames=("n_coefficients", "rate", "n_mels", "n_fft", "hop", "window", "centred",
                                             "low", "high", "scale", "smallest", "most_below"))
def mfcc(x: Any, *, n_coefficients: int, rate: float, n_mels: int, n_fft: int, hop: int, window: int | None = None,
         centred: bool = False, low: float = 0.0, high: float | None = None, scale: str = "slaney",
         smallest: float = SMALLEST, most_below: float | None = 80.0) -> jax.Array:
    """Mel-frequency cepstral coefficients, (time, n_coefficients): the first ones of

        c_k = a_k Σ_i d_i cos(π k (2 i + 1) / (2 n_mels))      a_0 = √(1 / n_mels), else √(2 / n_mels)

    the orthonormal cosine transform of the decibels d of the mel bands.

    Args:
      n_coefficients: in 1 .. n_mels.
      smallest, most_below: as of `decibels`. The others: as of `log_mel`.
    Raises:
      InputError: as `log_mel`.
    Source: Davis & Mermelstein (1980); equal to librosa's `feature.mfcc`.
    """
    expect(is_integer(n_mels, 1), "mfcc", "n_mels, a positive integer", repr(n_mels))
    expect(is_integer(n_coefficients, 1) and n_coefficients <= n_mels, "mfcc",
           f"n_coefficients in 1 .. n_mels = {n_mels}", repr(n_coefficients))
    d = decibels(_mel(x, rate, n_mels, n_fft, hop, window, centred, low, high, scale), smallest=smallest,
                 most_below=most_below)
    k = np.arange(n_coefficients)[:, None]
    cosines = np.sqrt(2 / n_mels) * np.cos(np.pi * k * (2 * np.arange(n_mels) + 1) / (2 * n_mels))
    cosines[0] /= np.sqrt(2)
    return d @ jnp.asarray(cosines.T, d.dtype)


def _mel(x: Any, rate: Any, n_mels: Any, n_fft: Any, hop: Any, window: Any, centred: Any, low: Any, high: Any,
         scale: Any) -> jax.Array:
    power = power_spectrum(x, n_fft=n_fft, hop=hop, window=window, centred=centred)
    filters = mel_filters(n_mels, n_fft=n_fft, rate=rate, low=low, high=high, scale=scale)
    return power @ jnp.asarray(filters.T, power.dtype)


def _expect_smallest(who: str, smallest: Any) -> None:
    expect(is_number(smallest) and smallest >= np.finfo(np.float32).tiny, who,
           "smallest, a power above 0 that float32 can hold", repr(smallest))


def _slaney(f: np.ndarray) -> np.ndarray:
    return np.where(f < 1000, 3 * f / 200, 15 + 27 * np.log(np.maximum(f, 1000) / 1000) / np.log(6.4))


def _slaney_inverse(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, 200 * mel / 3, 1000 * np.exp(np.log(6.4) * (np.maximum(mel, 15) - 15) / 27))


def _htk(f: np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + f / 700)


def _htk_inverse(mel: np.ndarray) -> np.ndarray:
    return 700 * (10 ** (mel / 2595) - 1)
