"""Samples as a WAV file."""

import wave
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.checks import as_numpy, as_path, expect, is_integer

__all__ = ["write_wav"]


def write_wav(path: str | Path, samples: Any, rate: int) -> None:
    """Writes one channel of 16 bits.

    Args:
      samples: (n,) floating-point numbers in -1 .. 1; none is clipped.
      rate: samples a second.
    Raises:
      InputError: an argument is not as above; nothing is written then.
    """
    who = "write_wav"
    samples = as_numpy(who, "samples", samples)
    expect(samples.ndim == 1 and samples.dtype.kind == "f", who, "samples (n,) of floating-point numbers",
           f"{samples.dtype} of shape {samples.shape}")
    expect(is_integer(rate, 1) and rate < 2**31, who, "rate, a positive integer", repr(rate))
    loudest = np.abs(samples).max(initial=0.0)
    expect(bool(loudest <= 1), who, "samples in -1 .. 1", f"one of size {loudest:g}", "scale them")
    with wave.open(str(as_path(who, "path", path)), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(int(rate))
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
