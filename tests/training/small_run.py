"""A small run that the tests of the loop share: data, a network, and `train` with its options."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import ops
from jaxnn.data import Batches
from jaxnn.layers import BatchNorm, Dense, Dropout, Sequential
from jaxnn.training import evaluate, fit, make_step, start

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 4)).astype(np.float32)
Y = (X[:, 0] * X[:, 1] > 0).astype(np.int32)
NET = Sequential(Dense(8), BatchNorm(), ops.relu, Dropout(0.1), Dense(2))
OPTIMIZER = optax.adam(0.02)
STEP = make_step(NET, ops.softmax_cross_entropy, OPTIMIZER)


def begin():
    return start(NET, OPTIMIZER, (4,), jax.random.key(0))


def error(params, state):
    return {"error": jnp.mean(evaluate(NET, params, state, X).argmax(-1) != Y)}


def train(steps=30, step=STEP, batches=None, train_state=None, **options):
    options = {"metrics": error, "every": 10, "progress": False} | options
    train_state = begin() if train_state is None else train_state
    return fit(train_state, step, batches or Batches(X, Y, 32), steps=steps, **options)


def poisoned(at, value=np.nan):
    """Batches of which those at these steps hold a value that is not finite."""
    def batches(s):
        x, y = Batches(X, Y, 32)(s)
        return (x.at[3, 1].set(value), y) if s in at else (x, y)

    batches.indices = Batches(X, Y, 32).indices
    return batches
