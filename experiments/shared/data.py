"""Which data an experiment reads: real data where their files are found, else data that need no file."""

import textwrap
from collections.abc import Callable
from typing import TypeVar

from experiments.shared.run import say
from jaxnn.data import MissingData

__all__ = ["real_or_embedded"]

T = TypeVar("T")


def real_or_embedded(choice: str, real: str, load_real: Callable[[], T], load_embedded: Callable[[], T],
                     substitution: str) -> T:
    """The real data where the choice allows them and their files are found, else the embedded data.

    Args:
      choice: the value of a knob such as `--data`. "auto" takes the real data, and the embedded ones where a file is
        missing; `real` takes the real data or fails; any other value takes the embedded data and reads no file.
      real: the choice that names the real data.
      load_real, load_embedded: give the data; only what is needed is called.
      substitution: "X in place of Y", printed on a line above the reason where embedded data are taken because a
        file is missing.
    Raises:
      MissingData: the real data were asked for by name, and a file is missing.
      BadFile, InputError: as `load_real` or `load_embedded` raises them; a damaged file is never replaced.
    """
    if choice == real:
        return load_real()
    if choice == "auto":
        try:
            return load_real()
        except MissingData as missing:
            say(f"{substitution}:\n" + textwrap.fill(str(missing), 110, initial_indent="  ", subsequent_indent="  ",
                                                     break_long_words=False, break_on_hyphens=False))
    return load_embedded()
