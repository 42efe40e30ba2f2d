"""What an experiment's card says beyond its record: the course, the data by the `data` of the record, and the published
figures beside which ours stand.

An experiment that is not in FACTS has a card all the same, without these.
"""

from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["FACTS", "Facts", "Figure"]


class Figure(NamedTuple):
    """One measure of a record beside a published one.

    path: keys and places in metrics.json, by dots: "costs.cost.0"; a key that has a dot itself is not reached.
    published: the number, or None where nothing is published.
    source: who published it.
    unit: "%" for a fraction, "error %" for an accuracy of which the error is published, else a word behind the number.
    only: the values of the record's own `data` with which it can be compared; () for all.
    """

    name: str
    path: str
    published: float | None
    source: str = "the course"
    unit: str = ""
    only: tuple[str, ...] = ()


class Facts(NamedTuple):
    """course: 1 to 5. data: which of DATA_SETS each value of the record's `data` is, "" where the record has none.
    substitutes: those values that stand in place of data that the course has. knob: the one that chooses the data."""

    course: int
    data: Mapping[str, str]
    figures: tuple[Figure, ...] = ()
    substitutes: tuple[str, ...] = ()
    knob: str = "data"


def accuracies(train: float | None, test: float | None, only: str, prefix: str = "", name: str = "",
               source: str = "the course") -> tuple[Figure, ...]:
    """The accuracies of two parts."""
    return tuple(Figure(f"{name}{part} accuracy", f"{prefix}{part}_accuracy", value, source, "%",
                        (only,) if only else ())
                 for part, value in (("train", train), ("test", test)) if value is not None)


CAT = {"cat": "cat", "breast-cancer": "breast-cancer"}
DIGITS = {"digits": "digits", "usps": "usps", "signs": "signs"}
USPS = {"usps": "usps", "digits": "digits"}
FSDD = {"fsdd": "fsdd", "digits": "digits"}
WORDS = {"": "gcide"}
METHENY = ("Metheny, edition 2018", "Metheny, edition 2021")

FACTS: dict[str, Facts] = {
    # Course 1.
    "digits": Facts(1, {"": "digits"}, (Figure("test accuracy", "test_accuracy", None, unit="%"),)),
    "logistic-regression": Facts(1, CAT, (
        Figure("cost at first", "costs.cost.0", 0.693147, unit="nats", only=("cat",)),
        *accuracies(0.9904306, 0.70, "cat"),
        Figure("test accuracy at rate 0.01", "sweep.0.test_accuracy", 0.68, unit="%", only=("cat",)),
        Figure("test accuracy at rate 0.001", "sweep.1.test_accuracy", 0.64, unit="%", only=("cat",)),
        Figure("test accuracy at rate 0.0001", "sweep.2.test_accuracy", 0.36, unit="%", only=("cat",))),
        ("breast-cancer",)),
    "planar": Facts(1, {"": "flower"}, (
        Figure("cost at first", "costs.cost.0", 0.693048, unit="nats"),
        Figure("cost at last", "costs.cost.-1", 0.218562, unit="nats"),
        Figure("train accuracy, 4 units", "train_accuracy", 0.9075, unit="%"),
        Figure("logistic regression", "logistic_regression.flower.train_accuracy", 0.47, unit="%"))),
    "deep-network": Facts(1, CAT, (
        Figure("two layers, cost at first", "costs.two-layer.cost.0", 0.693050, unit="nats", only=("cat",)),
        *accuracies(1.0, 0.72, "cat", "two_layer_", "two layers, "),
        Figure("four layers, cost at first", "costs.L-layer.cost.0", 0.771749, unit="nats", only=("cat",)),
        *accuracies(0.9856459, 0.80, "cat", name="four layers, ")), ("breast-cancer",)),
    "vectorization": Facts(1, {"": "random"}, (
        Figure("largest disagreement of the ways", "largest_disagreement", None),)),
    # Course 2.
    "initialization": Facts(2, {"": "circles"}, (
        *accuracies(0.50, 0.50, "", "starts.zeros.", "zeros, "),
        *accuracies(0.83, 0.86, "", "starts.large.", "large, "),
        *accuracies(0.9933333, 0.96, "", "starts.He.", "He, "),
        Figure("He, cost at first", "costs.He.cost.0", 0.8830537, unit="nats"))),
    "regularization": Facts(2, {"football": "football", "moons": "moons"}, (
        *accuracies(0.94787, 0.915, "football", "plain_", "plain, "),
        *accuracies(0.93839, 0.93, "football", "l2_", "L2, "),
        *accuracies(0.92891, 0.95, "football", "dropout_", "dropout, ")), ("moons",)),
    "gradient-checking": Facts(2, {"": "random"}, (
        Figure("one dimension", "course_numbers.one dimension", 2.919335883e-10),
        Figure("the planted mistakes", "course_numbers.of probabilities, mistaken", 0.2850931567761623),
        Figure("after their repair", "course_numbers.of probabilities, right", 1.19e-7),
        Figure("mistakes that compare_gradients misses", "missed.compare_gradients", None, unit="of 21"))),
    "optimizers": Facts(2, {"": "moons"}, tuple(
        Figure(f"{name}, train accuracy", f"fixed.{name}.train_accuracy", value, unit="%")
        for name, value in (("gradient descent", 0.797), ("momentum", 0.797), ("Adam", 0.94)))),
    "batch-norm": Facts(2, {"": "digits"}, (
        Figure("held-out error with batch norm", "with batch norm.held_out_error", None, unit="%"),
        Figure("held-out error without", "without batch norm.held_out_error", None, unit="%"))),
    "softmax-signs": Facts(2, {"signs": "signs", "digits": "digits"}, accuracies(0.999074, 0.716667, "signs"),
                           ("digits",)),
    "hyperparameters": Facts(2, {"": "digits"}, (Figure("dev error", "dev_error", None, unit="%"),
                                                 Figure("test error", "test_error", None, unit="%"))),
    "bias-variance": Facts(2, {"": "digits"}, (Figure("train accuracy", "train_accuracy", None, unit="%"),
                                               Figure("dev accuracy", "dev_accuracy", None, unit="%"))),
    # Course 3.
    "case-studies": Facts(3, {"": "digits and camvid"}),
    "metric": Facts(3, USPS, (
        Figure("test error within 0.05 ms", "choices.0.test_error", None, unit="%", only=("usps",)),
        Figure("test error within 0.1 ms", "choices.1.test_error", None, unit="%", only=("usps",))), ("digits",)),
    "human-level": Facts(3, USPS, (
        Figure("test error; people", "test_error", 0.0237, "as reported of people", "%", ("usps",)),),
        ("digits",)),
    "error-analysis": Facts(3, FSDD, (), ("digits",)),
    "mislabelled": Facts(3, USPS, tuple(
        Figure(f"wrong labels found, {kind}", f"{kind}.found_by.gradient norm.precision_at_k", None, unit="%",
               only=("usps",)) for kind in ("uniform", "look-alikes")), ("digits",)),
    "mismatch": Facts(3, FSDD, (
        Figure("over backgrounds that training had not; one background", "noise.one background.gap.error", None,
               unit="%", only=("fsdd",)),), ("digits",)),
    "transfer": Facts(3, USPS, (), ("digits",)),
    "multi-task": Facts(3, {"": "scenes", "camvid": "camvid"}, (), ("digits",)),
    "end-to-end": Facts(3, FSDD, (
        Figure("strings of training where both are as good", "crossing", None, unit="strings", only=("fsdd",)),),
        ("digits",)),
    # Course 4.
    "convolution-step-by-step": Facts(4, {"": "random"}, (
        Figure("largest difference from the loops", "largest_difference", None),)),
    "convnet": Facts(4, DIGITS, (
        *accuracies(0.940741, 0.783333, "signs"),
        Figure("test error; the network of 1989", "test_accuracy", 0.050, "LeCun et al. (1989)", "error %", ("usps",)),
        Figure("test accuracy", "test_accuracy", None, unit="%", only=("digits",))), ("digits",)),
    "signs-resnet": Facts(4, DIGITS, accuracies(None, 0.95, "signs"), ("digits",)),
    "degradation": Facts(4, DIGITS),
    "architectures": Facts(4, DIGITS),
    "transfer-learning": Facts(4, {"digits": "digits", "alpacas": "alpacas"}, (
        Figure("linear probe, test accuracy", "test_accuracy.linear probe.0", 0.7538, unit="%", only=("alpacas",)),
        Figure("fine-tuned, test accuracy", "test_accuracy.fine-tuned.0", 0.9385, unit="%", only=("alpacas",)),
        Figure("from scratch, test accuracy", "test_accuracy.from scratch.0", None, unit="%", only=("alpacas",))),
        ("digits",)),
    "segmentation": Facts(4, {"digits": "scenes", "camvid": "camvid"}, (
        Figure("pixel accuracy (the course: of CARLA's training frames)", "test_pixel_accuracy", 0.9752, unit="%",
               only=("camvid",)),
        Figure("mean IoU", "test_mean_iou", None, unit="%")), ("digits", "camvid")),
    "happy-house": Facts(4, {"digits": "digits", "happy": "happy", "happy-test": "happy-test"}, (
        Figure("folds at random (the course: its own split)", "ways.folds at random.test_accuracy", 0.9333, unit="%",
               only=("happy-test",)),
        Figure("similar pictures in one fold", "ways.doubles in one fold.test_accuracy", None, unit="%",
               only=("happy-test",)),
        Figure("test accuracy", "test_accuracy", None, unit="%", only=("digits", "happy"))), ("digits",)),
    "detect-cars": Facts(4, {"": "drive.ai"}, (
        Figure("boxes found of those that the course prints", "found_of_7", 7, unit="boxes"),
        Figure("least overlap with them", "least_iou", None, unit="IoU"))),
    "train-detector": Facts(4, {"digits": "scenes", "raccoons": "raccoons", "camvid": "camvid"}, (
        Figure("average precision at an IoU of .5", "test_ap50", None, unit="%"),)),
    "face-verification": Facts(4, {"olivetti": "olivetti", "digits": "digits"}, (
        Figure("camera_0 to younes", "course.distances.camera_0-younes", 0.65939283, only=("olivetti",)),
        Figure("camera_2 to kian", "course.distances.camera_2-kian", 0.86224014, only=("olivetti",)),
        Figure("OpenFace, area under the ROC", "OpenFace.area", None, only=("olivetti",)),
        Figure("trained here, area under the ROC", "trained_here.area", None)), ("digits",)),
    "face-recognition": Facts(4, {"olivetti": "olivetti", "digits": "digits"}, (
        Figure("OpenFace, 40 people by one picture", "OpenFace.one_shot_everyone", None, unit="%", only=("olivetti",)),
        Figure("trained here, ten people never met", "trained_here.one_shot_test", None, unit="%")), ("digits",)),
    "style-transfer": Facts(4, {"": "pictures", "louvre_small": "pictures", "sample": "drawing"}, (
        Figure("the style cost falls, in the style of Monet", "paintings.monet.style_cost_falls", None, unit="fold"),),
        ("sample",), "content"),
    # Course 5.
    "recurrent-by-hand": Facts(5, {"": "random"}, (
        Figure("largest difference from the course's steps", "largest_difference", None),)),
    "dinosaurus": Facts(5, {"course": "dinosaurs", "known": "names"}, tuple(
        Figure(f"cost at {2000 * i}", f"losses.{i}", value, unit="nats", only=("course",))
        for i, value in enumerate((23.087336, 27.884160, 25.901815, 24.608779, 24.070350, 23.844446))), ("known",)),
    "long-memory": Facts(5, {"": "synthetic"}),
    "shakespeare": Facts(5, {"course": "sonnets", "four": "four sonnets"}, (
        Figure("LSTM, test", "networks.LSTM.test_bits", None, unit="bits per character"),
        Figure("transformer, test", "networks.transformer.test_bits", None, unit="bits per character"),
        Figure("the course's released LSTM, test", "released_bits", None, unit="bits per character", only=("course",))),
        ("four",)),
    "jazz": Facts(5, {"": "tune", **dict.fromkeys(METHENY, "metheny")}, (
        Figure("parameters, edition of 2018", "parameters", 41678, only=METHENY[:1]),
        Figure("parameters, edition of 2021", "parameters", 45530, only=METHENY[1:]),
        Figure("cost at first", "first_cost", 125.8, unit="nats", only=METHENY[:1]),
        Figure("cost at first, edition of 2021", "first_cost", 129.9, unit="nats", only=METHENY[1:]),
        Figure("cost at last", "last_cost", 6.2, unit="nats", only=METHENY[:1]),
        Figure("cost at last, edition of 2021", "last_cost", 9.2, unit="nats", only=METHENY[1:]))),
    "chorales": Facts(5, {"": "tune", "chorales": "jsb", "nottingham": "nottingham"}, (
        Figure("negative log-likelihood of a frame", "test_nats_per_frame", 8.45, "LSTM, Bai, Kolter & Koltun (2018)",
               "nats", ("chorales",)),
        Figure("negative log-likelihood of a frame", "test_nats_per_frame", None, unit="nats", only=("nottingham",)))),
    "word2vec": Facts(5, WORDS, (
        Figure("WordSim-353, rank correlation", "spearman.WordSim-353", 0.666, "gensim, measured", only=("",)),
        Figure("SimLex-999, rank correlation", "spearman.SimLex-999", 0.343, "gensim, measured", only=("",)))),
    "glove": Facts(5, WORDS),
    "debias": Facts(5, {"": "glove"}, (
        Figure("professions told apart, before", "before.recovered_professions", None, unit="%"),
        Figure("professions told apart, after", "after.recovered_professions", None, unit="%"))),
    "emojify": Facts(5, {"": "emojify"}, (
        Figure("test accuracy (the course: with all of GloVe)", "averaged vectors.test_accuracy", 0.857, unit="%"),)),
    "sentiment": Facts(5, {"": "sst2"}, tuple(
        Figure(f"{name}, mean logits of its trials", f"networks.{name}.test_vote", None, unit="%")
        for name in ("averaged", "LSTM", "convolution"))),
    "translate-dates": Facts(5, {"formats": "dates", "course": "course dates"}, (
        Figure("dates as the course prints them, by its weights", "released.as_printed", 8, unit="of 8"),
        Figure("LSTM with attention, exact", "networks.LSTM with attention.exact", None, unit="%"),
        Figure("transformer, exact", "networks.transformer.exact", None, unit="%"))),
    "trigger-word": Facts(5, {"": "synthetic", "recordings": "trigger"}, (
        Figure("parameters, without 904 running statistics", "parameters", 522561 - 904),
        Figure("steps right, dev clips", "scores.dev clips.steps_right", 0.9239, unit="%", only=("recordings",)))),
    "spoken-digits": Facts(5, {"": "synthetic", "recordings": "fsdd"}, (
        Figure("test accuracy", "test_accuracy", None, unit="%"),)),
    "digit-strings": Facts(5, {"": "synthetic", "recordings": "fsdd"}, (
        Figure("digits wrong", "word_error_rate", None, unit="%"),)),
    "prompts": Facts(5, {"": "synthetic", "recordings": "prompts"}, (
        Figure("characters wrong, beam", "test.beam.character_error_rate", None, unit="%"),)),
    "babi": Facts(5, {"": "synthetic", "babi": "babi"}, (
        Figure("test accuracy", "test_accuracy", 0.962, "Sukhbaatar et al. (2015)", "%", ("babi",)),)),
    "intents": Facts(5, {"": "synthetic", "snips": "snips"}, (
        Figure("intents", "intent_accuracy", 0.970, "Goo et al. (2018)", "%", ("snips",)),
        Figure("slot F1", "slot_f1", 0.888, "Goo et al. (2018)", "", ("snips",)))),
    "dialog": Facts(5, {"": "synthetic", "babi": "dialogs"}, (
        Figure("responses right, mean of the tasks", "test_responses", None, unit="%", only=("babi",)),)),
}
