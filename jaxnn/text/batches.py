"""Sequences of unequal length as arrays of a few shapes: padded in buckets, or packed several to a row.

Under `jit` every shape is compiled once. So a sequence is filled up to the length of its bucket, and every batch
of a bucket has one size: as many programs as there are buckets. Packing needs a single shape, and wastes less.
Nothing is cut off: a sequence that is too long is refused.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_integers, expect_shape, is_integer

__all__ = ["Bucketed", "Packed", "bucketed", "pack", "pad", "segment_mask"]


def pad(sequences: Sequence[Any], length: int | None = None, *, fill: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(the sequences (n, length), filled up behind; their lengths (n,) int32).

    Args:
      sequences: integers (n_i,) each.
      length: None for that of the longest.
      fill: what stands behind a sequence; the mask, not this number, tells what counts.
    Raises:
      InputError: there is no sequence, one is not of integers (n_i,), or one is longer than `length`.

    >>> tokens, lengths = pad([[5, 6, 7], [8]])
    >>> tokens.tolist(), lengths.tolist()
    ([[5, 6, 7], [8, 0, 0]], [3, 1])
    """
    who = "pad"
    arrays = _as_sequences(who, sequences)
    longest = max(len(a) for a in arrays)
    expect(length is None or is_integer(length, 0), who, "length, an integer >= 0 or None", repr(length))
    length = longest if length is None else int(length)
    expect(longest <= length, who, f"sequences of at most {length} tokens", f"one of {longest}",
           "cut it, or leave it out")
    expect(is_integer(fill, -2**31) and fill < 2**31, who, "fill, an integer of 32 bits", repr(fill))
    tokens = np.full((len(arrays), length), fill, np.int32)
    for row, a in zip(tokens, arrays, strict=True):
        row[: len(a)] = a
    return tokens, np.array([len(a) for a in arrays], np.int32)


class Bucketed(NamedTuple):
    """A batch of one bucket: tokens (B, length), lengths (B,), and which sequences they are. Only the first n are
    sequences of the set; the others repeat the last of them, so that the shape is always the same."""

    tokens: np.ndarray
    """(B, length) int32."""
    lengths: np.ndarray
    """(B,) int32."""
    indices: np.ndarray
    """(B,) int64, of the sequences as they were given."""
    n: int


def bucketed(sequences: Sequence[Any], lengths: Sequence[int], batch_size: int, *, fill: int = 0,
             seed: int | None = None) -> Iterator[Bucketed]:
    """Every sequence once, in batches of its bucket: that of the least length that holds it.

    Args:
      sequences: integers (n_i,) each.
      lengths: of the buckets, increasing.
      batch_size: B.
      fill: as for `pad`.
      seed: sequences and batches come in an order drawn by it; None for bucket by bucket in the order given.
    Returns:
      batches, in at most len(lengths) shapes.
    Raises:
      InputError: an argument is not as above, or a sequence is longer than every bucket.

    >>> [(b.tokens.shape, b.n) for b in bucketed([[1], [1, 2, 3], [2], [4, 5]], [2, 4], 2)]
    [((2, 2), 2), ((2, 2), 1), ((2, 4), 1)]
    """
    who = "bucketed"
    arrays = _as_sequences(who, sequences)
    is_lengths = isinstance(lengths, list | tuple | np.ndarray) and len(lengths) > 0 and all(
        is_integer(n, 0) for n in lengths) and all(a < b for a, b in itertools.pairwise(lengths))
    expect(is_lengths, who, "lengths, increasing integers", repr(lengths))
    expect(is_integer(batch_size, 1), who, "batch_size, a positive integer", repr(batch_size))
    expect(seed is None or is_integer(seed, 0), who, "seed, an integer >= 0 or None", repr(seed))
    sizes = np.array([len(a) for a in arrays])
    expect(bool(sizes.max() <= lengths[-1]), who, f"sequences of at most {lengths[-1]} tokens", f"one of {sizes.max()}",
           "give a longer bucket, cut it, or leave it out")
    bucket = np.searchsorted(np.asarray(lengths), sizes)
    rng = None if seed is None else np.random.default_rng(seed)
    parts = []
    for k in range(len(lengths)):
        members = np.flatnonzero(bucket == k)
        if rng is not None:
            members = rng.permutation(members)
        parts += [(k, members[i: i + batch_size]) for i in range(0, len(members), batch_size)]
    order = range(len(parts)) if rng is None else rng.permutation(len(parts))

    def batches() -> Iterator[Bucketed]:
        for k, members in (parts[i] for i in order):
            indices = members[np.minimum(np.arange(batch_size), len(members) - 1)]
            yield Bucketed(*pad([arrays[i] for i in indices], int(lengths[k]), fill=fill), indices, len(members))

    return batches()


class Packed(NamedTuple):
    """Several sequences to a row: tokens, which sequence of its row each belongs to, and its place in that."""

    tokens: np.ndarray
    """(n_rows, length) int32."""
    segments: np.ndarray
    """(n_rows, length) int32: 1, 2, ... in each row; 0 for what is filled up."""
    positions: np.ndarray
    """(n_rows, length) int32, from 0 in each sequence; 0 for what is filled up."""
    places: np.ndarray
    """(n_sequences, 2) int32: the row of each sequence as it was given, and its first column."""


def pack(sequences: Sequence[Any], length: int, *, fill: int = 0) -> Packed:
    """Sequences in as few rows as the first row with room for each gives, the longest first (first fit decreasing:
    at most 11/9 of the fewest, and 1 more; Johnson 1973).

    Args:
      sequences: integers (n_i,) each; one of no tokens takes no place.
      length: of a row.
      fill: what stands in the rest of a row; segments, not this number, tell what counts.
    Raises:
      InputError: as for `pad`.

    >>> packed = pack([[1, 1, 1], [2, 2], [3, 3]], 5)
    >>> packed.tokens.tolist(), packed.segments.tolist()
    ([[1, 1, 1, 2, 2], [3, 3, 0, 0, 0]], [[1, 1, 1, 2, 2], [1, 1, 0, 0, 0]])
    """
    who = "pack"
    arrays = _as_sequences(who, sequences)
    expect(is_integer(length, 1), who, "length, a positive integer", repr(length))
    longest = max(len(a) for a in arrays)
    expect(longest <= length, who, f"sequences of at most {length} tokens", f"one of {longest}",
           "cut it, or leave it out")
    room: list[int] = []
    places = np.zeros((len(arrays), 2), np.int32)
    for i in sorted(range(len(arrays)), key=lambda i: -len(arrays[i])):
        row = next((row for row, left in enumerate(room) if left >= len(arrays[i])), len(room))
        if row == len(room):
            room.append(length)
        places[i] = row, length - room[row]
        room[row] -= len(arrays[i])
    tokens = np.full((len(room), length), fill, np.int32)
    segments, positions = np.zeros_like(tokens), np.zeros_like(tokens)
    for i in sorted(range(len(arrays)), key=lambda i: tuple(places[i])):
        (row, first), n = places[i], len(arrays[i])
        if n:
            part = slice(first, first + n)
            tokens[row, part], positions[row, part] = arrays[i], np.arange(n)
            segments[row, part] = segments[row].max() + 1
    return Packed(tokens, segments, positions, places)


def segment_mask(segments: Any) -> jax.Array:
    """(T, T) of bool for `attention`: a token may see those of its own sequence; what is filled up sees nothing.

    Args:
      segments: integers (T,), one row of `Packed.segments`.

    >>> segment_mask(jnp.array([1, 2, 0])).astype(int).tolist()
    [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    """
    expect_integers("segment_mask", "segments", segments)
    expect_shape("segment_mask", "segments", segments, ("T",), "for a batch use jax.vmap")
    segments = jnp.asarray(segments)
    return (segments[:, None] == segments) & (segments != 0)


def _as_sequences(who: str, sequences: Any) -> list[np.ndarray]:
    is_list = isinstance(sequences, list | tuple) or (hasattr(sequences, "ndim") and np.ndim(sequences) == 2)
    expect(is_list, who, "sequences, a list of them", type(sequences).__name__)
    expect(len(sequences) > 0, who, "at least one sequence", "none")
    arrays = []
    for i, sequence in enumerate(sequences):
        expect(not isinstance(sequence, str | bytes), who, f"integers as sequence {i}", type(sequence).__name__,
               "encode it with a vocabulary")
        a = np.asarray(sequence)
        if a.size == 0 and a.ndim == 1:
            a = a.astype(np.int32)
        expect(a.ndim == 1 and a.dtype.kind in "iu", who, f"integers of shape (n,) as sequence {i}",
               f"{a.dtype}{list(a.shape)}")
        expect(a.size == 0 or (a.min() >= -2**31 and a.max() < 2**31), who, f"integers of 32 bits as sequence {i}",
               f"values from {a.min() if a.size else 0} to {a.max() if a.size else 0}")
        arrays.append(a)
    return arrays
