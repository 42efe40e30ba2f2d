"""Course 5, week 2: each experiment on its embedded data for a few steps; the sentence networks by their laws."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.course5 import debias, emojify, sentiment, tiny_words
from experiments.course5.sentence_networks import NETWORKS, SentenceNetwork, marks
from jaxnn import InputError
from jaxnn.data import GenderWords
from jaxnn.words import WordVectors, encode_corpus, read_word_vectors
from tests.experiments.test_runs import assert_picture

TINY = {
    "word2vec": (["--epochs", "2", "--n-dim", "8", "--vocabularies", "200", "400", "--rounds", "1", "--batch-size",
                  "4"],
                 {"training", "similarity", "projection"}),
    "glove": (["--epochs", "2", "--n-dim", "8", "--window", "4"], {"training", "projection"}),
    "debias": (["--biased", "20"], {"bias", "professions"}),
    "emojify": (["--iterations", "20", "--epochs", "1", "--hidden", "4", "--trials", "1"], {"accuracy", "confusion"}),
    "sentiment": (["--epochs", "1", "--trials", "1", "--n-dim", "8", "--n-hidden", "4", "--networks", "averaged",
                   "convolution"], {"accuracy", "marked_words"}),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.exhaustive)
                                  if name in ("word2vec", "emojify", "sentiment") else name for name in TINY])
def test_a_short_run_measures_and_draws(tmp_path, name):
    options, pictures = TINY[name]
    assert main(["run", name, *options, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert {path.stem for path in tmp_path.glob("*.png")} == pictures
    for picture in tmp_path.glob("*.png"):
        assert_picture(picture)
    if name == "word2vec":
        assert len(read_word_vectors(tmp_path / "vectors.txt", "word2vec")) == record["vocabulary"]
        assert record["pairs"]["made by rules"] == [70, 70] and len(record["by_epoch"]["made by rules"]) == 2
    if name == "debias":
        assert record["after"]["largest_cosine_of_a_neutral_word"] < 1e-5
        assert record["before"]["recovered_professions"] > 0.9


def test_vectors_that_know_too_few_professions_are_refused(tmp_path, monkeypatch):
    """With two of them each would be on both sides, and a classifier right by chance."""
    words = ("she", "he", "woman", "man", "nurse", "miner", "stone", "water", "tree", "wall")
    vectors = WordVectors(words, np.random.default_rng(0).standard_normal((10, 4)))
    task = debias.Task(vectors, GenderWords((("she", "he"), ("woman", "man")), (), (),
                                            (("nurse", 0.0, -1.0), ("miner", 0.0, 1.0))), {})
    monkeypatch.setattr(debias, "read", lambda *_: task)
    with pytest.raises(InputError, match=r"and four professions; got vectors of 6 words .*, and of 2 professions"):
        debias.run(debias.Knobs(), tmp_path, None)


def test_the_corpus_made_by_rules():
    texts = tiny_words.sentences(3000, 1)
    assert texts == tiny_words.sentences(3000, 1) != tiny_words.sentences(3000, 2)
    words = set(encode_corpus(texts, min_count=1).words)
    assert {w for kind in tiny_words.KINDS.values() for w in kind} <= words
    assert {w for pair in tiny_words.GENDER_PAIRS for w in pair} <= words
    assert all({a, b, c, d} <= words and len({a, b, c, d}) == 4
               for section in tiny_words.analogies().values() for a, b, c, d in section)
    assert all({a, b} <= words for a, b, _ in tiny_words.rated_pairs())


@pytest.mark.parametrize("kind", NETWORKS)
def test_what_stands_behind_a_sentence_changes_nothing_and_its_marks_are_its_slopes(kind):
    net = SentenceNetwork(kind, 9, 2, n_dim=4, n_hidden=3)
    params, state = net.init(jax.random.key(0), ((7,), ()))
    params["head"]["bias"] = jnp.array([0.3, -0.2])
    ids = jnp.array([3, 1, 4, 2, 0, 0, 0])
    run = jax.jit(lambda ids, length: net(params, state, (ids, length))[0])
    z = run(ids, 4)
    np.testing.assert_array_equal(z, run(ids.at[4:].set(8), 4))
    assert np.abs(z - run(ids, 3)).max() > 1e-4
    found = jax.jit(lambda ids, length: marks(net, params, ids, length, (0, 1)))(ids, 4)
    np.testing.assert_array_equal(found[4:], 0)
    if kind == "averaged":
        assert float(found.sum()) - 0.5 == pytest.approx(float(z[1] - z[0]), abs=1e-5)
    rows = params["embedding"]["table"][ids]

    def difference(scale):
        z = net.of_rows(params, rows * scale[:, None], 4)
        return z[1] - z[0]

    slopes = jax.jit(jax.jacfwd(difference))(jnp.ones(7))
    np.testing.assert_allclose(found, slopes, atol=1e-5)
    with pytest.raises(InputError, match="kind, one of averaged, lstm, convolution"):
        SentenceNetwork("transformer", 9, 2)


def test_words_as_the_treebank_writes_them():
    assert sentiment.words("I don't like it -- at all!") == ["i", "do", "n't", "like", "it", "at", "all"]
    with pytest.raises(InputError, match="sentences of at least one word; got ''"):
        sentiment.read_sentence(None, None, None, [])
    reviews = sentiment.made(200, 0)
    for text, label in zip(reviews.texts, reviews.y):
        good = any(word in text for word in sentiment.ADJECTIVES[1])
        assert label == good ^ (" not " in text or text.startswith("a not "))


def test_sentences_of_unknown_words():
    vectors = WordVectors(["good", "day"], np.array([[1.0, 2.0], [3.0, 4.0]]))
    np.testing.assert_array_equal(emojify.sentence_to_avg("Good DAY sir", vectors), [2, 3])
    np.testing.assert_array_equal(emojify.sentence_to_avg("no word", vectors), [0, 0])
    np.testing.assert_array_equal(emojify.sentence_to_avg("", vectors), [0, 0])
    with pytest.raises(InputError, match="at most 1 words; got 2: 'good day'"):
        emojify.sentences_to_indices(["good day"], {"good": 1, "day": 2}, 1)
