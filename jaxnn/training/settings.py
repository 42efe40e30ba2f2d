"""What is fixed for one call of `fit`, checked before any time is spent."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxnn.checks import InputError, as_path, expect
from jaxnn.training.files import expect_no_file
from jaxnn.training.step import Step
from jaxnn.training.stored import as_json
from jaxnn.training.tracing import expect_kept, path_of
from jaxnn.training.train_state import TrainState, copied, expect_train_state

__all__ = ["Settings", "arrays_of", "plain_configuration", "whole_directory"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `fit`, where they are described.

    Raises:
      InputError: an argument is not as described.
    """

    step: Step
    batches: Callable[[int], tuple[Any, Any]]
    steps: int
    metrics: Callable[[Any, Any], dict[str, Any]] | None
    every: int
    watch: str | None
    goal: str
    patience: int | None
    directory: Path | None
    save_every: int
    keep: int
    resume: bool
    configuration: dict[str, Any]
    other_versions: bool
    tensorboard: bool
    progress: bool
    max_skipped: int
    steps_per_dispatch: int
    mesh: Mesh | None
    checkpoints: Any

    def __post_init__(self) -> None:
        expect(callable(self.batches), "fit",
               "batches that are called with the step's number, such as Batches(x, labels, 32)",
               type(self.batches).__name__)
        expect(isinstance(self.mesh, Mesh | None), "fit", "a mesh, made by make_mesh", repr(self.mesh))
        expect(hasattr(self.checkpoints, "save") and hasattr(self.checkpoints, "load"), "fit",
               "checkpoints, a module that writes them", repr(self.checkpoints))
        expect(self.mesh is None or "data" in self.mesh.shape, "fit", "a mesh with an axis 'data'",
               str(None if self.mesh is None else dict(self.mesh.shape)), "make it with make_mesh")
        expect(isinstance(self.step, Step), "fit", "a step made by make_step", type(self.step).__name__)
        for name in ("steps", "every", "save_every", "max_skipped", "steps_per_dispatch", "keep", "patience"):
            value = getattr(self, name)
            is_count = isinstance(value, int) and not isinstance(value, bool) and value > 0
            expect(is_count or (name == "patience" and value is None), "fit", f"{name}, a positive integer",
                   repr(value))
        for name in ("resume", "other_versions", "tensorboard", "progress"):
            value = getattr(self, name)
            expect(isinstance(value, bool | np.bool_), "fit", f"{name}, True or False", repr(value))
        expect(isinstance(self.watch, str | None), "fit", "watch, the name of a metric", repr(self.watch))
        expect(self.keep >= 2, "fit", "keep, at least 2", repr(self.keep), "one may be damaged")
        expect(self.goal in ("min", "max"), "fit", "goal 'min' or 'max'", repr(self.goal))
        expect(self.patience is None or self.watch is not None, "fit", "a metric to watch, for patience", "none",
               "pass watch=")
        expect(self.watch is None or self.metrics is not None, "fit", "metrics, of which one is watched", "none",
               "pass metrics=")
        many = self.steps_per_dispatch
        expect(self.every % many == 0 and self.save_every % many == 0, "fit",
               f"every and save_every that steps_per_dispatch={many} divides", f"{self.every} and {self.save_every}")
        expect(not self.tensorboard or self.directory is not None, "fit", "a directory, for TensorBoard", "none")
        if self.directory is not None:
            expect_no_file("fit", self.directory)


def arrays_of(train_state: Any) -> TrainState:
    """The train state with its leaves of NumPy and Python as arrays of JAX, of the same dtypes.

    Raises:
      InputError: this is no TrainState, a step has taken it over, or JAX cannot compute with it as it is.
    """
    expect_train_state("fit", train_state)
    for path, leaf in jax.tree_util.tree_flatten_with_path(train_state)[0]:
        is_array = isinstance(leaf, bool | int | float | complex) or hasattr(leaf, "dtype")
        expect(is_array, "fit", "a train state of arrays", f"{type(leaf).__name__} at '{path_of(path)}'")
    expect_kept("fit", "a train state", train_state)
    leaves = jax.tree.leaves(train_state)
    wide = [leaf for leaf in leaves if str(getattr(leaf, "dtype", "")) in ("float64", "int64", "uint64", "complex128")]
    expect(not wide or jax.config.read("jax_enable_x64"), "fit", "float64 to be on, for a train state of 64 bits",
           "jax_enable_x64 off", "call fit inside of jax.enable_x64(True)")
    arrays: TrainState = jax.tree.map(lambda leaf: leaf if isinstance(leaf, jax.Array) else copied(leaf), train_state)
    return arrays


def plain_configuration(configuration: dict[str, Any] | None) -> dict[str, Any]:
    """The configuration as JSON reads it back: a tuple becomes a list.

    Raises:
      InputError: it is no dict, or JSON cannot hold it.
    """
    expect(isinstance(configuration, dict | None), "fit", "a configuration, a dict", type(configuration).__name__)
    plain: dict[str, Any] = json.loads(as_json("fit", "a configuration", configuration or {}))
    return plain


def whole_directory(directory: str | Path | None) -> Path | None:
    """The directory from the root on, so that a function of the caller may change the working directory.

    Raises:
      InputError: this is no path.
    """
    if directory is None:
        return None
    path = as_path("fit", "directory", directory)
    try:
        return path.absolute()
    except OSError as error:
        raise InputError("fit", f"expects a directory; got {directory}, relative to a working directory that is gone "
                         f"({error.strerror}); give it from the root on, or change to another one") from error
