"""Stories with questions: the question-answering tasks bAbI.

    The office is north of the kitchen.
    The garden is south of the kitchen.
    What is north of the kitchen?            office, by the first fact

A file has one story on each line, as JSON: {"story": {"id", "type", "text", "answer", "supporting_ids"}}, five lists
with an entry for each sentence. type is 0 for a fact and 1 for a question; a fact has no answer.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxnn.checks import expect
from jaxnn.data.directory import find
from jaxnn.data.lines import read_text_lines
from jaxnn.file_errors import BadFile

__all__ = ["Question", "load_babi", "read_babi", "words_of"]

PARTS = ("train", "test")
LISTS = ("id", "type", "text", "answer", "supporting_ids")
FACT, QUESTION = 0, 1
HOW = "write the file again, one whole story on each line"


class Question(NamedTuple):
    """A question, with all facts of its story that stand before it.

    facts, question, answer: as they are written, with capitals and punctuation.
    supporting: places in `facts` of those that the answer follows from; () where the file names none.
    """

    facts: tuple[str, ...]
    question: str
    answer: str
    supporting: tuple[int, ...]


def load_babi(part: str, directory: str | Path | None = None) -> tuple[Question, ...]:
    """Task 4 of bAbI (relations of two arguments, in English), 1,000 questions of each part: c5/qa_babi/PART.jsonl.

    Args:
      part: "train" or "test".
      directory: the data directory, as in `data_directory`.
    Raises:
      MissingData: the file is not there.
      BadFile: as of `read_babi`.
    Source: Weston et al. (2015), Towards AI-complete question answering; CC BY 3.0.
    """
    expect(part in PARTS, "load_babi", "part, 'train' or 'test'", repr(part))
    return read_babi(find(f"c5/qa_babi/{part}.jsonl", directory, instead="made stories",
                          how_to_get="write the rows of bAbI en-qa4 as JSON, one on each line"))


def read_babi(path: str | Path) -> tuple[Question, ...]:
    """The questions of a file, in its order; a story with two questions gives two.

    Raises:
      FileNotFoundError: there is no such file.
      BadFile: the file is empty or not UTF-8; a line is no whole story; a story has no question, or a question has no
        fact before it, no answer, or is supported by a sentence that is no fact before it.
    """
    found: list[Question] = []
    for number, line in enumerate(read_text_lines(path), 1):
        found += _questions(f"{path}, line {number},", line)
    return tuple(found)


def words_of(sentence: str) -> list[str]:
    """The words of a sentence in small letters, without the punctuation around them.

    >>> words_of("What is the garden east of?")
    ['what', 'is', 'the', 'garden', 'east', 'of']
    """
    expect(isinstance(sentence, str), "words_of", "a sentence, a text", type(sentence).__name__)
    return [word for part in sentence.lower().split() if (word := part.strip(".,;:?!\"'()"))]


def _questions(who: str, line: str) -> list[Question]:
    story = _story(who, line)
    facts: dict[str, str] = {}
    numbers: set[str] = set()
    found = []
    for number, kind, text, answer, supporting in zip(*(story[name] for name in LISTS), strict=True):
        _expect(number not in numbers, who, "an id of its own for each sentence", f"{number!r} twice")
        numbers.add(number)
        if kind == FACT:
            _expect(not answer and not supporting, who, "a fact without an answer", f"{answer!r} for {text!r}")
            facts[number] = text
            continue
        _expect(bool(facts), who, "a fact before each question", f"none before {text!r}",
                "put the story in front of the question")
        _expect(bool(answer.strip()), who, "an answer to each question", f"none to {text!r}")
        strangers = [other for other in supporting if other not in facts]
        _expect(not strangers, who, "support by facts that stand before the question", f"the ids {strangers[:3]}")
        places = list(facts)
        found.append(Question(tuple(facts.values()), text, answer, tuple(map(places.index, supporting))))
    _expect(bool(found), who, "a question in each story", f"{len(facts)} facts alone")
    return found


def _story(who: str, line: str) -> dict[str, Any]:
    """The lists of a line, of one length, with entries of the right types."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        raise _bad(who, "a whole story as JSON", repr(line[-40:]) if line else "an empty line") from None
    story = record.get("story") if isinstance(record, dict) else None
    if not (isinstance(story, dict) and set(story) == set(LISTS) and all(isinstance(x, list) for x in story.values())):
        raise _bad(who, f'{{"story": {{...}}}} with the lists {", ".join(LISTS)}', repr(line[:60]))
    lengths = {name: len(story[name]) for name in LISTS}
    _expect(len(set(lengths.values())) == 1, who, "lists of one length", str(lengths))
    _expect(all(type(kind) is int and kind in (FACT, QUESTION) for kind in story["type"]), who,
            "type 0 for a fact and 1 for a question", repr(story["type"])[:60])
    _expect(_are_texts(story["text"]) and all(map(words_of, story["text"])), who, "sentences of at least one word",
            repr(story["text"])[:60])
    for name in ("id", "answer"):
        _expect(_are_texts(story[name]), who, f"{name}, texts", repr(story[name])[:60])
    _expect(all(isinstance(ids, list) and _are_texts(ids) for ids in story["supporting_ids"]), who,
            "supporting_ids, lists of ids", repr(story["supporting_ids"])[:60])
    return story


def _are_texts(values: Sequence[Any]) -> bool:
    """Whether all are texts that can be written: half of a surrogate pair cannot."""
    return all(isinstance(text, str) and not any("\ud800" <= c <= "\udfff" for c in text) for text in values)


def _expect(condition: bool, who: str, expected: str, actual: str, advice: str = HOW) -> None:
    if not condition:
        raise _bad(who, expected, actual, advice)


def _bad(who: str, expected: str, actual: str, advice: str = HOW) -> BadFile:
    return BadFile(f"{who} expects {expected}; got {actual}; {advice}")
