"""Knobs: the numbers of an experiment as one frozen dataclass, and its command line made from it.

    @dataclasses.dataclass(frozen=True)
    class Knobs(Configuration):
        epochs: int = knob(40, "passes over the training set; by the last, the dev error stops falling", at_least=1)

is the option `--epochs N`, whose `--help` says what it is, and where that helps, why its default is what it is.
"""

import argparse
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from jaxnn.checks import InputError

__all__ = ["Configuration", "add_options", "count", "from_options", "knob", "positive", "random_seed"]

KINDS = {int: "an integer", float: "a number", str: "a word"}


def knob(default: Any, meaning: str, *, at_least: float | None = None, above: float | None = None,
         below: float | None = None, choices: Sequence[Any] | None = None) -> Any:
    """A field of a `Knobs` dataclass.

    Args:
      default: an int, a float, a str, or a tuple of one of these; the option takes the same.
      meaning: what the number is, read behind the option's name in `--help`: "pictures in a batch". Why the default is
        what it is may follow after a semicolon: "; 32 is hardly better".
      at_least, above, below: bounds of the number, or of each in the tuple.
      choices: the values allowed.
    """
    limits = {"at_least": at_least, "above": above, "below": below, "choices": choices}
    return dataclasses.field(default=default, metadata={"meaning": meaning, **limits})


def count(default: Any, meaning: str) -> Any:
    """A knob that counts: steps, units, trials, the size of a batch; at least one."""
    return knob(default, meaning, at_least=1)


def positive(default: Any, meaning: str) -> Any:
    """A knob above zero: a learning rate, a standard deviation."""
    return knob(default, meaning, above=0)


def random_seed(default: int, meaning: str) -> Any:
    """The knob of what is drawn at random: 0 or more."""
    return knob(default, meaning, at_least=0)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """The base of every `Knobs`: refuses values out of bounds, in Python and on the command line alike."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            values = getattr(self, field.name)
            is_many = isinstance(field.default, tuple)
            if is_many and not (isinstance(values, tuple) and values):
                raise InputError(_option(field), f"expects at least one value; got {values!r}")
            for value in values if is_many else (values,):
                _check(field, value)


def _check(field: Any, value: Any) -> None:
    limits, kind = field.metadata, _kind(field)
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    expected = [KINDS[kind]]
    fits = isinstance(value, kind) or (kind is float and numeric)
    for words, holds in (("at least", lambda a, b: a >= b), ("above", lambda a, b: a > b),
                         ("below", lambda a, b: a < b)):
        limit = limits[words.replace(" ", "_")]
        if limit is not None:
            expected.append(f"{words} {limit:g}")
            fits = fits and holds(value, limit)
    if kind is float:
        fits = fits and math.isfinite(value)
    if limits["choices"] is not None:
        expected = [f"one of {', '.join(map(str, limits['choices']))}"]
        fits = value in limits["choices"]
    if not fits:
        raise InputError(_option(field), f"expects {' '.join(expected)}; got {value!r}")


def add_options(parser: argparse.ArgumentParser, knobs: type[Configuration]) -> None:
    """Adds one option for each field."""
    field: Any
    for field in dataclasses.fields(knobs):
        default, choices = field.default, field.metadata["choices"]
        is_many = isinstance(default, tuple)
        shown = " ".join(map(str, default)) if is_many else default
        help = f"{field.metadata['meaning']} (default: {shown})".replace("%", "%%")
        if choices is not None:
            help += f"; one of {', '.join(map(str, choices))}"
        parser.add_argument(_option(field), type=_reader(field), default=default, help=help,
                            nargs="+" if is_many else None, metavar="N" if _kind(field) is int else
                            "X" if _kind(field) is float else "WORD")


def from_options(knobs: type[Configuration], options: argparse.Namespace) -> Any:
    """The knobs that were given on the command line.

    Raises:
      InputError: a value is out of bounds.
    """
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(knobs)}
    return knobs(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})


def _reader(field: Any) -> Any:
    """Text to value; text that cannot be read stays text, and `Configuration` refuses it."""
    kind = _kind(field)

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            return text

    return read


def _kind(field: Any) -> type:
    return type(field.default[0] if isinstance(field.default, tuple) else field.default)


def _option(field: Any) -> str:
    return "--" + field.name.replace("_", "-")
