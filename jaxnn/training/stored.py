"""What a checkpoint stores: of each leaf its bytes and what they mean, and how both are read without trust.

A leaf comes back as it was saved, by type, dtype and byte order, or `save` refuses it. What is read is compared
with the manifest before it takes memory: a leaf is a regular file of its own name and size.
"""

import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError, expect

__all__ = ["BadCheckpoint", "Described", "as_json", "described", "leaf_bytes", "read_leaf", "read_small"]

MOST = 2**28  # bytes of a manifest
PIECE = 2**20  # bytes that are hashed at a time
PYTHON = {"bool": bool, "int": int, "float": float, "complex": complex}


class BadCheckpoint(ValueError):
    """A checkpoint is damaged, or does not exist."""


class Described:
    """Shape and dtype of a leaf that is not read yet."""

    def __init__(self, shape: tuple[int, ...], dtype: Any):
        self.shape, self.dtype = shape, dtype


# Writing.


def as_json(who: str, what: str, value: Any) -> bytes:
    """The value as JSON; with tuples as lists, it is read back as it was.

    Raises:
      InputError: JSON cannot hold it: NaN, infinity, a key that is no text, an object.
    """
    try:
        _expect_text_keys(value)
        text = json.dumps(value, indent=1, allow_nan=False)
        json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(who, f"expects {what} that JSON can hold; got {_shown(value)} ({error}); write what is no "
                         "number, text or list as text") from error
    return text.encode()


def _shown(value: Any) -> str:
    try:
        return repr(value)[:200]
    except RecursionError:
        return "one of too many levels"
    except ValueError:
        return "an integer of more digits than Python writes"


def _expect_text_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"the key {key!r} is no text")
    if isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            _expect_text_keys(part)


def leaf_bytes(i: int, path: str, leaf: Any) -> tuple[dict[str, Any], bytes | None]:
    """A leaf's entry in the manifest, and the bytes of its file; None for a Python number, which has no file.

    Raises:
      InputError: this is no array and no number, or would not come back as it is.
    """
    if type(leaf) in (bool, int, float, complex):
        return {"path": path, "python": type(leaf).__name__, "value": _number_text(path, leaf)}, None
    expect(isinstance(leaf, jax.Array | np.generic) or type(leaf) in (np.ndarray, np.memmap), "save",
           "arrays and numbers as leaves", f"{type(leaf).__name__} at '{path}'",
           "make it an array or a number, or put it into extra")
    entry: dict[str, Any] = {"path": path}
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        entry["key"] = str(jax.random.key_impl(leaf))
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, np.generic):
        entry["scalar"] = True
    array = np.asarray(leaf)
    name = array.dtype.name
    expect(array.dtype == bool or jnp.issubdtype(array.dtype, np.number), "save", "arrays of numbers as leaves",
           f"{name} at '{path}'", "put text into extra")
    little = array.dtype.newbyteorder("<")
    if array.dtype.byteorder == ">":
        entry["byteorder"] = ">"
    data = np.ascontiguousarray(array.astype(little, copy=False)).tobytes()
    entry |= {"file": f"{i:04d}.bin", "shape": list(array.shape), "dtype": name,
              "sha256": hashlib.sha256(data).hexdigest()}
    return entry | {"entry_sha256": _entry_hash(entry)}, data


def _number_text(path: str, number: Any) -> Any:
    if isinstance(number, complex):
        return [repr(number.real), repr(number.imag)]
    if isinstance(number, float):
        return number if math.isfinite(number) else repr(number)
    try:
        str(number)
    except ValueError as error:  # Python turns no integer of more than 4,300 digits into text
        raise InputError("save", f"expects integers that can be written as leaves; got one of "
                         f"{number.bit_length():,} bits at '{path}'; save it as bytes in an array") from error
    return number


def _entry_hash(entry: dict[str, Any]) -> str:
    """Of an entry: its bytes do not tell in which shape they are to be read."""
    fields = {name: value for name, value in entry.items() if name != "entry_sha256"}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


# Reading.


def described(i: int, entry: dict[str, Any]) -> Any:
    """What an entry of the manifest says: the number itself, or the shape and dtype of the array in its file.

    Raises:
      BadCheckpoint, or any error of a field that is missing or of another type: the entry is damaged.
    """
    if "python" in entry:
        kind, value = PYTHON[entry["python"]], entry["value"]
        if kind is complex:
            return complex(float(value[0]), float(value[1]))
        if kind is float and isinstance(value, str):
            return float(value)
        _expect(type(value) is kind, f"'{entry['path']}' is {value!r}, no {kind.__name__}")
        return value
    shape, file = entry["shape"], entry["file"]
    _expect(file == f"{i:04d}.bin", f"'{entry['path']}' is in {file!r}, not in {i:04d}.bin")
    _expect(all(type(n) is int and n >= 0 for n in shape), f"'{entry['path']}' has the shape {shape}")
    _expect(entry.get("entry_sha256") in (None, _entry_hash(entry)),
            f"the entry of '{entry['path']}' is not what was written")
    # Without a hash the bytes would be believed.
    _expect(type(entry["sha256"]) is str, f"'{entry['path']}' has the hash {entry['sha256']!r}")
    dtype = jnp.dtype(entry["dtype"]).newbyteorder(entry.get("byteorder", "="))
    _expect(not dtype.hasobject, f"'{entry['path']}' is of dtype {dtype}")
    if "key" not in entry:
        return Described(tuple(shape), dtype)
    key = jax.eval_shape(lambda: jax.random.wrap_key_data(jnp.zeros(shape, jnp.uint32), impl=entry["key"]))
    return Described(key.shape, key.dtype)


def read_leaf(directory: Path, entry: dict[str, Any]) -> Any:
    """The array of an entry that `described` has looked at; every byte is compared before it is kept."""
    dtype, shape = jnp.dtype(entry["dtype"]), tuple(entry["shape"])
    data = _read(directory, entry["file"], math.prod(shape) * dtype.itemsize, entry["sha256"], f" ('{entry['path']}')")
    array: Any = np.frombuffer(data, dtype.newbyteorder("<")).reshape(shape)
    if "key" in entry:
        return jax.random.wrap_key_data(array, impl=entry["key"])
    if entry.get("byteorder") == ">":
        array = array.astype(dtype.newbyteorder(">"))
    return array[()] if entry.get("scalar") else array


def read_small(directory: Path, name: str) -> bytes:
    """A file of the manifest's kind.

    Raises:
      BadCheckpoint: it is missing, no regular file, or too large.
    """
    return _read(directory, name, None, None, "")


def _read(directory: Path, name: str, size: int | None, sha256: str | None, whose: str) -> bytes:
    path = directory / name
    try:
        found = os.lstat(path)
        # A pipe would be waited for, and a link may lead anywhere.
        _expect(stat.S_ISREG(found.st_mode), f"{name}{whose} is no regular file")
        _expect(found.st_size <= MOST if size is None else found.st_size == size,
                f"{name}{whose} is not what was written: it has {found.st_size:,} bytes")
        with open(path, "rb") as file:
            if sha256 is not None:
                n_bytes, digest = 0, hashlib.sha256()
                while piece := file.read(PIECE):
                    n_bytes += len(piece)
                    digest.update(piece)
                _expect(n_bytes == size and digest.hexdigest() == sha256, f"{name}{whose} is not what was written")
                file.seek(0)
            return file.read()
    except OSError as error:
        raise BadCheckpoint(f"{name} cannot be read ({error.strerror})") from error


def _expect(condition: bool, fault: str) -> None:
    if not condition:
        raise BadCheckpoint(fault)
