"""Bad calls of training: optimizers, start, steps, fit, checkpoints, meshes, trials and evaluation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import Dense, Dropout, Sequential, dense, relu
from jaxnn.data import Batches
from jaxnn.ops import softmax_cross_entropy, squared_error
from jaxnn.training import (
    fit,
    make_step,
    start,
    start_from,
)
from tests.bad_calls.row import Row

__all__ = ["ROWS"]

KEY = jax.random.key(0)
LAYER, OPTIMIZER = Dense(3), optax.sgd(0.1)
X, LABELS = np.ones((4, 2), np.float32), np.array([0, 1, 2, 0])
COUNTS = {"zero": 0, "minus one": -1, "a fraction": 2.5, "a whole float": 4.0, "text": "4", "True": True, "NaN": np.nan,
          "a list": [4]}
BOOLS = {"text": "no", "None": None, "one": 1}
NO_LAYERS = {"a class": Dense, "an op": dense, "a number": 3, "None": None, "a name": "Dense",
             "a list of layers": [LAYER], "a function of x alone": lambda x: x}
NO_OPTIMIZERS = {"a name": "adam", "None": None, "a learning rate": 0.1, "a function not called": optax.adam}
NO_KEYS = {"an integer": 0, "None": None, "text": "0", "two keys": jax.random.split(KEY), "a float": 0.5}


def new_step(**options):
    return make_step(LAYER, softmax_cross_entropy, OPTIMIZER, **options)


step = functools.cache(new_step)


@functools.cache
def kept():
    return start(LAYER, OPTIMIZER, (2,), KEY)


def fresh():
    return jax.tree.map(lambda a: a.copy(), kept())


def batches():
    return Batches(X, LABELS, 2)


def fitted(**options):
    given = {"train_state": fresh(), "step": step(), "batches": batches(), "steps": 2, "progress": False} | options
    return fit(given.pop("train_state"), given.pop("step"), given.pop("batches"), **given)


STARTS = [
    *(Row(f"make_step: {kind} as the layer", lambda v=v: make_step(v, softmax_cross_entropy, OPTIMIZER), "layer")
      for kind, v in NO_LAYERS.items()),
    *(Row(f"make_step: {kind} as the loss", lambda v=v: make_step(LAYER, v, OPTIMIZER), "loss")
      for kind, v in {"a name": "mse", "None": None, "a number": 1, "a class": dict,
                      "a function of y": lambda y: y}.items()),
    *(Row(f"make_step: {kind} as the optimizer", lambda v=v: make_step(LAYER, softmax_cross_entropy, v), "optimizer")
      for kind, v in NO_OPTIMIZERS.items()),
    *(Row(f"make_step: {kind} as accumulate", lambda v=v: make_step(LAYER, softmax_cross_entropy, OPTIMIZER,
                                                                    accumulate=v),
          "accumulate") for kind, v in {**COUNTS, "None": None}.items()),
    *(Row(f"make_step: {v!r} as gradients", lambda v=v: make_step(LAYER, softmax_cross_entropy, OPTIMIZER, gradients=v),
          "gradients") for v in ("autograd", None, True, ["autodiff"], 1)),
    *(Row(f"make_step: {v!r} as precision", lambda v=v: make_step(LAYER, softmax_cross_entropy, OPTIMIZER, precision=v),
          "precision") for v in ("float64", "half", 16, True, ["bfloat16"], jnp.bfloat16)),
    Row("make_step: float16 without a scale", lambda: make_step(LAYER, softmax_cross_entropy, OPTIMIZER,
                                                                precision="float16"),
        "loss_scaled"),
    Row("make_step: the arguments swapped", lambda: make_step(softmax_cross_entropy, LAYER, OPTIMIZER), "layer"),
    *(Row(f"start: {kind} as the layer", lambda v=v: start(v, OPTIMIZER, (2,), KEY), "start")
      for kind, v in NO_LAYERS.items()),
    *(Row(f"start: {kind} as the optimizer", lambda v=v: start(LAYER, v, (2,), KEY), "optimizer")
      for kind, v in NO_OPTIMIZERS.items()),
    *(Row(f"start: {kind} as the key", lambda v=v: start(LAYER, OPTIMIZER, (2,), v), "PRNG key")
      for kind, v in NO_KEYS.items()),
    *(Row(f"start: {kind} as the shape", lambda v=v: start(LAYER, OPTIMIZER, v, KEY))
      for kind, v in {"a batch": (None, 2), "an integer": 2, "None": None, "a batch of images": (4, 8, 8, 3),
                      "zero": (0,), "text": "2"}.items()),
    Row("start: shape and key swapped", lambda: start(LAYER, OPTIMIZER, KEY, (2,))),
    Row("start: a learning rate of NaN", lambda: start(LAYER, optax.sgd(np.nan), (2,), KEY), "learning rate"),
    Row("start: a layer whose init gives params only", lambda: start(_only_params(), OPTIMIZER, (2,), KEY),
        "(params, state)"),
    *(Row(f"start_from: {kind} as params", lambda v=v: start_from(v, {}, OPTIMIZER, KEY), words) for kind, v, words in (
        ("text", {"weight": "abc"}, "arrays"), ("a function", {"f": relu}, "arrays"),
        ("integers", {"n": jnp.ones(2, int)}, "freeze"),
        ("no array", {}, "params"), ("None", None, "params"),
        ("complex numbers", {"w": jnp.ones(2, complex)}, "floating"),
        ("an array of text", {"w": np.array(["a"])}, "numbers"), ("booleans", {"w": jnp.ones(2, bool)}, "floating"))),
    *(Row(f"start_from: {kind} as the key", lambda v=v: start_from({"w": jnp.ones(2)}, {}, OPTIMIZER, v), "PRNG key")
      for kind, v in NO_KEYS.items()),
    *(Row(f"start_from: {kind} as the optimizer", lambda v=v: start_from({"w": jnp.ones(2)}, {}, v, KEY), "optimizer")
      for kind, v in NO_OPTIMIZERS.items()),
    Row("start_from: text as state", lambda: start_from({"w": jnp.ones(2)}, {"mean": "abc"}, OPTIMIZER, KEY), "arrays"),
]


def _only_params():
    return type("Only", (), {"init": lambda self, key, shape: {"weight": jnp.ones(2)},
                             "__call__": lambda self, params, state, x, key, *, train: (x, state)})()


def used():
    """A train state that a step has taken over."""
    train_state = fresh()
    step()(train_state, X, LABELS)
    return train_state


DROPPING = Sequential(Dense(3), Dropout(0.5))

STEPS = [
    *(Row(f"step: {kind}", lambda call=call: call(), words) for kind, call, words in (
        ("a used train state", lambda: step()(used(), X, LABELS), "returned"),
        ("a used train state in many", lambda: step().many(used(), X[None], LABELS[None]), "returned"),
        ("a used train state in fit", lambda: fitted(train_state=used()), "returned"),
        ("a used train state in cost_and_gradient", lambda: step().cost_and_gradient(used(), X, LABELS), "returned"),
        ("params for the train state", lambda: step()(kept().params, X, LABELS), "TrainState"),
        ("None for the train state", lambda: step()(None, X, LABELS), "TrainState"),
        ("the pair that a step returns", lambda: step()(step()(fresh(), X, LABELS), X, LABELS), "TrainState"),
        ("the train state left out", lambda: step()(X, LABELS), ""),
        ("fewer labels", lambda: step()(fresh(), X, LABELS[:3]), "as many labels"),
        ("x and labels swapped", lambda: step()(fresh(), LABELS, X), ""),
        ("one example", lambda: step()(fresh(), X[0], 0), ""),
        ("no examples", lambda: step()(fresh(), X[:0], LABELS[:0]), "at least one"),
        ("None as x", lambda: step()(fresh(), None, LABELS), "x"),
        ("text as x", lambda: step()(fresh(), "abc", LABELS), "x"),
        ("text as labels", lambda: step()(fresh(), X, np.array(list("abca"))), "labels"),
        ("a list of text as labels", lambda: step()(fresh(), X, ["a", "b", "c", "a"]), "labels"),
        ("objects as x", lambda: step()(fresh(), np.array([[object()] * 2] * 4), LABELS), "x"),
        ("dates as labels", lambda: step()(fresh(), X, np.array(["2020-01-01"] * 4, "datetime64[D]")), "labels"),
        ("a list as x", lambda: step()(fresh(), X.tolist(), LABELS), "x"),
        ("integers as x", lambda: step()(fresh(), X.astype(int), LABELS), "floating"),
        ("x of another size", lambda: step()(fresh(), X[:, :1], LABELS), "(2,)"),
        ("images as x", lambda: step()(fresh(), X.reshape(4, 2, 1), LABELS), "Flatten()"),
        ("one-hot labels as integers", lambda: step()(fresh(), X, np.eye(3, dtype=int)[LABELS]), "labels"),
        ("labels as floats", lambda: step()(fresh(), X, LABELS * 1.0), "classes to integers"),
        ("labels in a column", lambda: step()(fresh(), X, LABELS[:, None]), "labels"),
        ("a label above the classes", lambda: new_step()(fresh(), X, LABELS + 1),
         "labels in 0 .. 2; got values from 1 to 3"),
        ("a label above the classes in many", lambda: new_step().many(fresh(), X[None], LABELS[None] + 1),
         "from 1 to 3"),
        ("a label above the classes, accumulated", lambda: new_step(accumulate=2)(fresh(), X, LABELS + 1),
         "from 1 to 3"),
        ("a negative label", lambda: new_step()(fresh(), X, LABELS - 1), "from -1 to 1"),
        ("labels above 2**32", lambda: step()(fresh(), X, LABELS + 2**40), "int32"),
        ("the state of another optimizer", lambda: step()(start(LAYER, optax.adam(0.1), (2,), KEY), X, LABELS),
         "its own optimizer"),
        ("the params of another layer", lambda: step()(start(Dense(5), OPTIMIZER, (2,), KEY), X, LABELS), "Dense"),
        ("n of 0", lambda: step()(fresh(), X, LABELS, 0), "1 .. 4"),
        ("n of 5", lambda: step()(fresh(), X, LABELS, 5), "1 .. 4"),
        ("n of -1", lambda: step()(fresh(), X, LABELS, -1), "1 .. 4"),
        ("n of 2.0", lambda: step()(fresh(), X, LABELS, 2.0), "1 .. 4"),
        ("n of text", lambda: step()(fresh(), X, LABELS, "2"), "1 .. 4"),
        ("n of True", lambda: step()(fresh(), X, LABELS, True), "1 .. 4"),
        ("n of two numbers", lambda: step()(fresh(), X, LABELS, np.array([1, 2])), "1 .. 4"),
        ("a loss of many numbers", lambda: make_step(LAYER, lambda y, t: y, OPTIMIZER)(fresh(), X, LABELS), "jnp.mean"),
        ("a loss that gives integers", lambda: make_step(LAYER, lambda y, t: t, OPTIMIZER)(fresh(), X, LABELS),
         "floating"),
        ("a loss that gives None", lambda: make_step(LAYER, lambda y, t: None, OPTIMIZER)(fresh(), X, LABELS),
         "number"),
        ("a layer that gives y alone", lambda: make_step(lambda p, s, x, k, train: x, squared_error,
                                                         OPTIMIZER)(fresh(), X, X), "(y, state)"),
        ("accumulate that does not divide", lambda: make_step(LAYER, softmax_cross_entropy, OPTIMIZER,
                                                              accumulate=3)(fresh(), X, LABELS), "divides"),
        ("many of one batch", lambda: step().many(fresh(), X, LABELS), ""),
        ("many of no steps", lambda: step().many(fresh(), X[None][:0], LABELS[None][:0]), "at least one"),
        ("many with labels of one batch", lambda: step().many(fresh(), X[None], LABELS), "labels"),
        ("many with n of one", lambda: step().many(fresh(), X[None], LABELS[None], 4), "n"),
        ("many of None", lambda: step().many(fresh(), None, None), "x"),
        ("many with text as labels", lambda: step().many(fresh(), X[None], np.array([list("abca")])), "labels"),
        ("cost_and_gradient of fewer labels", lambda: step().cost_and_gradient(fresh(), X, LABELS[:2]),
         "as many labels"),
        ("cost_and_gradient of a label out of range", lambda: new_step().cost_and_gradient(fresh(), X, LABELS + 1),
         "label"),
        ("lower of fewer labels", lambda: step().lower(fresh(), X, LABELS[:2]), "as many labels"),
    )),
]

ROWS = [*STARTS, *STEPS]
