"""The reader of the raccoons: the published set, and tables that are damaged."""

import re
import shutil

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, load_raccoons
from tests import course

FOLDER = None if course.data_directory() is None else course.data_directory() / "c4" / "raccoon"
NEEDS_DATA = pytest.mark.skipif(FOLDER is None or not FOLDER.is_dir(), reason="the raccoons are not here")
TABLE = "file,width,height,class,xmin,ymin,xmax,ymax\n"


@NEEDS_DATA
def test_the_published_set():
    found = load_raccoons()
    assert len(found.pictures) == len(found.boxes) == len(found.names) == 200
    assert sum(map(len, found.boxes)) == 217
    for picture, boxes in zip(found.pictures, found.boxes):
        height, width, channels = picture.shape
        assert channels == 3 and max(height, width) <= 320 and picture.dtype == np.uint8
        assert (boxes[:, :2] < boxes[:, 2:]).all() and (boxes >= 0).all() and (boxes <= [width, height] * 2).all()
    same = {found.names[i]: found.names[j] for i, j in enumerate(found.alike) if i != j}
    assert same == {"raccoon-116.jpg": "raccoon-11.jpg", "raccoon-83.jpg": "raccoon-120.jpg",
                    "raccoon-45.jpg": "raccoon-21.jpg", "raccoon-52.jpg": "raccoon-50.jpg",
                    "raccoon-74.jpg": "raccoon-50.jpg", "raccoon-85.jpg": "raccoon-51.jpg",
                    "raccoon-98.jpg": "raccoon-65.jpg"}


@NEEDS_DATA
@pytest.mark.parametrize(("change", "words"), [
    (lambda text: text[:3000], "or rows of another length"),
    (lambda text: text.replace("xmin", "left"), "expects the columns file, width, height, class, xmin"),
    (lambda text: text.replace("39.9,43.3", "39.9,x"), "raccoon-1.jpg expects numbers; got could not convert"),
    (lambda text: text.replace("39.9,43.3,257.0", "257.0,43.3,39.9"), "raccoon-1.jpg expects a box with an area"),
    (lambda text: text.replace("39.9,43.3,257.0", "39.9,43.3,400.0"), "within the picture; got [39.9, 43.3, 400.0"),
    (lambda text: text.replace("jpg,320,205", "jpg,205,320"), "expects a picture of 320 x 205; got (205, 320)"),
    (lambda text: "\n".join(text.splitlines()[:-5]) + "\n", "expects 217 boxes of 200 pictures; got 212"),
    (lambda text: text.replace("raccoon-1.jpg", "../raccoon-1.jpg"), "names of .jpg files beside it; got '../raccoon"),
], ids=range(8))
def test_damaged_tables(tmp_path, change, words):
    folder = tmp_path / "c4" / "raccoon"
    folder.mkdir(parents=True)
    (folder / "boxes.csv").write_text(change((FOLDER / "boxes.csv").read_text()))
    shutil.copy(FOLDER / "raccoon-1.jpg", folder)
    with pytest.raises(BadFile, match=re.escape(words)):
        load_raccoons(tmp_path)


def test_missing_and_foreign_files(tmp_path):
    with pytest.raises(MissingData, match=re.escape("c4/raccoon/boxes.csv was expected at")):
        load_raccoons(tmp_path)
    (tmp_path / "boxes.csv").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BadFile, match="expects a table of text"):
        load_raccoons(tmp_path)
    (tmp_path / "boxes.csv").write_text(TABLE)
    with pytest.raises(BadFile, match="expects 217 boxes of 200 pictures; got 0 of 0"):
        load_raccoons(tmp_path)
