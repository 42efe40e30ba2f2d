"""A network of two dense layers, and a few ops, to look inside of."""


import jax.numpy as jnp
import numpy as np

from jaxnn import (
    Dense,
    Sequential,
    hand_derived,
    look_inside,
    ops,
)


def plain_op(name, forward, slope):
    """An op, element by element."""
    def op(x):
        return forward(x), x

    op.__name__ = name
    op = hand_derived(op)
    op.defbackward(lambda x, dy: (dy * slope(x),))
    return op


def times(factor):
    return plain_op("times", lambda x: factor * x, lambda x: factor)


root = plain_op("root", jnp.sqrt, lambda x: 0.5 / jnp.sqrt(x))  # at 0 finite forward, infinite backward
logarithm = plain_op("logarithm", jnp.log, lambda x: 1 / x)


def dense_params(n_in, n_out, seed=0):
    rng = np.random.default_rng(seed)
    return {"weight": jnp.asarray(rng.standard_normal((n_out, n_in)), jnp.float32), "bias": jnp.ones(n_out)}


NET = Sequential(Dense(4), ops.relu, Dense(2))
PARAMS = {"dense1": dense_params(3, 4), "dense2": dense_params(4, 2, 1)}
X = jnp.asarray(np.random.default_rng(2).standard_normal((5, 3)), jnp.float32)


def look(*parts, x, **options):
    """Looks inside of ops one after another, which have no parameters."""
    return look_inside(Sequential(*parts), {}, {}, x, **options)


def mean_square(y):
    return jnp.mean(jnp.sum(y**2, -1))
