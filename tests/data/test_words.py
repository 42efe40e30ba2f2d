"""Readers of corpora, pairs, questions, gender words and labelled sentences: the files, and files that pretend."""

import lzma
import os
from pathlib import Path

import pytest

from jaxnn import InputError
from jaxnn.data import (
    BadFile,
    MissingData,
    find_glove,
    load_analogies,
    load_definitions,
    load_emojify,
    load_gender_words,
    load_sst2,
    load_word_pairs,
    read_text_lines,
)

DATA = Path(os.environ.get("JAXNN_DATA", ""))
NEEDS_DATA = pytest.mark.skipif(not (DATA / "c5" / "words").is_dir(), reason="the words are not here: set JAXNN_DATA")


@NEEDS_DATA
def test_the_files():
    pairs = load_word_pairs("wordsim353")
    assert len(pairs) == 353 and pairs[0] == ("love", "sex", 6.77)
    assert len(load_word_pairs("simlex999")) == 999
    questions = load_analogies()
    assert len(questions) == 14 and sum(map(len, questions.values())) == 19_544
    assert questions["family"][0] == ("boy", "girl", "brother", "sister")
    gender = load_gender_words()
    assert len(gender.definitional) == 10 and gender.definitional[0] == ("woman", "man")
    assert gender.professions[0] == ("accountant", 0.0, 0.4) and "she" in gender.specific
    assert find_glove().name.startswith("glove.6B.50d")


@NEEDS_DATA
def test_labelled_sentences():
    train, test = load_emojify("train"), load_emojify("test")
    assert (len(train.texts), len(test.texts)) == (132, 56)
    assert train.texts[0] == "never talk to me again" and train.y[0] == 3 and test.texts[0] == "I want to eat"
    assert [len(load_sst2(part).texts) for part in ("train", "dev", "test")] == [6920, 872, 1821]
    assert load_sst2("dev").texts[0] == "one long string of cliches" and load_sst2("dev").y[0] == 0


def test_a_packed_corpus(tmp_path):
    folder = tmp_path / "c5" / "words"
    folder.mkdir(parents=True)
    path = folder / "gcide_wordnet.txt.xz"
    path.write_bytes(lzma.compress("ein wörd\nzwei\n".encode()))
    assert load_definitions(tmp_path) == ["ein wörd", "zwei"]
    whole = path.read_bytes()
    for n in range(0, len(whole), 3):
        path.write_bytes(whole[:n])
        with pytest.raises(BadFile):
            read_text_lines(path)
    path.write_bytes(lzma.compress(bytes(10_000_000)))
    with pytest.raises(BadFile, match=r"at most 1,000,000 bytes of text; got more"):
        read_text_lines(path, most_bytes=1_000_000)
    plain = tmp_path / "plain.txt"
    plain.write_bytes(b"ten bytes\n")
    assert read_text_lines(plain, most_bytes=10) == ["ten bytes"]
    with pytest.raises(BadFile, match=r"at most 9 bytes of text; got more; pass most_bytes="):
        read_text_lines(plain, most_bytes=9)
    path.write_bytes(lzma.compress("café\n".encode("latin-1")))
    with pytest.raises(BadFile, match=r"text in UTF-8; got .* at byte 3, line 1"):
        load_definitions(tmp_path)


FILES = {
    "c5/words/wordsim353.tsv": (lambda d: load_word_pairs("wordsim353", d), [
        ("a\tb\n", "two words and a number in line 1"), ("a\tb\tx\n", "in line 1"), ("a\tb\tnan\n", "in line 1"),
        ("# nothing\n", "pairs of words; got none")]),
    "c5/words/questions-words.txt": (load_analogies, [
        ("a b c d\n", "the name of a new section, or four words, in line 1"), (": s\na b c\n", "in line 2"),
        (": s\n: s\n", "in line 2")]),
    "c5/words/definitional_pairs.json": (load_gender_words, [
        ("{", "expects JSON"), ("{}", "a list of pairs of words; got None"), ('[["a"]]', "as entry 0"),
        ('["a", "b"]', "as entry 0")]),
    "c5/sst2/dev.tsv": (lambda d: load_sst2("dev", d), [
        ("good\n", "a sentence, a tabulator and 0 or 1 in line 1"), ("good\t2\n", "in line 1"),
        ("\t1\n", "in line 1")]),
    "c5/emojify/tesss.csv": (lambda d: load_emojify("test", d), [
        ("a b\n", "a sentence, a comma and a class in 0 .. 4 in line 1"), ("a,5\n", "in line 1"),
        (",1\n", "in line 1")]),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_pretend(tmp_path, name):
    load, cases = FILES[name]
    with pytest.raises(MissingData, match=r"got no such file; .*; or use "):
        load(tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True)
    for content, message in [*cases, ("", "at least one line" if "json" not in name else "expects JSON"),
                             ]:
        path.write_text(content)
        with pytest.raises(BadFile) as error:
            load(tmp_path)
        assert message in str(error.value) and str(path) in str(error.value)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(BadFile):
        load(tmp_path)


def test_other_names_are_refused():
    for call in (lambda: load_word_pairs("rg65"), lambda: load_sst2("valid"), lambda: load_emojify("dev")):
        with pytest.raises(InputError, match="one of"):
            call()
