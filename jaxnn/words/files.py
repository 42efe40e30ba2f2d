"""Files of word vectors as word2vec and GloVe write them.

    "word2vec"           text: a line "n_words n_dim", then a line for each word: the word and its numbers
    "word2vec binary"    the same first line, then for each word: the word, a blank, n_dim float32, little-endian
    "glove"              text as word2vec's, without the first line

Words are UTF-8 without white space. Reading is strict: a line that is cut off, a first line that is not true, a word
that stands twice, a number that is none is refused, and named with its line. Nothing is allocated for what a first
line claims before the file is known to be as long.
"""

from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.checks import as_path, expect, is_integer
from jaxnn.data import BadFile
from jaxnn.data.lines import read_text_lines
from jaxnn.data.whole import written_whole
from jaxnn.words.vectors import WordVectors

__all__ = ["FORMATS", "read_word_vectors", "write_word_vectors"]

FORMATS = ("word2vec", "word2vec binary", "glove")
LONGEST_WORD = 4096  # bytes
LONGEST_HEAD = 64


def read_word_vectors(path: str | Path, form: str, *, dtype: Any = np.float32, most: int | None = None) -> WordVectors:
    """The word vectors of a file.

    Args:
      form: one of FORMATS.
      dtype: np.float32, or np.float64 to keep all digits of a text.
      most: how many words at most, the first of the file, which are the commonest; None for all.
    Raises:
      FileNotFoundError: there is no such file.
      BadFile: the file is not as the format asks for; the message names the line or the word.
    """
    who = "read_word_vectors"
    path = as_path(who, "path", path)
    expect(form in FORMATS, who, f"form, one of {', '.join(FORMATS)}", repr(form))
    dtype = np.dtype(dtype)
    expect(dtype in (np.float32, np.float64), who, "dtype float32 or float64", str(dtype))
    expect(most is None or is_integer(most, 1), who, "most, a positive integer or None", repr(most))
    if form == "word2vec binary":
        return _read_binary(path, dtype, most)
    lines = read_text_lines(path)
    first = 0
    if form == "word2vec":
        n_words, n_dim = _head(path, lines[0])
        first = 1
        if len(lines) - 1 != n_words:
            raise BadFile(f"{path} expects {n_words} words, which line 1 names; got {len(lines) - 1} lines after that; "
                          "get the file again")
    else:
        n_dim = len(lines[0].split(" ")) - 1
        if n_dim == 1 and lines[0].replace(" ", "").isdecimal():
            raise BadFile(f"{path} expects GloVe's format, which has no line of sizes; got {lines[0]!r} in line 1; "
                          "read it as 'word2vec'")
    rows: dict[str, np.ndarray] = {}
    for number, line in enumerate(lines[first:], first + 1):
        word, numbers = _split(path, number, line.rstrip(" "), n_dim, dtype)
        if word in rows:
            raise BadFile(f"{path} expects each word once; got {word!r} in line {number} again; get the file again")
        rows[word] = numbers
        if most is not None and len(rows) == most:
            break
    return WordVectors(tuple(rows), np.stack(list(rows.values())))


def write_word_vectors(vectors: WordVectors, path: str | Path, form: str) -> None:
    """Writes word vectors, whole or not at all; what is written is read back as it was: text bit for bit, binary in
    float32.

    Raises:
      InputError: there is no word; a word has white space or a byte-order mark, is longer than 4,096 bytes or is not
        UTF-8; form is none of FORMATS; the vectors are float64 and the form is binary.
    """
    who = "write_word_vectors"
    path = as_path(who, "path", path)
    expect(form in FORMATS, who, f"form, one of {', '.join(FORMATS)}", repr(form))
    expect_words(who, vectors)
    is_binary = form == "word2vec binary"
    expect(not is_binary or vectors.matrix.dtype == np.float32, who, "float32 for the binary format",
           str(vectors.matrix.dtype), "convert the matrix: WordVectors(words, matrix.astype(np.float32))")
    with written_whole(path) as file:
        if form != "glove":
            file.write(f"{len(vectors)} {vectors.n_dim}\n".encode())
        for word, row in zip(vectors.words, vectors.matrix, strict=True):
            # The shortest text that is read back as the same number.
            numbers = row.astype("<f4").tobytes() if is_binary else " ".join(row.astype(str)).encode()
            file.write(word.encode() + b" " + numbers + b"\n")


def expect_words(who: str, vectors: WordVectors) -> None:
    """At least one word, and words that each format gives back as they are."""
    expect(len(vectors) > 0, who, "at least one word", "none")
    for word in vectors.words:
        # Half of a surrogate pair is no character, and has no bytes in UTF-8: it stands here as "?" and is not equal.
        encoded = word.encode(errors="replace")
        fits = (word.split() == [word] and "\ufeff" not in word and encoded.decode() == word
                and len(encoded) <= LONGEST_WORD)
        expect(fits, who, f"words of UTF-8 without white space and byte-order mark, of at most {LONGEST_WORD} bytes",
               repr(word[:60]), "replace blanks, by _ say")


def _split(path: Path, number: int, line: str, n_dim: int, dtype: Any) -> tuple[str, np.ndarray]:
    """The word and the numbers, (n_dim,), of a line."""
    word, *fields = line.split(" ")
    if len(fields) != n_dim or n_dim == 0 or not word:
        what = "cut off" if len(fields) < n_dim else "too long"
        raise BadFile(f"{path} expects a word and {max(n_dim, 1)} numbers in line {number}, with one blank between; "
                      f"got {len(fields)} after {word[:40]!r}: the line is {what}; get the file again")
    try:
        with np.errstate(over="ignore"):  # 1e39 is more than float32 holds, and refused below
            numbers = np.array([float(field) for field in fields]).astype(dtype)
    except ValueError:
        numbers = np.array([np.nan])
    if "_" in line[len(word):] or not np.isfinite(numbers).all():
        raise BadFile(f"{path} expects finite numbers of {dtype} in line {number}, after {word[:40]!r}; got "
                      f"{line[len(word) + 1:][:60]!r}; get the file again")
    return word, numbers


def _head(path: Path, line: str) -> tuple[int, int]:
    fields = line.split()
    if len(fields) != 2 or not all(field.isascii() and field.isdecimal() and len(field) < 12 for field in fields):
        raise BadFile(f"{path} expects the numbers of words and of dimensions in line 1; got {line[:40]!r}; "
                      "a file without that line is in GloVe's format")
    n_words, n_dim = map(int, fields)
    if not (n_words and n_dim):
        raise BadFile(f"{path} expects at least one word of one dimension; got {line[:40]!r} in line 1")
    return n_words, n_dim


def _read_binary(path: Path, dtype: Any, most: int | None) -> WordVectors:
    if path.exists() and not path.is_file():
        kind = "a directory" if path.is_dir() else "something other than a regular file"
        raise BadFile(f"{path} expects a file; got {kind}; name a file")
    content = path.read_bytes()
    end = content.find(b"\n", 0, LONGEST_HEAD)
    if end < 0:
        raise BadFile(f"{path} expects a first line with the numbers of words and of dimensions; got "
                      f"{content[:20]!r}; is it the binary format?")
    n_words, n_dim = _head(path, content[:end].decode("latin-1"))
    if n_words * (2 + 4 * n_dim) > len(content) - end - 1:
        raise BadFile(f"{path} expects {n_words} words of {n_dim} numbers, which line 1 names, at least "
                      f"{n_words * (2 + 4 * n_dim)} bytes; got {len(content) - end - 1}: the file is cut off; "
                      "get it again")
    words: dict[str, int] = {}
    matrix = np.zeros((n_words if most is None else min(most, n_words), n_dim), dtype)
    at = end + 1
    for number in range(1, len(matrix) + 1):
        at += content[at: at + 1] == b"\n"  # the program writes one after each vector; others do not
        blank = content.find(b" ", at, at + LONGEST_WORD + 1)
        values = content[blank + 1: blank + 1 + 4 * n_dim]
        if blank <= at or len(values) < 4 * n_dim:
            raise BadFile(f"{path} expects a word, a blank and {n_dim} numbers as word {number} of {n_words}; got "
                          f"{len(content) - at} bytes that are not that; get the file again")
        try:
            word = content[at:blank].decode()
        except UnicodeDecodeError:
            word = ""
        if word.split() != [word]:
            raise BadFile(f"{path} expects word {number} in UTF-8, without white space; got "
                          f"{content[at:blank][:40]!r}; get the file again")
        if word in words:
            raise BadFile(f"{path} expects each word once; got {word!r} as words {words[word]} and {number}; get the "
                          "file again")
        words[word] = number
        matrix[number - 1] = np.frombuffer(values, "<f4")
        if not np.isfinite(matrix[number - 1]).all():
            raise BadFile(f"{path} expects finite numbers for word {number}, {word!r}; got NaN or infinity; get the "
                          "file again")
        at = blank + 1 + 4 * n_dim
    rest = content[at:]
    if len(matrix) == n_words and rest.strip(b"\n"):
        raise BadFile(f"{path} expects {n_words} words, which line 1 names; got {len(rest)} bytes after them; get the "
                      "file again")
    return WordVectors(tuple(words), matrix)
