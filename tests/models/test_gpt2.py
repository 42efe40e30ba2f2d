"""GPT-2 beside a random twin in PyTorch with the published names: logits, gradients, weights in and out, decoding."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.models import BadWeights, from_gpt2, gpt2, read_safetensors, to_gpt2, write_safetensors

NET = gpt2(11, 8, 12, 2, 3, rate=0.0)
TOKENS = np.array([3, 0, 10, 3, 7])


def shapes(net=NET):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), (net.n_places,)))[0]


def drawn(seed=0):
    """Random arrays by published names."""
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(a.shape) * 0.3 + (1 if re.search(r"ln_\w+\.weight", name) else 0)).astype("f4")
            for name, a in to_gpt2(jax.tree.map(lambda s: np.zeros(s.shape), shapes())).items()}


def twin(torch, w, tokens, n_layers, n_heads):
    """The published computation, on tensors by their published names; written for this comparison."""
    f = torch.nn.functional

    def conv1d(x, name):  # whose weight is (n_in, n_out)
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    def norm(x, name):
        return f.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    T = len(tokens)
    x = w["wte.weight"][tokens] + w["wpe.weight"][:T]
    for n in range(n_layers):
        heads = [a.reshape(T, n_heads, -1).transpose(0, 1)
                 for a in conv1d(norm(x, f"h.{n}.ln_1"), f"h.{n}.attn.c_attn").chunk(3, 1)]
        scores = heads[0] @ heads[1].transpose(1, 2) / math.sqrt(heads[0].shape[-1])
        scores = scores.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        y = (scores.softmax(-1) @ heads[2]).transpose(0, 1).reshape(T, -1)
        x = x + conv1d(y, f"h.{n}.attn.c_proj")
        h = conv1d(norm(x, f"h.{n}.ln_2"), f"h.{n}.mlp.c_fc")
        x = x + conv1d(f.gelu(h, approximate="tanh"), f"h.{n}.mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].T


def test_logits_and_gradients_of_a_twin(torch):
    arrays = drawn()
    dy = np.random.default_rng(1).standard_normal((5, 11)).astype(np.float32)

    def program(params):
        y, pull_back = jax.vjp(lambda params: NET(params, {}, jnp.asarray(TOKENS))[0], params)
        return y, pull_back(jnp.asarray(dy))[0]

    logits, dparams = jax.jit(program)(from_gpt2(arrays, shapes()))
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in arrays.items()}
    want = twin(torch, tensors, torch.tensor(TOKENS), 2, 3)
    want.backward(torch.tensor(dy))
    pairs = {name: (a, tensors[name].grad.numpy()) for name, a in to_gpt2(dparams).items()}
    assert set(pairs) == set(arrays)
    for got, right in ((logits, want.detach().numpy()), *pairs.values()):
        np.testing.assert_allclose(got, right, atol=2e-5 * max(np.abs(right).max(), 1e-3), rtol=0)


def test_parameters_of_the_small_one():
    assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(gpt2()))) == 124_439_808


def test_decoding_token_by_token():
    params = from_gpt2(drawn(), shapes())
    want, _ = NET(params, {}, jnp.asarray(TOKENS))

    @jax.jit
    def decoded(params, tokens):
        first, caches = NET.next(params, NET.empty_caches(params), tokens[:2])
        _, rest = jax.lax.scan(lambda c, token: NET.next(params, c, token[None])[::-1], caches, tokens[2:])
        return jnp.concatenate([first, rest[:, 0]])

    np.testing.assert_allclose(decoded(params, jnp.asarray(TOKENS)), want, rtol=2e-5, atol=2e-5)


def test_weights_through_a_file(tmp_path):
    pytest.importorskip("safetensors")
    arrays = drawn()
    masks = {"h.0.attn.bias": np.ones((1, 1, 8, 8), np.float32), "h.1.attn.masked_bias": np.float32(-1e4)[None]}
    file = tmp_path / "model.safetensors"
    write_safetensors(file, {f"transformer.{name}": a for name, a in (arrays | masks).items()}
                      | {"lm_head.weight": arrays["wte.weight"]})
    again = to_gpt2(from_gpt2(read_safetensors(file), shapes()))
    assert set(again) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)
    assert arrays["h.0.attn.c_attn.weight"].shape == (12, 36)  # (n_in, n_out)


@pytest.mark.parametrize(("change", "words"), [
    (lambda a: a.pop("ln_f.bias"), "missing ln_f.bias"),
    (lambda a: a.update({"extra": np.ones(2)}), "left over extra"),
    (lambda a: a.update({"h.1.mlp.c_fc.weight": a["h.1.mlp.c_fc.weight"].T}),
     "h.1.mlp.c_fc.weight of shape (48, 12) where (12, 48) is expected"),
    (lambda a: a.update({"wpe.weight": np.zeros((8, 12), int)}), "wpe.weight of dtype int64 where floating-point"),
    (lambda a: a.update({"lm_head.weight": a["wte.weight"] + 1}), "lm_head.weight that differs from wte.weight"),
])
def test_weights_that_do_not_fit(change, words):
    arrays = drawn()
    change(arrays)
    with pytest.raises(BadWeights, match=re.escape(words)):
        from_gpt2(arrays, shapes())


@pytest.mark.parametrize(("call", "words"), [
    (lambda p: NET(p, {}, jnp.ones(9, int)), "between 1 and 8 tokens; got 9"),
    (lambda p: NET(p, {}, jnp.ones((2, 4), int)), "x of shape (T,); got (2, 4); it takes one example"),
    (lambda p: NET(p, {}, jnp.ones(4)), "integer x; got float32"),
    (lambda p: NET.next(p, NET.empty_caches(p), jnp.int32(1)), "for one token pass x[None]"),
    (lambda p: NET.next(p, NET.empty_caches(p), jnp.ones(9, int)), "at most 8 tokens in all; got 9"),
    (lambda p: NET.empty_caches(p, 9), "capacity, an integer in 1 .. 8; got 9"),
    (lambda p: gpt2(11, 8, 12, 2, 5), "n_dim that the 5 heads divide; got 12"),
    (lambda p: NET.init(jax.random.key(0), (9,)), "tokens of shape (T,), T at most 8; got (9,)"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call(from_gpt2(drawn(), shapes()))
