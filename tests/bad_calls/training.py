"""Bad calls of training: optimizers, start, steps, fit, checkpoints, meshes, trials and evaluation."""

import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import Dense, Dropout, Sequential, dense, relu, training
from jaxnn.data import Batches
from jaxnn.ops import softmax_cross_entropy, squared_error
from jaxnn.training import (
    average,
    evaluate,
    fit,
    freeze,
    learning_rate_range,
    load,
    loss_scaled,
    make_mesh,
    make_step,
    overfit_one_batch,
    save,
    shard,
    start,
    start_from,
    with_average,
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
      for kind, v in {"a name": "mse", "None": None, "a number": 1, "a class": dict, "a function of y": lambda y: y}.items()),
    *(Row(f"make_step: {kind} as the optimizer", lambda v=v: make_step(LAYER, softmax_cross_entropy, v), "optimizer")
      for kind, v in NO_OPTIMIZERS.items()),
    *(Row(f"make_step: {kind} as accumulate", lambda v=v: make_step(LAYER, softmax_cross_entropy, OPTIMIZER, accumulate=v),
          "accumulate") for kind, v in {**COUNTS, "None": None}.items()),
    *(Row(f"make_step: {v!r} as gradients", lambda v=v: make_step(LAYER, softmax_cross_entropy, OPTIMIZER, gradients=v),
          "gradients") for v in ("autograd", None, True, ["autodiff"], 1)),
    *(Row(f"make_step: {v!r} as precision", lambda v=v: make_step(LAYER, softmax_cross_entropy, OPTIMIZER, precision=v),
          "precision") for v in ("float64", "half", 16, True, ["bfloat16"], jnp.bfloat16)),
    Row("make_step: float16 without a scale", lambda: make_step(LAYER, softmax_cross_entropy, OPTIMIZER, precision="float16"),
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
    Row("start: a layer whose init gives params only", lambda: start(_only_params(), OPTIMIZER, (2,), KEY), "(params, state)"),
    *(Row(f"start_from: {kind} as params", lambda v=v: start_from(v, {}, OPTIMIZER, KEY), words) for kind, v, words in (
        ("text", {"weight": "abc"}, "arrays"), ("a function", {"f": relu}, "arrays"), ("integers", {"n": jnp.ones(2, int)}, "freeze"),
        ("no array", {}, "params"), ("None", None, "params"), ("complex numbers", {"w": jnp.ones(2, complex)}, "floating"),
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
        ("a label above the classes", lambda: new_step()(fresh(), X, LABELS + 1), "labels in 0 .. 2; got values from 1 to 3"),
        ("a label above the classes in many", lambda: new_step().many(fresh(), X[None], LABELS[None] + 1), "from 1 to 3"),
        ("a label above the classes, accumulated", lambda: new_step(accumulate=2)(fresh(), X, LABELS + 1), "from 1 to 3"),
        ("a negative label", lambda: new_step()(fresh(), X, LABELS - 1), "from -1 to 1"),
        ("labels above 2**32", lambda: step()(fresh(), X, LABELS + 2**40), "int32"),
        ("the state of another optimizer", lambda: step()(start(LAYER, optax.adam(0.1), (2,), KEY), X, LABELS), "its own optimizer"),
        ("the params of another layer", lambda: step()(start(Dense(5), OPTIMIZER, (2,), KEY), X, LABELS), "Dense"),
        ("n of 0", lambda: step()(fresh(), X, LABELS, 0), "1 .. 4"),
        ("n of 5", lambda: step()(fresh(), X, LABELS, 5), "1 .. 4"),
        ("n of -1", lambda: step()(fresh(), X, LABELS, -1), "1 .. 4"),
        ("n of 2.0", lambda: step()(fresh(), X, LABELS, 2.0), "1 .. 4"),
        ("n of text", lambda: step()(fresh(), X, LABELS, "2"), "1 .. 4"),
        ("n of True", lambda: step()(fresh(), X, LABELS, True), "1 .. 4"),
        ("n of two numbers", lambda: step()(fresh(), X, LABELS, np.array([1, 2])), "1 .. 4"),
        ("a loss of many numbers", lambda: make_step(LAYER, lambda y, t: y, OPTIMIZER)(fresh(), X, LABELS), "jnp.mean"),
        ("a loss that gives integers", lambda: make_step(LAYER, lambda y, t: t, OPTIMIZER)(fresh(), X, LABELS), "floating"),
        ("a loss that gives None", lambda: make_step(LAYER, lambda y, t: None, OPTIMIZER)(fresh(), X, LABELS), "number"),
        ("a layer that gives y alone", lambda: make_step(lambda p, s, x, k, train: x, squared_error, OPTIMIZER)(fresh(), X, X), "(y, state)"),
        ("accumulate that does not divide", lambda: make_step(LAYER, softmax_cross_entropy, OPTIMIZER, accumulate=3)(fresh(), X, LABELS), "divides"),
        ("many of one batch", lambda: step().many(fresh(), X, LABELS), ""),
        ("many of no steps", lambda: step().many(fresh(), X[None][:0], LABELS[None][:0]), "at least one"),
        ("many with labels of one batch", lambda: step().many(fresh(), X[None], LABELS), "labels"),
        ("many with n of one", lambda: step().many(fresh(), X[None], LABELS[None], 4), "n"),
        ("many of None", lambda: step().many(fresh(), None, None), "x"),
        ("many with text as labels", lambda: step().many(fresh(), X[None], np.array([list("abca")])), "labels"),
        ("cost_and_gradient of fewer labels", lambda: step().cost_and_gradient(fresh(), X, LABELS[:2]), "as many labels"),
        ("cost_and_gradient of a label out of range", lambda: new_step().cost_and_gradient(fresh(), X, LABELS + 1), "label"),
        ("lower of fewer labels", lambda: step().lower(fresh(), X, LABELS[:2]), "as many labels"),
    )),
]

HERE = str(Path(__file__))
FITS = [
    *(Row(f"fit: {kind} as {name}", lambda name=name, v=v: fitted(**{name: v}), name)
      for name in ("steps", "every", "save_every", "max_skipped", "steps_per_dispatch", "keep")
      for kind, v in COUNTS.items()),
    *(Row(f"fit: {kind} as patience", lambda v=v: fitted(patience=v, watch="cost", metrics=lambda p, s: {"cost": 1.0}), "patience")
      for kind, v in COUNTS.items()),
    *(Row(f"fit: {kind} as {name}", lambda name=name, v=v: fitted(**{name: v}), name)
      for name in ("resume", "other_versions", "tensorboard", "progress") for kind, v in BOOLS.items()),
    *(Row(f"fit: {kind}", lambda given=given: fitted(**given), words) for kind, given, words in (
        ("steps None", {"steps": None}, "steps"),
        ("keep 1", {"keep": 1}, "keep"),
        ("False for steps", {"steps": False}, "steps"),
        ("goal maximum", {"goal": "maximum"}, "goal"),
        ("goal None", {"goal": None}, "goal"),
        ("goal True", {"goal": True}, "goal"),
        ("watch without metrics", {"watch": "cost"}, "metrics"),
        ("watch a number", {"watch": 3}, "watch"),
        ("watch a list", {"watch": ["cost"]}, "watch"),
        ("patience without watch", {"patience": 3}, "watch"),
        ("a metric watched that is not there", {"watch": "accuracy", "metrics": lambda p, s: {"error": 1.0}}, "accuracy"),
        ("metrics a number", {"metrics": 3}, "metrics"),
        ("metrics a name", {"metrics": "accuracy"}, "metrics"),
        ("metrics a dict", {"metrics": {"accuracy": 1.0}}, "metrics"),
        ("metrics of one argument", {"metrics": lambda params: {"a": 1.0}}, "metrics"),
        ("metrics that give a number", {"metrics": lambda p, s: 1.0}, "metrics"),
        ("metrics that give text", {"metrics": lambda p, s: {"a": "b"}}, "metrics"),
        ("metrics that give an array", {"metrics": lambda p, s: {"a": np.ones(2)}}, "metrics"),
        ("metrics under a name of the record", {"metrics": lambda p, s: {"cost": 1.0}}, "cost"),
        ("the directory a file", {"directory": HERE}, "director"),
        ("the directory a number", {"directory": 3}, "director"),
        ("the directory empty text", {"directory": ""}, "director"),
        ("the directory True", {"directory": True}, "director"),
        ("the directory a list", {"directory": ["runs"]}, "director"),
        ("the directory inside a file", {"directory": HERE + "/run"}, "director"),
        ("a configuration of functions", {"configuration": {"f": relu}}, "configuration"),
        ("a configuration that is a list", {"configuration": [1]}, "configuration"),
        ("a configuration that is text", {"configuration": "lr=1"}, "configuration"),
        ("a configuration with NaN", {"configuration": {"lr": np.nan}}, "configuration"),
        ("a configuration with an array", {"configuration": {"w": np.ones(2)}}, "configuration"),
        ("tensorboard without a directory", {"tensorboard": True}, "directory"),
        ("a mesh that is a number", {"mesh": 8}, "mesh"),
        ("a mesh without data", {"mesh": jax.make_mesh((1,), ("model",))}, "data"),
        ("every that steps_per_dispatch does not divide", {"every": 3, "steps_per_dispatch": 2}, "divides"),
        ("checkpoints a directory", {"checkpoints": "runs"}, "checkpoints"),
        ("checkpoints None", {"checkpoints": None}, "checkpoints"),
        ("batches a pair", {"batches": (X, LABELS)}, "Batches(x, labels"),
        ("batches a list", {"batches": [(X, LABELS)]}, "Batches(x, labels"),
        ("batches None", {"batches": None}, "Batches(x, labels"),
        ("batches a generator", {"batches": iter([(X, LABELS)])}, "Batches(x, labels"),
        ("batches of no argument", {"batches": lambda: (X, LABELS)}, "batches"),
        ("batches that give x alone", {"batches": lambda s: X}, "(x, labels)"),
        ("batches that give three", {"batches": lambda s: (X, LABELS, X)}, "(x, labels)"),
        ("batches that give None", {"batches": lambda s: None}, "(x, labels)"),
        ("batches that give text", {"batches": lambda s: (X, np.array(list("abca")))}, "labels"),
        ("batches with a label out of range", {"step": new_step(), "batches": lambda s: (X, LABELS + 5)}, "from 5 to 7"),
        ("batches of fewer labels", {"batches": lambda s: (X, LABELS[:2])}, "as many labels"),
        ("a step that is no step", {"step": lambda s, x, y: s}, "make_step"),
        ("the layer as the step", {"step": LAYER}, "make_step"),
        ("None as the step", {"step": None}, "make_step"),
        ("params for the train state", {"train_state": kept}, "TrainState"),
        ("None for the train state", {"train_state": None}, "TrainState"),
        ("the state of another optimizer", {"train_state": start(LAYER, optax.adam(0.1), (2,), KEY)}, "its own optimizer"),
        ("a keyword not known", {"epochs": 3}, "epochs"),
        ("loss=, as in Keras", {"loss": "mse"}, "loss"),
    )),
    Row("fit: step and train_state swapped", lambda: fit(step(), fresh(), batches(), steps=2), "TrainState"),
    Row("fit: steps by position", lambda: fit(fresh(), step(), batches(), 2)),
    Row("fit: progress for steps", lambda: fit(fresh(), step(), batches(), progress=False), "steps"),
    Row("fit: x and labels for batches", lambda: fit(fresh(), step(), X, LABELS, steps=2)),
]


@functools.cache
def directory():
    made = Path(tempfile.mkdtemp())
    save(made, 3, {"w": np.ones(2)})
    return made


CHECKPOINTS = [
    *(Row(f"save: {kind} as the step", lambda v=v: save(directory(), v, {"w": np.ones(2)}), "step")
      for kind, v in {"minus one": -1, "a fraction": 2.5, "text": "4", "True": True, "None": None, "NaN": np.nan}.items()),
    *(Row(f"save: {kind} as keep", lambda v=v: save(directory(), 3, {"w": np.ones(2)}, keep=v), "keep")
      for kind, v in {**COUNTS, "one": 1, "None": None}.items()),
    *(Row(f"save: {kind} in the tree", lambda v=v: save(directory(), 3, {"w": v})) for kind, v in {
        "text": "abc", "a function": relu, "objects": np.array([object()]), "bytes": b"a",
        "text in an array": np.array(["a"])}.items()),
    *(Row(f"save: {kind} as extra", lambda v=v: save(directory(), 3, {"w": np.ones(2)}, extra=v), "extra")
      for kind, v in {"a list": [1], "text": "a", "functions": {"f": relu}, "an array": {"w": np.ones(2)},
                      "NaN": {"a": np.nan}}.items()),
    *(Row(f"{name}: {kind} as the directory", lambda call=call, v=v: call(v), "director")
      for name, call in (("save", lambda d: save(d, 3, {"w": np.ones(2)})), ("load", lambda d: load(d)))
      for kind, v in {"a file": HERE, "a number": 3, "None": None, "a list": ["a"], "True": True, "empty text": ""}.items()),
    Row("load: no such directory", lambda: load("/no/such/place/at/all"), "does not exist"),
    Row("load: a directory without checkpoints", lambda: load(tempfile.mkdtemp()), "no checkpoint"),
    Row("load: a step that is not there", lambda: load(directory(), step=99), "no checkpoint of step 99"),
    Row("load: another tree", lambda: load(directory(), {"v": np.ones(2)}), "'v' is missing"),
    Row("load: another shape", lambda: load(directory(), {"w": np.ones(3)}), "'w' is"),
    Row("load: another dtype", lambda: load(directory(), {"w": np.ones(2, np.float32)}), "'w' is"),
    *(Row(f"load: {kind} as the step", lambda v=v: load(directory(), step=v), "step")
      for kind, v in {"text": "3", "a fraction": 3.5, "True": True, "minus one": -1}.items()),
    *(Row(f"load: {kind} as other_versions", lambda v=v: load(directory(), other_versions=v), "other_versions")
      for kind, v in BOOLS.items()),
]

OTHERS = [
    *(Row(f"with_average: {v!r} as decay", lambda v=v: with_average(OPTIMIZER, v), "decay")
      for v in (1.0, -0.1, np.nan, "0.9", None, True, 99)),
    *(Row(f"with_average: {kind} as the optimizer", lambda v=v: with_average(v, 0.9), "optimizer")
      for kind, v in NO_OPTIMIZERS.items()),
    *(Row(f"loss_scaled: {v!r} as initial", lambda v=v: loss_scaled(OPTIMIZER, v), "initial")
      for v in (0, -2, 3.0, 0.5, np.nan, np.inf, "2", None, True)),
    *(Row(f"loss_scaled: {kind} as interval", lambda v=v: loss_scaled(OPTIMIZER, 2.0, v), "interval")
      for kind, v in {**COUNTS, "None": None}.items()),
    *(Row(f"loss_scaled: {kind} as the optimizer", lambda v=v: loss_scaled(v), "optimizer") for kind, v in NO_OPTIMIZERS.items()),
    *(Row(f"freeze: {kind} as the optimizer", lambda v=v: freeze(v, True), "optimizer") for kind, v in NO_OPTIMIZERS.items()),
    *(Row(f"freeze: {v!r} as the mask", lambda v=v: freeze(OPTIMIZER, v).init({"w": jnp.ones(2)}), "mask")
      for v in (True, {"v": True}, {"w": "yes"}, {"w": 1}, "w", 1, {"w": None}, ["w"], {"w": [True]})),
    Row("average: no average", lambda: average(kept().opt_state), "with_average"),
    Row("average: params", lambda: average({"w": jnp.ones(2)}), "with_average"),
    Row("average: the train state of two", lambda: average((with_average(OPTIMIZER, 0.9).init({"w": jnp.ones(2)}),) * 2), "one with_average"),
    *(Row(f"make_mesh: {kind} as {name}", lambda name=name, v=v: make_mesh(**{name: v}), name)
      for name in ("data", "model") for kind, v in COUNTS.items()),
    Row("make_mesh: more devices than there are", lambda: make_mesh(1000), "devices"),
    Row("shard: no mesh", lambda: shard({"w": jnp.ones(2)}, None), "mesh"),
    Row("shard: a number of devices", lambda: shard({"w": jnp.ones(2)}, 8), "mesh"),
    Row("shard: text in the tree", lambda: shard({"w": "abc"}, make_mesh(1)), "arrays"),
    Row("shard: text as fully", lambda: shard({"w": jnp.ones(2)}, make_mesh(1), fully="yes"), "fully"),
    *(Row(f"evaluate: {kind} as the layer", lambda v=v: evaluate(v, {}, {}, X), "layer") for kind, v in NO_LAYERS.items()),
    *(Row(f"evaluate: {kind} as batch_size", lambda v=v: evaluate(LAYER, kept().params, {}, X, batch_size=v), "batch_size")
      for kind, v in COUNTS.items()),
    *(Row(f"evaluate: {kind} as x", lambda v=v: evaluate(LAYER, kept().params, {}, v), words) for kind, v, words in (
        ("no examples", X[:0], "at least one"), ("None", None, "x"), ("text", "abc", "x"), ("a number", 1.0, "x"),
        ("one example", X[0], ""), ("text in an array", np.array([["a", "b"]]), "x"), ("integers", X.astype(int), "floating"))),
    Row("evaluate: the train state for params", lambda: evaluate(LAYER, kept(), {}, X), "params"),
    Row("evaluate: params and x alone", lambda: evaluate(LAYER, kept().params, X)),
    Row("evaluate: text among params", lambda: evaluate(LAYER, {"weight": "abc"}, {}, X), "params"),
    *(Row(f"overfit_one_batch: {kind} as steps", lambda v=v: overfit_one_batch(kept(), step(), X, LABELS, steps=v), "steps")
      for kind, v in {**COUNTS, "None": None}.items()),
    *(Row(f"overfit_one_batch: {v!r} as below", lambda v=v: overfit_one_batch(kept(), step(), X, LABELS, below=v), "below")
      for v in (0, -1.0, np.nan, "0.1", None, True)),
    *(Row(f"learning_rate_range: {kind}", lambda given=given: learning_rate_range(
        LAYER, softmax_cross_entropy, given.pop("optimizer", optax.sgd), given.pop("batches", batches()), (2,), KEY, **given), words)
      for kind, given, words in (
        ("low above high", {"low": 1.0, "high": 0.1}, "low"), ("low of 0", {"low": 0.0}, "low"), ("text as low", {"low": "1"}, "low"),
        ("NaN as high", {"high": np.nan}, "high"), ("one step", {"steps": 1}, "steps"), ("text as steps", {"steps": "3"}, "steps"),
        ("a fraction of steps", {"steps": 2.5}, "steps"), ("an optimizer made already", {"optimizer": optax.sgd(0.1)}, "learning rate"),
        ("a name of an optimizer", {"optimizer": "sgd"}, "learning rate"), ("batches a pair", {"batches": (X, LABELS)}, "batches"))),
    Row("dry_run: batches a pair", lambda: training.dry_run(kept(), step(), (X, LABELS)), "batches"),
    Row("dry_run: a layer for the step", lambda: training.dry_run(kept(), LAYER, batches()), "make_step"),
    Row("dry_run: params for the train state", lambda: training.dry_run(kept().params, step(), batches()), "TrainState"),
    Row("read_lines: a number", lambda: training.read_lines(3), "path"),
    Row("read_lines: nothing there", lambda: training.read_lines("/no/such/place/metrics.jsonl"), "no/such"),
]

ROWS = [*STARTS, *STEPS, *FITS, *CHECKPOINTS, *OTHERS]
