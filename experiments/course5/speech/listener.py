"""A network that writes down what it hears: convolutions, a recurrent network in both directions, and CTC."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course5.speech.recordings import N_MELS
from jaxnn import GRU, BatchNorm, Conv, Dense, Dropout, Layer, Sequential, ctc, length_mask, relu
from jaxnn.audio import spec_augment
from jaxnn.decoding import ctc_beam_search, ctc_greedy
from jaxnn.layers import over_examples
from jaxnn.layers.layer import output_of, shape_of
from jaxnn.training import evaluate, fit, make_step, start

__all__ = ["BLANK", "Heard", "Listener", "as_batch", "heard", "listener", "loss_of_labels", "read", "train"]

BLANK = 0


@dataclasses.dataclass(frozen=True)
class Listener(Layer):
    """{"features" (frames, N_MELS), "length" ()} -> logits (⌈⌈frames / 2⌉ / 2⌉, classes), class 0 the blank.

    What stands behind the length reaches the last steps through the convolutions alone.
    """

    below: Sequential
    recurrent: GRU
    head: Layer
    random = True

    def init(self, key, shape):
        x = shape_of(self, shape)["features"]
        keys = jax.random.split(key, 3)
        below, state = over_examples(self.below).init(keys[0], (1, *x.shape))
        steps, n = output_of(self.below, below, state, x).shape
        recurrent, _ = self.recurrent.init(keys[1], (steps, n))
        head, _ = self.head.init(keys[2], (steps, 2 * self.recurrent.n_hidden))
        return {"below": below, "recurrent": recurrent, "head": head}, {"below": state}

    def apply(self, params, state, x, key, *, train):
        h, below = self.below(params["below"], state["below"], x["features"], key, train=train)
        h, _ = self.recurrent(params["recurrent"], {}, (h, length_mask(steps_of(x["length"]), h.shape[0])), None)
        return self.head(params["head"], {}, h)[0], {"below": below}


def listener(classes: int, channels: int, hidden: int, dropout: float) -> Listener:
    below = Sequential(conv1=Conv(channels, (5,), stride=2, use_bias=False), norm1=BatchNorm(), relu1=relu,
                       conv2=Conv(channels, (5,), stride=2, use_bias=False), norm2=BatchNorm(), relu2=relu,
                       dropout=Dropout(dropout))
    return Listener(below, GRU(hidden, bidirectional=True, reset_after=True), over_examples(Dense(classes)))


def steps_of(frames: Any) -> Any:
    """Steps of the logits that so many frames have."""
    return (((frames + 1) // 2) + 1) // 2


def loss_of_labels(logits: Any, label: Any) -> Any:
    """CTC's loss, nats; the label: (labels (S,), steps, how many labels)."""
    labels, n_steps, n_labels = label
    return ctc(logits, labels, n_steps, n_labels, blank=BLANK)


def as_batch(features: Any, lengths: np.ndarray, labels: list[np.ndarray], longest: int) -> tuple[Any, Any]:
    """(x, labels) of a step. features (B, frames, N_MELS), lengths (B,) frames, labels: the classes of each."""
    rows = np.ones((len(labels), longest), np.int32)
    for row, label in zip(rows, labels, strict=True):
        row[:len(label)] = label
    lengths = np.asarray(lengths, np.int32)
    return ({"features": features, "length": lengths},
            (rows, steps_of(lengths).astype(np.int32), np.array([len(label) for label in labels], np.int32)))


@functools.partial(jax.jit, static_argnames=("time_width", "masks"))
def hide(key: Any, x: Any, lengths: Any, *, time_width: int, masks: int = 2) -> jax.Array:
    """Features with bands hidden, and louder or softer."""
    def one(key: Any, x: Any, length: Any) -> Any:
        of_gain, of_masks = jax.random.split(key)
        louder = x + jnp.where(x > jnp.min(x), 0.3 * jax.random.normal(of_gain), 0)
        return spec_augment(of_masks, louder, time_masks=masks, time_width=time_width, frequency_masks=1,
                            frequency_width=8, length=length)

    return jax.vmap(one)(jax.random.split(key, x.shape[0]), x, lengths)


def train(net: Listener, batches: Any, frames: int, *, steps: int, learning_rate: float, seed: int,
          metrics: Any = None, records: int = 20) -> tuple[Any, Any]:
    """(the train state, the history)."""
    warm = max(1, steps // 20)
    schedule = optax.warmup_cosine_decay_schedule(0.0, learning_rate, warm, max(steps, warm + 1))
    optimizer = optax.chain(optax.clip_by_global_norm(5.0), optax.adam(schedule))
    shape = {"features": jax.ShapeDtypeStruct((frames, N_MELS), jnp.float32),
             "length": jax.ShapeDtypeStruct((), jnp.int32)}
    return fit(start(net, optimizer, shape, jax.random.key(seed)), make_step(net, loss_of_labels, optimizer), batches,
               steps=steps, every=max(1, steps // records), metrics=metrics, progress=False)


class Heard(NamedTuple):
    """logits (n, steps, classes), steps (n,), and the labels by the likeliest path and by beam search."""

    logits: np.ndarray
    steps: np.ndarray
    greedy: list[np.ndarray]
    beam: list[np.ndarray]


def heard(net: Listener, params: Any, state: Any, x: Any, width: int) -> Heard:
    """What the network hears in x; width: of the beam search, 0 for none."""
    logits = evaluate(net, params, state, x, batch_size=min(50, len(x["length"])))
    steps = np.asarray(steps_of(x["length"]))
    return Heard(np.asarray(logits), steps, *read(logits, steps, width))


def read(logits: Any, steps: Any, width: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(labels by the likeliest path, labels by beam search)."""
    paths = _greedy(logits, steps)
    greedy = [np.asarray(labels[:n]) for labels, n in zip(np.asarray(paths.labels), np.asarray(paths.length),
                                                          strict=True)]
    if not width:
        return greedy, []
    beams = _beams(logits, steps, width)
    best = [labels[0, :n[0]] for labels, n in zip(np.asarray(beams.labels), np.asarray(beams.length), strict=True)]
    return greedy, best


@jax.jit
def _greedy(logits: Any, steps: Any) -> Any:
    return jax.vmap(lambda z, n: ctc_greedy(z, n, blank=BLANK))(logits, steps)


@functools.partial(jax.jit, static_argnums=2)
def _beams(logits: Any, steps: Any, width: int) -> Any:
    return jax.vmap(lambda z, n: ctc_beam_search(z, n, width=width, blank=BLANK))(logits, steps)
