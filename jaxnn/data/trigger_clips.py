"""The course's recordings for trigger-word detection: the word "activate", other words, backgrounds, clips."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import data_directory
from jaxnn.data.members import bad_file
from jaxnn.data.wav import read_wav
from jaxnn.file_errors import MissingData

__all__ = ["Recording", "TriggerClips", "load_trigger_clips"]

RATE, SECONDS = 44_100, 10
COUNTS = {"activates": 10, "negatives": 10, "backgrounds": 2, "dev": 2}
NAME = re.compile(r"([0-9]+)(?:_(\w+))?\.wav")
MAX_BYTES = 2**22
ASSIGNMENT = "'Trigger word detection' (Deep Learning Specialization, course 5, week 3)"


class Recording(NamedTuple):
    """One file.

    samples: (frames, 2) float32 in [-1, 1); of a file with one channel, that one twice.
    name: such as "3_act2".
    group: what stands behind the number, "" for nothing: recordings that were made together, as far as their names
      tell. A split keeps a group together.
    """

    samples: np.ndarray
    name: str
    group: str


class TriggerClips(NamedTuple):
    """The files of one folder each, in the order of their names.

    activates: 10 recordings of the word "activate", of 0.7 to 2.4 seconds.
    negatives: 10 of other words.
    backgrounds: 2 of noise, 10 seconds each.
    dev: 2 clips of 10 seconds, in which people speak; where the word is in them was not published.
    chime: the sound that answers.
    rate: 44,100 frames per second.
    """

    activates: tuple[Recording, ...]
    negatives: tuple[Recording, ...]
    backgrounds: tuple[Recording, ...]
    dev: tuple[Recording, ...]
    chime: Recording
    rate: int


def load_trigger_clips(directory: str | Path | None = None, *,
                       instead: str = "jaxnn.data.load_digits()") -> TriggerClips:
    """Reads c5/trigger/raw_data/*/*.wav and c5/trigger/audio_examples/chime.wav.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: a folder or a file is not there.
      BadFile: a file is damaged, of another rate or length, or there are others than the course's.
    Source: Deep Learning Specialization, course 5, week 3.
    """
    root = data_directory(directory) / "c5" / "trigger"
    folders = {name: root / "raw_data" / name for name in COUNTS}
    chime = root / "audio_examples" / "chime.wav"
    for place in (*folders.values(), chime):
        if not place.exists():
            raise MissingData(f"{place.relative_to(root.parent.parent)} was expected at {place}; got no such file; "
                              f"download raw_data and audio_examples from the assignment {ASSIGNMENT}; or use "
                              f"{instead}, which needs no file")
    parts = {name: _folder(folder, COUNTS[name], whole=name in ("backgrounds", "dev"))
             for name, folder in folders.items()}
    return TriggerClips(**parts, chime=_recording(chime, ""), rate=RATE)


def _folder(folder: Path, n: int, *, whole: bool) -> tuple[Recording, ...]:
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".wav")
    if len(paths) != n:
        raise bad_file(folder, f"{n} WAV files", str(len(paths)))
    recordings = []
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match is None:
            raise bad_file(path, "a name such as 1.wav or 1_act2.wav", path.name)
        recordings.append(_recording(path, match[2] or ""))
        if whole and len(recordings[-1].samples) != RATE * SECONDS:
            raise bad_file(path, f"{SECONDS} seconds", f"{len(recordings[-1].samples) / RATE:.3f}")
    return tuple(recordings)


def _recording(path: Path, group: str) -> Recording:
    sound = read_wav(path, max_bytes=MAX_BYTES)
    channels = sound.samples.shape[1]
    if sound.rate != RATE or channels > 2 or not 0 < len(sound.samples) <= RATE * SECONDS:
        raise bad_file(path, f"at most {SECONDS} seconds of one or two channels with {RATE:,} frames a second",
                       f"{sound.seconds:.3f} seconds of {channels} with {sound.rate:,}")
    return Recording(np.broadcast_to(sound.samples, (len(sound.samples), 2)), path.stem, group)
