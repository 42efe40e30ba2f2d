"""The files that jaxnn reads, small and whole: how each is made, and its reader, which gives arrays."""

import gzip
import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.faults.sounds_words_darknet import (
    configurations,
    darknet_weights,
    huge_configuration,
    huge_midi,
    huge_wav,
    huge_weights,
    huge_words,
    midi,
    read_network,
    read_notes,
    read_small_weights,
    wav,
    words,
)
from jaxnn.data import Field, read_hdf5, read_idx, read_picture, read_wav
from jaxnn.data.cifar import PIXELS, read_archive
from jaxnn.models import from_published, read_keras, read_safetensors, write_safetensors
from jaxnn.models.weights import Published, read_npz
from jaxnn.words import read_word_vectors

__all__ = ["FORMATS", "Format"]


class Format(NamedTuple):
    """make: writes whole files into a folder and gives their bytes; read: reads one, and gives the arrays; bombs: files
    made to exhaust the memory."""

    make: Callable[[Path], Sequence[bytes]]
    read: Callable[[Path], Any]
    bombs: Callable[[Path, random.Random], bytes]


RNG = np.random.default_rng(0)
SHAPES = {"fc": {"weight": jax.ShapeDtypeStruct((6, 4), np.float32), "bias": jax.ShapeDtypeStruct((6,), np.float32)}}
WEIGHTS = {"fc.weight": RNG.standard_normal((6, 4)).astype(np.float32), "fc.bias": np.ones(6, np.float32)}
CIFAR: dict[str, Any] = {"train": ["a/1.bin", "a/2.bin"], "test": ["a/3.bin"], "names": "a/names.txt", "label_bytes": 1,
                         "n_classes": 2, "n_train": 3, "n_test": 2}
ZEROS = bytes(2**26)


def safetensors(folder: Path) -> list[bytes]:
    write_safetensors(folder / "good", WEIGHTS)
    return [(folder / "good").read_bytes()]


def huge_safetensors(folder: Path, chance: random.Random) -> bytes:
    """A header that tells of terabytes, of an odd dtype, or of places outside of the file."""
    shape = chance.choice(("[1099511627776]", "[-1]", "[1e400]", "[18446744073709551616]", "[6,4]",
                           "[0,1099511627776]"))
    dtype = chance.choice(("F32", "F64", "BF16", "U8", "Q7", "F8_E4M3", "I64", "BOOL"))
    ends = chance.choice(("[0,96]", "[0,4398046511104]", "[96,0]", "[-96,0]", "[0,0]"))
    text = f'{{"fc.weight":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{ends}}}}}'.encode()
    return chance.choice((len(text), 2**62, 2**24)).to_bytes(8, "little") + text + bytes(96)


def idx(folder: Path) -> list[bytes]:
    plain = [struct.pack(">BBBB3I", 0, 0, 8, 3, 5, 4, 3) + RNG.bytes(60),
             struct.pack(">BBBBI", 0, 0, 0x0D, 1, 7) + bytes(28)]
    return [*plain, *map(gzip.compress, plain)]


def huge_idx(folder: Path, chance: random.Random) -> bytes:
    n = chance.randrange(1, 256)
    head = struct.pack(">BBBB", 0, 0, chance.choice((8, 0x0E)), n) + b"".join(
        struct.pack(">I", chance.choice((0, 1, 2**31, 2**32 - 1))) for _ in range(n))
    return chance.choice((head, gzip.compress(head + ZEROS, 1)))


def cifar(folder: Path) -> list[bytes]:
    def archive(members: dict[str, bytes]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()

    def rows(n: int) -> bytes:
        return b"".join(bytes([i % 2]) + RNG.bytes(PIXELS) for i in range(n))

    return [archive({"a/1.bin": rows(3), "a/2.bin": rows(3), "a/3.bin": rows(2), "a/names.txt": b"cat\ndog\n"})]


def huge_cifar(folder: Path, chance: random.Random) -> bytes:
    """A member that unpacks to far more than it should, or claims to; or one that is a link."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo(chance.choice(("a/1.bin", "a/names.txt", "other")))
        info.type = chance.choice((tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE))
        info.linkname = "/dev/zero"
        info.size = len(ZEROS) if info.type == tarfile.REGTYPE else 0
        tar.addfile(info, io.BytesIO(ZEROS))
    return out.getvalue()


def pictures(kind: str, **options: Any) -> Callable[[Path], list[bytes]]:
    def make(folder: Path) -> list[bytes]:
        from PIL import Image

        files = []
        for mode in ("RGB", "L", "P", "RGBA", "LA", "I;16"):
            if (kind == "JPEG" and mode not in ("RGB", "L")) or (kind == "GIF" and mode not in ("L", "P")):
                continue
            base = Image.fromarray(RNG.integers(0, 255, (9, 7, 3), np.uint8))
            wide = Image.fromarray(np.arange(63, dtype=np.uint16).reshape(9, 7))
            picture = wide if mode == "I;16" else base.convert(mode)
            exif = Image.Exif()
            exif[0x0112] = 6
            last = {"save_all": True, "append_images": [picture]} if kind == "GIF" else {"exif": exif}
            for more in ({}, options, last):
                out = io.BytesIO()
                picture.save(out, kind, **more)
                files.append(out.getvalue())
        return files

    return make


def huge_png(folder: Path, chance: random.Random) -> bytes:
    """Few bytes that tell of billions of pixels, of millions of them in truth, or of a text of 64 MB."""
    def chunk(name: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    width, height = chance.choice(((2**31 - 1, 2**31 - 1), (60_000, 60_000), (2**13, 2**13), (1, 2**31 - 1), (4, 4)))
    depth, colour = chance.choice(((8, 2), (16, 6), (1, 0), (8, 3), (16, 0)))
    text = chunk(chance.choice((b"zTXt", b"iTXt", b"iCCP")), b"a\0\0" + zlib.compress(ZEROS, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)) + (
        text if chance.random() < 0.3 else b"") + chunk(b"IDAT", zlib.compress(ZEROS, 1)) + chunk(b"IEND", b"")


def huge_jpeg(folder: Path, chance: random.Random) -> bytes:
    data = bytearray(pictures("JPEG", progressive=True)(folder)[chance.randrange(6)])
    for marker in (b"\xff\xc0", b"\xff\xc2"):
        at = data.find(marker)
        if at >= 0:
            data[at + 5:at + 9] = struct.pack(">HH", *(chance.choice((0, 1, 8000, 65_500)) for _ in range(2)))
    return bytes(data)


def huge_gif(folder: Path, chance: random.Random) -> bytes:
    data = bytearray(pictures("GIF")(folder)[0])
    data[6:10] = struct.pack("<HH", chance.choice((65_535, 8000)), chance.choice((65_535, 8000)))
    return bytes(data)


def keras(folder: Path) -> list[bytes]:
    import h5py

    files = []
    for prefix, options in (("", {}), ("model_weights/", {"chunks": True, "compression": "gzip", "fletcher32": True})):
        with h5py.File(folder / "good", "w") as file:
            for name, array in WEIGHTS.items():
                layer, leaf = name.split(".")
                file.create_dataset(f"{prefix}{layer}/{layer}/{'kernel' if leaf == 'weight' else leaf}:0", data=array.T,
                                    **options)
            file.attrs["layer_names"] = [b"fc"]
        files.append((folder / "good").read_bytes())
    return files


def huge_keras(folder: Path, chance: random.Random) -> bytes:
    """Data sets that were never written, of terabytes; links that lead around, or elsewhere."""
    import h5py

    with h5py.File(folder / "bomb", "w") as file:
        group = file.create_group("fc")
        kind = chance.randrange(4)
        if kind == 0:
            group.create_dataset("kernel:0", (10**6, 10**6), np.float32, chunks=(2**10, 2**10), compression="gzip")
        elif kind == 1:
            group["loop"] = group
        elif kind == 2:
            group["kernel:0"] = h5py.ExternalLink("/dev/zero", "x")
        else:
            group.create_dataset("kernel:0", data=np.zeros((2**12, 2**11), np.float32), compression="gzip")
        group["bias:0"] = WEIGHTS["fc.bias"]
    return (folder / "bomb").read_bytes()


def hdf5(folder: Path) -> list[bytes]:
    import h5py

    files: list[bytes] = []
    for options in ({}, {"chunks": (4, 3), "compression": "gzip", "shuffle": True}, {"chunks": (2, 2)}):
        with h5py.File(folder / "good", "w", libver=chance_of(len(files))) as file:
            file.create_dataset("x", data=np.arange(24, dtype=np.int32).reshape(6, 4), **options)
        files.append((folder / "good").read_bytes())
    return files


def chance_of(n: int) -> str:
    """The older and the newer layout of HDF5, in turns."""
    return ("earliest", "latest")[n % 2]


def npz(folder: Path) -> list[bytes]:
    out, packed = io.BytesIO(), io.BytesIO()
    arrays: dict[str, Any] = dict(WEIGHTS)
    np.savez(out, **arrays)
    np.savez_compressed(packed, **arrays)
    return [out.getvalue(), packed.getvalue()]


def huge_npz(folder: Path, chance: random.Random) -> bytes:
    """An array that tells of terabytes, objects to be unpickled, or 64 MB of zeros in a few bytes."""
    dtype = chance.choice(("'<f4'", "'|O'", "'<f8'", "'|V64'"))
    shape = chance.choice(("(1099511627776,)", "(6, 4)", "(-1,)", "(True,)", "()"))
    head = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    member = b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + chance.choice((ZEROS, bytes(96)))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("fc.weight.npy", member)
    return out.getvalue()


FORMATS: dict[str, Format] = {
    "safetensors": Format(safetensors, lambda path: from_published(read_safetensors(path), SHAPES, {}, Published({})),
                          huge_safetensors),
    "npz": Format(npz, lambda path: read_npz(path, max_bytes=2**20), huge_npz),
    "Keras HDF5": Format(keras, lambda path: read_keras(path, SHAPES, {}, {}), huge_keras),
    "HDF5": Format(hdf5, lambda path: read_hdf5(path, {"x": Field((6, 4), np.int32)}), huge_keras),
    "IDX": Format(idx, lambda path: read_idx(path, max_bytes=2**20), huge_idx),
    "CIFAR": Format(cifar, lambda path: read_archive(path, **CIFAR), huge_cifar),
    "PNG": Format(pictures("PNG", optimize=True), read_picture, huge_png),
    "JPEG": Format(pictures("JPEG", progressive=True), read_picture, huge_jpeg),
    "GIF": Format(pictures("GIF", interlace=0), read_picture, huge_gif),
    "WAV": Format(wav, lambda path: read_wav(path, max_bytes=2**20 + 64).samples, huge_wav),
    "MIDI": Format(midi, read_notes, huge_midi),
    "word2vec text": Format(words("word2vec"), lambda path: read_word_vectors(path, "word2vec").matrix,
                            huge_words("word2vec")),
    "word2vec binary": Format(words("word2vec binary"), lambda path: read_word_vectors(path, "word2vec binary").matrix,
                              huge_words("word2vec binary")),
    "GloVe": Format(words("glove"), lambda path: read_word_vectors(path, "glove").matrix, huge_words("glove")),
    "Darknet .cfg": Format(configurations, read_network, huge_configuration),
    "Darknet .weights": Format(darknet_weights, read_small_weights, huge_weights)}
