"""Course 5, week 3: voices made here, strings and their bounds, what is detected, the four experiments in short."""

import json
import shutil

import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.course5.speech import (
    digit_strings,
    listener,
    prompts,
    recordings,
    trigger_sounds,
    trigger_word,
    voices,
)
from jaxnn import audio, models
from jaxnn.data import MissingData, Recording, TriggerClips, encode_wav
from tests import course
from tests.experiments.test_runs import assert_picture

TINY = {
    "spoken-digits": (["--epochs", "1", "--speaker-epochs", "0", "--channels", "4", "--speeds", "1"],
                      {"front_end", "training", "confusion_matrix", "doubtful"}),
    "digit-strings": (["--steps", "2", "--batch-size", "2", "--channels", "3", "--hidden", "2", "--test", "2", "--beam",
                       "2", "--held-out", "none"], {"training", "alignment"}),
    "trigger-word": (["--steps", "1", "--batch-size", "1", "--channels", "2", "--hidden", "2", "--test", "1"],
                     {"training", "misses_and_false_alarms", "detections"}),
    "prompts": (["--steps", "1", "--batch-size", "2", "--channels", "3", "--hidden", "2", "--beam", "2"],
                {"training", "alignment"}),
}


@pytest.fixture(scope="module")
def digits():
    return recordings.synthetic_digits(0, per_digit=6)


@pytest.mark.exhaustive  # their parts are tested below
@pytest.mark.parametrize("name", TINY)
def test_in_short(tmp_path, capsys, name, monkeypatch):
    options, pictures = TINY[name]
    monkeypatch.setattr(recordings.synthetic_digits, "__defaults__", (6,))
    nothing = tmp_path / "data"
    nothing.mkdir()
    assert main(["run", name, *options, "--data-dir", str(nothing), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "in place of" in printed and "was expected at" in printed, "what is missing is said"
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert record["data"] == "synthetic" and record["parameters"] > 0
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == pictures
    for picture in (tmp_path / "out").glob("*.png"):
        assert_picture(picture)
    if name == "trigger-word":
        sound = audio.read_wav(tmp_path / "out" / record["chimes"]["synthetic"]["file"])
        assert sound.samples.shape == (441_000, 2) and sound.rate == 44_100


@pytest.mark.skipif(course.data_directory() is None, reason="the recordings are not here: set JAXNN_DATA")
@pytest.mark.exhaustive
def test_spoken_digits_as_promised(tmp_path):
    """A minute of training, which the normal run has no time for: the official test set."""
    assert main(["run", "spoken-digits", "--speaker-epochs", "0", "--out", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "metrics.json").read_text())["test_accuracy"] >= 0.985


def test_voices_made_here(digits):
    """The same from the same seed; a digit is nearer to itself in another voice than chance has it."""
    again = recordings.synthetic_digits(0, per_digit=6)
    np.testing.assert_array_equal(np.concatenate(digits.samples), np.concatenate(again.samples))
    assert len(digits.samples) == 360 and digits.is_test.sum() == 300
    x = np.stack([recordings.loudest(recordings.levelled(s), 4000) for s in digits.samples])
    means = np.asarray(recordings.features(x)).mean(1)
    means -= means.mean(0)
    distance = ((means[:, None] - means[None]) ** 2).sum(-1)
    distance[digits.speaker[:, None] == digits.speaker] = np.inf
    assert (digits.y[distance.argmin(1)] == digits.y).mean() > 0.3


def test_the_loudest_part():
    x = np.zeros(10, np.float32)
    x[6:8] = 1
    assert recordings.loudest(x, 2).tolist() == [1, 1] and recordings.loudest(x[6:8], 5).tolist() == [0, 1, 1, 0, 0]
    np.testing.assert_allclose(audio.level(recordings.levelled(x)), recordings.LEVEL, rtol=1e-5)
    assert not recordings.levelled(np.zeros(3, np.float32)).any()


def test_strings_are_what_they_are_said_to_be(digits, tmp_path):
    pool = digit_strings.Pool(digits, digits.is_test, (1.0,))
    strings = pool.draw(np.random.default_rng(0), 5)
    again = pool.draw(np.random.default_rng(0), 5)
    np.testing.assert_array_equal(strings.samples, again.samples)
    for x, n, said, bounds in zip(*strings, strict=True):
        assert 3 <= len(said) <= 7 and len(bounds) == len(said) and bounds[-1][1] <= n
        speakers = []
        for digit, (first, last) in zip(said, bounds, strict=True):
            likeness = [np.corrcoef(x[first:last], s)[0, 1] if len(s) == last - first else 0 for s in digits.samples]
            best = int(np.argmax(likeness))
            assert likeness[best] > 0.98 and digits.y[best] == digit
            speakers.append(digits.speaker[best])
        assert len(set(speakers)) == 1
        assert np.abs(x[n:]).max() < 0.02
    steps = int(listener.steps_of(recordings.frames_of(digit_strings.SAMPLES)))
    digit_strings.draw_alignment(tmp_path, pool.draw(np.random.default_rng(0), 1), np.zeros((1, steps, 11)))
    assert_picture(tmp_path / "alignment.png")


@pytest.mark.exhaustive
def test_a_listener_learns_two_strings():
    """CTC, masks and decoding together: after some steps the network writes what it was taught; padding has no part."""
    net = listener.listener(4, 8, 8, 0.0)
    rng = np.random.default_rng(0)
    x, lengths = rng.normal(size=(2, 40, recordings.N_MELS)).astype(np.float32), np.array([40, 29])
    labels = [np.array([1, 2, 2]), np.array([3])]
    batch = listener.as_batch(x, lengths, labels, 3)
    assert batch[1][1].tolist() == [10, 8]
    state, history = listener.train(net, lambda step: batch, 40, steps=60, learning_rate=0.02, seed=0)
    assert history.records[-1]["cost"] < 0.5
    found = listener.heard(net, state.params, state.state, batch[0], 3)
    assert [a.tolist() for a in found.greedy] == [a.tolist() for a in found.beam] == [[1, 2, 2], [3]]
    assert listener.steps_of(np.arange(1, 10)).tolist() == [1, 1, 1, 1, 2, 2, 2, 2, 3]


def test_detections():
    p = np.zeros(1375)
    for first, last in ((100, 180), (190, 230), (400, 412), (900, 975)):
        p[first:last] = 0.9  # 12 steps are too few for a mean of more than 0.5 over 25
    by_loop = [np.mean(np.append(np.zeros(25), p)[step + 1:step + 26]) for step in range(1375)]
    np.testing.assert_allclose(trigger_word.smoothed(p), by_loop, atol=1e-12)
    seconds = np.array([113, 188, 913]) / 137.5  # the mean of 14 steps of 0.9 is 0.504; 188 is 75 steps behind 113
    np.testing.assert_allclose(trigger_word.detections(p, 0.5), seconds)
    assert trigger_word.detections(p, 0.95) == []
    # The second is too late for the first word and too early for the second word; the third word is missed.
    ends = [seconds[0] - 0.5, seconds[1] + 0.2, seconds[2], 9.0]
    clips = trigger_word.Clips(None, np.zeros((1, 1375)), [ends], [])
    found = trigger_word.score(p[None], clips, 0.5)
    assert (found["words"], found["missed"], found["false_alarms"]) == (4, 2, 1)
    assert found["false_alarms_per_hour"] == 360


def test_the_trigger_network_of_the_course():
    """522,561 numbers: 521,657 that are learnt, 904 that are remembered; each step hears nothing behind it."""
    net = models.trigger_word()
    params, state = jax.eval_shape(lambda: net.init(jax.random.key(0), (5511, 101)))
    n, m = (sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (params, state))
    assert (n, m, n + m) == (521_657, 904, 522_561)
    assert jax.eval_shape(lambda p, s: net(p, s, np.zeros((5511, 101), np.float32))[0], params, state).shape == (1375,)
    small = models.trigger_word(3, 2)
    params, state = small.init(jax.random.key(0), (55, 4))
    x = np.random.default_rng(0).normal(size=(55, 4)).astype(np.float32)
    changed = x.copy()
    changed[35:] += 1
    same = np.asarray(small(params, state, x)[0] == small(params, state, changed)[0])
    # Step t reads the frames 4 t to 4 t + 14.
    assert same.tolist() == [4 * t + 14 < 35 for t in range(len(same))]


def test_words_of_a_text():
    assert prompts.in_words("Press 1, or 42 #.") == "press one or forty two pound"
    assert prompts.in_words("You'll hear Inter-Asterisk... now!") == "you'll hear inter asterisk now"
    assert prompts.in_words("dial 500") is prompts.in_words("...") is None
    assert [prompts.number(n) for n in (0, 10, 19, 20, 99)] == ["zero", "ten", "nineteen", "twenty", "ninety nine"]


def test_texts_stay_together():
    texts = [str(i % 30) for i in range(90)]
    for_training, for_test = prompts.split(texts, 0)
    assert len(for_test) == 9 and len(for_training) == 81
    assert not {texts[i] for i in for_training} & {texts[i] for i in for_test}


def test_groups_stay_apart(monkeypatch):
    """No recording of the word, no group of other words, no speaker and no background is in both parts."""
    def recording(name, group, value):
        return Recording(np.full((900, 2), value, np.float32), name, group)

    activates = [recording(f"word{i}", group, 0.1 + i / 100) for i, group in enumerate(("", "act2", "act3", "act3"))]
    negatives = [recording(str(i), group, 0.3 + i / 100) for i, group in enumerate(("", "0", "1", "2"))]
    backgrounds = [recording("1", "", 0.5), recording("2", "", 0.6)]
    clips = TriggerClips(activates, negatives, backgrounds, [], backgrounds[0], 44_100)
    monkeypatch.setattr(trigger_sounds, "narrow", lambda x: x)
    monkeypatch.setattr(trigger_sounds, "faster_and_slower", lambda x: x)
    monkeypatch.setattr(trigger_sounds, "pink_noise", lambda rng: np.zeros(1, np.float32))

    def missing(data_dir):
        raise MissingData("none")

    monkeypatch.setattr(trigger_sounds, "load_spoken_digits", missing)
    monkeypatch.setattr(trigger_sounds, "load_prompts", missing)
    material = trigger_sounds.of_course(clips, "act3", None, use_voices=False)
    values = [{round(float(x[0]), 2) for x in (*(s.samples for s in (*words.activates, *words.negatives)),
                                               *words.backgrounds)} for words in (material.train, material.test)]
    assert values == [{0.1, 0.11, 0.3, 0.31, 0.5, 0}, {0.12, 0.13, 0.32, 0.33, 0.6}]


def test_labels_begin_where_words_end():
    """Whatever is cut off around a word and at whichever speed: an impulse at its end stands where the clip says."""
    x = np.zeros(20_000, np.float32)
    x[[5_000, 12_000]] = 0.1, 1  # at the beginning and at the end of the word
    spoken = trigger_sounds.Spoken(x, 5_000 / 44_100, 12_000 / 44_100)
    of_speeds = trigger_sounds.faster_and_slower([spoken])
    assert [round(s.last * 44_100) for s in of_speeds] == [12_000, 9_600, 10_800, 13_200, 14_400]
    for s in of_speeds:
        assert abs(int(s.samples.argmax()) - s.last * 44_100) < 2
    words = trigger_sounds.Words(of_speeds, [spoken._replace(samples=0 * x)], [np.zeros(441_000, np.float32)])
    n_words, lengths = 0, set()
    for seed in range(4):
        clip = trigger_sounds.make_clip(np.random.RandomState(seed), words)
        labelled = np.zeros(1375, bool)
        for (first, last), _ in clip.activates:
            at = 44_100 * last // 1000
            near = clip.samples[at - 200:at + 200]
            assert near.max() > 0.2 * clip.samples.max() and abs(int(near.argmax()) - 200) < 90, "two milliseconds"
            labelled[int(1.375 * last / 10) + 1:][:50] = True
            lengths.add(last - first)
        np.testing.assert_array_equal(clip.y > 0, labelled)
        n_words += len(clip.activates)
    assert n_words >= 5 and len(lengths) >= 4, "no two are cut alike"


def test_the_word_of_a_recording_is_cut_where_the_table_has_it():
    for name, (_, last) in trigger_sounds.RECORDED_WORDS.items():
        x = np.zeros((round(44_100 * (last + 0.2)), 2), np.float32)
        x[round(44_100 * last):] = 1
        spoken = trigger_sounds.word_of(Recording(x, name, ""))
        assert 0.4 < spoken.last - spoken.first < 0.8
        assert abs(int(spoken.samples.argmax()) - 44_100 * spoken.last) < 2
    assert len(trigger_sounds.RECORDED_WORDS) == 10


def test_halves_of_the_word_are_not_the_word():
    spoken = trigger_sounds.Spoken(np.arange(44_100, dtype=np.float32), 0.1, 0.9)
    first, second = trigger_sounds.parts_of(spoken)
    assert [(x[0], x[-1]) for x in (first.samples, second.samples)] == [(4410, 22_049), (22_050, 39_689)]


def test_varied_clips():
    """Of a sound that is alike at all frequencies each frequency keeps its course over time, or is hidden; a spectrum
    that rises evenly rises faster or slower."""
    course = np.random.default_rng(0).normal(size=20).astype(np.float32)
    x = np.broadcast_to(course[:, None], (40, 20, 101))
    found = np.asarray(trigger_word.varied(jax.random.key(0), x))
    hidden = np.ptp(found, axis=1) == 0
    assert ((np.ptp(found - x, axis=1) < 1e-4) ^ hidden).all() and 0 < hidden.mean() < 0.3
    assert np.abs(found[0] - found[1]).max() > 0.1, "each clip differently"
    rising = np.broadcast_to(np.arange(101, dtype=np.float32), x.shape)
    slopes = np.median(np.diff(np.asarray(trigger_word.varied(jax.random.key(1), rising))[:, 0], axis=1), axis=1)
    assert 0.8 < slopes.min() < 0.93 and 1.07 < slopes.max() < 1.2


def test_espeaks_voices(tmp_path, monkeypatch):
    """With a program in its place that writes what it is told to say as so many samples."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not voices.installed()
    (tmp_path / "tone.wav").write_bytes(encode_wav(np.full(2205, 0.25), 22_050))
    program = tmp_path / "espeak-ng"
    program.write_text(f"#!{shutil.which('sh', path='/bin:/usr/bin')}\n[ $1 = -v ] && [ $3 = -w ] && "
                       f"/bin/cp {tmp_path}/tone.wav $4\n")
    program.chmod(0o755)
    assert voices.installed()
    found = voices.spoken(["activate", "other"], ["en+m1"], 44_100)
    assert len(found) == 2
    np.testing.assert_allclose(found[0][100:4300], 0.25, atol=1e-3)
    assert not np.abs(found[0][4600:]).max() > 1e-6
    assert len(trigger_sounds.trimmed(found[0])) < 5500
    assert len(set(voices.VOICES)) == 15
