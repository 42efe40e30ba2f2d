"""The noise that paintings of networks are blamed for: a grid, as of strides or of JPEG's blocks, and fine grain."""

from typing import NamedTuple

import numpy as np

from jaxnn.checks import expect

__all__ = ["GridNoise", "grid_noise"]

PERIODS = (2, 4, 8)
"""Pixels: of strides of two, one after another, and of JPEG's blocks."""


class GridNoise(NamedTuple):
    """grid: the power of the strongest pattern with a period of 2, 4 or 8 pixels, over that of its neighbours in the
    spectrum: about 1 to 3 where there is none. fine: the part of the power above a quarter of a wave per pixel, in
    [0, 1]: detail of less than four pixels."""

    grid: float
    fine: float


def grid_noise(picture: np.ndarray) -> GridNoise:
    """Of a picture (height, width, 3) or (height, width), of at least 64 pixels on each side."""
    array = np.asarray(picture, float)
    grey = array.mean(-1) if array.ndim == 3 else array
    expect(grey.ndim == 2 and min(grey.shape) >= 64, "grid_noise", "a picture of at least 64 by 64 pixels",
           str(array.shape))
    height, width = (n // 8 * 8 for n in grey.shape)
    grey = grey[:height, :width] - grey.mean()
    window = np.hanning(height)[:, None] * np.hanning(width)  # so that the edges are no step
    power = np.abs(np.fft.fft2(grey * window)) ** 2
    ratios = []
    for axis, n in enumerate((height, width)):
        along = power.sum(1 - axis)
        for k in {n * m // period for period in PERIODS for m in range(1, period // 2 + 1)}:
            near = [along[(k + d) % n] for d in (-8, -7, -6, -5, -4, 4, 5, 6, 7, 8)]
            ratios.append(along[k] / max(float(np.median(near)), 1e-12))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    return GridNoise(float(max(ratios)), float(power[frequency > 0.25].sum() / max(power.sum(), 1e-12)))
