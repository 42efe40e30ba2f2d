"""Saving a run and restoring it, so that it continues bit for bit."""

import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxnn.checks import InputError, expect, is_integer
from jaxnn.training.checkpoint import BadCheckpoint, DamagedCheckpoint
from jaxnn.training.functions import description, name_of
from jaxnn.training.history import NotSaved
from jaxnn.training.lock import Lock
from jaxnn.training.log import number_from_json, number_to_json
from jaxnn.training.placement import is_key
from jaxnn.training.position import Best, Position
from jaxnn.training.records import Recorder
from jaxnn.training.settings import Settings
from jaxnn.training.train_state import TrainState

__all__ = ["Saver"]


class Saver:
    """The checkpoints of a run in its directory, and the best network in directory/best.

    resumes: whether the directory holds a run that is continued; has_new_watch: whether another metric is
    watched than before; recorder: what else is written to the directory, once it is there.
    """

    def __init__(self, settings: Settings):
        self._settings, self._checkpoints = settings, settings.checkpoints
        self._best_saved = -1
        self._lock: Lock | None = None
        self._found: os.stat_result | None = None  # the directory as it was at the last look
        self.resumes = self.has_new_watch = False
        self.recorder: Recorder | None = None

    def begin(self, train_state: TrainState) -> tuple[TrainState, Position]:
        """Train state and position to start from: those given, or those of the run in the directory, which is
        locked until `release`.

        Raises:
          InputError: the directory cannot be written to, or is in use; it holds a run that may not be resumed, or
            another run.
          BadCheckpoint: no checkpoint in it is good.
        """
        settings, directory = self._settings, self._settings.directory
        settings.step.batch_size = None
        if directory is None:
            return train_state, Position(int(train_state.step))
        self._checkpoints.prepare(directory)
        if jax.process_index() == 0:
            self._lock = Lock(directory)
            self._lock.take()
        self._found = os.stat(directory)
        self.resumes = bool(self._checkpoints.steps_in(directory))
        holds_run = self.resumes or (directory / "metrics.jsonl").exists()
        expect(settings.resume or not holds_run, "fit", "a directory without a run, as resume=False asks",
               f"{directory} with one", "name another one")
        if self.resumes:
            return self._restored(train_state)
        return train_state, Position(int(train_state.step))

    def release(self) -> None:
        """Gives the directory back."""
        if self._lock is not None:
            self._lock.release()

    def look(self, position: Position) -> None:
        """Makes sure that the directory, and what belongs into it beside the checkpoints, is there. What a person
        or a program has removed since is made anew, with a warning.

        Raises:
          OSError, InputError: it cannot be made, or another run is in its place.
        """
        removed, failure = list[str](), None
        try:
            if jax.process_index() == 0:
                removed = self._made_anew(position)
        except (OSError, InputError) as error:
            if jax.process_count() == 1:
                raise
            failure = error
        is_best_removed = "best" in removed
        if jax.process_count() > 1:  # all processes save the best, or none
            has_failed, is_best_removed = multihost_utils.broadcast_one_to_all(
                np.array([failure is not None, is_best_removed]))
            if has_failed:
                raise failure or OSError(f"the first process could not write to {self._settings.directory}")
        if is_best_removed:
            self._best_saved = -1
        if removed:
            warnings.warn(f"{', '.join(removed)} of {self._settings.directory} was removed while training, and is made "
                          "anew from what this process knows", NotSaved, stacklevel=2)

    def save(self, train_state: TrainState, position: Position) -> None:
        """Writes the best network, where there is a new one, and then the checkpoint that refers to it.

        Raises:
          OSError: it cannot be written; the older checkpoints are as they were.
        """
        settings = self._settings
        if settings.directory is None:
            return
        self.look(position)
        best = position.best
        if best is not None and best.step != self._best_saved:
            # One more than checkpoints: each refers to one, and so does the next while it is written.
            self._checkpoints.save(settings.directory / "best", best.step, (best.params, best.state),
                                   extra={"value": number_to_json(best.value)}, keep=settings.keep + 1)
            self._best_saved = best.step
        self._checkpoints.save(settings.directory, position.step, train_state, extra=self._extra(position),
                               keep=settings.keep)

    def attempt(self, train_state: TrainState, position: Position) -> Exception | None:
        """As `save`; what it raises is returned. So an error on the way out keeps the train state that it carries."""
        # Where several processes save together, an error of another kind tells that one of them is gone.
        kinds = Exception if jax.process_count() == 1 else (OSError, InputError)
        try:
            self.save(train_state, position)
        except kinds as error:
            return error
        return None

    def outcome(self, failure: Exception | None, what: str = "the train state") -> str:
        """The end of a message: where `what` is, after an attempt to save it."""
        directory = self._settings.directory
        if failure is not None:
            return (f"; {what} is in this error, and could not be saved in {directory} ({type(failure).__name__}: "
                    f"{failure})")
        return "" if directory is None else f"; {what} is saved in {directory}"

    def try_to_save(self, train_state: TrainState, position: Position) -> None:
        """As `save`, with a warning in place of an error."""
        failure = self.attempt(train_state, position)
        if isinstance(failure, Warning):  # which the caller has made an error
            raise failure
        if failure is not None:
            warnings.warn(f"step {position.step} could not be saved in {self._settings.directory} ({failure}); "
                          "training continues and will try again", NotSaved, stacklevel=2)

    def _made_anew(self, position: Position) -> list[str]:
        directory = self._settings.directory
        if directory is None or self._lock is None:
            return []
        removed = list[str]()
        if not self._lock.is_held():
            directory.mkdir(parents=True, exist_ok=True)
            self._lock.take()
            if self._found is None or not os.path.samestat(self._found, os.stat(directory)):
                removed.append("all")
            self._found = os.stat(directory)
        best = directory / "best"
        if os.path.lexists(best) and not best.is_dir():
            _set_aside(best)
        if self._best_saved >= 0 and self._best_saved not in self._checkpoints.steps_in(best):
            removed.append("best")
        return removed + ([] if self.recorder is None else self.recorder.restore())

    def _run(self) -> dict[str, Any]:
        """What tells one run from another."""
        step, batches = self._settings.step, self._settings.batches
        return {"layer": description(step.layer), "loss": name_of(step.loss)} | {
            name: int(getattr(batches, name)) for name in ("seed", "batch_size", "n_examples")
            if isinstance(getattr(batches, name, None), int | np.integer)}

    def _extra(self, position: Position) -> dict[str, Any]:
        """What is saved beside the train state: which run this is, and where its loop is."""
        settings = self._settings
        return {"run": self._run(), "configuration": settings.configuration, "window": position.window,
                "skipped": position.skipped, "in_a_row": position.in_a_row, "since_best": position.since_best,
                "watched": [settings.watch, settings.goal], "batch_size": settings.step.batch_size,
                "best": None if position.best is None else position.best.step}

    def _restored(self, like: TrainState) -> tuple[TrainState, Position]:
        settings = self._settings
        assert settings.directory is not None
        loaded = self._checkpoints.load(settings.directory, like, other_versions=settings.other_versions)
        extra = loaded.extra
        missing = [name for name, fits in FITS.items() if name not in extra or not fits(extra[name])]
        expect(not missing, "fit", "a checkpoint that fit wrote", f"step {loaded.step} of {settings.directory} without "
               f"{', '.join(missing)}, as checkpoint.save alone writes it",
               "load it by checkpoint.load, and pass its tree to fit with another directory")
        changes = [*_changes(extra["run"], self._run()), *_changes(extra["configuration"], settings.configuration),
                   *_changes({"key": _numbers(loaded.tree.key)}, {"key": _numbers(like.key)})]
        expect(not changes, "fit", f"the run that {settings.directory} was begun with", "; ".join(changes),
               "name another directory, or use the old values")
        expect(loaded.step <= settings.steps, "fit", f"steps of at least the {loaded.step} that are done",
               str(settings.steps))
        if jax.process_index() == 0 and hasattr(self._checkpoints, "set_aside"):
            self._checkpoints.set_aside(settings.directory, loaded.step)
        settings.step.batch_size = extra["batch_size"]
        position = Position(loaded.step, extra["window"], extra["skipped"], extra["in_a_row"])
        self.has_new_watch = extra["watched"] != [settings.watch, settings.goal]
        if not self.has_new_watch:
            position.best = None if extra["best"] is None else self._restored_best(extra["best"], loaded.tree)
            # Without the best that was lost no patience with later records has begun.
            position.since_best = 0 if position.best is None and extra["best"] is not None else extra["since_best"]
        elif extra["best"] is not None:
            warnings.warn(f"{settings.watch!r} is watched in place of {extra['watched'][0]!r}: the search for the best "
                          "starts anew", NotSaved, stacklevel=2)
        return loaded.tree, position

    def _restored_best(self, step: int, train_state: TrainState) -> Best | None:
        assert self._settings.directory is not None
        place = self._settings.directory / "best"
        try:
            loaded = self._checkpoints.load(place, (train_state.params, train_state.state), step=step,
                                            other_versions=self._settings.other_versions)
            value = number_from_json(loaded.extra.get("value"))
            if not isinstance(value, int | float):
                raise BadCheckpoint(f"{place} of step {step} has no value")
        except (BadCheckpoint, InputError, OSError) as error:
            warnings.warn(f"the best so far is lost, and the search for one starts anew: {error}", DamagedCheckpoint,
                          stacklevel=2)
            return None
        self._best_saved = loaded.step
        return Best(loaded.step, value, *loaded.tree)


def _is_count(value: Any) -> bool:
    return is_integer(value, 0)


def _is_count_or_none(value: Any) -> bool:
    return value is None or _is_count(value)


# What fit saves beside the train state, and whether a value of it can be used.
FITS: dict[str, Callable[[Any], bool]] = {
    "run": lambda value: isinstance(value, dict), "configuration": lambda value: isinstance(value, dict),
    "window": lambda value: isinstance(value, list) and all(isinstance(cost, int | float) for cost in value),
    "watched": lambda value: isinstance(value, list) and len(value) == 2,
    "skipped": _is_count, "in_a_row": _is_count, "since_best": _is_count,
    "batch_size": _is_count_or_none, "best": _is_count_or_none}


def _changes(saved: dict[str, Any], given: dict[str, Any]) -> list[str]:
    return [f"{name} was {saved.get(name, 'absent')!r}, is {given.get(name, 'absent')!r}"
            for name in {**saved, **given} if saved.get(name) != given.get(name)]


def _numbers(key: Any) -> Any:
    """The numbers of a key; None where this process holds a part of them only."""
    data = jax.random.key_data(key) if is_key(key) else key
    is_whole = getattr(data, "is_fully_addressable", True) or data.is_fully_replicated
    return np.asarray(data).tolist() if is_whole else None


def _set_aside(path: Any) -> None:
    """Renames what is in the place of a directory, as damaged_..."""
    aside = path.with_name(f"damaged_{path.name}")
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside)
    os.replace(path, aside)
