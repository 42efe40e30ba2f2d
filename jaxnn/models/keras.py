"""Weights that Keras saved, from its HDF5 files: "model_weights/conv1_conv/conv1_conv/kernel:0".

    here                      Keras
    kernel (h, w, in, out)    kernel, the same
    kernel (h, w, 1, c)       depthwise_kernel (h, w, c, 1), of a depthwise convolution
    weight (out, in)          kernel (in, out), or (1, 1, in, out) where the last layer is a convolution
    scale, bias               gamma, beta of batch norm; elsewhere bias
    mean, variance            moving_mean, moving_variance

A layer is the group that holds the data sets, whatever is around it. Keras 1 called them W, b, gamma, beta,
running_mean and running_std, which holds the variance; these names are read too. What the file says in
attributes is not read, and nothing is unpickled. Keras flattens a picture as we do, row by row with the channels last.

Batch norm's eps is no weight: Keras' own is 1e-3, that of its ResNets 1.001e-5, PyTorch's 1e-5. A model that takes
Keras' weights must have Keras' eps, as `resnet50_keras` and `mobilenet_v2_keras` do.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.data.hdf5 import Field, list_hdf5, read_hdf5
from jaxnn.file_errors import BadFile, MissingData
from jaxnn.models.weights import BadWeights, entries_of

__all__ = ["read_keras"]

KIND = re.compile(r"(?:.*_)?(depthwise_kernel|kernel|bias|gamma|beta|moving_mean|moving_variance|running_mean|"
                  r"running_std|W|b)(?:_\d+)?(?::0)?")
OLD = {"W": "kernel", "b": "bias", "running_mean": "moving_mean", "running_std": "moving_variance"}
MOST_BYTES = 2**31  # of one array


class Stored(NamedTuple):
    """A data set of the file: its place, and what it declares itself to be."""

    place: str
    field: Field


def read_keras(path: str | Path, params: Any, state: Any, names: Mapping[str, str], *,
               ignore: Iterable[str] = ()) -> tuple[Any, Any]:
    """(params, state) of a model with the numbers of a Keras file in them.

    Args:
      path: of `model.save_weights("x.h5")` or `model.save("x.h5")`; or of `keras.applications`.
      params, state: of the model's init, or their shapes, by `jax.eval_shape`.
      names: for each dotted path of our model its layer there, such as `KERAS["vgg16"]`; a layer of another name is
        given by `KERAS["resnet50_keras"] | {"fc": "probs"}`.
      ignore: layers that the file has and the model has not.
    Raises:
      MissingData: there is no such file.
      BadWeights: it cannot be read, a name is missing, left over or there twice, or a shape or dtype does not fit; all
        of them are listed.
      ModuleNotFoundError: h5py is not installed.
    """
    stored, problems = _stored(path)
    fields: dict[str, Field] = {}
    places: list[tuple[str, tuple[str, ...], Any]] = []
    entries = list(entries_of(params, state))
    norms = {parts[:-1] for parts, _ in entries if parts[-1] in ("scale", "mean")}
    for parts, leaf in entries:
        dotted = ".".join(parts[:-1])
        layer = names.get(dotted, dotted)
        found = next((stored.pop((layer, kind)) for kind in _kinds(parts, norms) if (layer, kind) in stored), None)
        if found is None:
            problems.append(f"missing {layer}/{_kinds(parts, norms)[0]}")
            continue
        shapes = _their_shapes(parts[-1], leaf.shape, found.place)
        dtype = np.dtype(found.field.dtype)
        if found.field.shape not in shapes:
            problems.append(f"{found.place} of shape {found.field.shape} where {shapes[0]} is expected")
        elif dtype.kind != "f":
            problems.append(f"{found.place} of dtype {dtype} where floating-point numbers are expected")
        else:
            fields[found.place] = Field(found.field.shape, dtype.newbyteorder("="))
            places.append((found.place, parts, leaf))
    ignored = set(ignore)
    problems += [f"left over {each.place}" for (layer, _), each in stored.items() if layer not in ignored]
    if problems:
        raise BadWeights("weights", f"expects the layers and shapes of this model; {path} has " + "; ".join(problems))
    arrays = _read(path, fields)
    filled = [_to_ours(parts[-1], arrays[place], leaf.shape, place).astype(leaf.dtype) for place, parts, leaf in places]
    return jax.tree.unflatten(jax.tree.structure((params, state)), filled)


def _stored(path: str | Path) -> tuple[dict[tuple[str, str], Stored], list[str]]:
    """The data sets by layer and kind, and what is the matter with their names."""
    try:
        fields = list_hdf5(path)
    except MissingData:
        raise
    except (BadFile, OSError) as error:
        raise BadWeights("weights", f"expects an HDF5 file of Keras; {error}") from error
    if any(name.startswith("model_weights/") for name in fields):  # beside it are the optimizer's
        fields = {name: field for name, field in fields.items() if name.startswith("model_weights/")}
    if any(re.search(r"/vars/\d+$", name) for name in fields):
        raise BadWeights("weights", f"expects names such as conv1/kernel:0; {path} numbers its arrays, as Keras 3 does "
                         "in '.weights.h5'; save it in Keras by model.save('x.h5')")
    stored: dict[tuple[str, str], Stored] = {}
    problems = []
    for place, field in fields.items():
        *groups, name = place.split("/")
        match = KIND.fullmatch(name)
        if not match or not groups:
            problems.append(f"left over {place}")
            continue
        key = groups[-1], OLD.get(match[1], match[1])
        if key in stored:
            problems.append(f"{'/'.join(key)} twice, at {stored[key].place} and at {place}")
        stored[key] = Stored(place, field)
    return stored, problems


def _kinds(parts: tuple[str, ...], norms: set[tuple[str, ...]]) -> tuple[str, ...]:
    leaf = parts[-1]
    if parts[:-1] in norms:
        return ({"scale": "gamma", "bias": "beta", "mean": "moving_mean", "variance": "moving_variance"}[leaf],)
    return {"kernel": ("kernel", "depthwise_kernel"), "weight": ("kernel",)}.get(leaf, (leaf,))


def _their_shapes(leaf: str, shape: tuple[int, ...], place: str) -> list[tuple[int, ...]]:
    if leaf == "weight":
        return [shape[::-1], (1, 1, *shape[::-1])]
    if leaf == "kernel" and "depthwise_kernel" in place:
        return [(*shape[:-2], shape[-1], shape[-2])]
    return [shape]


def _to_ours(leaf: str, array: np.ndarray, shape: tuple[int, ...], place: str) -> np.ndarray:
    if leaf == "weight":
        return array.reshape(shape[::-1]).T
    if leaf == "kernel" and "depthwise_kernel" in place:
        return np.swapaxes(array, -1, -2)
    return array


def _read(path: str | Path, fields: dict[str, Field]) -> dict[str, np.ndarray]:
    try:
        return read_hdf5(path, fields, max_bytes=MOST_BYTES)
    except (BadFile, OSError) as error:
        raise BadWeights("weights", f"expects a whole HDF5 file of Keras; {error}") from error
