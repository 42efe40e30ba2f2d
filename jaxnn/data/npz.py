"""A reader of NumPy's .npz archives that trusts nothing in a file's own description.

An .npz is a zip archive with an array in each member. A member's header can declare any shape, and a member can be
compressed a thousandfold. So the caller declares what to expect, as for `read_hdf5`, and this is compared with what the
file declares before anything of that size is allocated. Nothing is unpickled. The checksum of each member is verified,
which finds every flipped bit of an array.
"""

import io
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.checks import as_path
from jaxnn.data.hdf5 import Field
from jaxnn.file_errors import BadFile, MissingData

__all__ = ["read_npz"]

MAX_HEADER_BYTES = 10_000  # of a member: magic, version, shape and dtype; NumPy's own limit
STORED_OR_DEFLATED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes


def read_npz(path: str | Path, fields: dict[str, Field], *, max_bytes: int = 2**28) -> dict[str, np.ndarray]:
    """Reads the declared arrays of an .npz archive and nothing else.

    Args:
      path: a regular file.
      fields: by name, as in `np.savez(path, name=array)`.
      max_bytes: the most that one array may take in memory.
    Returns:
      the arrays, in the machine's byte order.
    Raises:
      MissingData: there is no such file.
      PermissionError: the file may not be read.
      BadFile: it is not a complete archive; or an array is missing, stands twice, is damaged, has another shape or
        dtype, is larger than allowed, or holds NaN or infinite values.
    """
    path = as_path("read_npz", "path", path)
    if not path.exists():
        raise MissingData(f"{path} expects an .npz archive; got no such file; check the path")
    # A directory cannot be read, and reading from a pipe would wait for ever.
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "something other than a regular file"
        raise _bad(path, "an .npz archive", kind, "name the file itself")
    with path.open("rb") as file:  # a file that we may not read is refused as that, not as damaged
        try:
            with zipfile.ZipFile(file) as archive:
                return {name: _read(archive, path, name, field, max_bytes) for name, field in fields.items()}
        except BadFile:
            raise
        except Exception as error:  # damaged archives raise many kinds
            problem = f"{path.stat().st_size:,} bytes that do not read ({str(error) or type(error).__name__})"
            raise _bad(path, "a whole .npz archive", problem) from error


def _bad(who: object, expected: str, actual: object, advice: str = "get the file again") -> BadFile:
    return BadFile(f"{who} expects {expected}; got {actual}; {advice}")


def _read(archive: zipfile.ZipFile, path: Path, name: str, field: Field, max_bytes: int) -> np.ndarray:
    who = f"{path}: array {name!r}"
    found = [entry for entry in archive.infolist() if entry.filename == f"{name}.npy"]
    if len(found) != 1:
        names = sorted(entry.filename.removesuffix(".npy") for entry in archive.infolist())
        raise _bad(who, "one array of this name", f"{len(found)} among {names[:10]}",
                   "check that this is the right file")
    (entry,) = found
    if entry.compress_type not in STORED_OR_DEFLATED:
        raise _bad(who, "an array that is stored or deflated", f"the zip method {entry.compress_type}",
                   "save it again with np.savez")
    # What is inflated is never more than this, whatever the stream holds.
    if entry.file_size > max_bytes + MAX_HEADER_BYTES:
        raise _bad(who, f"at most {max_bytes:,} bytes", f"{entry.file_size:,} declared",
                   "raise max_bytes if you trust the file")
    try:
        with archive.open(entry) as member:
            shape, is_fortran, dtype = _header(member)
            _as_declared(who, field, shape, dtype)
            n_bytes = math.prod(shape) * dtype.itemsize
            if n_bytes > max_bytes:
                raise _bad(who, f"at most {max_bytes:,} bytes", f"{n_bytes:,} declared",
                           "raise max_bytes if you trust the file")
            data = member.read(n_bytes + 1)  # one more, so that a longer member is found out and the checksum is read
    except BadFile:
        raise
    except Exception as error:
        raise _bad(who, "a readable array", f"{entry.compress_size:,} bytes that do not read "
                   f"({str(error) or type(error).__name__})", "get the file again, it is damaged") from error
    if len(data) != n_bytes:
        actual = "more" if len(data) > n_bytes else f"{len(data):,}"
        raise _bad(who, f"{n_bytes:,} bytes of data", actual, "get the file again, it is damaged")
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if is_fortran else "C")
    array = array.astype(dtype.newbyteorder("="))  # which is a copy that can be written to
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        wrong = np.argwhere(~np.isfinite(array))
        raise _bad(who, "finite values", f"{len(wrong)} NaN or infinite, the first at index {tuple(wrong[0].tolist())}",
                   "repair or drop these examples")
    return array


def _header(member: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """(shape, whether the first axis runs fastest, dtype) of a member, whose data follow in the stream."""
    version = np.lib.format.read_magic(member)
    length_bytes = {(1, 0): 2, (2, 0): 4}.get(version)
    if length_bytes is None:
        raise ValueError(f"version {version} of the .npy format, where 1.0 or 2.0 is expected")
    length = member.read(length_bytes)
    n_bytes = int.from_bytes(length, "little")
    if n_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {n_bytes:,} bytes")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(io.BytesIO(length + member.read(n_bytes)))


def _as_declared(who: str, field: Field, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Compares dtype and shape with the field's."""
    declared = np.dtype(field.dtype)
    if dtype.hasobject or dtype.newbyteorder("=") != declared:
        raise _bad(who, f"dtype {declared}", dtype, "convert it and save it again")
    fits = len(shape) == len(field.shape) and all(
        n >= 1 if m is None else n == m for n, m in zip(shape, field.shape, strict=True))
    if not fits:
        sizes = ", ".join("any" if n is None else str(n) for n in field.shape)
        raise _bad(who, f"shape ({sizes}{',' if len(field.shape) == 1 else ''})", shape,
                   "check that this is the right file")
