"""Piano rolls: which of a piano's 88 keys sounds in which frame of time."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxnn.checks import as_numpy, expect, is_integer, is_number
from jaxnn.music.notes import Note, as_notes

__all__ = ["LOWEST", "N_KEYS", "notes_of_roll", "piano_roll"]

LOWEST, N_KEYS = 21, 88  # of MIDI's numbers: A0, 27.5 Hz, to C8, 4186 Hz
MAX_FRAMES = 2**20


def piano_roll(notes: Iterable[Note], frame: float = 1.0) -> np.ndarray:
    """(time, 88) uint8: 1 where a key sounds in the middle of a frame. As many frames as the last note needs.

    Two notes of one key that follow each other without a gap become one: a roll does not tell them apart.

    Args:
      notes: times in quarter notes, or in seconds.
      frame: length of a frame in the same unit.
    Raises:
      InputError: a key is not on a piano, there would be more than a million frames, or an argument is not as above.

    >>> piano_roll([Note(0, 2, 60), Note(1, 2, 64)])[:, 39:44].tolist()
    [[1, 0, 0, 0, 0], [1, 0, 0, 0, 1]]
    """
    who = "piano_roll"
    expect(is_number(frame) and frame > 0, who, "frame, a positive number", repr(frame))
    notes = as_notes(who, notes)
    end = max((note.end for note in notes), default=0.0) / frame
    expect(end <= MAX_FRAMES, who, f"at most {MAX_FRAMES:,} frames", f"{end:,.0f}", "take longer frames")
    roll = np.zeros((int(np.ceil(end)), N_KEYS), np.uint8)
    for note in notes:
        expect(LOWEST <= note.key < LOWEST + N_KEYS, who, f"keys in {LOWEST} .. {LOWEST + N_KEYS - 1}, a piano's",
               str(note.key), "leave the note out, or move it by octaves")
        # Frame t has its middle at t + 1/2, so that it is in [start, end) from ceil(start - 1/2) on.
        first, behind = (int(np.ceil(time / frame - 0.5)) for time in (note.start, note.end))
        roll[first:behind, note.key - LOWEST] = 1
    return roll


def notes_of_roll(roll: Any, frame: float = 1.0, *, velocity: int = 80, channel: int = 0) -> list[Note]:
    """The notes of a roll, by their start: a key that sounds in frames one after another is one note.

    Args:
      roll: (time, 88), 0 or False where a key is silent, 1 or True where it sounds.
      frame: length of a frame in quarter notes, or in seconds; the notes' times are in the same unit.
      velocity, channel: of all notes.
    Raises:
      InputError: an argument is not as above.
    """
    who = "notes_of_roll"
    roll = as_numpy(who, "roll", roll)
    expect(roll.ndim == 2 and roll.shape[1] == N_KEYS and bool(np.isin(roll, (0, 1)).all()), who,
           f"roll (time, {N_KEYS}) of 0 and 1", f"{roll.dtype} of shape {roll.shape}")
    expect(is_number(frame) and frame > 0, who, "frame, a positive number", repr(frame))
    expect(is_integer(velocity, 1) and velocity < 128, who, "velocity in 1 .. 127", repr(velocity))
    silent = np.zeros((1, N_KEYS), int)
    steps = np.diff(np.concatenate([silent, roll.astype(int), silent]), axis=0)
    # By key, then by time: the n-th beginning of a key and its n-th end belong together.
    starts, ends = (np.argwhere(steps.T == step) for step in (1, -1))  # noqa: SIM300
    notes = [Note(float(start * frame), float(end * frame), int(key) + LOWEST, velocity, channel)
             for (key, start), (_, end) in zip(starts, ends, strict=True)]
    return sorted(notes, key=lambda note: (note.start, note.key))
