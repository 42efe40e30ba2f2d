"""Bad calls of every op of the catalogue, made from its own arguments: each makes one mistake in a call that is right.

    sizes       an axis that must agree with another one is longer by one
    ranks       an array has an axis too many, or one too few
    dtypes      integers, complex numbers or booleans where floating-point numbers are due
    kinds       text, None, a list of lists, a function, a set in the place of an array or of params
    entries     of params and state: one missing, one None, one too many
    signature   an argument left out, one too many, a keyword that is not known
    keywords    of each static option: every kind of value that it does not take
"""

import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.catalogue import CASES, Case
from jaxnn import ops
from jaxnn.cotangents import is_inexact
from tests.bad_calls.row import Row

__all__ = ["ROWS"]

EACH = [case for case in CASES if case.kind != "network"]
# Of an op that stands in the catalogue with several choices, the arguments are tried once.
ONCE = [case for case in EACH if "-" not in case.name or case.name in ("softmax_cross_entropy-distribution",
                                                                       "attention-masked")]
ANY_SHAPE = {"flatten", "dropout", "add", "concatenate", "log_softmax", "softmax", "crelu", "prelu",
             "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm", "standardize_kernel",
             "global_average_pool", "global_max_pool", "scale_channels", "l2_normalize", "gram_matrix", *(
    case.name for case in EACH if case.kind == "elementwise")}
# Arguments that may be integers or booleans, and so are no mistake.
MAY_BE_INTEGERS = {("binary_cross_entropy", "labels"), ("squared_error", "targets"), ("huber", "targets"),
                   ("focal_loss", "labels"), ("flatten", "x"), ("add", "x"), ("concatenate", "x")}
# Sizes that have one letter in the catalogue, and need not agree.
FREE = {"ctc": "s", "conv": "k", "conv_transpose": "k", "batch_norm": "s", "batch_norm_inference": "s",
        "concatenate": "n", "scale_channels": "s", "pixel_shuffle": "s", "pixel_unshuffle": "s",
        "standardize_kernel": "k", "yolo_boxes": "s", "gram_matrix": "s",
        **dict.fromkeys(("layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"), "s")}
# A picture with an axis more is a volume.
ANY_RANK = ("batch_norm", "max_pool", "average_pool", "l2_pool", "adaptive_average_pool", "resize", "max_unpool")


def leaves_of(case: Case) -> list[tuple[str, str, int]]:
    """(argument, path, number) of each leaf of the arguments."""
    flat = jax.tree_util.tree_flatten_with_path(case.args())[0]
    return [(case.op.arguments[path[0].idx], case.op.arguments[path[0].idx] + jax.tree_util.keystr(path[1:]), n)
            for n, (path, _) in enumerate(flat)]


def with_leaf(case: Case, n: int, change: Any) -> tuple[Any, ...]:
    """The arguments with one leaf changed, by NumPy: JAX would compile a program for each, 400 in all."""
    leaves, tree = jax.tree.flatten(case.args())
    leaves[n] = jax.device_put(change(np.asarray(leaves[n])))
    return jax.tree.unflatten(tree, leaves)


def call(case: Case, args: tuple[Any, ...], **static: Any) -> Any:
    options = {**case.static, **static}
    if case.name != "batch_norm":
        return lambda: case.op(*args, **options)
    # In the catalogue it has its batch already; params and state are to be seen by the op, and not by `vmap`.
    params, state, x = args
    if not isinstance(x, jax.Array):
        return lambda: ops.batch_norm(params, state, x, **options)
    return lambda: jax.vmap(lambda x: ops.batch_norm(params, state, x, **options), axis_name="examples")(x)


def longer(a: Any, axis: int) -> Any:
    return np.concatenate([a, np.take(a, [0], axis)], axis)


def sizes() -> Iterator[Row]:
    for case in ONCE:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(case.args())]
        places = leaves_of(case)
        for name, (small, *_) in case.sizes.items():
            if name in FREE.get(case.name, ""):
                continue
            larger = [jnp.shape(leaf) for leaf in jax.tree.leaves(case.args(**{name: small + 1}))]
            tied = [(n, axis) for n, (a, b) in enumerate(zip(shapes, larger)) for axis in range(len(a))
                    if a[axis] != b[axis]]
            for n, axis in tied if len(tied) > 1 else ():
                yield Row(f"{case.name}: axis {axis} of {places[n][1]} longer by one",
                          call(case, with_leaf(case, n, functools.partial(longer, axis=axis))))


def ranks() -> Iterator[Row]:
    for case in ONCE:
        for argument, path, n in leaves_of(case):
            if case.name in ANY_SHAPE or argument == "key" or (case.name, argument) == ("embedding", "x"):
                continue
            if argument == "mask" and "attention" in case.name:
                continue  # of one head, or of keys alone, it has an axis more or less
            leaf = jax.tree.leaves(case.args())[n]
            if not (case.name.startswith(("batch_norm", "adaptive", "resize")) and argument == "x"):
                yield Row(f"{case.name}: an axis too many in {path}", call(case, with_leaf(case, n, lambda a: a[None])),
                          "shape")
            if jnp.ndim(leaf) and not (argument == "x" and case.name.startswith(ANY_RANK)):
                yield Row(f"{case.name}: an axis too few in {path}", call(case, with_leaf(case, n, lambda a: a[0])),
                          "shape")


def dtypes() -> Iterator[Row]:
    for case in ONCE:
        for argument, path, n in leaves_of(case):
            if argument == "key":
                continue
            leaf = jax.tree.leaves(case.args())[n]
            kinds = ["complex64"]
            if is_inexact(leaf):
                kinds += [] if (case.name, argument) in MAY_BE_INTEGERS else ["int32", "bool"]
            else:
                kinds += ["float32", "bool" if leaf.dtype != bool else "int32"]
            for kind in kinds:
                if case.name in ("flatten", "add", "concatenate"):
                    continue
                yield Row(f"{case.name}: {path} of {kind}",
                          call(case, with_leaf(case, n, lambda a, kind=kind: a.astype(kind))))


STRANGERS = {"text": "abc", "a list of lists": [[1.0, 2.0], [3.0, 4.0]], "a function": jnp.sin, "a set": {1.0},
             "an array of objects": np.array([object()]), "an array of text": np.array(["a", "b"]),
             "a class": dict, "a date": np.array(["2020-01-01"], "datetime64[D]")}


def kinds() -> Iterator[Row]:
    for case in ONCE:
        args = case.args()
        for n, argument in enumerate(case.op.arguments[:len(args)]):
            strangers = dict(STRANGERS)
            if argument not in ("initial", "mask"):
                strangers["None"] = None
            for kind, stranger in strangers.items():
                if argument == "x" and case.name in ("add", "concatenate") and kind == "a list of lists":
                    stranger = [[1.0, 2.0], [3.0]]
                yield Row(f"{case.name}: {kind} as {argument}", call(case, (*args[:n], stranger, *args[n + 1:])))


def entries() -> Iterator[Row]:
    for case in ONCE:
        args = case.args()
        for n, argument in enumerate(case.op.arguments[:len(args)]):
            if not isinstance(args[n], dict):
                continue
            def changed(other: Any, n: int = n, case: Case = case, args: tuple = args) -> Any:
                return call(case, (*args[:n], other, *args[n + 1:]))

            yield Row(f"{case.name}: {argument} with an entry too many", changed({**args[n], "gamma": jnp.ones(2)}),
                      argument)
            yield Row(f"{case.name}: the values of {argument} as a list", changed(list(args[n].values())), argument)
            optional = ("scale", "bias") if "norm" in case.name else ("bias", "bias_h")
            for name in args[n]:
                if name in optional:
                    continue
                rest = {key: a for key, a in args[n].items() if key != name}
                yield Row(f"{case.name}: {argument} without {name}", changed(rest), name)
                yield Row(f"{case.name}: {argument} with None as {name}", changed({**args[n], name: None}), name)
            for name in args[n]:
                yield Row(f"{case.name}: {argument} with a list as {name}",
                          changed({**args[n], name: args[n][name].tolist()}), name)
                yield Row(f"{case.name}: {argument} with text as {name}", changed({**args[n], name: "abc"}), name)


def signature() -> Iterator[Row]:
    for case in EACH:
        if case.name == "batch_norm":
            continue
        args = case.args()
        filled = (*args, *[None] * (len(case.op.arguments) - len(args)))
        yield Row(f"{case.name}: no argument", lambda case=case: case.op())
        yield Row(f"{case.name}: one argument too many", call(case, (*filled, jnp.ones(2))), case.op.name)
        yield Row(f"{case.name}: a keyword not known", call(case, args, colour=3), "colour")
        if len(case.op.arguments) > 1 and case.op.arguments[1] not in ("initial", "mask", "positions"):
            yield Row(f"{case.name}: the first argument alone", call(case, args[:1]))


NUMBERS = {"text": "1", "None": None, "NaN": np.nan, "a complex number": 1j, "a list": [1.0, 2.0], "a function": abs}
WHOLE = {"text": "2", "a fraction": 1.5, "True": True, "zero": 0, "minus one": -1, "NaN": np.nan, "a function": abs,
         "a complex number": 1j, "bytes": b"2"}
CHOICE = {"text": "no", "None": None, "one": 1, "a list": [True], "a number": 0.5}
PADDING = {"a word not known": "FULL", "minus one": -1, "a fraction": 0.5, "True": True, "None": None,
           "too many": (1, 1, 1, 1), "triples": ((1, 1, 1), (1, 1, 1)), "a huge number": 10**9,
           "text in a pair": (1, "a"),
           "a function": abs}
CROPPING = {kind: value for kind, value in PADDING.items() if kind != "minus one"} | {"more than x": -9}
AXIS = {"text": "1", "None": None, "a fraction": 0.5, "out of range": 7, "far below": -9, "True": True,
        "a list": [0, 1]}
REDUCTION = {"another word": "avg", "None": None, "True": True, "a number": 1, "none": "none", "a list": ["sum"]}
AXES = {"text": "0", "out of range": 5, "twice the same": (0, 0), "a fraction": 0.5, "True": True,
        "a list of text": ["a"], "far below": -4}
SCALE = NUMBERS | {"True": True, "text of a number": "0.5"}
WORDS = {"another word": "cosine", "None": None, "True": True, "a number": 1, "a list": ["squared"]}
OF_EMBEDDINGS = ("triplet_loss", "contrastive_loss", "cosine_margin_loss")
KEYWORDS = {
    ("leaky_relu", "slope"): SCALE | {"minus one": -1.0, "infinity": np.inf},
    ("elu", "alpha"): SCALE | {"minus one": -1.0, "infinity": np.inf},
    ("dropout", "rate"): SCALE | {"one": 1.0, "minus one": -0.5, "percent": 50, "infinity": np.inf},
    ("huber", "delta"): SCALE | {"zero": 0.0, "minus one": -1.0, "infinity": np.inf},
    ("focal_loss", "gamma"): SCALE | {"minus one": -1.0, "infinity": np.inf},
    ("focal_loss", "alpha"): {kind: x for kind, x in SCALE.items() if kind != "None"} | {"two": 2.0, "minus one": -1.0},
    **{(name, "form"): {"another word": "corner", "None": None, "one": 1, "a list": ["centre"]} for name in (
        "iou", "generalized_iou", "distance_iou", "complete_iou")},
    ("complete_iou", "hold_alpha"): CHOICE,
    ("yolo_boxes", "stretch"): SCALE | {"a half": 0.5, "infinity": np.inf},
    ("yolo_boxes", "anchors"): {"None": None, "zeros": ((0.0, 0.1), (0.1, 0.1)), "one": ((0.1, 0.1),), "text": "1",
                                "sizes alone": (0.1, 0.2), "NaN": ((np.nan, 1.0), (1.0, 1.0))},
    ("batch_norm_inference", "eps"): SCALE | {"zero": 0.0, "minus one": -1.0, "infinity": np.inf},
    ("batch_norm", "eps"): SCALE | {"zero": 0.0, "minus one": -1.0, "infinity": np.inf},
    ("batch_norm", "momentum"): SCALE | {"minus one": -1.0, "two": 2.0, "infinity": np.inf},
    ("softmax_cross_entropy", "smoothing"): SCALE | {"minus one": -1.0, "two": 2.0},
    ("softmax_cross_entropy", "ignore_label"): {"text": "1", "a fraction": 0.5, "True": True, "a list": [1]},
    ("ctc", "blank"): {"text": "0", "a fraction": 0.5, "True": True, "out of range": 4, "minus one": -1, "None": None,
                       "a label": 0},
    ("dense_softmax_cross_entropy", "chunk"): WHOLE | {"None": None},
    ("dense_softmax_cross_entropy", "smoothing"): SCALE | {"minus one": -1.0, "two": 2.0},
    ("dense_softmax_cross_entropy", "ignore_label"): {"text": "1", "a fraction": 0.5, "True": True, "a list": [1]},
    ("dense_softmax_cross_entropy", "reduction"): REDUCTION, ("dense_softmax_cross_entropy", "axes"): AXES,
    ("softmax", "axis"): AXIS, ("log_softmax", "axis"): AXIS, ("concatenate", "axis"): AXIS,
    ("conv", "padding"): CROPPING,
    **{("conv", name): WHOLE | {"too many": (1, 1, 1), "None": None} for name in ("stride", "dilation")},
    **{("conv_transpose", name): WHOLE | {"too many": (1, 1, 1), "None": None} for name in ("stride", "dilation")},
    **{(name, "groups"): WHOLE | {"None": None, "a list": [1], "no divisor": 3} for name in (
        "conv", "conv_transpose")},
    ("conv_transpose", "padding"): {k: v for k, v in CROPPING.items() if k != "more than x"} | {
        "a word of conv": "CAUSAL", "all of y": 99},
    ("conv_transpose", "output_padding"): {"text": "1", "a fraction": 0.5, "minus one": -1, "True": True, "None": None,
                                           "as much as the stride": 2, "too many": (1, 1, 1)},
    **{(name, option): WHOLE | more for name in ("average_pool", "l2_pool") for option, more in
       (("window", {"larger than x": 9, "None": None, "four": (1, 1, 1, 1)}), ("stride", {"too many": (1, 1, 1)}))},
    **{(name, "padding"): PADDING | {"as large as the window": 2} for name in ("average_pool", "l2_pool")},
    **{(name, "ceil"): CHOICE for name in ("average_pool", "l2_pool", "max_pool")},
    ("average_pool", "count_padding"): CHOICE, ("max_pool", "dilation"): WHOLE | {"None": None},
    **{(name, "size"): WHOLE | {"too many": (1,) * 4, "None": None} for name in (
        "adaptive_average_pool", "resize", "max_unpool")},
    ("resize", "method"): {"another word": "cubic", "None": None, "a number": 1, "a list": ["nearest"]},
    ("resize", "align"): {"another word": "centre", "None": None, "True": True, "a list": ["corners"]},
    **{(name, "factor"): WHOLE | {"None": None, "no divisor": 3, "a pair": (2, 2)} for name in (
        "pixel_shuffle", "pixel_unshuffle")},
    **{(name, "eps"): SCALE | {"zero": 0.0, "minus one": -1.0, "infinity": np.inf} for name in (
        "layer_norm", "group_norm", "instance_norm", "rms_norm", "standardize_kernel")},
    ("group_norm", "groups"): WHOLE | {"None": None, "no divisor": 3},
    ("local_response_norm", "size"): WHOLE | {"None": None},
    ("local_response_norm", "alpha"): SCALE | {"minus one": -1.0, "infinity": np.inf},
    ("local_response_norm", "beta"): SCALE | {"infinity": np.inf},
    ("local_response_norm", "k"): SCALE | {"zero": 0.0, "minus one": -1.0, "infinity": np.inf},
    ("dropout", "shared"): {"text": "0", "a fraction": 0.5, "True": True, "out of range": 7},
    ("max_pool", "window"): WHOLE | {"none": (), "four": (1, 1, 1, 1), "larger than x": 9, "None": None,
                                     "a huge number": 10**9},
    ("max_pool", "stride"): WHOLE | {"too many": (1, 1, 1)},
    ("max_pool", "padding"): PADDING | {"as large as the window": 2},
    ("attention", "causal"): CHOICE, ("attention", "chunk"): WHOLE,
    ("attention", "n_keys"): WHOLE | {"more than there are": 1000},
    **{(name, option): values for option, values in (("reverse", CHOICE), ("segment", WHOLE)) for name in (
        "rnn", "rnn_relu", "gru", "gru_reset_after", "lstm", "lstm_peephole", "lstm_projected", "layer_norm_lstm")},
    ("attention", "n_heads"): WHOLE | {"None": None, "no divisor": 3}, ("attention", "n_kv_heads"): WHOLE | {"many": 2},
    ("attention", "window"): WHOLE | {"a triple": (1, 1, 1), "one in a list": [1], "no limit": (None, None),
                                      "far before": (-1, 0)},
    **{("attention", name): {kind: x for kind, x in SCALE.items() if kind != "None"} | {"infinity": np.inf}
       for name in ("scale", "soft_cap")},
    ("attention", "rate"): SCALE | {"one": 1.0, "minus one": -0.5, "percent": 50},
    ("rotary", "layout"): {"another word": "pairs", "None": None, "a number": 1, "a list": ["halves"]},
    ("rotary", "n_heads"): WHOLE | {"None": None}, ("rotary", "base"): SCALE | {"one": 1.0, "infinity": np.inf},
    **{(name, "reduction"): REDUCTION for name in ("binary_cross_entropy", "squared_error", "huber", "focal_loss",
                                                  *OF_EMBEDDINGS)},
    **{(name, "axes"): AXES for name in ("binary_cross_entropy", "squared_error", "huber", "softmax_cross_entropy",
                                         "focal_loss", *OF_EMBEDDINGS)},
    **{(name, "margin"): SCALE | {"infinity": np.inf} for name in (*OF_EMBEDDINGS, "mined_triplet_loss")},
    **{(name, "distance"): WORDS for name in ("triplet_loss", "mined_triplet_loss")},
    ("mined_triplet_loss", "mining"): WORDS, ("gram_matrix", "reduction"): REDUCTION,
    ("cosine_margin_loss", "scale"): SCALE | {"zero": 0.0, "minus one": -1.0, "infinity": np.inf},
    ("total_variation", "power"): SCALE | {"a half": 0.5, "minus one": -1.0, "infinity": np.inf},
    ("l2_normalize", "eps"): SCALE | {"zero": 0.0, "minus one": -1.0, "infinity": np.inf},
}


def keywords() -> Iterator[Row]:
    by_name = {case.name: case for case in EACH}
    for (name, option), values in KEYWORDS.items():
        case = by_name[name]
        for kind, value in values.items():
            yield Row(f"{name}: {kind} as {option}", call(case, case.args(), **{option: value}), option)


ROWS = [*sizes(), *ranks(), *dtypes(), *kinds(), *entries(), *signature(), *keywords()]
