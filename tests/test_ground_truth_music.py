"""The sizes of the course's recurrent networks (course 5): ours have as many parameters as its notebooks print."""

import jax
import jax.numpy as jnp
import pytest

from experiments.course5.jazz.experiment import network_of
from jaxnn import LSTM, Dense, Embedding
from tests import course

CASES = course.load()
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


def size(layer, *shape, dtype=jnp.float32):
    x = jax.ShapeDtypeStruct(shape, dtype)
    params, _ = jax.eval_shape(lambda key: layer.init(key, x), jax.random.key(0))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def emojify_trainable():
    return size(LSTM(128), 10, 50) + size(LSTM(128), 10, 128) + size(Dense(5), 128)


def date_translator():
    attention = size(Dense(10), 128) + size(Dense(1), 10)
    return size(LSTM(32, bidirectional=True), 30, 37) + attention + size(LSTM(64), 10, 64) + size(Dense(11), 64)


SIZES = {
    "jazz_2018": lambda: size(network_of(64, 78), 30, 78),
    "jazz_2021": lambda: size(network_of(64, 90), 30, 90),
    "emojify_trainable": emojify_trainable,
    "emojify_total": lambda: emojify_trainable() + size(Embedding(400_001, 50), 10, dtype=jnp.int32),
    "emojify_toy_lstm": lambda: size(LSTM(128), 10, 2),
    "nmt": date_translator,
}


@pytest.mark.parametrize("name", SIZES)
def test_the_sizes_that_the_course_prints(name):
    assert SIZES[name]() == CASES["c5.params"]["expected"][name]


def test_every_size_is_computed():
    assert set(SIZES) == set(CASES["c5.params"]["expected"])
