"""The loop around a step: batches in, measures out, checkpoints, and nothing lost when it ends early.

    state, history = fit(state, step, batches, steps=10_000, metrics=metrics, directory="runs/net")

Killed at any moment and called again with the same arguments, it goes on from the newest good checkpoint
and ends with the same parameters, optimiser state, key and step, bit for bit.
"""

import json
import re
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxnn.checks import InputError, expect
from jaxnn.training import checkpoint
from jaxnn.training.checkpoint import BadCheckpoint, DamagedCheckpoint
from jaxnn.training.distributed import ProcessLost
from jaxnn.training.history import Best, Diverged, Failed, History, NotSaved
from jaxnn.training.log import Log, Progress, TensorBoard
from jaxnn.training.mesh import place, shard
from jaxnn.training.precision import scale_of
from jaxnn.training.step import Step, StepInfo, TrainState, batch_size
from jaxnn.training.stopping import Interrupted, StopRequests
from jaxnn.training.trouble import explain

__all__ = ["fit"]

EXPLAINED = 5  # steps that were not applied: each takes a walk through the network
LOST = re.compile(r"gloo|nccl|peer|connection|socket|unavailable|deadline|coordination|distributed", re.IGNORECASE)
TIMES = ("examples_per_second", "seconds", "compile_seconds")  # in a record, but not on its line


def fit(state: TrainState, step: Step, batches: Callable[[int], tuple[Any, Any]], *, steps: int,
        metrics: Callable[[Any, Any], dict[str, Any]] | None = None, every: int = 100,
        watch: str | None = None, mode: str = "min", patience: int | None = None,
        directory: str | Path | None = None, save_every: int | None = None, keep: int = 3, resume: bool = True,
        configuration: dict[str, Any] | None = None, other_versions: bool = False,
        tensorboard: bool = False, progress: bool = True, max_skipped: int = 10,
        steps_per_dispatch: int = 1, mesh: Mesh | None = None,
        checkpoints: Any = checkpoint) -> tuple[TrainState, History]:
    """Trains until `steps` steps are done, of this call and those before it.

    Args:
      state: from `start`; donated.
      step: from `make_step`.
      batches: the step's number -> (x, labels), such as `jaxnn.data.Batches`.
      metrics: (params, state) -> {name: number}, before the first step and then at every record; other names
        than the record's own: step, cost, gradient_norm ...
      every: steps between records.
      watch, mode: the metric of which the best, "min" or "max", is kept: in the history, and in directory/best.
      patience: records without a new best after which training ends.
      directory: for checkpoints and metrics.jsonl. What is there is gone on with; None saves nothing.
      save_every: steps between checkpoints, `every` if None; keep: how many stay, at least 2.
      resume: False refuses a directory that holds a run.
      configuration: what JSON can hold, saved with each checkpoint; a run of another one is refused.
      other_versions: go on with a checkpoint of another release of jax or optax.
      tensorboard: also write to directory/tensorboard, with tensorboardX.
      progress: print a line for each record, and a bar on a terminal.
      max_skipped: steps in a row that are not finite after which training ends.
      steps_per_dispatch: steps compiled into one program, for short ones; it divides every and save_every.
      mesh: spread each batch over its axis "data"; a state that lies on one device is copied to all.
      checkpoints: the module that writes them, `jaxnn.training.orbax_checkpoint` for many hosts.
    Raises:
      InputError: an argument is not as above, before any time is spent.
      Interrupted: on SIGTERM or Ctrl-C, with the state of the step it came to saved.
      Diverged: max_skipped steps in a row were not finite; the last good state is saved.
      Failed: batches or metrics raised; the state is saved, and in the error with the history.
      ProcessLost: another process of the run has ended.
      OSError: the last checkpoint cannot be written. One before that is only warned of.
    """
    save_every = every if save_every is None else save_every
    _check(state, step, batches, steps, every, save_every, keep, watch, mode, patience, max_skipped, steps_per_dispatch,
           directory, tensorboard, mesh)
    run = _Run(state, step, batches, steps, metrics, watch, mode, keep, _plain(configuration), mesh, checkpoints,
               None if directory is None else Path(directory), max_skipped)
    run.open(resume, other_versions, tensorboard, progress)
    try:
        with StopRequests() as requests:
            return run.train(requests, every, save_every, patience, steps_per_dispatch)
    except (RuntimeError, ValueError, OSError) as error:
        # JAX has more than one kind of error for a connection that is gone.
        if jax.process_count() == 1 or isinstance(error, Failed | InputError) or not LOST.search(str(error)):
            raise
        kept = "nothing was saved" if directory is None else f"start it again and it goes on from {directory}"
        raise ProcessLost(f"another process of this run has ended, near step {run.at}; {kept}, on however many "
                          f"processes there are then ({str(error).splitlines()[0]})") from error
    finally:
        run.close()


class _Run:
    """One call of `fit`: where it is, and what it does there."""

    def __init__(self, state: TrainState, step: Step, batches: Callable, steps: int, metrics: Callable | None,
                 watch: str | None, mode: str, keep: int, configuration: dict[str, Any],
                 mesh: Mesh | None, checkpoints: Any, directory: Path | None, max_skipped: int):
        is_alone = all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(state))
        self.state = shard(state, mesh) if mesh is not None and is_alone else state
        self.step, self.batches, self.steps = step, batches, steps
        self.metrics, self.watch, self.mode, self.keep = metrics, watch, mode, keep
        self.sign = 1 if mode == "min" else -1
        self.configuration, self.mesh, self.checkpoints, self.directory = configuration, mesh, checkpoints, directory
        self.max_skipped = max_skipped
        self.is_first = jax.process_index() == 0  # the one process that writes
        self.at, self.window, self.skipped, self.in_a_row, self.since_best = 0, list[float](), 0, 0, 0
        self.explained = 0
        self.best: Best | None = None
        self.best_saved, self.is_new = -1, True
        self.records: list[dict[str, Any]] = []
        self.pending: tuple[int, StepInfo, Any] | None = None
        self.compile_seconds, self.run_seconds, self.n_examples, self.recent = 0.0, 0.0, 0, (0, 0.0)
        self.norm = float("nan")
        self.writers: list[Any] = []

    # Beginning and end.

    def open(self, resume: bool, other_versions: bool, tensorboard: bool, progress: bool) -> None:
        self.at, self.step.batch_size = int(self.state.step), None
        log = None if self.directory is None else self.directory / "metrics.jsonl"
        going_on = self.directory is not None and bool(self.checkpoints.steps_in(self.directory))
        expect(resume or not (going_on or (log is not None and log.exists())), "fit",
               "a directory without a run, as resume=False asks", f"{self.directory} with one", "name another one")
        if log is not None:
            self.checkpoints.prepare(self.directory)
        if going_on:
            self.is_new = False
            self._restore(other_versions)
        if log is not None and self.is_first:
            self.writers = [Log(log, self.at if going_on else -1)]
            self.records = self.writers[0].records
            if tensorboard:
                self.writers.append(TensorBoard(log.with_name("tensorboard")))
        self.progress = Progress(self.steps, self.at, shown=progress and self.is_first)
        if going_on:
            self.progress.say(f"going on from step {self.at} of {self.directory}")

    def _restore(self, other_versions: bool) -> None:
        assert self.directory is not None
        loaded = self.checkpoints.load(self.directory, self.state, other_versions=other_versions)
        now, was = ({**extra["run"], **extra["configuration"]} for extra in (self._extra(), loaded.extra))
        differ = [f"{name} was {was.get(name, 'absent')!r}, is {now.get(name, 'absent')!r}"
                  for name in {**was, **now} if was.get(name) != now.get(name)]
        expect(not differ, "fit", f"the run that {self.directory} was begun with", "; ".join(differ),
               "name another directory, or use the old values")
        expect(loaded.step <= self.steps, "fit", f"steps of at least the {loaded.step} that are done", str(self.steps))
        self.state, self.at = loaded.tree, loaded.step
        if self.is_first and hasattr(self.checkpoints, "set_aside"):
            self.checkpoints.set_aside(self.directory, self.at)
        self.window, self.skipped, self.in_a_row, self.step.batch_size = (
            loaded.extra[name] for name in ("window", "skipped", "in_a_row", "batch_size"))
        self.recent = self.at, 0.0
        if loaded.extra["watched"] != [self.watch, self.mode]:
            if loaded.extra["best"] is not None:
                warnings.warn(f"{self.watch!r} is watched in place of {loaded.extra['watched'][0]!r}: its best is "
                              "looked for anew", NotSaved, stacklevel=2)
            return
        self.since_best = loaded.extra["since_best"]
        if loaded.extra["best"] is None:
            return
        try:
            kept = self.checkpoints.load(self.directory / "best", _net(self.state), step=loaded.extra["best"],
                                         other_versions=other_versions)
        except BadCheckpoint as error:
            warnings.warn(f"the best so far is lost, and looked for anew: {error}", DamagedCheckpoint, stacklevel=2)
            return
        self.best, self.best_saved = Best(kept.step, kept.extra["value"], *kept.tree), kept.step

    def close(self) -> None:
        for writer in self.writers:
            writer.close()
        self.progress.close()

    # Training.

    def train(self, requests: StopRequests, every: int, save_every: int, patience: int | None,
              many: int) -> tuple[TrainState, History]:
        if self.is_new:  # and not by the records, which only the first process has
            self._record(first=True)
        has_patience = patience is None or self.since_best < patience
        while self.at < self.steps and has_patience:
            self._dispatch(many if self.at % many == 0 and self.at + many <= self.steps else 1)
            ended = self.at == self.steps
            recorded = self.at % every == 0 or ended
            if recorded:
                self._settle()
                self._record()
                has_patience = patience is None or self.since_best < patience
                ended = ended or not has_patience
            stop = requests.asked()
            if ended or stop or self.at % save_every == 0:
                self._settle()
                self._save(must=ended or bool(stop))
            if stop and not ended:
                where = "nowhere: fit was given no directory" if self.directory is None else self.directory
                self.progress.say(f"{stop}: stopped at step {self.at}; saved in {where}")
                raise Interrupted(stop, self.state, self._history(stop))
            if ended:
                break
        return self.state, self._history("steps" if has_patience else "patience")

    def _dispatch(self, n_steps: int) -> None:
        """Takes the next steps; looks at those before them while they run."""
        begin, traces = time.perf_counter(), len(self.step.traces)
        batch = self._batch(n_steps)
        x, labels = place(batch[:2], self.mesh, axis=int(n_steps > 1))
        take = self.step if n_steps == 1 else self.step.many
        self.state, info = take(self.state, x, labels, batch[2])
        if len(self.step.traces) > traces:
            self.compile_seconds += time.perf_counter() - begin  # tracing and compiling are waited for
            begin = time.perf_counter()
        self.n_examples = int(np.ravel(batch[2])[-1])
        before, self.pending = self.pending, (self.at, info, batch)
        self.at += n_steps
        self.progress.advance(n_steps)
        self._look(before)
        self.run_seconds += time.perf_counter() - begin

    def _batch(self, n_steps: int) -> tuple[Any, Any, Any]:
        """(x, labels, how many of the examples are no filling) of the next steps, stacked if there are more."""
        try:
            if n_steps == 1 or not hasattr(self.batches, "many"):
                filled = [self._fill(self.batches(s)) for s in range(self.at, self.at + n_steps)]
                return filled[0] if n_steps == 1 else jax.tree.map(lambda *leaves: np.stack(leaves), *filled)
            x, labels = self.batches.many(self.at, n_steps)
            return x, labels, np.full(n_steps, batch_size(*jax.tree.map(lambda a: a[0], (x, labels))), np.int32)
        except InputError:
            raise
        except Exception as error:
            raise self._failed("batches", error) from error

    def _fill(self, batch: Any) -> tuple[Any, Any, int]:
        expect(isinstance(batch, tuple | list) and len(batch) == 2, "fit", "batches that give (x, labels)",
               f"{type(batch).__name__}" + (f" of {len(batch)}" if isinstance(batch, tuple | list) else ""))
        return self.step.fill(self.state, *batch)

    def _failed(self, what: str, error: Exception) -> Failed:
        self._settle()
        self._save(must=False)
        kept = "" if self.directory is None else f"; the state is saved in {self.directory}"
        return Failed(f"{what} raised at step {self.at}: {type(error).__name__}: {error}{kept}", self.state,
                      self._history("failed"))

    def _settle(self) -> None:
        begin = time.perf_counter()
        before, self.pending = self.pending, None
        self._look(before)
        self.run_seconds += time.perf_counter() - begin

    def _look(self, pending: tuple[int, StepInfo, Any] | None) -> None:
        """Counts the steps of a dispatch; tells of those that were not applied."""
        if pending is None:
            return
        first, info, (*batch, _) = pending
        costs, norms, applied = (np.atleast_1d(np.asarray(a)) for a in info)
        self.norm = float(norms[-1])
        for i, (cost, is_applied) in enumerate(zip(costs, applied, strict=True)):
            if is_applied:
                self.window.append(float(cost))
                self.in_a_row = 0
                continue
            self.skipped += 1
            # A loss scale that is found too large is no fault: it is halved until it fits.
            self.in_a_row += not (np.isfinite(cost) and float(scale_of(self.state.opt_state)) > 1)
            one = info if np.ndim(info.cost) == 0 else jax.tree.map(lambda a, i=i: a[i], info)
            x, labels = batch if np.ndim(info.cost) == 0 else jax.tree.map(lambda a, i=i: a[i], batch)
            stops = self.in_a_row >= self.max_skipped
            if stops or (self.in_a_row <= 1 and self.explained < EXPLAINED):
                told = explain(self.step, self.state, x, labels, first + i, one, self._names(first + i))
                self.explained += 1
                self.progress.say(told + ("" if self.explained < EXPLAINED else "; further ones are only counted"))
            if stops:
                self._save(must=True)
                where = "" if self.directory is None else f"; the last good state is saved in {self.directory}"
                raise Diverged(f"{self.in_a_row} steps in a row were not finite{where}; the last: {told}",
                               self.state, self._history("diverged"))

    def _names(self, number: int) -> np.ndarray | None:
        """Which examples of the set a step's batch has, where the batches can tell."""
        return self.batches.indices(number) if hasattr(self.batches, "indices") else None

    # Measures.

    def _record(self, first: bool = False) -> None:
        record: dict[str, Any] = {"step": self.at}
        if not first:
            record |= {"cost": float(np.mean(self.window)) if self.window else float("nan"),
                       "gradient_norm": self.norm}
            if self.skipped:
                record["skipped"] = self.skipped
        self.window = []
        record |= self._measures(first)
        seconds, (at, since) = self.run_seconds, self.recent
        speed = None
        if not first and seconds > since:
            speed = (self.at - at) * self.n_examples / (seconds - since)
            record["examples_per_second"] = round(speed, 1)
        record |= {"seconds": round(seconds, 3), "compile_seconds": round(self.compile_seconds, 3)}
        self.recent = self.at, seconds
        left = (self.steps - self.at) * self.n_examples / speed if speed else None
        for writer in self.writers:
            writer.write(record)
        if not (self.writers and isinstance(self.writers[0], Log)):
            self.records.append(record)
        if since == 0 and not first and self.compile_seconds:
            self.progress.say(f"compiled in {self.compile_seconds:.1f} s")
        self.progress.record(record, TIMES, left if self.at < self.steps else None)
        self._watch(record)

    def _measures(self, first: bool) -> dict[str, Any]:
        if self.metrics is None:
            return {}
        try:
            found = self.metrics(self.state.params, self.state.state)
            own = sorted({"step", "cost", "gradient_norm", "skipped", *TIMES} & found.keys())
            if own:
                raise ValueError(f"{', '.join(own)}, which the record has of its own; name it dev_{own[0]}, say")
            if self.watch is not None and self.watch not in found:
                raise ValueError(f"no {self.watch!r}, which is to be watched, but {sorted(found)}")
            return {name: _number(name, value) for name, value in found.items()}
        except Exception as error:
            if first:
                raise InputError("fit", f"expects metrics that are measured before the first step too; got "
                                 f"{type(error).__name__}: {error}") from error
            raise self._failed("metrics", error) from error

    def _watch(self, record: dict[str, Any]) -> None:
        if self.watch is None:
            return
        value = record[self.watch]
        if np.isnan(value) or (self.best is not None and not self.sign * value < self.sign * self.best.value):
            self.since_best += 1
            return
        self.since_best = 0
        # A copy: the state's buffers are given to the next step.
        self.best = Best(self.at, value, *jax.tree.map(lambda a: a.copy(), _net(self.state)))

    def _history(self, stopped: str) -> History:
        return History(list(self.records), self.best, self.skipped, stopped)

    # Saving.

    def _extra(self) -> dict[str, Any]:
        """What is saved beside the state: which run it is, and where its loop is."""
        run = {"layer": repr(self.step.layer), "loss": self.step.loss.name} | {
            name: getattr(self.batches, name) for name in ("seed", "batch_size", "n_examples")
            if isinstance(getattr(self.batches, name, None), int)}
        return {"run": run, "configuration": self.configuration, "window": self.window, "skipped": self.skipped,
                "in_a_row": self.in_a_row, "since_best": self.since_best, "watched": [self.watch, self.mode],
                "batch_size": self.step.batch_size, "best": None if self.best is None else self.best.step}

    def _save(self, must: bool) -> None:
        """Saves where training is, and before it the best it refers to."""
        if self.directory is None:
            return
        try:
            if self.best is not None and self.best.step != self.best_saved:
                # One more than checkpoints: each refers to one, and so does the next while it is written.
                self.checkpoints.save(self.directory / "best", self.best.step, _net(self.best),
                                      extra={"value": self.best.value}, keep=self.keep + 1)
                self.best_saved = self.best.step
            self.checkpoints.save(self.directory, self.at, self.state, extra=self._extra(), keep=self.keep)
        except OSError as error:
            if must:
                raise
            warnings.warn(f"step {self.at} could not be saved in {self.directory} ({error}); training goes on and "
                          "will try again", NotSaved, stacklevel=2)


def _net(state: Any) -> tuple[Any, Any]:
    return state.params, state.state


def _plain(configuration: dict[str, Any] | None) -> dict[str, Any]:
    """As it will be read again: a tuple becomes a list."""
    try:
        plain: dict[str, Any] = json.loads(json.dumps(configuration or {}, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError("fit", f"expects a configuration that JSON can hold; got {configuration!r} ({error}); "
                         "write what is no number, text or list as text") from error
    return plain


def _number(name: str, value: Any) -> Any:
    if np.ndim(value) != 0:
        raise TypeError(f"'{name}' is an array of shape {np.shape(value)}, not a number")
    value = value if isinstance(value, int | float | bool) else np.asarray(value).item()
    return value


def _check(state: Any, step: Any, batches: Any, steps: int, every: int, save_every: int, keep: int,
           watch: str | None, mode: str, patience: int | None, max_skipped: int, many: int, directory: Any,
           tensorboard: bool, mesh: Mesh | None) -> None:
    expect(isinstance(state, TrainState), "fit", "a TrainState, made by start", type(state).__name__)
    expect(callable(batches), "fit", "batches that are called with the step's number, such as Batches(x, labels, 32)",
           type(batches).__name__)
    wide = [leaf for leaf in jax.tree.leaves(state) if str(leaf.dtype) in ("float64", "int64", "complex128")]
    expect(not wide or jax.config.read("jax_enable_x64"), "fit", "float64 to be on, for a state of 64 bits", "it off",
           "call it inside of jax.enable_x64(True)")
    expect(mesh is None or "data" in mesh.shape, "fit", "a mesh with an axis 'data'",
           str(None if mesh is None else dict(mesh.shape)), "make it with make_mesh")
    expect(isinstance(step, Step), "fit", "a step made by make_step", type(step).__name__)
    counts = {"steps": steps, "every": every, "save_every": save_every, "max_skipped": max_skipped,
              "steps_per_dispatch": many, "keep": keep} | ({} if patience is None else {"patience": patience})
    for name, value in counts.items():
        expect(isinstance(value, int) and not isinstance(value, bool) and value > 0, "fit",
               f"{name}, a positive integer", repr(value))
    expect(keep >= 2, "fit", "keep, at least 2", repr(keep), "one may be damaged")
    expect(mode in ("min", "max"), "fit", "mode 'min' or 'max'", repr(mode))
    expect(patience is None or watch is not None, "fit", "a metric to watch, for patience", "none", "pass watch=")
    expect(every % many == 0 and save_every % many == 0, "fit",
           f"every and save_every that steps_per_dispatch={many} divides", f"{every} and {save_every}")
    expect(not tensorboard or directory is not None, "fit", "a directory, for TensorBoard", "none")
    expect(directory is None or not Path(directory).exists() or Path(directory).is_dir(), "fit",
           "a directory", f"the file {directory}", "name another place")


