"""Jazz and chorales: the course's symbols, baselines, what is copied, pieces that are written, both in short."""

import hashlib
import itertools
import json
import wave

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.course5.chorales.baselines import marginal_cost, markov_cost
from experiments.course5.chorales.experiment import copied
from experiments.course5.chorales.measures import described
from experiments.course5.chorales.network import Composer, cost_of, network_of
from experiments.course5.chorales.pieces import canon, in_length_groups, transposition, windows
from experiments.course5.copied import longest_copy
from experiments.course5.jazz import experiment as jazz
from experiments.course5.jazz.grammar import fitting_scale, interval_name, is_major, kind_of, semitones_of, symbol
from experiments.course5.jazz.solo import HIGHEST, LOWEST, played
from experiments.course5.jazz.tune import metheny, nursery_tune, on_grid
from jaxnn.data import load_chorales
from jaxnn.music import notes_of, read_midi
from tests import course

NEEDS_DATA = pytest.mark.skipif(course.data_directory() is None, reason="the data are not here: set JAXNN_DATA")
# Symbols of the course's own programs, bars joined by a bar line: with music21 5.7.2, and 6.7.1, which finds rests too.
OF_MUSIC21 = {
    "2018": (193, 78, "2ed19a6f6bc3be22893da68132a7e67d7624f54ac5ecd4825b0fec421f524f84"),
    "2021": (275, 90, "d39910782eb1c1de650b85feebf3124d21d37aa54e8381fb2ffbf0a4d76b8cbc")}


# Jazz.


@NEEDS_DATA
@pytest.mark.parametrize("edition", OF_MUSIC21)
def test_the_symbols_are_those_of_the_courses_programs(edition):
    tune = metheny(edition)
    text = "|".join(" ".join(bar.symbols) for bar in tune.bars)
    assert (len(tune.symbols), len(set(tune.symbols)), hashlib.sha256(text.encode()).hexdigest()) == OF_MUSIC21[edition]
    assert len(tune.bars) == 18 and all(bar.chords for bar in tune.bars)


@pytest.mark.parametrize(("letters", "semitones", "name"), [
    (0, 0, "P1"), (1, 2, "M2"), (2, 3, "m3"), (3, 6, "A4"), (4, 6, "d5"), (7, 12, "P8"), (-2, -3, "m-3"),
    (-4, -7, "P-5"), (-5, -9, "M-6"), (-5, -8, "m-6"), (0, 1, "A1"), (0, -1, "d1"), (1, 0, "d2"), (1, -1, "dd2"),
    (8, 14, "M9"),
    (-3, -6, "A-4"), (9, 15, "m10"), (5, 10, "A6"), (2, 5, "A3")])
def test_names_of_intervals(letters, semitones, name):
    assert interval_name(letters, semitones) == name and semitones_of(name) == semitones


def test_tones_and_chords():
    c_major, a_minor, g7 = (48, 52, 55), (57, 60, 64), (43, 59, 62, 65)
    assert is_major(c_major) and is_major((55, 60, 64)) and is_major(g7) and not is_major(a_minor)
    assert not is_major((48, 51, 52, 55)), "two thirds"
    # Of the major scales with C, E and G that on G is the highest.
    assert [kind_of(key, c_major) for key in (60, 62, 66, 61)] == ["C", "S", "S", "A"]
    assert fitting_scale(c_major) == {(n, int(n == 3)) for n in range(7)}
    # Of the Dorian scales with C and F# the one on A is the highest: A B C D E F# G.
    assert [kind_of(key, (60, 66)) for key in (60, 64, 61, 63)] == ["C", "S", "A", "X"]
    assert symbol(64, 0.5, c_major, 60) == "C,0.500,<P5,A1>" and symbol(None, 1 / 3, c_major, 60) == "R,0.333"
    assert symbol(60, 1, c_major, None) == "C,1.000"


def test_times_on_the_grid():
    """Quarters and thirds of a quarter note; the nearer, and of two as near the smaller."""
    assert [on_grid(t) for t in (0.0, 0.24, 0.3, 0.35, 1.9, 2.6)] == [0, 0.25, 1 / 3, 1 / 3, 2, 2 + 2 / 3]
    assert on_grid(0.125) == 0.0 and on_grid(1 / 24) == 0.0


def test_longest_copies():
    sources = [list("abcdefg"), list("xbcyabz")]
    assert longest_copy(list("qbcdeq"), sources) == 4
    assert longest_copy(list("yab"), sources) == 3 and longest_copy(list("ba"), sources) == 1
    assert longest_copy(list("qq"), sources) == 0 and longest_copy([], sources) == 0
    rng = np.random.default_rng(0)
    for _ in range(20):  # against every part of every source
        items, sources = rng.integers(3, size=12).tolist(), [rng.integers(3, size=15).tolist() for _ in range(2)]
        parts = {tuple(s[i:j]) for s in sources for i in range(15) for j in range(i + 1, 16)}
        longest = max(j - i for i in range(12) for j in range(i, 13) if i == j or tuple(items[i:j]) in parts)
        assert longest_copy(items, sources) == longest


def test_a_solo_keeps_to_its_symbols():
    """Each note is of its symbol's kind and length, and lies within its intervals where such a tone exists."""
    tune = nursery_tune()
    notes = played([bar.symbols for bar in tune.bars], tune.bars, np.random.default_rng(0))
    assert len(notes) == len(tune.symbols) and all(LOWEST <= note.key <= HIGHEST for note in notes)
    texts = iter(tune.symbols)
    for before, note in zip([None, *notes[:-1]], notes):
        kind, length, *intervals = next(texts).replace("<", "").replace(">", "").split(",")
        bar = tune.bars[int(note.start // 4)]
        assert kind_of(note.key, bar.chords[0].keys) in {"C": "C", "S": "CS"}.get(kind, "CSAX")
        assert note.end - note.start == pytest.approx(float(length), abs=1e-3)
        if intervals:
            low, high = sorted(map(semitones_of, intervals))
            assert low - 12 <= note.key - before.key <= high + 12


def test_writing_is_what_training_computes():
    """The symbols that the writer finds likeliest are those of the network's logits over the symbols before."""
    net = jazz.network_of(5, 7)
    params = jax.tree.map(lambda leaf: 3 * leaf, net.init(jax.random.key(1), (9, 7))[0])
    tokens = np.asarray(jazz.writer(net, params, 7)(jax.random.key(0), None, 9))
    rows = jazz.as_rows(np.concatenate([[0], tokens])[None], 7)[0]
    logits = np.asarray(net(params, {}, jnp.asarray(rows))[0])
    assert tokens.tolist() == logits[:-1].argmax(axis=-1).tolist()


def test_initial_weights_are_as_large_as_those_of_keras():
    """Keras draws the four gates as one matrix: W_h (64, 4 * 64) has orthonormal rows, W_x is glorot uniform of n_in
    and 4 * 64; the forget gate's bias is 1."""
    n_in, n = 90, 64
    params = jazz.network_of(n, n_in).init(jax.random.key(0), (30, n_in))[0]["lstm"]
    np.testing.assert_allclose(params["weight_h"].T @ params["weight_h"], np.eye(n), atol=1e-5)
    most = np.abs(params["weight_x"]).max()
    assert 0.999 < most / np.sqrt(6 / (n_in + 4 * n)) <= 1
    assert params["bias"].tolist() == [0.0] * n + [1.0] * n + [0.0] * (2 * n)


# Chorales.


@NEEDS_DATA
def test_baselines_are_the_published_ones():
    """Boulanger-Lewandowski et al. (2012) and the count of transitions of each key."""
    pytest.importorskip("scipy")
    pieces = load_chorales()
    assert marginal_cost(pieces.train, pieces.test) == pytest.approx(11.09, abs=0.005)
    assert markov_cost(pieces.train, pieces.test) == pytest.approx(10.49, abs=0.01)


def test_baselines_by_a_loop():
    rng = np.random.default_rng(0)
    train, test = ([(rng.random((n, 88)) < 0.3).astype(np.uint8) for n in sizes] for sizes in ((5, 9), (4, 3)))
    total, frames = np.zeros(2), 0
    for roll in test:
        for before, now in itertools.pairwise(roll):
            frames += 1
            for key in range(88):
                counts = np.zeros((3, 2))  # after silence, after sound, in all: silent, sounding
                for piece in train:
                    for t in range(len(piece)):
                        counts[2, piece[t, key]] += 1
                        if t:
                            counts[piece[t - 1, key], piece[t, key]] += 1
                p = (counts + 1) / (counts.sum(axis=1, keepdims=True) + 2)
                total -= np.log([p[2, now[key]], p[before[key], now[key]]])
    np.testing.assert_allclose([marginal_cost(train, test), markov_cost(train, test)], total / frames, rtol=1e-9)


def test_windows_and_groups_hold_every_frame():
    rolls = [np.eye(88, dtype=np.uint8)[:n] for n in (5, 8, 3)]
    cut = windows(rolls, 4)
    assert cut.frames.shape == (5, 4, 88) and cut.weights.sum() == 16
    np.testing.assert_array_equal(cut.frames[cut.weights > 0], np.concatenate(rolls))
    np.testing.assert_array_equal(cut.before[1, :2], rolls[0][3:])  # the second window of the first piece
    assert not cut.before[0, 0].any() and not cut.frames[cut.weights == 0].any()
    groups = in_length_groups(rolls, size=2, step=4)
    assert [group.frames.shape for group in groups] == [(2, 8, 88), (1, 8, 88)]
    assert sum(group.weights.sum() for group in groups) == 16


def test_transposition_keeps_chords_and_the_keyboard():
    rolls = [np.eye(88, dtype=np.uint8)[[2, 84]]]
    move = transposition(rolls, 6)
    before = jnp.asarray(np.repeat(windows(rolls, 2).before, 64, axis=0))
    frames = jnp.asarray(np.repeat(windows(rolls, 2).frames, 64, axis=0))
    moved, (after, _) = move(jax.random.key(0), before, (frames, np.ones((64, 2))))
    lowest = np.asarray(after)[:, 0].argmax(axis=-1)
    assert set(lowest) == {0, 1, 2, 3, 4, 5}, "two down at most, three up at most, as the keyboard has room"
    assert (np.asarray(after)[:, 1].argmax(axis=-1) == lowest + 82).all()
    np.testing.assert_array_equal(moved[:, 1], after[:, 0])


def test_composing_is_what_training_computes():
    """The entropy of each frame that is written is that of the network's logits over the frames before; and pieces
    of one key are the same."""
    net = network_of("GRU", 4, 0.0)
    params, _ = net.init(jax.random.key(0), (6, 88))
    params["head"]["bias"] -= 2.0
    composer = Composer(net, params)
    beginnings = np.stack([roll[:3] for roll in canon().test])
    rolls, entropies = composer.pieces(beginnings, 4, 1.0, jax.random.key(5))
    again, _ = composer.pieces(beginnings, 4, 1.0, jax.random.key(5))
    np.testing.assert_array_equal(rolls, again)
    np.testing.assert_array_equal(rolls[:, :3], beginnings)
    read = np.concatenate([np.zeros_like(rolls[:, :1]), rolls[:, :-1]], axis=1).astype(np.float32)
    run = jax.jit(jax.vmap(lambda x: net(params, {}, x)[0]))
    p = 1 / (1 + np.exp(-np.asarray(run(read))[:, 3:].astype(float)))
    bits = -(p * np.log2(p) + (1 - p) * np.log2(1 - p)).sum(axis=-1)
    np.testing.assert_allclose(entropies, bits, rtol=1e-4)


def test_the_cost_leaves_out_first_frames_and_filling():
    net = network_of("LSTM", 3, 0.0)
    params = jax.tree.map(jnp.zeros_like, net.init(jax.random.key(0), (6, 88))[0])
    params["head"]["bias"] -= 2.0  # p = σ(-2) of each key, whatever was before
    rolls = [roll[:n] for roll, n in zip(canon().test, (5, 20))]
    rolls[1] = np.concatenate([rolls[1][19:], rolls[1]])  # one that begins with two notes
    sounding = np.concatenate([roll[1:] for roll in rolls]).sum(axis=1).mean()
    expected = sounding * np.log1p(np.exp(2)) + (88 - sounding) * np.log1p(np.exp(-2))
    assert cost_of(net, params, in_length_groups(rolls, step=16)) == pytest.approx(expected, rel=1e-5)


def test_what_pieces_are_like():
    still = np.zeros((6, 88), np.uint8)
    still[:, 40] = 1
    found = described([still])
    assert (found["keys_entropy"], found["chords_entropy"], found["longest_still"], found["notes"]) == (0, 0, 6, 1)
    assert found["stuck"] == 1
    rising = np.eye(88, dtype=np.uint8)[:8]
    found = described([rising, still * 0])
    assert found["keys_entropy"] == 3 and found["silent"] == 6 / 14
    assert found["stuck"] == 0.5 and found["longest_still"] == 6


def test_copies_are_found_in_every_key():
    round_ = canon().train[0]
    assert copied(np.roll(round_, 3, axis=1)[None, 5:40], [round_]) >= 10
    assert copied(np.eye(88, dtype=np.uint8)[None, :10], [round_]) <= 3


def test_the_round():
    pieces = canon()
    assert tuple(map(len, pieces)) == (8, 2, 2)
    rolls = [roll for part in pieces for roll in part]
    assert len({roll.tobytes() for roll in rolls}) == 12 and all(1 <= roll.sum(axis=1).max() <= 4 for roll in rolls)


# Both in short.


def short_run(tmp_path, name, *options):
    assert main(["run", name, *options, "--data-dir", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    for path in (tmp_path / "out").glob("*.wav"):
        with wave.open(str(path)) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        assert np.abs(samples).max(initial=0) == round(0.8 * 32767) and len(samples) > 20_000
        assert notes_of(read_midi(path.with_suffix(".mid")))
    assert all(path.stat().st_size > 10_000 for path in (tmp_path / "out").glob("*.png"))
    return json.loads((tmp_path / "out" / "metrics.json").read_text())


@pytest.mark.exhaustive
def test_chorales_in_short(tmp_path, capsys):
    record = short_run(tmp_path, "chorales", "--epochs", "2", "--hidden", "6", "--samples", "2", "--length", "12",
                       "--temperatures", "0.8", "--window", "64")
    printed = capsys.readouterr().out
    assert "a round in twelve keys in place of the chorales:\n  c5/music/JSB_Chorales.mat was expected" in printed
    assert record["pictures"] == ["costs.png", "entropy.png", "piano_rolls.png"]
    assert record["test_nats_per_frame"] > 0 and record["composed"]["0.8"]["longest_copy"] >= 0


def test_a_beginning_longer_than_a_test_piece_is_refused_before_training(tmp_path, capsys):
    options = ("--beginning", "177", "--data", "canon", "--out", str(tmp_path))
    assert main(["run", "chorales", *options]) == 2
    assert "--beginning expects at most 176 frames, the length of the shortest test piece; got 177" in (
        capsys.readouterr().err)


@pytest.mark.exhaustive
def test_jazz_in_short(tmp_path, capsys):
    record = short_run(tmp_path, "jazz", "--epochs", "2", "--hidden", "6", "--temperatures", "1")
    printed = capsys.readouterr().out
    assert "Frère Jacques in place of the course's tune:\n  c5/original_metheny.mid was expected" in printed
    assert "longest run copied from the training tune: " in printed
    assert record["pictures"] == ["cost_and_copies.png", "solos.png"]
    assert record["first_cost"] == pytest.approx(29 * np.log(record["distinct_symbols"]), rel=0.1)
