"""A gradient along one direction: one number by f beside one by the reference or by finite differences."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.leaf import THRESHOLD, Leaf, ReferenceLeaf
from jaxnn.gradients.programs import pair

__all__ = ["NO_SLOPE", "Slope", "along", "compare_slopes", "norm", "slope_leaf", "worst_slope"]


class Slope(NamedTuple):
    """f's slope along a direction beside another; error and noise in units of the leaf."""

    error: float
    noise: float
    value: float
    reference: float

    @property
    def size(self) -> float:
        """The error as a multiple of the noise: above the threshold the slope is wrong."""
        return self.error / max(1.0, self.noise)

    @property
    def ok(self) -> bool:
        return self.error <= THRESHOLD * max(1.0, self.noise)


NO_SLOPE = Slope(0.0, 0.0, np.nan, np.nan)


def compare_slopes(value: float, reference: float, unit: float, noise: float) -> Slope:
    """f's slope beside the reference's. Where only the reference's is not finite, there is no verdict."""
    if np.isfinite(value) and not np.isfinite(reference):
        return NO_SLOPE
    if np.isfinite(value):
        return Slope(abs(value - reference) / unit, noise, value, reference)
    is_same = value == reference or (np.isnan(value) and np.isnan(reference))
    return Slope(0.0 if is_same else np.inf, noise, value, reference)


def worst_slope(slopes: Iterable[Slope]) -> Slope:
    """The slope with the largest error; of equal ones the last."""
    worst = NO_SLOPE
    for slope in slopes:
        if slope is not NO_SLOPE and slope.size >= worst.size:
            worst = slope
    return worst


def slope_leaf(reference: ReferenceLeaf, route: str, slope: Slope, dtype: Any) -> Leaf:
    """The leaf as it compares along its worst direction."""
    return Leaf(reference.path, route, reference.value.shape, slope.error, slope.noise, (), slope.value,
                slope.reference, exact=slope.error == 0, dtype=jnp.dtype(dtype).name)


def along(gradient: np.ndarray, t: np.ndarray) -> float:
    """<gradient, t>; elements along which t does not go count as nothing, NaN or not."""
    return float(pair(np.where(t == 0, 0, gradient), t))


def norm(x: np.ndarray) -> float:
    return float(np.linalg.norm(x.ravel()))
