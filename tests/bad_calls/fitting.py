"""Bad calls of fit, checkpoints, optimizers made of others, meshes, trials and evaluation."""

import functools
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import relu, training
from jaxnn.ops import softmax_cross_entropy
from jaxnn.training import (
    average,
    evaluate,
    fit,
    freeze,
    learning_rate_range,
    load,
    loss_scaled,
    make_mesh,
    overfit_one_batch,
    save,
    shard,
    start,
    with_average,
)
from tests.bad_calls.row import Row
from tests.bad_calls.training import (
    BOOLS,
    COUNTS,
    KEY,
    LABELS,
    LAYER,
    NO_LAYERS,
    NO_OPTIMIZERS,
    OPTIMIZER,
    X,
    batches,
    fitted,
    fresh,
    kept,
    new_step,
    step,
)

__all__ = ["ROWS"]

HERE = str(Path(__file__))
FITS = [
    *(Row(f"fit: {kind} as {name}", lambda name=name, v=v: fitted(**{name: v}), name)
      for name in ("steps", "every", "save_every", "max_skipped", "steps_per_dispatch", "keep")
      for kind, v in COUNTS.items()),
    *(Row(f"fit: {kind} as patience", lambda v=v: fitted(patience=v, watch="cost", metrics=lambda p, s: {"cost": 1.0}),
          "patience")
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
        ("a metric watched that is not there", {"watch": "accuracy", "metrics": lambda p, s: {"error": 1.0}},
         "accuracy"),
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
        ("batches with a label out of range", {"step": new_step(), "batches": lambda s: (X, LABELS + 5)},
         "from 5 to 7"),
        ("batches of fewer labels", {"batches": lambda s: (X, LABELS[:2])}, "as many labels"),
        ("a step that is no step", {"step": lambda s, x, y: s}, "make_step"),
        ("the layer as the step", {"step": LAYER}, "make_step"),
        ("None as the step", {"step": None}, "make_step"),
        ("params for the train state", {"train_state": kept}, "TrainState"),
        ("None for the train state", {"train_state": None}, "TrainState"),
        ("the state of another optimizer", {"train_state": start(LAYER, optax.adam(0.1), (2,), KEY)},
         "its own optimizer"),
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
      for kind, v in {"minus one": -1, "a fraction": 2.5, "text": "4", "True": True, "None": None,
                      "NaN": np.nan}.items()),
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
      for kind, v in {"a file": HERE, "a number": 3, "None": None, "a list": ["a"], "True": True,
                      "empty text": ""}.items()),
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
    *(Row(f"loss_scaled: {kind} as the optimizer", lambda v=v: loss_scaled(v), "optimizer") for kind,
      v in NO_OPTIMIZERS.items()),
    *(Row(f"freeze: {kind} as the optimizer", lambda v=v: freeze(v, True), "optimizer") for kind,
      v in NO_OPTIMIZERS.items()),
    *(Row(f"freeze: {v!r} as the mask", lambda v=v: freeze(OPTIMIZER, v).init({"w": jnp.ones(2)}), "mask")
      for v in (True, {"v": True}, {"w": "yes"}, {"w": 1}, "w", 1, {"w": None}, ["w"], {"w": [True]})),
    Row("average: no average", lambda: average(kept().opt_state), "with_average"),
    Row("average: params", lambda: average({"w": jnp.ones(2)}), "with_average"),
    Row("average: the train state of two", lambda: average((with_average(OPTIMIZER, 0.9).init({"w": jnp.ones(2)}),
                                                            ) * 2), "one with_average"),
    *(Row(f"make_mesh: {kind} as {name}", lambda name=name, v=v: make_mesh(**{name: v}), name)
      for name in ("data", "model") for kind, v in COUNTS.items()),
    Row("make_mesh: more devices than there are", lambda: make_mesh(1000), "devices"),
    Row("shard: no mesh", lambda: shard({"w": jnp.ones(2)}, None), "mesh"),
    Row("shard: a number of devices", lambda: shard({"w": jnp.ones(2)}, 8), "mesh"),
    Row("shard: text in the tree", lambda: shard({"w": "abc"}, make_mesh(1)), "arrays"),
    Row("shard: text as fully", lambda: shard({"w": jnp.ones(2)}, make_mesh(1), fully="yes"), "fully"),
    *(Row(f"evaluate: {kind} as the layer", lambda v=v: evaluate(v, {}, {}, X), "layer") for kind,
      v in NO_LAYERS.items()),
    *(Row(f"evaluate: {kind} as batch_size", lambda v=v: evaluate(LAYER, kept().params, {}, X, batch_size=v),
          "batch_size")
      for kind, v in COUNTS.items()),
    *(Row(f"evaluate: {kind} as x", lambda v=v: evaluate(LAYER, kept().params, {}, v), words) for kind, v, words in (
        ("no examples", X[:0], "at least one"), ("None", None, "x"), ("text", "abc", "x"), ("a number", 1.0, "x"),
        ("one example", X[0], ""), ("text in an array", np.array([["a", "b"]]), "x"),
        ("integers", X.astype(int), "floating"))),
    Row("evaluate: the train state for params", lambda: evaluate(LAYER, kept(), {}, X), "params"),
    Row("evaluate: params and x alone", lambda: evaluate(LAYER, kept().params, X)),
    Row("evaluate: text among params", lambda: evaluate(LAYER, {"weight": "abc"}, {}, X), "params"),
    *(Row(f"overfit_one_batch: {kind} as steps", lambda v=v: overfit_one_batch(kept(), step(), X, LABELS, steps=v),
          "steps")
      for kind, v in {**COUNTS, "None": None}.items()),
    *(Row(f"overfit_one_batch: {v!r} as below", lambda v=v: overfit_one_batch(kept(), step(), X, LABELS, below=v),
          "below")
      for v in (0, -1.0, np.nan, "0.1", None, True)),
    *(Row(f"learning_rate_range: {kind}", lambda given=given: learning_rate_range(
        LAYER, softmax_cross_entropy, given.pop("optimizer", optax.sgd), given.pop("batches", batches()), (2,), KEY,
        **given), words)
      for kind, given, words in (
        ("low above high", {"low": 1.0, "high": 0.1}, "low"), ("low of 0", {"low": 0.0}, "low"),
        ("text as low", {"low": "1"}, "low"),
        ("NaN as high", {"high": np.nan}, "high"), ("one step", {"steps": 1}, "steps"),
        ("text as steps", {"steps": "3"}, "steps"),
        ("a fraction of steps", {"steps": 2.5}, "steps"), ("an optimizer made already", {"optimizer": optax.sgd(0.1)},
                                                           "learning rate"),
        ("a name of an optimizer", {"optimizer": "sgd"}, "learning rate"),
        ("batches a pair", {"batches": (X, LABELS)}, "batches"))),
    Row("dry_run: batches a pair", lambda: training.dry_run(kept(), step(), (X, LABELS)), "batches"),
    Row("dry_run: a layer for the step", lambda: training.dry_run(kept(), LAYER, batches()), "make_step"),
    Row("dry_run: params for the train state", lambda: training.dry_run(kept().params, step(), batches()),
        "TrainState"),
    Row("read_lines: a number", lambda: training.read_lines(3), "path"),
    Row("read_lines: nothing there", lambda: training.read_lines("/no/such/place/metrics.jsonl"), "no/such"),
]

ROWS = [*FITS, *CHECKPOINTS, *OTHERS]
