"""The course's pictures of hands: the archive itself, and files that pretend to be it."""

import io
import tarfile

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, find, published
from jaxnn.data.signs import COUNTS, load_signs


@pytest.fixture
def any_hash(monkeypatch):
    """For a test whose file is made up, and right but for its hash."""
    monkeypatch.setattr(published, "SHA256", {})


def jpeg(value, size=64, mode="RGB"):
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.new(mode, (size, size), value).save(out, "JPEG")
    return out.getvalue()


def write_archive(directory, *, counts=(864, 216, 120), picture=None, name="train_signs/5_IMG_1.jpg"):
    """An archive of grey pictures whose brightness tells their label; `picture` goes in under `name`."""
    of_label = [jpeg((40 * label,) * 3) for label in range(6)]
    members = {f"{part}_signs/{i % 6}_IMG_{i}.jpg": of_label[i % 6]
               for part, n in zip(("train", "val", "test"), counts, strict=True) for i in range(n)}
    members |= {"train_signs/.DS_Store": b"not a picture"} | ({name: picture} if picture else {})
    with tarfile.open(directory / "signs_64x64_jpg.tar", "w") as archive:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_the_archive_is_read_by_the_names_of_its_members(tmp_path, any_hash):
    write_archive(tmp_path)
    read = load_signs(tmp_path)
    assert read.source == "JPEG"
    for x, y, n in ((read.train_x, read.train_y, COUNTS["train"]), (read.test_x, read.test_y, COUNTS["test"])):
        assert x.shape == (n, 64, 64, 3) and x.dtype == np.uint8 and y.dtype == np.int64
        np.testing.assert_array_equal(np.round(x.mean(axis=(1, 2, 3)) / 40), y)
        assert np.bincount(y).tolist() == [n // 6] * 6


@pytest.mark.sampled
@pytest.mark.parametrize(("arguments", "message"), [
    ({"counts": (863, 216, 120)}, r"expects 1,080 train pictures.*; got 1,079; get the file again"),
    ({"counts": (864, 216, 0)}, r"expects 120 test pictures"),
    ({"picture": b"no picture"}, r"'train_signs/5_IMG_1\.jpg' expects a JPEG picture; got 10 bytes"),
    ({"picture": jpeg(0)[:200]}, r"expects a JPEG picture; got 200 bytes that do not decode"),
    ({"picture": jpeg(0, size=63)}, r"expects a picture of 64 by 64 pixels, RGB; got 63 by 63, RGB"),
    ({"picture": jpeg(0, mode="L")}, r"expects a picture of 64 by 64 pixels, RGB; got 64 by 64, L"),
    ({"picture": b"x" * 70_000}, r"expects a picture of at most 65,536 bytes; got 70,000"),
])
def test_a_damaged_archive_is_refused(tmp_path, arguments, message):
    write_archive(tmp_path, **arguments)
    with pytest.raises(BadFile, match=message):
        load_signs(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>" * 200])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "signs_64x64_jpg.tar").write_bytes(content)
    with pytest.raises(BadFile, match=r"expects (a whole tar archive|1,080 train pictures)"):
        load_signs(tmp_path)


def test_a_truncated_archive_is_refused(tmp_path):
    write_archive(tmp_path)
    path = tmp_path / "signs_64x64_jpg.tar"
    path.write_bytes(path.read_bytes()[:500_100])
    with pytest.raises(BadFile, match=r"expects"):
        load_signs(tmp_path)


def test_an_archive_of_other_pictures_is_refused(tmp_path):
    write_archive(tmp_path)
    with pytest.raises(BadFile, match=r"the file that the course published, of SHA-256 dc11bd83.*; got SHA-256"):
        load_signs(tmp_path)


def test_a_bit_that_is_flipped_in_a_picture_is_found(tmp_path):
    """JPEG decodes it to another picture without an error; the arrays of the HDF5 file look as before."""
    for name, place in (("signs_64x64_jpg.tar", 1_000_000), ("signs_64x64_jpg.tar", 2_467_839)):
        try:
            data = bytearray(find(f"c2/{name}", how_to_get="", instead="").read_bytes())
        except MissingData as missing:
            pytest.skip(f"needs the course's photographs: {missing}")
        data[place] ^= 1
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadFile):
            load_signs(tmp_path)


@pytest.mark.parametrize("error", [MemoryError, RecursionError, OverflowError, ZeroDivisionError])
def test_whatever_a_damaged_archive_raises(tmp_path, monkeypatch, error):
    write_archive(tmp_path)

    def damaged(*args):
        raise error

    monkeypatch.setattr(tarfile.TarInfo, "fromtarfile", damaged)
    with pytest.raises(BadFile, match=f"a whole tar archive; got .* do not read .{error.__name__}"):
        load_signs(tmp_path)


def test_bytes_written_over_the_headers_are_refused(tmp_path):
    """Long names, extended headers and sizes in base 256, each with a checksum that fits."""
    write_archive(tmp_path)
    path = tmp_path / "signs_64x64_jpg.tar"
    whole = path.read_bytes()
    for kind in b"LKxgS1257":
        for size in (b"77777777777\0", b"\x80" + b"\x00" * 7 + b"\x7f" * 4, b"\xff" * 12, b"\xff" * 11 + b"\x00"):
            header = bytearray(whole[:512])
            header[124:136], header[156] = size, kind
            header[148:156] = b" " * 8
            header[148:156] = b"%06o\0 " % sum(header)
            path.write_bytes(bytes(header) + whole[512:])
            with pytest.raises(BadFile):
                load_signs(tmp_path)


def test_a_second_picture_of_a_name_is_refused(tmp_path):
    write_archive(tmp_path, name="./train_signs/0_IMG_0.jpg", picture=jpeg((9, 9, 9)))
    with pytest.raises(BadFile, match=r"'train_signs/0_IMG_0.jpg' expects one picture of a name; got two"):
        load_signs(tmp_path)


def test_a_file_too_large_for_the_archive_is_not_read(tmp_path):
    with open(tmp_path / "signs_64x64_jpg.tar", "wb") as sparse:
        sparse.truncate(10**10)
    with pytest.raises(BadFile, match="at most 16,777,216 bytes; got 10,000,000,000"):
        load_signs(tmp_path)


def test_without_any_file_it_is_said_what_to_get(tmp_path):
    with pytest.raises(MissingData, match=r"signs_64x64_jpg.tar was expected at .*train_signs.h5 and test_signs"
                                          r".h5.*or use --data digits"):
        load_signs(tmp_path, instead="--data digits")


def test_the_courses_own_files_come_first(tmp_path, any_hash):
    h5py = pytest.importorskip("h5py")
    write_archive(tmp_path)
    for part, n in COUNTS.items():
        with h5py.File(tmp_path / f"{part}_signs.h5", "w") as file:
            file[f"{part}_set_x"] = np.full((n, 64, 64, 3), 7, np.uint8)
            file[f"{part}_set_y"] = np.arange(n) % 6
    read = load_signs(tmp_path)
    assert read.source == "HDF5" and (read.train_x == 7).all()
    with h5py.File(tmp_path / "test_signs.h5", "a") as file:
        file["test_set_y"][3] = 6
    with pytest.raises(BadFile, match=r"'test_set_y' expects labels 0 to 5; got 1 others, the first 6 at index 3"):
        load_signs(tmp_path)


def test_the_archive_has_the_pictures_of_the_courses_test_file():
    h5py = pytest.importorskip("h5py")
    try:
        read = load_signs()
        path = find("c2/test_signs.h5", how_to_get="", instead="")
    except MissingData as missing:
        pytest.skip(f"needs the course's photographs: {missing}")
    with h5py.File(path) as file:
        x, y = file["test_set_x"][...], file["test_set_y"][...]
    assert read.train_x.shape == (1080, 64, 64, 3)
    assert np.bincount(read.train_y).tolist() == [180] * 6
    few = lambda images: images[:, ::8, ::8].reshape(len(images), -1).astype(float)  # noqa: E731
    distance = np.abs(few(read.test_x)[:, None] - few(x)).mean(axis=-1)
    assert distance.min(axis=1).max() < 10, "each is one of the course's, but for what JPEG loses"
    np.testing.assert_array_equal(read.test_y, y[distance.argmin(axis=1)])
