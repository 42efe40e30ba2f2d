"""The course's translation of dates (course 5, week 3) with its released weights, and its attention."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.decoding import beam_search, greedy
from jaxnn.ops import hard_sigmoid, sigmoid
from jaxnn.text import CharacterVocabulary, character_error_rate, pad
from tests import course

CASES = course.load()
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


@functools.cache
def weights():
    h5py = pytest.importorskip("h5py")
    path = course.data_directory() / "c5" / "nmt_attention_model.h5"
    if not path.is_file():
        pytest.skip("the course's weights are not in the data directory")
    with h5py.File(path) as file:
        found = {}
        file["model_weights"].visititems(lambda name, node: found.update(
            {"/".join(name.split("/")[-2:]): np.asarray(node)}) if isinstance(node, h5py.Dataset) else None)
    return found


def keras_hard_sigmoid(z):
    """clip(0.2 z + 0.5, 0, 1); PyTorch's and ours have z / 6."""
    return hard_sigmoid(1.2 * z)


def lstm_step(name, gate, carry, x):
    """Keras' order of gates: i, f, candidate, o."""
    h, c = carry
    w = weights()
    z = x @ w[f"{name}/kernel:0"] + h @ w[f"{name}/recurrent_kernel:0"] + w[f"{name}/bias:0"]
    i, f, g, o = jnp.split(z, 4)
    c = gate(f) * c + gate(i) * jnp.tanh(g)
    return (gate(o) * jnp.tanh(c), c), gate(o) * jnp.tanh(c)


def encoded(x, gate):
    """(T, 64), both directions side by side."""
    zeros = jnp.zeros(32), jnp.zeros(32)
    ways = [jax.lax.scan(functools.partial(lstm_step, f"{way}_lstm_21", gate), zeros, x, reverse=way == "backward")[1]
            for way in ("forward", "backward")]
    return jnp.concatenate(ways, 1)


def decoder_step(a, gate, carry, token):
    """The token before is not read: the course's decoder sees its own state and the attention alone."""
    w = weights()
    both = jnp.concatenate([a, jnp.broadcast_to(carry[0], (len(a), 64))], 1)
    energy = jnp.tanh(both @ w["dense_36/kernel:0"] + w["dense_36/bias:0"]) @ w["dense_37/kernel:0"]
    attention = jax.nn.softmax(jax.nn.relu(energy + w["dense_37/bias:0"])[:, 0])
    carry, h = lstm_step("lstm_20", gate, carry, attention @ a)
    return carry, h @ w["dense_38/kernel:0"] + w["dense_38/bias:0"], attention


@pytest.mark.parametrize(("name", "gate"), [("c5w3.nmt.hard_sigmoid", keras_hard_sigmoid),
                                            ("c5w3.nmt.sigmoid", sigmoid)])
def test_released_weights(name, gate):
    inputs = CASES["c5w3.nmt.hard_sigmoid"]["inputs"]
    characters = [c for c in inputs["human_vocab"] if len(c) == 1]
    human = CharacterVocabulary(characters, special=["<unk>", "<pad>"], unknown="<unk>")
    machine = CharacterVocabulary(list(inputs["machine_vocab"]))
    tokens, _ = pad([human.encode(text.lower().replace(",", "")) for text in inputs["sources"]], 30, fill=1)
    # The course numbers its special tokens last.
    x = jax.nn.one_hot((tokens - 2) % 37, 37)

    def translated(x):
        step = functools.partial(decoder_step, encoded(x, gate), gate)
        zeros = jnp.zeros(64), jnp.zeros(64)
        return greedy(step, zeros, 0, max_length=10), beam_search(step, zeros, 0, width=3, max_length=10)

    one, beams = jax.jit(jax.vmap(translated))(x)
    texts = [machine.decode(tokens) for tokens in one.tokens]
    assert texts == list(CASES[name]["expected"])
    assert character_error_rate(texts, list(CASES[name]["expected"])) == 0
    assert one.aux.shape == (8, 10, 30)  # the picture of attention
    np.testing.assert_allclose(one.aux.sum(-1), 1, rtol=1e-5)
    # No step reads a token, so that the likeliest of each step are the likeliest of all.
    np.testing.assert_array_equal(beams.tokens[:, 0], one.tokens)
    np.testing.assert_allclose(beams.aux[:, 0], one.aux, rtol=1e-4, atol=1e-6)
