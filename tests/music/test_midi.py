"""MIDI files: read and written, against bytes put together by hand and against mido; what is refused."""

import contextlib
import io
import random

import pytest

from experiments.faults.mutations import MUTATIONS, mutated
from jaxnn.checks import InputError
from jaxnn.data import BadFile, MissingData, load_metheny
from jaxnn.music import (
    END_OF_TRACK,
    ChannelEvent,
    MetaEvent,
    Midi,
    Note,
    SystemExclusive,
    midi_from_bytes,
    midi_of,
    midi_to_bytes,
    notes_of,
    read_midi,
    tempos_of,
    write_midi,
)
from jaxnn.music.events import METRE, TEMPO, TRACK_NAME
from tests import course

END = MetaEvent(0, END_OF_TRACK)
# One of each: running status across two notes, two tempos, a metre, a name, a message of a maker in two parts.
FULL = Midi(1, 96, (
    (MetaEvent(0, TEMPO, b"\x07\xa1\x20"), MetaEvent(0, METRE, b"\x03\x02\x18\x08"), MetaEvent(0, TRACK_NAME, b"tune"),
     MetaEvent(300, TEMPO, b"\x03\xd0\x90"), MetaEvent(96_000, END_OF_TRACK)),
    (ChannelEvent(0, "program", 2, (5,)), ChannelEvent(0, "note_on", 2, (60, 64)),
     ChannelEvent(10, "note_on", 2, (64, 1)),
     SystemExclusive(20, b"\x43\x12"), SystemExclusive(200, b"\x00\xf7", continues=True),
     ChannelEvent(200, "note_on", 2, (60, 0)), ChannelEvent(300, "note_off", 2, (64, 127)),
     ChannelEvent(300, "pitch_bend", 2, (0, 64)), ChannelEvent(300, "key_pressure", 15, (0, 127)),
     ChannelEvent(301, "channel_pressure", 2, (3,)), ChannelEvent(301, "control", 2, (7, 100)),
     MetaEvent(2**20, END_OF_TRACK))))


def file_of(*tracks, head=b"\x00\x00\x00\x01\x00\x60"):
    chunks = [(b"MThd", head), *((b"MTrk", track) for track in tracks)]
    return b"".join(kind + len(data).to_bytes(4) + data for kind, data in chunks)


def test_bytes_put_together_by_hand():
    """Delta times of one and of two bytes, running status, and an unknown chunk, which is passed over."""
    track = bytes.fromhex("00 90 3c 40  81 48 3c 00  00 c1 07  00 ff 2f 00")
    data = file_of(track)
    expected = Midi(0, 96, ((ChannelEvent(0, "note_on", 0, (60, 64)), ChannelEvent(200, "note_on", 0, (60, 0)),
                             ChannelEvent(200, "program", 1, (7,)), MetaEvent(200, END_OF_TRACK)),))
    assert midi_from_bytes(data) == expected
    assert midi_to_bytes(expected) == data
    assert midi_from_bytes(data[:14] + b"XYZW\x00\x00\x00\x02ab" + data[14:]) == expected
    assert midi_from_bytes(file_of(track, head=b"\x00\x00\x00\x01\x00\x60more")) == expected


def test_what_is_written_is_read_as_it_was(tmp_path):
    write_midi(tmp_path / "full.mid", FULL)
    assert read_midi(tmp_path / "full.mid") == FULL
    assert (tmp_path / "full.mid").read_bytes() == midi_to_bytes(FULL)


def test_random_files_are_read_as_they_were():
    chance = random.Random(0)
    kinds = [("note_on", 2), ("note_off", 2), ("control", 2), ("program", 1), ("pitch_bend", 2)]
    for _ in range(50):
        tracks = []
        for _ in range(chance.randrange(1, 4)):
            ticks, events = 0, []
            for _ in range(chance.randrange(30)):
                ticks += chance.choice((0, 1, 127, 128, 16_383, 16_384, 2**21 - 1, 2**21, 2**28 - 1))
                kind, n = chance.choice(kinds)
                events.append(chance.choice((
                    ChannelEvent(ticks, kind, chance.randrange(3), tuple(chance.randrange(128) for _ in range(n))),
                    MetaEvent(ticks, chance.choice((1, 5, 0x7F)), chance.randbytes(chance.randrange(200))),
                    SystemExclusive(ticks, chance.randbytes(chance.randrange(200)), chance.random() < 0.5))))
            tracks.append((*events, MetaEvent(ticks, END_OF_TRACK)))
        midi = Midi(1, chance.choice((1, 96, 480, 32_767)), tuple(tracks))
        assert midi_from_bytes(midi_to_bytes(midi)) == midi


def as_mido(data):
    """Events and notes as mido reads them: [(ticks, kind, channel, numbers)] of each track."""
    mido = pytest.importorskip("mido")
    tracks = []
    for track in mido.MidiFile(file=io.BytesIO(data)).tracks:
        ticks, events = 0, []
        for message in track:
            ticks += message.time
            if not message.is_meta and hasattr(message, "channel"):
                numbers = [value for name, value in message.dict().items() if name not in ("type", "time", "channel")]
                events.append((ticks, message.type, message.channel, *numbers))
            elif message.type == "set_tempo":
                events.append((ticks, message.type, message.tempo))
        tracks.append(events)
    return tracks


MIDO_NAMES = {"control": "control_change", "program": "program_change", "pitch_bend": "pitchwheel",
              "channel_pressure": "aftertouch", "key_pressure": "polytouch"}


def in_words_of_mido(midi):
    tracks = []
    for track in midi.tracks:
        events = []
        for event in track:
            if isinstance(event, ChannelEvent):
                bend = event.kind == "pitch_bend"
                numbers = (event.data[0] + 128 * event.data[1] - 8192,) if bend else event.data
                events.append((event.ticks, MIDO_NAMES.get(event.kind, event.kind), event.channel, *numbers))
            elif isinstance(event, MetaEvent) and event.type == TEMPO:
                events.append((event.ticks, "set_tempo", int.from_bytes(event.data)))
        tracks.append(events)
    return tracks


def test_mido_reads_the_same():
    assert as_mido(midi_to_bytes(FULL)) == in_words_of_mido(FULL)


@pytest.mark.skipif(course.data_directory() is None, reason="the course's data are not here: set JAXNN_DATA")
def test_the_courses_tune_is_what_mido_reads():
    midi = load_metheny()
    data = (course.data_directory() / "c5" / "original_metheny.mid").read_bytes()
    assert (midi.format, midi.ticks_per_quarter, len(midi.tracks)) == (1, 96, 25)
    assert tempos_of(midi) == [(0, 535_714)]  # 112 quarter notes a minute
    assert as_mido(data) == in_words_of_mido(midi)
    assert midi_from_bytes(midi_to_bytes(midi)) == midi
    assert len(notes_of(midi)) == 12_962


def test_seconds_are_what_mido_counts():
    """Its `length` is that of the longest track under the changes of tempo."""
    mido = pytest.importorskip("mido")
    from jaxnn.music import in_seconds

    (end,) = in_seconds([Note(0, 2**20 / 96, 60)], tempos_of(FULL))
    assert end.end == pytest.approx(mido.MidiFile(file=io.BytesIO(midi_to_bytes(FULL))).length)


# What is refused.

NOTE = bytes.fromhex("00 90 3c 40 10 3c 00")
STOP = bytes.fromhex("00 ff 2f 00")


@pytest.mark.parametrize(("data", "message"), [
    (b"", "expects a MIDI file, which begins with b'MThd' at byte 0; got an empty file"),
    (b"RIFF0000WAVE", "got a RIFF file, such as WAV or RMI"),
    (b"<!DOCTYPE html>", "got a page of HTML or XML"),
    (b"MThd\x00\x00", "expects a chunk, of at least 8 bytes, at byte 0; got 6"),
    (file_of(NOTE + STOP)[:-1], "expects 11 bytes in the chunk MTrk at byte 14; got 10"),
    (file_of(NOTE + STOP) + b"junk", "expects a chunk, of at least 8 bytes, at byte 33; got 4"),
    (file_of(NOTE + STOP) + b"\0" * 8, "expects a chunk with a name of four letters"),
    (file_of(NOTE + STOP, head=b"\0\0"), "expects a head of 6 bytes"),
    (file_of(NOTE + STOP, head=b"\x00\x02\x00\x01\x00\x60"), "expects format 0 or 1 at byte 8; got 2"),
    (file_of(NOTE + STOP, head=b"\x00\x00\x00\x02\x00\x60"), "got 2 in format 0"),
    (file_of(NOTE + STOP, head=b"\x00\x01\x00\x02\x00\x60"), "expects 2 tracks, as the head tells at byte 33; got 1"),
    (file_of(NOTE + STOP, head=b"\x00\x01\x00\x00\x00\x60"), "at least one in format 1 at byte 8; got 0"),
    (file_of(NOTE + STOP, head=b"\x00\x00\x00\x01\x00\x00"), "expects ticks per quarter note in 1 .. 32767 at byte 12"),
    (file_of(NOTE + STOP, head=b"\x00\x00\x00\x01\xe7\x28"), "got time in SMPTE frames, 25 a second"),
    (file_of(NOTE), "expects an end-of-track event at the end of a track at byte 29; got none"),
    (file_of(STOP + NOTE), "expects nothing behind the end of a track at byte 26; got 7 bytes"),
    (file_of(b"\x00\x3c\x40" + STOP), "expects a status byte at byte 23; got 0x3C and no channel event"),
    (file_of(b"\x00\x90\x3c\x40\x00\xf0\x01\xf7\x00\x3c\x00" + STOP), "no channel event directly before"),
    (file_of(b"\x00\x90\x3c\x40\x00\xff\x01\x00\x00\x3c\x00" + STOP), "no channel event directly before"),
    (file_of(b"\x00\x90\x3c\x80" + STOP), "expects data in 0..127 of note_on at byte 24; got 128"),
    (file_of(b"\x00\xf8" + STOP), "expects a status byte that a file may hold at byte 23; got 0xF8"),
    (file_of(b"\xff\xff\xff\xff\x00\x90" + STOP), "expects a number of at most four bytes at byte 22; got more"),
    (file_of(b"\x00\xff\x01\x50ab" + STOP), "expects 80 bytes in an event at byte 25; got 6 up to the end"),
    (file_of(b"\x00\xff\x51\x02ab" + STOP), "got 2 bytes in a meta event 0x51, which has 3"),
    (file_of(b"\x00\xff\x51\x03\0\0\0" + STOP), "got a tempo of 0 microseconds for a quarter note"),
    (file_of(b"\x00\xff\x58\x04\0\x02\x18\x08" + STOP), "got a metre of 0/2^2"),
    (file_of(b"\x00\xff\x59\x02\x09\x00" + STOP), "got a key signature of the bytes 09 00"),
    (file_of(b"\x00\xff\x80\x00" + STOP), "expects a meta event of a type in 0..127 at byte 24; got 128"),
    (file_of(b"\x00\x90\x3c"), "expects one more byte in the track at byte 25; got its end"),
])
def test_what_is_no_midi_file(data, message):
    with pytest.raises(BadFile) as refused:
        midi_from_bytes(data, "tune.mid")
    text = str(refused.value)
    assert text.startswith("tune.mid expects ") and message in text
    assert text.endswith("get the file again, or save it again as a standard MIDI file of format 0 or 1")


def test_places_that_hold_no_file(tmp_path):
    with pytest.raises(MissingData, match="expects a MIDI file; got no such file; check the path"):
        read_midi(tmp_path / "none.mid")
    with pytest.raises(BadFile, match="expects a MIDI file; got a directory; name the file itself"):
        read_midi(tmp_path)


@pytest.mark.parametrize(("midi", "message"), [
    (Midi(2, 96, ((END,),)), "expects format 0 or 1; got 2"),
    (Midi(0, 96, ((END,), (END,))), "expects one track in format 0, and 1 to 65535 in format 1; got 2 in format 0"),
    (Midi(1, 2**15, ((END,),)), "expects ticks_per_quarter in 1 .. 32767; got 32768"),
    (Midi(0, 96, ((),)), "expects tracks that end with END_OF_TRACK; got 0 of them in track 0 of 0 events"),
    (Midi(0, 96, ((ChannelEvent(2, "note_on", 0, (1, 1)), END),)), "expects events by time"),
    (Midi(0, 96, ((MetaEvent(2**28, END_OF_TRACK),),)), "at most 268435455 ticks apart"),
    (Midi(0, 96, ((ChannelEvent(0, "note_on", 16, (1, 1)), END),)), "expects a known kind, a channel in 0..15"),
    (Midi(0, 96, ((ChannelEvent(0, "note_on", 0, (128, 1)), END),)), "one or two data in 0..127"),
    (Midi(0, 96, ((ChannelEvent(0, "program", 0, (1, 1)), END),)), "one or two data in 0..127"),
    (Midi(0, 96, ((MetaEvent(0, TEMPO, b"\0"), END),)), "expects a meta event as the standard has it; got 1 bytes"),
    (Midi(0, 96, ((MetaEvent(0, 1, "tune"), END),)), "a MetaEvent or SystemExclusive with bytes"),
    ("tune", "expects a Midi; got str"),
])
def test_what_is_not_written(tmp_path, midi, message):
    with pytest.raises(InputError) as refused:
        write_midi(tmp_path / "out.mid", midi)
    assert str(refused.value).startswith("write_midi expects ") and message in str(refused.value)
    assert not (tmp_path / "out.mid").exists()


# Files that are damaged in a thousand ways.


def whole_files():
    yield midi_to_bytes(FULL)
    yield midi_to_bytes(midi_of([Note(i / 4, i / 4 + 0.25, 40 + i % 40) for i in range(40)]))
    yield file_of(NOTE * 20 + STOP)


def outcomes(n, seed):
    """How many of n mutated files are read, and how many are refused; any other error, and any file that is read but is
    not written as it was read, ends the test."""
    chance, files, names = random.Random(seed), list(whole_files()), list(MUTATIONS)
    read = 0
    for i in range(n):
        data = mutated(chance.choice(files), chance, files, names[i % len(names)])
        try:
            midi = midi_from_bytes(data)
        except BadFile:
            continue
        read += 1
        assert midi_from_bytes(midi_to_bytes(midi)) == midi
        with contextlib.suppress(InputError):  # a note that is never ended
            notes_of(midi)
    return read, n - read


def test_damaged_files_are_read_or_refused():
    read, refused = outcomes(400, seed=0)
    assert read > 20 and refused > 200


def test_a_file_that_is_too_large_is_refused_unless_that_is_asked_for(tmp_path):
    path = tmp_path / "long.mid"
    path.write_bytes(file_of(b"\x00\xc0" + bytes(2**22 + 1) + STOP))
    with pytest.raises(BadFile, match=r"at most 4,194,304 bytes; got 4,194,3\d\d; check .* pass max_bytes= if so"):
        read_midi(path)
    path.write_bytes(file_of(NOTE * 20 + STOP))
    size = path.stat().st_size
    assert read_midi(path, max_bytes=size) == midi_from_bytes(path.read_bytes())
    with pytest.raises(BadFile, match=f"at most {size - 1} bytes; got {size};"):
        read_midi(path, max_bytes=size - 1)
    with pytest.raises(InputError, match="max_bytes, a positive integer; got 0"):
        read_midi(path, max_bytes=0)


@pytest.mark.exhaustive
def test_ten_thousand_damaged_files():
    """A campaign: 10,000 files."""
    read, refused = outcomes(10_000, seed=1)
    assert read > 500 and refused > 5000
