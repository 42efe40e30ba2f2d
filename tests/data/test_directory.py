"""Where data files are looked for, and what is said of missing ones."""

import sys
from pathlib import Path

import pytest

from jaxnn.data import MissingData, data_directory, find
from jaxnn.data.extra import import_extra


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in ("JAXNN_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/ada")


def test_argument_wins_over_variable(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setenv("JAXNN_DATA", str(tmp_path / "b"))
    assert data_directory() == tmp_path / "b"
    assert data_directory(str(tmp_path / "a")) == tmp_path / "a"


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    assert data_directory("~/data") == tmp_path / "data"


@pytest.mark.parametrize(("platform", "variables", "expected"), [
    ("linux", {}, "/home/ada/.cache/jaxnn/data"),
    ("linux", {"JAXNN_DATA": ""}, "/home/ada/.cache/jaxnn/data"),
    ("linux", {"XDG_CACHE_HOME": "/scratch"}, "/scratch/jaxnn/data"),
    ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/ada/.cache/jaxnn/data"),
    ("darwin", {"XDG_CACHE_HOME": "/scratch"}, "/home/ada/Library/Caches/jaxnn/data"),
    ("win32", {"LOCALAPPDATA": "/local"}, "/local/jaxnn/data"),
    ("win32", {}, "/home/ada/AppData/Local/jaxnn/data"),
])
@pytest.mark.skipif(sys.platform == "win32", reason="the expected paths are written as POSIX paths")
def test_default_is_the_users_cache(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(sys, "platform", platform)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert data_directory() == Path(expected)


def test_a_directory_asked_for_must_exist(tmp_path, monkeypatch):
    gone, file = tmp_path / "gone", tmp_path / "file"
    file.touch()
    with pytest.raises(MissingData) as error:
        data_directory(gone)
    assert str(error.value) == (f"directory expects an existing directory at {gone}; "
                                "got nothing there; create it or name another")
    monkeypatch.setenv("JAXNN_DATA", str(file))
    with pytest.raises(MissingData) as error:
        data_directory()
    assert str(error.value) == (f"JAXNN_DATA expects an existing directory at {file}; "
                                "got a file; create it or name another")


def test_find_prefers_the_folder_to_flat(tmp_path):
    flat, foldered = tmp_path / "train.h5", tmp_path / "c1" / "train.h5"
    foldered.parent.mkdir()
    clauses = {"how_to_get": "get it", "instead": "that"}
    flat.touch()
    assert find("c1/train.h5", tmp_path, **clauses) == flat
    foldered.touch()
    assert find("c1/train.h5", tmp_path, **clauses) == foldered


def test_find_says_all_it_knows(tmp_path):
    with pytest.raises(MissingData) as error:
        find("c1/train.h5", tmp_path, how_to_get="ask Ada", instead="--data breast-cancer")
    assert str(error.value) == (
        f"c1/train.h5 was expected at {tmp_path / 'c1' / 'train.h5'} or {tmp_path / 'train.h5'}; "
        "got no such file; ask Ada, and put it at one of these places or point JAXNN_DATA at its "
        "directory; or use --data breast-cancer, which needs no file")
    assert isinstance(error.value, FileNotFoundError)


def test_find_names_one_place_once(tmp_path):
    with pytest.raises(MissingData, match=r"expected at [^ ]*train\.h5; got"):
        find("train.h5", tmp_path, how_to_get="", instead="")


def test_a_missing_package_names_the_extra():
    with pytest.raises(ModuleNotFoundError) as error:
        import_extra("no_such_package.part", "load_it")
    assert str(error.value) == (
        "load_it expects the package 'no_such_package'; got No module named 'no_such_package'; "
        "run: pip install 'jaxnn[experiments]'")
    assert error.value.name == "no_such_package"
