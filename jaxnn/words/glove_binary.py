"""GloVe's own binary files: vectors.bin, beside vocab.txt, whose lines are "word count".

vectors.bin has no header. It has two rows for each of the V words, all words' own vectors first and then the vectors of
the words as context, each row of n_dim float64 (little-endian) and the word's bias: 2 V (n_dim + 1) numbers. What
GloVe writes as text, and what is read here, is the sum of a word's two vectors without the biases.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.checks import as_path, expect
from jaxnn.data import BadFile
from jaxnn.data.lines import read_text_lines
from jaxnn.data.whole import written_whole
from jaxnn.words.files import expect_words
from jaxnn.words.vectors import WordVectors

__all__ = ["read_glove_binary", "write_glove_binary"]


def read_glove_binary(path: str | Path, vocabulary: str | Path, *, dtype: Any = np.float32) -> WordVectors:
    """The sums of both vectors of each word.

    Args:
      path: GloVe's vectors.bin.
      vocabulary: its vocab.txt; the counts are not used.
      dtype: np.float32 or np.float64.
    Raises:
      FileNotFoundError: there is no such file.
      BadFile: a line of the vocabulary is no word and count, a word stands twice, the numbers are not two rows for each
        word, or one of them is not finite.
    """
    who = "read_glove_binary"
    path, vocabulary = as_path(who, "path", path), as_path(who, "vocabulary", vocabulary)
    dtype = np.dtype(dtype)
    expect(dtype in (np.float32, np.float64), who, "dtype float32 or float64", str(dtype))
    words: dict[str, int] = {}
    for number, line in enumerate(read_text_lines(vocabulary), 1):
        word, _, count = line.rpartition(" ")
        if not (word.split() == [word] and count.isascii() and count.isdecimal()):
            raise BadFile(f"{vocabulary} expects a word, a blank and a count in each line; got {line[:60]!r} in line "
                          f"{number}; get the file again")
        if word in words:
            raise BadFile(f"{vocabulary} expects each word once; got {word!r} in lines {words[word]} and {number}; get "
                          "the file again")
        words[word] = number
    if not path.is_file() and path.exists():
        raise BadFile(f"{path} expects a regular file; got something else; name a file")
    rows, size = 2 * len(words), path.stat().st_size
    if size % (8 * rows) or size < 16 * rows:
        raise BadFile(f"{path} expects two rows of float64 for each of the {len(words)} words of {vocabulary}, each a "
                      f"vector and a bias; got {size} bytes: cut off, or of another vocabulary")
    numbers = np.fromfile(path, "<f8").reshape(2, len(words), -1)[..., :-1]
    matrix = numbers.sum(0)
    with np.errstate(over="ignore"):  # beyond float32; said below
        narrow = matrix.astype(dtype)
    if not np.isfinite(narrow).all():
        row = int(np.argmin(np.isfinite(narrow).all(1)))
        raise BadFile(f"{path} expects numbers that are finite in {dtype}; got {matrix[row][:4]} ... for word "
                      f"{row + 1}, {list(words)[row]!r}")
    return WordVectors(tuple(words), narrow)


def write_glove_binary(vectors: WordVectors, path: str | Path, vocabulary: str | Path) -> None:
    """Writes both files. Each of a word's two vectors is half of the one that is given, so that their sum is read back
    bit for bit; biases are 0, and so are the counts, which vectors do not have.

    Raises:
      InputError: there is no word; a word has white space or a byte-order mark, is longer than 4,096 bytes or is not
        UTF-8.
    """
    who = "write_glove_binary"
    path, vocabulary = as_path(who, "path", path), as_path(who, "vocabulary", vocabulary)
    expect_words(who, vectors)
    half = np.zeros((len(vectors), vectors.n_dim + 1), "<f8")
    half[:, :-1] = vectors.matrix.astype(np.float64) / 2
    lines = "".join(f"{word} 0\n" for word in vectors.words).encode()
    for place, content in ((vocabulary, lines), (path, half.tobytes() * 2)):
        with written_whole(place) as file:
            file.write(content)
