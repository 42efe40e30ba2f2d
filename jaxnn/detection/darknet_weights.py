"""Darknet's .weights files, read into the params and state of a network.

A .weights file has a header of three integers, the version, and a count of pictures; then for each convolution, in the
order of the .cfg, its bias, or with batch norm bias, scale, mean and variance, and then its kernel, (n_out, n_in,
height, width), all float32 and little-endian.
"""

import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import as_path, expect
from jaxnn.detection.darknet import DarknetNetwork
from jaxnn.models.weights import BadWeights

__all__ = ["read_darknet_weights"]


def read_darknet_weights(path: str | Path, net: DarknetNetwork) -> tuple[Any, Any]:
    """(params, state) of a network from a .weights file.

    Raises:
      BadWeights: there is no such file; it has fewer numbers than the network, or more, or what cannot be weights: it
        is cut off, or of another network.
    """
    file = as_path("read_darknet_weights", "path", path)
    who = str(file)
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), net.size))
    order = [(part.name, _entries(part.name, *shapes)) for part in net.parts if part.section.kind == "convolutional"]
    n_numbers = sum(math.prod(shape) for _, entries in order for _, _, shape in entries)
    try:
        if not file.is_file():
            raise BadWeights(who, "expects a .weights file of Darknet; got no such file")
        n_bytes = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(12)
            _expect_whole_header(who, head)
            major, minor, _ = np.frombuffer(head, "<i4").tolist()
            begin = 20 if major * 10 + minor >= 2 else 16
            if n_bytes != begin + 4 * n_numbers:
                raise BadWeights(who, _size_problem(order, n_numbers, n_bytes, begin))
            stream.seek(begin)
            numbers = np.frombuffer(stream.read(4 * n_numbers), "<f4")
    except OSError as error:
        raise BadWeights(who, f"expects a file that can be read; got {error.strerror}") from error
    return _filled(who, order, numbers, shapes)


def _expect_whole_header(who: str, head: bytes) -> None:
    if len(head) < 12:
        raise BadWeights(who, f"expects a header of 12 bytes; got {len(head)}; the file is cut off")
    major, minor, _ = np.frombuffer(head, "<i4").tolist()
    if not (0 <= major <= 10 and 0 <= minor <= 10):
        raise BadWeights(who, f"expects Darknet's version, two small numbers, first; got {major}, {minor}; it is no "
                         ".weights file")


def _entries(name: str, params: Any, state: Any) -> list[tuple[int, tuple[str, str], tuple[int, ...]]]:
    """What the file has of one convolution: (0 of params or 1 of state, path, shape), in its order."""
    of_part, of_state = params[name], state.get(name, {})
    if "norm" in of_part:
        first = [(0, ("norm", "bias")), (0, ("norm", "scale")), (1, ("norm", "mean")), (1, ("norm", "variance"))]
    else:
        first = [(0, ("conv", "bias"))]
    trees = (of_part, of_state)
    entries = [(i, path, trees[i][path[0]][path[1]].shape) for i, path in first]
    height, width, n_in, n_out = of_part["conv"]["kernel"].shape
    return [*entries, (0, ("conv", "kernel"), (n_out, n_in, height, width))]


def _size_problem(order: list[Any], n_numbers: int, n_bytes: int, begin: int) -> str:
    there = max(n_bytes - begin, 0) // 4
    words = (f"expects the {n_numbers:,} numbers of this network, {begin + 4 * n_numbers:,} bytes with the header; got "
             f"{n_bytes:,} bytes")
    if there > n_numbers:
        return f"{words}; it is of another network, or has weights of layers that the .cfg lacks"
    ends = 0
    for name, entries in order:
        ends += sum(math.prod(shape) for *_, shape in entries)
        if ends > there:
            return f"{words}, which end inside of '{name}'; it is cut off, or of another network"
    return f"{words}, which are no whole numbers at the end; it is damaged"


def _filled(who: str, order: list[Any], numbers: np.ndarray, shapes: Any) -> tuple[Any, Any]:
    found: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    begin = 0
    for name, entries in order:
        for i, (layer, entry), shape in entries:
            n = math.prod(shape)
            array = numbers[begin:begin + n].reshape(shape)
            begin += n
            if not np.isfinite(array).all() or (entry == "variance" and (array < 0).any()):
                raise BadWeights(who, f"expects finite numbers, and variances of at least 0; '{name}/{layer}/{entry}' "
                                 "has others; it is damaged, or of another network of as many numbers")
            array = np.transpose(array, (2, 3, 1, 0)) if entry == "kernel" else array
            found[i].setdefault(name, {}).setdefault(layer, {})[entry] = jnp.asarray(array)
    for got, want in zip(found, shapes, strict=True):
        structures: list[Any] = [jax.tree.structure(tree) for tree in (got, want)]
        expect(structures[0] == structures[1], who, "a network whose convolutions have all "
               "parameters", "others")
    return found
