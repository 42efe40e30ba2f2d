"""IDX and CIFAR: files made here are read as they are; damaged ones are refused by our own error."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest

from jaxnn.data import MissingData
from jaxnn.data import cifar as cifar_reader
from jaxnn.data import idx as idx_reader
from jaxnn.data.cifar import load_cifar10, load_cifar100
from jaxnn.data.idx import FILES, load_fashion_mnist, load_mnist, read_idx
from jaxnn.file_errors import BadFile

RNG = np.random.default_rng(0)


def idx(array, code):
    return b"\0\0" + bytes([code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize(("dtype", "code"), [("u1", 8), ("i1", 9), (">i2", 11), (">i4", 12), (">f4", 13), (">f8", 14)])
@pytest.mark.parametrize("packed", [True, False])
def test_idx(tmp_path, dtype, code, packed):
    array = (100 * RNG.random((3, 4, 2))).astype(dtype)
    data = idx(array, code)
    (tmp_path / "f").write_bytes(gzip.compress(data) if packed else data)
    got = read_idx(tmp_path / "f")
    np.testing.assert_array_equal(got, array)
    assert got.dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize("trials", [300, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_damaged_idx(tmp_path, trials):
    """Cut off, or with bits flipped: read as some array of the declared size, or refused."""
    rng, file = np.random.default_rng(1), tmp_path / "f"
    plain = idx(RNG.integers(0, 256, (5, 6), np.uint8), 8)
    for trial in range(trials):
        data = bytearray(gzip.compress(plain) if trial % 2 else plain)
        if trial % 3 == 0:
            data = data[: rng.integers(len(data))]
        for _ in range(rng.integers(1, 4)):
            if data:
                data[rng.integers(min(len(data), 20))] ^= 1 << rng.integers(8)
        file.write_bytes(data)
        try:
            assert read_idx(file, max_bytes=2**20).nbytes <= 2**20
        except BadFile:
            continue


def test_a_size_that_lies(tmp_path):
    (tmp_path / "f").write_bytes(b"\0\0\x08\x03" + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 1))
    with pytest.raises(BadFile, match="expects at most"):
        read_idx(tmp_path / "f")
    (tmp_path / "bomb").write_bytes(gzip.compress(idx(np.zeros((10, 10), np.uint8), 8) + bytes(10**7)))
    with pytest.raises(BadFile, match="got more"):
        read_idx(tmp_path / "bomb")
    with pytest.raises(BadFile, match="something else"):
        read_idx(tmp_path)


@pytest.mark.parametrize("load", [load_mnist, load_fashion_mnist])
@pytest.mark.parametrize("n", [60, pytest.param(60_000, marks=pytest.mark.exhaustive)])
def test_mnist(tmp_path, monkeypatch, load, n):
    """Files of the published names, with fewer examples."""
    name = "mnist" if load is load_mnist else "fashion-mnist"
    with pytest.raises(MissingData, match="or pass fetch=True"):
        load(tmp_path)
    (tmp_path / name).mkdir()
    assert idx_reader.EXAMPLES == (60_000, 10_000)
    monkeypatch.setattr(idx_reader, "EXAMPLES", (n, n // 6))
    arrays = [RNG.integers(0, 256, (n, 28, 28), np.uint8), np.arange(n, dtype=np.uint8) % 10,
              RNG.integers(0, 256, (n // 6, 28, 28), np.uint8), np.arange(n // 6, dtype=np.uint8) % 10]
    for file, array in zip(FILES, arrays):
        (tmp_path / name / file).write_bytes(gzip.compress(idx(array, 8), 0))
    with pytest.raises(BadFile, match="expects the published file"):
        load(tmp_path)
    data = load(tmp_path, published=False)
    np.testing.assert_array_equal(data.train_x[..., 0], arrays[0])
    np.testing.assert_array_equal(data.test_y, arrays[3])
    assert data.test_x.shape == (n // 6, 28, 28, 1) and len(data.classes) == 10
    (tmp_path / name / FILES[1]).write_bytes(gzip.compress(idx(arrays[1] + np.uint8(3), 8), 0))
    with pytest.raises(BadFile, match="expects labels 0 to 9; got 12"):
        load(tmp_path, published=False)


def archive(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=0) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(("load", "label_bytes", "n_classes"), [(load_cifar10, 1, 10), (load_cifar100, 2, 100)])
@pytest.mark.parametrize("n", [50, pytest.param(50_000, marks=pytest.mark.exhaustive)])
def test_cifar(tmp_path, monkeypatch, load, label_bytes, n_classes, n):
    """An archive of the published size, 2 GB with its copies, is made for --exhaustive alone."""
    assert cifar_reader.EXAMPLES == (50_000, 10_000)
    monkeypatch.setattr(cifar_reader, "EXAMPLES", (n, n // 5))
    rows = RNG.integers(0, 10, (n + n // 5, 3072 + label_bytes), np.uint8)
    names = " ".join(f"class{i}" for i in range(n_classes)).encode()
    if load is load_cifar10:
        parts = [(f"cifar-10-batches-bin/data_batch_{i + 1}.bin", rows[n // 5 * i:n // 5 * (i + 1)].tobytes())
                 for i in range(5)]
        parts += [("cifar-10-batches-bin/test_batch.bin", rows[n:].tobytes()),
                  ("cifar-10-batches-bin/batches.meta.txt", names)]
    else:
        parts = [("cifar-100-binary/train.bin", rows[:n].tobytes()),
                 ("cifar-100-binary/test.bin", rows[n:].tobytes()),
                 ("cifar-100-binary/fine_label_names.txt", names)]
    file = tmp_path / f"cifar-{n_classes}-binary.tar.gz"
    file.write_bytes(archive([*parts, ("../elsewhere", b"x")]))
    with pytest.raises(BadFile, match="expects the published file"):
        load(tmp_path)
    data = load(tmp_path, published=False)
    assert data.train_x.shape == (n, 32, 32, 3) and data.classes[-1] == f"class{n_classes - 1}"
    # Red, green and blue lie one after another in a row.
    assert data.test_x[7, 2, 5, 1] == rows[n + 7, label_bytes + 1024 + 2 * 32 + 5]
    assert data.train_y[3] == rows[3, label_bytes - 1]
    del data, rows
    for files, words in ((parts[1:], "got none of"), ([*parts, parts[-1]], "a second one"),
                         ([(parts[0][0], b"short"), *parts[1:]], "got 5 bytes")):
        file.write_bytes(archive(files))
        with pytest.raises(BadFile, match=words):
            load(tmp_path, published=False)
    file.write_bytes(b"\x1f\x8b no archive")
    with pytest.raises(BadFile, match="expects the published archive"):
        load(tmp_path, published=False)


def test_a_download_takes_the_place_of_what_is_missing(tmp_path, monkeypatch):
    """Into the folder, with the published digest."""
    asked = []

    def instead(url, file, *, digest):
        asked.append((url, file, digest))
        raise BadFile("enough")

    monkeypatch.setattr(idx_reader, "download", instead)
    monkeypatch.setattr(cifar_reader, "download", instead)
    for load in (load_mnist, load_fashion_mnist, load_cifar10, load_cifar100):
        with pytest.raises(BadFile, match="enough"):
            load(tmp_path, fetch=True)
    assert [file.relative_to(tmp_path).parts[0] for _, file, _ in asked] == ["mnist", "fashion-mnist", "cifar", "cifar"]
    assert all(digest.startswith("md5:") and len(digest) == 36 for _, _, digest in asked)
