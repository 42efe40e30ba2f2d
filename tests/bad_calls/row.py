"""A bad call: what it is, the call itself, and words that its refusal must have."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest

__all__ = ["Row", "each", "refused"]


class Row(NamedTuple):
    """name: of the mistake, one of its own; call: makes it; words: some of the refusal's."""

    name: str
    call: Callable[[], Any]
    words: str = ""


def refused(row: Row) -> None:
    """The call raises an error of the library's own, which says what was expected."""
    with pytest.raises(Exception) as caught:
        row.call()
    error = caught.value
    assert type(error).__module__.startswith("jaxnn"), f"{type(error).__name__}: {error}"
    message = str(error)
    assert "expect" in message, message
    assert row.words in message, message


def each(rows: Iterable[Row]) -> pytest.MarkDecorator:
    """Parameters for pytest; two rows of one name are refused."""
    rows = list(rows)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})
    return pytest.mark.parametrize("row", rows, ids=names)
