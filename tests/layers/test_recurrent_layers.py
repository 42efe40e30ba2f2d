"""Recurrent layers: masks, both directions, several layers; and the models made of them."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import GRU, LSTM, RNN, over_examples
from jaxnn.models import character_model, sequence_classifier, tagger
from jaxnn.ops import bidirectional, length_mask, lstm
from tests.compare import assert_close

KEY = jax.random.key(0)


def jitted(f, *args):
    return jax.jit(f)(*args)


def test_padding_changes_nothing():
    layer = LSTM(3, layers=2, bidirectional=True, return_sequence=False)
    params, _ = jitted(lambda key: layer.init(key, (5, 2)), KEY)
    x = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    padded = np.concatenate([x[:3], np.full((2, 2), np.nan, np.float32)])
    short, masked = jitted(lambda a, b: (layer(params, {}, a)[0], layer(params, {}, (b, length_mask(3, 5)))[0]),
                            x[:3], padded)
    assert_close(masked, short)


def test_last_states_of_both_directions():
    layer = LSTM(3, bidirectional=True, return_sequence=False)
    params, _ = jitted(lambda key: layer.init(key, (5, 2)), KEY)
    x = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    y, (h, last) = jitted(lambda x: (layer(params, {}, x)[0], bidirectional(lstm)(params, x)), x)
    np.testing.assert_array_equal(y, np.concatenate([h[-1, :3], h[0, 3:]]))
    np.testing.assert_array_equal(y, np.concatenate([last[0][0], last[1][0]]))


def test_every_gate_of_every_layer_starts_as_of_one():
    params, _ = jitted(lambda key: LSTM(3, layers=2, bidirectional=True).init(key, (5, 2)), KEY)
    assert set(params) == {"layer1", "layer2"} and set(params["layer2"]) == {"forward", "reversed"}
    for part in jax.tree.leaves(params, is_leaf=lambda p: "bias" in p):
        np.testing.assert_array_equal(part["bias"], np.repeat([0, 1, 0, 0], 3))
        np.testing.assert_allclose(part["weight_h"][:3] @ part["weight_h"][:3].T, np.eye(3), atol=1e-6)
    weights = [params[layer][way]["weight_h"] for layer in params for way in params[layer]]
    assert len({float(w[0, 0]) for w in weights}) == 4  # each drawn by itself


def test_dropout_in_training_alone():
    layer = GRU(8, layers=2, dropout=0.5)
    assert layer.random and not GRU(8, layers=2).random
    params, _ = jitted(lambda key: layer.init(key, (5, 2)), KEY)
    x = jnp.ones((5, 2))
    ys = jitted(lambda keys: [layer(params, {}, x, key, train=train)[0]
                               for key, train in ((keys[0], True), (keys[1], True), (keys[0], True), (None, False))],
                 jax.random.split(KEY))
    np.testing.assert_array_equal(ys[0], ys[2])
    assert np.any(ys[0] != ys[1]) and np.any(ys[0] != ys[3])


@pytest.mark.parametrize(("call", "words"), [
    (lambda: RNN(3, layers=0), "RNN expects layers, a positive integer; got 0"),
    (lambda: LSTM(3, layers=2, dropout=1.0), "LSTM expects dropout, the fraction dropped, in [0, 1); got 1.0"),
    (lambda: LSTM(3, dropout=0.5), "LSTM expects dropout between layers, of two or more; got layers=1; put "
     "Dropout(...) behind it in a Sequential"),
    (lambda: GRU(3, bidirectional=1), "GRU expects bidirectional to be True or False; got 1"),
    (lambda: RNN(3).init(KEY, (5, 2, 1)), "RNN expects x of shape (time, n_in); got (5, 2, 1)"),
    (lambda: RNN(3)({}, {}, (jnp.ones((5, 2)), None, None)),
     "RNN expects x, an array, or the pair (x, mask); got a tuple"),
    (lambda: character_model(5, LSTM(3, bidirectional=True)),
     "character_model expects a recurrent layer in one direction; got bidirectional=True"),
    (lambda: character_model(5, 3), "character_model expects a layer RNN, GRU or LSTM; got 3"),
    (lambda: sequence_classifier(5, LSTM(3), 2),
     "sequence_classifier expects a recurrent layer with return_sequence=False; got True"),
    (lambda: tagger(5, LSTM(3, return_sequence=False), 2),
     "tagger expects a recurrent layer with return_sequence=True; got False"),
    (lambda: tagger(5, LSTM(3), 2).init(KEY, (5,)), "OfLength expects x, the pair (ids, length); got ShapeDtypeStruct"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


# Models.


@pytest.mark.exhaustive
def test_what_stands_behind_a_length_changes_nothing():
    ids = jnp.array([[1, 2, 3, 0], [4, 1, 1, 1]])
    other = ids.at[0, 2:].set(4)
    lengths = jnp.array([2, 4])
    for make, recurrent, shape in ((sequence_classifier, LSTM(3, return_sequence=False, bidirectional=True), (2, 6)),
                                   (tagger, GRU(3, layers=2, bidirectional=True), (2, 4, 6))):
        net = make(5, recurrent, 6)
        params, state = jitted(lambda key: net.init(key, ((4,), ())), KEY)  # noqa: B023
        run = lambda ids: over_examples(net)(params, state, (ids, lengths))[0]  # noqa: B023, E731
        y, same = jitted(lambda ids, other: (run(ids), run(other)), ids, other)  # noqa: B023
        assert y.shape == shape
        if make is tagger:
            y, same = y.at[0, 2:].set(0), same.at[0, 2:].set(0)
        np.testing.assert_array_equal(y, same)


def test_a_character_model_does_not_see_what_follows():
    net = character_model(5, LSTM(4), n_embedding=3)
    params, state = jitted(lambda key: net.init(key, (6,)), KEY)
    ids = jnp.array([1, 2, 3, 4, 0, 1])
    y, changed = jitted(lambda a, b: (net(params, state, a)[0], net(params, state, b)[0]), ids, ids.at[3].set(0))
    assert y.shape == (6, 5)
    np.testing.assert_array_equal(y[:3], changed[:3])
    assert np.any(y[3:] != changed[3:])
