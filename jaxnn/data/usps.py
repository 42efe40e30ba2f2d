"""USPS: handwritten digits of postal codes, as LeCun's network of 1989 read them."""

from pathlib import Path

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.hdf5 import Field, read_hdf5
from jaxnn.data.idx import ImageClasses
from jaxnn.data.published import expect_published
from jaxnn.file_errors import BadFile

__all__ = ["load_usps"]

SIZES = {"train": 7291, "test": 2007}


def load_usps(directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_digits()") -> ImageClasses:
    """USPS from c3/usps.h5: 7,291 and 2,007 digits of 16x16 pixels, as whole numbers 0..255 of ink.

    The test set is harder than the training set: people err on 2.37 % of it, LeCun's network of 1989 on 5.0 %.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: the file is not there.
      BadFile: it is damaged or another one.
    Source: LeCun et al. (1989), the figures: Bromley & Säckinger (1991).
    """
    path = find("c3/usps.h5", directory, how_to_get="get usps.h5, with train/data, train/target, test/data and "
                "test/target", instead=instead)
    arrays = read_hdf5(path, {f"{part}/{name}": field for part, n in SIZES.items() for name, field in (
        ("data", Field((n, 256), np.float32)), ("target", Field((n,), np.int32)))})
    for part in SIZES:
        x, y = arrays[f"{part}/data"], arrays[f"{part}/target"]
        if x.min() < 0 or x.max() > 1 or y.min() < 0 or y.max() > 9:
            raise BadFile(f"{path} expects {part}/data in 0 .. 1 and {part}/target in 0 .. 9; got {x.min()} to "
                          f"{x.max()} and {y.min()} to {y.max()}")
    expect_published(path, "usps.h5")
    x, test_x = (np.round(255 * arrays[f"{part}/data"]).astype(np.uint8).reshape(-1, 16, 16, 1) for part in SIZES)
    y, test_y = (arrays[f"{part}/target"].astype(np.int64) for part in SIZES)
    return ImageClasses(x, y, test_x, test_y, tuple(map(str, range(10))))
