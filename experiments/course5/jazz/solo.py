"""A solo of symbols as notes over chords."""

from collections.abc import Sequence

import numpy as np

from experiments.course5.jazz.grammar import fitting_scale, semitones_of, spelled
from experiments.course5.jazz.tune import BAR, Bar
from jaxnn.music import Note

__all__ = ["comping", "played"]

SHORTEST = 0.05  # quarter notes: a bar of rounded lengths, such as 0.333, may leave less than this over
LOWEST, HIGHEST, MIDDLE = 52, 88, 72  # of a guitar, E3 to E6, and where a solo begins


def played(bars: Sequence[Sequence[str]], harmony: Sequence[Bar], rng: np.random.Generator) -> list[Note]:
    """The notes of a solo, times in quarter notes, the symbols of each bar over its chords.

    Each symbol leaves a choice, which is drawn: of the tones of its kind within its intervals from the note before. If
    there is none, the nearest tone of its kind to that note is taken. A tone outside of a guitar's range moves by an
    octave. What does not fit into a bar is cut at its end, and left out where next to nothing would be left.
    """
    notes: list[Note] = []
    before = MIDDLE
    for number, (symbols, bar) in enumerate(zip(bars, harmony, strict=True)):
        start = 0.0
        for text in symbols:
            kind, length, *intervals = text.replace("<", "").replace(">", "").split(",")
            end = min(start + float(length), BAR)
            if end - start < SHORTEST:
                break
            if kind != "R":
                past = [chord for chord in bar.chords if chord.start <= start + 1e-9] or bar.chords[:1]
                before = _tone(kind, sorted(map(semitones_of, intervals)), past[-1].keys, before, rng)
                notes.append(Note(number * BAR + start, number * BAR + end, before, 100, 0))
            start = end
    return notes


def _tone(kind: str, intervals: list[int], chord: Sequence[int], before: int, rng: np.random.Generator) -> int:
    low, high = intervals if intervals else (-4, 4)
    middle = before + (low + high) / 2
    tones = [key for key in range(LOWEST - 12, HIGHEST + 13) if _fits(kind, key, chord)]
    inside = [key for key in tones if before + low <= key <= before + high and key != before]
    key = int(rng.choice(inside)) if inside else min(tones, key=lambda tone: abs(tone - middle))
    while key < LOWEST:
        key += 12
    while key > HIGHEST:
        key -= 12
    return key


def _fits(kind: str, key: int, chord: Sequence[int]) -> bool:
    if kind == "C":
        return key % 12 in {tone % 12 for tone in chord}
    if kind == "S":
        return spelled(key).name in fitting_scale(chord)
    return any((tone - key) % 12 in (1, 11) for tone in chord)  # A and X


def comping(harmony: Sequence[Bar]) -> list[Note]:
    """The chords of the tune, on channel 1."""
    return [Note(number * BAR + chord.start, number * BAR + min(chord.start + max(chord.length, 0.25), BAR), key, 55, 1)
            for number, bar in enumerate(harmony) for chord in bar.chords for key in sorted(set(chord.keys))]
