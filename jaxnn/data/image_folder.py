"""Pictures in folders: one folder for each class, cats/1.jpg, cats/2.png, dogs/1.gif.

What a picture is made to be is counted in `made`, because it is easily overlooked: grey, with a palette, transparent,
in CMYK, of 16 bits, turned by what its camera wrote (EXIF), or resized.
"""

import collections
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_path, expect, is_integer
from jaxnn.data.extra import import_extra
from jaxnn.file_errors import BadFile, MissingData

__all__ = ["ImageFolder", "load_image_folder", "read_picture"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif")
FORMATS = ("PNG", "JPEG", "GIF")
MOST_PIXELS = 2**25  # of one picture as it is stored; 33 million
MOST_BYTES = 2**32  # of all of them together


class ImageFolder(NamedTuple):
    """Pictures of one class each.

    x: (n, height, width, channels) uint8, red-green-blue or grey in 0..255.
    y: (n,) int64, the class, from 0 on.
    classes: the names of the folders, sorted.
    paths: of the pictures, relative to the folder of folders.
    made: how many pictures were changed, by what: {"grey made colour": 3, "turned as EXIF says": 1}.
    passed_over: paths of what is no picture by its suffix, and so was not read.
    """

    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    made: dict[str, int]
    passed_over: tuple[str, ...]


def load_image_folder(directory: str | Path, *, size: Sequence[int] | None = None, crop: bool = False,
                      channels: int = 3, max_bytes: int = MOST_BYTES) -> ImageFolder:
    """Reads directory/CLASS/*.png, *.jpg, *.jpeg and *.gif, in the order of the classes and then of the paths.

    Names that begin with a dot are passed over, and folders inside of a class belong to it. Order is that of the names'
    characters, the same on every machine. Of a GIF the first picture is read.

    Args:
      directory: the folder of the classes' folders.
      size: (height, width) to which all are resized, with the mean of the pixels that fall together; None where all
        have one size.
      crop: whether a picture of other proportions loses its margins first; else it is stretched.
      channels: 3 for colour, 1 for grey.
      max_bytes: the most that x may take.
    Raises:
      MissingData: there is no such folder, or no picture in it.
      BadFile: a picture is damaged, too large or, without `size`, of another size than the first; the message names it.
      ModuleNotFoundError: Pillow is not installed.
    """
    who = "load_image_folder"
    if size is not None:
        expect(isinstance(size, tuple | list) and len(size) == 2 and all(is_integer(n, 1) for n in size), who,
               "size, (height, width)", repr(size))
    root = as_path(who, "directory", directory).expanduser()
    if not root.is_dir():
        raise MissingData(f"{root} expects a folder of one folder for each class; got "
                          f"{'a file' if root.exists() else 'no such folder'}; check the path")
    classes, found, passed_over = _pictures(root)
    if not found:
        raise MissingData(f"{root} expects pictures in one folder for each class, such as cats/1.jpg; got none"
                          + (f" but {', '.join(passed_over[:3])}" if passed_over else "") + "; put them there")
    made = collections.Counter[str]()
    x: np.ndarray | None = None
    for i, (_, path) in enumerate(found):
        picture = read_picture(root / path, size=size, crop=crop, channels=channels, made=made)
        if x is None:
            n_bytes = len(found) * picture.size
            if n_bytes > max_bytes:
                raise BadFile(f"{root} expects pictures of at most {max_bytes:,} bytes; got {len(found):,} of "
                              f"{picture.shape}, {n_bytes:,}; pass a smaller size, or a larger max_bytes")
            x = np.empty((len(found), *picture.shape), np.uint8)
        if picture.shape != x.shape[1:]:
            raise BadFile(f"{root / path} expects the size of {found[0][1]}, {x.shape[1:3]}; got {picture.shape[:2]}; "
                          "pass size=(height, width) to resize all")
        x[i] = picture
    assert x is not None
    return ImageFolder(x, np.array([label for label, _ in found], np.int64), classes, tuple(path for _, path in found),
                       dict(made), passed_over)


def read_picture(path: str | Path, *, size: Sequence[int] | None = None, crop: bool = False, channels: int = 3,
                 made: collections.Counter[str] | None = None) -> np.ndarray:
    """One PNG, JPEG or GIF as (height, width, channels) bytes; see `load_image_folder`.

    Transparent pixels are laid on white, 16 bits are narrowed to 8, a picture that lies on its side and tells so in
    EXIF is turned. made: counts what was done.

    Raises:
      MissingData: there is no such file.
      BadFile: it is no whole picture of such a format, or has more than 33 million pixels.
      ModuleNotFoundError: Pillow is not installed.
    """
    who = "read_picture"
    expect(channels in (1, 3), who, "channels, 1 for grey or 3 for colour", repr(channels))
    image = import_extra("PIL.Image", who)
    file = as_path(who, "path", path)
    if not file.exists():
        raise MissingData(f"{file} expects a picture; got no such file; check the path")
    if not file.is_file():  # reading from a pipe would wait for ever
        raise BadFile(f"{file} expects a picture; got something other than a regular file")
    made = collections.Counter() if made is None else made
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what Pillow doubts is damaged
            with image.open(file, formats=FORMATS) as picture:
                width, height = picture.size  # known before a pixel is decoded
                if width * height > MOST_PIXELS:
                    raise BadFile(f"{file} expects at most {MOST_PIXELS:,} pixels; got {width:,} by {height:,}; make "
                                  "it smaller")
                picture.verify()  # the checksums of a PNG, which Pillow passes over where it decodes
            with image.open(file, formats=FORMATS) as picture:
                return _array(_in_mode(_upright(picture, made), channels, made), size, crop, made)
    except BadFile:
        raise
    except Exception as error:  # damaged pictures raise many kinds
        text = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise BadFile(f"{file} expects a whole PNG, JPEG or GIF picture; got {file.stat().st_size:,} bytes that do not "
                      f"decode ({text[:200]}); get it again, or remove it") from error


def _pictures(root: Path) -> tuple[tuple[str, ...], list[tuple[int, str]], tuple[str, ...]]:
    """The classes, (class, path) of each picture, and the paths of the rest."""
    folders = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    passed_over = [entry.name for entry in root.iterdir() if not entry.is_dir() and not entry.name.startswith(".")]
    found: list[tuple[str, str]] = []
    for folder in folders:
        for entry in _files(root / folder):
            relative = entry.relative_to(root).as_posix()
            if entry.suffix.lower() in SUFFIXES:
                found.append((folder, relative))
            else:
                passed_over.append(relative)
    classes = tuple(sorted({folder for folder, _ in found}))
    numbered = sorted((classes.index(folder), relative) for folder, relative in found)
    return classes, numbered, tuple(sorted(passed_over))


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder; links to folders are not followed, for they may lead around in a circle."""
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and not entry.is_symlink():
            yield from _files(entry)
        elif not entry.is_dir():
            yield entry


def _upright(picture: Any, made: collections.Counter[str]) -> Any:
    operations = import_extra("PIL.ImageOps", "read_picture")
    turned = operations.exif_transpose(picture)
    if picture.getexif().get(0x0112, 1) not in (0, 1):
        made["turned as EXIF says"] += 1
    return turned


def _in_mode(picture: Any, channels: int, made: collections.Counter[str]) -> Any:
    """Grey or colour of 8 bits."""
    image = import_extra("PIL.Image", "read_picture")
    if picture.mode.startswith("I") or picture.mode == "F":
        made["16 bits made 8"] += 1
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError(f"grey values from {values.min()} to {values.max()}")
        picture = image.fromarray((values >> 8).astype(np.uint8))
    if picture.mode == "P":
        made["palette made colour"] += 1
    if picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        made["transparent laid on white"] += 1
        picture = picture.convert("RGBA")
        white = image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = image.alpha_composite(white, picture)
        is_grey = False
    else:
        is_grey = picture.mode in ("1", "L")
        if picture.mode not in ("1", "L", "P", "RGB"):
            made[f"{picture.mode} made colour"] += 1
    if channels == 3 and is_grey:
        made["grey made colour"] += 1
    if channels == 1 and not is_grey:
        made["colour made grey"] += 1
    return picture.convert("RGB" if channels == 3 else "L")


def _array(picture: Any, size: Sequence[int] | None, crop: bool, made: collections.Counter[str]) -> np.ndarray:
    image = import_extra("PIL.Image", "read_picture")
    if size is not None and picture.size != (size[1], size[0]):
        made["resized"] += 1
        if crop:
            operations = import_extra("PIL.ImageOps", "read_picture")
            picture = operations.fit(picture, (size[1], size[0]), image.Resampling.BILINEAR)
        else:
            picture = picture.resize((size[1], size[0]), image.Resampling.BILINEAR)
    array = np.array(picture)
    return array[..., None] if array.ndim == 2 else array
