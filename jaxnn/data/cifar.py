"""CIFAR-10 and CIFAR-100, from the archives of binary files in which they are published."""

import tarfile
import zlib
from pathlib import Path

import numpy as np

from jaxnn.data.directory import data_directory, find
from jaxnn.data.download import download, expect_digest
from jaxnn.data.idx import ImageClasses
from jaxnn.file_errors import BadFile, MissingData

__all__ = ["load_cifar10", "load_cifar100"]

ADDRESS = "https://www.cs.toronto.edu/~kriz/"
MD5 = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530",
       "cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"}
PIXELS = 3 * 32 * 32
EXAMPLES = 50_000, 10_000  # to train and to test
MAX_NAMES = 2**14  # bytes of the file of names: it has 100 short lines at most


def load_cifar10(directory: str | Path | None = None, *, fetch: bool = False,
                  published: bool = True) -> ImageClasses:
    """CIFAR-10: 50,000 and 10,000 colour pictures of 32x32 pixels.

    Args:
      directory: the data directory, as in `data_directory`; cifar-10-binary.tar.gz lies in it or in its folder
        "cifar". It is read as it is, nothing is unpacked to disk.
      fetch: whether it is downloaded into that folder where it is not there (162 MB).
      published: whether it must be the published archive, by its MD5.
    Raises:
      MissingData: the archive is not there.
      BadFile: it is damaged or another one.
    Source: Krizhevsky (2009).
    """
    members = [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)]
    return _load("cifar-10-binary.tar.gz", members, ["cifar-10-batches-bin/test_batch.bin"],
                 "cifar-10-batches-bin/batches.meta.txt", 1, 10, directory, fetch, published)


def load_cifar100(directory: str | Path | None = None, *, fetch: bool = False,
                  published: bool = True) -> ImageClasses:
    """CIFAR-100: as `load_cifar10`, with 100 classes; cifar-100-binary.tar.gz (162 MB)."""
    return _load("cifar-100-binary.tar.gz", ["cifar-100-binary/train.bin"], ["cifar-100-binary/test.bin"],
                 "cifar-100-binary/fine_label_names.txt", 2, 100, directory, fetch, published)


def _load(archive: str, train: list[str], test: list[str], names: str, label_bytes: int, n_classes: int,
          directory: str | Path | None, fetch: bool, published: bool) -> ImageClasses:
    url = ADDRESS + archive
    try:
        path = find(f"cifar/{archive}", directory, how_to_get=f"download {url}, or pass fetch=True",
                    instead="jaxnn.data.load_digits()")
    except MissingData:
        if not fetch:
            raise
        path = download(url, data_directory(directory) / "cifar" / archive, digest=f"md5:{MD5[archive]}")
    if published:
        expect_digest(path, f"md5:{MD5[archive]}")
    return read_archive(path, train, test, names, label_bytes, n_classes, EXAMPLES[0] // len(train), EXAMPLES[1])


def read_archive(path: Path, train: list[str], test: list[str], names: str, label_bytes: int, n_classes: int,
                 n_train: int, n_test: int) -> ImageClasses:
    """The pictures of an archive whose members `train` hold n_train each, and `test` n_test each."""
    sizes: dict[str, int | None] = dict.fromkeys(train, n_train * (PIXELS + label_bytes))
    sizes |= dict.fromkeys(test, n_test * (PIXELS + label_bytes)) | {names: None}
    found = _members(path, sizes)
    classes = tuple(found[names].decode("utf-8", "replace").split())
    if len(classes) != n_classes:
        raise BadFile(f"{path} expects {n_classes} names in {names}; got {len(classes)}")
    parts = [_pictures(path, b"".join(found[name] for name in part), label_bytes, n_classes) for part in (train, test)]
    return ImageClasses(*parts[0], *parts[1], classes)


def _members(path: Path, sizes: dict[str, int | None]) -> dict[str, bytes]:
    """The files of an archive by name; those that are not asked for are passed over, and links are none."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name not in sizes:
                    continue
                size = sizes[member.name]
                if member.name in found or not member.isreg() or (
                        member.size > MAX_NAMES if size is None else member.size != size):
                    raise BadFile(f"{path} expects one file {member.name}"
                                  + (f" of {size:,} bytes" if size else "") + f"; got {member.size:,} bytes, a second "
                                  "one or no file; get the archive again")
                file = archive.extractfile(member)
                found[member.name] = file.read(member.size) if file else b""
                if len(found[member.name]) != member.size:
                    raise BadFile(f"{path} expects {member.size:,} bytes of {member.name}; got fewer; get it again")
    except BadFile:
        raise
    except Exception as error:  # damaged archives raise many kinds
        kind = "a damaged one" if isinstance(error, tarfile.TarError | zlib.error | EOFError | OSError) else "another"
        raise BadFile(f"{path} expects the published archive; got {kind} ({error}); get it again") from error
    if missing := [name for name in sizes if name not in found]:
        raise BadFile(f"{path} expects the published archive; got none of {', '.join(missing)}; get it again")
    return found


def _pictures(path: Path, data: bytes, label_bytes: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """(pictures, labels): each row has its labels, the finest last, and then red, green and blue."""
    rows = np.frombuffer(data, np.uint8).reshape(-1, PIXELS + label_bytes)
    labels = rows[:, label_bytes - 1].astype(np.int64)
    if labels.max() >= n_classes:
        raise BadFile(f"{path} expects labels 0 to {n_classes - 1}; got {labels.max()}")
    return np.ascontiguousarray(rows[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
