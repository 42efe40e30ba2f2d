"""Saving a run and restoring it, so that it continues bit for bit."""

import warnings
from typing import Any

import jax

from jaxnn.checks import expect
from jaxnn.training.checkpoint import BadCheckpoint, DamagedCheckpoint
from jaxnn.training.functions import description, name_of
from jaxnn.training.history import NotSaved
from jaxnn.training.position import Best, Position
from jaxnn.training.settings import Settings
from jaxnn.training.train_state import TrainState

__all__ = ["Saver"]


class Saver:
    """The checkpoints of a run in its directory, and the best network in directory/best.

    resumes: whether the directory holds a run that is to be continued.
    """

    def __init__(self, settings: Settings):
        self._settings, self._checkpoints = settings, settings.checkpoints
        self._best_saved = -1
        self.resumes = settings.directory is not None and bool(self._checkpoints.steps_in(settings.directory))

    def begin(self, train_state: TrainState) -> tuple[TrainState, Position]:
        """Train state and position to start from: those given, or those of the run in the directory.

        Raises:
          InputError: the directory cannot be written to; it holds a run that may not be resumed, or another run.
          BadCheckpoint: no checkpoint in it is good.
        """
        settings = self._settings
        settings.step.batch_size = None
        if settings.directory is not None:
            holds_run = self.resumes or (settings.directory / "metrics.jsonl").exists()
            expect(settings.resume or not holds_run, "fit", "a directory without a run, as resume=False asks",
                   f"{settings.directory} with one", "name another one")
            self._checkpoints.prepare(settings.directory)
        if self.resumes:
            return self._restored(train_state)
        return train_state, Position(int(train_state.step))

    def save(self, train_state: TrainState, position: Position) -> None:
        """Writes the best network, where there is a new one, and then the checkpoint that refers to it.

        Raises:
          OSError: it cannot be written; the older checkpoints are as they were.
        """
        settings = self._settings
        if settings.directory is None:
            return
        best = position.best
        if best is not None and best.step != self._best_saved:
            # One more than checkpoints: each refers to one, and so does the next while it is written.
            self._checkpoints.save(settings.directory / "best", best.step, (best.params, best.state),
                                   extra={"value": best.value}, keep=settings.keep + 1)
            self._best_saved = best.step
        self._checkpoints.save(settings.directory, position.step, train_state, extra=self._extra(position),
                               keep=settings.keep)

    def try_to_save(self, train_state: TrainState, position: Position) -> None:
        """As `save`, with a warning in place of an OSError."""
        try:
            self.save(train_state, position)
        except OSError as error:
            warnings.warn(f"step {position.step} could not be saved in {self._settings.directory} ({error}); training "
                          "continues and will try again", NotSaved, stacklevel=2)

    def _run(self) -> dict[str, Any]:
        """What tells one run from another."""
        step, batches = self._settings.step, self._settings.batches
        return {"layer": description(step.layer), "loss": name_of(step.loss)} | {
            name: getattr(batches, name) for name in ("seed", "batch_size", "n_examples")
            if isinstance(getattr(batches, name, None), int)}

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
        saved, given = {**extra["run"], **extra["configuration"]}, {**self._run(), **settings.configuration}
        changes = [f"{name} was {saved.get(name, 'absent')!r}, is {given.get(name, 'absent')!r}"
                   for name in {**saved, **given} if saved.get(name) != given.get(name)]
        expect(not changes, "fit", f"the run that {settings.directory} was begun with", "; ".join(changes),
               "name another directory, or use the old values")
        expect(loaded.step <= settings.steps, "fit", f"steps of at least the {loaded.step} that are done",
               str(settings.steps))
        if jax.process_index() == 0 and hasattr(self._checkpoints, "set_aside"):
            self._checkpoints.set_aside(settings.directory, loaded.step)
        settings.step.batch_size = extra["batch_size"]
        position = Position(loaded.step, extra["window"], extra["skipped"], extra["in_a_row"])
        if extra["watched"] == [settings.watch, settings.goal]:
            position.since_best = extra["since_best"]
            position.best = None if extra["best"] is None else self._restored_best(extra["best"], loaded.tree)
        elif extra["best"] is not None:
            warnings.warn(f"{settings.watch!r} is watched in place of {extra['watched'][0]!r}: the search for the best "
                          "starts anew", NotSaved, stacklevel=2)
        return loaded.tree, position

    def _restored_best(self, step: int, train_state: TrainState) -> Best | None:
        assert self._settings.directory is not None
        try:
            loaded = self._checkpoints.load(self._settings.directory / "best", (train_state.params, train_state.state),
                                            step=step, other_versions=self._settings.other_versions)
        except BadCheckpoint as error:
            warnings.warn(f"the best so far is lost, and the search for one starts anew: {error}", DamagedCheckpoint,
                          stacklevel=2)
            return None
        self._best_saved = loaded.step
        return Best(loaded.step, loaded.extra["value"], *loaded.tree)
