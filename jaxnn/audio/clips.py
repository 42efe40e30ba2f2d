"""Clips with words in known places: recordings laid over a background without overlap, and the labels that follow.

The course's functions, by its names. Segments are pairs of milliseconds, the first and the last one; a clip has ten
seconds, and its labels are 1 for 50 of 1,375 steps behind the end of each trigger word.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_numpy, expect, is_integer

__all__ = ["Clip", "insert_audio_clip", "insert_ones", "is_overlapping", "synthesize"]

Segment = tuple[int, int]
MILLISECONDS = 10_000
STEPS, ONES = 1375, 50
TRIES = 100


def is_overlapping(segment: Segment, previous: Sequence[Segment]) -> bool:
    """Whether a segment has a millisecond in common with one of the others, the ends included.

    >>> is_overlapping((950, 1430), [(2000, 2550), (260, 949)]), is_overlapping((2305, 2950), [(1900, 2305)])
    (False, True)
    """
    (first, last), others = _segment("is_overlapping", segment), [_segment("is_overlapping", s) for s in previous]
    return any(first <= b and last >= a for a, b in others)


def insert_audio_clip(random: np.random.RandomState, background: Any, clip: Any, previous: Sequence[Segment], *,
                      rate: int, tries: int = TRIES) -> tuple[np.ndarray, Segment | None]:
    """(the background with the clip added at a random place that is free, its segment).

    A place is drawn until it is free. After `tries` without one the background comes back as it was, with None for the
    segment: there may be no room.

    Args:
      random: as in the course, whose seeds then give the course's places; one integer is drawn for each try.
      background: (n, channels) or (n,) floating-point numbers.
      clip: the same of fewer frames; of as many channels.
      previous: the segments that are taken.
      rate: frames per second.
    Raises:
      InputError: the clip is empty or longer than the background, or their shapes do not fit.
    A sum may pass 1: `jaxnn.audio.clipped` cuts it off, as the course's files have it, and counts.
    """
    who = "insert_audio_clip"
    background, clip = (as_numpy(who, name, x) for name, x in (("background", background), ("clip", clip)))
    for name, x in (("background", background), ("clip", clip)):
        expect(x.dtype.kind == "f" and x.ndim in (1, 2), who,
               f"{name}, floating-point numbers of shape (n,) or (n, channels)", f"{x.dtype}{list(x.shape)}")
    expect(background.shape[1:] == clip.shape[1:], who, f"a clip of shape (n, {background.shape[1:]})"
           if background.ndim > 1 else "a clip of shape (n,)", str(clip.shape), "make their channels alike")
    expect(is_integer(rate, 1) and is_integer(tries, 1), who, "rate and tries, positive integers",
           f"{rate!r} and {tries!r}")
    total, length = (round(1000 * len(x) / rate) for x in (background, clip))
    expect(len(clip) > 0 and 0 < length < total, who, f"a clip of 1 to {total - 1} milliseconds, less than the "
           "background", f"{len(clip)} frames, {length} ms")
    for _ in range(tries):
        first = int(random.randint(0, total - length))
        segment = (first, first + length - 1)
        if not is_overlapping(segment, previous):
            at = first * rate // 1000
            n = min(len(clip), len(background) - at)  # a millisecond is not a whole number of frames
            mixed = background.copy()
            mixed[at:at + n] += clip[:n]
            return mixed, segment
    return background, None


def insert_ones(y: Any, end: int, *, milliseconds: int = MILLISECONDS, ones: int = ONES) -> np.ndarray:
    """Labels with 1 for so many steps behind the one in which a trigger word ends; those beyond the last are left out.

    Args:
      y: (steps,) labels, of the whole clip.
      end: milliseconds, where the word ends.
      milliseconds: of the whole clip.
    """
    who = "insert_ones"
    y = as_numpy(who, "y", y)
    expect(y.ndim == 1, who, "y of shape (steps,)", str(y.shape), "the course's y[0]" if y.ndim == 2 else "")
    expect(is_integer(milliseconds, 1) and is_integer(ones, 0), who, "milliseconds, positive, and ones, >= 0",
           f"{milliseconds!r} and {ones!r}")
    expect(is_integer(end, 0) and end <= milliseconds, who, f"end in 0 .. {milliseconds} milliseconds", repr(end))
    labelled = y.copy()
    after = int(end * len(y) / milliseconds) + 1
    labelled[after:after + ones] = 1
    return labelled


class Clip(NamedTuple):
    """A clip and what is in it.

    samples: as the background's shape.
    y: (steps,) float32, 1 behind each trigger word; 1,375 steps in the course.
    activates, negatives: the segments of the trigger words and of the others, and which recording each is:
      [((first, last), place in the list), ...].
    """

    samples: np.ndarray
    y: np.ndarray
    activates: list[tuple[Segment, int]]
    negatives: list[tuple[Segment, int]]


def synthesize(random: np.random.RandomState, background: Any, activates: Sequence[Any], negatives: Sequence[Any], *,
               rate: int, most_activates: int = 4, most_negatives: int = 2, steps: int = STEPS) -> Clip:
    """A clip of a background, up to so many recordings of the trigger word, and of others, none over another.

    How many is drawn evenly from 0 on, then which ones, then the place of each; one without room is left out.

    Args:
      random: as in the course.
      background: (n, channels) or (n,) floating-point numbers, n >= 1.
      activates, negatives: lists of recordings, as `insert_audio_clip` has them.
      rate: frames per second.
      most_activates, most_negatives: how many recordings of each kind at most, integers >= 0.
      steps: of the labels, a positive integer.
    Raises:
      InputError: an argument is not as above; or as `insert_audio_clip`.
    Source: the course's `create_training_example`.
    """
    who = "synthesize"
    for name, most, recordings in (("most_activates", most_activates, activates),
                                   ("most_negatives", most_negatives, negatives)):
        expect(is_integer(most, 0), who, f"{name}, an integer >= 0", repr(most))
        expect(most == 0 or len(recordings) > 0, who, f"recordings to insert, or {name}=0", "none")
    for name, value in (("rate", rate), ("steps", steps)):
        expect(is_integer(value, 1), who, f"{name}, a positive integer", repr(value))
    samples = as_numpy(who, "background", background)
    expect(samples.dtype.kind == "f" and samples.ndim in (1, 2) and 1000 * len(samples) >= rate, who,
           "a background of floating-point numbers, (n,) or (n, channels), of a millisecond at least",
           f"{samples.dtype}{list(samples.shape)}")
    milliseconds = round(1000 * len(samples) / rate)
    taken: list[Segment] = []
    found: list[list[tuple[Segment, int]]] = []
    for most, recordings in ((most_activates, activates), (most_negatives, negatives)):
        inserted = []
        n = int(random.randint(0, most + 1))
        for which in random.randint(len(recordings), size=n) if n else ():
            samples, segment = insert_audio_clip(random, samples, recordings[which], taken, rate=rate)
            if segment is not None:
                taken.append(segment)
                inserted.append((segment, int(which)))
        found.append(inserted)
    y = np.zeros(steps, np.float32)
    for (_, last), _ in found[0]:
        y = insert_ones(y, last, milliseconds=milliseconds)
    return Clip(samples, y, *found)


def _segment(who: str, segment: Any) -> Segment:
    fits = len(segment) == 2 and all(is_integer(n) for n in segment) and segment[0] <= segment[1]
    expect(fits, who, "segments (first, last) of milliseconds, the first not behind the last", repr(segment))
    return int(segment[0]), int(segment[1])
