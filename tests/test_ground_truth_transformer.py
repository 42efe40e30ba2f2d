"""The course's transformer (course 5 week 4): every printed number whose inputs are printed too, in float64.

In training the course's own dropout masks are put in the place of random ones, in the order of the calls.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from jaxnn.models.transformer import course_transformer
from jaxnn.ops.attention_plan import Plan
from jaxnn.ops.positions import _angles
from tests import course
from tests.test_ground_truth import assert_within

CASES = course.load()
HANDLERS = {}
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")
NET = course_transformer(32, 32, 4, 2, 2, 8)  # rows, d, layers, heads, hidden units


def handles(*ids):
    def register(function):
        HANDLERS.update(dict.fromkeys(ids, function))
        return function

    return register


@handles("c5w4.get_angles")
def get_angles(pos, d_model):
    return np.repeat(_angles(np.arange(pos), d_model, 10000), 2, 1)


@handles("c5w4.posenc_norms")
def posenc_norms(positions, d):
    table = ops.sinusoidal_positions(positions, d)
    return {"norm_34": jnp.linalg.norm(table[34]), "dist_70_72": jnp.linalg.norm(table[70] - table[72])}


@handles("c5w4.sdpa")
def scaled_dot_product_attention(q, k, v):
    q, k, v = map(jnp.asarray, (q, k, v))
    return {"out": ops.attention(q, k, v), "weights": ops.attention(q, k, jnp.eye(len(k)))}


@handles("c5w4.padding_mask_softmax")
def padding_mask_softmax(x):
    """The padding of the first example masks all three rows."""
    return {"row_b0": ops.softmax(jnp.where(x[0] != 0, x, -jnp.inf))}


@handles("c5w4.look_ahead_mask")
def look_ahead_mask(n):
    """Which values reach which query."""
    return (ops.attention(jnp.zeros((n, 1)), jnp.zeros((n, 1)), jnp.eye(n), causal=True) > 0).astype(int)


def dense(W, n_in):
    """Keras' kernel, (n_in ..., n_out ...), and its bias of 0."""
    weight = jnp.asarray(W).reshape(n_in, -1).T
    return {"weight": weight, "bias": jnp.zeros(len(weight))}


def block_params(w):
    norm = {"scale": jnp.ones(4), "bias": jnp.zeros(4)}
    heads = {name: dense(w[name], 4) for name in "qkv"} | {"out": dense(w["o"], 8)}
    return {"attention": heads, "norm_attention": norm, "hidden": dense(w["ffn1"], 4), "output": dense(w["ffn2"], 8),
            "norm_output": norm}


def encoder_params(w):
    return {"embedding": {"table": jnp.asarray(w["embedding"])},
            **{f"block{n}": block_params(layer) for n, layer in enumerate(w["layers"], 1)}}


def with_masks(monkeypatch, masks):
    """Dropout keeps what the masks say, one after the other."""
    rest = iter(masks)
    monkeypatch.setattr(jax.random, "bernoulli", lambda *args: jnp.asarray(next(rest), bool))
    monkeypatch.setattr(Plan, "kept", lambda *args: jnp.asarray(next(rest), bool))
    return rest


@handles("c5w4.encoder_layer.eval", "c5w4.encoder_layer.train")
def encoder_layer(monkeypatch, x, key_mask, weights, dropout_masks_keep=None):
    masks = dropout_masks_keep or {}
    rest = with_masks(monkeypatch, [mask[0] for mask in masks.values()])
    mask = jnp.broadcast_to(jnp.asarray(key_mask, bool), (3, 3))
    y, _ = NET.encoder.block(block_params(weights), {}, {"x": jnp.asarray(x[0]), "mask": mask}, jax.random.key(0),
                             train=bool(masks))
    assert next(rest, None) is None
    return y[None]


@handles("c5w4.encoder.eval", "c5w4.encoder.train")
def encoder(monkeypatch, tokens, weights, key_mask=None, dropout_masks_keep=None):
    """In training without a mask of padding."""
    masks, ys = dropout_masks_keep or {}, []
    for n, row in enumerate(tokens):
        rest = with_masks(monkeypatch, [mask[n] for mask in masks.values()])
        x = {"tokens": jnp.asarray(row)}
        if key_mask is not None:
            x["length"] = int(np.sum(key_mask[n]))
        ys.append(NET.encoder(encoder_params(weights), {}, x, jax.random.key(0), train=bool(masks))[0])
        assert next(rest, None) is None
    return jnp.stack(ys)


@pytest.mark.parametrize("name", list(HANDLERS))
@pytest.mark.usefixtures("x64")
def test_case(name, monkeypatch):
    case, handler = CASES[name], HANDLERS[name]
    patched = (monkeypatch,) if "encoder" in name else ()
    assert_within(handler(*patched, **case["inputs"]), case["expected"], case["tolerance"]["rel_to_max_abs"])


def test_all_cases_but_one():
    """The whole transformer's weights are not printed."""
    assert {name for name in CASES if name.startswith("c5w4")} - set(HANDLERS) == {"c5w4.transformer.train"}
