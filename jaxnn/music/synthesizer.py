"""A small synthesizer: notes as samples, by a few harmonics under an envelope.

    s(t) = v e(t) Σ_h a_h sin(2π h f t)        f = 440 · 2^((key - 69) / 12) Hz

Each note rises within ATTACK seconds, decays as a plucked or struck string does, higher notes faster, and dies away in
RELEASE seconds behind its end. A harmonic above half of the rate is left out: it would be heard as another, lower tone.
"""

from collections.abc import Iterable

import numpy as np

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.music.notes import Note, as_notes

__all__ = ["render"]

ATTACK, RELEASE = 0.008, 0.12  # seconds
HARMONICS = (1.0, 0.45, 0.25, 0.12, 0.07, 0.04)  # amplitudes a_h, those of a mellow piano
HALF_LIFE = 0.9  # seconds, of A4; halved with each octave up
MAX_SECONDS = 3600


def render(notes: Iterable[Note], rate: int = 22_050, *, peak: float = 0.8) -> np.ndarray:
    """(samples,) float32 in -peak .. peak: all notes together, scaled so that the loudest sample is at the peak.

    So nothing is clipped, however many notes sound at once. Without a note there is no sample.

    Args:
      notes: times in seconds, as `in_seconds` gives them.
      rate: samples a second, at least 8000.
      peak: of the loudest sample, in (0, 1].
    Raises:
      InputError: an argument is not as above, or the last note ends after an hour.
    """
    who = "render"
    notes = as_notes(who, notes)
    expect(is_integer(rate, 8000), who, "rate, an integer of at least 8000", repr(rate))
    expect(is_number(peak, 0, 1) and peak > 0, who, "peak in (0, 1]", repr(peak))
    seconds = max((note.end + RELEASE for note in notes), default=0.0)
    expect(seconds <= MAX_SECONDS, who, f"notes that end within {MAX_SECONDS} s", f"{seconds:.0f} s",
           "take a part of them, and check that their times are in seconds")
    samples = np.zeros(int(np.ceil(seconds * rate)), np.float64)
    for note in notes:
        first = round(note.start * rate)
        sound = _one(note, rate)[:len(samples) - first]
        samples[first:first + len(sound)] += sound
    loudest = np.abs(samples).max(initial=0.0)
    return (samples * (peak / loudest if loudest else 1.0)).astype(np.float32)


def _one(note: Note, rate: int) -> np.ndarray:
    frequency = 440 * 2 ** ((note.key - 69) / 12)
    length = note.end - note.start
    t = np.arange(int((length + RELEASE) * rate)) / rate
    envelope = np.minimum(t / ATTACK, 1) * 2 ** (-t / (HALF_LIFE * 440 / frequency))
    envelope *= np.clip(1 - (t - length) / RELEASE, 0, 1)
    tone = sum(a * np.sin(2 * np.pi * h * frequency * t) for h, a in enumerate(HARMONICS, 1)
               if h * frequency < rate / 2)
    return note.velocity / 127 * envelope * tone
