"""Twelve networks as plain functions of ops, with arguments small enough to compare at: what a user would write."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import (
    attention,
    concatenate,
    conv,
    dense,
    embedding,
    lstm,
    max_pool,
    relu,
    sigmoid,
    softmax_cross_entropy,
    tanh,
)


def unet(params, x):
    """Skips from the way down to the way up (Ronneberger, Fischer & Brox 2015); x (8, 8, 1) -> (8, 8, 2)."""
    a = relu(conv(params["down1"], x))
    b = relu(conv(params["down2"], max_pool(a)))
    bottom = relu(conv(params["bottom"], max_pool(b)))
    b = relu(conv(params["up2"], concatenate((b, jnp.repeat(jnp.repeat(bottom, 2, 0), 2, 1)))))
    return conv(params["up1"], concatenate((a, jnp.repeat(jnp.repeat(b, 2, 0), 2, 1))))


def encoder_decoder(params, source, target):
    """An LSTM reads the source, another writes the target and attends to what the first kept; -> mean loss, nats."""
    memory, last = lstm(params["encoder"], embedding(params["embedding"], source))
    h, _ = lstm(params["decoder"], embedding(params["embedding"], target[:-1]), last)
    context = attention(h, memory, memory)
    logits = jax.vmap(functools.partial(dense, params["head"]))(concatenate((h, context)))
    return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, target[1:]))


def multi_head_attention(params, x, *, n_heads=2):
    """x (time, width) -> (time, width): queries, keys and values of each head, their values joined."""
    time, width = x.shape

    def split(name):
        return jax.vmap(functools.partial(dense, params[name]))(x).reshape(time, n_heads, -1).swapaxes(0, 1)

    y = jax.vmap(functools.partial(attention, causal=True))(split("q"), split("k"), split("v"))
    return jax.vmap(functools.partial(dense, params["out"]))(y.swapaxes(0, 1).reshape(time, width))


def siamese(params, a, b, label):
    """Contrastive loss of a pair: near if the label is 1, a margin apart if it is 0 (Hadsell, Chopra & LeCun 2006)."""
    def embed(x):
        return dense(params["out"], tanh(dense(params["hidden"], x)))

    squared = jnp.sum((embed(a) - embed(b)) ** 2)
    return label * squared + (1 - label) * relu(1 - squared)


def tied_autoencoder(weight, x):
    """The decoder's weight is the encoder's, transposed; -> squared error of the reconstruction."""
    code = sigmoid(dense({"weight": weight}, x))
    return jnp.sum((dense({"weight": weight.T}, code) - x) ** 2)


def two_heads(params, x, labels):
    """One trunk and a tree of labels: a class, and a box of two numbers that counts where there is an object."""
    h = relu(dense(params["trunk"], x))
    kind = softmax_cross_entropy(dense(params["kind"], h), labels["kind"])
    box = jnp.sum((dense(params["box"], h) - labels["box"]) ** 2)
    return {"kind": kind, "box": jnp.where(labels["kind"] > 0, box, 0.0)}


def inception(params, x):
    """Windows of several sizes side by side on one x (Szegedy et al. 2015); (6, 6, 2) -> (6, 6, 7)."""
    return concatenate((
        relu(conv(params["1x1"], x)),
        relu(conv(params["3x3"], relu(conv(params["before 3x3"], x)))),
        relu(conv(params["pooled"], max_pool(x, window=3, stride=1, padding="SAME")))))


def highway(params, x):
    """y = t h + (1 - t) x with a gate t that is learnt (Srivastava, Greff & Schmidhuber 2015)."""
    for layer in params:
        gate = sigmoid(dense(layer["gate"], x))
        x = gate * tanh(dense(layer["value"], x)) + (1 - gate) * x
    return x


def own_recurrent_network(params, x):
    """A recurrent network of one's own in a scan: h_t = tanh(W [h_{t-1}, x_t] + b), with a skip over one step."""
    def step(carry, x_t):
        h, before = carry
        new = tanh(dense(params["step"], jnp.concatenate([h, x_t]))) + 0.5 * before
        return (new, h), new

    zeros = jnp.zeros(3)
    return jax.lax.scan(step, (zeros, zeros), x)[1]


def mixture_of_experts(params, x):
    """The better of two experts alone is computed, times its gate, by `cond` (Shazeer et al. 2017)."""
    gate = jax.nn.softmax(dense(params["gate"], x))
    return jax.lax.cond(gate[0] > gate[1], lambda: gate[0] * tanh(dense(params["first"], x)),
                        lambda: gate[1] * relu(dense(params["second"], x)))


def language_model(params, ids, mask):
    """The mean loss over the steps that the mask counts, nats per step; the output layer is the embedding's table."""
    h, _ = lstm(params["lstm"], embedding(params["embedding"], ids[:-1]))
    logits = jax.vmap(functools.partial(dense, {"weight": params["embedding"]["table"]}))(h)
    losses = jax.vmap(softmax_cross_entropy)(logits, ids[1:])
    return jnp.sum(jnp.where(mask, losses, 0)) / jnp.maximum(jnp.sum(mask), 1)


# Arguments.

RNG = np.random.default_rng(0)


def array(*shape: int, scale: float = 1.0) -> Any:
    return jnp.asarray(scale * RNG.standard_normal(shape), jnp.float32)


def weights(n_in: int, n_out: int) -> Any:
    return {"weight": array(n_out, n_in, scale=n_in**-0.5), "bias": array(n_out, scale=0.3)}


def kernel(n: int, n_in: int, n_out: int) -> Any:
    return {"kernel": array(n, n, n_in, n_out, scale=(n * n * n_in) ** -0.5), "bias": array(n_out, scale=0.3)}


def recurrent(n_in: int, n: int) -> Any:
    return {"weight_x": array(4 * n, n_in, scale=0.5), "weight_h": array(4 * n, n, scale=0.5), "bias": array(4 * n)}


class Example(NamedTuple):
    """A network and arguments for it, of which a batch shares the first."""

    function: Any
    args: tuple[Any, ...]


EXAMPLES = (
    Example(unet, ({"down1": kernel(3, 1, 2), "down2": kernel(3, 2, 3), "bottom": kernel(3, 3, 4),
                    "up2": kernel(3, 7, 3), "up1": kernel(3, 5, 2)}, array(8, 8, 1))),
    Example(encoder_decoder, ({"embedding": {"table": array(7, 3)}, "encoder": recurrent(3, 4),
                               "decoder": recurrent(3, 4), "head": weights(8, 7)},
                              jnp.array([1, 5, 2, 0]), jnp.array([3, 3, 6, 4, 1]))),
    Example(multi_head_attention, ({name: weights(4, 4) for name in ("q", "k", "v", "out")}, array(5, 4))),
    Example(siamese, ({"hidden": weights(4, 6), "out": weights(6, 2)}, array(4), array(4), jnp.asarray(1.0))),
    Example(tied_autoencoder, (array(3, 5), array(5))),
    Example(two_heads, ({"trunk": weights(4, 6), "kind": weights(6, 3), "box": weights(6, 2)}, array(4),
                        {"kind": jnp.asarray(2), "box": array(2)})),
    Example(inception, ({"1x1": kernel(1, 2, 2), "before 3x3": kernel(1, 2, 2), "3x3": kernel(3, 2, 3),
                         "pooled": kernel(1, 2, 2)}, array(6, 6, 2))),
    Example(highway, ([{"gate": weights(4, 4), "value": weights(4, 4)} for _ in range(3)], array(4))),
    Example(own_recurrent_network, ({"step": weights(5, 3)}, array(6, 2))),
    Example(mixture_of_experts, ({"gate": weights(4, 2), "first": weights(4, 3), "second": weights(4, 3)}, array(4))),
    Example(language_model, ({"embedding": {"table": array(7, 4)}, "lstm": recurrent(4, 4)},
                             jnp.array([1, 5, 2, 0, 6, 6]), jnp.array([True, True, True, False, True]))),
)
