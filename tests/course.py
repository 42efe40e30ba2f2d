"""The course's layout and formulas over the library's ops, for the tests that recompute its numbers.

The course writes a batch as features x examples, one column for each example, a layer's weights as
W1, b1, W2, b2 ... with b a column; the library takes one example at a time, under `jax.vmap`.
"""

import functools
import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared.mlp import mlp
from jaxnn import ops

VARIABLE = "JAXNN_GROUND_TRUTH"


def data_directory():
    return Path(os.environ["JAXNN_DATA"]) if os.environ.get("JAXNN_DATA") else None


def ground_truth_directory():
    """The environment variable JAXNN_GROUND_TRUTH, else ground_truth beside the data directory."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    return data_directory().parent / "ground_truth" if data_directory() else None


def missing():
    """Why the ground truth cannot be read; empty if it can."""
    directory = ground_truth_directory()
    if directory is None:
        return f"the course's numbers are not here: set {VARIABLE} to their directory"
    found = (directory / "ground_truth.json").is_file()
    return "" if found else f"{directory} holds no ground_truth.json: set {VARIABLE} to its directory"


def load():
    """{id: case}, with arrays in place of lists and of references into the npz file."""
    if missing():
        return {}
    directory = ground_truth_directory()
    cases = json.loads((directory / "ground_truth.json").read_text())["cases"]
    with np.load(directory / "ground_truth_arrays.npz") as arrays:
        return {case["id"]: case | {part: _arrays(case[part], arrays) for part in ("inputs", "expected")}
                for case in cases}


def _arrays(value, arrays):
    if isinstance(value, dict):
        return arrays[value["npz"]] if "npz" in value else {k: _arrays(v, arrays) for k, v in value.items()}
    if not isinstance(value, list):
        return value
    try:
        array = np.asarray(value)
    except ValueError:  # ragged
        return [_arrays(v, arrays) for v in value]
    return array if array.dtype.kind in "fib" else [_arrays(v, arrays) for v in value]


# Layout.


def dense_params(W, b=None):
    params = {"weight": jnp.asarray(W, float)}
    return params if b is None else params | {"bias": jnp.asarray(b, float).ravel()}


def network(weights, hidden):
    """(function, params) of the dense layers W1, b1, W2 ...; the last gives logits."""
    depth = sum(name.startswith("W") for name in weights)
    params = [dense_params(weights[f"W{i}"], weights[f"b{i}"]) for i in range(1, depth + 1)]
    return functools.partial(mlp, activation=hidden), params


def as_course(params):
    """Params of `network`, or their gradient, under the course's names and in its shapes."""
    named = {}
    for i, layer in enumerate(params, 1):
        named |= {f"W{i}": layer["weight"], f"b{i}": layer["bias"][:, None]}
    return named


def columns(op, *, shared=0):
    """The op over a batch of columns; its first `shared` arguments are the same for all."""
    def batched(*args):
        batch = [jax.tree.map(jnp.transpose, arg) for arg in args[shared:]]
        axes = (None,) * shared + (0,) * len(batch)
        return jax.tree.map(jnp.transpose, jax.vmap(op, axes)(*args[:shared], *batch))

    return batched


def cost(op, params, X, Y, l2=0.0):
    """The mean binary cross-entropy of a network with one output, plus λ / 2m Σ W²."""
    logits = columns(op, shared=1)(params, X)
    loss = jnp.mean(jax.vmap(ops.binary_cross_entropy)(logits[0], jnp.ravel(Y)))
    squares = sum(jnp.sum(p["weight"] ** 2) for p in params)
    return loss + l2 / (2 * X.shape[1]) * squares


def accuracy(op, params, X, Y):
    """In per cent."""
    return 100 * np.mean(np.ravel(columns(op, shared=1)(params, X)[0] > 0) == np.ravel(Y))


def initial(sizes, seed, scale):
    """randn weights times scale(n_in), zero biases, drawn in the course's order."""
    rng = np.random.RandomState(seed)
    weights = {}
    for i in range(1, len(sizes)):
        weights[f"W{i}"] = rng.randn(sizes[i], sizes[i - 1]) * scale(sizes[i - 1])
        weights[f"b{i}"] = np.zeros((sizes[i], 1))
    return weights
