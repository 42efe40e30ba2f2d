"""The Olivetti faces: forty people of AT&T's laboratory in Cambridge, ten pictures of each."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.extra import import_extra
from jaxnn.data.published import SHA256, expect_published
from jaxnn.file_errors import BadFile

__all__ = ["Faces", "load_olivetti"]

N_PEOPLE, N_EACH, PIXELS = 40, 10, 64
MAX_FILE_BYTES = 2**23


class Faces(NamedTuple):
    """Pictures of faces, ten of each person, one after another.

    x: (400, 64, 64, 1) uint8, grey in 0..255.
    people: (400,) int64, 0 to 39. Their names are not known.
    """

    x: np.ndarray
    people: np.ndarray


def load_olivetti(directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_digits()") -> Faces:
    """Reads c4/olivettifaces.mat, in which each face is a column of `faces`, column by column.

    A split must keep people apart where new faces of known people are not what is asked for.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: the file is not there.
      BadFile: it is damaged or another one.
      ModuleNotFoundError: scipy is not installed.
    Source: Samaria & Harter (1994), "Parameterisation of a stochastic model for human face identification"; credit
      "AT&T Laboratories Cambridge". As Sam Roweis made them 64x64.
    """
    path = find("c4/olivettifaces.mat", directory, instead=instead, how_to_get="get Sam Roweis' olivettifaces.mat "
                f"(1,432,511 bytes, SHA-256 {SHA256['olivettifaces.mat']})")
    shape = (PIXELS**2, N_PEOPLE * N_EACH)
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        raise BadFile(f"{path} expects a file of at most {MAX_FILE_BYTES:,} bytes; got another; get it again")
    expect_published(path, "olivettifaces.mat")  # before it is parsed
    faces = _read(path, shape)
    x = faces.T.reshape(-1, PIXELS, PIXELS).transpose(0, 2, 1)  # MATLAB counts down the columns
    return Faces(np.ascontiguousarray(x)[..., None], np.repeat(np.arange(N_PEOPLE), N_EACH))


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray:
    scipy_io = import_extra("scipy.io", "load_olivetti")
    try:
        faces = np.asarray(scipy_io.loadmat(path, variable_names=["faces"])["faces"])
    except Exception as error:  # damaged files raise many kinds
        raise BadFile(f"{path} expects a whole MATLAB file with 'faces'; got {str(error) or type(error).__name__}; get "
                      "it again") from error
    if faces.shape != shape or faces.dtype.kind not in "uif" or faces.min() < 0 or faces.max() > 255:
        raise BadFile(f"{path} expects 'faces' of shape {shape} in 0..255; got {faces.dtype} of shape {faces.shape}; "
                      "get it again")
    return np.round(faces).astype(np.uint8)
