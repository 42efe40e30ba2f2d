"""HDF5 files made for a test."""

import os

import numpy as np
import pytest

from jaxnn.data import BadFile, Field, read_hdf5

h5py = pytest.importorskip("h5py")

needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")

X = np.arange(24, dtype=np.int32).reshape(6, 4)
FIELD = Field((6, 4), np.int32)


def write(path, **data):
    with h5py.File(path, "w") as file:
        for name, value in data.items():
            file[name] = value
    return path


def create(path, *args, **options):
    """A file whose field x was made with h5py's options."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", *args, **options)
    return path


def refused(path, field=FIELD, *, name="x", **options):
    """The message of the refusal, without the path."""
    with pytest.raises(BadFile) as error:
        read_hdf5(path, {name: field}, **options)
    message = str(error.value)
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def chunk_file(path, stored, *, filter_mask=0, **options):
    """A field of one gzip chunk of 1024 bytes, for which the given bytes are stored."""
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", (1024,), np.uint8, chunks=(1024,), compression="gzip",
                                **options)
        x.id.write_direct_chunk((0,), stored, filter_mask)
    return path
