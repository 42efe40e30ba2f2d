"""Hostile surroundings: whatever becomes of the directory, the disk, the terminal and the caller's functions, is any
step lost?

A short run is trained in each of some eighty surroundings. It must end as the undisturbed run, bit for bit; or be ended
by an error of jaxnn's own, which before the first step is a refusal, and after it carries the train state of the last
step and tells truly whether it is saved. Then what was in the way is removed and the run is called again: it must end
as the undisturbed run.
"""

import contextlib
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.faults.disturbances import AT, EVERY, STEPS, Surroundings, at_a_terminal, run
from experiments.faults.outcomes import Tally, equal
from experiments.faults.surroundings import ALL
from experiments.shared.run import progress, say, table
from jaxnn.checks import InputError
from jaxnn.training import BadCheckpoint, Diverged, Failed, Interrupted, checkpoint, fit

__all__ = ["hostile"]

OWN = (InputError, BadCheckpoint, Failed, Interrupted)
VERDICTS = ("whole", "own error, then whole", "refused", "foreign error", "wrong")


class Outcome(NamedTuple):
    """verdict: "whole", "own error", "foreign error" or "wrong"; text: of the error, or what is wrong."""

    verdict: str
    text: str


class Reference(NamedTuple):
    """The undisturbed run: its train state after each step."""

    states: list[Any]


def hostile(every: int = 1) -> Tally:
    """Every `every`-th of the surroundings, and the table of what became of the runs."""
    chosen = {name: s for i, (name, s) in enumerate(ALL.items()) if i % every == 0}
    reference, found = _reference(), dict[str, Outcome]()
    for name, place in progress(list(chosen.items()), "run"):
        with tempfile.TemporaryDirectory() as temporary:
            found[name] = _tried(place, Path(temporary), reference)
    counts = {verdict: sum(o.verdict == verdict for o in found.values()) for verdict in VERDICTS}
    say(table(("surroundings", *VERDICTS), [(len(found), *counts.values())]))
    for name, outcome in found.items():
        if outcome.verdict in VERDICTS[3:]:
            say(f"{outcome.verdict}: {name}: {outcome.text}")
    return Tally("hostile surroundings", counts["whole"] + counts["own error, then whole"], *(
        counts[verdict] for verdict in VERDICTS[2:]))


def _error_of(params: Any, state: Any) -> dict[str, float]:
    return {"error": float(np.square(params["dense2"]["weight"]).sum())}


def _reference() -> Reference:
    state, step, batches = run()
    states = [state]
    for s in range(STEPS):
        states.append(step(jax.tree.map(lambda a: a.copy(), states[-1]), *batches(s))[0])
    return Reference(states)


def _tried(place: Surroundings, folder: Path, reference: Reference) -> Outcome:
    directory = folder / "run"
    first = _attempt(place, directory, reference, is_first=True)
    if first.verdict in ("foreign error", "wrong"):
        return first
    place.mend(directory)
    if not place.goes_on:
        return Outcome("refused" if first.verdict == "own error" else "wrong", first.text)
    second = _attempt(place, directory, reference, is_first=False)
    if second.verdict == "whole":
        return Outcome("whole" if first.verdict == "whole" else "own error, then whole", first.text)
    if second.verdict == "own error" and place.is_refused_then:
        return Outcome("refused", second.text)
    return Outcome("wrong" if second.verdict == "own error" else second.verdict, f"called again: {second.text}")


def _attempt(place: Surroundings, directory: Path, reference: Reference, *, is_first: bool) -> Outcome:
    state, step, batches = run()
    options: dict[str, Any] = {"directory": directory, "metrics": _error_of, "watch": "error", "every": EVERY,
                               "progress": False, "steps": STEPS}
    done = list[bool]()
    with contextlib.ExitStack() as around:
        around.enter_context(at_a_terminal())
        around.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if is_first:
            around.enter_context(place.around())
            place.before(directory)
            options |= place.options(directory)

            def disturbed(s: int) -> Any:
                if s == AT and not done:
                    done.append(True)
                    given = place.during(directory)
                    if given is not None:
                        return given
                return place.batch(s, batches(s))

            for name in ("seed", "batch_size", "n_examples"):
                setattr(disturbed, name, getattr(batches, name))
            chosen: Any = disturbed
        else:
            options |= place.options_then(directory)
            chosen = batches
        error: BaseException | None = None
        try:
            ended, history = place.call(lambda: fit(state, step, chosen, **options))
        except BaseException as raised:
            error = raised
    if error is None:
        return _compared(ended, history.best, reference, options["steps"])
    if isinstance(error, place.raises):
        return Outcome("own error", str(error))
    if not isinstance(error, OWN):
        return Outcome("foreign error", f"{type(error).__name__}: {error}")
    if done and not isinstance(error, Failed | Interrupted):
        return Outcome("wrong", f"steps are lost; {error}")
    return _judged(error, directory, reference)


def _judged(error: BaseException, directory: Path, reference: Reference) -> Outcome:
    """An error of our own: is its train state the right one, and is it where the message tells?"""
    text = f"{type(error).__name__}: {error}"
    if not isinstance(error, Failed | Interrupted):
        return Outcome("own error", text)
    at = int(error.train_state.step)
    expected = reference.states[at]
    if isinstance(error, Diverged):  # its steps were not applied
        expected = expected._replace(params=reference.states[AT].params, opt_state=reference.states[AT].opt_state)
    if not equal(error.train_state, expected):
        return Outcome("wrong", f"not the train state of step {at}; {text}")
    is_told = error.is_saved if isinstance(error, Interrupted) else "is saved in" in str(error)
    steps = checkpoint.steps_in(directory)
    is_there = bool(steps) and steps[-1] == at and equal(checkpoint.load(directory, expected).tree, expected)
    return Outcome("own error" if not is_told or is_there else "wrong", text)


def _compared(ended: Any, best: Any, reference: Reference, steps: int) -> Outcome:
    if not equal(ended, reference.states[steps]):
        return Outcome("wrong", "another train state at the end")
    if best is not None and not equal(best.params, reference.states[best.step].params):
        return Outcome("wrong", "another network as the best")
    return Outcome("whole", "")
