"""Spoken digits, prompts and the course's trigger clips: the real files, and files that pretend to be them."""

import numpy as np
import pytest

from jaxnn.data import (
    BadFile,
    MissingData,
    encode_wav,
    load_prompts,
    load_spoken_digits,
    load_trigger_clips,
    write_wav,
)
from tests.data.test_wav import pack


def loaded(function):
    try:
        return function()
    except MissingData as missing:
        pytest.skip(f"needs the recordings: {missing}")


def test_the_spoken_digits():
    digits = loaded(load_spoken_digits)
    assert digits.speakers == ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
    assert len(digits.samples) == 3000 and digits.is_test.sum() == 300 and digits.rate == 8000
    assert np.bincount(digits.y).tolist() == [300] * 10 and np.bincount(digits.speaker).tolist() == [500] * 6
    assert np.bincount(digits.y[digits.is_test]).tolist() == [30] * 10
    seconds = np.array([len(x) for x in digits.samples]) / 8000
    np.testing.assert_allclose([seconds.min(), seconds.max(), seconds.sum()], [0.1435, 2.28275, 1312.303], rtol=1e-9)


def test_the_prompts():
    prompts = loaded(load_prompts)
    assert len(prompts.samples) == len(prompts.texts) == 417 and prompts.rate == 8000
    place = prompts.names.index("agent-loggedoff.wav")
    assert prompts.texts[place] == "Agent Logged off." and len(prompts.samples[place]) * 2 == 23_350 - 44
    assert list(prompts.names) == sorted(prompts.names)


def test_the_trigger_clips():
    clips = loaded(load_trigger_clips)
    assert [len(part) for part in clips[:4]] == [10, 10, 2, 2] and clips.rate == 44_100
    assert {r.group for r in clips.activates} == {"", "act2", "act3"}
    assert all(r.samples.shape == (441_000, 2) for r in (*clips.backgrounds, *clips.dev))
    assert round(1000 * len(next(r for r in clips.activates if r.name == "3_act2").samples) / 44_100) == 916


def test_digits_that_are_refused(tmp_path):
    with pytest.raises(MissingData, match=r"recordings.tar.gz was expected at .*--data sample"):
        load_spoken_digits(tmp_path, instead="--data sample")
    sound = encode_wav(np.zeros(4), 8000)
    pack(tmp_path / "recordings.tar.gz", {"recordings/0_anna_0.wav": sound, "recordings/1_bo_7.wav": sound})
    with pytest.raises(BadFile, match="3,000 recordings, 50 of ten digits by six speakers; got 2 by 2 speakers"):
        load_spoken_digits(tmp_path)


def test_prompts_that_are_refused(tmp_path):
    with pytest.raises(MissingData, match=r"asterisk_en_wav\.tar\.xz was expected at"):
        load_prompts(tmp_path)
    pack(tmp_path / "asterisk_en_wav.tar.xz", {"a.wav": encode_wav(np.zeros(4), 8000)}, "w:xz")
    for text, message in (("a.wav no tab\n", "line 1 expects a name, a tab and a text"),
                          ("a.wav\tone\na.wav\ttwo\n", "line 2 expects"),
                          ("b.wav\tone\n", "417 prompts, .*got 1 and 1 texts; 'a.wav' has no other")):
        (tmp_path / "transcripts.tsv").write_text(text)
        with pytest.raises(BadFile, match=message):
            load_prompts(tmp_path)


def test_trigger_clips_that_are_refused(tmp_path):
    with pytest.raises(MissingData, match=r"raw_data/activates was expected at .*'Trigger word detection'"):
        load_trigger_clips(tmp_path)
    root = tmp_path / "c5" / "trigger"
    for name, n in (("activates", 10), ("negatives", 10), ("backgrounds", 2), ("dev", 2)):
        folder = root / "raw_data" / name
        folder.mkdir(parents=True)
        for i in range(n):
            write_wav(folder / f"{i}.wav", np.zeros(441_000 if n == 2 else 9), 44_100)
    (root / "audio_examples").mkdir()
    write_wav(root / "audio_examples" / "chime.wav", np.zeros((5, 2)), 44_100)
    clips = load_trigger_clips(tmp_path)
    assert clips.activates[0].samples.shape == (9, 2) and clips.chime.samples.shape == (5, 2)
    write_wav(root / "raw_data" / "dev" / "1.wav", np.zeros(9), 44_100)
    with pytest.raises(BadFile, match=r"10 seconds; got 0\.000"):
        load_trigger_clips(tmp_path)
    write_wav(root / "raw_data" / "activates" / "1.wav", np.zeros(9), 8000)
    with pytest.raises(BadFile, match=r"44,100 frames a second; got 0\.001 seconds of 1 with 8,000"):
        load_trigger_clips(tmp_path)
    (root / "raw_data" / "activates" / "1.wav").rename(root / "raw_data" / "activates" / "one.wav")
    with pytest.raises(BadFile, match=r"a name such as 1.wav or 1_act2.wav; got one.wav"):
        load_trigger_clips(tmp_path)
    (root / "raw_data" / "activates" / "one.wav").unlink()
    with pytest.raises(BadFile, match="10 WAV files; got 9"):
        load_trigger_clips(tmp_path)
