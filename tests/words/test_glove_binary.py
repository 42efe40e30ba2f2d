"""GloVe's binary files: as its program lays them out, read back, and not what they claim."""

import struct

import numpy as np
import pytest

from jaxnn import InputError
from jaxnn.data import BadFile
from jaxnn.words import WordVectors, read_glove_binary, write_glove_binary

WORDS = ("the", "Zoë", "日本")
MATRIX = np.random.default_rng(0).standard_normal((3, 4))


def test_as_the_program_writes_it(tmp_path):
    """Number by number: W, then W̃, each row a vector and its bias."""
    own, context = MATRIX, 3 * MATRIX[::-1]
    numbers = [x for table in (own, context) for row in table for x in (*row, 7.0)]
    (tmp_path / "vectors.bin").write_bytes(struct.pack(f"<{len(numbers)}d", *numbers))
    (tmp_path / "vocab.txt").write_text("".join(f"{w} {n}\n" for n, w in enumerate(WORDS, 5)), encoding="utf-8")
    found = read_glove_binary(tmp_path / "vectors.bin", tmp_path / "vocab.txt", dtype=np.float64)
    assert found.words == WORDS
    np.testing.assert_array_equal(found.matrix, own + context)
    assert read_glove_binary(tmp_path / "vectors.bin", tmp_path / "vocab.txt").matrix.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back(tmp_path, dtype):
    vectors = WordVectors(WORDS, MATRIX.astype(dtype))
    write_glove_binary(vectors, tmp_path / "v", tmp_path / "w")
    found = read_glove_binary(tmp_path / "v", tmp_path / "w", dtype=dtype)
    assert found.words == WORDS and found.matrix.dtype == dtype
    np.testing.assert_array_equal(found.matrix, vectors.matrix)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v", "w"]


@pytest.mark.parametrize(("vocabulary", "numbers", "words"), [
    ("a 1\nb 2\n", 19, "two rows of float64 for each of the 2 words"), ("a 1\nb 2\n", 4, "cut off, or of another"),
    ("a 1\na 2\n", 20, "'a' in lines 1 and 2"), ("a 1\nb\n", 20, "a word, a blank and a count in each line; got 'b'"),
    ("a 1\nb c 2\n", 20, "got 'b c 2' in line 2"), ("a -1\n", 10, "got 'a -1' in line 1"),
    ("", 0, "at least one line")])
def test_bad_files(tmp_path, vocabulary, numbers, words):
    (tmp_path / "w").write_text(vocabulary)
    (tmp_path / "v").write_bytes(bytes(8 * numbers))
    with pytest.raises(BadFile, match=words):
        read_glove_binary(tmp_path / "v", tmp_path / "w")


def test_numbers_that_are_not_finite(tmp_path):
    (tmp_path / "w").write_text("a 1\nb 2\n")
    (tmp_path / "v").write_bytes(np.array([[1, 2, 0], [1e39, 0, 0]] * 2, "<f8").tobytes())
    with pytest.raises(BadFile, match=r"finite in float32; got .* for word 2, 'b'"):
        read_glove_binary(tmp_path / "v", tmp_path / "w")
    assert read_glove_binary(tmp_path / "v", tmp_path / "w", dtype=np.float64)["b"][0] == 2e39


def test_bad_calls(tmp_path):
    with pytest.raises(InputError, match="words of UTF-8 without white space"):
        write_glove_binary(WordVectors(("a b",), np.ones((1, 2))), tmp_path / "v", tmp_path / "w")
    with pytest.raises(InputError, match="dtype float32 or float64"):
        read_glove_binary(tmp_path / "v", tmp_path / "w", dtype=np.float16)
    with pytest.raises(FileNotFoundError):
        read_glove_binary(tmp_path / "v", tmp_path / "w")
