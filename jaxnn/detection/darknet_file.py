"""Darknet's .cfg: a network as sections of text, [kind] and then name = value, one to a line.

    [convolutional]
    filters = 16     # a comment
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxnn.checks import InputError, as_path

__all__ = ["BadConfiguration", "Section", "parse_configuration", "read_configuration"]

MOST_BYTES = 2**20
MOST_SECTIONS = 2_000
MOST_SHOWN = 80  # letters of a value that a message repeats
LARGEST = 2**31 - 1  # Darknet's own integers have 32 bits
Value = str | int | float


class BadConfiguration(InputError):
    """A .cfg that cannot be read, or describes no network that can be built."""


class Section(NamedTuple):
    """kind: the word in brackets; line: where that stands, from 1; options: what is below, as text."""

    kind: str
    line: int
    options: Mapping[str, str]

    @property
    def place(self) -> str:
        return f"[{self.kind}] in line {self.line}"

    def integer(self, name: str, default: int | None = None, *, least: int | None = None) -> int:
        text = self.options.get(name)
        if text is None and default is not None:
            return default
        try:
            value = _number(text, int)
        except ValueError:
            raise self.bad(f"{name}, an integer of 32 bits", _quoted(text)) from None
        if least is not None and value < least:
            raise self.bad(f"{name} of at least {least}", str(value))
        return value

    def number(self, name: str, default: float) -> float:
        text = self.options.get(name)
        try:
            return default if text is None else _number(text, float)
        except ValueError:
            raise self.bad(f"{name}, a finite number", _quoted(text)) from None

    def numbers(self, name: str, kind: type = float) -> list:
        """Numbers separated by commas."""
        text = self.options.get(name)
        try:
            return [_number(part, kind) for part in str(text or "").split(",")]
        except ValueError:
            what = "integers of 32 bits" if kind is int else "finite numbers"
            raise self.bad(f"{name}, {what} separated by commas", _quoted(text)) from None

    def bad(self, expected: str, actual: str) -> BadConfiguration:
        actual = actual if len(actual) <= MOST_SHOWN else actual[:MOST_SHOWN] + "..."
        return BadConfiguration(self.place, f"expects {expected}; got {actual}")


def _number(text: str | None, kind: type) -> Any:
    value = kind(str(text))
    if abs(value) > LARGEST if kind is int else not math.isfinite(value):
        raise ValueError
    return value


def _quoted(text: str | None) -> str:
    return "none" if text is None else repr(text)


def read_configuration(path: str | Path) -> list[Section]:
    """The sections of a .cfg file.

    Raises:
      BadConfiguration: there is no such file, or it is not text, too large, or has no sections as above.
    """
    file = as_path("read_configuration", "path", path)
    who = str(file)
    try:
        if not file.is_file():
            raise BadConfiguration(who, "expects a .cfg file of Darknet; got no such file")
        with file.open("rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise BadConfiguration(who, f"expects a file that can be read; got {error.strerror}") from error
    if len(data) > MOST_BYTES:
        raise BadConfiguration(who, f"expects at most {MOST_BYTES:,} bytes of text; got more; is it the .weights file?")
    try:
        return parse_configuration(data.decode("utf-8"), who)
    except UnicodeDecodeError:
        raise BadConfiguration(who, "expects text; got bytes that are none; is it the .weights file?") from None


def parse_configuration(text: str, who: str = "the configuration") -> list[Section]:
    """The sections of a configuration; [net] is the first."""
    sections: list[Section] = []
    options: dict[str, str] = {}  # of the latest section
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split(";")[0].strip()
        if not words:
            continue
        if words.startswith("["):
            if not words.endswith("]"):
                raise BadConfiguration(who, f"line {number} expects a kind in brackets; got {words[:60]!r}")
            options = {}
            sections.append(Section(words[1:-1].strip(), number, options))
            continue
        name, equals, value = words.partition("=")
        if not equals or not sections:
            raise BadConfiguration(who, f"line {number} expects {'name = value' if sections else '[net] first'}; got "
                                   f"{words[:60]!r}")
        if name.strip() in options:
            raise BadConfiguration(who, f"line {number} expects one value for each name; got {name.strip()!r} again")
        options[name.strip()] = value.strip()
    if not sections or sections[0].kind not in ("net", "network"):
        raise BadConfiguration(who, f"expects [net] as its first section; got "
                               f"{f'[{sections[0].kind}]' if sections else 'no section'}")
    if not 2 <= len(sections) <= MOST_SECTIONS:
        raise BadConfiguration(who, f"expects from 1 to {MOST_SECTIONS:,} sections after [net]; got "
                               f"{len(sections) - 1:,}")
    return sections
