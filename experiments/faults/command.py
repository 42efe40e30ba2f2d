"""python -m experiments faults: what training survives."""

import argparse
from collections.abc import Sequence

from experiments.faults.corrupt import corrupt
from experiments.faults.failing import failing
from experiments.faults.kill import kill
from experiments.shared.run import device, say

__all__ = ["faults"]


def faults(argv: Sequence[str]) -> int:
    """faults: runs killed with -9, checkpoints damaged, writes that fail; the tables of what was lost."""
    parser = argparse.ArgumentParser("python -m experiments faults", description=str(faults.__doc__).split(": ", 1)[1],
                                     allow_abbrev=False)
    parser.add_argument("which", choices=("kill", "corrupt", "failing"))
    parser.add_argument("-n", type=int, metavar="N", help="kills (default: 200) or damages (default: 3000)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random in it (default: 0)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="runs side by side in kill (default: 2)")
    options = parser.parse_args(argv)
    if (options.n is not None and options.n < 1) or options.jobs < 1:
        parser.error("-n and --jobs expect positive numbers")
    if options.which == "kill":
        lost = sum(not k.is_equal for k in kill(options.n or 200, options.seed, options.jobs))
    elif options.which == "corrupt":
        outcomes = corrupt(options.n or 3000, options.seed)
        lost = sum(n for (_, outcome), n in outcomes.items() if outcome == "loaded silently")
    else:
        lost = sum(n for (*_, is_whole), n in failing().items() if not is_whole)
    say(f"{lost} lost, on {device()}")
    return 1 if lost else 0
