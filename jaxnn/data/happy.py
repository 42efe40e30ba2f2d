"""The course's Happy House: faces at a front door, smiling or not."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.checks import expect
from jaxnn.data.directory import find
from jaxnn.data.hdf5 import Field, read_hdf5
from jaxnn.data.published import expect_published
from jaxnn.file_errors import BadFile

__all__ = ["HappyFaces", "load_happy"]

COUNTS = {"train": 600, "test": 150}
PIXELS = 64
ASSIGNMENT = "'Convolutional Neural Networks: Application' (Deep Learning Specialization, course 4, week 1)"


class HappyFaces(NamedTuple):
    """One part of the Happy House.

    x: (600, 64, 64, 3) or (150, 64, 64, 3) uint8, red-green-blue in 0..255.
    y: (600,) or (150,) int64, 1 for a smiling face.
    classes: the names of labels 0 and 1.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, str]


def load_happy(part: str, directory: str | Path | None = None, *,
               instead: str = "jaxnn.data.load_digits()") -> HappyFaces:
    """Reads c4/train_happy.h5 or c4/test_happy.h5: the assignment's 600 training or 150 test pictures.

    Both have the same few people at the same door, so a test picture has near neighbours among the training pictures.

    Args:
      part: "train" or "test".
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      ValueError: the part is neither.
      MissingData: the file is not there.
      BadFile: it is damaged or not the course's, or has a label other than 0 and 1.
      ModuleNotFoundError: h5py is not installed.
    Source: Deep Learning Specialization, course 4, weeks 1 and 2.
    """
    expect(part in COUNTS, "load_happy", f"part, one of {', '.join(COUNTS)}", repr(part))
    path = find(f"c4/{part}_happy.h5", directory, instead=instead,
                how_to_get=f"download {part}_happy.h5 from the assignment {ASSIGNMENT}")
    n = COUNTS[part]
    x, y = read_hdf5(path, {f"{part}_set_x": Field((n, PIXELS, PIXELS, 3), np.uint8),
                            f"{part}_set_y": Field((n,), np.int64)}).values()
    if (wrong := np.flatnonzero((y != 0) & (y != 1))).size:
        raise BadFile(f"{path}: field '{part}_set_y' expects labels 0 and 1; got {wrong.size} others, the first "
                      f"{y[wrong[0]]} at index {wrong[0]}; get the file again")
    expect_published(path, f"{part}_happy.h5")
    return HappyFaces(x, y, ("not happy", "happy"))
