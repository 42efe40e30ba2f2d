"""Published weights in and out of a model: safetensors files with torchvision's names, or timm's.

A convolution's kernel is (height, width, n_in, n_out) here and (n_out, n_in, height, width) there. A dense layer after
`Flatten` reads a picture row by row with the channels last here, channel by channel there: its columns are reordered.
Files are read by the safetensors library, which unpickles nothing.
"""

import io
import math
import re
import zipfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxnn.checks import InputError
from jaxnn.data.whole import written_whole

__all__ = ["BadWeights", "Published", "entries_of", "from_published", "read_npz", "read_safetensors",
           "to_published", "write_safetensors"]

# Of the last part of a name: what torchvision calls our entries.
LEAVES = {"kernel": "weight", "scale": "weight", "weight": "weight", "bias": "bias", "mean": "running_mean",
          "variance": "running_var"}


class BadWeights(InputError):
    """A file of weights that cannot be read, or does not fit the model."""


class Published(NamedTuple):
    """How the entries of a model are named and laid out elsewhere."""

    parts: Mapping[str, str]
    """For a run of whole parts of our dotted path, what stands in its place; "" for nothing."""
    flattened: Mapping[str, tuple[int, int]] = {}
    """For a dense layer that reads a flattened picture, the picture's (height, width)."""
    as_kernels: Collection[str] = ()
    """Dense layers that are convolutions there: of 1x1, or of the size of the flattened picture."""

    def name(self, path: Iterable[str]) -> str:
        """What the entry at a path of params or state is called there."""
        *parts, leaf = path
        dotted = ".".join(parts)
        for ours, theirs in self.parts.items():
            dotted = re.sub(rf"(^|\.){re.escape(ours)}(?=\.|$)", rf"\g<1>{theirs}", dotted)
        return ".".join([*filter(None, dotted.split(".")), LEAVES.get(leaf, leaf)])


def from_published(arrays: Mapping[str, Any], params: Any, state: Any, published: Published, *,
                   ignore: Iterable[str] = ()) -> tuple[Any, Any]:
    """(params, state) of a model with the published numbers in them.

    Args:
      arrays: by their published names.
      params, state: of the model's init, or their shapes, by `jax.eval_shape`.
      published: of the model, such as `jaxnn.models.resnet.TORCHVISION`.
      ignore: beginnings of names that the file has and the model has not, as "aux" of GoogLeNet.
    Raises:
      BadWeights: a name is missing or left over, or a shape or dtype does not fit; all of them are listed.
    """
    problems, taken = [], set()
    filled: list[Any] = []
    for path, leaf in entries_of(params, state):
        name = published.name(path)
        taken.add(name)
        if name not in arrays:
            problems.append(f"missing {name}")
            continue
        array, want = np.asarray(arrays[name]), _published_shape(path, leaf, published)
        if array.shape != want:
            problems.append(f"{name} of shape {array.shape} where {want} is expected")
        elif not (np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16"):
            problems.append(f"{name} of dtype {array.dtype} where floating-point numbers are expected")
        else:
            filled.append(_to_ours(path, array, published).astype(leaf.dtype))
    skipped = ("num_batches_tracked", *ignore)
    left = [n for n in arrays if n not in taken and not n.endswith("num_batches_tracked") and not n.startswith(skipped)]
    problems += [f"left over {name}" for name in left]
    if problems:
        raise BadWeights("weights", "expects the published names and shapes of this model; got " + "; ".join(problems))
    return jax.tree.unflatten(jax.tree.structure((params, state)), filled)


def to_published(params: Any, state: Any, published: Published) -> dict[str, np.ndarray]:
    """The numbers of a model by their published names, laid out as there."""
    return {published.name(path): _to_theirs(path, np.asarray(leaf), published)
            for path, leaf in entries_of(params, state)}


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file by name.

    Raises:
      BadWeights: it is no such file, is damaged or cannot be read.
    """
    numpy_of = _library()
    file = Path(path)
    try:
        if not file.is_file():
            raise BadWeights("weights", f"expects a safetensors file; {file} is none")
        return dict(numpy_of.load(file.read_bytes()))
    except BadWeights:
        raise
    except Exception as error:  # the library's own, and what NumPy makes of a header that lies
        raise BadWeights("weights", f"expects a safetensors file; {file} cannot be read: {error}") from error


def read_npz(path: str | Path, *, max_bytes: int = 2**28, most: int = 10_000) -> dict[str, np.ndarray]:
    """The arrays of a NumPy archive by name. Sizes are compared with what is there before anything is allocated, and
    objects are not unpickled.

    Args:
      path: the .npz file.
      max_bytes: the most that one array may take.
      most: how many arrays there may be.
    Raises:
      BadWeights: it is no such file, is damaged, or has an array that is larger or of objects.
    """
    file = Path(path)
    try:
        if not file.is_file():
            raise BadWeights("weights", f"expects an .npz file; {file} is none")
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            if len(members) > most:
                raise BadWeights("weights", f"expects at most {most:,} arrays; {file} has {len(members):,}")
            return {member.filename.removesuffix(".npy"): _npy(archive, member, max_bytes) for member in members}
    except BadWeights:
        raise
    except Exception as error:  # damaged archives raise many kinds
        raise BadWeights("weights", f"expects an .npz file; {file} cannot be read: {error}") from error


def _npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, max_bytes: int) -> np.ndarray:
    with archive.open(member) as stream:
        data = stream.read(max_bytes + 2**16)  # the array and its header
    head = io.BytesIO(data)
    version = np.lib.format.read_magic(head)
    read_header = (np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0)
    shape, is_fortran, dtype = read_header(head)
    n_bytes = math.prod(shape) * dtype.itemsize
    rest = memoryview(data)[head.tell():]
    if dtype.hasobject or any(n < 0 for n in shape) or n_bytes > max_bytes or n_bytes != len(rest):
        raise BadWeights("weights", f"expects '{member.filename}' to be numbers of at most {max_bytes:,} bytes, all of "
                         f"them there; got {dtype} of shape {shape} in {len(rest):,} bytes")
    return np.frombuffer(rest, dtype).reshape(shape, order="F" if is_fortran else "C")


def write_safetensors(path: str | Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays by name; the file is there whole or not at all."""
    numpy_of = _library()
    with written_whole(Path(path)) as file:
        file.write(numpy_of.save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))


def _library() -> Any:
    try:
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("reading and writing safetensors needs the safetensors package: "
                          "python -m pip install 'jaxnn[weights]'") from error
    return safetensors.numpy


def entries_of(params: Any, state: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, leaf) of all params and then of all state."""
    for tree in (params, state):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            yield tuple(key.key for key in path), leaf


def _published_shape(path: tuple[str, ...], leaf: Any, published: Published) -> tuple[int, ...]:
    return _to_theirs(path, np.broadcast_to(np.float32(0), leaf.shape), published).shape


def _to_theirs(path: tuple[str, ...], array: np.ndarray, published: Published) -> np.ndarray:
    if path[-1] == "kernel":
        return np.moveaxis(array, (-1, -2), (0, 1))
    if path[-1] != "weight":
        return array
    picture = published.flattened.get(path[-2], (1, 1))
    kernel = np.moveaxis(array.reshape(len(array), *picture, -1), -1, 1)
    return kernel if path[-2] in published.as_kernels else kernel.reshape(array.shape)


def _to_ours(path: tuple[str, ...], array: np.ndarray, published: Published) -> np.ndarray:
    if path[-1] == "kernel":
        return np.moveaxis(array, (0, 1), (-1, -2))
    if path[-1] != "weight":
        return array
    picture = published.flattened.get(path[-2], (1, 1))
    return np.moveaxis(array.reshape(len(array), -1, *picture), 1, -1).reshape(len(array), -1)
