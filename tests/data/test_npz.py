"""Archives of arrays: what NumPy writes is read as it is; damaged and hostile ones are refused by our own error."""

import io
import struct
import zipfile

import numpy as np
import pytest

from jaxnn.data import BadFile, Field, MissingData, read_npz

RNG = np.random.default_rng(0)
ARRAYS = {"a": RNG.integers(0, 256, (3, 4, 2), np.uint8), "b": RNG.normal(size=5), "c": np.arange(6, dtype=">i4")}
FIELDS = {"a": Field((3, 4, 2), np.uint8), "b": Field((None,), np.float64), "c": Field((6,), np.int32)}


def member(header, data=b""):
    """A member of an .npz: the header as text, however it lies."""
    text = header.encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def header_of(shape, descr="|u1"):
    return f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"


def archive(path, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_writes(tmp_path, save):
    save(tmp_path / "f.npz", more=np.zeros(2), **ARRAYS)
    read = read_npz(tmp_path / "f.npz", FIELDS)
    assert list(read) == list(FIELDS)
    for name, array in read.items():
        np.testing.assert_array_equal(array, ARRAYS[name])
        assert array.dtype == ARRAYS[name].dtype.newbyteorder("=") and array.flags.writeable


def test_columns_that_run_fastest(tmp_path):
    array = np.asfortranarray(RNG.normal(size=(3, 4)))
    np.savez(tmp_path / "f.npz", a=array)
    np.testing.assert_array_equal(read_npz(tmp_path / "f.npz", {"a": Field((3, 4), float)})["a"], array)


@pytest.mark.parametrize(("field", "message"), [
    (Field((3, 4), np.uint8), r"array 'a' expects shape \(3, 4\); got \(3, 4, 2\); check that this is the right file"),
    (Field((3, 4, 3), np.uint8), r"expects shape \(3, 4, 3\); got \(3, 4, 2\)"),
    (Field((3, 4, 2), np.int8), r"expects dtype int8; got uint8"),
])
def test_another_array_than_declared(tmp_path, field, message):
    np.savez(tmp_path / "f.npz", **ARRAYS)
    with pytest.raises(BadFile, match=message):
        read_npz(tmp_path / "f.npz", {"a": field})


def test_names(tmp_path):
    np.savez(tmp_path / "f.npz", **ARRAYS)
    with pytest.raises(BadFile, match=r"array 'd' expects one array of this name; got 0 among \['a', 'b', 'c'\]"):
        read_npz(tmp_path / "f.npz", {"d": Field((3,), float)})
    one = member(header_of((2,)), b"ab")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(tmp_path / "twice.npz", [("a.npy", one), ("a.npy", one)])
    with pytest.raises(BadFile, match="one array of this name; got 2 among"):
        read_npz(tmp_path / "twice.npz", {"a": Field((2,), np.uint8)})


def test_numbers_that_are_not_finite(tmp_path):
    np.savez(tmp_path / "f.npz", b=np.array([1, 2, np.nan, np.inf]))
    with pytest.raises(BadFile, match=r"finite values; got 2 NaN or infinite, the first at index \(2,\)"):
        read_npz(tmp_path / "f.npz", {"b": Field((4,), float)})


def test_files_that_are_none(tmp_path):
    fields = {"a": Field((2,), np.uint8)}
    with pytest.raises(MissingData, match=r"expects an \.npz archive; got no such file"):
        read_npz(tmp_path / "none.npz", fields)
    with pytest.raises(BadFile, match="got a directory; name the file itself"):
        read_npz(tmp_path, fields)
    for content in (b"", b"<html>" * 99, b"PK\x05\x06" + b"\0" * 17):
        (tmp_path / "f.npz").write_bytes(content)
        with pytest.raises(BadFile, match=rf"a whole .npz archive; got {len(content)} bytes that do not read"):
            read_npz(tmp_path / "f.npz", fields)


@pytest.mark.parametrize(("data", "message"), [
    (member(header_of((10**9, 10**3))), r"expects shape \(2,\)"),
    (member(header_of((2,), "|O"), b"ab"), "expects dtype uint8; got object"),
    (member(header_of((2,)), b"a"), "2 bytes of data; got 1"),
    (member(header_of((2,)), b"abc"), "2 bytes of data; got more"),
    (member(header_of((2,)), bytes(10**7)), "2 bytes of data; got more"),
    (b"no array", "a readable array; got .* do not read .the magic string is not correct"),
    (member("{'shape': (2,)}"), "a readable array"),
    (b"\x93NUMPY\x03\x00" + bytes(9), r"version \(3, 0\) of the .npy format"),
    (b"\x93NUMPY\x02\x00" + b"\xff" * 9, "a header of 4,294,967,295 bytes"),
])
def test_members_that_lie(tmp_path, data, message):
    path = archive(tmp_path / "f.npz", [("a.npy", data)])
    with pytest.raises(BadFile, match=message):
        read_npz(path, {"a": Field((2,), np.uint8)})


def test_sizes_that_lie(tmp_path):
    """A bomb is not inflated: what a field may take is known from its declaration and from the header."""
    path = archive(tmp_path / "f.npz", [("a.npy", member(header_of((10**7,)), bytes(10**7)))])
    assert path.stat().st_size < 20_000
    for field in (Field((10**7,), np.uint8), Field((None,), np.uint8)):
        with pytest.raises(BadFile, match="expects at most 1,000,000 bytes; got 10,000,074 declared; raise max_bytes"):
            read_npz(path, {"a": field}, max_bytes=10**6)
    whole = bytearray(path.read_bytes())
    place = whole.rindex(b"PK\x01\x02") + 24  # the size that the directory declares
    whole[place:place + 4] = struct.pack("<I", 100)
    path.write_bytes(bytes(whole))
    with pytest.raises(BadFile, match=r"array .a. expects a readable array; got .*Bad CRC"):
        read_npz(path, {"a": Field((None,), np.uint8)}, max_bytes=10**6)
    archive(path, [("a.npy", member(header_of((10**7,)), b"abc"))])
    with pytest.raises(BadFile, match="at most 1,000,000 bytes; got 10,000,000 declared"):
        read_npz(path, {"a": Field((None,), np.uint8)}, max_bytes=10**6)
    with pytest.raises(BadFile, match="10,000,000 bytes of data; got 3"):
        read_npz(path, {"a": Field((None,), np.uint8)})


def test_other_methods(tmp_path):
    path = archive(tmp_path / "f.npz", [("a.npy", member(header_of((2,)), b"ab"))], zipfile.ZIP_LZMA)
    with pytest.raises(BadFile, match="stored or deflated; got the zip method 14"):
        read_npz(path, {"a": Field((2,), np.uint8)})


@pytest.mark.parametrize("trials", [400, pytest.param(20_000, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damage(tmp_path, trials, save):
    """Cut off, or with flipped bits: refused, or read as what was written. 20,000 damages take half a minute."""
    out = io.BytesIO()
    save(out, **ARRAYS)
    whole, rng, path = out.getvalue(), np.random.default_rng(1), tmp_path / "f.npz"
    refused = 0
    for trial in range(trials):
        data = bytearray(whole)
        if trial % 4 == 0:
            data = data[: rng.integers(len(data))]
        else:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        try:
            read = read_npz(path, FIELDS)
        except BadFile:
            refused += 1
            continue
        for name, array in read.items():
            np.testing.assert_array_equal(array, ARRAYS[name])
    assert refused > trials / 2
