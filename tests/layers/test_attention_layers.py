"""MultiHeadAttention and TransformerBlock beside PyTorch's modules with the same weights: values, and the gradients of
everything; decoding place by place; what is refused."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import MultiHeadAttention, TransformerBlock, over_examples
from jaxnn.ops import gelu
from tests.compare import assert_close

RNG = np.random.default_rng(0)
pytestmark = pytest.mark.usefixtures("x64")


def of_attention(module):
    """Our params with the numbers of a torch.nn.MultiheadAttention, or its gradients."""
    return {part: {"weight": w, "bias": b} for part, w, b in zip("qkv", *(
        np.split(a, 3) for a in (module["in_proj_weight"], module["in_proj_bias"])))} | {
        "out": {"weight": module["out_proj.weight"], "bias": module["out_proj.bias"]}}


def arrays(module, gradients=False):
    return {name: (p.grad if gradients else p).detach().numpy() for name, p in module.named_parameters()}


def of_block(module, cross):
    """Of a torch.nn.TransformerEncoderLayer or TransformerDecoderLayer."""
    def part(name):
        return {key.removeprefix(f"{name}."): a for key, a in module.items() if key.startswith(f"{name}.")}

    def norm(name):
        return {"scale": module[f"{name}.weight"], "bias": module[f"{name}.bias"]}

    params = {"attention": of_attention(part("self_attn")), "norm_attention": norm("norm1"), "hidden": part("linear1"),
              "output": part("linear2"), "norm_output": norm("norm3" if cross else "norm2")}
    return params | ({"cross": of_attention(part("multihead_attn")), "norm_cross": norm("norm2")} if cross else {})


def passes(layer, params, x, dy):
    """(y, the cotangents of params and of the floating-point parts of x), compiled as one program."""
    moving = {name: a for name, a in x.items() if np.asarray(a).dtype.kind == "f"}

    def program(params, moving):
        y, pull_back = jax.vjp(lambda p, m: layer(p, {}, x | m)[0], params, moving)
        return y, pull_back(jnp.asarray(dy))

    return jax.jit(program)(jax.tree.map(jnp.asarray, params), moving)


def close(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def randomized(torch, module, seed=0):
    generator = torch.Generator().manual_seed(seed)
    module = module.double()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * 0.4)
    return module


@pytest.mark.sampled
@pytest.mark.parametrize(("causal", "surroundings"), [
    (True, ()), (False, ("memory", "length")), (False, ("mask",)), (True, ("length",))])
def test_attention_as_in_pytorch(causal, surroundings, torch):
    T, S = 4, 5 if "memory" in surroundings else 4
    module = randomized(torch, torch.nn.MultiheadAttention(6, 3, batch_first=True))
    x = {"x": RNG.standard_normal((T, 6))}
    if "memory" in surroundings:
        x["memory"] = RNG.standard_normal((S, 6))
    hidden = np.zeros((T, S), bool)
    if "length" in surroundings:
        x["length"] = np.int32(3)
        hidden[:, 3:] = True
    if "mask" in surroundings:
        x["mask"] = RNG.random((T, S)) < 0.6
        x["mask"][:, 0] = True
        hidden |= ~x["mask"]
    if causal:
        hidden |= ~np.tri(T, S, dtype=bool)
    dy = RNG.standard_normal((T, 6))
    y, (dparams, dx) = passes(MultiHeadAttention(3, causal=causal), of_attention(arrays(module)), x, dy)
    tensors = {name: torch.tensor(x[name], requires_grad=True) for name in ("x", "memory") if name in x}
    memory = tensors.get("memory", tensors["x"])
    # PyTorch's mask says True where a query may not see a key.
    want, _ = module(tensors["x"][None], memory[None], memory[None], attn_mask=torch.tensor(hidden), need_weights=False)
    want.backward(torch.tensor(dy)[None])
    close(y, want[0].detach().numpy())
    close(dx, {name: t.grad.numpy() for name, t in tensors.items()})
    close(dparams, of_attention(arrays(module, True)))


@pytest.mark.sampled
@pytest.mark.parametrize(("pre_norm", "cross", "activation"), [
    (False, False, "relu"), (True, False, "gelu"), (False, True, "relu"), (True, True, "relu")])
def test_block_as_in_pytorch(pre_norm, cross, activation, torch):
    kind = torch.nn.TransformerDecoderLayer if cross else torch.nn.TransformerEncoderLayer
    module = randomized(torch, kind(6, 2, 5, 0.0, activation, batch_first=True, norm_first=pre_norm))
    x = {"x": RNG.standard_normal((4, 6))} | ({"memory": RNG.standard_normal((3, 6))} if cross else {})
    if cross:
        x["memory_length"] = np.int32(2)
    layer = TransformerBlock(2, 5, causal=True, cross=cross, pre_norm=pre_norm,
                             **({"activation": gelu} if activation == "gelu" else {}))
    dy = RNG.standard_normal((4, 6))
    y, (dparams, dx) = passes(layer, of_block(arrays(module), cross), x, dy)
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in x.items() if a.ndim == 2}
    future = torch.tensor(~np.tri(4, dtype=bool))
    if cross:
        want = module(tensors["x"][None], tensors["memory"][None], tgt_mask=future,
                      memory_key_padding_mask=torch.tensor([[False, False, True]]))
    else:
        want = module(tensors["x"][None], src_mask=future)
    want.backward(torch.tensor(dy)[None])
    close(y, want[0].detach().numpy())
    close(dx, {name: t.grad.numpy() for name, t in tensors.items()})
    close(dparams, of_block(arrays(module, True), cross))


@pytest.mark.parametrize("choices", [
    {"n_kv_heads": 2, "rotary": "halves"}, {"alibi": True, "d_head": 2, "n_out": 3}, {"window": (2, None)}], ids=str)
def test_decoding_place_by_place(choices):
    layer = MultiHeadAttention(4, causal=True, **choices)
    x = RNG.standard_normal((6, 16))
    params, _ = layer.init(jax.random.key(0), x.shape)
    want, _ = layer(params, {}, x)

    @jax.jit
    def decoded(params, x):
        first, cache = layer.next(params, layer.empty_cache(params, 8), x[:2])
        _, rest = jax.lax.scan(lambda c, x_t: layer.next(params, c, x_t[None])[::-1], cache, x[2:])
        return jnp.concatenate([first, rest[:, 0]])

    close(decoded(params, x), want)


def test_dropout_in_training_alone():
    layer = TransformerBlock(2, 8, rate_weights=0.3, rate_attention=0.3, rate_hidden=0.3, rate_output=0.3)
    x = jnp.asarray(RNG.standard_normal((2, 4, 6)))
    params, state = layer.init(jax.random.key(0), (4, 6))
    run = jax.jit(functools.partial(over_examples(layer), train=True))
    a, b, again = (run(params, state, x, jax.random.key(n))[0] for n in (1, 2, 1))
    assert not np.allclose(a, b)
    np.testing.assert_array_equal(a, again)
    assert_close(over_examples(layer)(params, state, x)[0][1], layer(params, state, x[1])[0])
    with pytest.raises(ValueError, match="expects a PRNG key"):
        layer(params, state, x[0], train=True)


def test_parameters_by_name():
    layer = TransformerBlock(4, 8, n_kv_heads=2, cross=True, use_bias=False)
    shapes, _ = jax.eval_shape(lambda: layer.init(jax.random.key(0), {"x": (5, 8), "memory": (3, 6)}))
    found = {"/".join(k.key for k in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)}
    assert found["attention/k/weight"] == (4, 8) and found["cross/v/weight"] == (4, 6)
    assert found["hidden/weight"] == (8, 8) and found["cross/q/weight"] == (8, 8)
    assert not any("bias" in name for name in found if "norm" not in name)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: MultiHeadAttention(3).init(jax.random.key(0), (4, 8)), "a width that its 3 heads divide; got 8; or"),
    (lambda: MultiHeadAttention(4, n_kv_heads=3), "n_kv_heads that divides the 4 heads; got 3"),
    (lambda: MultiHeadAttention(0), "n_heads, a positive integer; got 0"),
    (lambda: MultiHeadAttention(2, rotary="yes"), "rotary, 'halves', 'interleaved' or None; got 'yes'"),
    (lambda: MultiHeadAttention(2, rate=1.0), "rate, the fraction dropped, in [0, 1); got 1.0"),
    (lambda: TransformerBlock(2, 0), "n_hidden, a positive integer; got 0"),
    (lambda: TransformerBlock(2, 4, cross=True).init(jax.random.key(0), (4, 4)), "a memory; got none with cross=True"),
    (lambda: TransformerBlock(2, 4).init(jax.random.key(0), {"x": (4, 4), "memory": (3, 4)}),
     "no memory; got ['memory'] with cross=False; make the block with cross=True"),
    (lambda: applied(MultiHeadAttention(2), {"x": jnp.ones((4, 4)), "padding": 3}), "x, an array or a mapping of 'x'"),
    (lambda: applied(MultiHeadAttention(2), jnp.ones((2, 4, 4))), "x of shape (time, n); got (2, 4, 4); it takes one"),
    (lambda: applied(MultiHeadAttention(2), {"x": jnp.ones((4, 4)), "length": 9}), "length in 0 .. 4; got 9"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def applied(layer, x):
    params, _ = layer.init(jax.random.key(0), (4, 4))
    return layer(params, {}, x)
