"""Course 3: the parts of its experiments, and each experiment on the embedded data for a few steps."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.course3 import (
    digits,
    end_to_end,
    error_analysis,
    mislabelled,
    mismatch,
    multi_task,
    spoken,
    transfer,
    wrong_dates,
)
from jaxnn import binary_cross_entropy
from jaxnn.data import MissingData, parse_date
from tests import course
from tests.experiments.test_runs import assert_picture

TINY = {
    "metric": (["--data", "digits", "--hidden", "8", "--channels", "2", "--epochs", "1", "--repeats", "10"],
               {"pareto"}),
    "human-level": (["--data", "digits", "--epochs", "1", "--readers", "2"], {"human_level", "wrong"}),
    "error-analysis": (["--data", "made", "--streets", "none", "--epochs", "1", "--recordings", "3"],
                       {"speech", "speaker_and_digit"}),
    "mislabelled": (["--data", "digits", "--epochs", "1", "--folds", "2", "--dates", "300", "--date-epochs", "1"],
                    {"precision", "suspects_uniform", "suspects_look-alikes", "dates"}),
    "mismatch": (["--data", "made", "--recordings", "5", "--epochs", "1"], {"mismatch"}),
    "transfer": (["--data", "digits", "--labels", "20", "50", "--steps", "5", "--source-steps", "5"], {"transfer"}),
    "multi-task": (["--data", "digits", "--steps", "4", "--masked", "0", "--widths", "2"], {"one_or_each", "trunk"}),
    "end-to-end": (["--data", "made", "--strings", "8", "--test-strings", "8", "--steps", "3", "--reader-steps", "3",
                    "--batch-size", "8"], {"end_to_end"}),
    "case-studies": (["--data", "digits", "--streets", "digits", "--steps", "5", "--street-steps", "3", "--width", "2",
                      "--parameters", "3000"], {"birds", "driving"}),
}


@pytest.mark.exhaustive  # what they are made of is tested below, and their library in tests/analysis
@pytest.mark.parametrize("name", TINY)
def test_a_short_run_measures_and_draws(tmp_path, capsys, name):
    """Exhaustive but for one, since each compiles networks of its own for 10 to 25 s."""
    options, pictures = TINY[name]
    assert main(["run", name, *options, "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["experiment"] == name and "diverged" not in record
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == pictures
    for picture in (tmp_path / "out").glob("*.png"):
        assert_picture(picture)


def test_without_the_files_made_data_take_their_place_and_it_is_said_why(tmp_path, capsys):
    assert digits.load("auto", tmp_path, 0).name == "digits"
    assert spoken.load("auto", tmp_path, 0, most=2).name == "made"
    assert multi_task.load(multi_task.Knobs(), tmp_path).name == "digits"
    printed = capsys.readouterr().out
    for message in ("scikit-learn's digits in place of USPS:\n  c3/usps.h5",
                    "made words in place of spoken digits:\n  c5/fsdd",
                    "canvases of digits in place of CamVid:\n  c4/camvid"):
        assert message in printed
    for load in (digits.load, spoken.load):
        with pytest.raises(MissingData):
            load({digits.load: "usps", spoken.load: "fsdd"}[load], tmp_path, 0)


def test_labels_are_changed_to_others_and_to_look_alikes():
    found = digits.load("digits", None, 0)
    for kind in mislabelled.KINDS:
        given, is_wrong = mislabelled.changed(mislabelled.Knobs(fraction=0.2), found, kind)
        assert is_wrong.sum() == round(0.2 * len(given))
        assert ((given != found.train_y) == is_wrong).all() and given.max() < 10
    look = mislabelled.look_alikes(found.train_x, found.train_y)
    assert (look != np.arange(10)).all()
    means = [found.train_x[found.train_y == c].mean(0) for c in range(10)]
    for c in range(10):
        assert look[c] == min((d for d in range(10) if d != c), key=lambda d, c=c: np.linalg.norm(means[c] - means[d]))


def test_dates_as_arrays(tmp_path):
    texts, dates, source = wrong_dates.load(tmp_path, 400, 0)
    assert source == "our generator" and sum(parse_date(t) != d for t, d in zip(texts, dates, strict=True)) == 1
    x, y = wrong_dates.encoded(["9 may 1998", "1/2/03"], ["1998-05-09", "2003-01-02"])
    assert x.shape == (2, 30, len(set("9 may 19981/2/03"))) and x.sum() == 16 and x[0, :20].sum() == 0
    assert y.tolist() == [[1, 9, 9, 8, 0, 5, 0, 9], [2, 0, 0, 3, 0, 1, 0, 2]]
    assert float(wrong_dates.loss_of_digits(jnp.zeros(80), y[0])) == pytest.approx(8 * np.log(10), rel=1e-6)


def test_things_and_their_tags():
    """Of three cars: one found, one for less than half, one missed and cut by the edge."""
    labels, found = np.zeros((1, 12, 12), int), np.zeros((1, 12, 12), int)
    labels[0, 1:3, 1:3] = found[0, 1:3, 1:3] = 1
    labels[0, 5:10, 4:8] = 1
    found[0, 5:10, 4] = 1
    labels[0, 11, 11] = 1
    wrong, tags = error_analysis.things(found, labels, ("road", "car"), ["car"])
    assert wrong.tolist() == [False, True, True]
    assert {name: column.tolist() for name, column in tags.items()} == {
        "car": [True] * 3, "below 16 px": [True, False, True], "16 to 63 px": [False, True, False],
        "cut by the edge": [False, False, True]}


def test_parts_by_speaker_and_noise_of_a_known_level():
    heard = spoken.load("made", None, 0, most=6)
    parts = mismatch.parts_of(mismatch.Knobs(), heard, 2)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(360))
    assert set(heard.speaker[parts["train"]]) == set(heard.speaker[parts["train-dev"]]) == {0, 1, 3, 4, 5}
    assert set(heard.speaker[parts["dev"]]) == set(heard.speaker[parts["test"]]) == {2}
    noise = mismatch.backgrounds(3, 4000, 0)
    np.testing.assert_allclose(np.mean(noise**2, 1), 1, rtol=1e-5)
    assert np.abs(np.corrcoef(noise) - np.eye(3)).max() < 0.2
    sound = np.random.default_rng(0).normal(size=(3, 4000)).astype(np.float32) * 0.1
    ratio = np.mean(sound**2, 1) / np.mean((mismatch.mixed(sound, noise, 6.0) - sound) ** 2, 1)
    np.testing.assert_allclose(10 * np.log10(ratio), 6, atol=1e-3)


def test_recordings_are_centred_and_cut():
    x = spoken.padded([np.ones(3, np.float32), np.arange(9, dtype=np.float32)], frames=5)
    assert x.tolist() == [[0, 1, 1, 1, 0], [2, 3, 4, 5, 6]]


def test_a_masked_label_counts_nowhere():
    z, labels = jnp.array([0.3, -1.0, 2.0]), jnp.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    expected = (binary_cross_entropy(z[0], 1.0) + binary_cross_entropy(z[2], 0.0)) / 3
    assert float(multi_task.loss(z, labels)) == pytest.approx(float(expected), rel=1e-6)
    assert jax.grad(multi_task.loss)(z, labels)[1] == 0


def test_labels_of_the_target_are_even_over_the_classes():
    y = np.random.default_rng(0).integers(10, size=500)
    chosen = transfer.of_each_class(y, 40, 1)
    assert len(set(chosen)) == 40 and np.bincount(y[chosen]).tolist() == [4] * 10


def test_strings_are_cut_where_they_are_quiet():
    heard = spoken.load("made", None, 0, most=4)
    knobs = end_to_end.Knobs(gap=(0.15, 0.2), noise=0.001)
    short = np.array([len(sound) <= end_to_end.LONGEST for sound in heard.samples])
    made = end_to_end.strings(knobs, heard, np.flatnonzero(short), 4, 0)
    for sound, places in zip(made.sound, made.places, strict=True):
        found = end_to_end.cut(sound, knobs.noise)
        assert len(found) == 3 and np.abs(found - places).max() < 0.1 * spoken.RATE
    assert end_to_end.cut(np.zeros(8000, np.float32), 0.001).shape == (0, 2)
    assert end_to_end.read_pieces(None, None, None, made.sound[:1], [np.zeros((0, 2), int)]) == [[]]
    found = end_to_end.measured([[1, 2, 3], [1, 2]], np.array([[1, 2, 3], [1, 2, 4]]))
    assert (found["strings"], found["digits"]) == (0.5, pytest.approx(1 / 6))


@pytest.mark.parametrize(("first", "second", "size"), [
    ([0.5, 0.4, 0.4], [0.8, 0.6, 0.2], 200.0), ([0.5, 0.4, 0.4], [0.8, 0.6, 0.5], None),
    ([0.5, 0.4, 0.4], [0.4, 0.3, 0.2], None)])
def test_where_two_curves_cross(first, second, size):
    """Half-way between 100 and 400 on a logarithmic scale is 200; curves that do not cross have no such place."""
    found = end_to_end.where_they_cross((25, 100, 400), first, second)
    assert found == (size if size is None else pytest.approx(size))


@pytest.mark.skipif(course.data_directory() is None, reason="the course's data are not here: set JAXNN_DATA")
def test_the_spoken_digits_themselves():
    heard = spoken.load("auto", None, 0, most=2)
    assert heard.name == "fsdd" and len(heard.samples) == len(heard.y) == 6 * 10 * 2 and set(heard.number) == {0, 1}
