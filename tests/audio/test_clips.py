"""Loudness, masks, and clips made of recordings, the course's reference clip among them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import audio
from jaxnn.checks import InputError
from jaxnn.data import MissingData, data_directory, load_trigger_clips

X = np.random.default_rng(0).uniform(-1, 1, 1000).astype(np.float32)


def test_levels():
    np.testing.assert_allclose(audio.level(X), 20 * np.log10(np.sqrt(np.mean(X.astype(float)**2))), rtol=1e-5)
    np.testing.assert_allclose(audio.level(audio.at_level(X, -33.0)), -33, rtol=1e-5)
    assert audio.level(np.zeros(5, np.float32)) == -np.inf
    noise = np.cos(np.arange(1000)).astype(np.float32)
    for decibels in (-5.0, 0.0, 20.0):
        added = audio.mix(X, noise, decibels) - X
        np.testing.assert_allclose(audio.level(X) - audio.level(added), decibels, atol=1e-3)
    cut = audio.clipped(np.array([0.5, 1.0, -1.5, 2.0], np.float32))
    assert cut.x.tolist() == [0.5, 1, -1, 1] and cut.n_clipped == 2


def test_masks():
    """Bands of whole steps and whole features, within the length, filled with the mean; the same for the same key."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(40, 12)) + 5)
    masked = jax.jit(jax.vmap(lambda key: audio.spec_augment(key, x, time_masks=2, time_width=6, frequency_width=4,
                                                             length=jnp.int32(30))))
    keys = jax.random.split(jax.random.key(0), 200)
    found = np.asarray(masked(keys))
    np.testing.assert_array_equal(found, masked(keys))
    hidden = found != np.asarray(x)
    assert not hidden[:, 30:].any()
    steps, features = hidden[:, :30].all(2), hidden[:, :30].all(1)
    np.testing.assert_array_equal(hidden[:, :30], steps[:, :, None] | features[:, None])
    assert steps.sum(1).max() == 12 and steps.sum(1).min() == 0 and features.sum(1).max() == 4
    assert abs(steps.mean() - 2 * 3 / 30) < 0.03 and abs(features.mean() - 2 / 12) < 0.03
    np.testing.assert_allclose(found[hidden], np.mean(x[:30]), rtol=1e-6)
    assert steps.any(0).all() and features.any(0).all(), "each may be hidden"
    np.testing.assert_array_equal(audio.spec_augment(keys[0], x, time_masks=0, frequency_masks=0), x)
    # A sum of 20,000 numbers of 5 is more than float16 holds; their mean is not.
    half = np.asarray(jax.jit(audio.spec_augment)(keys[0], jnp.full((1000, 20), 5, jnp.float16)))
    assert half.dtype == np.float16 and (half == 5).all()


def clips():
    try:
        return load_trigger_clips()
    except MissingData as missing:
        pytest.skip(f"needs the course's recordings: {missing}")


def test_the_courses_reference_clip():
    """insert_reference.wav of the assignment, sample for sample: seed 5, "activate" at 2254 to 3169 ms."""
    course = clips()
    background = next(r for r in course.backgrounds if r.name == "2")
    word = next(r for r in course.activates if r.name == "3_act2")
    mixed, segment = audio.insert_audio_clip(np.random.RandomState(5), background.samples, word.samples,
                                             [(3790, 4440)], rate=course.rate)
    assert segment == (2254, 3169)
    reference = audio.read_wav(data_directory() / "c5/trigger/audio_examples/insert_reference.wav")
    np.testing.assert_array_equal(mixed, reference.samples)


def test_synthesized_clips():
    """What is in a clip is where it is said to be, and nothing overlaps."""
    rate, background = 1000, np.zeros(10_000)
    activates, negatives = [np.full(700, 0.5), np.full(900, 0.25)], [np.full(400, -0.5)]
    counts = set()
    for seed in range(60):
        clip = audio.synthesize(np.random.RandomState(seed), background, activates, negatives, rate=rate)
        expected, y = np.zeros(10_000), np.zeros(1375)
        for (first, last), which in clip.activates:
            expected[first:last + 1] = (0.5, 0.25)[which]
            y[int(last * 1375 / 10_000) + 1:][:50] = 1
        for (first, last), _ in clip.negatives:
            expected[first:last + 1] = -0.5
        np.testing.assert_array_equal(clip.samples, expected)
        np.testing.assert_array_equal(clip.y, y)
        counts.add((len(clip.activates), len(clip.negatives)))
    assert counts == {(a, b) for a in range(5) for b in range(3)}
    assert not background.any()


def test_no_room():
    random = np.random.RandomState(0)
    mixed, segment = audio.insert_audio_clip(random, np.zeros(100), np.ones(50), [(0, 99)], rate=1000)
    assert segment is None and not mixed.any()
    # A segment of one millisecond is the only one free.
    mixed, segment = audio.insert_audio_clip(random, np.zeros(100), np.ones(1), [(0, 49), (51, 99)], rate=1000,
                                             tries=2000)
    assert segment == (50, 50) and np.flatnonzero(mixed).tolist() == [50]
    # Of labels at the end only those within the clip are there.
    assert audio.insert_ones(np.zeros(1375), 10_000).sum() == 0
    assert audio.insert_ones(np.zeros(1375), 9_900).sum() == 1375 - 1362


@pytest.mark.parametrize(("call", "message"), [
    (lambda: audio.mix(X, np.zeros(1000, np.float32), 3.0), "noise that is not silent; got nothing but zeros"),
    (lambda: audio.mix(np.zeros(1000, np.float32), X, 3.0), "signal that is not silent"),
    (lambda: audio.mix(X, X[:9], 3.0), r"of one shape; got \(1000,\) and \(9,\); cut or repeat"),
    (lambda: audio.at_level(np.zeros(9, np.float32), -20.0), "x that is not silent"),
    (lambda: audio.level(X[:0]), "x of at least one sample"),
    (lambda: audio.spec_augment(jax.random.key(0), jnp.ones((5, 9)), time_width=6), "time_width in 0 .. 5; got 6"),
    (lambda: audio.spec_augment(jax.random.key(0), jnp.ones((2, 5, 9))), "for a batch use jax.vmap"),
    (lambda: audio.spec_augment(jax.random.key(0), jnp.ones((30, 9)), length=31), "length in 0 .. 30, the steps of x; "
     "got 31"),
    (lambda: jax.vmap(lambda n: audio.spec_augment(jax.random.key(0), jnp.ones((30, 9)), length=n))(jnp.array([3, -1])),
     "length in 0 .. 30"),
    (lambda: audio.spec_augment(jax.random.key(0), jnp.ones((30, 9)), length=3.0), "integer length; got float"),
    (lambda: audio.is_overlapping((5, 4), []), r"the first not behind the last; got \(5, 4\)"),
    (lambda: audio.insert_audio_clip(np.random, np.zeros(10), np.zeros(10), [], rate=1000),
     "a clip of 1 to 9 milliseconds, less than the background; got 10 frames, 10 ms"),
    (lambda: audio.insert_audio_clip(np.random, np.zeros((100, 2)), np.zeros((10, 1)), [], rate=1000),
     r"make their channels alike"),
    (lambda: audio.insert_ones(np.zeros((1, 1375)), 5), r"y of shape \(steps,\); got \(1, 1375\); the course's y\[0\]"),
    (lambda: audio.insert_ones(np.zeros(1375), 10_001), "end in 0 .. 10000 milliseconds; got 10001"),
    (lambda: audio.synthesize(np.random, np.zeros(10_000), [], [], rate=1000), "recordings to insert, or most_act"),
    (lambda: audio.synthesize(np.random, np.zeros(9), [X], [X], rate=0), "rate, a positive integer; got 0"),
    (lambda: audio.synthesize(np.random, np.zeros(9), [X], [X], rate=1000, steps=0),
     "steps, a positive integer; got 0"),
    (lambda: audio.synthesize(np.random, np.zeros(9, int), [X], [X], rate=1000), "a background of floating-point"),
    (lambda: audio.synthesize(np.random, np.zeros(0), [X], [X], rate=1000, most_activates=0, most_negatives=0),
     r"of a millisecond at least; got float64\[0\]"),
])
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
