"""A reader of MIDI files that trusts nothing in a file's own description.

    MThd  length  format  number of tracks  ticks per quarter      the head
    MTrk  length  (delta time, event) (delta time, event) ...      each track, up to its end-of-track event

Every length is compared with what is there before anything is taken by it. What the standard forbids is refused and
not guessed at: a status byte that is missing, a data byte above 127, a track without its end, one track more or less
than the head tells.
"""

from pathlib import Path

from jaxnn.checks import as_path, expect, is_integer
from jaxnn.file_errors import BadFile, MissingData
from jaxnn.music.events import (
    CHANNEL_KINDS,
    END_OF_TRACK,
    ChannelEvent,
    Event,
    MetaEvent,
    Midi,
    SystemExclusive,
    meta_problem,
)

__all__ = ["midi_from_bytes", "read_midi"]

MAX_BYTES = 2**22  # an event takes two bytes at least, and about 140 where it is read
FOREIGN = {b"RIFF": "a RIFF file, such as WAV or RMI", b"OggS": "an Ogg file", b"ID3": "an MP3 file", b"\xff\xfb":
           "an MP3 file", b"fLaC": "a FLAC file", b"<": "a page of HTML or XML", b"PK": "a zip archive"}


def read_midi(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Midi:
    """Reads a MIDI file of format 0 or 1.

    Args:
      path: a regular file.
      max_bytes: the largest file that is read. The default, 4 MB, can hold two million events, which take about 300 MB.
    Raises:
      MissingData: there is no such file.
      BadFile: the file is cut off, damaged, of another format, or tells lengths that are not there; the message names
        the byte. Format 2 and time in SMPTE frames are refused too.
    Source: MIDI Manufacturers Association, Standard MIDI Files 1.0 (RP-001).
    """
    path = as_path("read_midi", "path", path)
    expect(is_integer(max_bytes, 1), "read_midi", "max_bytes, a positive integer", repr(max_bytes))
    if not path.exists():
        raise MissingData(f"{path} expects a MIDI file; got no such file; check the path")
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "something other than a regular file"
        raise BadFile(f"{path} expects a MIDI file; got {kind}; name the file itself")
    if (size := path.stat().st_size) > max_bytes:
        raise BadFile(f"{path} expects a MIDI file of at most {max_bytes:,} bytes; got {size:,}; check that this is "
                      "the right file, and pass max_bytes= if so")
    return midi_from_bytes(path.read_bytes(), str(path))


def midi_from_bytes(data: bytes, name: str = "midi_from_bytes") -> Midi:
    """The bytes of a MIDI file as its events.

    Args:
      data: the whole file.
      name: of the file, for messages.
    Raises:
      BadFile: as `read_midi`.
    """
    expect(isinstance(data, bytes | bytearray | memoryview), "midi_from_bytes", "bytes", type(data).__name__)
    reader = _Reader(bytes(data), name)
    file_format, n_tracks, ticks_per_quarter = reader.head()
    tracks = []
    while reader.at < len(reader.data):
        kind, end = reader.chunk()
        if kind == b"MTrk":
            tracks.append(reader.track(end))
        reader.at = end  # chunks of other kinds are to be ignored, the standard says
    if len(tracks) != n_tracks:
        raise reader.bad(f"{n_tracks} tracks, as the head tells", f"{len(tracks)}")
    return Midi(file_format, ticks_per_quarter, tuple(tracks))


class _Reader:
    """Bytes of a file, and the place of the next."""

    def __init__(self, data: bytes, name: str):
        self.data, self.name, self.at = data, name, 0

    def bad(self, expected: str, actual: str, at: int | None = None) -> BadFile:
        place = f" at byte {self.at if at is None else at}"
        return BadFile(f"{self.name} expects {expected}{place}; got {actual}; get the file again, or save it again as "
                       "a standard MIDI file of format 0 or 1")

    def head(self) -> tuple[int, int, int]:
        """(format, number of tracks, ticks per quarter)."""
        if self.data[:4] != b"MThd":
            foreign = next((what for start, what in FOREIGN.items() if self.data.startswith(start)), None)
            actual = foreign or ("an empty file" if not self.data else f"{self.data[:4]!r}")
            raise self.bad("a MIDI file, which begins with b'MThd'", actual)
        _, end = self.chunk()
        if end - self.at < 6:
            raise self.bad("a head of 6 bytes", f"{end - self.at}")
        file_format, n_tracks, division = (int.from_bytes(self.data[self.at + i:self.at + i + 2]) for i in (0, 2, 4))
        if file_format not in (0, 1):
            raise self.bad("format 0 or 1", f"{file_format}")
        if n_tracks == 0 or (file_format == 0 and n_tracks != 1):
            raise self.bad("one track in format 0, and at least one in format 1", f"{n_tracks} in format {file_format}")
        if not 0 < division < 2**15:
            actual = "0" if division == 0 else f"time in SMPTE frames, {256 - (division >> 8)} a second"
            raise self.bad("ticks per quarter note in 1 .. 32767", actual, self.at + 4)
        self.at = end  # a longer head is of a later standard: what is behind is to be ignored
        return file_format, n_tracks, division

    def chunk(self) -> tuple[bytes, int]:
        """(the kind of the next chunk, where it ends)."""
        if len(self.data) - self.at < 8:
            raise self.bad("a chunk, of at least 8 bytes,", f"{len(self.data) - self.at}")
        kind, length = self.data[self.at:self.at + 4], int.from_bytes(self.data[self.at + 4:self.at + 8])
        if not all(32 <= c < 127 for c in kind):
            raise self.bad("a chunk with a name of four letters", repr(kind))
        if self.at + 8 + length > len(self.data):
            raise self.bad(f"{length:,} bytes in the chunk {kind.decode()}", f"{len(self.data) - self.at - 8:,}")
        self.at += 8
        return kind, self.at + length

    def track(self, end: int) -> tuple[Event, ...]:
        events: list[Event] = []
        ticks, running = 0, 0  # running: the status of the last channel event, 0 for none
        while self.at < end:
            ticks += self.number(end)
            first = self.byte(end)
            if first in (0xF0, 0xF7):
                running = 0
                events.append(SystemExclusive(ticks, self.bytes(end), first == 0xF7))
            elif first == 0xFF:
                running = 0
                place, kind = self.at, self.byte(end)
                if kind > 127:
                    raise self.bad("a meta event of a type in 0..127", f"{kind}", place)
                data = self.bytes(end)
                if problem := meta_problem(kind, data):
                    raise self.bad("a meta event as the standard has it", problem, place)
                events.append(MetaEvent(ticks, kind, data))
                if kind == END_OF_TRACK:
                    if self.at != end:
                        raise self.bad("nothing behind the end of a track", f"{end - self.at:,} bytes")
                    return tuple(events)
            elif first > 0xF0:
                raise self.bad("a status byte that a file may hold", f"0x{first:02X}", self.at - 1)
            else:
                if first < 0x80:
                    self.at -= 1  # it is data: the status is that of the event before
                    if not running:
                        raise self.bad("a status byte", f"0x{first:02X} and no channel event directly before")
                else:
                    running = first
                kind_name, n = CHANNEL_KINDS[running >> 4]
                place, values = self.at, tuple(self.byte(end) for _ in range(n))
                if max(values) > 127:
                    raise self.bad(f"data in 0..127 of {kind_name}", f"{max(values)}", place)
                events.append(ChannelEvent(ticks, kind_name, running & 0xF, values))
        raise self.bad("an end-of-track event at the end of a track", "none")

    def byte(self, end: int) -> int:
        if self.at >= end:
            raise self.bad("one more byte in the track", "its end")
        self.at += 1
        return self.data[self.at - 1]

    def number(self, end: int) -> int:
        """A number of variable length: seven bits of each byte, the high bit set in all but the last."""
        value, place = 0, self.at
        for _ in range(4):
            byte = self.byte(end)
            value = value << 7 | byte & 0x7F
            if byte < 0x80:
                return value
        raise self.bad("a number of at most four bytes", "more", place)

    def bytes(self, end: int) -> bytes:
        """As many bytes as the number in front tells."""
        place, length = self.at, self.number(end)
        if self.at + length > end:
            raise self.bad(f"{length:,} bytes in an event", f"{end - self.at:,} up to the end of the track", place)
        self.at += length
        return self.data[self.at - length:self.at]
