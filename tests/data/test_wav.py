"""WAV files: every encoding, files that other programs write, files that lie."""

import io
import re
import struct
import tarfile
import wave
import zlib

import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.data import BadFile, MissingData, decode_wav, encode_wav, read_wav, write_wav
from jaxnn.data.sound_archive import read_sounds
from jaxnn.data.wav import ENCODINGS

X = np.random.default_rng(0).uniform(-1, 1, (7, 3))
STEP = {"pcm8": 2**-7, "pcm16": 2**-15, "pcm24": 2**-23, "pcm32": 2**-31, "float32": 2**-24, "float64": 0}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_is_written_is_read(tmp_path, encoding):
    """Within half a step; and what was read is written as it was, byte for byte."""
    path = tmp_path / "a.wav"
    for x in (X, X[:, :1], X[:0]):
        write_wav(path, x, 44_100, encoding=encoding)
        sound = read_wav(path)
        assert sound.rate == 44_100 and sound.samples.shape == x.shape
        assert sound.samples.dtype == (np.float64 if encoding in ("pcm32", "float64") else np.float32)
        assert np.abs(sound.samples - x).max(initial=0) <= STEP[encoding] / 2 * 1.001
        assert encode_wav(sound.samples, 44_100, encoding=encoding) == path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_the_ends_of_the_range():
    ends = np.array([-1.0, 1.0, 0.0])
    for bits, encoding in ((8, "pcm8"), (16, "pcm16"), (24, "pcm24"), (32, "pcm32")):
        low, high, middle = decode_wav(encode_wav(ends, 8000, encoding=encoding)).samples[:, 0]
        assert (low, high, middle) == (-1, 1 - 2.0 ** (1 - bits), 0)
    sound = decode_wav(encode_wav(np.array([[1.0, 0.0], [0.5, 0.25]]), 4, encoding="float32"))
    assert sound.mono.tolist() == [0.5, 0.375] and sound.seconds == 0.5
    assert decode_wav(encode_wav(np.array([3.5, -7.0]), 8000, encoding="float32")).samples[:, 0].tolist() == [3.5, -7]


def test_as_the_standard_library_reads_and_writes():
    for bits in (8, 16, 24, 32):
        with wave.open(io.BytesIO(encode_wav(X, 11_025, encoding=f"pcm{bits}"))) as file:
            assert file.getparams()[:4] == (3, bits // 8, 11_025, 7)
            ours = file.readframes(7)
        other = io.BytesIO()
        with wave.open(other, "wb") as file:
            file.setparams((3, bits // 8, 11_025, 0, "NONE", ""))
            file.writeframes(ours)
        np.testing.assert_array_equal(decode_wav(other.getvalue()).samples,
                                      decode_wav(encode_wav(X, 11_025, encoding=f"pcm{bits}")).samples)


@pytest.mark.parametrize(("encoding", "subtype"), list(zip(
    ENCODINGS, ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"), strict=True)))
def test_as_libsndfile_reads_and_writes(encoding, subtype):
    """Plain and extensible."""
    soundfile = pytest.importorskip("soundfile")
    found, rate = soundfile.read(io.BytesIO(encode_wav(X, 8000, encoding=encoding)))
    assert rate == 8000
    np.testing.assert_array_equal(found, decode_wav(encode_wav(X, 8000, encoding=encoding)).samples)
    for kind in ("WAV", "WAVEX"):
        file = io.BytesIO()
        soundfile.write(file, X, 8000, subtype=subtype, format=kind)
        np.testing.assert_array_equal(decode_wav(file.getvalue()).samples,
                                      soundfile.read(io.BytesIO(file.getvalue()))[0])


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def form(tag=1, channels=1, rate=8000, bits=16, *, per_second=None, per_frame=None, more=b""):
    frame = channels * bits // 8 if per_frame is None else per_frame
    per_second = rate * frame if per_second is None else per_second
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, per_second, frame, bits) + more)


def extensible(valid=20, tag=1, bits=24, guid="0000 0000 1000 8000 00aa 0038 9b71"):
    return form(0xFFFE, bits=bits, more=struct.pack("<HHIH", 22, valid, 4, tag) + bytes.fromhex(guid))


DATA = chunk(b"data", b"\1\0\2\0")


def test_other_chunks_are_passed_over():
    """An odd one has a byte behind it that its size does not count."""
    content = riff(chunk(b"LIST", b"odd"), form(more=b"\0\0"), chunk(b"fact", b"1234"), DATA, chunk(b"LIST", b""))
    assert (decode_wav(content).samples[:, 0] * 2**15).tolist() == [1, 2]
    assert decode_wav(riff(extensible(), chunk(b"data", b"\0\0\x40"))).samples.tolist() == [[0.5]]


@pytest.mark.parametrize(("content", "message"), [
    (b"", "a WAV file, 'RIFF', a size, 'WAVE'; got 0 bytes"),
    (b"<html>not found</html>", "got 22 bytes that begin b'<html>not fo'"),
    (b"RIFX" + bytes(40), "begins with 'RIFF'; got RIFX, which is not read; convert it"),
    (b"RF64" + bytes(40), "got RF64"),
    (riff(form(), DATA)[:-1], "expects 48 bytes, as its head declares; got 47"),
    (riff(form(), DATA) + b"\0", "expects 48 bytes, as its head declares; got 49"),
    (riff(form()), r"a chunk 'data'; got \['fmt '\]"),
    (riff(), r"a chunk 'fmt '; got \[\]"),
    (riff(DATA, form()), "'fmt ' before 'data'"),
    (riff(form(), form(), DATA), "one chunk 'fmt '; got two"),
    (riff(form(), DATA, DATA), "one chunk 'data'; got two"),
    (riff(form(), b"data\xff\xff\xff\xff"), "4,294,967,295 bytes in the chunk 'data', as its head declares; got 0"),
    (riff(form(), b"data\6\0\0\0" + b"12345"), "6 bytes in the chunk 'data', as its head declares; got 5"),
    (riff(form(), DATA, b"LIST"), "a chunk at byte 48; got 4 bytes, less than its head"),
    (riff(chunk(b"fmt ", b"1234"), DATA), "a format of at least 16 bytes; got 4"),
    (riff(form(7, bits=8), DATA), r"PCM \(1\) or floats \(3\); got mu-law \(7\); convert it"),
    (riff(form(999), DATA), r"got encoding \(999\)"),
    (riff(form(1, bits=12, per_frame=2), DATA), "samples as pcm8, pcm16, .*; got pcm12"),
    (riff(form(3, bits=16), DATA), "got float16"),
    (riff(form(1, bits=64), DATA), "got pcm64"),
    (riff(form(channels=0), DATA), "at least one channel and a rate above 0; got 0 channels"),
    (riff(form(rate=0), DATA), "got 1 channels and 0 frames a second"),
    (riff(form(per_frame=4), DATA), "2 bytes a frame and 16,000 a second; got 4 and 32,000"),
    (riff(form(per_second=1), DATA), "got 2 and 1"),
    (riff(form(channels=3), DATA), "whole frames of 6 bytes; got 4 bytes of data"),
    (riff(form(0xFFFE), DATA), "an extensible format of at least 40 bytes; got 16"),
    (riff(extensible(guid="00" * 14), chunk(b"data", b"123")), "extensible format of a known name"),
    (riff(extensible(valid=25), chunk(b"data", b"123")), "1 to 24 valid bits; got 25"),
    (riff(form(3, bits=32), chunk(b"data", struct.pack("<f", np.nan))), "samples that are numbers; got 1 NaN"),
])
def test_files_that_are_refused(content, message):
    with pytest.raises(BadFile, match=message):
        decode_wav(content)


def test_places_that_are_refused(tmp_path):
    with pytest.raises(MissingData, match=r"a file at .*nothing\.wav; got nothing there"):
        read_wav(tmp_path / "nothing.wav")
    with pytest.raises(BadFile, match="other than a regular file"):
        read_wav(tmp_path)
    write_wav(tmp_path / "a.wav", X, 8000)
    with pytest.raises(BadFile, match="at most 50 bytes; got more; pass a larger max_bytes"):
        read_wav(tmp_path / "a.wav", max_bytes=50)


@pytest.mark.parametrize(("call", "message"), [
    (lambda: encode_wav([1, 2], 8000), r"floating-point numbers; got int64; divide integers of b bits by 2\*\*\(b - 1"),
    (lambda: encode_wav(X, 8000.0), "rate, frames per second in 1"),
    (lambda: encode_wav(X, 0), "rate, frames per second in 1"),
    (lambda: encode_wav(X, 8000, encoding="mp3"), "encoding, one of pcm8"),
    (lambda: encode_wav(1.5 * X / np.abs(X).max(), 8000), r"samples in \[-1, 1\]; got one of size 1.5; divide"),
    (lambda: encode_wav([0.0, np.inf], 8000), "samples that are numbers; got NaN or infinity"),
    (lambda: encode_wav(np.zeros((2, 400)), 8000), r"at most 256 channels; got \(2, 400\); turn it: samples.T"),
    (lambda: encode_wav(np.zeros((2, 3, 4)), 8000), r"got \(2, 3, 4\)"),
    (lambda: encode_wav([1e39], 8000, encoding="float32"), "float32 can hold; got one of size 1e"),
])
def test_sounds_that_are_not_written(call, message):
    with pytest.raises(InputError, match=message):
        call()


def mutations(random, content, n):
    """Files with bits flipped, bytes put in place of others, cut off, lengthened, or with sizes that lie."""
    for i in range(n):
        damaged = bytearray(content)
        kind, at = i % 5, int(random.integers(len(content)))
        if kind == 0:
            damaged[at] ^= 1 << int(random.integers(8))
        elif kind == 1:
            damaged[at:at + 4] = random.bytes(int(random.integers(1, 9)))
        elif kind == 2:
            del damaged[at:]
        elif kind == 3:
            damaged += random.bytes(at % 9 + 1)
        else:
            struct.pack_into("<I", damaged, int(random.choice([4, 16, 20, 22, 24, 28, 32, 34, 40])),
                             int(random.choice([0, 1, 2**31 - 1, 2**32 - 1, at])))
        yield bytes(damaged)


def assert_only_our_errors(n):
    random = np.random.default_rng(1)
    whole = [encode_wav(X, 8000, encoding=encoding) for encoding in ENCODINGS] + [
        riff(chunk(b"LIST", b"abc"), extensible(), chunk(b"data", b"123456"))]
    n_refused = 0
    for content in whole:
        for damaged in mutations(random, content, n // len(whole)):
            try:
                sound = decode_wav(damaged)
            except BadFile:
                n_refused += 1
                continue
            assert np.isfinite(sound.samples).all() and sound.rate > 0 and sound.samples.nbytes < 100 * len(content)
    assert n_refused > n / 3


def test_damaged_files():
    assert_only_our_errors(700)


@pytest.mark.exhaustive
def test_damaged_files_10000():
    """The number of mutations that was set; the same laws as above."""
    assert_only_our_errors(70_000)


def pack(path, sounds, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, content in sounds.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def test_archives_that_are_refused(tmp_path):
    path, member = tmp_path / "a.tar.gz", re.compile(r"(\w+)\.wav")

    def read():
        return [match[1] for _, match in read_sounds(path, member, rate=8000)]

    good = encode_wav(X[:, :1], 8000)
    for mode in ("w:gz", "w:xz"):
        pack(path, {"b.wav": good, "./a.wav": good, "notes.txt": b"x", "../c.wav": good}, mode)
        assert read() == ["a", "b"]
    pack(path, {"a.wav": good, "./a.wav": good})
    with pytest.raises(BadFile, match="one sound of a name; got two"):
        read()
    for other, message in ((encode_wav(X, 8000), "3 channels"), (encode_wav(X[:, :1], 16_000), "16,000 a second"),
                           (encode_wav(X[:0, :1], 8000), "0 frames"), (good[:-1], "as its head declares")):
        pack(path, {"a.wav": other})
        with pytest.raises(BadFile, match=message):
            read()
    pack(path, {"a.wav": good})
    whole = path.read_bytes()
    for damaged in (b"", whole[:-20], whole[:15], b"\1" * 100, whole[:30] + bytes(20) + whole[50:]):
        path.write_bytes(damaged)
        with pytest.raises(BadFile):
            read()
    path.write_bytes(zlib.compress(bytes(2**28), 9, 31))  # 256 kB that unpack to 256 MB
    with pytest.raises(BadFile, match="at most 134,217,728 bytes unpacked; got more"):
        read()
    with pytest.raises(BadFile, match="other than a regular file"):
        read_sounds(tmp_path, member, rate=8000)
