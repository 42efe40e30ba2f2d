"""Neighbours and analogies by a loop; files that are read back, and files that are not what they claim."""

import contextlib
import os

import numpy as np
import pytest
import scipy.stats

from jaxnn import InputError
from jaxnn.data import BadFile
from jaxnn.words import (
    WordVectors,
    analogy_accuracy,
    cosine,
    evaluation,
    pair_correlation,
    read_word_vectors,
    spearman,
    write_word_vectors,
)
from jaxnn.words.files import FORMATS

RNG = np.random.default_rng(0)
WORDS = ("the", "of", "Zoë", "naïve", "co-op", "don't", "日本", "x1", ":", "<s>")
VECTORS = WordVectors(WORDS, RNG.standard_normal((len(WORDS), 4)).astype(np.float32))


def by_hand(query, without=()):
    unit = VECTORS.matrix / np.linalg.norm(VECTORS.matrix, axis=1, keepdims=True)
    scores = {w: float(u @ query / np.linalg.norm(query)) for w, u in zip(WORDS, unit) if w not in without}
    return sorted(scores, key=lambda w: -scores[w]), scores


def test_neighbours():
    order, scores = by_hand(VECTORS["of"], {"of"})
    found = VECTORS.nearest("of", 4)
    assert [w for w, _ in found] == order[:4]
    np.testing.assert_allclose([s for _, s in found], [scores[w] for w in order[:4]], rtol=1e-5)
    assert [w for w, _ in VECTORS.nearest(VECTORS["of"], 2)] == by_hand(VECTORS["of"])[0][:2]
    assert len(VECTORS.nearest("of", 100)) == len(WORDS) - 1
    assert order[0] not in dict(VECTORS.nearest("of", 9, without=[order[0]]))
    assert VECTORS.similarity("of", order[0]) == pytest.approx(scores[order[0]], rel=1e-5)


def test_vectors_whose_squares_float32_cannot_hold():
    matrix = np.array([[3e25, 4e25], [3e-30, 4e-30], [0.6, 0.8], [-4.0, 3.0], [1e-44, 0.0], [0.0, 0.0]], np.float32)
    vectors = WordVectors(list("abcdez"), matrix)
    np.testing.assert_allclose(vectors.unit, [[0.6, 0.8]] * 3 + [[-0.8, 0.6], [1, 0], [0, 0]], rtol=1e-6)
    assert {word for word, cosine in vectors.nearest("a", 2) if cosine > 0.999} == {"b", "c"}
    np.testing.assert_array_equal(vectors.matrix, matrix)


def test_analogies_leave_the_query_words_out(monkeypatch):
    unit = {w: v / np.linalg.norm(v) for w, v in zip(WORDS, VECTORS.matrix)}
    query = unit["of"] - unit["the"] + unit["x1"]
    order, _ = by_hand(query)
    assert [w for w, _ in VECTORS.analogy("the", "of", "x1", 3)] == [w for w in order
                                                                     if w not in ("the", "of", "x1")][:3]
    assert VECTORS.analogy("the", "of", "x1", keep_query=True)[0][0] == order[0]
    way = {w: cosine(VECTORS["of"] - VECTORS["the"], v - VECTORS["x1"]) for w, v in zip(WORDS, VECTORS.matrix)
           if w not in ("the", "of", "x1")}
    found, score = VECTORS.analogy("the", "of", "x1", method="differences")[0]
    assert found == max(way, key=way.get) and score == pytest.approx(way[found])
    sections = {"s": [("the", "of", "x1", order[0] if order[0] not in ("the", "of", "x1") else "x1"),
                      ("the", "of", "x1", "unknown"), ("the", "of", "x1", "the")]}
    assert analogy_accuracy(VECTORS, sections)["s"][1:] == (2, 3)
    best = VECTORS.analogy("the", "of", "x1")[0][0]
    assert analogy_accuracy(VECTORS, {"s": [("the", "of", "x1", best)]})["s"].right == 1
    # A vocabulary so large that each question is asked by itself.
    questions = {"s": [("the", "of", "x1", best), ("the", "of", "x1", "<s>"), ("of", "the", "x1", best)]}
    together = analogy_accuracy(VECTORS, questions)
    monkeypatch.setattr(evaluation, "MOST_COSINES", 1)
    assert analogy_accuracy(VECTORS, questions) == together and together["s"].n == 3


def test_spearman_is_scipys():
    for n in (2, 5, 40):
        a, b = RNG.integers(0, 8, n) + 9 * (np.arange(n) % 2), RNG.standard_normal(n)
        assert spearman(a, b) == pytest.approx(scipy.stats.spearmanr(a, b)[0])
    pairs = [("the", "OF", 3.0), ("of", "x1", 1.0), ("The", "x1", 2.0), ("unknown", "of", 1.0)]
    score = pair_correlation(VECTORS, pairs)
    assert (score.n, score.n_pairs) == (3, 4)
    want = [VECTORS.similarity("the", "of"), VECTORS.similarity("of", "x1"), VECTORS.similarity("the", "x1")]
    np.testing.assert_allclose(score.cosines, want, rtol=1e-5)
    assert score.spearman == pytest.approx(scipy.stats.spearmanr(want, [3, 1, 2])[0])


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_written_is_read_back_bit_for_bit(tmp_path, form):
    write_word_vectors(VECTORS, tmp_path / "v", form)
    back = read_word_vectors(tmp_path / "v", form)
    assert back.words == WORDS and back.matrix.dtype == np.float32
    np.testing.assert_array_equal(back.matrix, VECTORS.matrix)
    assert read_word_vectors(tmp_path / "v", form, most=3).words == WORDS[:3]
    assert {path.name for path in tmp_path.iterdir()} == {"v"}
    gensim = pytest.importorskip("gensim.models") if form != "glove" else None
    if gensim:
        theirs = gensim.KeyedVectors.load_word2vec_format(str(tmp_path / "v"), binary="binary" in form)
        np.testing.assert_array_equal(theirs.vectors, VECTORS.matrix)
        theirs.save_word2vec_format(str(tmp_path / "w"), binary="binary" in form)
        assert read_word_vectors(tmp_path / "w", form).words == tuple(theirs.index_to_key)


TEXT = {
    "cut off": (b"2 3\na 1 2 3\nb 1 2", "word2vec", "3 numbers in line 3, with one blank between; got 2 after 'b': the "
                "line is cut off"),
    "a word too few": (b"3 2\na 1 2\nb 1 2\n", "word2vec", "expects 3 words, which line 1 names; got 2 lines"),
    "a word too many": (b"1 2\na 1 2\nb 1 2\n", "word2vec", "expects 1 words, which line 1 names; got 2 lines"),
    "twice": (b"2 1\na 1\na 2\n", "word2vec", "each word once; got 'a' in line 3 again"),
    "no head": (b"a 1 2\n", "word2vec", "numbers of words and of dimensions in line 1; got 'a 1 2'; a file without"),
    "a lie": (b"99999999999 99999999999\na 1\n", "word2vec", "expects 99999999999 words"),
    "none": (b"0 3\n", "word2vec", "at least one word of one dimension; got '0 3'"),
    "empty": (b"", "glove", "at least one line; got an empty file"),
    "a head": (b"2 3\na 1 2 3\nb 1 2 3\n", "glove", "read it as 'word2vec'"),
    "too long": (b"a 1 2\nb 1 2 3\n", "glove", "2 numbers in line 2, with one blank between; got 3 after 'b': the line "
                 "is too long"),
    "no number": (b"a 1 2\nb 1 x\n", "glove", "finite numbers of float32 in line 2, after 'b'; got '1 x'"),
    "not finite": (b"a 1 nan\n", "glove", "finite numbers of float32 in line 1"),
    "too large": (b"a 1e39 2\n", "glove", "finite numbers of float32 in line 1, after 'a'; got '1e39 2'"),
    "underscore": (b"a 1_0 2\n", "glove", "finite numbers of float32 in line 1"),
    "latin": (b"caf\xe9 1 2\n", "glove", "text in UTF-8"),
    "no word": (b" 1 2\n", "glove", "a word and 2 numbers in line 1"),
}


@pytest.mark.parametrize("case", TEXT)
def test_texts_that_are_not_what_they_claim(tmp_path, case):
    content, form, message = TEXT[case]
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(BadFile) as error:
        read_word_vectors(tmp_path / "v", form)
    assert message in str(error.value)


def test_binary_files_cut_off_or_changed_at_any_byte(tmp_path):
    """Only our own errors, or other vectors: a bit of a number that is flipped is a number."""
    path = tmp_path / "v"
    write_word_vectors(VECTORS, path, "word2vec binary")
    content = path.read_bytes()
    for n in range(len(content) - 1):  # without its last byte, a line's end, it is whole
        path.write_bytes(content[:n])
        with pytest.raises(BadFile):
            read_word_vectors(path, "word2vec binary")
    rng = np.random.default_rng(3)
    for _ in range(1000):
        changed = bytearray(content)
        for place in rng.integers(0, len(content), 2):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        for form in FORMATS:
            with contextlib.suppress(BadFile):
                read_word_vectors(path, form)
    path.write_bytes(b"99999999 999999999\nabc 1")
    with pytest.raises(BadFile, match="the file is cut off"):
        read_word_vectors(path, "word2vec binary")
    path.write_bytes(content + b"x")
    with pytest.raises(BadFile, match="bytes after them"):
        read_word_vectors(path, "word2vec binary")


def test_pipes_and_numbers_of_64_bits(tmp_path):
    """A pipe is refused and not waited for; 1e39 is a number where float64 is asked for."""
    os.mkfifo(tmp_path / "pipe")
    for form in FORMATS:
        with pytest.raises(BadFile, match="something other than a regular file"):
            read_word_vectors(tmp_path / "pipe", form)
    (tmp_path / "v").write_bytes(b"a 1e39 2\n")
    assert read_word_vectors(tmp_path / "v", "glove", dtype=np.float64)["a"].tolist() == [1e39, 2]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: WordVectors(["a", "a"], np.ones((2, 2))), "each word once; got 'a' twice"),
    (lambda: WordVectors(["a"], np.ones((2, 2))), "a row for each of the 1 words; got 2 rows"),
    (lambda: WordVectors(["a"], np.ones((1, 2), int)), "floating-point numbers; got int64"),
    (lambda: WordVectors(["a"], np.array([[1, np.nan]])), "finite vectors; got NaN or infinity in that of 'a'"),
    (lambda: VECTORS["Unknown"], "a word that has a vector; got 'Unknown', which is not among the 10; ask"),
    (lambda: VECTORS.nearest(np.zeros(4)), "a query that is not zero"),
    (lambda: VECTORS.nearest(np.ones(3)), r"a query of shape (4,); got (3,)"),
    (lambda: VECTORS.analogy("of", "the", "x1", method="product"), "method, 'sum' or 'differences'"),
    (lambda: cosine([0.0], [1.0]), "vectors that are not zero"),
    (lambda: cosine([1.0], [np.inf]), "b of finite numbers; got NaN or infinity"),
    (lambda: VECTORS.nearest(np.full(4, np.nan)), "query of finite numbers; got NaN or infinity"),
    (lambda: write_word_vectors(WordVectors(["\ud800"], np.ones((1, 1))), "x", "glove"),
     "words of UTF-8 without white space and byte-order mark, of at most 4096 bytes; got '\\ud800'"),
    (lambda: spearman([1, 1], [1, 2]), "values that differ"),
    (lambda: spearman([1, np.nan], [1, 2]), "finite values"),
    (lambda: pair_correlation(VECTORS, [("of", "no", 1.0)]), "at least two pairs of words that have vectors; got 0"),
    (lambda: write_word_vectors(WordVectors(["a b"], np.ones((1, 1))), "x", "glove"),
     "words of UTF-8 without white space"),
    (lambda: write_word_vectors(WordVectors(["a"], np.ones((1, 1))), "x", "word2vec binary"),
     "float32 for the binary format; got float64"),
    (lambda: read_word_vectors("x", "csv"), "form, one of word2vec, word2vec binary, glove; got 'csv'"),
])
def test_refusals(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
