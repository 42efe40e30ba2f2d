"""The solo and the chords of a tune, bar by bar, as the course's assignment takes them from its MIDI file.

Times are moved to the nearest quarter or third of a quarter note. Notes of a track that begin and end within a
sixteenth of a quarter note are one chord; the notes of the solo are those that are in none. The two editions of the
assignment differ in the release of music21 that they use: the one of 2018 finds notes alone, 78 different symbols among
193, the one of 2021 the rests between them too, 90 among 275.
"""

import math
from pathlib import Path
from typing import NamedTuple

from experiments.course5.jazz.grammar import symbol
from jaxnn.data import load_metheny
from jaxnn.music import Midi, notes_of

__all__ = ["EDITIONS", "Bar", "Tune", "metheny", "nursery_tune"]

EDITIONS = ("2018", "2021")
SOLO, PIANO = 11, 6  # tracks of the file
BEGIN, END = 476, 548  # quarter notes: the part with a solo
BAR = 4.0
TOGETHER = 1 / 16  # quarter notes
GRIDS = (4, 3)  # parts of a quarter note
# Frère Jacques, traditional, as (key, quarter notes), and the chords of its bars.
NURSERY = ((60, 1), (62, 1), (64, 1), (60, 1), (60, 1), (62, 1), (64, 1), (60, 1), (64, 1), (65, 1), (67, 2), (64, 1),
           (65, 1), (67, 2), (67, 0.5), (69, 0.5), (67, 0.5), (65, 0.5), (64, 1), (60, 1), (67, 0.5), (69, 0.5),
           (67, 0.5), (65, 0.5), (64, 1), (60, 1), (60, 1), (55, 1), (60, 2), (60, 1), (55, 1), (60, 2))


class Chord(NamedTuple):
    """start: quarter notes since the beginning of its bar; length: quarter notes; keys: MIDI's numbers."""

    start: float
    length: float
    keys: tuple[int, ...]


class Bar(NamedTuple):
    """symbols: of the solo; chords: by their start, at least one."""

    symbols: list[str]
    chords: list[Chord]


class Tune(NamedTuple):
    name: str
    bars: list[Bar]
    beats_per_minute: float

    @property
    def symbols(self) -> list[str]:
        return [text for bar in self.bars for text in bar.symbols]


class Group(NamedTuple):
    """Notes of a track that sound as one: one note, or a chord. start and end in quarter notes."""

    start: float
    end: float
    keys: tuple[int, ...]


def metheny(edition: str, directory: Path | None = None) -> Tune:
    """The course's tune. edition: "2018", notes alone; "2021", rests too.

    Raises:
      MissingData, BadFile: as `jaxnn.data.load_metheny`.
    """
    midi = load_metheny(directory, instead="--data nursery")
    solo = _groups(midi, SOLO)
    notes: list[tuple[float, float, int | None]] = [
        (group.start, group.end - group.start, group.keys[0]) for group in solo
        if len(group.keys) == 1 and BEGIN <= group.start < END]
    if edition == "2021":
        notes += [(start, length, None) for start, length in _rests(solo) if BEGIN <= start < END]
    notes.sort(key=lambda note: note[0])
    chords = [group for group in _groups(midi, PIANO) if len(group.keys) > 1 and BEGIN <= group.start < END]
    return Tune(f"Metheny, edition {edition}", _bars(notes, chords), 130.0)  # the tempo at which the course plays solos


def _groups(midi: Midi, track: int) -> list[Group]:
    """The notes of a track by their start, those that sound as one together, on the grid. A chord begins and ends with
    its first note; a length of nothing becomes that of a quarter of a quarter note."""
    notes, groups, used = notes_of(midi, track), [], set()
    for i, note in enumerate(notes):
        if i in used:
            continue
        members = [note]
        for j in range(i + 1, len(notes)):
            if notes[j].start - note.start > TOGETHER:
                break
            if abs(notes[j].end - note.end) <= TOGETHER:  # a note may be in two chords
                members.append(notes[j])
                used.add(j)
        start, length = on_grid(note.start), on_grid(note.end - note.start) or 1 / max(GRIDS)
        groups.append(Group(start, start + length, tuple(member.key for member in members)))
    return sorted(groups, key=lambda group: group.start)


def on_grid(time: float) -> float:
    """The nearest multiple of a quarter or a third: of two as near the smaller one."""
    def nearest(parts: int) -> tuple[float, float]:
        below = math.floor(time * parts)
        value = below if time * parts - below <= 0.5 else below + 1
        return round(abs(time - value / parts), 7), value / parts

    return min(map(nearest, GRIDS))[1]


def _rests(groups: list[Group]) -> list[tuple[float, float]]:
    """(start, length) of the gaps in the upper voice: what begins before the voice is free belongs to the lower."""
    free, rests = 0.0, []
    for group in groups:
        if group.start < free - 1e-9:
            continue
        if group.start > free + 1e-9:
            rests.append((free, group.start - free))
        free = group.end
    return rests


def _bars(notes: list[tuple[float, float, int | None]], chords: list[Group]) -> list[Bar]:
    bars = []
    for number in sorted({int(start // BAR) for start, _, _ in notes}):
        begin = number * BAR
        of_bar = [Chord(chord.start - begin, chord.end - chord.start, chord.keys) for chord in chords
                  if begin <= chord.start < begin + BAR]
        symbols, before = [], None
        for start, length, key in (note for note in notes if begin <= note[0] < begin + BAR):
            past = [chord for chord in of_bar if chord.start <= start - begin + 1e-9]
            symbols.append(symbol(key, length, (past or of_bar[:1])[-1].keys, before))
            before = before if key is None else key
        bars.append(Bar(symbols, of_bar))
    return bars


def nursery_tune() -> Tune:
    """Frère Jacques twice, in C and in F, over the chord of its key: a tune that needs no file."""
    notes: list[tuple[float, float, int | None]] = []
    chords, start = [], 0.0
    for tonic in (0, 5):
        for n in range(8):
            chords.append(Group(start + n * BAR, start + (n + 1) * BAR, tuple(48 + tonic + k for k in (0, 4, 7))))
        for key, length in NURSERY:
            notes.append((start, float(length), key + tonic))
            start += length
    return Tune("Frère Jacques", _bars(notes, chords), 110.0)
