"""The HDF5 reader against fields that are elsewhere, larger than they are, or damaged."""

import os
import tracemalloc
import zlib

import numpy as np
import pytest

from jaxnn.data import BadFile, Field, read_hdf5
from tests.data.hdf5_files import FIELD, X, chunk_file, create, h5py, needs_pipes, refused, write

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
