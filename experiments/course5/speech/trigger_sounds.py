"""What trigger-word clips are made of: the word, other words, backgrounds, in groups that training or the test has."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.course5.speech import voices
from experiments.course5.speech.recordings import level_to, synthetic_digits
from experiments.shared.data import real_or_embedded
from experiments.shared.run import say
from jaxnn.audio import Clip, resample, synthesize
from jaxnn.data import MissingData, SpokenDigits, TriggerClips, load_spoken_digits, load_trigger_clips

__all__ = ["GROUPS", "LEVEL", "RATE", "Dev", "Material", "Words", "load", "make_clip", "trimmed"]

RATE, SECONDS = 44_100, 10
GROUPS = ("plain", "act2", "act3")  # of the course's recordings of the word, by the ends of their names
OTHER_WORDS = ("active", "motivate", "captivate", "hello", "attic", "computer", "innovate", "actor", "weather")
# Where the word is in the course's two dev clips, seconds. This was not published. It was read from the spectrograms,
# and compared with the recordings by dynamic time warping of cepstra: the six nearest to each are all the word.
DEV_WORDS = {"1": [(1.93, 2.56)], "2": [(1.60, 2.28), (4.22, 4.90)]}
QUIET = 28.0  # decibels under the loudest place, where a recording's word begins and ends
LEVEL = -20.0  # decibels of a whole clip, as in the course


class Words(NamedTuple):
    """Recordings (n,) float32 at RATE, each cut to its word; and a background of ten seconds."""

    activates: list[np.ndarray]
    negatives: list[np.ndarray]
    background: np.ndarray


class Dev(NamedTuple):
    name: str
    samples: np.ndarray
    """(441000, 2)."""
    words: list[tuple[float, float]]
    """Seconds, where each trigger word begins and ends."""


class Material(NamedTuple):
    name: str
    train: Words
    test: Words
    dev: list[Dev]
    chime: np.ndarray
    """(n, 2)."""


def load(name: str, held_out: str, data_dir: Path | None, seed: int, *, use_voices: bool) -> Material:
    """The course's clips by name: "auto", "recordings" or "synthetic"; "auto" says where words are made here.

    Raises:
      MissingData: the recordings were asked for and are not there.
      BadFile: they are there and damaged.
    """
    def recordings() -> Material:
        clips = load_trigger_clips(data_dir, instead="--data synthetic")
        return of_course(clips, held_out, data_dir, use_voices=use_voices)

    return real_or_embedded(name, "recordings", recordings, lambda: of_synthetic(synthetic_digits(seed), seed),
                            "words made here in place of the course's recordings")


def of_course(clips: TriggerClips, held_out: str, data_dir: Path | None, *, use_voices: bool) -> Material:
    """The held-out group of the word, half of the other words' groups and the second background are the test's."""
    group = "" if held_out == "plain" else held_out
    mine: dict[str, list[list[np.ndarray]]] = {"train": [[], []], "test": [[], []]}
    for r in clips.activates:
        mine["test" if r.group == group else "train"][0].append(trimmed(r.samples[:, 0]))
    for r in clips.negatives:
        mine["test" if r.group in ("1", "2") else "train"][1].append(trimmed(r.samples[:, 0]))
    try:
        digits = load_spoken_digits(data_dir)
        for part, speakers in (("train", (0, 1, 2, 3)), ("test", (4, 5))):
            mine[part][1] += spoken_digits(digits, speakers)
        say(f"digits of {', '.join(digits.speakers[:4])} among the other words of training, of "
            f"{', '.join(digits.speakers[4:])} of the test")
    except MissingData as missing:
        say(f"no digits among the other words: {missing}")
    if use_voices and voices.installed():
        mine["train"][0] += map(trimmed, voices.spoken(["activate"], voices.VOICES, RATE))
        mine["train"][1] += map(trimmed, voices.spoken(OTHER_WORDS, voices.VOICES[::4], RATE))
        say(f"{len(voices.VOICES)} voices of espeak-ng in training; the test has people alone")
    elif use_voices:
        say("without espeak-ng's voices: the program is not installed")
    # The digits have no sound above 4 kHz: a network would know the word by having some. So the word is heard so, too.
    mine["train"][0] += [narrow(x) for x in mine["train"][0]]
    mine["train"] = [faster_and_slower(recordings) for recordings in mine["train"]]
    train, test = (Words(mine[part][0], mine[part][1], background.samples[:, 0])
                   for part, background in zip(("train", "test"), clips.backgrounds, strict=True))
    dev = [Dev(r.name, r.samples, DEV_WORDS[r.name]) for r in clips.dev]
    return Material("recordings", train, test, dev, clips.chime.samples)


def of_synthetic(digits: SpokenDigits, seed: int) -> Material:
    """The "digit" 0 is the word, the others are other words; four voices for training, two for the test."""
    rng = np.random.default_rng(seed)
    parts = []
    for speakers in ((0, 2, 3, 5), (1, 4)):
        word, others = ([trimmed(at_44100(digits.samples[i])) for i in np.flatnonzero(
            np.isin(digits.speaker, speakers) & ((digits.y == 0) == is_word))[::step]]
            for is_word, step in ((True, 6), (False, 36)))
        parts.append(Words(word, others, (0.02 * rng.normal(size=RATE * SECONDS)).astype(np.float32)))
    made = (make_clip(np.random.RandomState([seed, i]), parts[1]) for i in range(100))
    clip = next(clip for clip in made if len(clip.activates) > 1)
    dev = Dev("synthetic", np.stack([clip.samples] * 2, 1),
              [(first / 1000, last / 1000) for (first, last), _ in clip.activates])
    at = np.arange(RATE // 2) / RATE
    tone = np.float32(0.3 * np.sin(2 * np.pi * 880 * at) * np.exp(-6 * at))
    return Material("synthetic", parts[0], parts[1], [dev], np.stack([tone] * 2, 1))


def spoken_digits(digits: SpokenDigits, speakers: Sequence[int]) -> list[np.ndarray]:
    """One recording of each second digit by each."""
    return [trimmed(at_44100(digits.samples[np.flatnonzero((digits.speaker == s) & (digits.y == d))[7]]))
            for s in speakers for d in range(s % 2, 10, 2)]


def at_44100(x: np.ndarray) -> np.ndarray:
    return np.asarray(resample(voices.padded(x, 4096), 8000, RATE))


def narrow(x: np.ndarray) -> np.ndarray:
    """The recording without what is above 4 kHz."""
    there = resample(voices.padded(x), RATE, 8000)
    return np.asarray(resample(there, 8000, RATE))[:len(x)]


def faster_and_slower(recordings: list[np.ndarray]) -> list[np.ndarray]:
    """Each as it is, and at four other speeds: with the speed the pitch and the resonances move, as from voice to
    voice."""
    found = list(recordings)
    for up, down in ((4, 5), (9, 10), (11, 10), (6, 5)):
        found += [np.asarray(resample(voices.padded(x), down, up))[:-(-len(x) * up // down)] for x in recordings]
    return found


def trimmed(x: np.ndarray) -> np.ndarray:
    """The recording from the first place to the last that is at most QUIET under its loudest: so a label stands where
    the word ends, not the file."""
    n = RATE // 50
    loud = np.sqrt(np.convolve(np.square(x, dtype=np.float64), np.ones(n) / n, "same"))
    places = np.flatnonzero(loud > loud.max() * 10 ** (-QUIET / 20))
    return np.ascontiguousarray(x[places[0]:places[-1] + 1], np.float32) if len(places) else x


def tilted(x: np.ndarray, slope: float) -> np.ndarray:
    """x_n + slope x_{n-1}: duller for a slope above 0, brighter below, as microphones and rooms are."""
    return np.append(x[:1], x[1:] + np.float32(slope) * x[:-1])


def make_clip(random: np.random.RandomState, words: Words, *, tilt: float = 0.0) -> Clip:
    """Ten seconds at LEVEL: words of differing loudness over a background 10 to 55 decibels below them.

    tilt: the largest slope of `tilted`, drawn for each recording.
    """
    background = level_to(words.background, -20 - random.uniform(10, 55))
    background = np.roll(background, random.randint(len(background)))
    # Of all recordings some are drawn here, so that not all are changed for the few that a clip has.
    activates, negatives = ([level_to(tilted(some[i], random.uniform(-tilt, tilt)), -20 + random.uniform(-5, 5))
                             for i in random.randint(len(some), size=8)] for some in (words.activates, words.negatives))
    clip = synthesize(random, background, activates, negatives, rate=RATE, most_activates=4, most_negatives=4)
    return clip._replace(samples=level_to(clip.samples, LEVEL))
