"""What trigger-word clips are made of: the word, other words, backgrounds, in groups that training or the test has."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.course5.speech import voices
from experiments.course5.speech.recordings import level_to, synthetic_digits
from experiments.shared.data import real_or_embedded
from experiments.shared.run import say
from jaxnn.audio import Clip, insert_ones, resample, synthesize
from jaxnn.data import (
    MissingData,
    Prompts,
    Recording,
    SpokenDigits,
    TriggerClips,
    load_prompts,
    load_spoken_digits,
    load_trigger_clips,
)

__all__ = ["GROUPS", "LEVEL", "RATE", "Dev", "Material", "Spoken", "Words", "load", "make_clip", "trimmed"]

RATE, SECONDS = 44_100, 10
GROUPS = ("plain", "act2", "act3")  # of the course's recordings of the word, by the ends of their names
OTHER_WORDS = ("active", "motivate", "captivate", "hello", "attic", "computer", "innovate", "actor", "weather")
# Where the word is in the course's two dev clips, seconds. This was not published. It was read from the spectrograms,
# and compared with the recordings by dynamic time warping of cepstra: the six nearest to each are all the word.
DEV_WORDS = {"1": [(1.93, 2.56)], "2": [(1.60, 2.28), (4.22, 4.90)]}
# Where the word is in the course's recordings of it, seconds, read from their spectrograms: from its first vowel to the
# end of its last, as in DEV_WORDS. Loudness does not tell: some have clicks and hum, up to half a second from the word.
RECORDED_WORDS = {
    "1": (0.0, 0.50), "2": (0.0, 0.54), "3": (0.0, 0.51), "1_act2": (0.09, 0.57), "2_act2": (0.0, 0.49),
    "3_act2": (0.28, 0.72), "4_act2": (0.0, 0.50), "1_act3": (0.64, 1.32), "2_act3": (0.48, 1.07),
    "3_act3": (1.19, 1.90)}
BEFORE, BEHIND = 0.1, 0.3  # seconds of a recording that are kept on both sides of its word
FADE = (0.005, 0.05)  # seconds in which an inserted recording comes and goes
QUIET = 28.0  # decibels under the loudest place, where a recording's word begins and ends
LEVEL = -20.0  # decibels of a whole clip, as in the course


class Spoken(NamedTuple):
    """A recording, (n,) float32 at RATE, and where its word begins and ends, seconds."""

    samples: np.ndarray
    first: float
    last: float


class Words(NamedTuple):
    """Recordings of the word and of others, and backgrounds (n,) of ten seconds or more, which are mixed."""

    activates: list[Spoken]
    negatives: list[Spoken]
    backgrounds: list[np.ndarray]


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
    """The held-out group of the word, half of the other words' groups and the second background are the test's. Halves
    of the word and pieces of prompts are among training's other words, pink noise and prompts among its backgrounds."""
    group = "" if held_out == "plain" else held_out
    mine: dict[str, list[list[Spoken]]] = {"train": [[], []], "test": [[], []]}
    for r in clips.activates:
        mine["test" if r.group == group else "train"][0].append(word_of(r))
    for r in clips.negatives:
        mine["test" if r.group in ("1", "2") else "train"][1].append(whole(trimmed(r.samples[:, 0])))
    backgrounds = {part: [b.samples[:, 0]] for part, b in zip(("train", "test"), clips.backgrounds, strict=True)}
    backgrounds["train"].append(pink_noise(np.random.default_rng(0)))
    mine["train"][1] += [part for spoken in mine["train"][0] for part in parts_of(spoken)]
    try:
        digits = load_spoken_digits(data_dir)
        for part, speakers in (("train", (0, 1, 2, 3)), ("test", (4, 5))):
            mine[part][1] += spoken_digits(digits, speakers)
        say(f"digits of {', '.join(digits.speakers[:4])} among the other words of training, of "
            f"{', '.join(digits.speakers[4:])} of the test")
    except MissingData as missing:
        say(f"no digits among the other words: {missing}")
    try:
        pieces, speech = prompt_sounds(load_prompts(data_dir))
        mine["train"][1] += pieces
        backgrounds["train"].append(speech)
        say(f"{len(pieces)} pieces of spoken prompts among the other words of training, and as a background")
    except MissingData as missing:
        say(f"no prompts among the other words: {missing}")
    if use_voices and voices.installed():
        mine["train"][0] += [with_t(trimmed(x)) for x in voices.spoken(["activate"], voices.VOICES, RATE)]
        mine["train"][1] += [whole(trimmed(x)) for x in voices.spoken(OTHER_WORDS, voices.VOICES[::4], RATE)]
        say(f"{len(voices.VOICES)} voices of espeak-ng in training; the test has people alone")
    elif use_voices:
        say("without espeak-ng's voices: the program is not installed")
    # The digits have no sound above 4 kHz: a network would know the word by having some. So the word is heard so, too.
    mine["train"][0] += [narrow(x) for x in mine["train"][0]]
    mine["train"] = [faster_and_slower(recordings) for recordings in mine["train"]]
    train, test = (Words(mine[part][0], mine[part][1], backgrounds[part]) for part in ("train", "test"))
    dev = [Dev(r.name, r.samples, DEV_WORDS[r.name]) for r in clips.dev]
    return Material("recordings", train, test, dev, clips.chime.samples)


def of_synthetic(digits: SpokenDigits, seed: int) -> Material:
    """The "digit" 0 is the word, the others are other words; four voices for training, two for the test."""
    rng = np.random.default_rng(seed)
    parts = []
    for speakers in ((0, 2, 3, 5), (1, 4)):
        word, others = ([whole(trimmed(at_44100(digits.samples[i]))) for i in np.flatnonzero(
            np.isin(digits.speaker, speakers) & ((digits.y == 0) == is_word))[::step]]
            for is_word, step in ((True, 6), (False, 36)))
        parts.append(Words(word, others, [(0.02 * rng.normal(size=RATE * SECONDS)).astype(np.float32)]))
    made = (make_clip(np.random.RandomState([seed, i]), parts[1]) for i in range(100))
    clip = next(clip for clip in made if len(clip.activates) > 1)
    dev = Dev("synthetic", np.stack([clip.samples] * 2, 1),
              [(first / 1000, last / 1000) for (first, last), _ in clip.activates])
    at = np.arange(RATE // 2) / RATE
    tone = np.float32(0.3 * np.sin(2 * np.pi * 880 * at) * np.exp(-6 * at))
    return Material("synthetic", parts[0], parts[1], [dev], np.stack([tone] * 2, 1))


def whole(x: np.ndarray) -> Spoken:
    """A recording that is all word."""
    return Spoken(x, 0.0, len(x) / RATE)


def with_t(x: np.ndarray) -> Spoken:
    """The word by a voice of espeak-ng: its last vowel ends a tenth of a second before the t does."""
    return Spoken(x, 0.0, len(x) / RATE - 0.1)


def word_of(recording: Recording) -> Spoken:
    """The trigger word, where RECORDED_WORDS has it, with what is around; of a file of another name the loud part."""
    x = recording.samples[:, 0]
    if recording.name not in RECORDED_WORDS:
        return whole(trimmed(x))
    first, last = RECORDED_WORDS[recording.name]
    begin = max(0.0, first - BEFORE)
    kept = np.ascontiguousarray(x[round(RATE * begin):round(RATE * (last + BEHIND))])
    return Spoken(kept, first - begin, last - begin)


def parts_of(spoken: Spoken) -> list[Spoken]:
    """The first half of a word and its second half, which are not the word."""
    first, middle, last = (round(RATE * t) for t in (spoken.first, (spoken.first + spoken.last) / 2, spoken.last))
    return [whole(spoken.samples[first:middle]), whole(spoken.samples[middle:last])]


def pink_noise(rng: np.random.Generator) -> np.ndarray:
    """SECONDS of noise whose power falls as 1 / frequency."""
    spectrum = np.fft.rfft(rng.normal(size=RATE * SECONDS))
    return np.fft.irfft(spectrum / np.sqrt(1 + np.arange(len(spectrum)))).astype(np.float32)


def prompt_sounds(prompts: Prompts) -> tuple[list[Spoken], np.ndarray]:
    """(the first second and a half of each sixth prompt, a minute of the others one after another)."""
    pieces = [whole(trimmed(at_44100(x[:3 * prompts.rate // 2]))) for x in prompts.samples[::6]]
    speech = np.concatenate(prompts.samples[3::6])[:60 * prompts.rate]
    return pieces, at_44100(speech)


def spoken_digits(digits: SpokenDigits, speakers: Sequence[int]) -> list[Spoken]:
    """One recording of each second digit by each."""
    return [whole(trimmed(at_44100(digits.samples[np.flatnonzero((digits.speaker == s) & (digits.y == d))[7]])))
            for s in speakers for d in range(s % 2, 10, 2)]


def at_44100(x: np.ndarray) -> np.ndarray:
    return np.asarray(resample(voices.padded(x, 4096), 8000, RATE))[:len(x) * RATE // 8000]


def narrow(spoken: Spoken) -> Spoken:
    """The recording without what is above 4 kHz."""
    there = resample(voices.padded(spoken.samples), RATE, 8000)
    return spoken._replace(samples=np.asarray(resample(there, 8000, RATE))[:len(spoken.samples)])


def faster_and_slower(recordings: list[Spoken]) -> list[Spoken]:
    """Each as it is, and at four other speeds: with the speed the pitch and the resonances move, as from voice to
    voice."""
    found = list(recordings)
    for up, down in ((4, 5), (9, 10), (11, 10), (6, 5)):
        found += [Spoken(np.asarray(resample(voices.padded(x), down, up))[:-(-len(x) * up // down)], first * up / down,
                         last * up / down) for x, first, last in recordings]
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


def inserted(random: np.random.RandomState, spoken: Spoken, tilt: float) -> tuple[np.ndarray, float]:
    """(the recording as a clip has it, seconds from its beginning to the end of its word).

    What is before and behind the word is cut at places that are drawn, and comes and goes softly. If recordings began
    and ended at a set distance from the word, a network would hear the edges of the noise in them and not the word.
    """
    n = len(spoken.samples)
    first = round(RATE * random.uniform(0, spoken.first))
    last = min(n, round(RATE * random.uniform(spoken.last, n / RATE)))
    x = tilted(spoken.samples[first:last], random.uniform(-tilt, tilt))
    come, go = (min(round(RATE * seconds), len(x)) for seconds in random.uniform(*FADE, size=2))
    x[:come] *= np.linspace(0, 1, come, dtype=np.float32)
    x[len(x) - go:] *= np.linspace(1, 0, go, dtype=np.float32)
    return level_to(x, -20 + random.uniform(-5, 5)), spoken.last - first / RATE


def make_clip(random: np.random.RandomState, words: Words, *, tilt: float = 0.0) -> Clip:
    """Ten seconds at LEVEL: words of differing loudness over backgrounds, each of them 10 to 55 decibels lower.

    The segments of the trigger words end, and their labels begin, where the words end.

    tilt: the largest slope of `tilted`, drawn for each recording.
    """
    background = sum(level_to(np.roll(x, random.randint(len(x)))[:RATE * SECONDS], -20 - random.uniform(10, 55))
                     for x in words.backgrounds)
    # Of all recordings some are drawn here, so that not all are changed for the few that a clip has.
    activates, negatives = ([inserted(random, some[i], tilt) for i in random.randint(len(some), size=8)]
                            for some in (words.activates, words.negatives))
    clip = synthesize(random, background, [x for x, _ in activates], [x for x, _ in negatives], rate=RATE,
                      most_activates=4, most_negatives=4)
    found = [((first, first + round(1000 * activates[i][1])), i) for (first, _), i in clip.activates]
    y = np.zeros_like(clip.y)
    for (_, last), _ in found:
        y = insert_ones(y, last)
    return clip._replace(samples=level_to(clip.samples, LEVEL), y=y, activates=found)
