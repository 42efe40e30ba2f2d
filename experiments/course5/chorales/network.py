"""The network of the chorales: an LSTM or a GRU that reads frames and gives a logit for each key of the next frame."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.course5.chorales.pieces import Windows
from jaxnn import GRU, LSTM, RNN, Dense, Dropout, Sequential, binary_cross_entropy, dense, over_examples
from jaxnn.data.music import N_KEYS

__all__ = ["CELLS", "Composer", "cost_of", "loss", "network_of"]

CELLS: dict[str, type[RNN]] = {"LSTM": LSTM, "GRU": GRU}


def network_of(cell: str, hidden: int, rate: float) -> Sequential:
    """frames (time, 88) -> logits (time, 88) of the frame that follows each."""
    return Sequential(recurrent=CELLS[cell](hidden), dropout=Dropout(rate), head=over_examples(Dense(N_KEYS)))


def loss(logits: Any, label: Any) -> Any:
    """Σ over frames and keys, in nats; label: (frames (time, 88), weights (time,), 0 behind the end of a piece)."""
    frames, weights = label
    return binary_cross_entropy(logits, frames, weights)


@functools.partial(jax.jit, static_argnums=0)
def _group_cost(net: Sequential, params: Any, group: Windows) -> tuple[Any, Any]:
    logits = jax.vmap(lambda frames: net(params, {}, frames.astype(jnp.float32))[0])(group.before)
    by_frame = jax.vmap(functools.partial(binary_cross_entropy, axes=1))(logits, group.frames)
    weights = group.weights.at[:, 0].set(0)  # the first frame of a piece is predicted from nothing
    return jnp.sum(by_frame * weights), jnp.sum(weights)


def cost_of(net: Sequential, params: Any, groups: list[Windows]) -> float:
    """Nats per frame, summed over the keys; the first frame of each piece is left out. groups: of whole pieces."""
    sums = np.array([[float(part) for part in _group_cost(net, params, group)]
                     for group in ([Windows(*map(jnp.asarray, group)) for group in groups])])
    total, frames = sums.sum(axis=0)
    return float(total / frames)


class Composer:
    """Writes pieces frame by frame: each key of a frame is drawn by itself, with p = σ(z / temperature)."""

    def __init__(self, net: Sequential, params: Any):
        self.params = params
        layer: Any = net.parts["recurrent"]
        self._op = layer.op
        self._run = jax.jit(self._pieces, static_argnums=2)

    def pieces(self, beginnings: np.ndarray, length: int, temperature: float,
               key: Any) -> tuple[np.ndarray, np.ndarray]:
        """(rolls (n, beginning + length, 88) uint8, entropies (n, length), bits).

        Args:
          beginnings: (n, frames, 88), what each piece begins with.
          length: frames to be written behind it.
          temperature: 1 draws from the model; smaller is nearer to the likeliest frame.
          key: a PRNG key.
        The entropy of a frame is that of the model's own distribution, at temperature 1.
        """
        rolls, entropies = self._run(self.params, (jnp.asarray(beginnings), jnp.float32(temperature), key), length)
        return np.concatenate([beginnings, np.asarray(rolls)], axis=1).astype(np.uint8), np.asarray(entropies)

    def _pieces(self, params: Any, given: Any, length: int) -> tuple[Any, Any]:
        beginnings, temperature, key = given

        def one(beginning: Any, key: Any) -> tuple[Any, Any]:
            # As in training, silence stands before the first frame.
            x = jnp.concatenate([jnp.zeros_like(beginning[:1]), beginning]).astype(jnp.float32)
            h, state = self._op(params["recurrent"], x)

            def frame(carry: Any, key: Any) -> Any:
                h, state = carry
                z = dense(params["head"], h)
                drawn = jax.random.bernoulli(key, jax.nn.sigmoid(z / temperature)).astype(jnp.float32)
                p = jax.nn.sigmoid(z)
                bits = -jnp.sum(p * jax.nn.log_sigmoid(z) + (1 - p) * jax.nn.log_sigmoid(-z)) / jnp.log(2)
                h, state = self._op(params["recurrent"], drawn[None], state)
                return (h[0], state), (drawn, bits)

            return jax.lax.scan(frame, (h[-1], state), jax.random.split(key, length))[1]

        return jax.vmap(one)(beginnings, jax.random.split(key, len(beginnings)))
