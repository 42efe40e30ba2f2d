"""WAV files: sound as numbers, read strictly and written whole.

    file    "RIFF", bytes that follow, "WAVE", then chunks: a name of four letters, a size, so many bytes, and one byte
            more where the size is odd
    "fmt "  encoding, channels, rate, bytes per second, bytes per frame, bits per sample; what the encoding "extensible"
            adds are the valid bits, the loudspeakers, and a name whose first number is the encoding
    "data"  the frames, one after another; a frame has one sample of each channel, the low byte first

A sample of b bits is an integer from -2^(b-1) to 2^(b-1) - 1 (of 8 bits, 0 to 255 with its middle at 128). It is read
as that integer over 2^(b-1), so in [-1, 1), and nothing is lost.
"""

import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_numpy, as_path, expect, is_integer
from jaxnn.data.whole import written_whole
from jaxnn.file_errors import BadFile, MissingData

__all__ = ["ENCODINGS", "Sound", "decode_wav", "encode_wav", "read_wav", "write_wav"]

ENCODINGS = ("pcm8", "pcm16", "pcm24", "pcm32", "float32", "float64")
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
OTHERS = {2: "ADPCM", 6: "A-law", 7: "mu-law", 0x11: "IMA ADPCM", 0x55: "MP3"}
# An extensible format's name is the encoding in two bytes, and these behind it.
GUID = bytes.fromhex("0000 0000 1000 8000 00aa 0038 9b71")
MAX_BYTES = 2**28
MAX_RIFF = 2**32 - 1
MAX_RATE = 2**31 - 1
MOST_CHANNELS = 256  # that are written


class Sound(NamedTuple):
    """Samples over time.

    samples: (frames, channels), in [-1, 1) where the file has integers; float32, and float64 where the file has
      integers of 32 bits or floats of 64, which float32 cannot hold.
    rate: frames per second.
    """

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def mono(self) -> np.ndarray:
        """(frames,), the mean of the channels."""
        return self.samples.mean(1, dtype=self.samples.dtype)


class _Format(NamedTuple):
    encoding: str
    channels: int
    rate: int

    @property
    def bytes_per_sample(self) -> int:
        return int(self.encoding.lstrip("pcmfloat")) // 8


def read_wav(path: str | Path, *, max_bytes: int = MAX_BYTES) -> Sound:
    """Reads a WAV file of PCM with 8, 16, 24 or 32 bits, or of floats with 32 or 64, of any rate and channels.

    Args:
      path: a regular file.
      max_bytes: the largest file that is read.
    Raises:
      MissingData: there is no such file.
      PermissionError: the file may not be read.
      BadFile: it is no regular file or too large; or as `decode_wav`.
    """
    path = as_path("read_wav", "path", path)
    expect(is_integer(max_bytes, 1), "read_wav", "max_bytes, a positive integer", repr(max_bytes))
    if not path.exists():
        raise MissingData(f"read_wav expects a file at {path}; got nothing there; name another")
    if not path.is_file():  # reading from a pipe would wait for ever
        raise _bad(path, "a WAV file", "something other than a regular file", "name a file")
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise _bad(path, f"at most {max_bytes:,} bytes", "more", "pass a larger max_bytes")
    return decode_wav(content, path)


def decode_wav(content: bytes, who: object = "decode_wav") -> Sound:
    """The sound of a WAV file's bytes.

    Args:
      content: the whole file.
      who: its name, for the message.
    Raises:
      BadFile: it is cut off, another format or compressed; its sizes contradict each other or the number of bytes; a
        chunk is missing or there twice; or a float is NaN or infinite.
    """
    kind = content[:4]
    if kind in (b"RIFX", b"RF64"):
        raise _bad(who, "a file that begins with 'RIFF'", f"{kind.decode()}, which is not read", "convert it")
    if len(content) < 12 or kind != b"RIFF" or content[8:12] != b"WAVE":
        raise _bad(who, "a WAV file, 'RIFF', a size, 'WAVE'", f"{len(content):,} bytes that begin {content[:12]!r}")
    (size,) = struct.unpack_from("<I", content, 4)
    if size + 8 != len(content):
        raise _bad(who, f"{size + 8:,} bytes, as its head declares", f"{len(content):,}")
    chunks = _chunks(content, who)
    for name in (b"fmt ", b"data"):
        if name not in chunks:
            raise _bad(who, f"a chunk {name.decode()!r}", f"{sorted(n.decode('latin1') for n in chunks)}")
    format = _format(content[slice(*chunks[b"fmt "])], who)
    first, end = chunks[b"data"]
    per_frame = format.channels * format.bytes_per_sample
    if (end - first) % per_frame:
        raise _bad(who, f"whole frames of {per_frame} bytes", f"{end - first:,} bytes of data")
    samples = _samples(content[first:end], format.encoding).reshape(-1, format.channels)
    if not np.isfinite(samples).all():
        raise _bad(who, "samples that are numbers", f"{int((~np.isfinite(samples)).sum())} NaN or infinite")
    return Sound(samples, format.rate)


def _chunks(content: bytes, who: object) -> dict[bytes, tuple[int, int]]:
    """The places of each chunk's bytes; of other names than "fmt " and "data" the last one's."""
    places: dict[bytes, tuple[int, int]] = {}
    at = 12
    while at < len(content):
        if at + 8 > len(content):
            raise _bad(who, f"a chunk at byte {at:,}", f"{len(content) - at} bytes, less than its head")
        name, (size,) = content[at:at + 4], struct.unpack_from("<I", content, at + 4)
        end = at + 8 + size
        if end > len(content):
            raise _bad(who, f"{size:,} bytes in the chunk {name.decode('latin1')!r}, as its head declares",
                       f"{len(content) - at - 8:,}")
        if name in places and name in (b"fmt ", b"data"):
            raise _bad(who, f"one chunk {name.decode()!r}", "two")
        if name == b"data" and b"fmt " not in places:
            raise _bad(who, "the chunk 'fmt ' before 'data'", "'data' first")
        places[name] = at + 8, end
        at = end + size % 2  # some programs leave the last such byte out, Python's own among them
    return places


def _format(chunk: bytes, who: object) -> _Format:
    if len(chunk) < 16:
        raise _bad(who, "a format of at least 16 bytes", str(len(chunk)))
    encoding, channels, rate, per_second, per_frame, bits = struct.unpack_from("<HHIIHH", chunk)
    if encoding == EXTENSIBLE:
        if len(chunk) < 40:
            raise _bad(who, "an extensible format of at least 40 bytes", str(len(chunk)))
        more, valid, _, encoding = struct.unpack_from("<HHIH", chunk, 16)
        if more < 22 or more + 18 > len(chunk) or chunk[26:40] != GUID:
            raise _bad(who, "an extensible format of a known name", repr(chunk[24:40]))
        if not 0 < valid <= bits:  # the others are 0, and the sample's value is the same
            raise _bad(who, f"1 to {bits} valid bits", str(valid))
    if encoding not in (PCM, FLOAT):
        raise _bad(who, "samples that are PCM (1) or floats (3)", f"{OTHERS.get(encoding, 'encoding')} ({encoding})",
                   "convert it, such as by sox or ffmpeg")
    name = f"{'pcm' if encoding == PCM else 'float'}{bits}"
    if name not in ENCODINGS:
        raise _bad(who, f"samples as {', '.join(ENCODINGS)}", name, "convert it, such as by sox or ffmpeg")
    if channels == 0 or not 0 < rate <= MAX_RATE:
        raise _bad(who, "at least one channel and a rate above 0", f"{channels} channels and {rate} frames a second")
    if (per_frame, per_second) != (channels * bits // 8, rate * channels * bits // 8):
        raise _bad(who, f"{channels * bits // 8} bytes a frame and {rate * channels * bits // 8:,} a second",
                   f"{per_frame} and {per_second:,}")
    return _Format(name, channels, rate)


def _samples(data: bytes, encoding: str) -> np.ndarray:
    if encoding == "pcm8":
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if encoding == "pcm24":
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] >> 8).astype(np.float32) / 2**23
    if encoding == "pcm16":
        return np.frombuffer(data, "<i2").astype(np.float32) / 2**15
    if encoding == "pcm32":
        return np.frombuffer(data, "<i4") / 2**31
    return np.frombuffer(data, "<f4" if encoding == "float32" else "<f8").astype(encoding)


def write_wav(path: str | Path, samples: Any, rate: int, *, encoding: str = "pcm16") -> None:
    """Writes a sound, whole or not at all: what stands there before is replaced at once. Arguments as `encode_wav`.

    Raises:
      InputError: as `encode_wav`, before anything is written.
    """
    path = as_path("write_wav", "path", path)
    content = encode_wav(samples, rate, encoding=encoding, who="write_wav")
    with written_whole(path) as file:
        file.write(content)


def encode_wav(samples: Any, rate: int, *, encoding: str = "pcm16", who: str = "encode_wav") -> bytes:
    """The bytes of a WAV file.

    Args:
      samples: floating-point numbers (frames, channels), or (frames,) for one channel. For PCM they lie in [-1, 1], and
        are rounded to the nearest of its integers; a 1 becomes the largest, 2^(b-1) - 1.
      rate: frames per second.
      encoding: one of ENCODINGS.
    Raises:
      InputError: an argument is not as above, a sample is NaN or infinite, or for PCM outside of [-1, 1]: nothing is
        clipped in silence. `jaxnn.audio.clipped` clips, and counts.

    >>> decode_wav(encode_wav(np.array([0.5, -1.0]), 8000)).samples.tolist()
    [[0.5], [-1.0]]
    """
    expect(encoding in ENCODINGS, who, f"encoding, one of {', '.join(ENCODINGS)}", repr(encoding))
    expect(is_integer(rate, 1) and rate <= MAX_RATE, who, f"rate, frames per second in 1 .. {MAX_RATE:,}", repr(rate))
    x = as_numpy(who, "samples", samples)
    expect(x.dtype.kind == "f" or x.dtype.name == "bfloat16", who, "samples, floating-point numbers", str(x.dtype),
           "divide integers of b bits by 2**(b - 1)" if x.dtype.kind in "iu" else "")
    x = x[:, None] if x.ndim == 1 else x
    expect(x.ndim == 2 and 1 <= x.shape[1] <= MOST_CHANNELS, who,
           f"samples of shape (frames,) or (frames, channels), at most {MOST_CHANNELS} channels",
           str(np.shape(samples)), "turn it: samples.T" if x.ndim == 2 and len(x) <= MOST_CHANNELS else "")
    x = x.astype(np.float64)
    expect(bool(np.isfinite(x).all()), who, "samples that are numbers", "NaN or infinity")
    if encoding.startswith("pcm"):
        most = float(np.abs(x).max(initial=0))
        expect(most <= 1, who, "samples in [-1, 1]", f"one of size {most:.6g}",
               "divide by the largest, or clip by jaxnn.audio.clipped, which counts what it clips")
    else:
        with np.errstate(over="ignore"):
            fits = bool(np.isfinite(x.astype(encoding)).all())
        expect(fits, who, "samples that float32 can hold", f"one of size {np.abs(x).max(initial=0):.6g}")
    bits = int(encoding.lstrip("pcmfloat"))
    per_frame = x.shape[1] * bits // 8
    data = _data(x, encoding)
    expect(len(data) + 60 <= MAX_RIFF and rate * per_frame <= MAX_RIFF and per_frame < 2**16, who,
           "a sound of less than 4 GB, and of less a second", f"{len(data):,} bytes, {rate * per_frame:,} a second")
    tag = PCM if encoding.startswith("pcm") else FLOAT
    format = struct.pack("<HHIIHH", tag, x.shape[1], rate, rate * per_frame, per_frame, bits)
    chunks = b"".join(name + struct.pack("<I", len(part)) + part + b"\0" * (len(part) % 2)
                      for name, part in ((b"fmt ", format), (b"data", data)))
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def _data(x: np.ndarray, encoding: str) -> bytes:
    if encoding.startswith("float"):
        return x.astype("<f4" if encoding == "float32" else "<f8").tobytes()
    bits = int(encoding[3:])
    n = np.minimum(np.round(x * 2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1).astype(np.int64)
    if bits == 8:
        return (n + 128).astype(np.uint8).tobytes()
    if bits == 24:
        return np.ascontiguousarray(n.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :3]).tobytes()
    return n.astype(f"<i{bits // 8}").tobytes()


def _bad(who: object, expected: str, actual: str, advice: str = "get the file again") -> BadFile:
    return BadFile(f"{who} expects {expected}; got {actual}; {advice}")
