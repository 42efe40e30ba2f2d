"""The course's language model of dinosaurs' names: one name at a time, clipped gradient descent, its seeds, in float64.

The network is the course's: a_t = tanh(Waa a_{t-1} + Wax x_t + b), y_t = softmax(Wya a_t + by), where x_t is the
letter before as a one-hot column and x_1 is zero. Three habits of the notebook shape its numbers: the state after a
name is the first one of the next name; the cost of a name is a sum over its letters, in nats; and what is printed is a
moving average that starts at 7 ln 27, as if names had seven letters.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.course5.loops import softmax
from experiments.course5.names import ALPHABET, as_arrays, spelled
from jaxnn import dense, embedding, rnn, softmax_cross_entropy
from jaxnn.ops import length_mask

__all__ = ["CLIP", "RATE", "Printed", "clip", "cost", "initial", "optimize", "sample", "train"]

RATE, CLIP = 0.01, 5.0
SYMBOLS = len(ALPHABET)


class Printed(NamedTuple):
    """What the notebook prints: the smoothed cost in nats, and seven sampled names."""

    iteration: int
    loss: float
    names: list[str]


def initial(n_a: int = 50, seed: int = 1, scale: float = 0.01) -> dict[str, Any]:
    """Weights from the normal distribution, drawn in the course's order, and zero biases."""
    rng = np.random.RandomState(seed)
    Wax, Waa, Wya = (rng.randn(*shape) * scale for shape in ((n_a, SYMBOLS), (n_a, n_a), (SYMBOLS, n_a)))
    return {"rnn": {"weight_x": Wax, "weight_h": Waa, "bias": np.zeros(n_a)},
            "head": {"weight": Wya, "bias": np.zeros(SYMBOLS)}}


def cost(params: Any, ids: Any, length: Any, a_prev: Any) -> tuple[Any, Any]:
    """(Σ_t -ln y_t[ids_t], the state after the name). ids (time,) padded to any length, a_prev (n_a,)."""
    # x is the letters before as rows of the identity, and a row of zeros in front.
    x = embedding({"table": jnp.eye(SYMBOLS, dtype=a_prev.dtype)}, ids[:-1])
    x = jnp.concatenate([jnp.zeros_like(x[:1]), x])
    mask = length_mask(length, len(ids))
    a, last = rnn(params["rnn"], x, a_prev, mask)
    losses = jax.vmap(lambda a_t, letter: softmax_cross_entropy(dense(params["head"], a_t), letter))(a, ids)
    return jnp.sum(jnp.where(mask, losses, 0)), last


def clip(gradients: Any, most: float) -> Any:
    """Each element of each gradient into [-most, most]."""
    return jax.tree.map(lambda g: jnp.clip(g, -most, most), gradients)


def optimize(params: Any, ids: Any, length: Any, a_prev: Any) -> tuple[Any, Any, Any, Any]:
    """One name, one step: (cost, clipped gradients, the state after the name, params). The state given is no parameter:
    backpropagation ends at the start of the name."""
    (loss, last), gradients = jax.value_and_grad(cost, has_aux=True)(params, ids, length, a_prev)
    gradients = clip(gradients, CLIP)
    return loss, gradients, last, jax.tree.map(lambda p, g: p - RATE * g, params, gradients)


def sample(params: Any, seed: int, most: int = 50) -> list[int]:
    """One name, letter by letter: each letter is drawn after NumPy's generator was seeded with the count so far plus a
    seed that counts too; a newline ends it, and is put there after `most` letters."""
    (Wax, Waa, b), (Wya, by) = (
        tuple(np.asarray(params[part][key], np.float64) for key in keys)
        for part, keys in (("rnn", ("weight_x", "weight_h", "bias")), ("head", ("weight", "bias"))))
    a, x = np.zeros(len(b)), np.zeros(SYMBOLS)
    ids: list[int] = []
    while len(ids) < most and ids[-1:] != [0]:
        a = np.tanh(Wax @ x + Waa @ a + b)
        ids.append(int(np.random.RandomState(2 * len(ids) + seed).choice(SYMBOLS, p=softmax(Wya @ a + by))))
        x = np.eye(SYMBOLS)[ids[-1]]
    return ids if ids[-1] == 0 else [*ids, 0]


def train(names: list[str], iterations: int, n_a: int = 50, every: int = 2000) -> Iterator[Printed]:
    """The notebook's loop: what it prints at iterations 0, every, 2 every ... up to the last of them.

    Names are shuffled once, and come in that order again and again. Call it under `jax.enable_x64(True)`.
    """
    order = list(names)
    np.random.RandomState(0).shuffle(order)
    ids, lengths = map(jnp.asarray, as_arrays(order))
    params = jax.tree.map(jnp.asarray, initial(n_a))
    carry = params, jnp.zeros(n_a, params["rnn"]["bias"].dtype), jnp.asarray(7 * np.log(SYMBOLS))

    def step(carry: Any, j: Any) -> Any:
        params, a_prev, smooth = carry
        n = j % len(order)
        loss, _, a_prev, params = optimize(params, ids[n], lengths[n], a_prev)
        return (params, a_prev, 0.999 * smooth + 0.001 * loss), None

    @jax.jit
    def advance(carry: Any, first: Any, n: Any) -> Any:
        return lax.fori_loop(first, first + n, lambda j, carry: step(carry, j)[0], carry)

    done = 0
    for iteration in range(0, iterations, every):
        carry = advance(carry, done, iteration + 1 - done)
        done = iteration + 1
        params, _, smooth = carry
        yield Printed(iteration, float(smooth), [spelled(sample(params, seed)) for seed in range(7)])
