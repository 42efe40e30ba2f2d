"""Random arguments as functions (rng, dtype) -> one argument, for tests that build a few by hand."""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.hand_derived import Op


def array(*shape):
    return lambda rng, dtype: jnp.asarray(rng.standard_normal(shape), dtype)


def distribution(n):
    return lambda rng, dtype: jnp.asarray(rng.dirichlet(np.ones(n)), dtype)


def uniform(*shape):
    return lambda rng, dtype: jnp.asarray(rng.uniform(size=shape), dtype)


def integers(low, high, *shape):
    return lambda rng, dtype: jnp.asarray(rng.integers(low, high, shape), jnp.int32)


def key(rng, dtype):
    return jax.random.key(int(rng.integers(1 << 30)))


def tree(**entries):
    return lambda rng, dtype: {k: make(rng, dtype) for k, make in entries.items()}


def several(*entries):
    return lambda rng, dtype: tuple(make(rng, dtype) for make in entries)


def weights(n_in, n_out):
    return tree(weight=array(n_out, n_in), bias=array(n_out))


NONE = several()


def _kernel(height, width, n_in, n_out):
    return tree(kernel=array(height, width, n_in, n_out), bias=array(n_out))


class Case(NamedTuple):
    """An op and what makes its arguments, each from a stream of its own."""

    name: str
    op: Op
    arguments: tuple[Any, ...]

    def example(self, i, dtype=jnp.float32):
        """The arguments of example i."""
        seed = zlib.crc32(self.name.encode())
        return tuple(make(np.random.default_rng([seed, n, i]), dtype) for n, make in enumerate(self.arguments))
