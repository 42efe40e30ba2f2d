"""Dialogs about restaurants: the five dialog tasks bAbI, their candidates and their knowledge base.

    1 hi<TAB>hello what can i help you with today
    2 <SILENCE><TAB>api_call italian paris two cheap
    3 resto_paris_cheap_italian_1stars R_phone resto_paris_cheap_italian_1stars_phone

A line is numbered from 1 in its dialog, and an empty line ends a dialog. A line with a tabulator is a turn: what the
user says, and the response. One without is a fact that the knowledge base gives. Task 1 asks for what a call of the
knowledge base needs, 2 changes the call, 3 proposes restaurants, 4 gives phone numbers and addresses, and 5 is all of
these in one dialog.
"""

import io
import itertools
import lzma
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxnn.checks import as_path, expect, is_integer
from jaxnn.data.directory import find
from jaxnn.data.lines import lines_of
from jaxnn.file_errors import BadFile

__all__ = ["PROPERTIES", "SILENCE", "TASKS", "RestaurantDialogs", "Turn", "load_dialogs", "parse_candidates",
           "parse_dialogs", "parse_knowledge", "read_dialogs"]

TASKS = {1: "task1_API_calls", 2: "task2_API_refine", 3: "task3_options", 4: "task4_phone_address",
         5: "task5_full_dialogs"}
PARTS = {"train": "train", "dev": "dev", "test": "test", "test_oov": "test_OOV"}
SILENCE = "<SILENCE>"  # what the user says where the system goes on by itself
PROPERTIES = ("R_cuisine", "R_location", "R_price", "R_rating", "R_phone", "R_address", "R_number")
MAX_PACKED, MAX_UNPACKED = 2**22, 2**26  # bytes of the archive: 711,232 and 26.7 million
AGAIN = "get the file again"


class Turn(NamedTuple):
    """What the user says, the right response, and the facts that the knowledge base gave since the turn before."""

    facts: tuple[str, ...]
    user: str
    response: str


class RestaurantDialogs(NamedTuple):
    """One task. A dialog is a tuple of turns.

    train, dev, test: 1,000 dialogs each.
    test_oov: 1,000 dialogs with cuisines, places and restaurants that stand in no other part.
    candidates: the responses to choose from, those of all tasks; every right response is one of them.
    knowledge: for each restaurant {property: value}, the seven PROPERTIES.
    """

    train: tuple[tuple[Turn, ...], ...]
    dev: tuple[tuple[Turn, ...], ...]
    test: tuple[tuple[Turn, ...], ...]
    test_oov: tuple[tuple[Turn, ...], ...]
    candidates: tuple[str, ...]
    knowledge: dict[str, dict[str, str]]


def load_dialogs(task: int, directory: str | Path | None = None) -> RestaurantDialogs:
    """One of the tasks 1 to 5, read from c5/dialog/dialog_babi_tasks1-5.tar.xz.

    Raises:
      MissingData: the archive is not there.
      BadFile: as of `read_dialogs`.
    Source: Bordes, Boureau & Weston (2017), Learning end-to-end goal-oriented dialog; CC BY 3.0.
    """
    return read_dialogs(find("c5/dialog/dialog_babi_tasks1-5.tar.xz", directory, instead="made dialogs",
                             how_to_get="pack the files of the dialog bAbI tasks 1 to 5, babi_candidates.txt and "
                             "babi_kb.txt with tar cJf"), task)


def read_dialogs(path: str | Path, task: int) -> RestaurantDialogs:
    """One task of an archive (.tar.xz) with the published names, in whatever folder; nothing is unpacked to disk.

    Raises:
      FileNotFoundError: there is no such file.
      InputError: there is no such task.
      BadFile: the archive is damaged or too large; a file is missing, empty or not UTF-8; a line is cut off or out of
        order; a response is none of the candidates; a restaurant lacks a property.
    """
    expect(is_integer(task) and task in TASKS, "read_dialogs", "task, an integer in 1 .. 5", repr(task))
    names = {part: f"{TASKS[task]}_{ending}.txt" for part, ending in PARTS.items()}
    names |= {"candidates": "babi_candidates.txt", "knowledge": "babi_kb.txt"}
    contents = _members(as_path("read_dialogs", "path", path), set(names.values()))
    lines = {part: lines_of(f"{path}: {name}", contents[name]) for part, name in names.items()}
    who = {part: f"{path}: {name}" for part, name in names.items()}
    candidates = parse_candidates(lines["candidates"], who["candidates"])
    parts = {part: parse_dialogs(lines[part], candidates, who[part]) for part in PARTS}
    return RestaurantDialogs(**parts, candidates=candidates,
                             knowledge=parse_knowledge(lines["knowledge"], who["knowledge"]))


def parse_dialogs(lines: Sequence[str], candidates: Sequence[str], who: str) -> tuple[tuple[Turn, ...], ...]:
    """The dialogs of a file's lines; who stands in the messages of BadFile."""
    known = set(candidates)
    dialogs: list[tuple[Turn, ...]] = []
    turns: list[Turn] = []
    facts: list[str] = []
    n = 0
    for number, line in enumerate([*lines, ""], 1):
        at = f"{who}, line {number},"
        if not line:
            _expect(not facts, at, "a turn behind the facts", f"a dialog that ends with {facts[-1:]}")
            if turns:
                dialogs.append(tuple(turns))
            turns, n = [], 0
            continue
        n += 1
        place, _, text = line.partition(" ")
        _expect(place == str(n), at, f"the number {n} and a blank in front", repr(line[:40]))
        if "\t" not in text:
            _expect(_is_fact(text), at, "a turn, with a tabulator before the response, or a fact of three words",
                    repr(text[:60]))
            facts.append(text)
            continue
        user, _, response = text.partition("\t")
        _expect(bool(user.strip() and response.strip()) and "\t" not in response, at,
                "an utterance, one tabulator and a response", repr(text[:60]))
        _expect(response in known, at, f"a response that is one of the {len(known):,} candidates", repr(response[:80]),
                "get the file again, or add the response to babi_candidates.txt")
        turns.append(Turn(tuple(facts), user, response))
        facts = []
    _expect(bool(dialogs), who, "at least one dialog", "none")
    return tuple(dialogs)


def parse_candidates(lines: Sequence[str], who: str) -> tuple[str, ...]:
    """The responses of babi_candidates.txt, each line "1 " and a response."""
    for number, line in enumerate(lines, 1):
        _expect(line.startswith("1 ") and bool(line[2:].strip()) and "\t" not in line, f"{who}, line {number},",
                "'1', a blank and a response", repr(line[:60]))
    found = tuple(line[2:] for line in lines)
    repeated = [a for a, b in itertools.pairwise(sorted(found)) if a == b]
    _expect(not repeated, who, "each response once", f"{repeated[:1]} twice")
    return found


def parse_knowledge(lines: Sequence[str], who: str) -> dict[str, dict[str, str]]:
    """{restaurant: {property: value}} of babi_kb.txt, each line "1 RESTAURANT PROPERTY<TAB>VALUE"."""
    found: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, 1):
        at = f"{who}, line {number},"
        match = re.fullmatch(r"1 (\S+) (\S+)\t(\S+)", line)
        if match is None:
            raise _bad(at, "'1', a restaurant, a property, a tabulator and a value", repr(line[:60]))
        name, key, value = match.groups()
        _expect(key in PROPERTIES, at, f"one of the properties {', '.join(PROPERTIES)}", key)
        values = found.setdefault(name, {})
        _expect(key not in values, at, "each property once", f"{key} of {name} twice")
        values[key] = value
    for name, values in found.items():
        missing = [key for key in PROPERTIES if key not in values]
        _expect(not missing, who, f"the {len(PROPERTIES)} properties of each restaurant", f"{name} without {missing}")
    return found


def _is_fact(text: str) -> bool:
    words = text.split(" ")
    return len(words) == 3 and all(words) and words[1] in PROPERTIES


def _members(path: Path, names: set[str]) -> dict[str, bytes]:
    """The contents of the files by name, whatever folder they are in."""
    if not path.exists():
        raise FileNotFoundError(f"{path} expects an archive .tar.xz; got no such file; name the place of the archive")
    _expect(path.is_file(), str(path), "a regular file", "another kind")  # reading from a pipe would wait for ever
    size = path.stat().st_size
    _expect(size <= MAX_PACKED, str(path), f"an archive of at most {MAX_PACKED:,} bytes", f"{size:,}")
    found: dict[str, bytes] = {}
    try:
        # Unpacked in memory, with a limit, before the archive's own sizes are read.
        packed = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=2**28)
        unpacked = packed.decompress(path.read_bytes(), max_length=MAX_UNPACKED)
        _expect(packed.eof, str(path), f"a whole archive of at most {MAX_UNPACKED:,} bytes",
                f"one that does not end within {len(unpacked):,} bytes")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            for entry in archive:
                _expect(entry.size >= 0, str(path), "sizes that are not negative", str(entry.size))
                name = Path(entry.name).name
                if name in names and entry.isreg():
                    _expect(name not in found, str(path), "one file of each name", f"two of {name}")
                    file = archive.extractfile(entry)
                    found[name] = b"" if file is None else file.read()
                    _expect(len(found[name]) == entry.size, str(path), f"{entry.size:,} bytes of {name}",
                            f"{len(found[name]):,}")
    except BadFile:
        raise
    except Exception as error:  # damaged archives raise many kinds
        raise BadFile(f"{path} expects a whole archive .tar.xz; got {size:,} bytes that do not unpack "
                      f"({str(error) or type(error).__name__}); {AGAIN}") from error
    missing = sorted(names - set(found))
    _expect(not missing, str(path), f"the {len(names)} files of the task", f"no {', '.join(missing)}")
    return found


def _expect(condition: bool, who: str, expected: str, actual: str, advice: str = AGAIN) -> None:
    if not condition:
        raise _bad(who, expected, actual, advice)


def _bad(who: str, expected: str, actual: str, advice: str = AGAIN) -> BadFile:
    return BadFile(f"{who} expects {expected}; got {actual}; {advice}")
