"""Checkpoints: a tree of arrays as a directory that is either whole and good, or found out.

    directory/
      step_00001200/
        0000.bin ...        each leaf's bytes, in C order, little-endian
        manifest.json       of each leaf its path, shape, dtype, file and SHA-256; the step; what else was given
        manifest.sha256     of manifest.json

A checkpoint is written beside, flushed to the disk, and renamed: it is there whole or not at all, whenever
the process dies. A load verifies every hash; where the newest is damaged it says so and takes the newest
that is good. Nothing is unpickled.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from jaxnn import __version__
from jaxnn.checks import InputError, expect

__all__ = ["BadCheckpoint", "DamagedCheckpoint", "Loaded", "load", "prepare", "save",
           "set_aside", "steps_in"]

FORMAT = 1
NAME = re.compile(r"step_(\d{8,})(\.old)?")
COMPARED = ("jax", "optax")  # what decides how a run goes on, and how an optimiser's state looks


class BadCheckpoint(ValueError):
    """A checkpoint that is damaged, or not there."""


class DamagedCheckpoint(UserWarning):
    """A damaged checkpoint was passed over for an older one."""


class Loaded(NamedTuple):
    """tree: as asked for; step: when it was saved; extra: what was given to `save` beside the tree."""

    tree: Any
    step: int
    extra: dict[str, Any]


def prepare(directory: Path) -> None:
    """Makes the directory, and makes sure that checkpoints can be written to it.

    Raises:
      InputError: it is a file, or cannot be made or written to. Better now than after hours.
    """
    orbax = [p.name for p in directory.glob("*") if p.name.isdigit()]
    expect(not orbax, "prepare", "a directory without checkpoints of Orbax", f"{directory} with {', '.join(orbax[:3])}",
           "pass checkpoints=jaxnn.training.orbax_checkpoint")
    make(directory)


def make(directory: Path) -> None:
    """Makes a directory, and makes sure that it can be written to."""
    expect(not directory.exists() or directory.is_dir(), "prepare", "a directory for checkpoints",
           f"the file {directory}", "name another place")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise InputError("prepare", f"expects a directory that can be written to; got {directory} "
                         f"({error.strerror}); name another place") from error


def save(directory: str | Path, step: int, tree: Any, *, extra: dict[str, Any] | None = None,
         keep: int = 3) -> Path:
    """Writes the tree as directory/step_NNNNNNNN, and removes all but the newest `keep`.

    Args:
      tree: of arrays (any dtype JAX has, PRNG keys too) and Python numbers.
      step: of training.
      extra: what JSON can hold: the configuration, the position in the data, measures.
      keep: how many checkpoints stay, at least 2, so that one may be damaged.
    Raises:
      InputError: an argument is not as above.
      OSError: the disk is full, the directory read-only ...; the older checkpoints are as they were.
    """
    expect(isinstance(keep, int) and keep >= 2, "save", "keep, at least 2", repr(keep))
    expect(step >= 0, "save", "a step that is not negative", repr(step))
    directory = Path(directory)
    final = directory / f"step_{step:08d}"
    tree = jax.tree.map(_whole, tree)
    if jax.process_count() == 1:
        _save(directory, final, tree, step, extra or {}, keep)
        return final
    # The first process writes; the others wait for it, and fail if it does.
    trouble: OSError | None = None
    try:
        if jax.process_index() == 0:
            _save(directory, final, tree, step, extra or {}, keep)
    except OSError as error:
        trouble = error
    failed = multihost_utils.broadcast_one_to_all(np.asarray(trouble is not None))
    if failed:
        raise trouble or OSError(f"the first process could not write {final}")
    return final


def _save(directory: Path, final: Path, tree: Any, step: int, extra: dict[str, Any], keep: int) -> None:
    expect(not directory.exists() or directory.is_dir(), "save", "a directory for checkpoints",
           f"the file {directory}", "name another place")
    directory.mkdir(parents=True, exist_ok=True)
    for unfinished in directory.glob(".writing_*"):  # of a process that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    beside = directory / f".writing_{final.name}"
    try:
        os.mkdir(beside)
        leaves = [_write_leaf(beside, i, path, leaf) for i, (path, leaf) in enumerate(_paths(tree).items())]
        manifest = {"format": FORMAT, "step": int(step), "leaves": leaves, "extra": extra,
                    "versions": {"jaxnn": __version__, "numpy": np.__version__, "python": platform.python_version()}
                    | {name: metadata.version(name) for name in COMPARED}}
        text = json.dumps(manifest, indent=1, allow_nan=False).encode()
        _write(beside / "manifest.json", text)
        _write(beside / "manifest.sha256", hashlib.sha256(text).hexdigest().encode())
        _flush(beside)
        _put(beside, final)
        _flush(directory)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    # Steps behind this one are of a run that was gone on with from before them.
    for old in [s for s in steps_in(directory) if s <= step][:-keep]:
        shutil.rmtree(directory / f"step_{old:08d}", ignore_errors=True)


def load(directory: str | Path, like: Any = None, *, step: int | None = None,
         other_versions: bool = False) -> Loaded:
    """The newest good checkpoint in the directory.

    Args:
      like: a tree of the structure, shapes and dtypes wanted, of arrays or `jax.ShapeDtypeStruct`s; each leaf
        is put where the one in `like` lies, on however many devices. None gives {path: array}.
      step: the one wanted, and no other.
      other_versions: take a checkpoint of another release of jax or optax, with which the run may go on
        differently in the last bits.
    Raises:
      BadCheckpoint: there is none, or none is good; the message has what is wrong with each.
      InputError: the checkpoint is good and not like `like`: every missing, extra and other leaf is named.
    """
    directory = Path(directory)
    expect(directory.is_dir(), "load", "a directory of checkpoints", f"{directory}, "
           + ("a file" if directory.exists() else "where there is nothing"))
    found = [name for name in _names(directory) if step is None or _step(name) == step]
    if not found:
        there = f"steps {', '.join(map(str, steps_in(directory)))}" if steps_in(directory) else "none"
        raise BadCheckpoint(f"no checkpoint{'' if step is None else f' of step {step}'} in {directory}: "
                            f"there {'is' if there == 'none' else 'are'} {there}")
    troubles = []
    for name in found:
        try:
            manifest, leaves = _read(directory / name)
        except BadCheckpoint as trouble:
            troubles.append(str(trouble))
            continue
        if troubles:
            warnings.warn(f"{'; '.join(troubles)}; taking step {manifest['step']} instead", DamagedCheckpoint,
                          stacklevel=2)
        _expect_versions(directory / name, manifest, other_versions)
        return Loaded(leaves if like is None else _as(like, leaves, directory / name), manifest["step"],
                      manifest["extra"])
    raise BadCheckpoint(f"no good checkpoint in {directory}: {'; '.join(troubles)}")


def set_aside(directory: Path, after: int) -> None:
    """Renames what lies behind a step, when a run goes on from there: damaged_step_... is no checkpoint."""
    for name in _names(directory):
        if _step(name) > after:
            shutil.rmtree(directory / f"damaged_{name}", ignore_errors=True)
            os.rename(directory / name, directory / f"damaged_{name}")


def steps_in(directory: str | Path) -> list[int]:
    """The steps of the checkpoints in a directory, oldest first, good or not."""
    return sorted({_step(name) for name in _names(Path(directory))})


# Writing.


def _whole(leaf: Any) -> Any:
    """An array that lies on the devices of several processes, as one in this process."""
    if getattr(leaf, "is_fully_addressable", True):
        return leaf
    if _is_key(leaf):
        return jax.random.wrap_key_data(_whole(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


def _write_leaf(directory: Path, i: int, path: str, leaf: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": path}
    if type(leaf) in (bool, int, float):
        return entry | {"python": type(leaf).__name__, "value": leaf if np.isfinite(leaf) else repr(leaf)}
    if isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        entry["key"] = str(jax.random.key_impl(leaf))
        leaf = jax.random.key_data(leaf)
    array = np.asarray(leaf)
    expect(array.dtype != object, "save", "arrays and numbers as leaves", f"{type(leaf).__name__} at '{path}'")
    data = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False)).tobytes()
    entry |= {"file": f"{i:04d}.bin", "shape": list(array.shape), "dtype": array.dtype.name,
              "sha256": hashlib.sha256(data).hexdigest()}
    _write(directory / entry["file"], data)
    return entry


def _write(path: Path, data: bytes) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest):]  # one call writes 2 GB at most
        os.fsync(file)
    finally:
        os.close(file)


def _flush(directory: Path) -> None:
    """What is in the directory is on the disk, not only in the system's memory."""
    file = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _put(beside: Path, final: Path) -> None:
    """Renames; one that is there already is kept, under a name that `load` knows, until the new one is."""
    old = final.with_name(final.name + ".old")
    if not final.exists():
        os.rename(beside, final)
        return
    shutil.rmtree(old, ignore_errors=True)
    os.rename(final, old)
    try:
        os.rename(beside, final)
    except OSError:
        os.rename(old, final)
        raise
    _flush(final.parent)
    shutil.rmtree(old, ignore_errors=True)


# Reading.


def _names(directory: Path) -> list[str]:
    """The checkpoints, newest first; one left under its old name behind its successor."""
    names = [n for n in os.listdir(directory) if NAME.fullmatch(n)] if directory.is_dir() else []
    return sorted(names, key=lambda n: (-_step(n), n.endswith(".old")))


def _step(name: str) -> int:
    return int(NAME.fullmatch(name)[1])  # type: ignore[index]


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(manifest, {path: leaf}), every byte verified."""
    text = _bytes(path, "manifest.json")
    if hashlib.sha256(text).hexdigest().encode() != _bytes(path, "manifest.sha256"):
        raise BadCheckpoint(f"{path}: manifest.json is not what was written")
    manifest = json.loads(text)
    if manifest["format"] != FORMAT:
        raise InputError("load", f"expects checkpoints of format {FORMAT}; got format {manifest['format']} in {path}; "
                         "load it with the release that wrote it")
    if manifest["step"] != _step(path.name):
        raise BadCheckpoint(f"{path} holds step {manifest['step']}: it was renamed")
    return manifest, {entry["path"]: _read_leaf(path, entry) for entry in manifest["leaves"]}


def _read_leaf(path: Path, entry: dict[str, Any]) -> Any:
    if "python" in entry:
        return {"bool": bool, "int": int, "float": float}[entry["python"]](entry["value"])
    data = _bytes(path, entry["file"])
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise BadCheckpoint(f"{path}: {entry['file']} ('{entry['path']}') is not what was written")
    dtype = jnp.dtype(entry["dtype"])
    array: Any = np.frombuffer(data, dtype.newbyteorder("<")).reshape(entry["shape"])
    return jax.random.wrap_key_data(array, impl=entry["key"]) if "key" in entry else array


def _bytes(path: Path, name: str) -> bytes:
    try:
        return (path / name).read_bytes()
    except OSError as error:
        raise BadCheckpoint(f"{path}: {name} cannot be read ({error.strerror})") from error


def _expect_versions(path: Path, manifest: dict[str, Any], other_versions: bool) -> None:
    was, now = manifest["versions"], {name: metadata.version(name) for name in COMPARED}
    differ = [f"{name} {was[name]} in place of {now[name]}" for name in COMPARED if was[name] != now[name]]
    expect(other_versions or not differ, "load", f"a checkpoint of the releases in use; {path}", ", ".join(differ),
           "pass other_versions=True to go on regardless")


def _as(like: Any, leaves: dict[str, Any], path: Path) -> Any:
    """The leaves in the structure of `like`, where its leaves lie."""
    expect_like(like, leaves, path)
    wanted = _paths(like)
    return jax.tree.unflatten(jax.tree.structure(like), [_placed(leaves[p], w) for p, w in wanted.items()])


def expect_like(like: Any, tree: Any, path: Path) -> None:
    """Raises InputError, with every leaf that differs, unless both have the same paths, shapes and dtypes."""
    wanted, leaves = _paths(like), tree if isinstance(tree, dict) else _paths(tree)
    missing, extra = sorted(wanted.keys() - leaves.keys()), sorted(leaves.keys() - wanted.keys())
    other = [f"'{p}' is {_kind(leaves[p])}, not {_kind(w)}" for p, w in wanted.items()
             if p in leaves and _kind(leaves[p]) != _kind(w)]
    told = [*(f"'{p}' is missing" for p in missing), *(f"'{p}' is extra" for p in extra), *other]
    expect(not told, "load", f"a checkpoint like the tree it is to fill; {path}", ", ".join(told),
           "build the model and the optimizer it was saved with")


def _placed(leaf: Any, like: Any) -> Any:
    if type(like) in (bool, int, float):
        return leaf
    sharding = getattr(like, "sharding", None)
    if sharding is not None and not sharding.is_fully_addressable:
        data = jax.random.key_data(leaf) if _is_key(leaf) else leaf
        spread = jax.make_array_from_callback(data.shape, sharding, lambda index: np.asarray(data)[index])
        return jax.random.wrap_key_data(spread, impl=jax.random.key_impl(leaf)) if _is_key(leaf) else spread
    if isinstance(like, np.ndarray):
        return np.array(leaf)
    placed = jax.device_put(leaf, sharding)
    expect(placed.dtype == leaf.dtype, "load", f"float64 to be on, for a leaf of {leaf.dtype}", "it off",
           "load inside of jax.enable_x64(True)")
    return placed


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _kind(leaf: Any) -> str:
    return type(leaf).__name__ if type(leaf) in (bool, int, float) else f"{leaf.dtype}{list(leaf.shape)}"


def _paths(tree: Any) -> dict[str, Any]:
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    paths = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in flat}
    expect(len(paths) == len(flat), "checkpoint", "a tree whose leaves have paths of their own",
           f"{len(flat)} leaves with {len(paths)} paths", "use no '/' in a key")
    return paths
