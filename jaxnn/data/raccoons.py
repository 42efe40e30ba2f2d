"""Photographs of raccoons, each raccoon in a box that a person drew."""

import csv
import io
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.image_folder import read_picture
from jaxnn.file_errors import BadFile

__all__ = ["Raccoons", "load_raccoons"]

N_PICTURES, N_BOXES = 200, 217
COLUMNS = ["file", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
MAX_CSV_BYTES = 2**20
BEYOND = 1.0  # pixels by which a box may reach over the rim: the boxes were scaled with their pictures, and rounded


class Raccoons(NamedTuple):
    """Photographs with the boxes of the raccoons in them.

    pictures: 200 arrays (height, width, 3) uint8, red-green-blue, at most 320 pixels long.
    boxes: 200 arrays (n, 4) float32, corners (left, top, right, bottom) in pixels, n from 1 to 3.
    names: of the files.
    alike: (200,) int64, the same number for photographs that are the same, or nearly: a split keeps them together.
    """

    pictures: tuple[np.ndarray, ...]
    boxes: tuple[np.ndarray, ...]
    names: tuple[str, ...]
    alike: np.ndarray


def load_raccoons(directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_digits()") -> Raccoons:
    """Reads c4/raccoon/boxes.csv and the pictures beside it. Seven of the 200 are copies of others.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: the table or a picture is not there.
      BadFile: the table is damaged or another one, a box has no area or lies outside, or a picture has another size.
      ModuleNotFoundError: Pillow is not installed.
    Source: Dat Tran's raccoon_dataset (MIT licence), the pictures made smaller.
    """
    path = find("c4/raccoon/boxes.csv", directory, instead=instead, how_to_get=(
        "get the repository datitran/raccoon_dataset, make its pictures at most 320 pixels long and scale its boxes"))
    rows = _rows(path)
    names = tuple(dict.fromkeys(row["file"] for row in rows))
    if (len(names), len(rows)) != (N_PICTURES, N_BOXES):
        raise BadFile(f"{path} expects {N_BOXES} boxes of {N_PICTURES} pictures; got {len(rows)} of {len(names)}; get "
                      "the file again")
    pictures, boxes = [], []
    for name in names:
        picture = read_picture(path.parent / name)
        mine = [row for row in rows if row["file"] == name]
        pictures.append(picture)
        boxes.append(np.stack([_box(path, row, picture.shape) for row in mine]))
    return Raccoons(tuple(pictures), tuple(boxes), names, _alike(pictures))


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file() or path.stat().st_size > MAX_CSV_BYTES:
        raise BadFile(f"{path} expects a table of at most {MAX_CSV_BYTES:,} bytes; got another file; get it again")
    try:
        reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8")))
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadFile(f"{path} expects a table of text; got bytes that are none ({error}); get it again") from error
    if reader.fieldnames != COLUMNS or any(None in row or None in row.values() for row in rows):
        raise BadFile(f"{path} expects the columns {', '.join(COLUMNS)} in each row; got "
                      f"{', '.join(map(str, reader.fieldnames or []))}, or rows of another length; get it again")
    for row in rows:
        if Path(row["file"]).name != row["file"] or not row["file"].endswith(".jpg"):
            raise BadFile(f"{path} expects names of .jpg files beside it; got {row['file']!r}; get it again")
    return rows


def _box(path: Path, row: dict[str, str], shape: tuple[int, ...]) -> np.ndarray:
    """(4,), cut off at the rim of the picture."""
    try:
        box = np.array([float(row[name]) for name in COLUMNS[4:]])
        width, height = int(row["width"]), int(row["height"])
    except ValueError as error:
        raise BadFile(f"{path}: {row['file']} expects numbers; got {error}; get the file again") from error
    if shape[:2] != (height, width):
        raise BadFile(f"{path}: {row['file']} expects a picture of {height} x {width}; got {shape[:2]}; get it again")
    inside = np.clip(box, 0, [width, height] * 2)
    if not np.abs(box - inside).max() <= BEYOND or not (inside[2:] > inside[:2]).all():
        raise BadFile(f"{path}: {row['file']} expects a box with an area, within the picture; got {box.tolist()} in "
                      f"{width} x {height}; get the file again")
    return inside.astype(np.float32)


def _alike(pictures: list[np.ndarray]) -> np.ndarray:
    """By the correlation of their brightness on 16 x 16 fields; the first of those alike gives the number."""
    small = np.stack([_fields(picture.mean(-1)) for picture in pictures])
    small = small - small.mean(1, keepdims=True)
    small /= np.linalg.norm(small, axis=1, keepdims=True)
    return ((small @ small.T) > 0.9).argmax(1)


def _fields(grey: np.ndarray, n: int = 16) -> np.ndarray:
    """The means of n x n fields, (n²,)."""
    rows, columns = (np.linspace(0, size, n + 1).astype(int) for size in grey.shape)
    return np.array([grey[a:b, c:d].mean() for a, b in pairwise(rows) for c, d in pairwise(columns)])
