"""Notes of a MIDI file, in quarter notes and in seconds; and a MIDI file of notes."""

import bisect
import itertools
import math
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jaxnn.checks import InputError, expect, is_integer, is_number
from jaxnn.music.events import END_OF_TRACK, MAX_DELTA, METRE, TEMPO, ChannelEvent, Event, MetaEvent, Midi

__all__ = ["Note", "as_notes", "in_seconds", "metres_of", "midi_of", "notes_of", "tempos_of"]

MICROSECONDS = 500_000  # of a quarter note, where a file does not tell: 120 of them a minute


class Note(NamedTuple):
    """One note.

    start, end: in quarter notes since the beginning; or in seconds, as `in_seconds` gives them.
    key: 0 to 127; 60 is C4, 69 is A4 of 440 Hz.
    velocity: how hard it is struck, 1 to 127.
    channel: 0 to 15.
    """

    start: float
    end: float
    key: int
    velocity: int = 80
    channel: int = 0


def notes_of(midi: Midi, track: int | None = None) -> list[Note]:
    """The notes of a file, or of one of its tracks, by their start, times in quarter notes; notes that begin
    together stand as in the file.

    A note-on of velocity 0 is a note-off. Of two notes of one key and channel that sound together, the one that began
    first ends first. A note-off of a key that does not sound means nothing.

    Raises:
      InputError: there is no such track; or a note is never ended.
    """
    who = "notes_of"
    expect(isinstance(midi, Midi), who, "a Midi", type(midi).__name__, "read it with read_midi")
    expect(track is None or (is_integer(track, 0) and track < len(midi.tracks)), who,
           f"track in 0 .. {len(midi.tracks) - 1}, or None for all", repr(track))
    notes = [note for events in (midi.tracks if track is None else (midi.tracks[track],))
             for note in _notes_of_track(events, midi.ticks_per_quarter)]
    return sorted(notes, key=lambda note: note.start)


def _notes_of_track(events: Iterable[Event], ticks_per_quarter: int) -> list[Note]:
    sounding: defaultdict[tuple[int, int], deque[int]] = defaultdict(deque)  # places in notes
    notes: list[Note] = []
    for event in events:
        if not isinstance(event, ChannelEvent) or event.kind not in ("note_on", "note_off"):
            continue
        key, velocity = event.data
        begun = sounding[event.channel, key]
        if event.kind == "note_on" and velocity:
            begun.append(len(notes))
            notes.append(Note(event.ticks / ticks_per_quarter, math.inf, key, velocity, event.channel))
        elif begun:
            place = begun.popleft()
            notes[place] = notes[place]._replace(end=event.ticks / ticks_per_quarter)
    for (channel, key), begun in sounding.items():
        if begun:
            raise InputError("notes_of", f"expects a note-off for each note; got none for key {key} of channel "
                             f"{channel} that begins at quarter note {notes[begun[0]].start:g}; add a "
                             "note-off, or leave the note out")
    return notes


def tempos_of(midi: Midi) -> list[tuple[float, int]]:
    """[(quarter note, microseconds for a quarter note from there on)] by time, the first at 0. Of several at one time
    the last counts. Tempo events in any track count for all."""
    return _changes(midi, TEMPO, MICROSECONDS, int.from_bytes)


def metres_of(midi: Midi) -> list[tuple[float, tuple[int, int]]]:
    """[(quarter note, (beats in a bar, the note that is a beat: 4 for a quarter))], by time, the first at 0; 4/4 where
    a file does not tell."""
    return _changes(midi, METRE, (4, 4), lambda data: (data[0], 2**data[1]))


def _changes(midi: Midi, kind: int, default: Any, value_of: Any) -> list[Any]:
    expect(isinstance(midi, Midi), "tempos_of and metres_of", "a Midi", type(midi).__name__, "read it with read_midi")
    found = {0: default}
    events = [event for track in midi.tracks for event in track if isinstance(event, MetaEvent) and event.type == kind]
    for event in sorted(events, key=lambda event: event.ticks):
        found[event.ticks] = value_of(event.data)
    return [(ticks / midi.ticks_per_quarter, value) for ticks, value in sorted(found.items())]


def in_seconds(notes: Iterable[Note], tempos: Sequence[tuple[float, int]]) -> list[Note]:
    """The notes with start and end in seconds.

    Args:
      notes: times in quarter notes.
      tempos: as of `tempos_of`; [(0, 500_000)] for 120 quarter notes a minute throughout.
    """
    who = "in_seconds"
    fits = (len(tempos) > 0 and tempos[0][0] == 0 and all(is_integer(n, 1) for _, n in tempos)
            and all(a[0] < b[0] for a, b in itertools.pairwise(tempos)))
    expect(fits, who, "tempos by time, the first at 0, of positive microseconds", repr(list(tempos[:3])))
    starts = [0.0]  # of each tempo, in seconds
    for (a, microseconds), (b, _) in itertools.pairwise(tempos):
        starts.append(starts[-1] + (b - a) * microseconds / 1e6)

    places = [at for at, _ in tempos]

    def seconds(quarter: float) -> float:
        n = bisect.bisect_right(places, quarter) - 1
        return starts[n] + (quarter - tempos[n][0]) * tempos[n][1] / 1e6

    return [note._replace(start=seconds(note.start), end=seconds(note.end)) for note in as_notes(who, notes)]


def midi_of(notes: Iterable[Note], *, beats_per_minute: float = 120.0, metre: tuple[int, int] = (4, 4),
            programs: dict[int, int] | None = None, ticks_per_quarter: int = 480) -> Midi:
    """A file of format 1: a track with tempo and metre, and a track for each channel.

    Args:
      notes: times in quarter notes, rounded to ticks.
      beats_per_minute: quarter notes a minute.
      metre: (beats in a bar, the note that is a beat); that note is a power of two up to 128.
      programs: the instrument of a channel, 0 to 127; 0, a piano, where it is not named.
      ticks_per_quarter: how finely time is divided.
    Raises:
      InputError: an argument is not as above, or a note begins and ends at one tick.
    """
    who = "midi_of"
    expect(is_number(beats_per_minute, 0) and 4 <= beats_per_minute <= 6e7, who, "beats_per_minute in 4 .. 6e7",
           repr(beats_per_minute))
    beats, unit = metre
    expect(is_integer(beats, 1) and beats < 256 and unit in (1, 2, 4, 8, 16, 32, 64, 128), who,
           "metre, such as (3, 4)", repr(metre))
    programs = programs or {}
    channels: dict[int, list[tuple[int, int, ChannelEvent]]] = {}
    for note in as_notes(who, notes):
        on, off = (round(time * ticks_per_quarter) for time in (note.start, note.end))
        expect(on < off <= MAX_DELTA, who, f"notes of at least one tick, 1 / {ticks_per_quarter} of a quarter note, "
               "that end within the longest time a file can tell", repr(note), "give more ticks_per_quarter")
        events = channels.setdefault(note.channel, [])
        # Of events at one time those that end notes come first: a key that is struck again was released before.
        events.append((on, 1, ChannelEvent(on, "note_on", note.channel, (note.key, note.velocity))))
        events.append((off, 0, ChannelEvent(off, "note_off", note.channel, (note.key, 0))))
    conductor = (MetaEvent(0, TEMPO, round(6e7 / beats_per_minute).to_bytes(3)),
                 MetaEvent(0, METRE, bytes((beats, unit.bit_length() - 1, 24, 8))), MetaEvent(0, END_OF_TRACK))
    tracks: list[tuple[Event, ...]] = [conductor]
    for channel, events in sorted(channels.items()):
        program = ChannelEvent(0, "program", channel, (programs.get(channel, 0),))
        ordered = [event for _, _, event in sorted(events, key=lambda e: e[:2])]
        tracks.append((program, *ordered, MetaEvent(ordered[-1].ticks, END_OF_TRACK)))
    return Midi(1, ticks_per_quarter, tuple(tracks))


def as_notes(who: str, notes: Iterable[Note]) -> list[Note]:
    """The notes as a list, each looked at.

    Raises:
      InputError: a note ends before it begins, begins before 0, or has a key, velocity or channel out of range.
    """
    notes = list(notes)
    for note in notes:
        fits = (isinstance(note, Note) and is_number(note.start, 0) and is_number(note.end, note.start)
                and is_integer(note.key, 0) and note.key < 128 and is_integer(note.velocity, 1) and note.velocity < 128
                and is_integer(note.channel, 0) and note.channel < 16)
        expect(fits, who, "notes with 0 <= start <= end, key in 0..127, velocity in 1..127, channel in 0..15",
               repr(note))
    return notes
