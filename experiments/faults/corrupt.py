"""Damaged on the disk: is any checkpoint loaded that is not what was written?

In a directory with two checkpoints the newer is damaged in one way, and the directory is loaded. The only right
outcome: the damage is reported and the older checkpoint is loaded, unchanged.
"""

import collections
import random
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from experiments.faults.outcomes import Tally, same
from experiments.faults.runs import KINDS, begin
from experiments.shared.run import progress, say, table
from jaxnn.checks import InputError
from jaxnn.training import checkpoint

__all__ = ["DAMAGES", "corrupt", "tally"]


def flip(folder: Path, chance: random.Random) -> None:
    """One bit of one file."""
    path = _file(folder, chance)
    data = bytearray(path.read_bytes())
    place = chance.randrange(8 * len(data))
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def truncate(folder: Path, chance: random.Random) -> None:
    path = _file(folder, chance)
    data = path.read_bytes()
    path.write_bytes(data[:chance.randrange(len(data))])


def lengthen(folder: Path, chance: random.Random) -> None:
    path = _file(folder, chance)
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.randrange(1, 64)))


def zero(folder: Path, chance: random.Random) -> None:
    """A block of a file that is not zero already."""
    path = _file(folder, chance, lambda data: any(data))
    data = bytearray(path.read_bytes())
    at = chance.choice([i for i, byte in enumerate(data) if byte])
    size = chance.randrange(1, 512)
    data[at:at + size] = bytes(len(data[at:at + size]))
    path.write_bytes(data)


def swap(folder: Path, chance: random.Random) -> None:
    """Two files that are not equal."""
    a = _file(folder, chance)
    b = _file(folder, chance, lambda data: data != a.read_bytes())
    first, second = a.read_bytes(), b.read_bytes()
    a.write_bytes(second)
    b.write_bytes(first)


def remove(folder: Path, chance: random.Random) -> None:
    _file(folder, chance).unlink()


def rename(folder: Path, chance: random.Random) -> None:
    """The whole checkpoint, so that it seems of another step."""
    folder.rename(folder.with_name(f"step_{chance.randrange(3, 10**6):08d}"))


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "a bit flipped": flip, "a file truncated": truncate, "a file longer": lengthen, "a block zeroed": zero,
    "two files swapped": swap, "a file missing": remove, "the directory renamed": rename}

VERDICTS = ("reported, the older loaded", "an error", "a foreign error", "loaded silently")


def _file(folder: Path, chance: random.Random, fits: Callable[[bytes], Any] = bool) -> Path:
    return chance.choice([p for p in sorted(folder.iterdir()) if bool(fits(p.read_bytes()))])


def corrupt(n: int, seed: int) -> collections.Counter[tuple[str, str]]:
    """n damages, dealt over their kinds, and the table of what the loads did."""
    chance, outcomes = random.Random(seed), collections.Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        state = begin(next(iter(KINDS)))[0]
        checkpoint.save(folder / "good", 1, state, extra={"note": "older"})
        checkpoint.save(folder / "good", 2, state._replace(step=state.step + 1), extra={"note": "newer"})
        older = checkpoint.load(folder / "good", step=1).tree
        for i in progress(range(n), "damage"):
            name = list(DAMAGES)[i % len(DAMAGES)]
            shutil.copytree(folder / "good", folder / "bad")
            DAMAGES[name](folder / "bad" / "step_00000002", chance)
            outcomes[name, _outcome(folder / "bad", older)] += 1
            shutil.rmtree(folder / "bad")
    rows = [(name, *(outcomes[name, v] for v in VERDICTS)) for name in DAMAGES]
    total = [sum(outcomes[name, v] for name in DAMAGES) for v in VERDICTS]
    say(table(("damage", *VERDICTS), [*rows, ("all", *total)]))
    return outcomes


def tally(outcomes: collections.Counter[tuple[str, str]]) -> Tally:
    total = collections.Counter[str]()
    for (_, outcome), n in outcomes.items():
        total[outcome] += n
    return Tally("bytes damaged", total[VERDICTS[0]], total[VERDICTS[1]], total[VERDICTS[2]], total[VERDICTS[3]])


def _outcome(directory: Path, older: dict[str, Any]) -> str:
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        try:
            found = checkpoint.load(directory)
        except (checkpoint.BadCheckpoint, InputError):
            return "an error"
        except Exception:  # of a stranger's, which tells nothing
            return "a foreign error"
    is_older = bool(found.step == 1 and all(same(leaf, older[path]) for path, leaf in found.tree.items()))
    return "reported, the older loaded" if is_older and reported else "loaded silently"


