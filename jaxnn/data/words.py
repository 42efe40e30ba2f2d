"""Words: a corpus, pairs that people have rated, analogy questions, lists about gender, and where GloVe lies."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect
from jaxnn.data.directory import find
from jaxnn.data.lines import read_text_lines
from jaxnn.file_errors import BadFile

__all__ = ["GenderWords", "find_glove", "load_analogies", "load_definitions", "load_gender_words", "load_word_pairs"]

PAIRS = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
FROM_GENSIM = "copy it from the test data of the Python package gensim"
FROM_DEBIASWE = "copy it from the data folder of the repository tolga-b/debiaswe"


class GenderWords(NamedTuple):
    """Lists of Bolukbasi et al. (2016)."""

    definitional: tuple[tuple[str, str], ...]
    """Ten pairs such as ("woman", "man"), which span the direction."""
    equalize: tuple[tuple[str, str], ...]
    """Pairs such as ("monastery", "convent"), the male word first or not: as in the file."""
    specific: tuple[str, ...]
    """Words that are about gender, such as "she", and keep what they say of it."""
    professions: tuple[tuple[str, float, float], ...]
    """(word, how male by definition, how male by stereotype), each in -1 .. 1 as people rated it."""


def load_definitions(directory: str | Path | None = None, *, instead: str = "sentences of your own") -> list[str]:
    """The sentences of c5/words/gcide_wordnet.txt.xz: 4.64 million words of two dictionaries, in lower case.

    Raises:
      MissingData: the file is not there.
      BadFile: it is damaged or not UTF-8.
    """
    path = find("c5/words/gcide_wordnet.txt.xz", directory, instead=instead, how_to_get="write the definitions of "
                "Debian's packages dict-gcide and wordnet-base into it, one sentence a line, in lower case")
    return read_text_lines(path)


def load_word_pairs(name: str, directory: str | Path | None = None, *,
                    instead: str = "pairs of your own") -> tuple[tuple[str, str, float], ...]:
    """(word, word, how alike people find the two) of "wordsim353" (0 to 10) or "simlex999" (0 to 10).

    Raises:
      InputError: the name is neither.
      MissingData: the file is not there.
      BadFile: a line is no two words and a number with tabulators between, or there is none.
    Source: Finkelstein et al. (2002); Hill, Reichart & Korhonen (2015).
    """
    expect(name in PAIRS, "load_word_pairs", f"name, one of {', '.join(PAIRS)}", repr(name))
    path = find(f"c5/words/{PAIRS[name]}", directory, how_to_get=FROM_GENSIM, instead=instead)
    pairs = []
    for number, line in enumerate(read_text_lines(path), 1):
        if line.startswith("#") or not line.strip():
            continue
        fields = line.split("\t")
        try:
            rating = float(fields[2]) if len(fields) == 3 else float("nan")
        except ValueError:
            rating = float("nan")
        if not (np.isfinite(rating) and fields[0] and fields[1]):
            raise BadFile(f"{path} expects two words and a number in line {number}, with tabulators between; got "
                          f"{line[:60]!r}; get the file again")
        pairs.append((fields[0], fields[1], rating))
    if not pairs:
        raise BadFile(f"{path} expects pairs of words; got none; get the file again")
    return tuple(pairs)


def load_analogies(directory: str | Path | None = None, *,
                   instead: str = "questions of your own") -> dict[str, tuple[tuple[str, str, str, str], ...]]:
    """The sections of c5/words/questions-words.txt: 19,544 questions, four words each.

    Raises:
      MissingData: the file is not there.
      BadFile: a line is neither ": section" nor four words.
    Source: Mikolov et al. (2013a).
    """
    path = find("c5/words/questions-words.txt", directory, how_to_get=FROM_GENSIM, instead=instead)
    sections: dict[str, list[Any]] = {}
    section: list[Any] | None = None
    for number, line in enumerate(read_text_lines(path), 1):
        fields = line.split()
        if fields[:1] == [":"] and len(fields) == 2 and fields[1] not in sections:
            section = sections.setdefault(fields[1], [])
        elif len(fields) == 4 and section is not None:
            section.append(tuple(fields))
        else:
            raise BadFile(f"{path} expects ': ' and the name of a new section, or four words, in line {number}; got "
                          f"{line[:60]!r}; get the file again")
    return {name: tuple(questions) for name, questions in sections.items()}


def load_gender_words(directory: str | Path | None = None, *,
                      instead: str = "lists of your own") -> GenderWords:
    """The lists of c5/words/{definitional_pairs, equalize_pairs, gender_specific_full, professions}.json.

    Raises:
      MissingData: a file is not there.
      BadFile: it is no JSON, or of another form.
    Source: Bolukbasi et al. (2016).
    """
    def read(name: str, types: tuple[Any, ...]) -> tuple[Any, ...]:
        path = find(f"c5/words/{name}.json", directory, how_to_get=FROM_DEBIASWE, instead=instead)
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise BadFile(f"{path} expects JSON; got {error}; get the file again") from None
        entries = content if isinstance(content, list) else [None]
        for i, entry in enumerate(entries):
            parts = [entry] if len(types) == 1 else entry
            fits = isinstance(parts, list) and len(parts) == len(types) and all(
                isinstance(part, kind) and not isinstance(part, bool) for part, kind in zip(parts, types, strict=True))
            if not fits:
                what = {1: "a list of words", 2: "a list of pairs of words", 3: "a list of a word and two numbers each"}
                raise BadFile(f"{path} expects {what[len(types)]}; got {str(entry)[:40]} as entry {i}; get the file "
                              "again")
        return tuple(entries) if len(types) == 1 else tuple(map(tuple, entries))

    number = (int, float)
    return GenderWords(read("definitional_pairs", (str, str)), read("equalize_pairs", (str, str)),
                       read("gender_specific_full", (str,)), read("professions", (str, number, number)))


def find_glove(directory: str | Path | None = None, *, instead: str = "vectors of your own") -> Path:
    """Where GloVe's vectors of 50 numbers lie: c5/glove.6B.50d.txt, all 400,000 words, or else
    c5/glove.6B.50d.subset.txt, 9,187 of them. Read them by jaxnn.words.read_word_vectors(path, "glove").

    Raises:
      MissingData: neither is there.
    Source: Pennington, Socher & Manning (2014).
    """
    get = "download glove.6B.zip from nlp.stanford.edu/data and unpack it"
    try:
        return find("c5/glove.6B.50d.txt", directory, how_to_get=get, instead=instead)
    except FileNotFoundError:
        return find("c5/glove.6B.50d.subset.txt", directory, how_to_get=get, instead=instead)
