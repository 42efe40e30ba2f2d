"""Each experiment on the embedded data, for a few steps: its measures and its pictures are there."""

import contextlib
import io
import json
import struct

import pytest

from experiments.__main__ import main

TINY = {
    "logistic-regression": (["--data", "breast-cancer", "--iterations", "101", "--sweep-iterations", "3"],
                            {"train_accuracy", "test_accuracy"}, {"cost", "weights"}),
    "planar": (["--iterations", "3", "--sweep-iterations", "3", "--sweep", "1", "4",
                "--sets", "flower", "blobs"],
               {"train_accuracy", "test_accuracy"},
               {"cost", "boundary_by_hidden_size", "boundary_by_activation", "accuracy"}),
    "deep-network": (["--data", "breast-cancer", "--iterations", "101"],
                     {"train_accuracy", "test_accuracy", "two_layer_train_accuracy",
                      "two_layer_test_accuracy"},
                     {"cost"}),
    "convolution-step-by-step": (["--examples", "2", "--size", "5", "--channels", "1"], {"largest_difference"},
                                 {"edges"}),
    "transfer-learning": (["--parts", "16", "--epochs", "1", "--scratch-epochs", "1", "--folds", "2"], set(),
                          {"accuracy", "test_pictures"}),
    "signs-resnet": (["--epochs", "1", "--channels", "2", "4"], {"train_accuracy", "dev_accuracy", "test_accuracy"},
                     {"learning_curve", "confusion_matrix", "largest_losses"}),
    "degradation": (["--steps", "2", "--depths", "8", "--channels", "2"], set(), {"depth"}),
    "architectures": (["--networks", "LeNet-5", "--seconds", "0.1"], set(), {"accuracy_and_time"}),
    "convnet": (["--epochs", "2", "--channels", "2", "3", "--hidden", "8"],
                {"train_accuracy", "dev_accuracy", "test_accuracy"},
                {"learning_curve", "confusion_matrix", "largest_losses", "filters", "activations", "attention"}),
    "segmentation": (["--epochs", "1", "--width", "2", "--depth", "1"],
                     {"dev_mean_iou", "test_mean_iou", "test_pixel_accuracy", "test_mean_iou_without_a_look"},
                     {"learning_curve", "iou_per_class", "confusion_matrix", "overlays"}),
    "train-detector": (["--epochs", "1", "--width", "2", "--halvings", "3", "--anchors", "1"],
                       {"test_ap50", "test_ap", "train_ap50", "test_ap50_without_a_look"},
                       {"learning_curve", "over_time", "predictions", "precision_recall", "hardest"}),
    "happy-house": (["--data", "digits", "--epochs", "1"], {"test_accuracy"},
                    {"learning_curve", "accuracy", "largest_losses", "doubles", "attention"}),
    "face-verification": (["--data", "digits", "--steps", "4", "--every", "2"], set(),
                          {"roc", "distances", "hardest_triplets", "training"}),
    "face-recognition": (["--data", "digits", "--steps", "4", "--every", "2"], set(),
                         {"map", "neighbours", "training"}),
    "style-transfer": (["--content", "sample", "--styles", "sample-style", "--network", "random", "--height", "200",
                        "--width", "240", "--steps", "3", "--every", "1", "--levels", "2"], set(),
                       {"painting_sample-style", "paintings", "costs", "frames"}),
    "vectorization": (["--examples", "3", "--rounds", "1"], set(), {"times"}),
}


# One runs each time, the others with --exhaustive: each compiles programs of its own.
@pytest.mark.parametrize("name", [name if name == "deep-network" else pytest.param(name, marks=pytest.mark.exhaustive)
                                  for name in TINY])
def test_a_short_run_measures_and_draws(tmp_path, capsys, name):
    options, measures, pictures = TINY[name]
    assert main(["run", name, *options, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "metrics.json").read_text())
    for measure in measures:
        assert 0 <= record[measure] <= 1
    assert {path.stem for path in tmp_path.glob("*.png")} == pictures
    for picture in tmp_path.glob("*.png"):
        assert_picture(picture)


def assert_picture(path):
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert min(width, height) >= 200
    assert len(data) > 5000, "more than an empty frame"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Runs a quarter-sized network for a few epochs: (directory, what was printed)."""

    def run():
        out, printed = tmp_path_factory.mktemp("digits"), io.StringIO()
        with contextlib.redirect_stdout(printed):
            assert main(["run", "digits", "--epochs", "12", "--hidden", "64", "32", "--out", str(out)]) == 0
        return json.loads((out / "metrics.json").read_text()), out, printed.getvalue()

    return run(), run()


@pytest.mark.exhaustive
def test_digits_reads_digits(digits):
    (record, out, _), _ = digits
    for measure in ("train_accuracy", "dev_accuracy", "test_accuracy"):
        assert 0.8 < record[measure] <= 1, "chance is 0.1; the docstring has the full run"
    assert {path.stem for path in out.glob("*.png")} == {"learning_curve", "confusion_matrix", "largest_losses"}
    for picture in out.glob("*.png"):
        assert_picture(picture)


@pytest.mark.exhaustive
def test_digits_compares_its_gradient(digits):
    (record, _, printed), _ = digits
    assert "1438 training, 180 dev and 179 test images; 270 steps of 64 images" in printed
    assert "right: equal to the reference's gradient" in printed
    assert record["gradients_equal"] is True


@pytest.mark.exhaustive
def test_the_same_seed_gives_the_same_run(digits):
    (a, *_), (b, *_) = digits
    assert (a["costs"], a["dev_errors"]) == (b["costs"], b["dev_errors"])


def test_without_the_photographs_the_embedded_table_is_taken_and_it_is_said_why(tmp_path, capsys):
    main(["run", "logistic-regression", "--iterations", "2", "--sweep-iterations", "2",
          "--data-dir", str(tmp_path), "--out", str(tmp_path)])
    message = capsys.readouterr().out
    assert message.startswith("breast cancer in place of the cat photographs:\n  c1/train_catvnoncat.h5")
    assert json.loads((tmp_path / "metrics.json").read_text())["data"] == "breast-cancer"
