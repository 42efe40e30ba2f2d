"""What is random is a function of its key: the same in each precision and under each transformation, and another for
another example, step or part of a network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import Dropout, Sequential, over_examples
from jaxnn.data import Batches
from jaxnn.ops import dropout, squared_error
from jaxnn.training import make_step, start_from

KEY = jax.random.key(7)
ONES = np.ones((8, 8))


def kept(x, key=KEY):
    return np.asarray(dropout(x, key, rate=0.5), np.float32) != 0


WANT = kept(jnp.asarray(ONES, jnp.float32))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_the_same_mask_in_each_precision(dtype):
    with jax.enable_x64(dtype == "float64"):
        np.testing.assert_array_equal(kept(jnp.asarray(ONES, dtype)), WANT)


UNDER = {
    "jit": jax.jit(lambda x: dropout(x, KEY, rate=0.5)),
    "a key as an argument": lambda x: jax.jit(lambda x, k: dropout(x, k, rate=0.5))(x, KEY),
    "checkpoint": jax.checkpoint(lambda x: dropout(x, KEY, rate=0.5)),
    "the gradient": jax.grad(lambda x: jnp.sum(dropout(x, KEY, rate=0.5))),
    "the gradient of checkpoint": jax.grad(jax.checkpoint(lambda x: jnp.sum(dropout(x, KEY, rate=0.5)))),
    "forward mode": lambda x: jax.jvp(lambda x: dropout(x, KEY, rate=0.5), (x,), (x,))[1],
    "vmap over one": lambda x: jax.vmap(lambda x, k: dropout(x, k, rate=0.5))(x[None], KEY[None])[0],
    "a scan of one": lambda x: jax.lax.scan(lambda c, k: (c, dropout(x, k, rate=0.5)), 0, KEY[None])[1][0],
    "cond": lambda x: jax.lax.cond(x[0, 0] > 0, lambda x: dropout(x, KEY, rate=0.5), lambda x: x, x),
    "the reference": lambda x: dropout.reference(x, KEY, rate=0.5),
    "the explicit passes": lambda x: dropout.backward(dropout.forward(x, KEY, rate=0.5)[1], x)[0],
    "raw data of the key": lambda x: dropout(x, jax.random.key_data(KEY), rate=0.5),
}


@pytest.mark.parametrize("name", UNDER)
def test_the_same_mask_under_each_transformation(name):
    np.testing.assert_array_equal(np.asarray(UNDER[name](jnp.asarray(ONES, jnp.float32))) != 0, WANT)


def test_examples_and_parts_draw_differently():
    net = Sequential(first=Dropout(0.5), second=Dropout(0.5))
    one, _ = over_examples(Sequential(Dropout(0.5)))({}, {}, jnp.ones((2, 64)), KEY, train=True)
    assert not np.array_equal(one[0], one[1])
    both, _ = net({}, {}, jnp.ones(4096), KEY, train=True)
    assert 0.2 < float((both != 0).mean()) < 0.3  # of two masks that are drawn apart a quarter stays


def test_steps_draw_differently_and_can_be_repeated():
    """The gradient of a dropped weight is 0: which ones are dropped is read off the step."""
    optimizer = optax.sgd(1.0)

    def layer(params, state, x, key, *, train):
        return dropout(params["w"], key, rate=0.5) + 0 * x[0], state

    step = make_step(layer, squared_error, optimizer)
    x, labels = jnp.ones((1, 1)), jnp.zeros((1, 64))

    def moved(number):
        before = start_from({"w": jnp.ones(64)}, {}, optimizer, KEY)._replace(step=jnp.asarray(number, jnp.int32))
        after, _ = step(before, x, labels)
        return np.asarray(after.params["w"]) != 1

    np.testing.assert_array_equal(moved(3), moved(3))
    assert not np.array_equal(moved(3), moved(4))


def test_epochs_are_drawn_differently():
    x = np.arange(16)
    for seed in (0, np.int64(0)):
        first, again = Batches(x, None, 16, seed=seed), Batches(x, None, 16)
        np.testing.assert_array_equal(first(0)[0], again(0)[0])
    assert not np.array_equal(first(0)[0], first(1)[0])  # each epoch has an order of its own
