"""Stories with questions: what is read, each answer by the meaning of its facts, and what is refused in words."""

import json
import re

import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.data import BadFile, MissingData, load_babi, read_babi
from jaxnn.data.babi import words_of
from tests import course

NEEDS_DATA = pytest.mark.skipif(course.data_directory() is None,
                                reason="the course's data are not here: set JAXNN_DATA")
OPPOSITE = {"north": "south", "south": "north", "east": "west", "west": "east"}
STORY = {"id": ["1", "2", "3", "4"], "type": [0, 1, 0, 1], "answer": ["", "shed", "", "barn"],
         "text": ["The shed is north of the barn.", "What is north of the barn?", "The well is west of the shed.",
                  "What is the shed north of?"], "supporting_ids": [[], ["1"], [], ["1"]]}


def line(**changes):
    return json.dumps({"story": STORY | changes})


def write(path, *lines, encoding="utf-8"):
    file = path / "stories.jsonl"
    file.write_text("\n".join(lines) + "\n", encoding=encoding)
    return file


def test_a_question_has_all_facts_before_it(tmp_path):
    first, second = read_babi(write(tmp_path, line()))
    assert first.facts == ("The shed is north of the barn.",) and first.answer == "shed"
    assert second.facts == ("The shed is north of the barn.", "The well is west of the shed.")
    assert (first.supporting, second.supporting) == ((0,), (0,))


def test_words():
    assert words_of(" What's  the \"barn\", east of?!") == ["what's", "the", "barn", "east", "of"]
    with pytest.raises(InputError, match="a sentence, a text; got list"):
        words_of(["a"])


@pytest.mark.parametrize(("text", "message"), [
    (line()[:-30], "expects a whole story as JSON; got "),
    ("", "got an empty line"),
    ("[" * 100_000, "expects a whole story as JSON"),
    ('{"story": 3}', "with the lists id, type, text, answer, supporting_ids"),
    ("7", "with the lists"),
    (line(type=[0, 1, 0]), "lists of one length; got "),
    (line(type=[0, 1, 0, 2]), "type 0 for a fact and 1 for a question"),
    (line(type=[0, True, 0, 1]), "type 0 for a fact"),
    (line(type=[1, 1, 0, 1], answer=["x", "shed", "", "barn"]), "a fact before each question; got none before 'The"),
    (line(type=[0, 0, 0, 0], answer=[""] * 4, supporting_ids=[[]] * 4), "a question in each story; got 4 facts alone"),
    (line(answer=["", "", "", "barn"]), "an answer to each question; got none to 'What is north"),
    (line(answer=["barn", "shed", "", "barn"]), "a fact without an answer; got 'barn'"),
    (line(supporting_ids=[[], ["3"], [], ["1"]]), "facts that stand before the question; got the ids ['3']"),
    (line(id=["1", "2", "2", "4"]), "an id of its own for each sentence; got '2' twice"),
    (line(text=["The shed.", "?", "The well.", "What?"]), "sentences of at least one word"),
    (line(text=["The \ud800.", "What?", "The well.", "What?"]), "sentences of at least one word"),
    (line(answer=["", 3, "", "barn"]), "answer, texts"),
    (line(supporting_ids=[[], "1", [], []]), "supporting_ids, lists of ids"),
])
def test_refused_stories(tmp_path, text, message):
    file = write(tmp_path, line(), text)
    with pytest.raises(BadFile, match=re.escape(message)) as error:
        read_babi(file)
    assert str(error.value).startswith(f"{file}, line 2,") and str(error.value).count(";") == 2


def test_refused_files(tmp_path):
    with pytest.raises(BadFile, match=r"UTF-8; got b'\\xfc.* at byte 288, line 2"):
        read_babi(write(tmp_path, line(), '{"story": "ü"}', encoding="latin-1"))
    with pytest.raises(BadFile, match="text in UTF-8"):
        read_babi(write(tmp_path, line(), encoding="utf-16"))
    (tmp_path / "stories.jsonl").write_bytes(b"")
    with pytest.raises(BadFile, match="an empty file"):
        read_babi(tmp_path / "stories.jsonl")
    with pytest.raises(BadFile, match="got a directory"):
        read_babi(tmp_path)
    with pytest.raises(MissingData, match=r"c5/qa_babi/train\.jsonl"):
        load_babi("train", tmp_path)
    with pytest.raises(InputError, match="'train' or 'test'; got 'dev'"):
        load_babi("dev", tmp_path)


def test_mutations_raise_our_errors_alone(tmp_path):
    """A file of two stories with one byte changed, left out, or cut off there."""
    whole, file, rng = (line() + "\n" + line() + "\n").encode(), tmp_path / "stories.jsonl", np.random.default_rng(0)
    refused = 0
    for number in range(1200):
        place = int(rng.integers(len(whole)))
        byte = bytes([rng.integers(256)])
        file.write_bytes([whole[:place] + byte + whole[place + 1:], whole[:place] + whole[place + 1:], whole[:place]][
            number % 3])
        try:
            assert all(q.facts and q.question and q.answer for q in read_babi(file))
        except BadFile:
            refused += 1
    assert refused > 300


@NEEDS_DATA
def test_the_published_stories():
    train, test = load_babi("train"), load_babi("test")
    assert (len(train), len(test)) == (1000, 1000)
    assert train[0].facts == ("The office is north of the kitchen.", "The garden is south of the kitchen.")
    assert train[0][1:] == ("What is north of the kitchen?", "office", (0,))
    assert len({q for q in test if q in set(train)}) == 124  # of 1,000, the same story and question
    for q in (*train, *test):
        relations = [re.fullmatch(r"The (\w+) is (\w+) of the (\w+)\.", fact).groups() for fact in q.facts]
        if asked := re.fullmatch(r"What is (\w+) of the (\w+)\?", q.question):
            (place,) = [i for i, (_, way, b) in enumerate(relations) if (way, b) == asked.groups()]
        else:  # asked the other way round
            b, way = re.fullmatch(r"What is the (\w+) (\w+) of\?", q.question).groups()
            (place,) = [i for i, relation in enumerate(relations) if relation[1:] == (OPPOSITE[way], b)]
        assert (q.answer, q.supporting) == (relations[place][0], (place,))
