"""Checkpoints: a tree of arrays as a directory, of which any damage is detected.

    directory/
      step_00001200/
        0000.bin ...        each leaf's bytes, in C order, little-endian
        manifest.json       of each leaf its path, shape, dtype, file and SHA-256; the step; `extra`
        manifest.sha256     of manifest.json

A checkpoint is written under another name, flushed to the disk, and renamed: whenever the process dies, the
checkpoint exists whole or not at all. A load verifies every hash; a damaged checkpoint is reported and the one
before it is loaded. Nothing is unpickled.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxnn import __version__
from jaxnn.checks import InputError, as_path, expect, expect_bool, is_integer
from jaxnn.training.files import expect_no_file, flush, make, put, write
from jaxnn.training.placement import expect_like, is_key, leaves_by_path, placed_like
from jaxnn.training.stored import BadCheckpoint, Described, as_json, described, leaf_bytes, read_leaf, read_small
from jaxnn.training.tracing import expect_kept

__all__ = ["BadCheckpoint", "DamagedCheckpoint", "Loaded", "load", "prepare", "save",
           "set_aside", "steps_in"]

FORMAT = 1
NAME = re.compile(r"step_(\d{8,})(\.old)?")
COMPARED = ("jax", "optax")  # these decide how a run continues, and the form of an optimiser's state


class DamagedCheckpoint(UserWarning):
    """A checkpoint is damaged, and an older one was loaded."""


class Loaded(NamedTuple):
    """tree: in the form that `load` was asked for; step: when it was saved; extra: as given to `save`."""

    tree: Any
    step: int
    extra: dict[str, Any]


def prepare(directory: Path) -> None:
    """Makes the directory, and makes sure that checkpoints can be written to it.

    Raises:
      InputError: it is a file, or cannot be made or written to. So a run fails at its start and not after hours.
    """
    orbax = [name for name in os.listdir(directory) if name.isdigit()] if os.path.isdir(directory) else []
    expect(not orbax, "prepare", "a directory without checkpoints of Orbax", f"{directory} with {', '.join(orbax[:3])}",
           "pass checkpoints=jaxnn.training.orbax_checkpoint")
    make(directory)


def save(directory: str | Path, step: int, tree: Any, *, extra: dict[str, Any] | None = None,
         keep: int = 3) -> Path:
    """Writes the tree as directory/step_NNNNNNNN, and removes all but the newest `keep`.

    Args:
      tree: of arrays and scalars of JAX and NumPy (any dtype of numbers, PRNG keys too), and Python numbers. Each
        leaf is loaded as the type, dtype and byte order that it has here.
      step: of training.
      extra: a dict that JSON can hold: the configuration, the position in the data, measures. A tuple in it is
        loaded as a list.
      keep: how many checkpoints stay, at least 2, so that one may be damaged.
    Raises:
      InputError: an argument is not as above; nothing is written.
      OSError: the disk is full, the directory read-only ...; the older checkpoints are as they were.
    """
    expect(is_integer(keep, 2), "save", "keep, at least 2", repr(keep))
    expect(is_integer(step, 0), "save", "a step that is not negative", repr(step))
    expect(isinstance(extra, dict | None), "save", "extra, a dict", type(extra).__name__)
    as_json("save", "extra", extra or {})
    expect_kept("save", "a tree", tree)
    directory, step = as_path("save", "directory", directory), int(step)
    final = directory / f"step_{step:08d}"
    tree = jax.tree.map(_whole, tree)
    if jax.process_count() == 1:
        _save(directory, final, tree, step, extra or {}, keep)
        return final
    # The first process writes; the others wait for it, and fail if it does.
    failure: OSError | None = None
    try:
        if jax.process_index() == 0:
            _save(directory, final, tree, step, extra or {}, keep)
    except OSError as error:
        failure = error
    failed = multihost_utils.broadcast_one_to_all(np.asarray(failure is not None))
    if failed:
        raise failure or OSError(f"the first process could not write {final}")
    return final


def _save(directory: Path, final: Path, tree: Any, step: int, extra: dict[str, Any], keep: int) -> None:
    expect_no_file("save", directory)
    directory.mkdir(parents=True, exist_ok=True)
    for unfinished in directory.glob(".writing_*"):  # by a process that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    beside = directory / f".writing_{final.name}"
    try:
        os.mkdir(beside)
        leaves = [_write_leaf(beside, i, path, leaf) for i, (path, leaf) in enumerate(leaves_by_path(tree).items())]
        manifest = {"format": FORMAT, "step": step, "leaves": leaves, "extra": extra,
                    "versions": {"jaxnn": __version__, "numpy": np.__version__, "python": platform.python_version()}
                    | {name: metadata.version(name) for name in COMPARED}}
        text = as_json("save", "a manifest", manifest)
        write(beside / "manifest.json", text)
        write(beside / "manifest.sha256", hashlib.sha256(text).hexdigest().encode())
        flush(beside)
        put(beside, final)
        flush(directory)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    # Later steps are of a run that was continued from before them.
    kept = [s for s in steps_in(directory) if s <= step][-keep:]
    for name in _names(directory):
        # A kill may have left one under its old name: the new checkpoint takes its place, if it is there.
        is_replaced = name.endswith(".old") and os.path.lexists(directory / name.removesuffix(".old"))
        if _step(name) <= step and (_step(name) not in kept or is_replaced):
            shutil.rmtree(directory / name, ignore_errors=True)


def load(directory: str | Path, like: Any = None, *, step: int | None = None,
         other_versions: bool = False) -> Loaded:
    """The newest good checkpoint in the directory.

    Args:
      like: a tree of the expected structure, shapes and dtypes, of arrays or `jax.ShapeDtypeStruct`s; each leaf
        is put where the one in `like` lies, on however many devices. None gives {path: array}.
      step: of the one checkpoint to load; None loads the newest that is good.
      other_versions: load a checkpoint of another release of jax or optax too, with which the run may continue
        differently in the last bits.
    Raises:
      BadCheckpoint: there is none, or none is good; the message names what is wrong with each.
      InputError: the checkpoint is good and not like `like`: every missing, extra and different leaf is named.
    """
    directory = as_path("load", "directory", directory)
    expect_bool("load", "other_versions", other_versions)
    expect(step is None or is_integer(step, 0), "load", "a step that is not negative, or None", repr(step))
    expect(os.path.isdir(directory), "load", "a directory of checkpoints", f"{directory}, "
           + ("a file" if os.path.exists(directory) else "which does not exist"))
    found = [name for name in _names(directory) if step is None or _step(name) == step]
    if not found:
        others = f"only of steps {', '.join(map(str, steps_in(directory)))}" if steps_in(directory) else "none at all"
        raise BadCheckpoint(f"no checkpoint{'' if step is None else f' of step {step}'} in {directory}, {others}")
    faults = []
    for name in found:
        path = directory / name
        try:
            manifest, leaves = _read_manifest(path)
            _expect_versions(path, manifest, other_versions)
            if like is not None:  # before any array is read: a leaf of another size takes no memory
                expect_like(like, leaves, path)
            leaves = _read_leaves(path, manifest, leaves)
        except BadCheckpoint as fault:
            faults.append(str(fault))
            continue
        if faults:
            warnings.warn(f"{'; '.join(faults)}; step {manifest['step']} is loaded instead", DamagedCheckpoint,
                          stacklevel=2)
        return Loaded(leaves if like is None else placed_like(like, leaves, path), manifest["step"], manifest["extra"])
    raise BadCheckpoint(f"no good checkpoint in {directory}: {'; '.join(faults)}")


def set_aside(directory: Path, after: int) -> None:
    """Renames the checkpoints of later steps, as damaged_step_..., when a run continues from this one."""
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
    if is_key(leaf):
        return jax.random.wrap_key_data(_whole(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))


def _write_leaf(directory: Path, i: int, path: str, leaf: Any) -> dict[str, Any]:
    entry, data = leaf_bytes(i, path, leaf)
    if data is not None:
        write(directory / entry["file"], data)
    return entry


# Reading.


def _names(directory: Path) -> list[str]:
    """The checkpoints, newest first; one that a replacement left as .old comes after its successor."""
    names = [n for n in os.listdir(directory) if NAME.fullmatch(n)] if os.path.isdir(directory) else []
    return sorted(names, key=lambda n: (-_step(n), n.endswith(".old")))


def _step(name: str) -> int:
    return int(NAME.fullmatch(name)[1])  # type: ignore[index]


def _read_manifest(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(manifest, {path: a Python number, or what is known of an array}), each entry looked at."""
    try:
        text = read_small(path, "manifest.json")
        if hashlib.sha256(text).hexdigest().encode() != read_small(path, "manifest.sha256"):
            raise BadCheckpoint("manifest.json is not what was written")
        manifest = json.loads(text)
        if manifest["format"] != FORMAT:
            raise InputError("load", f"expects checkpoints of format {FORMAT}; got format {manifest['format']} in "
                             f"{path}; load it with the release that wrote it")
        if type(manifest["step"]) is not int or manifest["step"] != _step(path.name):
            raise BadCheckpoint(f"holds step {manifest['step']}: it was renamed")
        if not isinstance(manifest["extra"], dict) or not {*COMPARED} <= manifest["versions"].keys():
            raise BadCheckpoint("manifest.json is not what was written")
        leaves = {entry["path"]: described(i, entry) for i, entry in enumerate(manifest["leaves"])}
        if len(leaves) != len(manifest["leaves"]):
            raise BadCheckpoint("manifest.json has two leaves of one path")
    except InputError:
        raise
    except BadCheckpoint as fault:
        raise BadCheckpoint(f"{path}: {fault}") from fault
    except Exception as error:  # a manifest may hold anything, and its own hash may fit
        raise BadCheckpoint(f"{path}: manifest.json is none of save ({type(error).__name__}: {error})") from error
    return manifest, leaves


def _read_leaves(path: Path, manifest: dict[str, Any], leaves: dict[str, Any]) -> dict[str, Any]:
    """{path: leaf}, every byte verified."""
    try:
        return {entry["path"]: read_leaf(path, entry) if isinstance(leaves[entry["path"]], Described)
                else leaves[entry["path"]] for entry in manifest["leaves"]}
    except BadCheckpoint as fault:
        raise BadCheckpoint(f"{path}: {fault}") from fault
    except Exception as error:
        raise BadCheckpoint(f"{path}: a leaf cannot be read ({type(error).__name__}: {error})") from error


def _expect_versions(path: Path, manifest: dict[str, Any], other_versions: bool) -> None:
    saved, used = manifest["versions"], {name: metadata.version(name) for name in COMPARED}
    changes = [f"{name} {saved[name]} in place of {used[name]}" for name in COMPARED if saved[name] != used[name]]
    expect(other_versions or not changes, "load", f"a checkpoint of the releases in use; {path}", ", ".join(changes),
           "pass other_versions=True to load it regardless")
