"""The loop around a step: batches in, records out, checkpoints, and nothing lost when it ends early.

    train_state, history = fit(train_state, step, batches, steps=10_000, metrics=metrics, directory="runs/net")

Killed at any moment and called again with the same arguments, the run continues from the newest good
checkpoint and ends with the same parameters, optimiser state, key and step, bit for bit.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxnn.checks import InputError
from jaxnn.training import checkpoint
from jaxnn.training.distributed import ProcessLost
from jaxnn.training.history import Failed, History
from jaxnn.training.loop import Loop
from jaxnn.training.mesh import shard
from jaxnn.training.position import Position
from jaxnn.training.records import Recorder
from jaxnn.training.saving import Saver
from jaxnn.training.settings import Settings, arrays_of, plain_configuration, whole_directory
from jaxnn.training.step import Step
from jaxnn.training.stopping import Interrupted, StopRequests
from jaxnn.training.train_state import TrainState

__all__ = ["fit"]

LOST = re.compile(r"gloo|nccl|peer|connection|socket|unavailable|deadline|coordination|distributed", re.IGNORECASE)


def fit(train_state: TrainState, step: Step, batches: Callable[[int], tuple[Any, Any]], *, steps: int,
        metrics: Callable[[Any, Any], dict[str, Any]] | None = None, every: int = 100,
        watch: str | None = None, goal: str = "min", patience: int | None = None,
        directory: str | Path | None = None, save_every: int | None = None, keep: int = 3, resume: bool = True,
        configuration: dict[str, Any] | None = None, other_versions: bool = False,
        tensorboard: bool = False, progress: bool = True, max_skipped: int = 10,
        steps_per_dispatch: int = 1, mesh: Mesh | None = None,
        checkpoints: Any = checkpoint) -> tuple[TrainState, History]:
    """Trains until `steps` steps are done, of this call and those before.

    Args:
      train_state: from `start` or `start_from`; donated.
      step: from `make_step`.
      batches: the step's number -> (x, labels), trees of arrays, such as `jaxnn.data.Batches`.
      metrics: (params, state) -> {name: number}, before the first step and then at every record; other names
        than the record's own: step, cost, gradient_norm ...
      every: steps between records.
      watch, goal: the metric of which the best, "min" or "max", is kept: in the history, and in directory/best.
      patience: records without a new best after which training ends.
      directory: for checkpoints and metrics.jsonl. A run that it holds is continued; None saves nothing. One run
        at a time uses it.
      save_every: steps between checkpoints, `every` if None; keep: how many stay, at least 2.
      resume: False refuses a directory that holds a run.
      configuration: what JSON can hold, saved with each checkpoint; a run of another one is refused.
      other_versions: continue from a checkpoint of another release of jax or optax.
      tensorboard: also write to directory/tensorboard, with tensorboardX.
      progress: print a line for each record and for a step that was not applied, and show a bar on a terminal. False
        prints nothing: `history.records` and `history.skipped` have it all, and warnings and errors come as ever. Steps
        that were not applied are then a warning, NotApplied: one at the first record after them, one at the end.
      max_skipped: steps in a row that are not finite after which training ends.
      steps_per_dispatch: steps compiled into one program, for short ones; it divides every and save_every.
      mesh: spread each batch over its axis "data"; a train state that lies on one device is copied to all.
      checkpoints: the module that writes them, `jaxnn.training.orbax_checkpoint` for many hosts.
    Raises:
      InputError: an argument is not as above, before any time is spent.
      BadCheckpoint: the directory holds checkpoints, and none is good.
      Interrupted: on SIGTERM, SIGHUP (the terminal is closed) or Ctrl-C, after the step that was running, the last one
        too; not caught, it ends the process with 128 + the signal's number. A second Ctrl-C is Python's
        KeyboardInterrupt, and saves nothing.
      Diverged: max_skipped steps in a row were not finite; it carries the last good train state.
      Failed: batches, metrics, or anything else raised after the first step.
      SaveFailed: training is done, and its last checkpoint cannot be written. An earlier failure is a warning only.
      ProcessLost: another process of the run has ended.
    Interrupted, Diverged, Failed and SaveFailed carry the train state and the history. They are saved too, unless
    the message tells why not.
    """
    train_state = arrays_of(train_state)
    settings = Settings(
        step=step, batches=batches, steps=steps, metrics=metrics, every=every, watch=watch, goal=goal,
        patience=patience, directory=whole_directory(directory),
        save_every=every if save_every is None else save_every, keep=keep, resume=resume,
        configuration=plain_configuration(configuration), other_versions=other_versions, tensorboard=tensorboard,
        progress=progress, max_skipped=max_skipped, steps_per_dispatch=steps_per_dispatch, mesh=mesh,
        checkpoints=checkpoints)
    if mesh is not None and all(len(leaf.devices()) == 1 for leaf in jax.tree.leaves(train_state)):
        train_state = shard(train_state, mesh)
    saver, requests = Saver(settings), StopRequests()
    recorder: Recorder | None = None
    on_its_way: BaseException | None = None
    position = Position(0)
    try:
        train_state, position = saver.begin(train_state)
        recorder = saver.recorder = Recorder(settings, position, resumes=saver.resumes)
        loop = Loop(settings, train_state, position, saver, recorder)
        with requests:
            train_state, history = loop.train(requests)
        if requests.noted is not None and jax.process_count() == 1:  # it came while the end was saved
            raise Interrupted(requests.noted, train_state, history, settings.directory is not None)
        return train_state, history
    except BaseException as error:
        on_its_way = error
        if requests.noted is not None and not isinstance(error, SystemExit | KeyboardInterrupt):
            error.add_note(f"{requests.noted} came too: the exit status is that of this error")
        # JAX has more than one kind of error for a connection that is gone.
        if jax.process_count() == 1 or isinstance(error, Failed | InputError) or not (
                isinstance(error, RuntimeError | ValueError | OSError) and LOST.search(str(error))):
            raise
        remedy = "nothing was saved" if directory is None else f"started again, it continues from {directory}"
        raise ProcessLost(f"another process of this run has ended, near step {position.step}; {remedy}, on however "
                          f"many processes there are then ({str(error).splitlines()[0]})") from error
    finally:
        try:
            if recorder is not None:
                recorder.close(on_its_way)
        finally:
            saver.release()
