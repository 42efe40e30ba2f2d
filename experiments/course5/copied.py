"""How much of what a network writes is copied."""

from typing import Any

__all__ = ["longest_copy"]


def longest_copy(items: list[Any], sources: list[list[Any]]) -> int:
    """The most items in a row that stand in a row in one of the sources too."""
    places: dict[Any, list[tuple[int, int]]] = {}
    for n, source in enumerate(sources):
        for i, item in enumerate(source):
            places.setdefault(item, []).append((n, i))
    longest = 0
    lengths: dict[tuple[int, int], int] = {}  # of the run that ends here, by where it ends in the sources
    for item in items:
        lengths = {(n, i): lengths.get((n, i - 1), 0) + 1 for n, i in places.get(item, ())}
        longest = max([longest, *lengths.values()])
    return longest
