"""SNIPS and files of its form: sentences, slots, intents."""

import pytest

from jaxnn.data import BadFile, MissingData, Utterance, load_snips
from jaxnn.data.snips import read_utterances
from tests import course


@pytest.mark.skipif(course.data_directory() is None, reason="the data are not here: set JAXNN_DATA")
def test_the_published_sentences():
    data = load_snips()
    assert tuple(map(len, data)) == (13_084, 700, 700)
    assert len({u.intent for u in data.train}) == 7
    assert len({slot[2:] for u in data.train for slot in u.slots} - {""}) == 39
    first = data.test[0]
    assert " ".join(first.words) == "add sabrina salerno to the grime instrumentals playlist"
    assert " ".join(first.slots) == "O B-artist I-artist O O B-playlist I-playlist O"
    assert first.intent == "AddToPlaylist"
    assert sum(len(u.words) for u in data.test) == 6354


def files(folder, words="play bach\nit rains\n", slots="O B-artist\nO O\n", intents="Play\nTell\n"):
    paths = [folder / name for name in ("seq.in", "seq.out", "label")]
    for path, text in zip(paths, (words, slots, intents)):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return paths


def test_three_files_make_utterances(tmp_path):
    assert read_utterances(*files(tmp_path, words="Play BACH \r\nit rains\r\n")) == [
        Utterance(["play", "bach"], ["O", "B-artist"], "Play"), Utterance(["it", "rains"], ["O", "O"], "Tell")]


@pytest.mark.parametrize(("changed", "message"), [
    ({"words": "play bach\n"}, "expects as many lines as its slots and intents; got 1, 2 and 2"),
    ({"words": "play bach\n \n"}, "seq.in, line 2, expects a sentence; got ' '"),
    ({"slots": "O\nO O\n"}, "seq.out, line 1, expects 2 slots, one for each word; got 1"),
    ({"slots": "O X-artist\nO O\n"}, "seq.out, line 1, expects slots O, B-x and I-x; got 'X-artist'"),
    ({"slots": "O B-\nO O\n"}, "got 'B-'"),
    ({"intents": "Play\n\n"}, "label, line 2, expects one intent; got ''"),
    ({"intents": "Play\nTell me\n"}, "label, line 2, expects one intent; got 'Tell me'"),
    ({"words": ""}, "expects at least one line; got an empty file"),
    ({"words": "play café\nit rains\n".encode("latin1")}, "expects text in UTF-8"),
])
def test_files_that_do_not_fit(tmp_path, changed, message):
    with pytest.raises(BadFile) as refused:
        read_utterances(*files(tmp_path, **changed))
    assert message in str(refused.value)


def test_a_set_with_a_strange_intent_or_a_missing_file(tmp_path):
    for part in ("train", "valid", "test"):
        (tmp_path / "c5" / "snips" / part).mkdir(parents=True)
        files(tmp_path / "c5" / "snips" / part, intents="Play\nTell\n" if part != "test" else "Play\nSing\n")
    with pytest.raises(BadFile, match=r"test expects intents of the training set; got \['Sing'\]"):
        load_snips(tmp_path)
    (tmp_path / "c5" / "snips" / "valid" / "label").unlink()
    with pytest.raises(MissingData, match=r"c5/snips/valid/label was expected at .*SlotGated-SLU"):
        load_snips(tmp_path)
