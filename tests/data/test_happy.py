"""The Happy House: the course's test file, and files that pretend to be its two."""

import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.data import BadFile, MissingData, load_happy, published

h5py = pytest.importorskip("h5py")


def write(directory, part, n, y=None):
    with h5py.File(directory / f"{part}_happy.h5", "w") as file:
        file[f"{part}_set_x"] = np.full((n, 64, 64, 3), 7, np.uint8)
        file[f"{part}_set_y"] = np.arange(n) % 2 if y is None else y


def test_the_courses_test_set():
    """Of the 150 faces 84 smile, as the course's own printed labels have it."""
    try:
        faces = load_happy("test")
    except MissingData as missing:
        pytest.skip(f"needs the course's faces: {missing}")
    assert faces.x.shape == (150, 64, 64, 3) and faces.x.dtype == np.uint8
    assert faces.y.dtype == np.int64 and faces.y.sum() == 84
    assert faces.classes == ("not happy", "happy")


def test_files_of_the_courses_form(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "SHA256", {})
    for part, n in (("train", 600), ("test", 150)):
        write(tmp_path, part, n)
        faces = load_happy(part, tmp_path)
        assert faces.x.shape == (n, 64, 64, 3) and faces.y.tolist() == [0, 1] * (n // 2)


def test_files_that_are_refused(tmp_path):
    with pytest.raises(InputError, match="part, one of train, test; got 'dev'"):
        load_happy("dev", tmp_path)
    with pytest.raises(MissingData, match=r"train_happy.h5 was expected at .*download train_happy.h5.*--data digits"):
        load_happy("train", tmp_path, instead="--data digits")
    write(tmp_path, "test", 149)
    with pytest.raises(BadFile, match=r"'test_set_x' expects shape \(150, 64, 64, 3\); got \(149, 64, 64, 3\)"):
        load_happy("test", tmp_path)
    write(tmp_path, "test", 150, np.arange(150) % 3)
    with pytest.raises(BadFile, match="expects labels 0 and 1; got 50 others, the first 2 at index 2"):
        load_happy("test", tmp_path)
    write(tmp_path, "test", 150)
    with pytest.raises(BadFile, match="the file that the course published, of SHA-256 5e23db2f"):
        load_happy("test", tmp_path)
