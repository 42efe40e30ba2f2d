"""Intents and slots: sentences as arrays, both networks, the whole in short."""

import json

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.course5.intents import experiment
from experiments.course5.intents.experiment import Answers, cost_of, slot_scores
from experiments.course5.intents.network import KINDS, SentenceReader, loss
from experiments.course5.intents.sentences import BucketedBatches, Encoding, Sentences, embedded_utterances
from jaxnn.checks import InputError
from jaxnn.data import Snips, Utterance
from jaxnn.metrics import confusion_matrix
from jaxnn.text import chunks_of

TRAIN = [Utterance(["play", "blue", "moon"], ["O", "B-track", "I-track"], "Play"),
         Utterance(["play", "bach"], ["O", "B-artist"], "Play"),
         Utterance(["will", "it", "rain", "in", "paris", "tomorrow", "my", "dear", "old", "friend", "of", "mine"],
                   ["O"] * 4 + ["B-city", "B-time"] + ["O"] * 6, "Weather")]


def test_sentences_as_arrays():
    encoding = Encoding.of(TRAIN)
    assert encoding.tags == ["B-artist", "B-city", "B-time", "B-track", "I-track", "O"]
    x = encoding.read([["play", "playing", "moons"], ["zzz"]])
    assert x["lengths"].tolist() == [3, 1]
    unknown = encoding.words.id_of("<unknown>")
    assert x["words"][0].tolist() == [encoding.words.id_of("play"), unknown, unknown]
    assert x["prefixes"][0].tolist() == [encoding.prefixes.id_of(p) for p in ("pla", "pla", "moo")]
    assert x["suffixes"][0].tolist() == [encoding.suffixes.id_of("lay"), unknown, unknown]
    assert encoding.counts[encoding.words.id_of("play")] == 2 and encoding.counts[encoding.words.id_of("moon")] == 1
    sentences = Sentences.of(encoding, TRAIN)
    assert [encoding.tags[n] for n in sentences.tags[0][:3]] == TRAIN[0].slots
    assert [encoding.intents[n] for n in sentences.intents] == ["Play", "Play", "Weather"]


def test_each_sentence_once_in_an_epoch_and_the_same_at_each_call():
    data = embedded_utterances(80).train
    batches = BucketedBatches(Encoding.of(data), data, 8, 0.5, seed=3)
    rows = np.concatenate([rows[:] for _, rows in batches._order(0)])
    assert set(rows.tolist()) == set(range(len(data)))
    for step in (0, batches.per_epoch + 1):
        (x, labels), (again, labels_again) = batches(step), batches(step)
        jax.tree.map(np.testing.assert_array_equal, (x, labels), (again, labels_again))
        assert x["words"].shape == labels[0].shape and (labels[1].sum(axis=1) == x["lengths"]).all()
    assert not np.array_equal(batches._order(0)[0][1], batches._order(1)[0][1])


def test_rare_words_are_left_unread_more_often():
    words = [f"rare{n}" for n in range(200)]
    data = [Utterance(["play", word], ["O", "O"], "Play") for word in words]
    encoding = Encoding.of(data)
    x, _ = BucketedBatches(encoding, data, 200, 1.0, seed=0)(0)
    unknown = encoding.words.id_of("<unknown>")
    assert 0.35 < (x["words"][:, 1] == unknown).mean() < 0.65, "1 / (1 + 1)"
    assert (x["words"][:, 0] == unknown).mean() < 0.05, "1 / (1 + 200)"
    assert (BucketedBatches(encoding, data, 200, 0.0, seed=0)(0)[0]["words"] != unknown).all()


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_behind_a_sentence_changes_nothing(kind):
    net = SentenceReader(kind, 9, 5, 5, 4, 3, 4, 4, 2, 1, 0.3)
    shape = {"words": (6,), "prefixes": (6,), "suffixes": (6,), "lengths": ()}
    params, state = net.init(jax.random.key(0), shape)
    rng = np.random.default_rng(0)
    x = {name: rng.integers(2, 5, 6).astype(np.int32) for name in ("words", "prefixes", "suffixes")}
    run = jax.jit(lambda x: net(params, state, x)[0])
    short = {**x, "lengths": np.int32(4)}
    other = {**{name: np.where(np.arange(6) < 4, ids, 3).astype(np.int32) for name, ids in x.items()},
             "lengths": np.int32(4)}
    a, b = run(short), run(other)
    np.testing.assert_allclose(a["tags"][:4], b["tags"][:4], atol=1e-6)
    np.testing.assert_allclose(a["intent"], b["intent"], atol=1e-6)
    assert a["tags"].shape == (6, 4) and a["intent"].shape == (3,)
    assert np.abs(a["intent"] - run({**x, "lengths": np.int32(6)})["intent"]).max() > 1e-4


def test_the_loss_is_the_mean_of_the_tags_plus_the_intent():
    rng = np.random.default_rng(0)
    tags, intent = rng.standard_normal((4, 3)).astype(np.float32), rng.standard_normal(2).astype(np.float32)
    log = lambda z: z - np.log(np.exp(z).sum(-1, keepdims=True))  # noqa: E731
    expected = -np.mean([log(tags)[0, 2], log(tags)[1, 0]]) - log(intent)[1]
    mask = np.array([1, 1, 0, 0], np.float32)
    value = loss({"tags": tags, "intent": intent}, (np.array([2, 0, 1, 1]), mask, np.int32(1)))
    assert float(value) == pytest.approx(float(expected), rel=1e-5)


def test_scores_of_a_part_of_the_sentences():
    answers = Answers(["Play"] * 3, [u.slots for u in TRAIN[:2]] + [["O"] * 12])
    assert slot_scores(answers, TRAIN).f1 == pytest.approx(4 / 6)
    assert slot_scores(answers, TRAIN, np.array([True, True, False])).f1 == 1


def test_sentences_that_need_no_file():
    data = embedded_utterances()
    assert tuple(map(len, data)) == (300, 50, 50)
    for utterance in data.train:
        assert len(utterance.words) == len(utterance.slots) and chunks_of(utterance.slots)


STRANGE = [Utterance(["sing", "bach"], ["O", "B-artist"], "Aria"), Utterance(["play", "it"], ["O", "B-it"], "Play")]


def test_labels_that_the_training_set_lacks_are_no_other_label():
    encoding = Encoding.of(TRAIN)
    assert [encoding.missing(u) for u in (*TRAIN, *STRANGE)] == [set(), set(), set(), {"Aria"}, {"B-it"}]
    with pytest.raises(InputError, match=r"expects intents and slots of the training set; got \['Aria', 'B-it'\]"):
        Sentences.of(encoding, TRAIN + STRANGE)
    assert np.isnan(cost_of(None, {}, encoding, STRANGE, 3))


def test_an_intent_that_the_training_set_lacks_counts_as_wrong(tmp_path, monkeypatch, capsys):
    """Every sentence is read as the first intent with the right slots; the picture's counts are those of the record."""
    counts = []

    def counted(*args):
        counts.append(confusion_matrix(*args))
        return counts[-1]

    monkeypatch.setattr(experiment, "load", lambda *args: ("tiny", Snips(TRAIN, TRAIN[:1] + STRANGE, TRAIN + STRANGE)))
    monkeypatch.setattr(experiment, "train", lambda *args: (None, {}, {
        "parameters": 1, "training": {"epoch": [1.0], "cost": [1.0]}, "dev": {"intents": [0, 1], "f1": [0, 1]}}))
    monkeypatch.setattr(experiment, "answer", lambda net, params, encoding, utterances, longest: Answers(
        [encoding.intents[0]] * len(utterances), [u.slots for u in utterances]))
    monkeypatch.setattr(experiment, "confusion_matrix", counted)
    record = experiment.run(experiment.Knobs(networks=("LSTM",)), tmp_path, None)
    assert record["intent_accuracy"] == 3 / 5, "Play is the first, and Aria and Weather are wrong"
    assert record["mistakes"][1] == {"words": "sing bach", "intent": "Aria", "read_as": "Play"}
    assert counts[0].tolist() == [[3, 0, 0], [1, 0, 0], [1, 0, 0]]
    printed = capsys.readouterr().out
    assert "2 dev and 2 test sentences have an intent or a slot that no training sentence has: these labels" in printed


@pytest.mark.exhaustive
def test_intents_in_short(tmp_path, capsys):
    options = ["--epochs", "1", "--width", "4", "--hidden", "4", "--heads", "2", "--blocks", "1", "--networks",
               "transformer"]
    assert main(["run", "intents", *options, "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "sentences of a few patterns in place of SNIPS:\n  c5/snips/train/seq.in was expected" in printed
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert set(record["networks"]) == {"transformer"} and 0 <= record["slot_f1"] <= 1
    assert record["pictures"] == ["confusion_transformer.png", "learning_curves.png", "slots.png"]
