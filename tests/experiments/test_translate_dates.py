"""Course 5, week 3: the released weights give the course's dates; translators, the split by day, the whole in short."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.course5 import released_dates, translate_dates
from experiments.course5.released_lstm import hard
from experiments.course5.translators import (
    LONGEST,
    Languages,
    as_pairs,
    as_source,
    exact,
    of_encoder_decoder,
    of_transformer,
    split_by_day,
)
from jaxnn.data import human_dates
from jaxnn.decoding import beam_search
from jaxnn.models import encoder_decoder, transformer
from jaxnn.ops import sigmoid
from tests import course

CASES = course.load()
LANGUAGES = Languages.of(["3 may 1979", "10.11.19"], 12)


# The released weights.


@pytest.fixture(scope="module")
def weights():
    pytest.importorskip("h5py")
    if course.data_directory() is None:
        pytest.skip("the course's weights are not here: set JAXNN_DATA")
    return released_dates.load_released(course.data_directory())


def test_the_eight_dates_of_the_course(weights):
    dates, attention = released_dates.translate(weights, released_dates.TEXTS)
    assert tuple(dates) == released_dates.PRINTED
    assert attention.shape == (8, 10, 30)
    np.testing.assert_allclose(attention.sum(-1), 1, rtol=1e-5)


@pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")
@pytest.mark.parametrize(("name", "gate"), [("c5w3.nmt.hard_sigmoid", hard),
                                            ("c5w3.nmt.sigmoid", sigmoid)])
def test_as_the_notebooks_print_them(weights, name, gate):
    inputs = CASES["c5w3.nmt.hard_sigmoid"]["inputs"]
    assert tuple(inputs["sources"]) == released_dates.TEXTS
    assert [c for c in inputs["human_vocab"] if len(c) == 1] == list(released_dates.HUMAN.tokens)
    assert list(inputs["machine_vocab"]) == list(released_dates.MACHINE.tokens)
    dates, attention = released_dates.translate(weights, inputs["sources"], gate)
    assert dates == list(CASES[name]["expected"])

    def beams_of(x):
        step = released_dates.decoder(weights, released_dates.encoded(weights, x, gate), gate)
        return beam_search(step, (jnp.zeros(64), jnp.zeros(64)), 0, width=3, max_length=10)

    # No step reads a token, so that the likeliest of each step are the likeliest of all.
    beams = jax.jit(jax.vmap(beams_of))(released_dates.one_hot(inputs["sources"]))
    assert [released_dates.MACHINE.decode(tokens[0]) for tokens in beams.tokens] == dates
    np.testing.assert_allclose(beams.aux[:, 0], attention, rtol=1e-4, atol=1e-6)


# Our translators.


def test_no_day_is_in_two_parts():
    texts, dates = human_dates(600, 0)
    parts = split_by_day(texts, dates, Languages.of(texts, 40), seed=1)
    days = {name: set(part.dates) for name, part in parts.items()}
    assert not days["train"] & (days["dev"] | days["test"]) and not days["dev"] & days["test"]
    assert sorted(pair for part in parts.values() for pair in zip(part.texts, part.dates)) == sorted(zip(texts, dates))
    assert abs(len(days["train"]) / len(set(dates)) - 0.9) < 0.01 and abs(len(days["dev"]) - len(days["test"])) <= 1


def test_too_few_days():
    with pytest.raises(ValueError, match="split_by_day expects dates of at least 20 days; got 3"):
        split_by_day(["3 may 1979"] * 3, ["1979-05-03", "1979-05-04", "1979-05-05"], LANGUAGES, 0)


def test_pairs_as_a_network_reads_them():
    part = as_pairs(["3 may 1979", "10.11.19"], ["1979-05-03", "2019-11-10"], LANGUAGES)
    human, machine = LANGUAGES.human, LANGUAGES.machine
    assert part.x["source"].shape[1] == 12 and human.decode(part.x["source"][0]) == part.texts[0]
    np.testing.assert_array_equal(part.x["source_length"], [10, 8])
    np.testing.assert_array_equal(part.x["target"][:, 0], machine.id_of("<start>"))
    np.testing.assert_array_equal(part.labels[:, -1], machine.id_of("<end>"))
    np.testing.assert_array_equal(part.x["target"][:, 1:], part.labels[:, :-1])
    assert machine.decode(part.labels[0]) == part.dates[0] and part.labels.shape[1] == LONGEST
    assert as_source(["3 MAY, 1979"], LANGUAGES)["source"].tolist() == part.x["source"][:1].tolist()


@pytest.mark.parametrize(("net", "decoder_of"), [
    (encoder_decoder(LANGUAGES.human.size, LANGUAGES.machine.size, 2, 3, n_embedding=2, n_attention=2),
     of_encoder_decoder),
    (transformer(LANGUAGES.human.size, LANGUAGES.machine.size, 4, 1, 2, 4, rate=0.0, pre_norm=True), of_transformer)])
def test_decoding_is_what_training_computes(net, decoder_of):
    shape = {"source": (12,), "source_length": (), "target": (LONGEST,)}
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), shape))[0]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), params)
    source = {name: a[0] for name, a in as_source(["3 may 1979"], LANGUAGES).items()}

    target = np.array([0, *rng.integers(2, LANGUAGES.machine.size, LONGEST - 1)])

    def logits_of(params, source):
        step, carry = decoder_of(net, params, source["source"], source["source_length"])
        one_by_one = jax.lax.scan(lambda carry, token: step(carry, token)[:2], carry, target)[1]
        return one_by_one, net(params, {}, {**source, "target": target})[0]

    one_by_one, logits = jax.jit(logits_of)(params, source)
    np.testing.assert_allclose(one_by_one, logits, rtol=1e-4, atol=1e-5)


def test_exact_is_of_all_characters():
    assert exact(["1990-04-28", "1990-04-27"], ["1990-04-28", "1990-04-28"]) == 0.5


@pytest.mark.exhaustive
def test_translate_dates_in_short(tmp_path, monkeypatch):
    def few(knobs, languages):
        net = encoder_decoder(languages.human.size, languages.machine.size, 2, 2, n_embedding=2, n_attention=2)
        return {"LSTM with attention": (net, of_encoder_decoder, 0.01)}

    monkeypatch.setattr(translate_dates, "networks", few)
    knobs = translate_dates.Knobs(pairs=80, steps=2, batch_size=4, beam=2)
    measures = translate_dates.run(knobs, tmp_path, tmp_path)
    assert 0 <= measures["networks"]["LSTM with attention"]["exact"] <= 1
    assert {path.name for path in tmp_path.iterdir()} == {"attention.png", "training.png"}
    assert "released" not in measures  # the weights are not in that directory
