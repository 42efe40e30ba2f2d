"""Initial weights: `jax.nn.initializers`, reached under the course's names too.

An initializer is a function (key, shape, dtype) -> array. Weights are drawn as (..., n_in, n_out),
which is what JAX's fans count by; a layer that keeps them as (n_out, n_in) transposes.
"""

from collections.abc import Callable

import jax
from jax.nn import initializers

from jaxnn.checks import expect, is_number

__all__ = ["Initializer", "fan_in", "he", "ones", "orthogonal", "random_normal", "xavier",
           "xavier_uniform", "zeros"]

Initializer = Callable[..., jax.Array]

zeros: Initializer = initializers.zeros
ones: Initializer = initializers.ones
he: Initializer = initializers.he_normal()
"""N(0, 2 / n_in), cut off at two standard deviations: for relu (He et al. 2015)."""
xavier: Initializer = initializers.glorot_normal()
"""N(0, 2 / (n_in + n_out)), cut off at two standard deviations: for tanh (Glorot & Bengio 2010)."""
xavier_uniform: Initializer = initializers.glorot_uniform()
"""Uniform in ±√(6 / (n_in + n_out)) (Glorot & Bengio 2010, eq. 16)."""
fan_in: Initializer = initializers.variance_scaling(1.0, "fan_in", "normal")
"""N(0, 1 / n_in), the course's randn / sqrt(n_in)."""
orthogonal: Initializer = initializers.orthogonal()


def random_normal(scale: float) -> Initializer:
    """N(0, scale²): the course's randn * scale."""
    expect(is_number(scale, 0), "random_normal", "a finite scale >= 0", repr(scale))
    return initializers.normal(stddev=scale)
