"""SNIPS: what people say to a voice assistant, what they want, and which words tell the details."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxnn.data.directory import find
from jaxnn.data.lines import read_text_lines
from jaxnn.file_errors import BadFile

__all__ = ["Snips", "Utterance", "load_snips", "read_utterances"]

PARTS = {"train": "train", "dev": "valid", "test": "test"}  # our name, and the folder's
FILES = ("seq.in", "seq.out", "label")


class Utterance(NamedTuple):
    """words: in small letters. slots: for each word O, or B-x where a slot x begins, or I-x inside it. intent: of the
    whole."""

    words: list[str]
    slots: list[str]
    intent: str


class Snips(NamedTuple):
    """13,084 utterances to train on, 700 dev, 700 test; 7 intents, 39 kinds of slots."""

    train: list[Utterance]
    dev: list[Utterance]
    test: list[Utterance]


def load_snips(directory: str | Path | None = None, *, instead: str = "utterances of your own") -> Snips:
    """Reads c5/snips/train, valid and test: in each a sentence in a line of seq.in, its slots in seq.out, its intent in
    label.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: a file is not there.
      BadFile: the files do not fit together, or a test utterance has an intent that no training one has.
    Source: Coucke et al. (2018), Snips voice platform; the split of Goo et al. (2018).
    """
    parts = {}
    for part, folder in PARTS.items():
        paths = [find(f"c5/snips/{folder}/{name}", directory, instead=instead, how_to_get=f"get data/snips/{folder}/"
                      f"{name} of the repository MiuLab/SlotGated-SLU") for name in FILES]
        parts[part] = read_utterances(*paths)
    known = {utterance.intent for utterance in parts["train"]}
    for part, utterances in parts.items():
        strange = {utterance.intent for utterance in utterances} - known
        if strange:
            raise BadFile(f"{PARTS[part]} expects intents of the training set; got {sorted(strange)}; check that these "
                          "are the right files")
    return Snips(**parts)


def read_utterances(words: str | Path, slots: str | Path, intents: str | Path) -> list[Utterance]:
    """Three files with a line for each utterance.

    Raises:
      BadFile: the files have not equally many lines; a line is empty; a sentence has not as many slots as words; or a
        slot is none of O, B-x and I-x. The message names file and line.
    """
    lines = [read_text_lines(path) for path in (words, slots, intents)]
    if len({len(part) for part in lines}) != 1:
        raise BadFile(f"{words} expects as many lines as its slots and intents; got {len(lines[0]):,}, "
                      f"{len(lines[1]):,} and {len(lines[2]):,}; get the files again")
    utterances = []
    for n, (text, tags, intent) in enumerate(zip(*lines, strict=True), 1):
        utterance = Utterance(text.lower().split(), tags.split(), intent.strip())
        if not utterance.words or len(utterance.intent.split()) != 1:
            empty = words if not utterance.words else intents
            raise BadFile(f"{empty}, line {n}, expects {'a sentence' if empty is words else 'one intent'}; got "
                          f"{(text if empty is words else intent)!r}; get the file again")
        if len(utterance.slots) != len(utterance.words):
            raise BadFile(f"{slots}, line {n}, expects {len(utterance.words)} slots, one for each word; got "
                          f"{len(utterance.slots)}; get the files again")
        _expect_slots(f"{slots}, line {n},", utterance.slots)
        utterances.append(utterance)
    return utterances


def _expect_slots(who: str, slots: Sequence[str]) -> None:
    for slot in slots:
        if slot != "O" and (slot[:2] not in ("B-", "I-") or len(slot) < 3):
            raise BadFile(f"{who} expects slots O, B-x and I-x; got {slot!r}; get the file again")
