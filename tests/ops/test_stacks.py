"""Both directions, stacks and dropout between them: against PyTorch's packed sequences, and against their parts."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, network
from jaxnn.ops import bidirectional, gru_reset_after, length_mask, lstm, rnn, stacked
from tests.compare import assert_close, pulled_back
from tests.ops.recurrent_networks import N_IN, NETS, N, assert_same, make, run

LENGTHS, TIME = (6, 4, 1), 6


def parameters(op, n_in, seed=0):
    blocks = {rnn: 1, gru_reset_after: 3, lstm: 4}[op]
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.standard_normal(shape) / 2  # noqa: E731
    params = {"weight_x": normal(blocks * N, n_in), "weight_h": normal(blocks * N, N), "bias": normal(blocks * N)}
    return params | ({"bias_h": normal(N)} if op is gru_reset_after else {})


def two_layers(op):
    """Of two layers, each in both directions."""
    return {f"layer{i + 1}": {way: parameters(op, (N_IN, 2 * N)[i], 2 * i + r)
                              for r, way in enumerate(("forward", "reversed"))} for i in range(2)}


@pytest.mark.parametrize(("op", "kind"), [(rnn, "RNN"), (gru_reset_after, "GRU"), (lstm, "LSTM")],
                         ids=["rnn", "gru", "lstm"])
@pytest.mark.usefixtures("x64")
def test_packed_sequences_of_pytorch(torch, op, kind):
    """Two layers in both directions over sequences of three lengths: values, last states and all gradients."""
    theirs = getattr(torch.nn, kind)(N_IN, N, num_layers=2, bidirectional=True, batch_first=True).double()
    params = two_layers(op)
    named = []
    for i in range(2):
        for way, suffix in (("forward", ""), ("reversed", "_reverse")):
            part = params[f"layer{i + 1}"][way]
            second = np.zeros(len(part["bias"]))
            second[-N:] = part.get("bias_h", 0)
            for ours, other, value in (("weight_x", "weight_ih", part["weight_x"]),
                                       ("weight_h", "weight_hh", part["weight_h"]), ("bias", "bias_ih", part["bias"]),
                                       ("bias_h", "bias_hh", second)):
                leaf = getattr(theirs, f"{other}_l{i}{suffix}")
                with torch.no_grad():
                    leaf.copy_(torch.tensor(value))
                if ours in part:
                    named.append((f"layer{i + 1}", way, ours, leaf))
    x = np.random.default_rng(9).standard_normal((len(LENGTHS), TIME, N_IN))
    t = torch.tensor(x, requires_grad=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(t, LENGTHS, batch_first=True)
    y, last = theirs(packed)
    y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first=True)
    states = list(last) if kind == "LSTM" else [last]  # each (layers * directions, batch, N)
    (y.sin().sum() + sum(s.cos().sum() for s in states)).backward()

    net = stacked(bidirectional(op), bidirectional(op))

    def cost(params, x):
        def one(x, length):
            mask = length_mask(length, TIME)
            h, last = net(params, x, None, mask)
            return jnp.where(mask[:, None], h, 0), last

        h, last = jax.vmap(one)(x, jnp.array(LENGTHS))
        return jnp.sum(jnp.sin(h)) + sum(jnp.sum(jnp.cos(s)) for s in jax.tree.leaves(last)), (h, last)

    program = jax.jit(jax.value_and_grad(cost, (0, 1), has_aux=True))
    (_, (h, last)), (dparams, dx) = program(jax.tree.map(jnp.asarray, params), jnp.asarray(x))
    same = lambda a, b: np.testing.assert_allclose(a, b.detach().numpy(), rtol=1e-10, atol=1e-12)  # noqa: E731
    same(h, y)
    for layer in range(2):
        for way in range(2):
            for ours, other in zip(jax.tree.leaves(last[layer][way]), states, strict=True):
                same(ours, other[2 * layer + way])
    same(dx, t.grad)
    for layer, way, name, leaf in named:
        got = dparams[layer][way][name]
        same(got, leaf.grad[-N:] if name == "bias_h" else leaf.grad)


@pytest.mark.usefixtures("x64")
def test_a_stack_is_its_parts():
    params, x, _ = make(NETS["lstm"], 5)
    second = parameters(lstm, N)
    h, last = run(stacked(lstm, lstm), {"layer1": params, "layer2": second}, x)
    below, first_last = run(lstm, params, x)
    assert_same((h, last), (lambda h, second_last: (h, (first_last, second_last)))(*run(lstm, second, below)))
    # From given states, and in segments.
    halves = stacked(lstm, lstm)
    one, middle = run(halves, {"layer1": params, "layer2": second}, x[:3], segment=2)
    two, end = run(halves, {"layer1": params, "layer2": second}, x[3:], middle)
    assert_same((np.concatenate([one, two]), end), (h, last))


def test_dropout_between_layers():
    params, x, _ = make(NETS["rnn"], 8)
    x = x.astype(np.float32)
    params = jax.tree.map(np.float32, {"layer1": params, "layer2": parameters(rnn, N)})
    above = params["layer2"] | {"weight_x": np.eye(N, dtype=np.float32), "weight_h": np.zeros((N, N), np.float32),
                                "bias": np.zeros(N, np.float32)}
    params |= {"layer2": above}  # tanh of what comes up
    plain = run(stacked(rnn, rnn, rate=0.5), params, x)[0]
    key = jax.random.key(1)
    for same_mask in (False, True):
        h = run(stacked(rnn, rnn, rate=0.5, same_mask=same_mask), params, x, None, None, key)[0]
        kept = np.asarray(h != 0)
        assert kept.any() and not kept.all()
        assert same_mask == bool((kept == kept[0]).all())
        np.testing.assert_allclose(np.arctanh(h[kept]), 2 * np.arctanh(plain)[kept], rtol=1e-4)


@pytest.mark.usefixtures("x64")
def test_explicit_passes():
    net = network(stacked(bidirectional(lstm), bidirectional(lstm)))
    x = np.random.default_rng(1).standard_normal((4, N_IN))
    params = jax.tree.map(jnp.asarray, two_layers(lstm))
    y, cache = net.forward(params, x)
    dy = jax.tree.map(jnp.ones_like, y)
    assert_close((y, net.backward(cache, dy)[:2]), pulled_back(net.reference, params, x, dy=dy), threshold=64)


def test_compared():
    net = network(bidirectional(rnn))
    params = {way: jax.tree.map(np.float32, parameters(rnn, N_IN)) for way in ("forward", "reversed")}
    report = compare_gradients(net, params, np.ones((3, N_IN), np.float32))
    assert report.ok, str(report)


P = {"forward": 1, "reversed": 1}
X = jnp.ones((3, N_IN))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: bidirectional(rnn)({"forward": 1}, X),
     "bidirectional expects params to be a dict of forward, reversed; got ['forward']"),
    (lambda: bidirectional(rnn)((1, 2), X),
     "bidirectional expects params to be a dict of forward, reversed; got tuple"),
    (lambda: bidirectional(rnn)(P, X, (1, 2, 3)),
     "bidirectional expects initial to be a pair, (forward, reversed), or None; got 3 of them"),
    (lambda: bidirectional(rnn)(P, X, jnp.ones(3)), "bidirectional expects initial to be a pair"),
    (lambda: stacked(), "stacked expects recurrent ops, at least one; got ()"),
    (lambda: stacked(rnn, 3), "stacked expects recurrent ops"),
    (lambda: stacked(rnn, rate=1.0), "stacked expects rate, the fraction dropped, in [0, 1); got 1.0"),
    (lambda: stacked(rnn, rnn)({"layer1": 1}, X),
     "stacked expects params to be a dict of layer1, layer2; got ['layer1']"),
    (lambda: stacked(rnn, rnn)({"layer1": 1, "layer2": 2}, X, (1,)),
     "stacked expects initial to be 2 states, one for each op, or None; got 1 of them"),
    (lambda: stacked(rnn, rnn, rate=0.5)({"layer1": 1, "layer2": 2}, X, None, None, 7), "stacked expects a PRNG key")])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
