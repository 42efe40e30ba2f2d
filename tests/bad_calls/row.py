"""A bad call: what it is, the call itself, and words that its refusal must have."""

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = ["Row", "faults", "why_not_refused"]


class Row(NamedTuple):
    """name: of the mistake, one of its own, "dense: a batch"; call: makes it; words: some of the refusal's, which says
    what was expected."""

    name: str
    call: Callable[[], Any]
    words: str = "expect"


# Python refuses a call that a signature does not fit, and names the function and the argument: no better words are due.
SIGNATURE = re.compile(r"missing \d+ required|unexpected keyword argument|positional arguments? but \d+|takes from \d+")


def why_not_refused(row: Row) -> str | None:
    """None where the call raises an error of the library's own with the words of the row; else what came instead."""
    try:
        value = row.call()
    except Exception as error:
        message = str(error)
        if type(error) is TypeError and SIGNATURE.search(message):
            return None
        if not type(error).__module__.startswith("jaxnn"):
            return f"foreign: {type(error).__name__}: {message[:200]}"
        return None if row.words in message else f"without {row.words!r}: {message[:300]}"
    return f"accepted: {repr(value)[:80]}"


def faults(rows: Iterable[Row]) -> list[str]:
    """What is wrong with the refusals of these rows, a line for each."""
    return [f"{row.name}: {why}" for row in rows if (why := why_not_refused(row)) is not None]
