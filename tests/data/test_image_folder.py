"""Image folders and the Olivetti faces."""

import io
import os
import struct
import zlib

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, load_image_folder, load_olivetti, read_picture
from tests import course

Image = pytest.importorskip("PIL.Image")
COLOUR = np.arange(4 * 3 * 3, dtype=np.uint8).reshape(4, 3, 3) * 7


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    (picture if mode is None else picture.convert(mode)).save(path, **options)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes; what is hidden, and what is no picture."""
    save(tmp_path / "b" / "2.png", COLOUR)
    save(tmp_path / "b" / "10.png", COLOUR + 1)
    save(tmp_path / "b" / "more" / "1.png", COLOUR + 2)
    save(tmp_path / "A" / "1.PNG", COLOUR + 3)
    save(tmp_path / "A" / ".hidden.png", COLOUR)
    save(tmp_path / ".cache" / "1.png", COLOUR)
    (tmp_path / "empty").mkdir()
    (tmp_path / "b" / "notes.txt").write_text("no picture")
    (tmp_path / "README").write_text("no picture")
    return tmp_path


def test_classes_and_order_are_those_of_the_names(folder):
    found = load_image_folder(folder)
    assert found.classes == ("A", "b")
    assert found.paths == ("A/1.PNG", "b/10.png", "b/2.png", "b/more/1.png")
    np.testing.assert_array_equal(found.y, [0, 1, 1, 1])
    np.testing.assert_array_equal(found.x, np.stack([COLOUR + 3, COLOUR + 1, COLOUR, COLOUR + 2]))
    assert (found.x.dtype, found.y.dtype, found.made) == (np.uint8, np.int64, {})
    assert found.passed_over == ("README", "b/notes.txt")


def test_sizes(folder):
    save(folder / "b" / "3.png", np.full((8, 4, 3), 9, np.uint8))
    with pytest.raises(BadFile, match=r"b/3.png expects the size of A/1.PNG, \(4, 3\); got \(8, 4\); pass size="):
        load_image_folder(folder)
    for crop in (False, True):
        found = load_image_folder(folder, size=(2, 2), crop=crop)
        assert found.x.shape == (5, 2, 2, 3) and found.made == {"resized": 5}
        np.testing.assert_array_equal(found.x[3], 9)
    # 4x2 of two halves: stretched it keeps both, cropped its middle.
    halves = np.repeat(np.uint8([[0], [0], [200], [200]]), 2, 1)
    save(folder / "b" / "3.png", halves)
    stretched, cropped = (read_picture(folder / "b" / "3.png", size=(2, 2), crop=crop, channels=1)[..., 0]
                          for crop in (False, True))
    assert stretched[0, 0] < 60 and stretched[1, 0] > 140
    np.testing.assert_array_equal(cropped, halves[1:3])
    with pytest.raises(BadFile, match="at most 100 bytes; got 5 of"):
        load_image_folder(folder, size=(4, 4), max_bytes=100)


GREY = COLOUR[..., 0]
CLEAR = np.dstack([COLOUR, np.full((4, 3), 0, np.uint8)])
SIXTEEN = (GREY.astype(np.uint16) << 8) + 200
KINDS = {
    "grey": (GREY, None, np.repeat(GREY[..., None], 3, -1), {"grey made colour": 1}),
    "black and white": (GREY > 100, None, np.repeat(255 * (GREY > 100)[..., None], 3, -1), {"grey made colour": 1}),
    "transparent": (CLEAR, None, np.full_like(COLOUR, 255), {"transparent laid on white": 1}),
    "grey and transparent": (CLEAR, "LA", np.full_like(COLOUR, 255), {"transparent laid on white": 1}),
    "opaque": (CLEAR + np.uint8([0, 0, 0, 255]), None, COLOUR, {"transparent laid on white": 1}),
    "palette": (COLOUR, "P", None, {"palette made colour": 1}),
    "16 bits": (SIXTEEN, None, np.repeat(GREY[..., None], 3, -1), {"16 bits made 8": 1, "grey made colour": 1})}


@pytest.mark.parametrize("name", KINDS)
def test_kinds_of_pictures(name, tmp_path):
    array, mode, expected, made = KINDS[name]
    path = save(tmp_path / "a" / "1.png", array, mode)
    if expected is None:
        expected = np.asarray(Image.fromarray(COLOUR).convert("P").convert("RGB"))
    found = load_image_folder(tmp_path)
    np.testing.assert_array_equal(found.x[0], expected)
    assert found.made == made
    assert read_picture(path, channels=1).shape == (4, 3, 1)


def test_what_a_camera_wrote_turns_the_picture(tmp_path):
    """Each of the eight orientations of EXIF, against turning and mirroring in NumPy."""
    big = np.repeat(np.repeat(np.uint8([[0, 80], [160, 240], [40, 120]]), 16, 0), 16, 1)
    turned = {1: big, 2: big[:, ::-1], 3: big[::-1, ::-1], 4: big[::-1], 5: big.T, 6: np.rot90(big, -1),
              7: big[::-1, ::-1].T, 8: np.rot90(big)}
    for orientation, expected in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        save(tmp_path / "a" / "1.jpg", big, quality=95, exif=exif)
        found = load_image_folder(tmp_path, channels=1)
        assert found.x[0, ..., 0].shape == expected.shape
        assert np.abs(found.x[0, ..., 0].astype(int) - expected).max() < 8, orientation
        assert found.made == ({"turned as EXIF says": 1} if orientation > 1 else {})


def test_jpeg_of_a_printer_and_the_first_picture_of_a_gif(tmp_path):
    save(tmp_path / "a" / "1.jpg", np.full((8, 8, 3), 255, np.uint8), "CMYK")
    found = load_image_folder(tmp_path)
    assert found.made == {"CMYK made colour": 1} and found.x.min() > 250
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (30, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(read_picture(tmp_path / "a.gif"), 30)


def bomb(path, width, height):
    def chunk(name, body):
        return len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")

    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
                     + chunk(b"IDAT", zlib.compress(bytes(2**16))) + chunk(b"IEND", b""))
    return path


def test_files_that_are_no_pictures_are_named(tmp_path):
    whole = save(tmp_path / "a" / "1.png", COLOUR).read_bytes()
    jpeg = io.BytesIO()
    Image.fromarray(COLOUR).save(jpeg, "JPEG")
    bad = tmp_path / "a" / "2.png"
    for data in (b"", b"<html>", whole[:40], whole[:-20], jpeg.getvalue()[:200], whole[:50] + b"?" + whole[51:]):
        bad.write_bytes(data)
        with pytest.raises(BadFile, match=r"a/2\.png expects a whole PNG, JPEG or GIF picture; got [\d,]+ bytes"):
            load_image_folder(tmp_path)
    bad.write_bytes(jpeg.getvalue())  # what a file is, it tells itself
    assert load_image_folder(tmp_path).x.shape == (2, 4, 3, 3)
    bomb(bad, 9000, 9000)
    with pytest.raises(BadFile, match="at most 33,554,432 pixels; got 9,000 by 9,000"):
        load_image_folder(tmp_path)
    bomb(bad, 60_000, 60_000)
    with pytest.raises(BadFile, match=r"2\.png expects"):
        load_image_folder(tmp_path)
    Image.fromarray(COLOUR).save(bad, "BMP")
    with pytest.raises(BadFile, match="do not decode"):
        load_image_folder(tmp_path)


def test_folders_that_are_none(tmp_path):
    with pytest.raises(MissingData, match="no such folder"):
        load_image_folder(tmp_path / "none")
    with pytest.raises(MissingData, match=r"such as cats/1\.jpg; got none; put"):
        load_image_folder(tmp_path)
    save(tmp_path / "1.png", COLOUR)
    with pytest.raises(MissingData, match=r"got none but 1\.png"):
        load_image_folder(tmp_path)
    with pytest.raises(MissingData, match="got a file"):
        load_image_folder(tmp_path / "1.png")
    with pytest.raises(MissingData, match="no such file"):
        read_picture(tmp_path / "none.png")
    if hasattr(os, "mkfifo"):
        (tmp_path / "a").mkdir()
        os.mkfifo(tmp_path / "a" / "pipe.png")
        with pytest.raises(BadFile, match="other than a regular file"):
            load_image_folder(tmp_path)


def test_links_do_not_lead_around(tmp_path):
    save(tmp_path / "a" / "1.png", COLOUR)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert load_image_folder(tmp_path).paths == ("a/1.png",)


@pytest.mark.parametrize(("options", "words"), [
    ({"size": 32}, r"size, \(height, width\); got 32"), ({"size": (0, 4)}, r"size, \(height, width\)"),
    ({"channels": 4}, "channels, 1 for grey or 3 for colour; got 4")])
def test_refused(folder, options, words):
    with pytest.raises(ValueError, match=words):
        load_image_folder(folder, **options)


# The Olivetti faces

def test_the_olivetti_faces():
    directory = course.data_directory()
    if directory is None or not (directory / "c4" / "olivettifaces.mat").exists():
        pytest.skip("the faces are not here: set JAXNN_DATA")
    pytest.importorskip("scipy")
    faces = load_olivetti(directory)
    assert (faces.x.shape, faces.x.dtype) == ((400, 64, 64, 1), np.uint8)
    np.testing.assert_array_equal(np.bincount(faces.people), [10] * 40)
    # Faces are upright and nearly symmetric, and the ten of a person are nearer to each other than to others.
    x = faces.x[..., 0].astype(float)
    flipped = [np.abs(x - np.flip(x, axis)).mean() for axis in (1, 2)]
    assert flipped[1] < 0.8 * flipped[0]
    means = x.reshape(40, 10, -1).mean(1)
    nearest = np.stack([((x.reshape(400, -1) - mean) ** 2).sum(1) for mean in means]).argmin(0)
    assert (nearest == faces.people).mean() > 0.9


def test_other_faces_are_refused(tmp_path):
    (tmp_path / "c4").mkdir()
    with pytest.raises(MissingData, match="SHA-256 b1988d02"):
        load_olivetti(tmp_path)
    (tmp_path / "c4" / "olivettifaces.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(BadFile, match=r"expects the file that .* published"):
        load_olivetti(tmp_path)
    (tmp_path / "c4" / "olivettifaces.mat").unlink()
    (tmp_path / "c4" / "olivettifaces.mat").mkdir()
    with pytest.raises(BadFile, match="expects a file of at most"):
        load_olivetti(tmp_path)
