"""compare --mutants: how many wrong backward passes does each gradient checker find, and which not?

Every op of the catalogue is given every mistake of `jaxnn.gradients.mutants` at three sizes, in
float32; every checker judges each, and the right backward pass too, with its default options.

All of that takes hours. What is finished is kept, op by op and size by size; the same command goes on from there.
"""

import argparse
import contextlib
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from experiments.catalogue import CASES, SIZES
from experiments.compare.campaign import Failure, Outcome, campaign, checkers_at_hand, interruptible, tasks_of
from experiments.compare.checkers import ACCEPTED, CHECKERS, FOUND
from experiments.compare.finished import Finished, settings_of
from experiments.compare.mutant_table import write
from experiments.shared.run import say
from jaxnn.checks import InputError

__all__ = ["mutation"]

INTERRUPTED = 130  # the exit status of a command that SIGINT has ended


def mutation(argv: Sequence[str]) -> int:
    """compare --mutants: gradient checkers against wrong backward passes."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.jobs < 1:
        parser.error(f"--jobs expects at least one process; got {options.jobs}")
    try:
        tasks = tasks_of(options.ops, options.sizes)
        checkers = checkers_at_hand(options.checkers)
        finished = Finished(options.out, settings_of(checkers), options.anew)
    except InputError as error:
        parser.error(str(error))
    outcomes = finished.outcomes(tasks)
    if outcomes:
        say(f"{len(outcomes)} of {len(tasks)} are finished already, in {finished.folder}")
    done = {(outcome.op, outcome.size) for outcome in outcomes}
    failures, end = 0, ""
    try:
        with interruptible(), contextlib.closing(campaign(
                [task for task in tasks if task not in done], checkers, options.jobs)) as results:
            for result in results:
                if isinstance(result, Failure):
                    failures += 1
                    say(f"{result.op}, {result.size}: not judged: {result.error}")
                    continue
                finished.add(result)
                outcomes = finished.outcomes(tasks)
                write(options.out, outcomes, len(tasks))
                say(f"{_line(result)}; {len(outcomes)} of {len(tasks)}")
    except KeyboardInterrupt:
        end = "interrupted"
    except BrokenProcessPool:
        end = "a process was killed, for want of memory perhaps: try fewer --jobs"
    if outcomes := finished.outcomes(tasks):
        write(options.out, outcomes, len(tasks))
    if end:
        say(f"{end}; {len(outcomes)} of {len(tasks)} are finished; the same command goes on from there")
        return INTERRUPTED if end == "interrupted" else 1
    if outcomes:
        say((options.out / "mutants.txt").read_text(encoding="utf-8"))
        say(f"{options.out / 'mutants.json'}, .md and .txt")
    return 1 if failures else 0


def _line(outcome: Outcome) -> str:
    """One outcome in a line: only what is against a checker of ours is told."""
    ours = [checker.name for checker in CHECKERS if checker.is_ours and checker.name in outcome.verdicts]
    words = [f"{outcome.op}, {outcome.size}: {len(outcome.kinds)} mutants, {sum(outcome.seconds.values()):.0f} s"]
    for name in ours:
        if accepted := list(outcome.verdicts[name].values()).count(ACCEPTED):
            words.append(f"{accepted} accepted by {name}")
        if outcome.unchanged[name] == FOUND:
            words.append(f"a false alarm of {name}")
    return ", ".join(words)


def _parser() -> argparse.ArgumentParser:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(
        "python -m experiments compare --mutants", allow_abbrev=False,
        description="Gives every op wrong backward passes and counts which checker finds how many. What is finished is "
        "kept: after an interruption (Ctrl-C, kill) the same command goes on from there, and more --ops or --sizes may "
        "be asked for.")
    parser.add_argument("--sizes", type=_words, default=SIZES, metavar="A,B", help=f"of {', '.join(SIZES)}")
    parser.add_argument("--ops", type=_words, default=names, metavar="A,B", help=f"of {', '.join(names)}")
    parser.add_argument("--checkers", type=_words, metavar="A,B",
                        help="; ".join(f"{c.name}: {c.note}" for c in CHECKERS))
    parser.add_argument("--jobs", type=int, default=1, metavar="N",
                        help="processes side by side (default: 1)")
    parser.add_argument("--anew", action="store_true",
                        help="delete what is finished; needed after a change of the source or of the checkers")
    parser.add_argument("--out", type=Path, default=Path("runs/mutants"), metavar="DIR",
                        help="where mutants.txt, .md and .json go, and outcomes/ (default: runs/mutants)")
    return parser


def _words(text: str) -> list[str]:
    return [word for word in text.split(",") if word]
