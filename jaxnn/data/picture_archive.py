"""JPEG pictures of one size in a tar archive, read from memory; nothing is unpacked to disk."""

import io
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.data.extra import import_extra
from jaxnn.data.members import bad_file, members
from jaxnn.file_errors import BadFile

__all__ = ["read_pictures"]

MAX_BYTES = 2**16  # of one picture; unpacked it is known before it is decoded
MAX_ARCHIVE_BYTES = 2**24


def read_pictures(path: Path, member: re.Pattern, pixels: int, needed_by: str) -> list[tuple[np.ndarray, re.Match]]:
    """The pictures in the order of their names, so that the order inside the archive does not matter.

    Args:
      path: an archive that is not compressed, of at most 16 MB.
      member: what the names of pictures match; other members are passed over.
      pixels: the height and the width of each.
      needed_by: the function that reads them, for the message where Pillow is missing.
    Returns:
      for each picture its (pixels, pixels, 3) bytes and the match of its name.
    Raises:
      BadFile: the archive or a picture is damaged or of another size, or two have one name.
      ModuleNotFoundError: Pillow is not installed.
    """
    image = import_extra("PIL.Image", needed_by)
    found: dict[str, tuple[np.ndarray, re.Match]] = {}
    if not path.is_file():  # reading from a pipe would wait for ever
        raise bad_file(path, "a tar archive", "something other than a regular file")
    size = path.stat().st_size
    if size > MAX_ARCHIVE_BYTES:
        raise bad_file(path, f"at most {MAX_ARCHIVE_BYTES:,} bytes", f"{size:,}")
    try:
        # "r:": not compressed, so it cannot swell; from memory, so that no length in it reaches beyond its bytes.
        with tarfile.open(fileobj=io.BytesIO(path.read_bytes()), mode="r:") as archive:
            for name, entry, match in members(path, archive, member, "picture"):
                found[name] = _picture(image, path, archive, entry, pixels), match
    except BadFile:
        raise
    except Exception as error:  # damaged archives raise many kinds
        problem = f"{size:,} bytes that do not read ({str(error) or type(error).__name__})"
        raise bad_file(path, "a whole tar archive", problem) from error
    return [found[name] for name in sorted(found)]


def _picture(image: Any, path: Path, archive: tarfile.TarFile, member: tarfile.TarInfo, size: int) -> np.ndarray:
    who = f"{path}: {member.name!r}"
    if member.size > MAX_BYTES:
        raise bad_file(who, f"a picture of at most {MAX_BYTES:,} bytes", f"{member.size:,}")
    try:
        with image.open(archive.extractfile(member), formats=("JPEG",)) as picture:
            shape = (*picture.size, picture.mode)  # known before a pixel is decoded
            pixels = np.asarray(picture) if shape == (size, size, "RGB") else None
    except Exception as error:  # damaged pictures raise many kinds
        raise bad_file(who, "a JPEG picture", f"{member.size:,} bytes that do not decode ({error})") from error
    if pixels is None:
        raise bad_file(who, f"a picture of {size} by {size} pixels, RGB", f"{shape[0]} by {shape[1]}, {shape[2]}")
    return pixels
