"""Intervals of 95 % around a measured fraction or mean: how much of a number is chance."""

import math
from collections.abc import Sequence

import numpy as np

from jaxnn.checks import expect

__all__ = ["of_fraction", "of_mean", "shown"]

Z = 1.959964  # the standard normal's 97.5 % point


def of_fraction(n_right: int, n: int) -> tuple[float, float]:
    """(low, high) for a fraction n_right / n of independent examples.

    With p = n_right / n and z = 1.96, the ends are the solutions q of (p - q)² = z² q (1 - q) / n. Unlike p ± z σ, they
    lie in [0, 1], and tell 50 of 50 from 5,000 of 5,000.
    Source: Wilson (1927).
    """
    expect(n >= 1 and 0 <= n_right <= n, "of_fraction", "0 <= n_right <= n, n >= 1", f"{n_right} of {n}")
    p, share = n_right / n, Z**2 / n
    middle = (p + share / 2) / (1 + share)
    half = Z * math.sqrt(p * (1 - p) / n + share / (4 * n)) / (1 + share)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def of_mean(values: Sequence[float]) -> tuple[float, float]:
    """(low, high) for the mean of independent values: mean ± t s / √n, t the 97.5 % point of Student's distribution
    with n - 1 degrees of freedom. One value has no spread: (-inf, inf)."""
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return -math.inf, math.inf
    half = float(student(n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return mean - half, mean + half


def student(freedom: int) -> float:
    """The 97.5 % point of Student's distribution. By the Cornish-Fisher expansion about the normal's z, to 0.1 % from 5
    degrees of freedom on; below, from the table."""
    table = (12.7062, 4.3027, 3.1824, 2.7764)
    if freedom <= len(table):
        return table[freedom - 1]
    z, n = Z, freedom
    return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2) + (
        3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)


def shown(value: float, interval: tuple[float, float]) -> str:
    """0.9417 and (0.884, 0.972) as "94.17 % (88.4 to 97.2)"."""
    low, high = interval
    return f"{100 * value:.2f} % ({100 * low:.1f} to {100 * high:.1f})"
