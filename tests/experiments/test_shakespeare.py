"""Course 5, week 1: texts in parts, what counting predicts, the clock of equal time, the experiment in short."""

import math

import jax
import numpy as np
import pytest

from experiments.course5 import released_sonnets, shakespeare
from experiments.course5.sonnets import FOUR, as_text, batches, counting_bits, load_sonnets
from jaxnn import LSTM
from jaxnn.data import BadFile, MissingData
from jaxnn.models import character_model
from tests import course


def test_a_text_in_parts():
    text = as_text(FOUR, least=100)
    assert text.vocabulary.decode(np.concatenate([text.train, text.dev, text.test])) == FOUR
    assert abs(len(text.train) - 8 * len(text.dev)) < 20 and abs(len(text.dev) - len(text.test)) <= 1
    lines = FOUR.splitlines()
    assert len(lines) == 4 * 14 + 3 and all(line == line.strip() and line.isascii() for line in lines)


def test_windows():
    ids = np.arange(50)
    drawn = batches(ids, 7, 30, seed=0)
    firsts = set()
    for x, y in (next(drawn) for _ in range(20)):
        assert x.shape == y.shape == (30, 7)
        np.testing.assert_array_equal(x + 1, y)
        np.testing.assert_array_equal(np.diff(x), 1)
        firsts |= set(x[:, 0].tolist())
    assert firsts == set(range(43))  # the last window's last label is the last character


def test_counting():
    train = np.array([0, 1, 0, 1, 0, 2])
    # Of the characters alone: three 0, two 1, one 2; three kinds, four in the vocabulary.
    for character, n in enumerate((3, 2, 1, 0)):
        want = -math.log2((n + 3 / 4) / (6 + 3))
        assert math.isclose(counting_bits(train, np.array([character]), 0, 4), want)
    # Behind 2 nothing came; behind 0 came 1 twice and 2 once.
    p_0 = (2 + 3 / 4) / 9
    assert math.isclose(counting_bits(train[:-1], np.array([1]), 1, 4), -math.log2((2 + 1 * ((2 + 2 / 4) / 7)) / 3))
    assert math.isclose(counting_bits(train, np.array([1]), 1, 4), -math.log2(p_0))
    rng = np.random.default_rng(0)
    long = rng.integers(0, 4, 300)
    for order in (0, 1, 3):
        total = sum(2 ** -counting_bits(long, np.array([c]), order, 4) for c in range(4))
        assert math.isclose(total, 1, rel_tol=1e-12)


def test_a_stop_of_the_machine_does_not_count():
    assert shakespeare.counted([0.1]) == 0.1
    assert shakespeare.counted([0.1, 0.1, 0.25]) == 0.25
    assert shakespeare.counted([0.1, 0.1, 0.1, 30.0]) == 0.1


def small(knobs, symbols):
    net = character_model(symbols, LSTM(3), n_embedding=2)
    return [("LSTM", net, 0.01, lambda params: (lambda carry, token: net.step(params, carry, token),
                                                net.start(params)))]


KNOBS = shakespeare.Knobs(seconds=0.001, window=8, batch_size=2, temperatures=(0.5, 1.0), samples=2)


def test_bits_of_held_out_text():
    """Each character once, from the half window before it at least."""
    text = as_text(FOUR[:500], least=8)
    training = shakespeare.Training(KNOBS, text, *small(KNOBS, text.vocabulary.size)[0])
    params, half = training.state.params, 4
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    known = np.concatenate([text.train, text.dev])
    logits = jax.jit(lambda x: training.net(params, {}, x)[0])
    total, at = 0.0, len(text.train)
    while at < len(known):
        # A window ends with the four characters that it predicts, and the last one earlier.
        first = at - half - 1
        log_p = jax.nn.log_softmax(logits(np.concatenate([known[first:first + 8], np.zeros(8, int)])[:8]))
        for place in range(half, 8):
            if first + place + 1 < len(known):
                total -= float(log_p[place, known[first + place + 1]])
        at += half
    want = total / len(text.dev) / math.log(2)
    assert math.isclose(training.bits(params, text.train, text.dev), want, rel_tol=1e-5)


def test_shakespeare_in_short(tmp_path, monkeypatch):
    monkeypatch.setattr(shakespeare, "networks", small)
    measures = shakespeare.run(KNOBS, tmp_path, None)
    assert 0 < measures["networks"]["LSTM"]["test_bits"] < 8 > measures["counting"]["test_bits"] > 2
    assert measures["networks"]["LSTM"]["seconds"] >= KNOBS.seconds
    assert set(measures["written"]["LSTM"]) == {"0.5", "1"}
    assert (tmp_path / "shakespeare.png").stat().st_size > 10_000


def test_the_transformer_writes_as_it_predicts():
    """Its step with caches gives the logits of the whole text."""
    knobs = shakespeare.Knobs(window=6, width=4, blocks=1, heads=2, hidden=3)
    (_, _, _, _), (_, net, _, writer) = shakespeare.networks(knobs, 5)
    params, _ = net.init(jax.random.key(0), (6,))
    ids = np.array([1, 4, 0, 2, 3, 3])

    @jax.jit
    def one_by_one(params, ids):
        step, carry = writer(params)
        return jax.lax.scan(step, carry, ids)[1]

    np.testing.assert_allclose(one_by_one(params, ids), net(params, {}, ids)[0], rtol=1e-4, atol=1e-6)


def test_refused_texts(tmp_path):
    with pytest.raises(ValueError, match="a text of at least 80 characters, a tenth of which is one window; got 70"):
        as_text("abcdefg" * 10, least=8)
    with pytest.raises(MissingData, match="--data four"):
        load_sonnets(tmp_path)
    (tmp_path / "shakespeare.txt").write_bytes(b"")
    with pytest.raises(BadFile, match="got an empty file"):
        load_sonnets(tmp_path)
    (tmp_path / "shakespeare.txt").write_bytes("thou ow\N{RIGHT SINGLE QUOTATION MARK}st".encode("cp1252"))
    with pytest.raises(BadFile, match="expects text in UTF-8"):
        load_sonnets(tmp_path)
    (tmp_path / "shakespeare.txt").write_text("one line  ")
    assert load_sonnets(tmp_path) == "one line\n"


@pytest.mark.skipif(course.data_directory() is None, reason="the course's data are not here: set JAXNN_DATA")
def test_the_courses_text():
    text = load_sonnets(course.data_directory())
    assert text.startswith("THE SONNETS\n") and 90_000 < len(text) < 94_275
    assert "From fairest creatures we desire increase,\n" in text


@pytest.mark.skipif(course.data_directory() is None, reason="the course's data are not here: set JAXNN_DATA")
def test_the_released_weights_have_learnt():
    """Beside NumPy, character by character; in the end below the 2.556 nats that the notebook prints with dropout."""
    pytest.importorskip("h5py")
    weights = released_sonnets.load_released(course.data_directory())
    text = load_sonnets(course.data_directory(), stripped=False)
    assert len(text) == 94_275 + 1 and len(set(text.lower())) == released_sonnets.SYMBOLS
    found = released_sonnets.losses(weights, text, len(text) - 200)
    assert found.shape == (200,) and found.mean() < 2.556
    symbols, small = sorted(set(text.lower())), text.lower()
    for n in (0, 199):
        end = len(text) - 200 + n
        h = [np.eye(38)[symbols.index(c)] for c in small[end - 40:end]]
        for layer in ("lstm_5_2", "lstm_6_2"):
            w, s, c, states = weights[layer], np.zeros(128), np.zeros(128), []
            for x in h:
                i, f, g, o = np.split(x @ w["kernel"] + s @ w["recurrent_kernel"] + w["bias"], 4)
                i, f, o = (np.clip(0.2 * z + 0.5, 0, 1) for z in (i, f, o))
                c = f * c + i * np.tanh(g)
                s = o * np.tanh(c)
                states.append(s)
            h = states
        z = h[-1] @ weights["dense_3_2"]["kernel"] + weights["dense_3_2"]["bias"]
        want = np.log(np.exp(z).sum()) - z[symbols.index(small[end])]
        np.testing.assert_allclose(found[n], want, rtol=1e-4)
