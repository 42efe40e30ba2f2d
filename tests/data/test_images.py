"""The course's photographs: the files themselves, and files that pretend to be them."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, load_cat, pixels_to_rows, published
from jaxnn.data.images import FILES

h5py = pytest.importorskip("h5py")


@pytest.fixture
def course():
    root = Path(os.environ.get("JAXNN_DATA", ""))
    for _, name, *_ in FILES:
        if not (root / "c1" / name).is_file():
            pytest.skip(f"c1/{name} is missing: point JAXNN_DATA at the course's files")
    return root


def write(directory, part, *, n, y=None, classes=(b"non-cat", b"cat")):
    with h5py.File(directory / f"{part}_catvnoncat.h5", "w") as file:
        file[f"{part}_set_x"] = np.full((n, 64, 64, 3), 7, np.uint8)
        file[f"{part}_set_y"] = np.arange(n) % 2 if y is None else y
        file["list_classes"] = np.array(classes)


def test_files_are_those_that_the_message_describes(course):
    for _, name, _, n_bytes, sha256 in FILES:
        content = (course / "c1" / name).read_bytes()
        assert len(content) == n_bytes
        assert hashlib.sha256(content).hexdigest() == sha256


def test_course_photographs(course):
    cat = load_cat(course)
    assert cat.train_x.shape == (209, 64, 64, 3) and cat.train_x.dtype == np.uint8
    assert cat.test_x.shape == (50, 64, 64, 3) and cat.test_x.dtype == np.uint8
    assert cat.train_y.shape == (209,) and cat.train_y.sum() == 72
    assert cat.test_y.shape == (50,) and cat.test_y.sum() == 33
    assert cat.classes == ("non-cat", "cat")
    # "sanity check after reshaping: [17 31 56 22 33]", printed by the 2017 assignment.
    assert cat.train_x.reshape(209, -1).T[:5, 0].tolist() == [17, 31, 56, 22, 33]


def test_published_costs_of_logistic_regression(course):
    """The course prints cost 0.584508 after 100 iterations from zero at learning rate 0.005."""
    cat = load_cat(course)
    x, y = pixels_to_rows(cat.train_x), cat.train_y
    weight, bias = np.zeros(x.shape[1]), 0.0
    for _ in range(100):
        error = 1 / (1 + np.exp(-(x @ weight + bias))) - y
        weight, bias = weight - 0.005 * error @ x / len(x), bias - 0.005 * error.mean()
    p = 1 / (1 + np.exp(-(x @ weight + bias)))
    cost = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))
    assert cost == pytest.approx(0.584508, abs=5e-7)


def test_flat_copies(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "SHA256", {})
    write(tmp_path, "train", n=209)
    write(tmp_path, "test", n=50)
    cat = load_cat(tmp_path)
    np.testing.assert_array_equal(cat.test_y, np.arange(50) % 2)
    assert (cat.train_x == 7).all()


def test_a_flipped_bit_of_a_pixel_is_found(tmp_path, course):
    for _, name, *_ in FILES:
        data = bytearray((course / "c1" / name).read_bytes())
        data[len(data) // 2] ^= 1
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadFile, match=r"train_catvnoncat.h5 expects the file that the course published"):
        load_cat(tmp_path)


def test_missing_file_says_how_to_get_it(tmp_path, monkeypatch):
    with pytest.raises(MissingData) as error:
        load_cat(tmp_path, instead="--data breast-cancer")
    folder, name = tmp_path / "c1" / "train_catvnoncat.h5", tmp_path / "train_catvnoncat.h5"
    assert str(error.value) == (
        f"c1/train_catvnoncat.h5 was expected at {folder} or {name}; got no such file; "
        "download train_catvnoncat.h5 and test_catvnoncat.h5 from the assignment 'Programming "
        "Assignment: Logistic Regression with a Neural Network Mindset' (Deep Learning "
        "Specialization, course 1, week 2) (train_catvnoncat.h5 has 2,572,022 bytes and SHA-256 "
        "fbe56ab67c3ae28d564e3a644189117976d6b31af0a3ce9bb17dbf22908af242), and put it at one of "
        "these places or point JAXNN_DATA at its directory; or use --data breast-cancer, which "
        "needs no file")
    monkeypatch.setattr(published, "SHA256", {})
    write(tmp_path, "train", n=209)
    with pytest.raises(MissingData, match=r"^c1/test_catvnoncat\.h5 .* 616,958 bytes .*6a9d39ce"):
        load_cat(tmp_path)


def test_labels_other_than_0_and_1(tmp_path):
    y = np.zeros(209, np.int64)
    y[[5, 9]] = 2, -1
    write(tmp_path, "train", n=209, y=y)
    with pytest.raises(BadFile) as error:
        load_cat(tmp_path)
    assert str(error.value) == (
        f"{tmp_path / 'train_catvnoncat.h5'}: field 'train_set_y' expects labels 0 and 1; "
        "got 2 others, the first 2 at index 5; get the file again")


def test_wrong_number_of_images(tmp_path):
    write(tmp_path, "train", n=208)
    with pytest.raises(BadFile, match=r"'train_set_x' expects shape \(209, 64, 64, 3\); got \(208"):
        load_cat(tmp_path)


def test_rows():
    images = np.arange(2 * 2 * 1 * 3, dtype=np.uint8).reshape(2, 2, 1, 3) * 20
    rows = pixels_to_rows(images)
    assert rows.dtype == np.float64
    np.testing.assert_array_equal(rows[1] * 255, [120, 140, 160, 180, 200, 220])


def test_rows_of_scaled_pixels_or_of_no_batch():
    with pytest.raises(TypeError) as error:
        pixels_to_rows(np.ones((1, 2, 2)))
    assert str(error.value) == (
        "pixels_to_rows expects images of dtype uint8, in 0..255; got float64; if they are scaled "
        "already, images.reshape(len(images), -1) is all they need")
    for shape in ((4,), (0, 8, 8)):
        with pytest.raises(ValueError) as error:
            pixels_to_rows(np.ones(shape, np.uint8))
        assert str(error.value) == (
            f"pixels_to_rows expects images of shape (n, ...) with n >= 1; got {shape}; "
            "put one image in a batch with image[None]")
