"""Intervals of 95 % around a measured fraction, mean, ratio or difference: how much of a number is chance.

Each takes its examples as independent. Frames of one film, or recordings of one speaker, are less than that, and their
true intervals are wider.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxnn.checks import as_numpy, expect

__all__ = ["of_difference", "of_fraction", "of_mean", "of_paired_difference", "of_ratio", "shown", "shown_points"]

Z = 1.959964  # the standard normal's 97.5 % point


def of_fraction(n_right: float, n: int) -> tuple[float, float]:
    """(low, high) for a fraction n_right / n of independent examples.

    With p = n_right / n and z = 1.96, the ends are the solutions q of (p - q)² = z² q (1 - q) / n. Unlike p ± z σ, they
    lie in [0, 1], and tell 50 of 50 from 5,000 of 5,000. n_right may be a sum of values in [0, 1], which vary less than
    right and wrong do: the interval is then wider than need be.
    Source: Wilson (1927).
    """
    expect(n >= 1 and 0 <= n_right <= n, "of_fraction", "0 <= n_right <= n, n >= 1", f"{n_right} of {n}")
    p, share = n_right / n, Z**2 / n
    middle = (p + share / 2) / (1 + share)
    half = Z * math.sqrt(p * (1 - p) / n + share / (4 * n)) / (1 + share)
    return max(middle - half, 0.0), min(middle + half, 1.0)


def of_difference(a: tuple[int, int], b: tuple[int, int]) -> tuple[float, float]:
    """(low, high) for p_a - p_b, two fractions of different examples.

        low = d - √((p_a - l_a)² + (h_b - p_b)²)    high = d + √((h_a - p_a)² + (p_b - l_b)²)    d = p_a - p_b

    l and h are the ends of `of_fraction` for each by itself.

    Args:
      a, b: (count, number of examples).
    Source: Newcombe (1998), Interval estimation for the difference between independent proportions, method 10.
    """
    (low_a, high_a), (low_b, high_b) = of_fraction(*a), of_fraction(*b)
    p_a, p_b = a[0] / a[1], b[0] / b[1]
    d = p_a - p_b
    return d - math.hypot(p_a - low_a, high_b - p_b), d + math.hypot(high_a - p_a, p_b - low_b)


def of_paired_difference(a: Any, b: Any) -> tuple[float, float]:
    """(low, high) for mean(a) - mean(b), two fractions of the same examples: such as the errors of two networks.

    Only the examples on which a and b differ tell anything. With n_a of them true in a alone and n_b in b alone, half
    an example is added to each of the four cells, n' = n + 2, and

        d = (n_a - n_b) / n'    d ± z √(n_a + n_b + 1 - (n_a - n_b)² / n') / n'

    Args:
      a, b: (n,) bools, example by example.
    Source: Agresti & Min (2005), Simple improved confidence intervals for comparing matched proportions.
    """
    who = "of_paired_difference"
    a, b = (_bools(who, name, x) for name, x in (("a", a), ("b", b)))
    expect(len(a) == len(b), who, "a and b of the same examples", f"{len(a)} and {len(b)} of them")
    n_a, n_b, n = int(np.sum(a & ~b)), int(np.sum(b & ~a)), len(a) + 2
    half = Z * math.sqrt(n_a + n_b + 1 - (n_a - n_b) ** 2 / n) / n
    return (n_a - n_b) / n - half, (n_a - n_b) / n + half


def of_mean(values: Sequence[float]) -> tuple[float, float]:
    """(low, high) for the mean of independent values: mean ± t s / √n, t the 97.5 % point of Student's distribution
    with n - 1 degrees of freedom. One value has no spread: (-inf, inf)."""
    n, mean = len(values), float(np.mean(values))
    if n == 1:
        return -math.inf, math.inf
    half = float(student(n - 1) * np.std(values, ddof=1) / math.sqrt(n))
    return mean - half, mean + half


def of_ratio(parts: Any, wholes: Any) -> tuple[float, float]:
    """(low, high) for r = Σ parts / Σ wholes, both sums over the same independent examples.

    r is nearly linear in both sums, so that its deviation is that of Σ (part - r whole) / Σ wholes:

        r ± t √(n / (n - 1) Σ (part_i - r whole_i)²) / Σ wholes

    Args:
      parts, wholes: (n,) numbers, n >= 2, with Σ wholes > 0.
    Source: Cochran (1977), Sampling techniques, section 6.3.
    """
    who = "of_ratio"
    parts, wholes = (as_numpy(who, name, x).astype(float) for name, x in (("parts", parts), ("wholes", wholes)))
    expect(parts.ndim == 1 and parts.shape == wholes.shape and len(parts) >= 2, who,
           "parts and wholes of one shape (n,), n >= 2", f"{parts.shape} and {wholes.shape}")
    expect(bool(np.isfinite(parts).all() and np.isfinite(wholes).all() and wholes.sum() > 0), who,
           "finite numbers, and wholes with a sum above 0", f"a sum of {wholes.sum():g}")
    n, total = len(parts), wholes.sum()
    r = float(parts.sum() / total)
    half = float(student(n - 1) * math.sqrt(n / (n - 1) * np.sum((parts - r * wholes) ** 2)) / total)
    return r - half, r + half


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


def shown_points(value: float, interval: tuple[float, float]) -> str:
    """0.031 and (-0.002, 0.064) as "+3.10 points (-0.2 to +6.4)"."""
    low, high = interval
    return f"{100 * value:+.2f} points ({100 * low:+.1f} to {100 * high:+.1f})"


def _bools(who: str, name: str, x: Any) -> np.ndarray:
    x = as_numpy(who, name, x)
    expect(x.ndim == 1 and x.dtype == bool and len(x) > 0, who, f"{name}, (n,) bools, n >= 1",
           f"{x.dtype} of shape {x.shape}", "compare predictions with labels")
    return x
