"""What pieces are like: how many notes sound, how varied they are, how long they stand still."""

from collections import Counter
from typing import Any

import numpy as np

__all__ = ["described", "entropy"]


def described(rolls: list[np.ndarray]) -> dict[str, Any]:
    """Of all pieces together.

    keys_entropy: of which key a note has, in bits; 0 if all notes are one key's.
    chords_entropy: of which keys sound together, in bits; 0 if all frames are the same.
    notes: that sound in a frame, the mean.
    silent: the part of the frames in which nothing sounds.
    longest_still: frames in a row that are the same.
    stuck: the part of the pieces whose second half is one frame, held.
    """
    frames = np.concatenate(rolls)
    keys = frames.sum(axis=0)
    chords = Counter(frame.tobytes() for frame in frames)
    return {"keys_entropy": entropy(keys), "chords_entropy": entropy(list(chords.values())),
            "keys": int((keys > 0).sum()), "chords": len(chords), "notes": float(frames.sum(axis=1).mean()),
            "silent": float((~frames.any(axis=1)).mean()),
            "stuck": float(np.mean([(roll[len(roll) // 2:] == roll[-1]).all() for roll in rolls])),
            "longest_still": max(longest_run([frame.tobytes() for frame in roll]) for roll in rolls)}


def entropy(counts: Any) -> float:
    """Of the frequencies, in bits."""
    p = np.asarray(counts, float)
    p = p[p > 0] / max(p.sum(), 1)
    return float(-(p * np.log2(p)).sum()) + 0.0


def longest_run(items: list[Any]) -> int:
    """How often an item is repeated in a row, at most."""
    longest = run = 0
    for i, item in enumerate(items):
        run = run + 1 if i and item == items[i - 1] else 1
        longest = max(longest, run)
    return longest
