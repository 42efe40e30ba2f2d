"""The HDF5 reader against good files, files that are cut off, and fields that are not what was declared."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxnn.data import Field, read_hdf5
from tests.data.hdf5_files import FIELD, X, chunk_file, create, h5py, needs_pipes, refused, write

# Good files


@pytest.mark.parametrize("options", [
    {},
    {"chunks": (4, 3)},
    {"chunks": (4, 3), "compression": "gzip"},
    {"chunks": (2, 2), "compression": "gzip", "shuffle": True, "fletcher32": True},
    {"chunks": (6, 4), "fletcher32": True},
    {"chunks": (4, 3), "maxshape": (None, None)},
], ids=["contiguous", "chunked", "gzip", "all filters", "checksum", "resizable"])
def test_reads_every_raw_layout(tmp_path, options):
    path = create(tmp_path / "a.h5", data=X, **options)
    read = read_hdf5(path, {"x": Field((None, 4), np.int32)})
    assert list(read) == ["x"]
    assert read["x"].dtype == np.int32
    np.testing.assert_array_equal(read["x"], X)


def test_reads_a_compact_data_set(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(X.shape)
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, space, compact).write(
            h5py.h5s.ALL, h5py.h5s.ALL, X)
    np.testing.assert_array_equal(read_hdf5(path, {"x": FIELD})["x"], X)


def test_reads_chunks_that_skipped_the_filter(tmp_path):
    """Some writers leave out gzip for chunks that it does not shrink, and mark these."""
    noise = np.random.RandomState(0).bytes(1024)
    path = chunk_file(tmp_path / "a.h5", noise, filter_mask=1)
    read = read_hdf5(path, {"x": Field((1024,), np.uint8)})["x"]
    assert read.tobytes() == noise
    path = chunk_file(tmp_path / "b.h5", noise[:-1], filter_mask=1)
    assert "got one that inflates to 1,023;" in refused(path, Field((1024,), np.uint8))


def test_reads_scalars_strings_and_groups(tmp_path):
    path = write(tmp_path / "a.h5", n=3.5, names=np.array([b"cat", b"no"]), **{"g/h/x": X})
    read = read_hdf5(path, {
        "n": Field((), float), "names": Field((2,), "S"), "g/h/x": FIELD})
    assert read["n"] == 3.5
    assert read["names"].tolist() == [b"cat", b"no"]
    np.testing.assert_array_equal(read["g/h/x"], X)


def test_other_byte_order_becomes_the_machines(tmp_path):
    other = X.astype(X.dtype.newbyteorder())
    read = read_hdf5(write(tmp_path / "a.h5", x=other), {"x": FIELD})["x"]
    assert read.dtype == np.int32 and read.dtype.isnative
    np.testing.assert_array_equal(read, X)


# Files that are no whole HDF5 file


def test_no_such_file(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(FileNotFoundError) as error:
        read_hdf5(path, {})
    assert str(error.value) == f"{path} expects an HDF5 file; got no such file; check the path"


def test_a_directory_is_no_file(tmp_path):
    assert refused(tmp_path) == (
        " expects an HDF5 file; got a directory; name the file itself")


@needs_pipes
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refused(tmp_path / "pipe") == (
        " expects an HDF5 file; got something other than a regular file; name the file itself")


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0,
                    reason="this user may read every file")
def test_a_file_that_may_not_be_read_says_so(tmp_path):
    path = write(tmp_path / "a.h5", x=X)
    path.chmod(0)
    with pytest.raises(PermissionError):
        read_hdf5(path, {"x": FIELD})


@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>"], ids=["empty", "web page"])
def test_no_hdf5(tmp_path, content):
    path = tmp_path / "a.h5"
    path.write_bytes(content)
    assert refused(path) == (
        f" expects an HDF5 file; got {len(content)} bytes without the HDF5 signature; "
        "get it again (a web page may have been saved in its place)")


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
def test_truncated(tmp_path, kept):
    path = write(tmp_path / "a.h5", x=np.zeros((6, 4096), np.int32))
    content = path.read_bytes()[: int(kept * path.stat().st_size)]
    path.write_bytes(content)
    message = refused(path)
    assert message.startswith(f" expects a whole HDF5 file; got {len(content):,} bytes that do not "
                              "open (")
    assert message.endswith("); get it again, it may be truncated")


def test_truncated_copy_of_a_course_file(tmp_path):
    source = Path(os.environ.get("JAXNN_DATA", "")) / "c1" / "test_catvnoncat.h5"
    if not source.is_file():
        pytest.skip("c1/test_catvnoncat.h5 is missing: point JAXNN_DATA at the course's files")
    path = tmp_path / "a.h5"
    path.write_bytes(source.read_bytes()[:-1000])
    assert "it may be truncated" in refused(path)


# Fields that are not what was declared


def test_missing_field(tmp_path):
    path = write(tmp_path / "a.h5", y=X, z=X)
    assert refused(path) == (": field 'x' expects a data set of this name; got only ['y', 'z']; "
                             "check that this is the right file")
    assert "expects a data set of this name" in refused(path, name="g/x")


@pytest.mark.parametrize(("value", "expected"), [
    (X.astype(np.int64), "expects dtype int32; got int64; convert it and save it again"),
    (X.astype(np.float32), "expects dtype int32; got float32; convert it and save it again"),
    (X.T, "expects shape (6, 4); got (4, 6); check that this is the right file"),
    (X[0], "expects shape (6, 4); got (4,); check that this is the right file"),
    (h5py.Empty(np.int32), "expects shape (6, 4); got no data; check that this is the right file"),
], ids=["dtype", "kind", "shape", "rank", "null"])
def test_wrong_dtype_or_shape(tmp_path, value, expected):
    assert refused(write(tmp_path / "a.h5", x=value)) == f": field 'x' {expected}"


def test_open_shape_in_words_and_never_empty(tmp_path):
    path = write(tmp_path / "a.h5", x=X[:0])
    assert "expects shape (any, 4); got (0, 4)" in refused(path, Field((None, 4), np.int32))
    assert "expects shape (any,); got (0, 4)" in refused(path, Field((None,), np.int32))


def test_text_is_no_number_and_number_no_text(tmp_path):
    path = write(tmp_path / "a.h5", x=np.array([b"a"]))
    assert "expects dtype int32; got |S1" in refused(path, Field((1,), np.int32))
    path = write(tmp_path / "b.h5", x=X)
    assert "expects dtype S; got int32" in refused(path, Field((6, 4), "S"))


@pytest.mark.parametrize("dtype", [h5py.ref_dtype, h5py.string_dtype(), h5py.vlen_dtype(np.int32)],
                         ids=["references", "strings", "lists"])
def test_no_references_and_nothing_of_variable_length(tmp_path, dtype):
    path = create(tmp_path / "a.h5", (6, 4), dtype=dtype)
    for declared in (np.int32, object):
        assert refused(path, Field((6, 4), declared)) == (
            f": field 'x' expects dtype {np.dtype(declared)}; "
            "got references or values of variable length; convert it and save it again")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(tmp_path, value):
    x = np.ones((3, 2), np.float32)
    x[1, 1] = x[2, 0] = value
    assert refused(write(tmp_path / "a.h5", x=x), Field((3, 2), np.float32)) == (
        ": field 'x' expects finite values; got 2 NaN or infinite, the first at index (1, 1); "
        "repair or drop these examples")
