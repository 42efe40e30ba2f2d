"""The HDF5 reader against good, damaged and malicious files."""

import os
import tracemalloc
import zlib
from pathlib import Path

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


# Fields that are elsewhere


def test_group_or_type_in_place_of_a_data_set(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_group("x")
        file["t"] = np.dtype("i4")
    assert refused(path) == (": field 'x' expects a data set; got a group; "
                             "name a data set inside it or check that this is the right file")
    assert "expects a data set; got a datatype" in refused(path, name="t")


def test_a_data_set_holds_no_others(tmp_path):
    path = write(tmp_path / "a.h5", x=X)
    assert refused(path, name="x/y") == (": field 'x/y' expects a data set of this name; "
                                         "got only ['x']; check that this is the right file")


@pytest.mark.parametrize(("link", "kind"), [
    (h5py.SoftLink("/real"), "a soft link"),
    (h5py.SoftLink("/nowhere"), "a soft link"),
    (h5py.ExternalLink("other.h5", "real"), "a link to another file"),
    (h5py.ExternalLink("gone.h5", "real"), "a link to another file"),
], ids=["soft", "dangling soft", "external", "dangling external"])
def test_links(tmp_path, link, kind):
    write(tmp_path / "other.h5", real=X)
    path = write(tmp_path / "a.h5", real=X, x=link)
    assert refused(path) == (f": field 'x' expects a data set stored in this file; got {kind}; "
                             "save the data themselves under this name")


def test_links_on_the_way(tmp_path):
    write(tmp_path / "other.h5", **{"real/x": X})
    path = write(tmp_path / "a.h5", x=X, g=h5py.SoftLink("/"),
                 e=h5py.ExternalLink("other.h5", "real"))
    assert "got a soft link" in refused(path, name="g/x")
    assert "got a link to another file" in refused(path, name="e/x")


ELSEWHERE = (": field 'x' expects data stored in this file; got a data set that keeps its data in "
             "other files; save the data themselves under this name")


def test_external_storage(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(X.tobytes())
    path = create(tmp_path / "a.h5", (6, 4), np.int32, external=[(secret, 0, X.nbytes)])
    assert refused(path) == ELSEWHERE


@needs_pipes
def test_virtual_data_set_does_not_open_its_source(tmp_path):
    write(tmp_path / "other.h5", real=X)
    layout = h5py.VirtualLayout((6, 4), np.int32, maxshape=(None, 4))
    layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "real", shape=(6, 4), maxshape=(None, 4))
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_virtual_dataset("x", layout)
    # A pipe in the place of the source: opening it would wait for ever.
    (tmp_path / "other.h5").unlink()
    os.mkfifo(tmp_path / "other.h5")
    assert refused(path) == ELSEWHERE


# Fields that are larger than they are


def test_declared_but_never_written(tmp_path):
    path = create(tmp_path / "a.h5", (6, 4), np.int32)
    assert refused(path) == (": field 'x' expects 96 bytes of data; got 0 stored; "
                             "get the file again, or write the data before closing it")
    path = tmp_path / "b.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (6, 4), np.int32, chunks=(4, 3))[0, 0] = 1
    assert refused(path) == (": field 'x' expects 4 chunks of data; got 1 stored; "
                             "get the file again, or write all the data before closing it")


@pytest.mark.parametrize("chunks", [None, (1000,)])
def test_huge_declared_shape(tmp_path, chunks):
    path = create(tmp_path / "a.h5", (10**12,), np.float64, chunks=chunks)
    field = Field((None,), np.float64)
    assert refused(path, field) == (
        ": field 'x' expects at most 268,435,456 bytes; got 8,000,000,000,000 declared; "
        "raise max_bytes if you trust the file")
    assert refused(path, field, max_bytes=10**15) == (
        f": field 'x' expects no more data than the file's {path.stat().st_size:,} bytes; "
        "got 8,000,000,000,000 declared; "
        "get the file again, it is damaged or made to exhaust memory")


def test_data_beyond_the_end_of_the_file(tmp_path):
    """A superblock forged to the shorter length opens; HDF5 itself may notice later or not."""
    x = np.arange(4096, dtype=np.int32)
    path = write(tmp_path / "a.h5", x=x)
    with h5py.File(path) as file:
        end = file["x"].id.get_offset() + x.nbytes - 8000
    content = bytearray(path.read_bytes())
    assert int.from_bytes(content[40:48], "little") == len(content)  # end of file, superblock 0
    content[40:48] = end.to_bytes(8, "little")
    path.write_bytes(content[:end])
    message = refused(path, Field((4096,), np.int32))
    assert "expects 16,384 bytes of data; got 8,384 stored" in message or "dataset size" in message


def test_compressed_only_up_to_the_limit(tmp_path):
    x = np.zeros(2**20, np.uint8)
    path = create(tmp_path / "a.h5", data=x, chunks=(2**16,), compression="gzip")
    field = Field((None,), np.uint8)
    assert read_hdf5(path, {"x": field}, max_bytes=2**20)["x"].shape == x.shape
    assert ("expects at most 1,048,575 bytes; got 1,048,576 declared"
            in refused(path, field, max_bytes=2**20 - 1))


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_huge_chunk_for_little_data(tmp_path, compression):
    path = create(tmp_path / "a.h5", (1,), np.uint8, maxshape=(None,), chunks=(2**30,),
                  compression=compression)
    assert refused(path, Field((1,), np.uint8)) == (
        ": field 'x' expects chunks that fit in max_bytes and, if not compressed, in the file; "
        "got chunks of 1,073,741,824 bytes; save it again in smaller chunks")


def chunk_file(path, stored, *, filter_mask=0, **options):
    """A field of one gzip chunk of 1024 bytes, for which the given bytes are stored."""
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", (1024,), np.uint8, chunks=(1024,), compression="gzip",
                                **options)
        x.id.write_direct_chunk((0,), stored, filter_mask)
    return path


def test_bomb(tmp_path):
    """HDF5 alone inflates this 0.2 MB file to 200 MB, for a field that declares 1 kB."""
    compress = zlib.compressobj()
    stored = b"".join(compress.compress(bytes(2**20)) for _ in range(200)) + compress.flush()
    path = chunk_file(tmp_path / "a.h5", stored)
    tracemalloc.start()
    assert refused(path, Field((1024,), np.uint8)) == (
        ": field 'x' expects chunks of 1,024 bytes; got one that inflates to more; "
        "get the file again, it is damaged or made to exhaust memory")
    assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    tracemalloc.stop()


def test_chunk_that_inflates_to_less(tmp_path):
    path = chunk_file(tmp_path / "a.h5", zlib.compress(bytes(100)))
    assert "got one that inflates to 100;" in refused(path, Field((1024,), np.uint8))


def test_chunk_that_is_no_deflate_stream(tmp_path):
    path = chunk_file(tmp_path / "a.h5", b"not deflated")
    assert "got an error of the HDF5 library" in refused(path, Field((1024,), np.uint8))


def test_wrong_checksum(tmp_path):
    stored = zlib.compress(bytes(1024)) + b"\1\2\3\4"
    path = chunk_file(tmp_path / "a.h5", stored, fletcher32=True)
    assert "got an error of the HDF5 library" in refused(path, Field((1024,), np.uint8))


def test_filters_from_elsewhere_and_repeated_filters(tmp_path):
    path = create(tmp_path / "a.h5", data=X, compression="lzf")
    assert refused(path) == (
        ": field 'x' expects no filter but gzip, shuffle and fletcher32; "
        "got filters with the HDF5 numbers [32000]; save it again without them")
    path = tmp_path / "b.h5"
    with h5py.File(path, "w") as file:
        twice = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        twice.set_chunk(X.shape)
        twice.set_deflate(9)
        twice.set_deflate(9)
        h5py.h5d.create(file.id, b"x", h5py.h5t.NATIVE_INT32, h5py.h5s.create_simple(X.shape),
                        twice)
    assert refused(path) == (": field 'x' expects each filter once; got a repeated one in [1, 1]; "
                             "save it again without filters")


def test_damage_anywhere_is_refused_or_harmless(tmp_path):
    """Flips bits all over the files' structure; nothing but BadFile or the declared array comes."""
    good = tmp_path / "good.h5"
    path = tmp_path / "a.h5"
    rng = np.random.RandomState(0)
    n_refused = 0
    for options in ({}, {"chunks": (4, 3), "compression": "gzip", "fletcher32": True}):
        content = create(good, data=X, **options).read_bytes()
        used = [i for i, byte in enumerate(content) if byte]
        for _ in range(150):
            damaged = bytearray(content)
            damaged[rng.choice(used)] ^= 1 << rng.randint(8)
            path.write_bytes(damaged)
            try:
                assert read_hdf5(path, {"x": FIELD})["x"].shape == X.shape
            except BadFile:
                n_refused += 1
    assert n_refused > 50
