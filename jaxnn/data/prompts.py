"""The telephone exchange Asterisk's spoken prompts, with what is said in each."""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.data.directory import find
from jaxnn.data.lines import read_text_lines
from jaxnn.data.members import bad_file
from jaxnn.data.sound_archive import read_sounds

__all__ = ["Prompts", "load_prompts"]

MEMBER = re.compile(r"([a-z0-9_/-]+\.wav)", re.IGNORECASE)
N, RATE = 417, 8000


class Prompts(NamedTuple):
    """Prompts, in the order of their names.

    samples: 417 arrays (frames,) float32 in [-1, 1), of 0.6 to 73 seconds.
    texts: what is said, as it is written.
    names: of the files, such as "digits/1.wav".
    rate: 8,000 frames per second.
    """

    samples: tuple[np.ndarray, ...]
    texts: tuple[str, ...]
    names: tuple[str, ...]
    rate: int


def load_prompts(directory: str | Path | None = None, *, instead: str = "jaxnn.data.load_digits()") -> Prompts:
    """Reads c5/prompts/asterisk_en_wav.tar.xz and transcripts.tsv beside it: 18 minutes of English in one voice.

    Args:
      directory: the data directory, as in `data_directory`.
      instead: what the message of MissingData recommends.
    Raises:
      MissingData: a file is not there.
      BadFile: one is damaged, or a prompt has no text, or a text no prompt.
    Source: Debian package asterisk-core-sounds-en-wav; voice of Allison Smith (CC BY-SA 3.0).
    """
    path, text_path = (find(f"c5/prompts/{name}", directory, instead=instead, how_to_get=how)
                       for name, how in (("asterisk_en_wav.tar.xz", "pack the sounds of the Debian package "
                                          "asterisk-core-sounds-en-wav"),
                                         ("transcripts.tsv", "write a line for each: its name, a tab, what is said")))
    texts = {}
    for number, line in enumerate(read_text_lines(text_path), 1):
        name, tab, text = line.partition("\t")
        if not tab or not text.strip() or name in texts:
            raise bad_file(f"{text_path}, line {number}", "a name, a tab and a text, each name once", repr(line[:60]))
        texts[name] = text.strip()
    found = {match[1]: sound.samples[:, 0] for sound, match in read_sounds(path, MEMBER, rate=RATE)}
    if set(texts) != set(found) or len(found) != N:
        differ = sorted(set(texts) ^ set(found))
        raise bad_file(path, f"{N} prompts, each with a text in {text_path.name}",
                       f"{len(found)} and {len(texts)} texts" + (f"; {differ[0]!r} has no other" if differ else ""))
    names = tuple(sorted(found))
    return Prompts(tuple(found[name] for name in names), tuple(texts[name] for name in names), names, RATE)
