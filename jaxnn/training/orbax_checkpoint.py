"""Checkpoints by Orbax, for many hosts: each process writes the pieces that it holds, and none needs the whole.

    fit(..., directory="runs/large", checkpoints=orbax_checkpoint)

The same functions as in `checkpoint`, which gathers the whole tree in the first process and needs it to fit
there. Orbax verifies no hash of its own; a load takes the newest step that it can read.
"""

import warnings
from pathlib import Path
from typing import Any

import jax

from jaxnn.checks import InputError, expect
from jaxnn.data.extra import import_extra
from jaxnn.training import checkpoint
from jaxnn.training.checkpoint import BadCheckpoint, DamagedCheckpoint, Loaded
from jaxnn.training.files import make
from jaxnn.training.placement import expect_like, is_key

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
    orbax, directory = _orbax(), Path(directory)
    found = [s for s in reversed(steps_in(directory)) if step in (None, s)]
    if not found:
        raise BadCheckpoint(f"no checkpoint{'' if step is None else f' of step {step}'} in {directory}")
    faults = []
    handlers = {"tree": orbax.StandardCheckpointHandler(), "extra": orbax.JsonCheckpointHandler()}
    with orbax.CheckpointManager(_absolute(directory), item_handlers=handlers) as manager:
        for number in found:
            try:
                metadata = manager.item_metadata(number).tree
                expect_like(jax.tree.map(_plain, like), metadata, directory / str(number))
                restored = manager.restore(number, args=orbax.args.Composite(
                    tree=orbax.args.StandardRestore(jax.tree.map(_plain, like)), extra=orbax.args.JsonRestore()))
            except InputError:
                raise
            except Exception as error:  # of many kinds, from many libraries
                faults.append(f"step {number}: {type(error).__name__}: {error}")
                continue
            if faults:
                warnings.warn(f"{'; '.join(faults)}; step {number} is loaded instead", DamagedCheckpoint, stacklevel=2)
            tree = jax.tree.map(lambda new, old: jax.random.wrap_key_data(new, impl=jax.random.key_impl(old))
                                if is_key(old) else new, restored.tree, like)
            return Loaded(tree, number, restored.extra)
    raise BadCheckpoint(f"no good checkpoint in {directory}: {'; '.join(faults)}")


def prepare(directory: Path) -> None:
    """Makes the directory, and makes sure that it holds no checkpoints of the other kind.

    Raises:
      InputError: it is a file, cannot be written to, or holds checkpoints that are not Orbax's.
      ModuleNotFoundError: Orbax is not installed.
    """
    _orbax()
    others = checkpoint.steps_in(directory)
    expect(not others, "prepare", "a directory without other checkpoints than Orbax's", f"{directory} with some",
           "leave checkpoints= out")
    make(directory)


def steps_in(directory: str | Path) -> list[int]:
    """The steps of the checkpoints in a directory, oldest first."""
    path = Path(directory)
    return sorted(int(p.name) for p in path.iterdir() if p.name.isdigit()) if path.is_dir() else []


def _orbax() -> Any:
    return import_extra("orbax.checkpoint", "orbax_checkpoint", "orbax")


def _absolute(directory: str | Path) -> Path:
    return Path(directory).absolute()


def _plain(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf
