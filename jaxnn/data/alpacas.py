"""Photographs with and without an alpaca, of the course's assignment on transfer learning."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.members import bad_file
from jaxnn.data.picture_archive import read_pictures
from jaxnn.data.published import expect_published

__all__ = ["Alpacas", "load_alpacas"]

ARCHIVE = "alpaca_160x160_jpg.tar"
MEMBER = re.compile(r"(alpaca|not alpaca)/[^/]*\.jpg")
PIXELS = 160
COUNTS = (185, 142)  # without and with
ASSIGNMENT = "'Transfer Learning with MobileNetV2' (Deep Learning Specialization, course 4, week 2)"


class Alpacas(NamedTuple):
    """Photographs with and without an alpaca.

    x: (327, 160, 160, 3) uint8, red-green-blue in 0..255.
    y: (327,) int64, 1 for an alpaca.
    classes: the names of labels 0 and 1.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, str]


def load_alpacas(directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_digits()") -> Alpacas:
    """Reads c4/alpaca_160x160_jpg.tar: the assignment's 327 photographs, at the size that it feeds to its network.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: the archive is not there.
      BadFile: it is damaged or another one.
      ModuleNotFoundError: Pillow is not installed.
    Source: Deep Learning Specialization, course 4, week 2; the photographs are of Open Images.
    """
    path = find(f"c4/{ARCHIVE}", directory, instead=instead, how_to_get=f"resize the pictures of the assignment "
                f"{ASSIGNMENT} to 160x160 and put the folders 'alpaca' and 'not alpaca' into a tar archive")
    pictures = read_pictures(path, MEMBER, PIXELS, "load_alpacas")
    y = np.array([match[1] == "alpaca" for _, match in pictures], np.int64)
    counts = tuple(int((y == label).sum()) for label in (0, 1))
    if counts != COUNTS:
        raise bad_file(path, f"{COUNTS[1]} pictures with and {COUNTS[0]} without an alpaca",
                       f"{counts[1]} and {counts[0]}")
    expect_published(path, ARCHIVE)
    return Alpacas(np.stack([picture for picture, _ in pictures]), y, ("none", "alpaca"))
