"""The course's photographs, read from its files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.checks import expect
from jaxnn.data.directory import find
from jaxnn.data.hdf5 import Field, read_hdf5
from jaxnn.data.published import SHA256, expect_published
from jaxnn.file_errors import BadFile

__all__ = ["CatPhotographs", "load_cat", "pixels_to_rows"]

# The files as the course published them: part, file, examples, bytes, SHA-256.
FILES = (
    ("train", "train_catvnoncat.h5", 209, 2_572_022, SHA256["train_catvnoncat.h5"]),
    ("test", "test_catvnoncat.h5", 50, 616_958, SHA256["test_catvnoncat.h5"]),
)
ASSIGNMENT = (
    "'Programming Assignment: Logistic Regression with a Neural Network Mindset' "
    "(Deep Learning Specialization, course 1, week 2)"
)


class CatPhotographs(NamedTuple):
    """Photographs with and without a cat.

    train_x, test_x: (209, 64, 64, 3) and (50, 64, 64, 3) uint8, NHWC, red-green-blue in 0..255.
    train_y, test_y: (209,) and (50,) int64, 1 for a cat.
    classes: the names of labels 0 and 1.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: tuple[str, str]


def load_cat(
    directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_breast_cancer()"
) -> CatPhotographs:
    """Reads the cat photographs from c1/train_catvnoncat.h5 and c1/test_catvnoncat.h5.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends, such as "--data breast-cancer".
    Raises:
      MissingData: a file is not there.
      BadFile: a file is not the course's, or has a label other than 0 and 1.
      ModuleNotFoundError: h5py is not installed.
    Source: Deep Learning Specialization, course 1, weeks 2 and 4.
    """
    arrays: list[np.ndarray] = []
    for part, file, n_examples, n_bytes, sha256 in FILES:
        how_to_get = (
            f"download {' and '.join(f[1] for f in FILES)} from the assignment {ASSIGNMENT} "
            f"({file} has {n_bytes:,} bytes and SHA-256 {sha256})"
        )
        path = find(f"c1/{file}", directory, how_to_get=how_to_get, instead=instead)
        read = read_hdf5(path, {
            f"{part}_set_x": Field((n_examples, 64, 64, 3), np.uint8),
            f"{part}_set_y": Field((n_examples,), np.int64),
            "list_classes": Field((2,), "S"),
        })
        x, y, names = read.values()
        if (wrong := np.flatnonzero((y != 0) & (y != 1))).size:
            raise BadFile(
                f"{path}: field '{part}_set_y' expects labels 0 and 1; "
                f"got {wrong.size} others, the first {y[wrong[0]]} at index {wrong[0]}; "
                "get the file again"
            )
        expect_published(path, file)
        arrays += [x, y]
    train_x, train_y, test_x, test_y = arrays
    no_cat, cat = (name.decode("ascii", "replace") for name in names)
    return CatPhotographs(train_x, train_y, test_x, test_y, (no_cat, cat))


def pixels_to_rows(images: np.ndarray) -> np.ndarray:
    """The course's inputs: pixels / 255, one flat row per image.

    Args:
      images: (n, ...) uint8.
    Returns:
      (n, product of the rest) float64 in [0, 1], the last axis of an image running fastest.
    Raises:
      InputError: the pixels are not uint8, as when they have been scaled already; there is no axis of examples, or no
        example.
    """
    who = "pixels_to_rows"
    expect(hasattr(images, "dtype") and hasattr(images, "shape"), who, "an array of images", type(images).__name__)
    expect(images.dtype == np.uint8, who, "images of dtype uint8, in 0..255", str(images.dtype),
           "if they are scaled already, images.reshape(len(images), -1) is all they need")
    expect(images.ndim >= 2 and images.size > 0, who, "images of shape (n, ...) with n >= 1", str(images.shape),
           "put one image in a batch with image[None]")
    return images.reshape(len(images), -1) / 255.0
