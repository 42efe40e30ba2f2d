"""The encoder-decoder beside the published computation in PyTorch, padding, the course's traps, and what is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import over_examples
from jaxnn.models import course_transformer, decoder, encoder, transformer

RNG = np.random.default_rng(0)
NET = course_transformer(9, 7, 4, 2, 2, 5)
X = {"source": np.array([3, 1, 8, 0]), "target": np.array([2, 5, 6, 0]),
     "memory_mask": np.broadcast_to([True, True, True, False], (4, 4))}  # of the target's padding, as in the course


def drawn(net, shape):
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), shape))[0]
    return jax.tree.map(lambda s: RNG.standard_normal(s.shape) * 0.5, params)


def published(torch, params, x, n_heads, d_head, n_layers, eps):
    """Post-norm encoder and decoder on tensors."""
    def dense(p, x):
        return x @ p["weight"].T + p["bias"]

    def norm(p, x):
        return torch.nn.functional.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], eps)

    def attended(p, x, memory, sees):
        ys = []
        for h in range(n_heads):
            q, k, v = (dense(p[name], a)[:, h * d_head:(h + 1) * d_head]
                       for name, a in (("q", x), ("k", memory), ("v", memory)))
            scores = q @ k.T / d_head**0.5 + torch.where(sees, 0.0, -1e9)
            ys.append(scores.softmax(-1) @ v)
        return dense(p["out"], torch.cat(ys, 1))

    def stack(p, tokens, sees, memory=None, sees_memory=None):
        d = p["embedding"]["table"].shape[1]
        angles = np.arange(len(tokens))[:, None] / 10000 ** (2 * (np.arange(d) // 2) / d)
        x = p["embedding"]["table"][tokens] * d**0.5
        x = x + torch.tensor(np.where(np.arange(d) % 2, np.cos(angles), np.sin(angles)))
        for n in range(1, n_layers + 1):
            b = p[f"block{n}"]
            x = norm(b["norm_attention"], x + attended(b["attention"], x, x, sees))
            if memory is not None:
                x = norm(b["norm_cross"], x + attended(b["cross"], x, memory, sees_memory))
            x = norm(b["norm_output"], x + dense(b["output"], dense(b["hidden"], x).relu()))
        return x

    all_of_source = torch.ones(len(x["source"]), len(x["source"]), dtype=torch.bool)
    memory = stack(params["encoder"], x["source"], all_of_source)
    past = torch.ones(len(x["target"]), len(x["target"])).tril().bool()
    y = stack(params["decoder"], x["target"], past, memory, torch.tensor(x["memory_mask"].copy()))
    return dense(params["logits"], y)


@pytest.mark.usefixtures("x64")
def test_the_courses_transformer(torch):
    """Heads as wide as the model, eps 1e-6, the target's padding over the source."""
    params = drawn(NET, {"source": (4,), "target": (4,)})
    assert params["encoder"]["block1"]["attention"]["q"]["weight"].shape == (2 * 4, 4)
    dy = RNG.standard_normal((4, 7))

    def program(params):
        y, pull_back = jax.vjp(lambda params: NET(params, {}, jax.tree.map(jnp.asarray, X))[0], params)
        return y, pull_back(jnp.asarray(dy))[0]

    logits, dparams = jax.jit(program)(params)
    tensors = jax.tree.map(lambda a: torch.tensor(a, requires_grad=True), params)
    want = published(torch, tensors, X, 2, 4, 2, 1e-6)
    want.backward(torch.tensor(dy))
    np.testing.assert_allclose(logits, want.detach().numpy(), rtol=1e-7, atol=1e-8)  # PE is in float64 too
    for got, tensor in zip(jax.tree.leaves(dparams), jax.tree.leaves(tensors), strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("pre_norm", [False, True])
def test_padding_changes_nothing(pre_norm):
    net = transformer(9, 7, 4, 1, 2, 5, rate=0.0, pre_norm=pre_norm)
    params = drawn(net, {"source": (4,), "target": (4,)})
    run = jax.jit(functools.partial(net, params, {}))
    short, _ = run({"source": np.array([3, 1, 8]), "target": np.array([2, 5])})
    padded, _ = run({"source": np.array([3, 1, 8, 4]), "target": np.array([2, 5, 0, 6]), "source_length": 3,
                     "target_length": 2})
    np.testing.assert_allclose(padded[:2], short, rtol=1e-5, atol=1e-5)
    assert ("norm" in params["encoder"]) == pre_norm


def test_training_draws_dropout_and_stays_causal():
    net = transformer(9, 7, 4, 1, 2, 5, rate=0.3)
    params = drawn(net, {"source": (4,), "target": (4,)})
    x = {name: jnp.stack([a, a]) for name, a in X.items() if name != "memory_mask"}
    run = jax.jit(functools.partial(over_examples(net), train=True))
    a, _ = run(params, {}, x, jax.random.key(0))
    assert not np.allclose(a[0], a[1])  # each example draws by itself
    other = x | {"target": x["target"].at[:, 3].set(1)}
    np.testing.assert_array_equal(run(params, {}, other, jax.random.key(0))[0][:, :3], a[:, :3])


def test_parameters_of_the_base_model():
    """As counted by hand: d² (4 + 8) and biases and norms for an encoder's block, 4 d² more for a decoder's."""
    d, h = 512, 2048
    attention, feed_forward, norm = 4 * (d * d + d), 2 * d * h + d + h, 2 * d
    expected = 6 * (attention + feed_forward + 2 * norm) + 6 * (2 * attention + feed_forward + 3 * norm)
    expected += 2 * 100 * d + 100 * d + 100
    net = transformer(100, 100)
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), {"source": (3,), "target": (3,)}))[0]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == expected


@pytest.mark.parametrize(("call", "words"), [
    (lambda: encoder(9, 4, 1, 3, 5).init(jax.random.key(0), (4,)), "x of a width that its 3 heads divide; got 4"),
    (lambda: encoder(0, 4, 1, 2, 5), "n_rows, a positive integer; got 0"),
    (lambda: encoder(9, 4, 1, 2, 5).init(jax.random.key(0), (2, 4)), "tokens of shape (T,); got (2, 4); leave"),
    (lambda: decoder(9, 4, 1, 2, 5).init(jax.random.key(0), (4,)), "a memory; got none with cross=True"),
    (lambda: NET.init(jax.random.key(0), (4,)), "a mapping {\"source\": ..., \"target\": ...}; got no target"),
    (lambda: NET({}, {}, {"src": X["source"]}), "x, an array or a mapping of 'source', 'target'"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
