"""Remarks of a comparison beside its numbers: a kind, which the program reads, and words, which people read."""

import enum
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = ["Attempt", "Kind", "Remark", "attempt", "one_line"]


class Kind(enum.Enum):
    """What a remark means for the verdict."""

    FAILURE = enum.auto()
    """Something could not be compared, and f is to blame: the gradient does not count as right."""
    REFERENCE = enum.auto()
    """The reference's gradient is contradicted by f's own value: the report is not ok, and f is not called wrong."""
    UNJUDGED = enum.auto()
    """A part of the gradient is judged by nothing: the report is not ok, and f is not called wrong."""
    NOT_RUN = enum.auto()
    """Something was asked for and could not be run here: whoever asked should know."""
    NOTE = enum.auto()
    """All else."""


class Remark(NamedTuple):
    kind: Kind
    words: str


class Attempt(NamedTuple):
    """The results of a step of the comparison; none, and a remark, where the step raised."""

    results: tuple[Any, ...] = ()
    remarks: tuple[Remark, ...] = ()


def attempt(step: Callable[[], Iterable[Any]], words: str, kind: Kind = Kind.FAILURE) -> Attempt:
    """Runs a step of the comparison.

    Args:
      step: returns the results.
      words: the remark, ahead of the error, if the step raises.
      kind: of the remark, if the step raises.
    """
    try:
        return Attempt(tuple(step()))
    except Exception as error:
        return Attempt(remarks=(Remark(kind, f"{words} {one_line(error)}"),))


def one_line(error: BaseException) -> str:
    """The name of an error and the first line of its text."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    continues = len(lines) > 1 and lines[0].endswith((":", "error"))  # the first line is only a heading
    text = f"{lines[0]} {lines[1]}" if continues else lines[0]
    return f"{type(error).__name__}: {text}".rstrip(": ")
