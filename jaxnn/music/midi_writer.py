"""A writer of MIDI files: what it writes, `read_midi` reads back as it was."""

from pathlib import Path

from jaxnn.checks import as_path
from jaxnn.music.events import CHANNEL_KINDS, ChannelEvent, Event, MetaEvent, Midi, SystemExclusive, expect_midi

__all__ = ["midi_to_bytes", "write_midi"]

STATUS = {kind: high << 4 for high, (kind, _) in CHANNEL_KINDS.items()}


def write_midi(path: str | Path, midi: Midi) -> None:
    """Writes a MIDI file.

    Raises:
      InputError: the Midi is none that the standard allows; the message names the event. Nothing is written then.
    """
    data = midi_to_bytes(midi, "write_midi")
    as_path("write_midi", "path", path).write_bytes(data)


def midi_to_bytes(midi: Midi, who: str = "midi_to_bytes") -> bytes:
    """The bytes of a MIDI file. A status byte that equals that of the event before is left out, as the standard allows.

    Raises:
      InputError: as `write_midi`.

    >>> from jaxnn.music.events import END_OF_TRACK, MetaEvent, Midi
    >>> midi_to_bytes(Midi(0, 96, ((MetaEvent(200, END_OF_TRACK),),)))
    b'MThd\\x00\\x00\\x00\\x06\\x00\\x00\\x00\\x01\\x00`MTrk\\x00\\x00\\x00\\x05\\x81H\\xff/\\x00'
    """
    expect_midi(who, midi)
    head = b"".join(n.to_bytes(2) for n in (midi.format, len(midi.tracks), midi.ticks_per_quarter))
    return _chunk(b"MThd", head) + b"".join(_chunk(b"MTrk", _track(track)) for track in midi.tracks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return kind + len(data).to_bytes(4) + data


def _track(events: tuple[Event, ...]) -> bytes:
    parts, before, running = [], 0, 0
    for event in events:
        parts.append(_number(event.ticks - before))
        before = event.ticks
        if isinstance(event, ChannelEvent):
            status = STATUS[event.kind] | event.channel
            parts.append(bytes(event.data) if status == running else bytes((status, *event.data)))
            running = status
            continue
        running = 0
        if isinstance(event, MetaEvent):
            parts.append(bytes((0xFF, event.type)))
        elif isinstance(event, SystemExclusive):
            parts.append(b"\xf7" if event.continues else b"\xf0")
        parts += [_number(len(event.data)), event.data]
    return b"".join(parts)


def _number(value: int) -> bytes:
    """A number of variable length: seven bits in each byte, the high bit set in all but the last."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
