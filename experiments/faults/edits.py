"""Edited, with every hash made to fit: does a checkpoint believe its own manifest?

In a directory with two checkpoints the manifest of the newer is edited in one way, or a leaf is replaced by a pipe,
a link or a huge file; then manifest.sha256 is written anew, and for half of the edits each entry's own hash too. The
load must give the newer checkpoint as it was, or report it and give the older, or refuse by an error of its own;
within seconds, and without taking memory for what the manifest claims.
"""

import collections
import contextlib
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experiments.faults.outcomes import Tally, equal
from experiments.faults.runs import KINDS, begin
from experiments.shared.run import progress, say, table
from jaxnn.checks import InputError
from jaxnn.training import checkpoint
from jaxnn.training.stored import _entry_hash

__all__ = ["EDITS", "edits"]

SECONDS = 30  # after which a load counts as a wait without end
MEMORY = 300_000  # kilobytes that a load of a few thousand numbers may take
ODD: tuple[Any, ...] = (None, True, -1, 1.5, "", "1", [], {}, [[]], 10**30, "\udcff", "../../x")
Manifest = dict[str, Any]


def _leaf(manifest: Manifest, chance: random.Random, kind: str = "file") -> dict[str, Any]:
    """One of the leaves, of those that have such a field."""
    entry: dict[str, Any] = chance.choice([entry for entry in manifest["leaves"] if kind in entry])
    return entry


def shape(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    """Of as many numbers in another arrangement, or of none, or of far too many."""
    entry = _leaf(manifest, chance)
    old = list(entry["shape"])
    entry["shape"] = chance.choice([[1, *old], [*old[::-1], 1], [2**40], [-1, -1], [*map(float, old), 1.0], [0], None,
                                    [[*old]], "4", [10**30], [True, *old]])


def dtype(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    entry = _leaf(manifest, chance)
    names = ["int32", "float64", "bfloat16", "complex64", "object", "O", "V4", "U1", "S4", "datetime64[s]", "none",
             None, 7, "float32, int8", "uint8"]
    entry["dtype"] = chance.choice([name for name in names if name != entry["dtype"]])


def meaning(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    """How the bytes are to be read."""
    entry = _leaf(manifest, chance)
    name, value = chance.choice([("byteorder", ">"), ("byteorder", "x"), ("byteorder", 3), ("scalar", True),
                                 ("key", "rbg"), ("key", "threefry2x32"), ("key", "none"), ("key", ["rbg"])])
    entry[name] = value


def file(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    """Another file, inside of the checkpoint or outside."""
    entry, other = _leaf(manifest, chance), _leaf(manifest, chance)
    outside = folder.parent / "step_00000001" / entry["file"]
    entry["file"] = chance.choice([
        str(outside), f"../step_00000001/{entry['file']}", "/dev/zero", "/dev/stdin", "manifest.json", "..", ".",
        "/etc/passwd", f"./{entry['file']}", f"{entry['file']}\0", *ODD, *[other["file"]] * (other is not entry)])


def digest(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    entry = _leaf(manifest, chance)
    entry["sha256"] = chance.choice(["0" * 64, entry["sha256"][:-1], entry["sha256"].upper() + "0", *ODD])


def path(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    entry, other = _leaf(manifest, chance, "path"), _leaf(manifest, chance, "path")
    entry["path"] = chance.choice([entry["path"] + "x", *ODD, *[other["path"]] * (other is not entry)])


def field(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    """One field of the manifest, or of a leaf, missing or of another kind."""
    where = chance.choice([manifest, _leaf(manifest, chance)])
    name = chance.choice(sorted(where.keys() - {"entry_sha256"}))
    if chance.random() < 0.5:
        del where[name]
    else:
        where[name] = chance.choice([odd for odd in ODD if not (name == "extra" and isinstance(odd, dict))])


def leaves(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    """One missing, twice, or all in another order."""
    entries = manifest["leaves"]
    i = chance.randrange(len(entries))
    manifest["leaves"] = chance.choice([entries[:i] + entries[i + 1:], entries[:i] + entries[i:i + 1] + entries[i:],
                                        [*entries[1:], entries[0]], {str(n): e for n, e in enumerate(entries)},
                                        [*entries, {}], [*entries, None]])


def number(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    """A Python number in place of an array."""
    entry = _leaf(manifest, chance)
    kind = chance.choice(["int", "float", "complex", "bool", "eval", None])
    manifest["leaves"][manifest["leaves"].index(entry)] = {"path": entry["path"], "python": kind,
                                                           "value": chance.choice(ODD)}


def text(manifest: Manifest, folder: Path, chance: random.Random) -> bytes:
    """No manifest at all."""
    whole = json.dumps(manifest).encode()
    return chance.choice([b"", b"null", b"[]", b"{}", b"1e400", b"[" * 100_000, b"\xff\xfe", b"\0" * 100, whole[:-1],
                          whole + whole, b'{"a":' * 50_000, whole.decode().encode("utf-16")])


def special(manifest: Manifest, folder: Path, chance: random.Random) -> None:
    """A leaf that is no file of its own: read, some would wait for ever and others fill the memory."""
    entry = _leaf(manifest, chance)
    place = folder / entry["file"]
    place.unlink()
    kind = chance.choice(["pipe", "/dev/zero", "/dev/full", "other", "loop", "huge", "huge and as it claims",
                          "directory"])
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "directory":
        place.mkdir()
    elif kind.startswith("huge"):
        with open(place, "wb") as sparse:
            sparse.truncate(10**10)
        if kind != "huge":
            entry |= {"shape": [10**10 // 4], "dtype": "float32"}
    else:
        place.symlink_to({"other": folder.parent / "step_00000001" / entry["file"], "loop": place}.get(kind, kind))


EDITS: dict[str, Callable[[Manifest, Path, random.Random], bytes | None]] = {
    "shape": shape, "dtype": dtype, "byte order, scalar, key": meaning, "file name": file, "hash of a leaf": digest,
    "path": path, "a field missing or odd": field, "leaves missing, twice": leaves, "a number in place of it": number,
    "no manifest": text, "pipe, link, 10 GB": special}
VERDICTS = ("older loaded, reported", "newer loaded, as it was", "own error", "foreign error", "wrong")


def edits(n: int, seed: int) -> Tally:
    """n edits, dealt over their kinds, and the table of what the loads did."""
    chance, outcomes = random.Random(seed), collections.Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        older = begin(next(iter(KINDS)))[0]
        newer = older._replace(step=older.step + 1)
        checkpoint.save(folder / "good", 1, older, extra={"note": "older"})
        checkpoint.save(folder / "good", 2, newer, extra={"note": "newer"})
        for i in progress(range(n), "edit"):
            name = list(EDITS)[i % len(EDITS)]
            shutil.copytree(folder / "good", folder / "bad")
            edit(folder / "bad" / "step_00000002", EDITS[name], chance)
            outcomes[name, _verdict(folder / "bad", older, newer)] += 1
            shutil.rmtree(folder / "bad")
    say(table(("edit, every hash fits", *VERDICTS), [(name, *(outcomes[name, v] for v in VERDICTS)) for name in EDITS]))
    total = {v: sum(outcomes[name, v] for name in EDITS) for v in VERDICTS}
    return Tally("manifests edited, hashes fit", total[VERDICTS[0]] + total[VERDICTS[1]], *(
        total[v] for v in VERDICTS[2:]))


def edit(folder: Path, change: Callable[[Manifest, Path, random.Random], bytes | None], chance: random.Random) -> None:
    """Changes a checkpoint, and then its hashes."""
    place = folder / "manifest.json"
    manifest = json.loads(place.read_bytes())
    written = change(manifest, folder, chance)
    if written is None:
        if chance.random() < 0.5 and isinstance(manifest.get("leaves"), list):
            for entry in manifest["leaves"]:
                if isinstance(entry, dict) and "entry_sha256" in entry:
                    entry["entry_sha256"] = _entry_hash(entry)
        written = json.dumps(manifest).encode()
    place.write_bytes(written)
    (folder / "manifest.sha256").write_text(hashlib.sha256(written).hexdigest())


def _verdict(directory: Path, older: Any, newer: Any) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with warnings.catch_warnings(record=True) as reported:
        warnings.simplefilter("always")
        try:
            with _limited_time():
                loaded = checkpoint.load(directory, older)
        except (checkpoint.BadCheckpoint, InputError):
            return "own error"
        except Exception:  # what a stranger's error is counted as
            return "foreign error"
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > MEMORY:
        return "wrong"
    expected = {1: older, 2: newer}[loaded.step]
    if not equal(loaded.tree, expected):
        return "wrong"
    if loaded.step == 2:
        return "newer loaded, as it was" if loaded.extra == {"note": "newer"} else "wrong"
    return "older loaded, reported" if reported else "wrong"


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    def too_long(number: int, frame: Any) -> None:
        raise TimeoutError(f"no answer in {SECONDS} s")

    handler = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
