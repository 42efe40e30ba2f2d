"""Another rate for the same sound: band-limited, so that no frequency is folded onto another.

With new rate / rate = p / q in lowest terms, the sound is filled up with p - 1 zeros behind each sample, smoothed by a
low-pass h that ends at the lower of the two rates' halves, and every q-th sample is kept:

    y_m = Σ_j h[m q - j p] x_j        h_n = p · w_n sinc(n / r) / r, scaled so that Σ h = p;  r = max(p, q), |n| <= 10 r

w is Kaiser's window. Of each y_m only the terms with a sample of x are added up: those of one of p filters.
"""

import functools
import math
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.audio.spectra import expect_samples
from jaxnn.checks import expect, is_integer, is_number

__all__ = ["resample"]

ZEROS = 10  # of the sinc, on each side
LARGEST = 2**22  # the most numbers of h: 200,000 for rates that have nearly nothing in common
AT_ONCE = 2**14  # samples


def resample(x: Any, rate: int, new_rate: int, *, beta: float = 5.0) -> jax.Array:
    """The sound at another rate, (⌈n · new_rate / rate⌉,). Beyond its ends it is taken for silence.

    Under `jit` the rates are static.

    Args:
      x: (n,) samples.
      rate, new_rate: samples per second, integers. Their ratio counts: resample(x, 10, 9) makes a sound a ninth faster.
      beta: of Kaiser's window; the larger, the less leaks and the slower the low-pass falls.
    Raises:
      InputError: an argument is not as above, x has no sample, or the ratio's terms are above 200,000.
    Source: Smith & Gossett (1984); equal to `scipy.signal.resample_poly` with the window ("kaiser", beta).
    """
    who = "resample"
    expect_samples(who, x)
    for name, r in (("rate", rate), ("new_rate", new_rate)):
        expect(is_integer(r, 1), who, f"{name}, a positive integer", repr(r))
    expect(is_number(beta, 0), who, "beta, a number >= 0", repr(beta))
    expect(x.shape[0] > 0, who, "at least one sample", "none")
    ratio = Fraction(int(new_rate), int(rate))
    up, down = ratio.numerator, ratio.denominator
    expect(2 * ZEROS * max(up, down) < LARGEST, who, f"rates whose ratio has terms up to {LARGEST // (2 * ZEROS):,}",
           f"{up:,} / {down:,}", "round one of them")
    if up == down:
        return jnp.asarray(x)
    filters = _filters(up, down, float(beta))
    n_out = math.ceil(x.shape[0] * up / down)
    # The newest sample that reaches y_m, and which filter; in NumPy's 64 bits, for m q passes 32.
    at = np.arange(n_out, dtype=np.int64) * down + ZEROS * max(up, down)
    newest, phase = (a.astype(np.int32) for a in np.divmod(at, up))
    return _apply(jnp.asarray(x), jnp.asarray(filters, x.dtype), newest, phase)


@functools.lru_cache(maxsize=64)
def _filters(up: int, down: int, beta: float) -> np.ndarray:
    """h[phase + up k] as (up, taps), the taps from the newest sample to the oldest."""
    widest = max(up, down)
    n = np.arange(-ZEROS * widest, ZEROS * widest + 1)
    h = np.sinc(n / widest) * np.kaiser(len(n), beta)
    h *= up / h.sum()
    taps = -(-len(h) // up)
    return np.pad(h, (0, taps * up - len(h))).reshape(taps, up).T


@jax.jit
def _apply(x: Any, filters: Any, newest: Any, phase: Any) -> jax.Array:
    taps = filters.shape[1]

    def some(at: Any) -> Any:
        newest, phase = at
        places = newest[:, None] - jnp.arange(taps)
        inside = (places >= 0) & (places < x.shape[0])
        return jnp.sum(jnp.where(inside, x[jnp.clip(places, 0, x.shape[0] - 1)], 0) * filters[phase], -1)

    n = newest.shape[0]
    if n <= AT_ONCE:
        return some((newest, phase))
    more = -n % AT_ONCE
    rows = [jnp.pad(a, (0, more)).reshape(-1, AT_ONCE) for a in (newest, phase)]
    return lax.map(some, tuple(rows)).reshape(-1)[:n]
