"""Piano rolls as a network reads them: windows to train on, whole pieces to measure; a canon that needs no file."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.data.music import N_KEYS, PianoRolls

__all__ = ["Windows", "canon", "in_length_groups", "transposition", "windows"]

# Frère Jacques, traditional, as (key above C4 in semitones, eighth notes): a canon of four voices, two bars apart.
MELODY = ((0, 2), (2, 2), (4, 2), (0, 2), (0, 2), (2, 2), (4, 2), (0, 2),
          (4, 2), (5, 2), (7, 4), (4, 2), (5, 2), (7, 4),
          (7, 1), (9, 1), (7, 1), (5, 1), (4, 2), (0, 2), (7, 1), (9, 1), (7, 1), (5, 1), (4, 2), (0, 2),
          (0, 2), (-5, 2), (0, 4), (0, 2), (-5, 2), (0, 4))
C4 = 39  # among the 88 keys
BARS_BETWEEN, EIGHTHS_IN_A_BAR = 2, 8


class Windows(NamedTuple):
    """Pieces cut into windows of one length, (n, time, ...).

    before: (n, time, 88) uint8, the frame before each; zeros before a piece begins.
    frames: (n, time, 88) uint8, what is to be predicted; zeros behind the end.
    weights: (n, time) float32, 1 where a frame is of the piece.
    """

    before: Any
    frames: Any
    weights: Any


def canon() -> PianoRolls:
    """Frère Jacques as a round in twelve keys: eight to train on, two dev, two test. A frame is an eighth note."""
    line = np.concatenate([np.full(n, key) for key, n in MELODY])
    entry = BARS_BETWEEN * EIGHTHS_IN_A_BAR
    rolls = []
    for tonic in range(12):
        roll = np.zeros((2 * len(line) + 3 * entry, N_KEYS), np.uint8)
        for voice, octave in enumerate((12, 0, -12, -24)):
            times = np.arange(2 * len(line)) + voice * entry
            roll[times, C4 + octave + tonic - 6 + np.tile(line, 2)] = 1
        rolls.append(roll)
    order = [0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10, 5]  # by fifths, so that each part has keys from far and near
    rolls = [rolls[i] for i in order]
    return PianoRolls(rolls[:8], rolls[8:10], rolls[10:])


def windows(rolls: list[np.ndarray], length: int) -> Windows:
    """Each piece cut into windows of `length` frames, the last filled up behind."""
    pieces = []
    for roll in rolls:
        padded = np.zeros((-(-len(roll) // length) * length + 1, N_KEYS), np.uint8)
        padded[1:len(roll) + 1] = roll
        weights = (np.arange(len(padded) - 1) < len(roll)).astype(np.float32)
        pieces.append((padded[:-1], padded[1:], weights))
    before, frames, weights = (np.concatenate(part) for part in zip(*pieces, strict=True))
    return Windows(before.reshape(-1, length, N_KEYS), frames.reshape(-1, length, N_KEYS), weights.reshape(-1, length))


def in_length_groups(rolls: list[np.ndarray], size: int = 16, step: int = 128) -> list[Windows]:
    """Whole pieces, in groups of about one length, each filled up to a multiple of `step`: few shapes to compile."""
    order = sorted(range(len(rolls)), key=lambda i: len(rolls[i]))
    groups = []
    for first in range(0, len(rolls), size):
        members = [rolls[i] for i in order[first:first + size]]
        longest = -(-max(map(len, members)) // step) * step
        parts = [windows([roll], longest) for roll in members]
        groups.append(Windows(*map(np.concatenate, zip(*parts, strict=True))))
    return groups


def transposition(rolls: list[np.ndarray], most: int) -> Any:
    """(key, x, labels) -> the batch with each window moved by its own whole number of semitones, at most `most` up or
    down, and never so far that a key of any piece leaves the keyboard."""
    used = np.flatnonzero(np.sum([roll.any(axis=0) for roll in rolls], axis=0))
    down, up = min(most, int(used.min(initial=N_KEYS))), min(most, N_KEYS - 1 - int(used.max(initial=0)))

    @jax.jit
    def moved(key: Any, before: Any, frames: Any) -> tuple[Any, Any]:
        shifts = jax.random.randint(key, (len(before),), -down, up + 1)
        roll = jax.vmap(lambda a, n: jnp.roll(a, n, axis=1))
        return roll(before, shifts), roll(frames, shifts)

    def of_batch(key: Any, before: Any, labels: Any) -> Any:
        frames, weights = labels
        before, frames = moved(key, before, frames)
        return before, (frames, weights)

    return of_batch
