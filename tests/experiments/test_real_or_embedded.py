"""The choice between real and embedded data, by what is found and what was asked for."""

import pytest

from experiments.shared.data import real_or_embedded
from jaxnn import InputError
from jaxnn.data import BadFile, MissingData, load_football


def taken(choice, load_real, load_embedded=lambda: "moons"):
    return real_or_embedded(choice, "football", load_real, load_embedded, "noisy moons in place of the football field")


def missing():
    raise MissingData("c2/data.mat was expected at /nowhere")


def unused():
    raise AssertionError("these data are not needed")


@pytest.mark.parametrize("choice", ["auto", "football"])
def test_real_data_that_are_found_are_taken_without_a_word(choice, capsys):
    assert taken(choice, lambda: "field", unused) == "field"
    assert capsys.readouterr().out == ""


def test_embedded_data_asked_for_by_name_read_no_file(capsys):
    assert taken("moons", unused) == "moons"
    assert capsys.readouterr().out == ""


def test_embedded_data_take_the_place_of_missing_ones_and_the_reason_is_printed(capsys):
    assert taken("auto", missing) == "moons"
    assert capsys.readouterr().out == (
        "noisy moons in place of the football field:\n  c2/data.mat was expected at /nowhere\n")


def test_a_long_reason_is_broken_into_lines_but_a_path_is_not(capsys):
    def far_away():
        raise MissingData(f"c2/data.mat was expected at {path}, " + "where it is not, " * 20)

    path = "/nowhere-" + "far-" * 40
    taken("auto", far_away)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "noisy moons in place of the football field:"
    assert any(path in line for line in lines)
    assert all(line.startswith("  ") and (len(line) <= 110 or path in line) for line in lines)


def test_missing_data_asked_for_by_name_are_an_error(capsys):
    with pytest.raises(MissingData, match=r"c2/data\.mat was expected at /nowhere"):
        taken("football", missing, unused)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("error", [BadFile, InputError, FileNotFoundError, ModuleNotFoundError])
@pytest.mark.parametrize("choice", ["auto", "football"])
def test_no_other_error_is_replaced(choice, error, capsys):
    def damaged():
        raise error("football", "expects a file that can be read")

    with pytest.raises(error, match="expects a file that can be read"):
        taken(choice, damaged, unused)
    assert capsys.readouterr().out == ""


def test_a_damaged_file_is_an_error_and_not_a_missing_one(tmp_path):
    (tmp_path / "c2").mkdir()
    (tmp_path / "c2" / "data.mat").write_bytes(b"no field")
    with pytest.raises(BadFile):
        taken("auto", lambda: load_football(tmp_path), unused)


def test_an_error_of_the_embedded_data_does_not_blame_the_missing_file():
    def failing():
        raise InputError("moons", "expects n >= 1")

    with pytest.raises(InputError) as raised:
        taken("auto", missing, failing)
    assert raised.value.__context__ is None
