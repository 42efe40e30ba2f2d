"""Keras' LSTM with weights that the course released: its translator of dates and its writer of sonnets are made of it.

Keras orders the gates i, f, candidate, o. When the weights were trained a gate was clip(0.2 z + 0.5, 0, 1); today it is
a sigmoid.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.data.hdf5 import Field, read_hdf5
from jaxnn.ops import dense, hard_sigmoid, tanh

__all__ = ["dense_params", "hard", "lstm_step", "read_layers"]

Weights = dict[str, dict[str, np.ndarray]]


def read_layers(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Weights:
    """For each layer its kernel, bias and recurrent kernel, as Keras has them.

    Args:
      shapes: of the data sets, by their place in "model_weights", such as "dense_1/dense_1/kernel:0".
    Raises:
      BadFile: the file holds something else.
      ModuleNotFoundError: h5py is not installed.
    """
    fields = {f"model_weights/{place}": Field(shape, np.dtype(np.float32)) for place, shape in shapes.items()}
    weights: Weights = {}
    for place, array in read_hdf5(path, fields).items():
        *_, layer, name = place.split("/")
        weights.setdefault(layer, {})[name.removesuffix(":0")] = array
    return weights


def hard(z: Any) -> Any:
    """Keras' gate of that time, clip(0.2 z + 0.5, 0, 1); the op's slope is 1/6."""
    return hard_sigmoid(1.2 * z)


def lstm_step(w: Any, gate: Callable, carry: Any, x: Any) -> Any:
    """((h, c), h) after one more x."""
    h, c = carry
    z = dense({"weight": w["kernel"].T, "bias": w["bias"]}, x) + dense({"weight": w["recurrent_kernel"].T}, h)
    i, f, g, o = jnp.split(z, 4)
    c = gate(f) * c + gate(i) * tanh(g)
    h = gate(o) * tanh(c)
    return (h, c), h


def dense_params(w: Any) -> dict[str, Any]:
    return {"weight": w["kernel"].T, "bias": w["bias"]}
