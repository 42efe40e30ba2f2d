"""Models of sequences beside the same computation in PyTorch, values and gradients; token by token; what is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import GRU, LSTM, RNN, network, over_examples
from jaxnn.decoding import beam_search, greedy
from jaxnn.models import character_model, encoder_decoder, sequence_classifier, tagger, wavenet
from jaxnn.testing import assert_gradients_match

KEY = jax.random.key(0)
NET = encoder_decoder(7, 6, 3, 4, n_embedding=2, n_attention=5)
X = {"source": np.array([3, 6, 2, 0, 0]), "source_length": np.array(3), "target": np.array([1, 5, 2])}
WAVE = wavenet(6, 3, 8, dilations=(1, 2, 3), window=2)


def drawn(net, shape, seed=0):
    params, rng = jax.eval_shape(lambda: net.init(KEY, shape))[0], np.random.default_rng(seed)
    return jax.tree.map(lambda s: rng.standard_normal(s.shape) * 0.5, params)


def jitted(f, *args):
    return jax.jit(f)(*args)


# The second route, on tensors by our names.


def dense(p, x):
    return x @ p["weight"].T + p["bias"]


def lstm_of(torch, p, x, reverse=False):
    """nn.LSTM, one layer, one direction: its gates are in our order, i f g o; it has two biases, of which one is 0."""
    x = x.flip(0) if reverse else x
    n = p["weight_h"].shape[1]
    cell = torch.nn.LSTM(x.shape[1], n, dtype=torch.float64)
    weights = {"weight_ih_l0": p["weight_x"], "weight_hh_l0": p["weight_h"], "bias_ih_l0": p["bias"],
               "bias_hh_l0": torch.zeros(4 * n, dtype=torch.float64)}
    h, _ = torch.func.functional_call(cell, weights, (x,))
    return h.flip(0) if reverse else h


def both_ways(torch, p, x):
    return torch.cat([lstm_of(torch, p["forward"], x), lstm_of(torch, p["reversed"], x, reverse=True)], 1)


def characters(torch, p, ids):
    h = p["embedding"]["table"][ids]
    for layer in ("layer1", "layer2"):
        h = lstm_of(torch, p["recurrent"][layer], h)
    return dense(p["head"], h)


def classes(torch, p, x):
    ids, length = x
    h = both_ways(torch, p["recurrent"], p["embedding"]["table"][ids[:length]])
    return dense(p["head"], torch.cat([h[-1, :3], h[0, 3:]]))


def tags(torch, p, x):
    ids, length = x
    return dense(p["head"], both_ways(torch, p["recurrent"], p["embedding"]["table"][ids[:length]]))


def translated(torch, p, x):
    """Padding is cut off, not masked."""
    m = both_ways(torch, p["encoder"], p["source"]["table"][x["source"][:int(x["source_length"])]])
    h = torch.tanh(dense(p["start"], m[0, 3:]))
    c, attention, logits = torch.zeros_like(h), p["attention"], []
    for token in x["target"]:
        z = torch.tanh(attention["weight_q"] @ h + m @ attention["weight_k"].T + attention["bias"])
        a = (z @ attention["score"]).softmax(0) @ m
        d = p["decoder"]
        row = torch.cat([p["target"]["table"][token], a])
        i, f, g, o = (d["weight_x"] @ row + d["weight_h"] @ h + d["bias"]).chunk(4)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        logits.append(dense(p["logits"], torch.cat([h, a])))
    return torch.stack(logits)


def waves(torch, p, ids):
    f = torch.nn.functional
    h, s = p["embedding"]["table"][ids].T[None], 0  # channels first
    for n, d in enumerate((1, 2, 3), 1):
        block = p[f"block{n}"]
        y = f.conv1d(f.pad(h, (d, 0)), block["gates"]["kernel"].permute(2, 1, 0), block["gates"]["bias"], dilation=d)
        z = torch.tanh(y[:, :3]) * torch.sigmoid(y[:, 3:])
        s = s + f.conv1d(z, block["skip"]["weight"][..., None], block["skip"]["bias"])
        if n < 3:
            h = h + f.conv1d(z, block["residual"]["weight"][..., None], block["residual"]["bias"])
    return dense(p["logits"], dense(p["hidden"], s[0].T.relu()).relu())


IDS = np.array([1, 4, 0, 2, 3])
TWINS = {
    "characters": (character_model(5, LSTM(3, layers=2), n_embedding=2), (5,), IDS, characters),
    "classifier": (sequence_classifier(5, LSTM(3, bidirectional=True, return_sequence=False), 4, n_embedding=2),
                   ((5,), ()), (IDS, np.array(4)), classes),
    "tagger": (tagger(5, LSTM(3, bidirectional=True), 4, n_embedding=2), ((5,), ()), (IDS, np.array(4)), tags),
    "encoder-decoder": (NET, {"source": (5,), "target": (3,)}, X, translated),
    "wavenet": (WAVE, (5,), IDS, waves),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", TWINS)
@pytest.mark.usefixtures("x64")
def test_values_and_gradients_of_a_twin(torch, name):
    net, shape, x, twin = TWINS[name]
    params = drawn(net, shape)
    tensors = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), params)
    want = twin(torch, tensors, x)
    dy = np.random.default_rng(1).standard_normal(want.shape)
    want.backward(torch.tensor(dy))
    rows = len(dy) if name == "tagger" else None  # behind the length there is nothing to compare

    def program(params, x):
        y, pull_back = jax.vjp(lambda params: net(params, {}, x)[0][:rows], params)
        return y, pull_back(jnp.asarray(dy))[0]

    y, dparams = jitted(program, params, jax.tree.map(jnp.asarray, x))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=1e-9, atol=1e-12)
    for (path, got), tensor in zip(jax.tree.leaves_with_path(dparams), jax.tree.leaves(tensors), strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-8, atol=1e-11, err_msg=str(path))
        assert np.any(np.abs(got) > 1e-6), path  # else nothing is compared


@pytest.mark.parametrize(("net", "shape", "x"), [
    pytest.param(NET, {"source": (5,), "target": (3,)}, X, id="encoder-decoder", marks=pytest.mark.exhaustive),
    pytest.param(WAVE, (5,), IDS, id="wavenet")])
def test_explicit_passes(net, shape, x):
    """Forward and backward as functions of their own, in place of JAX's transformations."""
    params = jax.tree.map(jnp.float32, drawn(net, shape))
    assert_gradients_match(network(lambda params, x: net(params, {}, x)[0]), params, jax.tree.map(jnp.asarray, x),
                           routes=("explicit",), laws=False)


# Token by token.


@pytest.mark.sampled
@pytest.mark.parametrize("recurrent", [RNN(3), GRU(3, layers=2), LSTM(3), LSTM(3, layers=2)], ids=repr)
def test_characters_one_by_one(recurrent):
    net = character_model(5, recurrent, n_embedding=2)
    params = jax.tree.map(jnp.float32, drawn(net, (5,)))
    one_by_one = jitted(lambda params: jax.lax.scan(functools.partial(net.step, params), net.start(params), IDS)[1],
                         params)
    np.testing.assert_allclose(one_by_one, net(params, {}, jnp.asarray(IDS))[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("window", [2, 3])
def test_waves_one_by_one(window):
    """And what lies behind the field, or ahead, changes nothing."""
    net = wavenet(6, 3, 16, dilations=(1, 2), window=window)
    params = jax.tree.map(jnp.float32, drawn(net, (5,)))
    ids = np.random.default_rng(1).integers(0, 6, 12)
    assert net.field == 1 + 3 * (window - 1)
    program = jax.jit(lambda ids: net(params, {}, ids)[0])
    y = program(ids)
    one_by_one = jitted(lambda ids: jax.lax.scan(functools.partial(net.step, params), net.start(params), ids)[1], ids)
    np.testing.assert_allclose(one_by_one, y, rtol=1e-5, atol=1e-6)
    other = ids.copy()
    other[4] = (ids[4] + 1) % 6
    differs = np.any(np.asarray(program(other)) != np.asarray(y), axis=1)
    assert np.flatnonzero(differs).tolist() == list(range(4, 4 + net.field))


def test_translation_token_by_token():
    """What `greedy` chooses is the likeliest of what training computes, and padding changes nothing."""
    params = jax.tree.map(jnp.float32, drawn(NET, {"source": (5,), "target": (3,)}))

    def decoded(source, length):
        memory, carry = NET.start(params, source, length)
        step = functools.partial(NET.step, params, memory)
        return greedy(step, carry, 1, max_length=4), beam_search(step, carry, 1, width=3, max_length=4)

    one, beams = jitted(decoded, X["source"], X["source_length"])
    target = np.concatenate([[1], one.tokens[:-1]])
    logits, weights = NET.aligned(params, {**X, "target": jnp.asarray(target)})
    np.testing.assert_array_equal(one.tokens, logits.argmax(1))
    np.testing.assert_allclose(one.aux, weights, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(weights[:, 3:], 0)
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert beams.log_p[0] >= one.log_p - 1e-5
    other = {**X, "source": np.array([3, 6, 2, 5, 4]), "target": target}
    np.testing.assert_allclose(NET(params, {}, other)[0], logits, rtol=1e-5, atol=1e-6)


def test_a_batch_of_translations():
    params = jax.tree.map(jnp.float32, drawn(NET, {"source": (5,), "target": (3,)}))
    rng = np.random.default_rng(1)
    x = {"source": rng.integers(0, 7, (2, 5)), "source_length": np.array([2, 5]), "target": rng.integers(0, 6, (2, 3))}
    y, _ = jitted(over_examples(NET), params, {}, x)
    alone = [NET(params, {}, {name: a[i] for name, a in x.items()})[0] for i in range(2)]
    np.testing.assert_allclose(y, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: encoder_decoder(7, 0), "EncoderDecoder expects target_rows, a positive integer; got 0"),
    (lambda: NET.init(KEY, (5,)), 'EncoderDecoder expects a mapping {"source": ..., "target": ...}; got no target'),
    (lambda: NET.init(KEY, {"source": (2, 5), "target": (3,)}), "source of shape (time,); got (2, 5); leave the batch"),
    (lambda: NET({}, {}, {"source": jnp.zeros(3, int), "target": jnp.zeros((2, 3), int)}),
     "target of shape (T,); got (2, 3); for a batch use over_examples around the layer"),
    (lambda: NET({}, {}, {"source": jnp.zeros(3), "target": jnp.zeros(3, int)}),
     "EncoderDecoder expects integer source; got float32"),
    (lambda: NET.start({}, jnp.zeros(0, int)), "a source of at least one token; got none"),
    (lambda: NET.start({}, jnp.zeros(3, int), 4), "length_mask expects lengths in 0 .. 3; got values from 4 to 4"),
    (lambda: NET.step({}, None, None, jnp.zeros(2, int)), "token of shape (); got (2,); for a batch use jax.vmap"),
    (lambda: wavenet(5, dilations=()), "WaveNet expects dilations, a tuple of positive integers; got ()"),
    (lambda: wavenet(5, dilations=[1]), "dilations, a tuple of positive integers; got [1]"),
    (lambda: wavenet(5, window=1), "window, an integer >= 2; got 1; a window of 1 sees the last symbol alone"),
    (lambda: wavenet(0), "WaveNet expects symbols, a positive integer; got 0"),
    (lambda: WAVE.init(KEY, (2, 5)), "symbols of shape (T,); got (2, 5); leave the batch axis out"),
    (lambda: WAVE({}, {}, jnp.zeros((2, 5), int)), "x of shape (T,); got (2, 5); for a batch use over_examples"),
    (lambda: WAVE({}, {}, jnp.zeros(0, int)), "WaveNet expects at least one symbol; got none"),
    (lambda: WAVE({}, {}, jnp.zeros(4)), "WaveNet expects integer x; got float32"),
    (lambda: WAVE.step({}, (), 1), "a carry of 3 arrays; got 0; make the first one with start"),
    (lambda: character_model(5, LSTM(3)).step({}, None, 1.0), "CharacterModel expects integer symbol; got float"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
