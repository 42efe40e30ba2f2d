"""The course's football field, read from its MATLAB file."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.extra import import_extra
from jaxnn.data.published import SHA256 as PUBLISHED
from jaxnn.data.published import expect_published
from jaxnn.file_errors import BadFile

__all__ = ["FootballField", "load_football"]

# The file as the course published it.
N_BYTES, SHA256 = 6_038, PUBLISHED["data.mat"]
ASSIGNMENT = "'Regularization' (Deep Learning Specialization, course 2, week 1)"
MAX_BYTES = 2**20  # of the file; the course's has 6 kB
SHAPES = {"X": (211, 2), "y": (211, 1), "Xval": (200, 2), "yval": (200, 1)}


class FootballField(NamedTuple):
    """Where the ball came down after a kick, and whose player headed it.

    train_x, test_x: (211, 2) and (200, 2) float64, positions on the field, about -0.8 to 0.7.
    train_y, test_y: (211,) and (200,) int64, 1 for a player of the home team.
    """

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray


def load_football(
    directory: str | Path | None = None, *, instead: str = "jaxnn.data.noisy_moons()"
) -> FootballField:
    """Reads the football field from c2/data.mat.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends, such as "--data moons".
    Raises:
      MissingData: the file is not there.
      BadFile: the file is not the course's, or has NaN, infinite values, or a label other than 0 and 1.
      ModuleNotFoundError: scipy is not installed.
    Source: Deep Learning Specialization, course 2, week 1.
    """
    how_to_get = (f"download datasets/data.mat from the assignment {ASSIGNMENT} ({N_BYTES:,} bytes, "
                  f"SHA-256 {SHA256})")
    path = find("c2/data.mat", directory, how_to_get=how_to_get, instead=instead)
    x, y, x_test, y_test = _read(import_extra("scipy.io", "load_football"), path).values()
    return FootballField(x, y[:, 0].astype(np.int64), x_test, y_test[:, 0].astype(np.int64))


def _read(scipy_io: Any, path: Path) -> dict[str, np.ndarray]:
    """The four arrays as float64: what the file declares is compared before any of them is read."""
    if not path.is_file():
        raise _bad(path, "a MATLAB file", "a directory", "name another data directory")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise _bad(path, f"at most {MAX_BYTES:,} bytes", f"{size:,}", "get the file again")
    try:
        declared = {name: shape for name, shape, _ in scipy_io.whosmat(path)}
        if wrong := [name for name, shape in SHAPES.items() if declared.get(name) != shape]:
            actual = {name: declared.get(name, "nothing") for name in wrong}
            raise _bad(path, f"{', '.join(f'{name} {SHAPES[name]}' for name in wrong)}",
                       ", ".join(f"{name} {shape}" for name, shape in actual.items()),
                       "check that this is the right file")
        read = scipy_io.loadmat(path, variable_names=list(SHAPES))
        arrays = {name: np.asarray(read[name], np.float64) for name in SHAPES}
    except BadFile:
        raise
    except Exception as error:  # damaged files raise many kinds
        raise _bad(path, "a whole MATLAB file", f"{size:,} bytes that do not read "
                   f"({str(error) or type(error).__name__})", "get the file again") from error
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise _bad(f"{path}: {name}", "finite values", "NaN or infinite ones", "get the file again")
        if name.startswith("y") and not np.isin(array, (0, 1)).all():
            raise _bad(f"{path}: {name}", "labels 0 and 1", sorted(set(array.ravel().tolist()))[:5],
                       "get the file again")
    expect_published(path, "data.mat")
    return arrays


def _bad(who: object, expected: str, actual: object, advice: str) -> BadFile:
    return BadFile(f"{who} expects {expected}; got {actual}; {advice}")
