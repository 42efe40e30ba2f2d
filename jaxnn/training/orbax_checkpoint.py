"""Checkpoints by Orbax, for many hosts: each process writes the pieces it has, none needs the whole.

    fit(..., directory="runs/large", checkpoints=orbax_checkpoint)

The same functions as in `checkpoint`, which gathers the whole tree in the first process and is for what fits
there. Orbax verifies no hash of its own, and a load here takes the newest step it can read.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect
from jaxnn.data.extra import import_extra
from jaxnn.training.checkpoint import BadCheckpoint, Loaded, expect_like, prepare

__all__ = ["load", "prepare", "save", "steps_in"]


def save(directory: str | Path, step: int, tree: Any, *, extra: dict[str, Any] | None = None,
         keep: int = 3) -> Path:
    """As `checkpoint.save`; all processes call it."""
    expect(keep >= 2, "save", "keep, at least 2", repr(keep))
    orbax = _orbax()
    with orbax.CheckpointManager(_absolute(directory), options=orbax.CheckpointManagerOptions(
            max_to_keep=keep, enable_async_checkpointing=False)) as manager:
        manager.save(int(step), args=orbax.args.Composite(
            tree=orbax.args.StandardSave(jax.tree.map(_plain, tree)), extra=orbax.args.JsonSave(extra or {})))
        manager.wait_until_finished()
    return Path(directory) / str(step)


def load(directory: str | Path, like: Any, *, step: int | None = None, other_versions: bool = False) -> Loaded:
    """As `checkpoint.load`, but `like` must be given, and releases are not compared."""
    orbax = _orbax()
    found = [s for s in reversed(steps_in(directory)) if step in (None, s)]
    expect(bool(found), "load", f"a checkpoint in {directory}", "none" if step is None else f"none of step {step}")
    handlers = {"tree": orbax.StandardCheckpointHandler(), "extra": orbax.JsonCheckpointHandler()}
    with orbax.CheckpointManager(_absolute(directory), item_handlers=handlers) as manager:
        metadata = manager.item_metadata(found[0]).tree
        expect_like(jax.tree.map(_plain, like), metadata, Path(directory) / str(found[0]))
        try:
            restored = manager.restore(found[0], args=orbax.args.Composite(
                tree=orbax.args.StandardRestore(jax.tree.map(_plain, like)), extra=orbax.args.JsonRestore()))
        except Exception as error:
            raise BadCheckpoint(f"{directory}, step {found[0]}: {error}") from error
    tree = jax.tree.map(lambda new, old: jax.random.wrap_key_data(new, impl=jax.random.key_impl(old))
                        if _is_key(old) else new, restored.tree, like)
    return Loaded(tree, found[0], restored.extra)


def steps_in(directory: str | Path) -> list[int]:
    """The steps of the checkpoints in a directory, oldest first."""
    path = Path(directory)
    return sorted(int(p.name) for p in path.iterdir() if p.name.isdigit()) if path.is_dir() else []


def _orbax() -> Any:
    return import_extra("orbax.checkpoint", "orbax_checkpoint", "orbax")


def _absolute(directory: str | Path) -> Path:
    return Path(directory).absolute()


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf
