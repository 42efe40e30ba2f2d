"""Chunks by the rule of CoNLL, worked out by hand."""

import pytest

from jaxnn.checks import InputError
from jaxnn.text import Chunk, chunk_scores, chunks_of

# Each sentence's tags, and the chunks that conlleval finds in them: (first word, behind the last, kind).
BY_HAND = [
    ("O O O", []),
    ("B-city", [(0, 1, "city")]),
    ("B-city I-city O B-time", [(0, 2, "city"), (3, 4, "time")]),
    ("B-city B-city I-city", [(0, 1, "city"), (1, 3, "city")]),
    ("I-city I-city O", [(0, 2, "city")]),  # an I that continues nothing begins a chunk
    ("O I-city O", [(1, 2, "city")]),
    ("B-city I-time", [(0, 1, "city"), (1, 2, "time")]),  # of another kind
    ("B-city I-time I-city", [(0, 1, "city"), (1, 2, "time"), (2, 3, "city")]),
    ("B-a I-a O I-a", [(0, 2, "a"), (3, 4, "a")]),
    ("I-a B-a", [(0, 1, "a"), (1, 2, "a")]),
    ("B-best-rating I-best-rating", [(0, 2, "best-rating")]),
    ("", []),
]


@pytest.mark.parametrize(("tags", "chunks"), BY_HAND)
def test_chunks_of_a_sentence(tags, chunks):
    assert chunks_of(tags.split()) == [Chunk(*chunk) for chunk in chunks]


# Four sentences; true on the left. Of 6 true chunks and 6 found ones, 3 are right:
#   city 0-2 is right; time 3-4 is missed
#   artist 1-3 is found one word too short: wrong, though it overlaps
#   track 0-1 is right, and so is artist 2-4, whose tags differ, for an I that continues nothing begins a chunk
#   city 0-1 is found as time: wrong; and time 2-3 is found where nothing is, as is city 3-4
TRUE = ["B-city I-city O B-time", "O B-artist I-artist", "B-track O B-artist I-artist", "B-city O O O"]
FOUND = ["B-city I-city O O", "O B-artist O", "B-track O I-artist I-artist", "B-time O B-time B-city"]


def test_scores_worked_out_by_hand():
    scores = chunk_scores([tags.split() for tags in FOUND], [tags.split() for tags in TRUE])
    # Found: city, artist, track, artist, time, time, city: 7. True: city, time, artist, track, artist, city: 6.
    assert scores.precision == pytest.approx(3 / 7) and scores.recall == pytest.approx(3 / 6)
    assert scores.f1 == pytest.approx(6 / 13)
    assert scores.by_kind == {"artist": (pytest.approx(1 / 2), 2), "city": (pytest.approx(1 / 2), 2), "time": (0.0, 1),
                              "track": (1.0, 1)}


def test_ends_of_the_scale():
    tags = [["B-a", "O"], ["O", "I-b"]]
    assert chunk_scores(tags, tags)[:3] == (1, 1, 1)
    assert chunk_scores([["O", "O"], ["O", "O"]], tags)[:3] == (0, 0, 0)
    assert chunk_scores([["B-a"]], [["O"]])[:3] == (0, 0, 0)


@pytest.mark.parametrize("tag", ["X-a", "B", "B-", "", 3, "b-a"])
def test_tags_that_are_none(tag):
    with pytest.raises(InputError, match=r"chunks_of expects tags O, B-x and I-x; got"):
        chunks_of(["O", tag])


def test_sentences_that_do_not_fit():
    with pytest.raises(InputError, match="as many sentences predicted as true, at least one; got 1 and 2"):
        chunk_scores([["O"]], [["O"], ["O"]])
    with pytest.raises(InputError, match="got 0 and 0"):
        chunk_scores([], [])
    with pytest.raises(InputError, match="as many tags predicted as true in sentence 1; got 1 and 2"):
        chunk_scores([["O"], ["O"]], [["O"], ["O", "O"]])
