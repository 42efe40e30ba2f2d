"""What a MIDI file holds: tracks of events, each at its time.

Time is counted in ticks from the beginning of the track; a quarter note has `ticks_per_quarter` of them. How long a
quarter note lasts is itself an event, the meta event "tempo".
Source: MIDI Manufacturers Association, Standard MIDI Files 1.0 (RP-001).
"""

from typing import Any, NamedTuple

from jaxnn.checks import expect, is_integer

__all__ = ["CHANNEL_KINDS", "END_OF_TRACK", "FIXED_LENGTHS", "KEY_SIGNATURE", "MAX_DELTA", "METRE", "TEMPO",
           "TRACK_NAME", "ChannelEvent", "Event", "MetaEvent", "Midi", "SystemExclusive", "expect_midi", "meta_problem"]

# The high half of a status byte, and how many data bytes follow.
CHANNEL_KINDS = {0x8: ("note_off", 2), 0x9: ("note_on", 2), 0xA: ("key_pressure", 2), 0xB: ("control", 2),
                 0xC: ("program", 1), 0xD: ("channel_pressure", 1), 0xE: ("pitch_bend", 2)}

TRACK_NAME, END_OF_TRACK, TEMPO, METRE, KEY_SIGNATURE = 0x03, 0x2F, 0x51, 0x58, 0x59
# How many bytes a meta event has, where the standard fixes this: channel prefix, port, end of track, tempo, SMPTE
# offset, metre, key signature.
FIXED_LENGTHS = {0x20: 1, 0x21: 1, END_OF_TRACK: 0, TEMPO: 3, 0x54: 5, METRE: 4, KEY_SIGNATURE: 2}

MAX_DELTA = 2**28 - 1  # ticks between two events of a track: the largest number of variable length, of four bytes


class ChannelEvent(NamedTuple):
    """A message to one of the 16 channels.

    ticks: since the beginning of the track.
    kind: "note_on", "note_off", "key_pressure", "control", "program", "channel_pressure" or "pitch_bend".
    channel: 0 to 15.
    data: one or two numbers in 0..127: key and velocity of a note, number and value of a control.
    """

    ticks: int
    kind: str
    channel: int
    data: tuple[int, ...]


class MetaEvent(NamedTuple):
    """What is said about the music, and not to an instrument: a tempo, a metre, a name.

    ticks: since the beginning of the track.
    type: 0 to 127.
    data: the bytes of the event, which mean what the type says.
    """

    ticks: int
    type: int
    data: bytes = b""


class SystemExclusive(NamedTuple):
    """A message of an instrument's maker.

    ticks: since the beginning of the track.
    data: the bytes behind the status byte; a message that is whole ends with 0xF7.
    continues: whether the status byte is 0xF7, of a message that an earlier event began, and not 0xF0.
    """

    ticks: int
    data: bytes
    continues: bool = False


Event = ChannelEvent | MetaEvent | SystemExclusive


class Midi(NamedTuple):
    """A MIDI file.

    format: 0, one track; or 1, tracks that are played together.
    ticks_per_quarter: 1 to 32767.
    tracks: the events of each track by time, the last of them the meta event END_OF_TRACK.
    """

    format: int
    ticks_per_quarter: int
    tracks: tuple[tuple[Event, ...], ...]


def meta_problem(type: int, data: bytes) -> str:
    """What is wrong with a meta event; empty if nothing is."""
    length = FIXED_LENGTHS.get(type)
    if length is not None and len(data) != length:
        return f"{len(data)} bytes in a meta event 0x{type:02X}, which has {length}"
    if type == 0x00 and len(data) not in (0, 2):
        return f"{len(data)} bytes in a sequence number, which has 0 or 2"
    if type == TEMPO and not any(data):
        return "a tempo of 0 microseconds for a quarter note"
    if type == METRE and (data[0] == 0 or data[1] > 7):
        return f"a metre of {data[0]}/2^{data[1]}"
    if type == KEY_SIGNATURE and (not -7 <= int.from_bytes(data[:1], signed=True) <= 7 or data[1] > 1):
        return f"a key signature of the bytes {data.hex(' ')}"
    return ""


def expect_midi(who: str, midi: Any) -> None:
    """Raises InputError unless this is a Midi that can be written as a file."""
    expect(isinstance(midi, Midi), who, "a Midi", type(midi).__name__)
    expect(midi.format in (0, 1), who, "format 0 or 1", repr(midi.format))
    n = len(midi.tracks)
    expect(n == 1 if midi.format == 0 else 1 <= n < 2**16, who,
           "one track in format 0, and 1 to 65535 in format 1", f"{n} in format {midi.format}")
    expect(is_integer(midi.ticks_per_quarter, 1) and midi.ticks_per_quarter < 2**15, who,
           "ticks_per_quarter in 1 .. 32767", repr(midi.ticks_per_quarter))
    for number, track in enumerate(midi.tracks):
        ends = [i for i, event in enumerate(track) if isinstance(event, MetaEvent) and event.type == END_OF_TRACK]
        expect(ends == [len(track) - 1], who, "tracks that end with END_OF_TRACK", f"{len(ends)} of them in track "
               f"{number} of {len(track)} events", "append MetaEvent(ticks, END_OF_TRACK)")
        before = 0
        for event in track:
            where = f"event {event!r} of track {number}"
            expect(is_integer(event.ticks, before) and event.ticks - before <= MAX_DELTA, who,
                   f"events by time, at most {MAX_DELTA} ticks apart", where)
            before = event.ticks
            _expect_event(who, event, where)


def _expect_event(who: str, event: Any, where: str) -> None:
    if isinstance(event, ChannelEvent):
        lengths = dict(CHANNEL_KINDS.values())
        fits = (event.kind in lengths and is_integer(event.channel, 0) and event.channel < 16
                and len(event.data) == lengths[event.kind]
                and all(is_integer(n, 0) and n < 128 for n in event.data))
        expect(fits, who, "a known kind, a channel in 0..15, and one or two data in 0..127", where)
        return
    expect(isinstance(event, MetaEvent | SystemExclusive) and isinstance(event.data, bytes), who,
           "a ChannelEvent, or a MetaEvent or SystemExclusive with bytes", where)
    expect(len(event.data) <= MAX_DELTA, who, f"at most {MAX_DELTA} bytes in an event", f"{len(event.data)}")
    if isinstance(event, MetaEvent):
        expect(is_integer(event.type, 0) and event.type < 128, who, "a type in 0..127", where)
        problem = meta_problem(event.type, event.data)
        expect(not problem, who, "a meta event as the standard has it", problem)
