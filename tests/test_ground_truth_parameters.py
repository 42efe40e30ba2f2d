"""How many parameters the course's networks of sequences have, by their layers' shapes alone; nothing is drawn."""

import jax
import pytest

from jaxnn import LSTM, Dense, Embedding, Sequential
from jaxnn.layers import over_examples
from tests import course

CASES = course.load()
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


def parameters(layer, shape):
    params, _ = jax.eval_shape(lambda: layer.init(jax.random.key(0), shape))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def jazz(values):
    return parameters(LSTM(64), (30, values)) + parameters(Dense(values), (64,))


def emojify():
    """The part that is trained: two LSTM layers and the five emojis."""
    net = Sequential(first=LSTM(128), second=LSTM(128, return_sequence=False), head=Dense(5))
    return parameters(net, (10, 50))


def translator():
    """The additive attention reads both directions' 64 numbers and the decoder's 64."""
    attention = Sequential(hidden=over_examples(Dense(10)), score=over_examples(Dense(1)))
    return (parameters(LSTM(32, bidirectional=True), (30, 37)) + parameters(attention, (30, 128))
            + parameters(LSTM(64), (10, 64)) + parameters(Dense(11), (64,)))


COUNTS = {"jazz_2018": lambda: jazz(78), "jazz_2021": lambda: jazz(90), "emojify_trainable": emojify,
          "emojify_total": lambda: emojify() + parameters(Embedding(400_001, 50), (10,)),
          "emojify_toy_lstm": lambda: parameters(LSTM(128), (4, 2)), "nmt": translator}


@pytest.mark.parametrize("name", COUNTS)
def test_parameters_as_keras_counts_them(name):
    assert set(CASES["c5.params"]["expected"]) == set(COUNTS)
    assert COUNTS[name]() == CASES["c5.params"]["expected"][name]
