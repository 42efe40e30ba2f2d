"""Small whole files, and files made to exhaust the memory or the time, of the formats whose readers use no library:
WAV, MIDI, word vectors and Darknet's networks."""

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data import encode_wav
from jaxnn.data.wav import ENCODINGS, GUID
from jaxnn.detection import darknet_network, parse_configuration, read_configuration, read_darknet_weights
from jaxnn.music import Note, in_seconds, midi_of, midi_to_bytes, notes_of, read_midi, tempos_of
from jaxnn.words import WordVectors, write_word_vectors

__all__ = ["configurations", "darknet_weights", "huge_configuration", "huge_midi", "huge_wav", "huge_weights",
           "huge_words", "midi", "read_network", "read_notes", "read_small_weights", "wav", "words"]

RNG = np.random.default_rng(1)
MEGABYTE = 2**20


def wav(folder: Path) -> list[bytes]:
    """Each encoding; one with the extensible format, a chunk of another name, and three channels."""
    files = [encode_wav(RNG.uniform(-1, 1, (37, 1 + i % 2)), 8000, encoding=encoding)
             for i, encoding in enumerate(ENCODINGS)]
    format = struct.pack("<HHIIHHHHIH", 0xFFFE, 3, 44_100, 396_900, 9, 24, 22, 20, 7, 1) + GUID
    return [*files, _riff({b"fmt ": format, b"LIST": b"INFOodd", b"data": RNG.bytes(9 * 11)})]


def huge_wav(folder: Path, chance: random.Random) -> bytes:
    """Sizes that lie, 65,535 channels, rates of 2^32 - 1, 64 MB of silence, a hundred thousand chunks."""
    kind = chance.randrange(4)
    if kind == 0:
        return b"RIFF\xff\xff\xff\xffWAVE" + (b"data" + bytes(4)) * 2**17
    if kind == 1:
        return b"RIFF" + struct.pack("<I", 4 + 8 * 2**17) + b"WAVE" + (b"junk" + bytes(4)) * 2**17
    channels, rate = chance.choice((0, 1, 2, 2**15, 2**16 - 1)), chance.choice((0, 1, 8000, 2**31, 2**32 - 1))
    bits = chance.choice((0, 8, 24, 32, 64, 2**16 - 1))
    per_frame = channels * bits // 8
    format = struct.pack("<HHIIHH", chance.choice((1, 3, 0xFFFE)), channels, rate, rate * per_frame % 2**32,
                         per_frame % 2**16, bits)
    data = chance.choice((b"", bytes(2**26), b"\xff" * 48, struct.pack("<d", np.inf) * 8))
    whole = _riff({b"fmt ": format, b"data": data})
    if kind == 2:
        return whole
    at = chance.choice((4, 40))  # the size of the file, and that of its data
    return whole[:at] + struct.pack("<I", chance.choice((0, 2**31, 2**32 - 1))) + whole[at + 4:]


def _riff(chunks: dict[bytes, bytes]) -> bytes:
    body = b"".join(name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
                    for name, part in chunks.items())
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


def midi(folder: Path) -> list[bytes]:
    """Two channels and a chord; and by hand: several tempos, running status, a message of a maker, text."""
    notes = [Note(i / 4, i / 4 + 0.5, 50 + i % 30, 1 + i, i % 2) for i in range(40)]
    by_hand = (b"\0\xff\x03\x04name\0\xff\x51\x03\x07\xa1\x20\0\x90\x3c\x40\x60\x3c\0\0\x40\x40\x60\x40\0"
               b"\0\xf0\x03\x41\x10\xf7\x81\x48\xff\x51\x03\x03\xd0\x90\0\xc1\x05\x10\xe0\0\x40\0\xff\x2f\0")
    return [midi_to_bytes(midi_of(notes)), midi_to_bytes(midi_of(notes[:6], metre=(3, 8), ticks_per_quarter=96)),
            _midi([by_hand], 0)]


def huge_midi(folder: Path, chance: random.Random) -> bytes:
    """Numbers of variable length without end, lengths that lie, megabytes of the shortest events, of tempos between
    notes, of tracks; and notes that never end."""
    stop = b"\0\xff\x2f\0"
    return chance.choice((
        lambda: _midi([b"\xff" * MEGABYTE + stop]),
        lambda: _midi([b"\0\xff\x01\xff\xff\xff\x7f" + bytes(64) + stop]),
        lambda: _midi([b"\0\xf0" + b"\x80" * MEGABYTE + stop]),
        lambda: _midi([b"\0\xc0" + bytes(2**18 + 1) + stop]),
        lambda: _midi([b"\0\xc0" + bytes(2**26) + stop]),
        lambda: _midi([b"\1\xff\x51\x03\0\0\1\1\x90\x3c\x40\1\x3c\0" * 2**14 + stop]),
        lambda: _midi([b"\1\x90\x3c\x40" + b"\1\x3c\x40" * 2**15 + b"\1\x3c\0" * chance.choice((0, 2**15)) + stop]),
        lambda: _midi([b"\xff\xff\xff\x7f\x90\x3c\x40\xff\xff\xff\x7f\x3c\0" * 2**10 + stop], ticks_per_quarter=1),
        lambda: _midi([stop] * (2**16 - 1)),
        lambda: b"MThd\0\0\0\6\0\1\xff\xff\0\x60" + b"XXXX\0\0\0\0" * 2**17,
        lambda: b"MThd\xff\xff\xff\xff\0\1\0\1\0\x60",
        lambda: b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk" + chance.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff")) + stop,
    ))()


def _midi(tracks: list[bytes], file_format: int = 1, ticks_per_quarter: int = 96) -> bytes:
    return struct.pack(">4sIHHH", b"MThd", 6, file_format, len(tracks), ticks_per_quarter) + b"".join(
        b"MTrk" + struct.pack(">I", len(track)) + track for track in tracks)


def read_notes(path: Path) -> Any:
    """The notes, (n, 5): start and end in seconds, key, velocity, channel."""
    file = read_midi(path)
    return np.array(in_seconds(notes_of(file), tempos_of(file)), np.float64).reshape(-1, 5)


def words(form: str) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        vectors = WordVectors(("the", "of", "Zoë", "日本", "<s>", "don't"),
                              RNG.standard_normal((6, 4)).astype(np.float32))
        write_word_vectors(vectors, folder / "good", form)
        whole = (folder / "good").read_bytes()
        return [whole, whole[:-1]]

    return make


def huge_words(form: str) -> Callable[[Path, random.Random], bytes]:
    """A first line that lies, is long, or is all there is; numbers of a million digits; lines without end."""
    def make(folder: Path, chance: random.Random) -> bytes:
        head = chance.choice((b"99999999999 99999999999", b"1 99999999999", b"99999999999 1", b"1 1", b"9" * 2**26,
                              b"1 " + b"0" * MEGABYTE + b"1", b"2 2\xff", b"-1 4", b"1e9 4"))
        line = chance.choice((b"a " + b"9" * MEGABYTE, b"a 1e39", b"a -1e400 1", b"a 0x10", b"a " + bytes(4),
                              b"a" * 2**23, b" " * MEGABYTE, b"a" + b" 1" * MEGABYTE, b"a \xff\xff\x7f\x7f",
                              b"a 1\r" * 2**17))
        return line + b"\n" if form == "glove" else head + b"\n" + line + b"\n"

    return make


SMALL = """[net]
height=16
width=16
channels=3
[convolutional]
filters=4
size=3
stride=2
pad=1
batch_normalize=1
activation=leaky
[maxpool]
size=2
stride=1
[route]
layers=-1,-2
[convolutional]
filters=7
activation=linear
[yolo]
mask=1
anchors=3,4, 8,9
classes=2
num=2
"""
N_NUMBERS = (4 * 4 + 4 * 27) + (7 + 7 * 8)


def configurations(folder: Path) -> list[bytes]:
    return [SMALL.encode(), SMALL.replace("pad=1", "pad=1  # half of the kernel").replace("\n", "\r\n").encode()]


def huge_configuration(folder: Path, chance: random.Random) -> bytes:
    """A number that is huge in the place of one that fits; thousands of sections; values of a million letters."""
    kind = chance.randrange(4)
    if kind == 0:
        return (SMALL + "[dropout]\nprobability=.5\n" * 2**12).encode()
    if kind == 1:
        return SMALL.replace("anchors=3,4, 8,9", "anchors=" + "1," * 2**17 + "1").encode()
    lines = SMALL.splitlines()
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.choice([i for i, line in enumerate(lines) if "=" in line])
        lines[at] = lines[at].split("=")[0] + "=" + chance.choice((
            "0", "-1", "1000003", "2147483647", "2147483648", "4294967296", "9223372036854775807",
            "18446744073709551616", "9" * 4000, "9" * 5000, "nan", "inf", "1e400", "1,2", "x" * 2**16, ""))
    if kind == 2:
        lines.insert(4, chance.choice(("[upsample]\nstride=", "[reorg]\nstride=", "[maxpool]\npadding=",
                                       "[maxpool]\nstride=", "[route]\nlayers=-1\ngroups=", "[dropout]\nprobability="))
                     + chance.choice(("65536", "1000003", "2147483648", "9223372036854775808", "nan")))
    return "\n".join(lines).encode()


def read_network(path: Path) -> Any:
    """The size of the picture, and the shape of each head's map."""
    net = darknet_network(read_configuration(path))
    return [np.array(shape) for shape in (net.size, *net.maps(net.size[:2]))]


def darknet_weights(folder: Path) -> list[bytes]:
    """With the header of 20 bytes, and with the older one of 16."""
    numbers = RNG.uniform(0.1, 0.5, N_NUMBERS).astype("<f4").tobytes()  # variances are positive
    return [struct.pack("<3iq", 0, 2, 0, 8) + numbers, struct.pack("<4i", 0, 1, 0, 8) + numbers]


def huge_weights(folder: Path, chance: random.Random) -> bytes:
    """Versions that lie, 64 MB of numbers, numbers that are none, variances below zero."""
    version = [chance.choice((0, 1, 2, 10, -1, 2**31 - 1)) for _ in range(3)]
    numbers = chance.choice((bytes(2**26), b"\xff" * 4 * N_NUMBERS, struct.pack("<f", -1) * N_NUMBERS,
                             struct.pack("<f", np.inf) * N_NUMBERS, b""))
    return struct.pack("<3i", *version) + bytes(chance.choice((4, 8))) + numbers


def read_small_weights(path: Path) -> Any:
    return read_darknet_weights(path, darknet_network(parse_configuration(SMALL)))
