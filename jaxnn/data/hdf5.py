"""A reader of raw HDF5 data sets that trusts nothing in a file's own description.

An HDF5 file can point at other files, name plugins to load, and declare far more data than it
holds. Here it is only a container of arrays: the caller declares what to expect, and this is compared
with what the file declares before anything of that size is allocated. The structure of the file is
still parsed by the HDF5 library, and a file made to exploit its faults can crash it or exhaust the
memory: this is no sandbox.
"""

import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from jaxnn.checks import as_path
from jaxnn.data.extra import import_extra
from jaxnn.file_errors import BadFile, MissingData

__all__ = ["Field", "list_hdf5", "read_hdf5"]

# The filters of every HDF5 library, by their registered numbers. Any other is a plugin on disk.
DEFLATE, SHUFFLE, FLETCHER32 = 1, 2, 3
CHECKSUM_BYTES = 4  # what fletcher32 appends to a chunk


class Field(NamedTuple):
    """What one data set is expected to be.

    shape: None stands for any size of at least one.
    dtype: in either byte order; "S" stands for byte strings of any fixed length.
    """

    shape: tuple[int | None, ...]
    dtype: DTypeLike


def read_hdf5(
    path: str | Path, fields: dict[str, Field], *, max_bytes: int = 2**28
) -> dict[str, np.ndarray]:
    """Reads the declared data sets of an HDF5 file and nothing else.

    Args:
      path: a regular file.
      fields: by name, "group/name" inside groups.
      max_bytes: the most that one field, or one of its chunks, may take in memory. A field that is
        not compressed may also not be larger than the file.
    Returns:
      the arrays, in the machine's byte order.
    Raises:
      MissingData: there is no such file.
      PermissionError: the file may not be read.
      BadFile: it is not a complete HDF5 file; or a field is missing, is not a data set stored in this
        very file, has another shape or dtype, is only partly there, is larger than allowed, or
        holds NaN or infinite values.
    """
    with _opened("read_hdf5", path) as (h5py, file, size):
        return {name: _read(h5py, file, name, field, size, max_bytes)
                for name, field in fields.items()}


def list_hdf5(path: str | Path, *, most: int = 10_000, deepest: int = 16) -> dict[str, Field]:
    """What the data sets of an HDF5 file declare themselves to be, by their names; no data are read.

    Args:
      path: a regular file.
      most, deepest: the most links that are followed, and one inside of the other; a file can link a group to itself.
    Raises:
      MissingData: there is no such file.
      PermissionError: the file may not be read.
      BadFile: it is not a complete HDF5 file, a link leads elsewhere, or there are more links than that.
    """
    with _opened("list_hdf5", path) as (h5py, file, _):
        fields: dict[str, Field] = {}
        groups, n_links = [("", file)], 0
        while groups:
            prefix, group = groups.pop()
            try:
                for name in group:
                    n_links += 1
                    if n_links > most or prefix.count("/") >= deepest:
                        raise _bad(file.filename, f"at most {most:,} links, {deepest} deep", "more",
                                   "a group may contain itself")
                    dotted = f"{prefix}{name}"
                    found = _stored_here(h5py, group, name, f"{file.filename}: {dotted!r}", may_be_group=True)
                    if isinstance(found, h5py.Group):
                        groups.append((f"{dotted}/", found))
                    else:
                        fields[dotted] = Field(found.shape, found.dtype)
            except BadFile:
                raise
            except Exception as error:  # damaged files raise many kinds
                raise _bad(file.filename, "a whole HDF5 file", f"a damaged group {prefix!r} ({_first_line(error)})",
                           "get the file again") from error
        return dict(sorted(fields.items()))


@contextmanager
def _opened(who: str, path: str | Path) -> Iterator[tuple[Any, Any, int]]:
    """(the library, the open file, its size in bytes)."""
    h5py = import_extra("h5py", who)
    path = as_path(who, "path", path)
    if not path.exists():
        raise MissingData(f"{path} expects an HDF5 file; got no such file; check the path")
    # A directory cannot be read, and reading from a pipe would wait for ever.
    if not path.is_file():
        kind = "a directory" if path.is_dir() else "something other than a regular file"
        raise _bad(path, "an HDF5 file", kind, "name the file itself")
    with path.open("rb"):  # a file that we may not read is refused as that, not as damaged
        size = path.stat().st_size
    if not h5py.is_hdf5(path):
        raise _bad(path, "an HDF5 file", f"{size:,} bytes without the HDF5 signature",
                   "get it again (a web page may have been saved in its place)")
    try:
        file = h5py.File(path, "r")
    except Exception as error:  # damaged files raise many kinds
        raise _bad(path, "a whole HDF5 file", f"{size:,} bytes that do not open ({_first_line(error)})",
                   "get it again, it may be truncated") from error
    with file:
        yield h5py, file, size


def _bad(who: object, expected: str, actual: object, advice: str) -> BadFile:
    return BadFile(f"{who} expects {expected}; got {actual}; {advice}")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _read(
    h5py: Any, file: Any, name: str, field: Field, size: int, max_bytes: int
) -> np.ndarray:
    who = f"{file.filename}: field {name!r}"
    try:
        dataset = _stored_here(h5py, file, name, who)
        n_bytes = _as_declared(dataset, field, who)
        _within_bounds(h5py, dataset, n_bytes, size, max_bytes, who)
        array = np.asarray(dataset[...])
    except BadFile:
        raise
    except Exception as error:  # damaged files raise many kinds
        raise _bad(who, "a readable data set", f"an error of the HDF5 library "
                   f"({_first_line(error)})", "get the file again, it may be damaged") from error
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.dtype.kind in "fc" and not np.isfinite(array).all():
        wrong = np.argwhere(~np.isfinite(array))
        raise _bad(who, "finite values",
                   f"{len(wrong)} NaN or infinite, the first at index {tuple(wrong[0].tolist())}",
                   "repair or drop these examples")
    return array


def _stored_here(h5py: Any, file: Any, name: str, who: str, *, may_be_group: bool = False) -> Any:
    """The data set behind hard links only, holding its own data; or, where it may be one, the group."""
    parts = name.split("/")
    for depth in range(1, len(parts) + 1):
        link = file.get("/".join(parts[:depth]), getlink=True)
        if link is None:
            raise _bad(who, "a data set of this name", f"only {sorted(file)[:10]}",
                       "check that this is the right file")
        if not isinstance(link, h5py.HardLink):
            kind = {h5py.SoftLink: "a soft link", h5py.ExternalLink: "a link to another file"}
            raise _bad(who, "a data set stored in this file", kind.get(type(link), "a link"),
                       "save the data themselves under this name")
    dataset = file[name]  # not get(getclass=True): HDF5 2.0 crashes in it on damaged headers
    if may_be_group and isinstance(dataset, h5py.Group):
        return dataset
    if not isinstance(dataset, h5py.Dataset):
        raise _bad(who, "a data set", f"a {type(dataset).__name__.lower()}",
                   "name a data set inside it or check that this is the right file")
    # Even asking a virtual data set for its shape opens its source files: this comes first.
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL or properties.get_external_count():
        raise _bad(who, "data stored in this file", "a data set that keeps its data in other files",
                   "save the data themselves under this name")
    return dataset


def _as_declared(dataset: Any, field: Field, who: str) -> int:
    """Compares dtype and shape with the field's; returns the declared size in bytes."""
    declared, stored = np.dtype(field.dtype), dataset.dtype
    any_length = declared.kind == "S" and declared.itemsize == 0
    alike = stored.kind == "S" if any_length else stored.newbyteorder("=") == declared
    if stored.hasobject or not alike:  # objects lead elsewhere, whatever was declared
        kind = "references or values of variable length" if stored.hasobject else stored
        raise _bad(who, f"dtype {'S' if any_length else declared}", kind,
                   "convert it and save it again")
    shape = dataset.shape
    fits = shape is not None and len(shape) == len(field.shape) and all(
        n >= 1 if m is None else n == m for n, m in zip(shape, field.shape, strict=True))
    if not fits:
        sizes = ", ".join("any" if n is None else str(n) for n in field.shape)
        raise _bad(who, f"shape ({sizes}{',' if len(field.shape) == 1 else ''})",
                   "no data" if shape is None else shape, "check that this is the right file")
    return int(math.prod(shape) * stored.itemsize)


def _within_bounds(
    h5py: Any, dataset: Any, n_bytes: int, size: int, max_bytes: int, who: str
) -> None:
    """Checks that the data are all there, and that reading them allocates at most max_bytes."""
    if n_bytes > max_bytes:
        raise _bad(who, f"at most {max_bytes:,} bytes", f"{n_bytes:,} declared",
                   "raise max_bytes if you trust the file")
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
    if unknown := [f for f in filters if f not in (DEFLATE, SHUFFLE, FLETCHER32)]:
        raise _bad(who, "no filter but gzip, shuffle and fletcher32",
                   f"filters with the HDF5 numbers {unknown}", "save it again without them")
    # The same filter twice is never useful, and deflate on deflate inflates a millionfold.
    if len(set(filters)) < len(filters):
        raise _bad(who, "each filter once", f"a repeated one in {filters}",
                   "save it again without filters")
    if not filters and n_bytes > size:
        raise _bad(who, f"no more data than the file's {size:,} bytes", f"{n_bytes:,} declared",
                   "get the file again, it is damaged or made to exhaust memory")
    if properties.get_layout() == h5py.h5d.CHUNKED:
        _chunks_within_bounds(dataset, filters, size, max_bytes, who)
        return
    stored, offset = dataset.id.get_storage_size(), 0
    if properties.get_layout() == h5py.h5d.CONTIGUOUS:
        offset = dataset.id.get_offset() or 0
    if stored < n_bytes or offset + n_bytes > size:
        raise _bad(who, f"{n_bytes:,} bytes of data", f"{min(stored, size - offset):,} stored",
                   "get the file again, or write the data before closing it")


def _chunks_within_bounds(
    dataset: Any, filters: list[int], size: int, max_bytes: int, who: str
) -> None:
    """Checks that every chunk is there and none inflates to more than a chunk."""
    chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk_bytes > max_bytes or (chunk_bytes > size and not filters):
        raise _bad(who, "chunks that fit in max_bytes and, if not compressed, in the file",
                   f"chunks of {chunk_bytes:,} bytes", "save it again in smaller chunks")
    # HDF5 would silently fill chunks that were never written with zeros.
    n_chunks = math.prod(-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True))
    n_stored = dataset.id.get_num_chunks()
    if n_stored != n_chunks:
        raise _bad(who, f"{n_chunks:,} chunks of data", f"{n_stored:,} stored",
                   "get the file again, or write all the data before closing it")
    if not filters:
        return
    # HDF5 inflates a chunk to wherever its stream ends, not to the size of a chunk.
    chunks: list[Any] = []
    dataset.id.chunk_iter(chunks.append)
    for chunk in chunks:
        if chunk.byte_offset + chunk.size > size:
            raise _bad(who, f"chunks inside the file's {size:,} bytes",
                       f"one of {chunk.size:,} bytes at {chunk.byte_offset:,}",
                       "get the file again, it is damaged")
        skipped, raw = dataset.id.read_direct_chunk(chunk.chunk_offset)
        if DEFLATE in filters and not skipped >> filters.index(DEFLATE) & 1:
            raw = zlib.decompressobj().decompress(raw, chunk_bytes + CHECKSUM_BYTES + 1)
        if len(raw) - chunk_bytes not in (0, CHECKSUM_BYTES):
            inflated = "more" if len(raw) > chunk_bytes else f"{len(raw):,}"
            raise _bad(who, f"chunks of {chunk_bytes:,} bytes", f"one that inflates to {inflated}",
                       "get the file again, it is damaged or made to exhaust memory")
