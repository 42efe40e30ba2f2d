"""The course's football field: the file itself, and files that pretend to be it."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, published
from jaxnn.data.football import N_BYTES, SHA256, SHAPES, load_football

scipy_io = pytest.importorskip("scipy.io")


@pytest.fixture
def course():
    path = Path(os.environ.get("JAXNN_DATA", ""), "c2", "data.mat")
    if not path.is_file():
        pytest.skip("c2/data.mat is missing: point JAXNN_DATA at the course's files")
    return path


def write(directory, **changed):
    arrays = {name: np.zeros(shape) for name, shape in SHAPES.items()} | changed
    scipy_io.savemat(directory / "data.mat", {k: v for k, v in arrays.items() if v is not None})


def test_the_file_is_the_one_that_the_message_describes(course):
    content = course.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (N_BYTES, SHA256)


def test_the_field(course):
    field = load_football(course.parent.parent)
    assert field.train_x.shape == (211, 2) and field.test_x.shape == (200, 2)
    assert field.train_x.dtype == np.float64 and field.train_y.dtype == np.int64
    assert field.train_y.shape == (211,) and field.test_y.shape == (200,)
    assert set(field.train_y) == set(field.test_y) == {0, 1}
    assert max(np.abs(field.train_x).max(), np.abs(field.test_x).max()) < 1


def test_a_flat_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "SHA256", {})
    write(tmp_path, y=np.ones((211, 1)))
    field = load_football(tmp_path)
    assert field.train_y.sum() == 211 and field.test_y.sum() == 0


def test_a_flipped_bit_is_found(tmp_path, course):
    data = bytearray(course.read_bytes())
    for place in (40, 200, 3000, len(data) - 1):
        damaged = data.copy()
        damaged[place] ^= 1
        (tmp_path / "data.mat").write_bytes(damaged)
        with pytest.raises(BadFile):
            load_football(tmp_path)
    write(tmp_path)
    with pytest.raises(BadFile, match="the file that the course published, of SHA-256 12188280"):
        load_football(tmp_path)


def test_a_missing_file_says_how_to_get_it(tmp_path):
    with pytest.raises(MissingData) as error:
        load_football(tmp_path, instead="--data moons")
    assert str(error.value) == (
        f"c2/data.mat was expected at {tmp_path / 'c2' / 'data.mat'} or {tmp_path / 'data.mat'}; got no such "
        "file; download datasets/data.mat from the assignment 'Regularization' (Deep Learning Specialization, "
        "course 2, week 1) (6,038 bytes, SHA-256 "
        "1218828095bf91d215622d00b2a5b8784c359e29d9d9c5734949b8e60c5bc231), and put it at one of these places "
        "or point JAXNN_DATA at its directory; or use --data moons, which needs no file")


@pytest.mark.parametrize(("changed", "message"), [
    ({"X": np.zeros((210, 2))},
     " expects X (211, 2); got X (210, 2); check that this is the right file"),
    ({"yval": None}, " expects yval (200, 1); got yval nothing; check that this is the right file"),
    ({"Xval": np.full((200, 2), np.nan)},
     ": Xval expects finite values; got NaN or infinite ones; get the file again"),
    ({"y": np.full((211, 1), 2.0)}, ": y expects labels 0 and 1; got [2.0]; get the file again"),
])
def test_what_is_not_the_field_is_refused(tmp_path, changed, message):
    write(tmp_path, **changed)
    with pytest.raises(BadFile) as error:
        load_football(tmp_path)
    assert str(error.value) == f"{tmp_path / 'data.mat'}{message}"


def test_text_and_cells_in_place_of_numbers_are_refused(tmp_path):
    write(tmp_path, X=np.full((211, 2), "goal", dtype=object))
    with pytest.raises(BadFile, match="expects a whole MATLAB file"):
        load_football(tmp_path)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>" * 20, b"MATLAB 5.0 MAT-file" + b"\0" * 200])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "data.mat").write_bytes(content)
    with pytest.raises(BadFile, match=r"data\.mat expects "):
        load_football(tmp_path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(tmp_path, course, kept):
    content = course.read_bytes()
    (tmp_path / "data.mat").write_bytes(content[:int(kept * len(content))])
    with pytest.raises(BadFile, match=r"data\.mat expects "):
        load_football(tmp_path)


def test_a_directory_or_a_file_too_large_is_refused(tmp_path):
    path = tmp_path / "data.mat"
    path.mkdir()
    with pytest.raises(BadFile, match="expects a MATLAB file; got a directory; name another data directory"):
        load_football(tmp_path)
    path.rmdir()
    path.write_bytes(b"\0" * (2**20 + 1))
    with pytest.raises(BadFile, match="expects at most 1,048,576 bytes; got 1,048,577; get the file again"):
        load_football(tmp_path)
