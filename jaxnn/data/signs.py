"""The course's SIGNS: photographs of hands that show the numbers 0 to 5."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.hdf5 import Field, read_hdf5
from jaxnn.data.members import bad_file
from jaxnn.data.picture_archive import read_pictures
from jaxnn.data.published import expect_published
from jaxnn.file_errors import MissingData

__all__ = ["Signs", "load_signs"]

COUNTS = {"train": 1080, "test": 120}
ARCHIVE = "signs_64x64_jpg.tar"
MEMBER = re.compile(r"(train|val|test)_signs/([0-5])_[^/]*\.jpg")  # the first character is the label
PIXELS = 64
ASSIGNMENT = "'TensorFlow Tutorial' (Deep Learning Specialization, course 2, week 3)"


class Signs(NamedTuple):
    """Hands that show a number.

    train_x, test_x: (1080, 64, 64, 3) and (120, 64, 64, 3) uint8, NHWC, red-green-blue in 0..255.
    train_y, test_y: (1080,) and (120,) int64, the number shown, 0..5.
    source: what they were read from, "HDF5" or "JPEG".
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    source: str


def load_signs(directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_digits()") -> Signs:
    """Reads the signs: c2/train_signs.h5 and c2/test_signs.h5 where both are there, else
    c2/signs_64x64_jpg.tar.

    The archive has the same 1,200 pictures as JPEG: `train_signs` and `val_signs` are the course's 1,080
    training pictures in another order, `test_signs` its 120 test pictures. Nothing is unpacked to disk.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: neither is there.
      BadFile: a file is damaged, is not the course's, or has other pictures or labels than described.
      ModuleNotFoundError: h5py, or for the archive Pillow, is not installed.
    Source: Deep Learning Specialization, course 2, week 3.
    """
    how_to_get = f"download train_signs.h5 and test_signs.h5 from the assignment {ASSIGNMENT}"
    try:
        paths = [find(f"c2/{part}_signs.h5", directory, how_to_get=how_to_get, instead=instead)
                 for part in COUNTS]
    except MissingData:
        how_to_get += f" to the same place, or get their pictures as JPEG in {ARCHIVE}"
        return _from_archive(find(f"c2/{ARCHIVE}", directory, how_to_get=how_to_get, instead=instead))
    train, test = (_from_hdf5(path, part) for part, path in zip(COUNTS, paths, strict=True))
    return Signs(*train, *test, source="HDF5")


def _from_hdf5(path: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    n = COUNTS[part]
    x, y = read_hdf5(path, {f"{part}_set_x": Field((n, PIXELS, PIXELS, 3), np.uint8),
                            f"{part}_set_y": Field((n,), np.int64)}).values()
    if (wrong := np.flatnonzero((y < 0) | (y > 5))).size:
        raise bad_file(f"{path}: field '{part}_set_y'", "labels 0 to 5",
                   f"{wrong.size} others, the first {y[wrong[0]]} at index {wrong[0]}")
    expect_published(path, f"{part}_signs.h5")
    return x, y


def _from_archive(path: Path) -> Signs:
    read: dict[str, list[tuple[np.ndarray, int]]] = {part: [] for part in COUNTS}
    for picture, match in read_pictures(path, MEMBER, PIXELS, "load_signs"):
        read["test" if match[1] == "test" else "train"].append((picture, int(match[2])))
    arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for part, n in COUNTS.items():
        if len(read[part]) != n:
            raise bad_file(path, f"{n:,} {part} pictures, such as {part}_signs/5_IMG_1234.jpg", f"{len(read[part]):,}")
        images, labels = zip(*read[part], strict=True)
        arrays[part] = np.stack(images), np.array(labels, np.int64)
    expect_published(path, ARCHIVE)
    return Signs(*arrays["train"], *arrays["test"], source="JPEG")
