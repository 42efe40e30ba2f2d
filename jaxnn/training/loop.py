"""The loop: it takes steps and, while the next ones run, reads what those before report; it records and saves."""

import contextlib
import sys
import warnings
from typing import Any

import jax
import numpy as np

from jaxnn.checks import InputError, expect
from jaxnn.training.faults import describe_fault
from jaxnn.training.functions import batch_size
from jaxnn.training.history import Diverged, Failed, History, NotApplied, SaveFailed
from jaxnn.training.mesh import place
from jaxnn.training.position import Position
from jaxnn.training.precision import scale_of
from jaxnn.training.records import Recorder, measures
from jaxnn.training.saving import Saver
from jaxnn.training.settings import Settings
from jaxnn.training.step import StepInfo
from jaxnn.training.stopping import Interrupted, StopRequests
from jaxnn.training.train_state import TrainState

__all__ = ["Loop"]

MAX_DESCRIPTIONS = 5  # of steps that were not applied: each takes a walk through the network


class Loop:
    """Takes steps, and reads what the ones before report while the next run."""

    def __init__(self, settings: Settings, train_state: TrainState, position: Position, saver: Saver,
                 recorder: Recorder):
        self.settings, self.train_state, self.position = settings, train_state, position
        self.saver, self.recorder = saver, recorder
        self.pending: tuple[int, StepInfo, Any] | None = None  # a dispatch whose report is not read yet
        self.n_descriptions = 0
        # The steps of this call that were faults: how many, the first one in words, and whether a warning told of them.
        self.first_step, self.n_faults, self.first_fault, self.has_warned = position.step, 0, "", False

    def train(self, requests: StopRequests) -> tuple[TrainState, History]:
        """Takes the steps. Once one is taken, every error but a second Ctrl-C carries the train state."""
        first = self.position.step
        try:
            return self._train(requests)
        except Exception as error:
            # Where another process is gone, nothing can be saved; before the first step there is nothing to save.
            if isinstance(error, Failed) or jax.process_count() > 1 or self.position.step == first:
                raise
            raise self._failed("training failed", error) from error
        except SystemExit as error:  # by a function of the caller
            if not isinstance(error, Interrupted) and self.position.step > first and jax.process_count() == 1:
                error.add_note(str(self._failed("the process was ended", error)))
            raise

    def _train(self, requests: StopRequests) -> tuple[TrainState, History]:
        settings, position = self.settings, self.position
        many, patience = settings.steps_per_dispatch, settings.patience
        if not self.saver.resumes:  # and not by the records, which only the first process has
            self._record_first()
        elif self.saver.has_new_watch and settings.watch is not None:
            self._first_measures()
        self.saver.look(position)
        while position.step < settings.steps and position.has_patience(patience):
            self._dispatch(many if position.step % many == 0 and position.step + many <= settings.steps else 1)
            if position.step % settings.every == 0 or position.step == settings.steps:
                self._record()
            is_last = position.step == settings.steps or not position.has_patience(patience)
            if position.step % settings.every == 0 and not is_last:
                self._warn_of_faults(once=True)
            stop = requests.pending()
            if stop:
                raise self._stopped(stop)
            if is_last:
                self._settle()
                failure = self.saver.attempt(self.train_state, position)
                if failure is not None:
                    raise SaveFailed(f"training is done, at step {position.step}{self.saver.outcome(failure)}",
                                     self.train_state, self._end()) from failure
            elif position.step % settings.save_every == 0:
                self._settle()
                self.saver.try_to_save(self.train_state, position)
        self._warn_of_faults()
        return self.train_state, self._end()

    def _stopped(self, name: str) -> Interrupted:
        """The error for a signal, with everything saved that can be."""
        self._settle()
        failure = self.saver.attempt(self.train_state, self.position)
        directory = self.settings.directory
        if failure is not None:  # the error has no message: it ends the process quietly
            with contextlib.suppress(OSError, ValueError):
                print(f"{name} at step {self.position.step}: not saved in {directory} ({type(failure).__name__}: "
                      f"{failure})", file=sys.stderr, flush=True)
        saved = "not saved: fit has no directory" if directory is None else (
            f"saved in {directory}" if failure is None else f"not saved in {directory}")
        self.recorder.progress.say(f"{name}: stopped at step {self.position.step}; {saved}")
        return Interrupted(name, self.train_state, self._history(name), directory is not None and failure is None)

    def _end(self) -> History:
        return self._history("steps" if self.position.has_patience(self.settings.patience) else "patience")

    def _history(self, stopped: str) -> History:
        return History(list(self.recorder.records), self.position.best, self.position.skipped, stopped)

    # Steps.

    def _dispatch(self, n_steps: int) -> None:
        """Takes the next steps; reads what those before report while these run."""
        step, stopwatch, position = self.settings.step, self.recorder.stopwatch, self.position
        stopwatch.start()
        n_traces = len(step.traces)
        batch = self._batch(n_steps)
        x, labels = place(batch[:2], self.settings.mesh, axis=int(n_steps > 1))
        take = step if n_steps == 1 else step.many
        self.train_state, info = take(self.train_state, x, labels, batch[2])
        if len(step.traces) > n_traces:
            stopwatch.count_compiling()  # JAX returns only after tracing and compiling
        position.n_examples = int(np.ravel(batch[2])[-1])
        before, self.pending = self.pending, (position.step, info, batch)
        position.step += n_steps
        self.recorder.progress.advance(n_steps)
        self._read(before)
        stopwatch.count_running()

    def _batch(self, n_steps: int) -> tuple[Any, Any, Any]:
        """(x, labels, how many of the examples are no filling) of the next steps, stacked if there are more."""
        batches, first = self.settings.batches, self.position.step
        try:
            if n_steps == 1 or not hasattr(batches, "many"):
                filled = [self._filled(batches(s)) for s in range(first, first + n_steps)]
                return filled[0] if n_steps == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *filled)
            x, labels = batches.many(first, n_steps)
            return x, labels, np.full(n_steps, batch_size(*jax.tree.map(lambda a: a[0], (x, labels))), np.int32)
        except InputError:
            raise
        except Exception as error:
            raise self._failed("batches raised", error) from error

    def _filled(self, batch: Any) -> tuple[Any, Any, int]:
        expect(isinstance(batch, tuple | list) and len(batch) == 2, "fit", "batches that give (x, labels)",
               f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else ""))
        return self.settings.step.fill(self.train_state, *batch)

    def _failed(self, what: str, error: BaseException) -> Failed:
        """The error for what went wrong; the run is saved first, if it can be."""
        try:
            self._settle()
        except Failed:
            raise
        except Exception:  # the step that runs has failed: what it reports is not there
            self.pending = None
        message = f"{what} at step {self.position.step}: {type(error).__name__}: {error}"
        if not _is_readable(self.train_state):
            directory = self.settings.directory
            saved = "nothing was saved" if directory is None else f"started again, it continues from {directory}"
            return Failed(f"{message}; the step that failed has taken the train state with it, and {saved}",
                          self.train_state, self._history("failed"))
        failure = self.saver.attempt(self.train_state, self.position)
        return Failed(message + self.saver.outcome(failure), self.train_state, self._history("failed"))

    # What steps report.

    def _settle(self) -> None:
        """Waits for the steps that run, and reads what they report."""
        self.recorder.stopwatch.start()
        before, self.pending = self.pending, None
        self._read(before)
        self.recorder.stopwatch.count_running()

    def _read(self, pending: tuple[int, StepInfo, Any] | None) -> None:
        """Counts the steps of a dispatch, and describes those that were not applied."""
        if pending is None:
            return
        first, info, (*batch, _) = pending
        costs, norms, applied = (np.atleast_1d(np.asarray(a)) for a in info)
        self.position.gradient_norm = float(norms[-1])
        for i, (cost, is_applied) in enumerate(zip(costs, applied, strict=True)):
            if is_applied:
                self.position.count_applied(float(cost))
            else:
                one = (info, batch) if np.ndim(info.cost) == 0 else jax.tree.map(lambda a, i=i: a[i], (info, batch))
                self._read_skipped(first + i, *one)

    def _read_skipped(self, number: int, info: StepInfo, batch: Any) -> None:
        position, progress = self.position, self.recorder.progress
        # A loss scale that proves too large is no fault: the optimiser halves it until it fits.
        scale = float(scale_of(self.train_state.opt_state))
        is_fault = not (np.isfinite(info.cost) and scale > 1)
        position.count_skipped(is_fault=is_fault)
        self.n_faults += is_fault
        is_end = position.in_a_row >= self.settings.max_skipped
        description = ""
        if is_end or (position.in_a_row <= 1 and self.n_descriptions < MAX_DESCRIPTIONS):
            # Which examples of the set the batch has, where the batches know.
            indices = getattr(self.settings.batches, "indices", lambda number: None)(number)
            x, labels = batch
            description = describe_fault(self.settings.step, self.train_state, x, labels, number, info, indices)
            self.n_descriptions += 1
            self.first_fault = self.first_fault or description * is_fault
            is_last = self.n_descriptions >= MAX_DESCRIPTIONS
            progress.say(description + ("; further ones are only counted" if is_last else ""))
        if is_end:
            failure = self.saver.attempt(self.train_state, position)
            saved = self.saver.outcome(failure, "the last good train state")
            raise Diverged(f"{position.in_a_row} steps in a row were not finite{saved}; the last: {description}",
                           self.train_state, self._history("diverged")) from failure

    def _warn_of_faults(self, *, once: bool = False) -> None:
        """Warns of the steps that were not applied, where no line of progress tells of them. once: not again."""
        if not self.n_faults or self.settings.progress or jax.process_index() > 0 or (once and self.has_warned):
            return
        self.has_warned = True
        n_steps = self.position.step - self.first_step
        verb = "was" if self.n_faults == 1 else "were"
        first = self.first_fault.replace(" was not applied", "", 1)
        warnings.warn(f"{self.n_faults:,} of {n_steps:,} steps {verb} not applied, because cost, gradient or update "
                      "is not finite" + (f"; the first, {first}" if first else ""), NotApplied, stacklevel=2)

    # Records.

    def _first_measures(self) -> dict[str, Any]:
        try:
            return measures(self.settings, self.train_state)
        except Exception as error:
            raise InputError("fit", f"expects metrics that are measured before the first step too; got "
                             f"{type(error).__name__}: {error}") from error

    def _record_first(self) -> None:
        found = self._first_measures()
        self.recorder.write_first(self.position, found)
        self._compare(found)

    def _record(self) -> None:
        self._settle()
        cost = self.position.take_cost()
        try:
            found = measures(self.settings, self.train_state)
        except Exception as error:
            raise self._failed("metrics raised", error) from error
        self.recorder.write(self.position, cost, found)
        self._compare(found)

    def _compare(self, found: dict[str, Any]) -> None:
        if self.settings.watch is not None:
            self.position.compare_with_best(found[self.settings.watch], self.settings.goal, self.train_state)


def _is_readable(train_state: TrainState) -> bool:
    """Whether the arrays are there: a step takes over the buffers of the state before it, even if it fails then."""
    try:
        jax.block_until_ready(train_state)
    except Exception:  # of JAX, of many kinds: the buffer is deleted, or what computed it has failed
        return False
    return not any(leaf.is_deleted() for leaf in jax.tree.leaves(train_state))
