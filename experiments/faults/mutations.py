"""What can be wrong with a file: cut off, bits flipped, sizes that lie, random bytes, parts of other files."""

import gzip
import io
import random
import struct
import zlib
from collections.abc import Callable, Sequence

__all__ = ["MUTATIONS", "mutated"]

HUGE = (0, 1, 2**7, 2**8 - 1, 2**15, 2**16 - 1, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1,
        2**63, 2**64 - 1)


def truncate(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    return bytes(data[:chance.randrange(len(data))])


def flip(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """One to eight bits, half of the times near the beginning, where files describe themselves."""
    for _ in range(chance.choice((1, 1, 1, 2, 8))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return bytes(data)


def lie(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """An integer of one to eight bytes, of either byte order, replaced by zero, by its neighbour or by a huge one."""
    for _ in range(chance.choice((1, 1, 2))):
        size, order = chance.choice((1, 2, 4, 8)), chance.choice("<>")
        at = min(_place(data, chance), max(len(data) - size, 0))
        kind = order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        if len(data) < size:
            continue
        old = struct.unpack(kind, data[at:at + size])[0]
        new = chance.choice((*HUGE, old + 1, old - 1, old * 2)) % 256**size
        data[at:at + size] = struct.pack(kind, new)
    return bytes(data)


def overwrite(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    at, n = _place(data, chance), chance.randrange(1, 256)
    data[at:at + n] = chance.choice((bytes(n), b"\xff" * n, chance.randbytes(n)))
    return bytes(data)


def move(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A part left out, twice, or in another place."""
    at, n, to = chance.randrange(len(data)), chance.randrange(1, 512), chance.randrange(len(data))
    part = bytes(data[at:at + n])
    if chance.random() < 0.6:
        del data[at:at + n]
    if chance.random() < 0.7:
        data[to:to] = part
    return bytes(data)


def splice(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of this file and the end of another, of any kind."""
    other = chance.choice(others)
    return bytes(data[:chance.randrange(1, len(data) + 1)]) + other[chance.randrange(len(other)):]


def noise(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Random bytes behind the first few of the file, or no file at all."""
    return bytes(data[:chance.choice((0, 2, 4, 8, 16, 64))]) + chance.randbytes(chance.randrange(2048))


def lengthen(data: bytearray, chance: random.Random, others: Sequence[bytes]) -> bytes:
    return bytes(data) + chance.choice((chance.randbytes(64), bytes(4096), bytes(data)))


MUTATIONS: dict[str, Callable[[bytearray, random.Random, Sequence[bytes]], bytes]] = {
    "cut off": truncate, "bits flipped": flip, "sizes that lie": lie, "a part overwritten": overwrite,
    "a part moved": move, "two files joined": splice, "random bytes": noise, "longer": lengthen}


def mutated(data: bytes, chance: random.Random, others: Sequence[bytes], name: str) -> bytes:
    """The file with this mutation. What is packed is half of the times unpacked, mutated and packed again, so that
    checksums fit and the mutation is found by the reader itself."""
    change = MUTATIONS[name]
    if chance.random() < 0.5:
        if data.startswith(b"\x1f\x8b"):
            inner = change(bytearray(gzip.decompress(data)), chance, others)
            return gzip.compress(inner, 1)
        if data.startswith(b"\x89PNG"):
            return _with_checksums(change(bytearray(data), chance, others))
    return change(bytearray(data), chance, others)


def _place(data: bytearray, chance: random.Random) -> int:
    return chance.randrange(min(len(data), 128) if chance.random() < 0.5 else len(data))


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks' checksums fit what is in them."""
    stream, out = io.BytesIO(data), io.BytesIO()
    out.write(stream.read(8))
    while len(head := stream.read(8)) == 8:
        size = int.from_bytes(head[:4], "big")
        body = stream.read(size) if size < len(data) else stream.read()
        stream.read(4)
        out.write(head + body + zlib.crc32(head[4:] + body).to_bytes(4, "big"))
    return out.getvalue()
