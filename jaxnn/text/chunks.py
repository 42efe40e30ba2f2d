"""Chunks of words that tags mark, and how many of them a tagger finds: the rule of CoNLL-2000.

A tag is O, or B-x where a chunk of kind x begins, or I-x inside it. A chunk ends before O, before B, and before a tag
of another kind; an I-x that continues no chunk of its kind begins one. A chunk counts as found if its kind, its first
and its last word are right, all three.
Source: Tjong Kim Sang & Buchholz (2000), and their program conlleval.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from jaxnn.checks import expect

__all__ = ["Chunk", "ChunkScores", "chunk_scores", "chunks_of"]


class Chunk(NamedTuple):
    """start: of the first word; end: behind the last."""

    start: int
    end: int
    kind: str


class ChunkScores(NamedTuple):
    """precision: the part of the chunks found that are right; recall: the part of the true ones that are found; f1:
    2 · precision · recall / (precision + recall). Each is 0 where there is nothing to divide by.

    by_kind: {kind: (f1, true chunks)}.
    """

    precision: float
    recall: float
    f1: float
    by_kind: dict[str, tuple[float, int]]


def chunks_of(tags: Sequence[str]) -> list[Chunk]:
    """The chunks of a sentence.

    Raises:
      InputError: a tag is none of O, B-x and I-x.

    >>> chunks_of("B-a I-a I-b O I-b B-b".split())
    [Chunk(start=0, end=2, kind='a'), Chunk(start=2, end=3, kind='b'), Chunk(start=4, end=5, kind='b'), \
Chunk(start=5, end=6, kind='b')]
    """
    chunks: list[Chunk] = []
    begun: tuple[int, str] | None = None
    for i, tag in enumerate([*tags, "O"]):
        is_tag = isinstance(tag, str) and (tag == "O" or (tag[:2] in ("B-", "I-") and len(tag) > 2))
        expect(is_tag, "chunks_of", "tags O, B-x and I-x", repr(tag))
        if begun is not None and (tag == "O" or tag[0] == "B" or tag[2:] != begun[1]):
            chunks.append(Chunk(begun[0], i, begun[1]))
            begun = None
        if tag != "O" and begun is None:
            begun = i, tag[2:]
    return chunks


def chunk_scores(predicted: Sequence[Sequence[str]], true: Sequence[Sequence[str]]) -> ChunkScores:
    """Precision, recall and F1 over all sentences together.

    Args:
      predicted, true: for each sentence its tags, equally many.
    Raises:
      InputError: the numbers of sentences or of tags differ, there is no sentence, or as `chunks_of`.

    >>> chunk_scores([["B-a", "I-a", "O"]], [["B-a", "I-a", "B-b"]])[:3]
    (1.0, 0.5, 0.6666666666666666)
    """
    who = "chunk_scores"
    expect(len(predicted) == len(true) and len(true) > 0, who, "as many sentences predicted as true, at least one",
           f"{len(predicted)} and {len(true)}")
    n_found: Counter[str] = Counter()
    n_true: Counter[str] = Counter()
    n_right: Counter[str] = Counter()
    for i, (ours, theirs) in enumerate(zip(predicted, true, strict=True)):
        expect(len(ours) == len(theirs), who, f"as many tags predicted as true in sentence {i}",
               f"{len(ours)} and {len(theirs)}")
        found, right = set(chunks_of(ours)), set(chunks_of(theirs))
        n_found.update(chunk.kind for chunk in found)
        n_true.update(chunk.kind for chunk in right)
        n_right.update(chunk.kind for chunk in found & right)
    by_kind = {kind: (_f1(n_right[kind], n_found[kind], n_true[kind])[2], n_true[kind])
               for kind in sorted(n_found | n_true)}
    return ChunkScores(*_f1(n_right.total(), n_found.total(), n_true.total()), by_kind)


def _f1(right: int, found: int, true: int) -> tuple[float, float, float]:
    precision, recall = right / found if found else 0.0, right / true if true else 0.0
    return precision, recall, 2 * right / (found + true) if found + true else 0.0
