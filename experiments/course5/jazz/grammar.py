"""The course's grammar of a solo: each note as a symbol that says what it is to its chord, how long it lasts, and where
it may lie.

    C,0.250,<M3,d-3>        a chord tone of a quarter of a quarter note, between a major third above and a diminished
                            third below the note before

The letter is C for a tone of the chord, S for one of a scale that fits the chord, A for an approach, a semitone beside
a tone of the chord, X for any other, R for a rest. The two intervals are that from the note before, plus and minus a
minor third. They are named as in a score, so every key has a spelling: the one of fewest accidentals, C# E♭ F# G# B♭.
Source: Gillick, Tang & Keller (2009), Learning jazz grammars; Kim (2016), deepjazz, as used in course 5, week 1.
"""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Spelled", "fitting_scale", "interval_name", "is_major", "kind_of", "semitones_of", "spelled", "symbol"]

LETTERS = "CDEFGAB"
NATURAL = (0, 2, 4, 5, 7, 9, 11)  # semitones of the letters above C
SPELLING = ((0, 0), (0, 1), (1, 0), (2, -1), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (6, -1), (6, 0))
MAJOR, DORIAN = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 9, 10)
# Where a scale may begin, as (letter, accidental); of two that fit equally the later one is taken, by its height.
TONICS = ((0, 0), (0, 1), (1, -1), (1, 0), (1, 1), (2, -1), (2, 0), (3, 0), (3, 1), (4, 0), (4, 1), (5, 0), (6, -1),
          (6, 0), (0, -1))
MINOR_THIRD = (2, 3)  # letters, semitones
PERFECT = (0, 3, 4)  # letters above: unison, fourth, fifth


class Spelled(NamedTuple):
    """A tone: its letter, 0 for C to 6 for B; its accidental, 1 for a sharp; its octave, 4 for the one from C4 on."""

    letter: int
    accidental: int
    octave: int

    @property
    def name(self) -> tuple[int, int]:
        return self.letter, self.accidental

    @property
    def key(self) -> int:
        """MIDI's number."""
        return 12 * (self.octave + 1) + NATURAL[self.letter] + self.accidental


def spelled(key: int) -> Spelled:
    """MIDI's number as a tone."""
    return Spelled(*SPELLING[key % 12], key // 12 - 1)


# Chords and scales.


def is_major(chord: Sequence[int]) -> bool:
    """Whether the chord is a major triad with or without other tones: the third and fifth letters above its root stand
    4 and 7 semitones above, or there is no fifth; and none of these three letters is there in two ways."""
    tones = [spelled(key) for key in chord]
    root = _root(tones)
    steps = {step: {(tone.key - root.key) % 12 for tone in tones if (tone.letter - root.letter) % 7 == step}
             for step in (0, 2, 4)}
    return steps[0] == {0} and steps[2] == {4} and steps[4] in ({7}, set())


def _root(tones: Sequence[Spelled]) -> Spelled:
    """The tone above which the others stand in thirds: the first for which that holds, else the one with the most and
    the nearest thirds."""
    letters = {tone.letter for tone in tones}

    def thirds(tone: Spelled) -> list[bool]:
        return [(tone.letter + step) % 7 in letters for step in (2, 4, 6, 1, 3, 5)]

    for tone in tones:
        if all(thirds(tone)[:len(letters) - 1]):
            return tone
    return max(tones, key=lambda tone: sum(1 / (n + 6) for n, is_there in enumerate(thirds(tone)) if is_there))


def fitting_scale(chord: Sequence[int]) -> set[tuple[int, int]]:
    """The tones, as (letter, accidental), of the scale that holds the most tones of the chord: a major scale for a
    major chord, a Dorian one for any other. Of several the one with the highest tonic between C4 and B4."""
    steps = MAJOR if is_major(chord) else DORIAN

    def height(tonic: tuple[int, int]) -> int:
        return NATURAL[tonic[0]] + tonic[1]

    def fit(tonic: tuple[int, int]) -> tuple[int, int]:
        classes = {(height(tonic) + step) % 12 for step in steps}
        return len(classes & {key % 12 for key in chord}), height(tonic)

    letter, accidental = max(reversed(TONICS), key=fit)
    names = set()
    for n, step in enumerate(steps):
        degree = (letter + n) % 7
        natural = NATURAL[degree] + (12 if letter + n >= 7 else 0)
        names.add((degree, height((letter, accidental)) + step - natural))
    return names


def kind_of(key: int, chord: Sequence[int]) -> str:
    """C, S, A or X: what a tone is to a chord, both as MIDI's numbers."""
    if key % 12 in {tone % 12 for tone in chord}:
        return "C"
    if spelled(key).name in fitting_scale(chord):
        return "S"
    return "A" if any((tone - key) % 12 in (1, 11) for tone in chord) else "X"


# Intervals, as (letters, semitones), both negative downwards.


def interval_name(letters: int, semitones: int) -> str:
    """M3 for a major third up, m-6 for a minor sixth down, P1, A4, d5, dd2.

    >>> interval_name(2, 4), interval_name(-5, -8), interval_name(0, -1)
    ('M3', 'm-6', 'd1')
    """
    sign = -1 if letters < 0 else 1
    octaves, step = divmod(abs(letters), 7)
    more = sign * semitones - 12 * octaves - NATURAL[step]  # than in the major scale
    if step in PERFECT:
        quality = "P" if more == 0 else "A" * more if more > 0 else "d" * -more
    else:
        quality = {0: "M", -1: "m"}.get(more, "A" * more if more > 0 else "d" * (-more - 1))
    return f"{quality}{sign * (abs(letters) + 1)}"


def semitones_of(name: str) -> int:
    """Of an interval as `interval_name` writes it.

    >>> semitones_of("m-6"), semitones_of("dd2"), semitones_of("d1")
    (-8, -1, -1)
    """
    quality = name.rstrip("-0123456789")
    number = int(name[len(quality):])
    octaves, step = divmod(abs(number) - 1, 7)
    if quality in ("P", "M", "m"):
        more = -1 if quality == "m" else 0
    elif quality[0] == "A":
        more = len(quality)
    else:
        more = -len(quality) if step in PERFECT else -len(quality) - 1
    return (-1 if number < 0 else 1) * (12 * octaves + NATURAL[step] + more)


def symbol(key: int | None, length: float, chord: Sequence[int], before: int | None) -> str:
    """The symbol of a note.

    Args:
      key: MIDI's number; None for a rest.
      length: quarter notes.
      chord: MIDI's numbers of the tones that sound.
      before: the note before in its bar; None for the first.
    """
    if key is None:
        return f"R,{length:.3f}"
    text = f"{kind_of(key, chord)},{length:.3f}"
    if before is None:
        return text
    start, end = spelled(before), spelled(key)
    letters = end.letter - start.letter + 7 * (end.octave - start.octave)
    upper, lower = (interval_name(letters + sign * MINOR_THIRD[0], end.key - start.key + sign * MINOR_THIRD[1])
                    for sign in (1, -1))
    return f"{text},<{upper},{lower}>"
