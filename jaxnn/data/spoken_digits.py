"""The Free Spoken Digit Dataset: digits in English, spoken by six people."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.members import bad_file
from jaxnn.data.sound_archive import read_sounds

__all__ = ["SpokenDigits", "load_spoken_digits"]

MEMBER = re.compile(r"recordings/([0-9])_([a-z]+)_([0-9]{1,2})\.wav")
N, RATE, N_TEST = 3000, 8000, 5


class SpokenDigits(NamedTuple):
    """Recordings, in the order of speaker, digit, number.

    samples: 3,000 arrays (frames,) float32 in [-1, 1), of 0.14 to 2.28 seconds.
    y: (3000,) int64, the digit.
    speaker: (3000,) int64, a place in speakers.
    number: (3000,) int64, 0 .. 49: which of its speaker's recordings of the digit.
    speakers: the six names.
    rate: 8,000 frames per second.
    """

    samples: tuple[np.ndarray, ...]
    y: np.ndarray
    speaker: np.ndarray
    number: np.ndarray
    speakers: tuple[str, ...]
    rate: int

    @property
    def is_test(self) -> np.ndarray:
        """(3000,) bool: the official test set, the numbers 0 to 4."""
        return self.number < N_TEST


def load_spoken_digits(directory: str | Path | None = None, *,
                       instead: str = "jaxnn.data.load_digits()") -> SpokenDigits:
    """Reads c5/fsdd/recordings.tar.gz: 50 recordings of each of ten digits by each of six speakers.

    The official test set has the speakers of the training set. A speaker who is to be new is left out by `speaker`.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: the file is not there.
      BadFile: it is damaged, or has other recordings.
    Source: Jakobovski et al., free-spoken-digit-dataset (CC BY-SA 4.0).
    """
    path = find("c5/fsdd/recordings.tar.gz", directory, instead=instead,
                how_to_get="pack the folder recordings of the repository Jakobovski/free-spoken-digit-dataset")
    found = read_sounds(path, MEMBER, rate=RATE)
    speakers = tuple(sorted({match[2] for _, match in found}))
    rows = sorted(((speakers.index(match[2]), int(match[1]), int(match[3]), sound.samples[:, 0])
                   for sound, match in found), key=lambda row: row[:3])
    keys = np.array([row[:3] for row in rows] or np.zeros((0, 3)), np.int64)
    expected = np.stack(np.meshgrid(range(6), range(10), range(50), indexing="ij"), -1).reshape(-1, 3)
    if not np.array_equal(keys, expected):
        raise bad_file(path, f"{N:,} recordings, 50 of ten digits by six speakers",
                       f"{len(keys):,} by {len(speakers)} speakers")
    return SpokenDigits(tuple(row[3] for row in rows), keys[:, 1], keys[:, 0], keys[:, 2], speakers, RATE)
