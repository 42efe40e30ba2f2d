"""python -m experiments faults: what training and the readers of files survive."""

import argparse
from collections.abc import Callable, Sequence

from experiments.faults import corrupt, edits, failing, files, hostile, kill, signals
from experiments.faults.outcomes import Tally, report
from experiments.shared.run import device, say

__all__ = ["faults"]

# Of each campaign how many faults it tries by default, None where their number is fixed; and what it is of.
CAMPAIGNS: dict[str, tuple[int | None, str]] = {
    "kill": (200, "runs killed with -9 and started again"), "corrupt": (3000, "checkpoints whose bytes are damaged"),
    "edits": (330, "checkpoints whose manifest is edited, and every hash made to fit"),
    "failing": (None, "each call to the system that a save makes, failing in turn"),
    "hostile": (None, "directories, disks, terminals and functions of the caller that misbehave"),
    "signals": (48, "SIGTERM, SIGHUP and Ctrl-C at random moments"),
    "files": (10_000, "files of data and weights, mutated or made to exhaust the memory")}


def faults(argv: Sequence[str]) -> int:
    """faults: kills and signals runs, damages checkpoints and files, makes writes fail, and prints what was lost."""
    campaigns = (f"  {name:9}{what}" + ("" if n is None else f" (default: {n})")
                 for name, (n, what) in CAMPAIGNS.items())
    parser = argparse.ArgumentParser(
        "python -m experiments faults", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Kills and signals runs, damages checkpoints and files, makes writes fail, and prints what was "
        "lost.", epilog="\n".join(("campaigns:", *campaigns)))
    parser.add_argument("which", choices=("all", *CAMPAIGNS),
                        help="one of the campaigns below, or all, one after another")
    parser.add_argument("-n", type=int, metavar="N", help="number of faults, where that can be chosen")
    parser.add_argument("--seed", type=int, default=0, help="seed of what is drawn at random (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N",
                        help="runs side by side in kill and signals (default: 2)")
    parser.add_argument("--formats", nargs="+", default=[], metavar="FORMAT",
                        help="files: only these of its formats, such as WAV MIDI 'word2vec text' (default: all)")
    options = parser.parse_args(argv)
    if (options.n is not None and options.n < 1) or options.jobs < 1:
        parser.error("-n and --jobs expect positive numbers")
    if options.formats:
        from experiments.faults.formats import FORMATS

        if unknown := [name for name in options.formats if name not in FORMATS]:
            parser.error(f"--formats expects formats among {', '.join(FORMATS)}; got {unknown[0]!r}")
    tallies = []
    for name in CAMPAIGNS if options.which == "all" else (options.which,):
        say(f"{name}: {CAMPAIGNS[name][1]}\n")
        tallies.append(RUN[name](options.n or CAMPAIGNS[name][0], options))
        say()
    report(tallies)
    lost = sum(t.foreign + t.wrong for t in tallies)
    say(f"{lost} lost, on {device()}")
    return 1 if lost else 0


RUN: dict[str, Callable[..., Tally]] = {
    "kill": lambda n, options: kill.tally(kill.kill(n, options.seed, options.jobs)),
    "corrupt": lambda n, options: corrupt.tally(corrupt.corrupt(n, options.seed)),
    "edits": lambda n, options: edits.edits(n, options.seed),
    "failing": lambda n, options: failing.tally(failing.failing()),
    "hostile": lambda n, options: hostile.hostile(),
    "signals": lambda n, options: signals.tally(signals.signals(n, options.seed, options.jobs)),
    "files": lambda n, options: files.files(n, options.seed, options.formats)}
