"""The error as a power of the number of examples, and what it says about more of them.

    e(n) = a n^-b + c        a, b, c >= 0

c is the error that no number of examples removes for this network and these data. The fit is least squares of the
measured errors, each divided by its deviation, and the interval of e(n) is that of the linearised fit: J C Jᵀ with C
the covariance of (log a, b, c). Far beyond the largest n it is wide, and the law itself is an assumption there.

Source: Hestness et al. (2017), Deep learning scaling is predictable, empirically; Cortes et al. (1993).
"""

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import least_squares

from jaxnn.analysis.intervals import Z, student
from jaxnn.checks import as_numpy, expect, is_number

__all__ = ["PowerLaw", "fit_power_law"]


class PowerLaw(NamedTuple):
    """e(n) = a n^-b + c, fitted."""

    a: float
    b: float
    c: float
    covariance: np.ndarray
    """(3, 3), of (log a, b, c)."""
    freedom: int
    """Measured sizes less the fitted numbers, where the deviation is taken from the residuals; 0 where deviations were
    given."""

    def at(self, n: Any) -> Any:
        """The error after n examples."""
        n = np.asarray(n, float)
        return self.a * n**-self.b + self.c

    def interval(self, n: Any) -> tuple[Any, Any]:
        """(low, high) of 95 % of the law's error at n, not below 0; (0, inf) where the sizes are too few to tell."""
        n = np.asarray(n, float)
        if not np.isfinite(self.covariance).all():
            return np.zeros_like(n), np.full_like(n, np.inf)
        power = self.a * n**-self.b
        slopes = np.stack([power, -power * np.log(n), np.ones_like(n)], -1)
        half = (student(self.freedom) if self.freedom else Z) * np.sqrt(
            np.einsum("...i,ij,...j", slopes, self.covariance, slopes))
        return np.maximum(self.at(n) - half, 0), self.at(n) + half

    def needed(self, error: float) -> float:
        """How many examples bring the error down to this; inf where the law never does."""
        expect(is_number(error, 0), "PowerLaw.needed", "an error of at least 0", repr(error))
        if error <= self.c or self.b == 0:
            return float("inf")
        with np.errstate(over="ignore"):
            return float((self.a / (error - self.c)) ** (1 / self.b))

    def __str__(self) -> str:
        return f"error = {self.a:.3g} n^-{self.b:.3g} + {self.c:.3g}"


def fit_power_law(sizes: Any, errors: Any, deviations: Any = None, *, floor: float | None = None) -> PowerLaw:
    """The power law of measured errors.

    Args:
      sizes: (k,) numbers of training examples, above 0, at least three different ones.
      errors: (k,) in [0, 1], of networks trained on so many.
      deviations: (k,) the standard deviation of each error, above 0; None weighs all alike, and takes the deviation
        from the residuals.
      floor: c, where it is known, such as the error of people; None fits c as well.
    Raises:
      InputError: an argument is not as above.

    >>> n = np.array([100, 200, 400, 800, 1600])
    >>> print(fit_power_law(n, 2 * n**-0.5 + 0.01))
    error = 2 n^-0.5 + 0.01
    """
    who = "fit_power_law"
    sizes, errors = (as_numpy(who, name, v).astype(float) for name, v in (("sizes", sizes), ("errors", errors)))
    expect(sizes.ndim == 1 and sizes.shape == errors.shape, who, "sizes and errors of one shape (k,)",
           f"{sizes.shape} and {errors.shape}")
    expect(bool(np.isfinite(sizes).all() and (sizes > 0).all()) and len(np.unique(sizes)) >= 3, who,
           "sizes above 0, at least three different ones", repr(sizes.tolist()), "train on more sizes")
    expect(bool(((errors >= 0) & (errors <= 1)).all()), who, "errors in [0, 1]", repr(errors.tolist()))
    expect(floor is None or is_number(floor, 0, 1), who, "floor in [0, 1], or None", repr(floor))
    scale = np.ones(len(sizes))
    if deviations is not None:
        scale = as_numpy(who, "deviations", deviations).astype(float)
        expect(scale.shape == sizes.shape and bool((scale > 0).all()), who, f"deviations above 0, {sizes.shape}",
               repr(scale.tolist()), "a deviation of 0 would let no other point count")

    def residuals(v: np.ndarray) -> np.ndarray:
        log_a, b, c = (*v, floor) if floor is not None else v
        r: np.ndarray = (np.exp(log_a - b * np.log(sizes)) + c - errors) / scale
        return r

    n_free = 2 if floor is not None else 3
    fits = []
    # From several exponents: the cost has flat valleys where a n^-b is nearly constant.
    for b in (0.2, 0.5, 1.0):
        c = floor if floor is not None else 0.5 * errors.min()
        log_a = float(np.log(max((errors - c).max(), 1e-6)) + b * np.log(sizes.min()))
        found = least_squares(residuals, np.array([log_a, b, c])[:n_free], x_scale="jac",
                              bounds=([-np.inf, 0, 0][:n_free], [np.inf, np.inf, 1][:n_free]), xtol=1e-12, ftol=1e-12)
        fits.append(found)
    best = min(fits, key=lambda fit: fit.cost)
    freedom = max(len(sizes) - n_free, 0)
    spread = 2 * best.cost / freedom if deviations is None and freedom else 1.0 if deviations is not None else np.inf
    covariance = np.zeros((3, 3))
    covariance[:n_free, :n_free] = spread * np.linalg.pinv(best.jac.T @ best.jac) if np.isfinite(spread) else np.inf
    log_a, b, c = (*best.x, floor) if floor is not None else best.x
    return PowerLaw(float(np.exp(log_a)), float(b), float(c), covariance, freedom if deviations is None else 0)
