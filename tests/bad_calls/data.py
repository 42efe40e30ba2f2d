"""Bad calls of the readers of data, splits, batches, metrics and losses over time."""

import functools
import tempfile
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxnn import data, losses, metrics
from jaxnn.data import Batches, Field, check_examples, read_hdf5, split, standardize
from jaxnn.data.grain_batches import GrainBatches
from jaxnn.ops import softmax_cross_entropy, squared_error
from tests.bad_calls.row import Row

__all__ = ["ROWS"]

X, Y = np.ones((10, 3), np.float32), np.arange(10) % 2
NOT_COUNTS = {"zero": 0, "minus one": -1, "a fraction": 2.5, "a whole float": 4.0, "text": "4", "None": None,
              "True": True, "a list": [4], "NaN": np.nan, "more than there are": 11}
NOT_SEEDS = {"minus one": -1, "a fraction": 0.5, "text": "0", "None": None, "True": True, "2**32": 2**32, "a list": [0]}
BOOLS = {"text": "no", "None": None, "one": 1}

BATCHES = [
    *(Row(f"Batches: {kind} as batch_size", lambda n=n: Batches(X, Y, n), "batch_size") for kind,
      n in NOT_COUNTS.items()),
    *(Row(f"Batches: {kind} as seed", lambda s=s: Batches(X, Y, 2, seed=s), "seed") for kind, s in NOT_SEEDS.items()),
    *(Row(f"Batches: {kind} as {option}", lambda option=option, b=b: Batches(X, Y, 2, **{option: b}), option)
      for option in ("shuffle", "on_device") for kind, b in BOOLS.items()),
    *(Row(f"Batches: {kind} as augment", lambda a=a: Batches(X, Y, 2, augment=a), "augment")
      for kind, a in {"True": True, "a name": "flip", "a function of x alone": lambda x: x}.items()),
    *(Row(f"Batches: {kind} as the step", lambda s=s: Batches(X, Y, 2)(s), "step")
      for kind, s in {"minus one": -1, "a fraction": 0.5, "text": "0", "None": None, "True": True,
                      "an array": np.arange(2)}.items()),
    *(Row(f"Batches.many: {kind} steps", lambda n=n: Batches(X, Y, 2).many(0, n), "n_steps")
      for kind, n in {"no": 0, "minus one": -1, "a fraction of": 1.5, "text for": "2", "None": None,
                      "True": True}.items()),
    *(Row(f"Batches.steps: {kind} epochs", lambda n=n: Batches(X, Y, 2).steps(n), "epochs")
      for kind, n in {"minus one": -1, "NaN": np.nan, "infinity": np.inf, "text for": "2", "None": None}.items()),
    *(Row(f"Batches.epoch: {kind}", lambda n=n: Batches(X, Y, 2).epoch(n), "step")
      for kind, n in {"minus one": -1, "text": "2", "None": None}.items()),
    Row("Batches: fewer labels", lambda: Batches(X, Y[:9], 2), "one length"),
    Row("Batches: no examples", lambda: Batches(X[:0], Y[:0], 1), "at least 1"),
    Row("Batches: a number as x", lambda: Batches(1.0, Y, 2), "arrays"),
    Row("Batches: labels left out", lambda: Batches(X, None, batch_size=None), "batch_size"),
    Row("Batches: nothing", lambda: Batches(None, None, 2), "one length"),
    Row("Batches: text as labels", lambda: Batches(X, np.array(list("abababababa"[:10])), 2), "text"),
    Row("Batches: objects as x", lambda: Batches(np.array([object()] * 10), Y, 2), "numbers"),
    Row("Batches: dates as x", lambda: Batches(np.array(["2020-01-01"] * 10, "datetime64[D]"), Y, 2), "numbers"),
    Row("Batches: text as labels in the host's memory",
        lambda: Batches(X, np.array(list("abababababa"[:10])), 2, on_device=False), "text"),
    Row("Batches: labels above 2^32", lambda: Batches(X, Y + 2**40, 2), "int32"),
    Row("Batches: labels above 2^32 in the host's memory", lambda: Batches(X, Y + 2**40, 2, on_device=False), "int32"),
    Row("Batches: the batch size for the labels", lambda: Batches(X, 2), "batch_size"),
    Row("Batches: a list of lists", lambda: Batches([[1.0, 2.0], [3.0, 4.0]], [0, 1], 1), "array"),
    *(Row(f"GrainBatches: {kind} as batch_size", lambda n=n: GrainBatches([1] * 10, n), "batch_size")
      for kind, n in NOT_COUNTS.items()),
    Row("GrainBatches: no examples", lambda: GrainBatches([], 1), "batch_size"),
    Row("GrainBatches: a source without length", lambda: GrainBatches(iter([1, 2]), 1), "source"),
    *(Row(f"GrainBatches: {kind} as seed", lambda s=s: GrainBatches([1] * 10, 2, seed=s), "seed")
      for kind, s in NOT_SEEDS.items()),
]

CHECKS = [
    *(Row(f"check_examples: {kind}", lambda args=args: check_examples(*args), words) for kind, args, words in (
        ("no examples", (X[:0],), "B >= 1"),
        ("a number", (1.0,), "shape"),
        ("NaN in x", (np.array([1.0, np.nan]),), "NaN or infinite"),
        ("infinity in x", (np.array([1.0, np.inf]),), "NaN or infinite"),
        ("text as x", (np.array(["a"]),), "numbers"),
        ("objects as x", (np.array([object()]),), "numbers"),
        ("None as x", (None,), "x"),
        ("rows of unequal length", ([[1, 2], [3]],), "x"),
        ("labels in a column", (X, Y[:, None]), "y[:, 0]"),
        ("one-hot labels", (X, np.eye(10)), "argmax"),
        ("fewer labels", (X, Y[:5]), "same indices"),
        ("floats as labels", (X, Y * 1.0), "integer"),
        ("text as labels", (X, np.array(list("ab" * 5))), "integer"),
        ("booleans as labels", (X, Y == 1), "integer"),
        ("a negative label", (X, Y - 1), "labels y in 0 or more"),
        ("rows of labels of unequal length", (X, [[1], [1, 2]]), "y"))),
    Row("check_examples: a label too large", lambda: check_examples(X, Y, n_classes=1), "0..0"),
    *(Row(f"check_examples: {kind} as n_classes", lambda n=n: check_examples(X, Y, n_classes=n), "n_classes")
      for kind, n in {"zero": 0, "minus one": -1, "text": "2", "a fraction": 2.5, "True": True}.items()),
]

SPLITS = [
    *(Row(f"split: {kind} examples", lambda n=n: split(n, seed=0), "n_examples") for kind, n in {
        "two": 2, "minus one": -1, "a fraction of": 10.5, "text for": "10", "None": None, "True": True,
        "a list for": [10],
        "an array for": X}.items()),
    *(Row(f"split: {kind} as seed", lambda s=s: split(10, seed=s), "seed") for kind, s in NOT_SEEDS.items()),
    *(Row(f"split: fractions {f!r}", lambda f=f: split(10, f, seed=0), "fractions") for f in (
        (0.8, 0.2), (0.8, 0.1, 0.2), (1.0, 0.0, 0.0), (0.9, 0.2, -0.1), (80, 10, 10), "abc", None, 0.8,
        (0.5, 0.25, float("nan")), ("0.8", "0.1", "0.1"))),
    Row("split: too few for a part", lambda: split(3, (0.98, 0.01, 0.01), seed=0), "at least one"),
    Row("split: labels of another length", lambda: split(10, seed=0, labels=Y[:5]), "labels of shape"),
    Row("split: one-hot labels", lambda: split(10, seed=0, labels=np.eye(10)), "labels of shape"),
    Row("split: objects as labels", lambda: split(10, seed=0, labels=np.array([object()] * 10)), "labels"),
    Row("split: no seed", lambda: split(10)),
    Row("split: the seed by position", lambda: split(10, (0.8, 0.1, 0.1), 0)),
    *(Row(f"standardize: {kind}", lambda args=args: standardize(*args), words) for kind, args, words in (
        ("no examples", (X[:0],), "B >= 1"), ("NaN", (np.array([[np.nan]]),), "NaN"),
        ("other features", (X, X[:, :2]), "features"), ("text", (np.array(["a"]),), "numbers"),
        ("a list of others", (X, [X, X]), "features"), ("None", (None,), "x"), ("a number", (3.0,), "shape"),
        ("NaN in another part", (X, X * np.nan), "NaN"))),
]

GENERATED = [
    *(Row(f"planar_flower: {kind} as n", lambda n=n: data.planar_flower(n=n), "n") for kind, n in {
        "an odd number": 5, "zero": 0, "minus two": -2, "a fraction": 4.5, "text": "400", "None": None,
        "True": True}.items()),
    *(Row(f"{make.__name__}: {kind} as n", lambda make=make, n=n: make(n=n), "n")
      for make in (data.noisy_circles, data.noisy_moons, data.blobs, data.gaussian_quantiles) for kind, n in {
          "zero": 0, "minus two": -2, "a fraction": 4.5, "text": "400", "None": None, "True": True}.items()),
    *(Row(f"{make.__name__}: {kind} as seed", lambda make=make, s=s: make(seed=s), "seed")
      for make in (data.planar_flower, data.noisy_circles, data.noisy_moons, data.blobs, data.gaussian_quantiles)
      for kind, s in NOT_SEEDS.items()),
    *(Row(f"{make.__name__}: {kind} as noise", lambda make=make, v=v: make(noise=v), "noise")
      for make in (data.noisy_circles, data.noisy_moons) for kind, v in {
          "minus one": -1.0, "text": "0.1", "NaN": np.nan, "None": None, "True": True}.items()),
    *(Row(f"noisy_circles: {kind} as factor", lambda v=v: data.noisy_circles(factor=v), "factor") for kind, v in {
        "minus one": -1.0, "two": 2.0, "text": "0.1", "NaN": np.nan, "None": None}.items()),
    *(Row(f"blobs: {kind} centers", lambda v=v: data.blobs(n_centers=v), "n_centers") for kind, v in {
        "no": 0, "minus one": -1, "a fraction of": 2.5, "text for": "2", "None": None}.items()),
    *(Row(f"gaussian_quantiles: {kind} classes", lambda v=v: data.gaussian_quantiles(n_classes=v), "n_classes")
      for kind, v in {"no": 0, "minus one": -1, "a fraction of": 2.5, "text for": "2",
                      "more than examples": 500}.items()),
    *(Row(f"gaussian_quantiles: {kind} as variance", lambda v=v: data.gaussian_quantiles(variance=v), "variance")
      for kind, v in {"minus one": -1.0, "text": "0.1", "NaN": np.nan, "None": None, "zero": 0.0}.items()),
    *(Row(f"pixels_to_rows: {kind}", lambda x=x: data.pixels_to_rows(x), words) for kind, x, words in (
        ("floats", np.ones((2, 4, 4)), "uint8"), ("one image in a row", np.ones(3, np.uint8), "(n, ...)"),
        ("no images", np.ones((0, 4), np.uint8), "n >= 1"), ("a list", [[1, 2]], "images"), ("None", None, "images"),
        ("a path", "cat.jpg", "images"))),
]


@functools.cache
def places() -> dict[str, str]:
    """Paths that hold no data."""
    directory = Path(tempfile.mkdtemp())
    (directory / "empty.h5").write_bytes(b"")
    (directory / "page.h5").write_text("<html></html>")
    (directory / "c1").mkdir()
    (directory / "c1" / "train_catvnoncat.h5").write_text("<html></html>")
    return {"nothing there": str(directory / "none"), "a directory": str(directory),
            "empty": str(directory / "empty.h5"),
            "a web page": str(directory / "page.h5")}


READERS = [
    *(Row(f"{load.__name__}: {kind} as the directory", lambda load=load, d=d: load(d), words)
      for load in (data.load_cat, data.load_signs, data.load_football)
      for kind, d, words in (("a number", 3, "director"), ("no directory", "/no/such/place/at/all",
                                                           "existing directory"),
                             ("a file", __file__, "a file"), ("a list", ["a"], "director"), ("bytes", b"a", "director"),
                             ("True", True, "director"))),
    *(Row(f"{load.__name__}: a directory without the file", lambda load=load: load(str(Path(__file__).parent)),
          "expected at")
      for load in (data.load_cat, data.load_signs, data.load_football)),
    Row("load_cat: a web page in place of the file", lambda: data.load_cat(places()["a directory"]), "HDF5"),
    *(Row(f"read_hdf5: {kind}", lambda kind=kind: read_hdf5(places()[kind], {"x": Field((None,), np.uint8)}),
          "HDF5 file")
      for kind in ("nothing there", "a directory", "empty", "a web page")),
    Row("read_hdf5: a number as the path", lambda: read_hdf5(3, {}), "path"),
    Row("read_hdf5: None as the path", lambda: read_hdf5(None, {}), "path"),
    Row("data_directory: a number", lambda: data.data_directory(3), "director"),
    Row("find: nothing of this name", lambda: data.find("c9/none.h5", places()["a directory"], how_to_get="a",
                                                        instead="b"),
        "expected at"),
]

METRICS = [
    *(Row(f"{name}: {kind}", lambda call=call, p=p, y=y: call(p, y), words)
      for name, call in (("accuracy", metrics.accuracy),
                         ("confusion_matrix", lambda p, y: metrics.confusion_matrix(p, y, 2)))
      for kind, p, y, words in (
          ("logits", np.ones((3, 2)), np.zeros(3, int), "argmax"), ("fewer labels", [0, 1], [0], "one shape"),
          ("nothing", [], [], "B >= 1"), ("numbers", 1, 1, "shape"), ("one-hot labels", [0, 1], np.eye(2), "one shape"),
          ("None", None, [1], "one shape"), ("labels in a column", [0, 1], [[0], [1]], "one shape"),
          ("probabilities", [0.2, 0.9], [0, 1], "classes"), ("rows of unequal length", [[1], [1, 2]], [0, 1],
                                                             "predictions"))),
    Row("confusion_matrix: a class too large", lambda: metrics.confusion_matrix([0, 2], [0, 1], 2), "0 .. 1"),
    Row("confusion_matrix: a negative class", lambda: metrics.confusion_matrix([0, -1], [0, 1], 2), "0 .. 1"),
    Row("confusion_matrix: text", lambda: metrics.confusion_matrix(["a", "b"], ["a", "a"], 2), "integer"),
    *(Row(f"confusion_matrix: {kind} as n_classes", lambda n=n: metrics.confusion_matrix([0, 1], [0, 1], n),
          "n_classes")
      for kind, n in {"zero": 0, "minus one": -1, "a fraction": 2.5, "text": "2", "None": None, "True": True}.items()),
]

STEPS, CLASSES = jnp.zeros((4, 3)), jnp.zeros(4, int)
MAKERS = (losses.weighted, losses.sum_over_time, losses.mean_over_time, losses.masked_mean_over_time)
LOSSES = [
    *(Row(f"{make.__name__}: {kind} as the loss", lambda make=make, loss=loss: make(loss), "loss") for make in MAKERS
      for kind, loss in {"a number": 3, "a name": "mse", "None": None, "a class": dict,
                         "a function of one argument": lambda y: y}.items()),
    Row("weighted: no pair", lambda: losses.weighted(squared_error)(STEPS, STEPS), "pair"),
    Row("weighted: three parts", lambda: losses.weighted(squared_error)(STEPS, (STEPS, 1.0, 2.0)), "pair"),
    Row("weighted: a dict", lambda: losses.weighted(squared_error)(STEPS, {"label": STEPS, "weight": 1.0}), "pair"),
    Row("weighted: many weights", lambda: losses.weighted(squared_error)(STEPS, (STEPS, jnp.ones(4))), "jax.vmap"),
    Row("weighted: text as the weight", lambda: losses.weighted(squared_error)(STEPS, (STEPS, "1")), "weight"),
    Row("weighted: None as the weight", lambda: losses.weighted(squared_error)(STEPS, (STEPS, None)), "weight"),
    Row("weighted: complex as the weight", lambda: losses.weighted(squared_error)(STEPS, (STEPS, 1j)), "weight"),
    Row("weighted: the weight for the label", lambda: losses.weighted(squared_error)(STEPS, (1.0, STEPS)), "shape"),
    Row("weighted: a loss of many numbers", lambda: losses.weighted(lambda y, t: y)(STEPS, (STEPS, 1.0)),
        "take its mean"),
    *(Row(f"{make.__name__}: {kind}", lambda make=make, y=y, t=t: make(softmax_cross_entropy)(y, t), words)
      for make in (losses.sum_over_time, losses.mean_over_time) for kind, y, t, words in (
          ("fewer labels", STEPS, CLASSES[:3], "leading axis of time"),
          ("one step", STEPS[0], 0, "leading axis of time"),
          ("None as labels", STEPS, None, "labels"), ("text as labels", STEPS, np.array(list("abcd")), "labels"),
          ("nothing", None, None, "leading axis of time"), ("a label out of range", STEPS, CLASSES + 7, "7"),
          ("floats as labels", STEPS, CLASSES * 1.0, "classes"))),
    Row("mean_over_time: no steps", lambda: losses.mean_over_time(softmax_cross_entropy)(STEPS[:0], CLASSES[:0]),
        "at least one"),
    Row("mean_over_time: a loss of many numbers", lambda: losses.mean_over_time(lambda y, t: y)(STEPS, CLASSES),
        "take its mean"),
    Row("mean_over_time: a loss that gives integers", lambda: losses.mean_over_time(lambda y, t: t)(STEPS, CLASSES),
        "floating"),
    Row("sum_over_time: a loss that gives None", lambda: losses.sum_over_time(lambda y, t: None)(STEPS, CLASSES),
        "number"),
    Row("masked_mean_over_time: labels without a mask",
        lambda: losses.masked_mean_over_time(softmax_cross_entropy)(STEPS, CLASSES), "pair"),
    *(Row(f"masked_mean_over_time: {kind} as the mask",
          lambda mask=mask: losses.masked_mean_over_time(softmax_cross_entropy)(STEPS, (CLASSES, mask)), "mask")
      for kind, mask in {"integers": jnp.ones(4, int), "floats": jnp.ones(4), "None": None, "text": "yes",
                         "another length": jnp.ones(3, bool), "lengths": 3,
                         "a matrix": jnp.ones((4, 4), bool)}.items()),
]

ACCEPTED = {
    "a NumPy batch size": lambda: Batches(X, Y, np.int64(2))(np.int64(3)),
    "lists of labels": lambda: metrics.accuracy([1, 0], jnp.array([1, 1])),
    "a NumPy number of classes": lambda: metrics.confusion_matrix([0, 1], [0, 1], np.int64(2)),
    "labels of text in accuracy": lambda: metrics.accuracy(np.array(["a"]), np.array(["a"])),
    "no labels": lambda: Batches(X, None, 2)(0),
    "stratified by text": lambda: split(10, seed=0, labels=np.array(list("ab" * 5))),
}

ROWS = [*BATCHES, *CHECKS, *SPLITS, *GENERATED, *READERS, *METRICS, *LOSSES]
