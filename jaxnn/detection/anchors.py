"""Anchors: the usual sizes of boxes, found by k-means with 1 - IoU for a distance (Redmon & Farhadi 2017, section 2).

IoU is that of two boxes with one middle: it does not let large boxes count for more than small ones, as a distance
between sizes would.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_numpy, expect, is_integer

__all__ = ["Anchors", "cluster_anchors", "expect_anchors", "size_iou"]


class Anchors(NamedTuple):
    sizes: np.ndarray
    """(k, 2) float64, width and height, the smallest area first."""
    cluster: np.ndarray
    """(n,) for each box its anchor."""
    mean_iou: float
    """Of each box with its anchor."""


def size_iou(a: Any, b: Any) -> np.ndarray:
    """(n, m): IoU of boxes of sizes a, (n, 2), and b, (m, 2), with one middle."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    shared = np.minimum(a[:, None], b).prod(-1)
    return shared / (a.prod(-1)[:, None] + b.prod(-1) - shared)


def cluster_anchors(sizes: Any, k: int, *, seed: int = 0, tries: int = 10, most_rounds: int = 300) -> Anchors:
    """The k sizes that have the largest mean IoU with the boxes that are nearest to each, of several tries.

    A try starts from k different boxes at random. Each box then goes to the anchor of the largest IoU, and each anchor
    becomes the median size of its boxes, until no box moves.

    Args:
      sizes: (n, 2) widths and heights, above 0, in any unit.
      k: how many anchors; there must be as many different sizes.
      seed: of the starts. tries: how many. most_rounds: of one try.
    Raises:
      InputError: a size is 0, negative or not finite, or there are fewer different sizes than anchors.
    """
    who = "cluster_anchors"
    values = as_numpy(who, "sizes", sizes)
    expect(values.ndim == 2 and values.shape[1:] == (2,) and values.dtype.kind in "fiu", who,
           "sizes of shape (n, 2), width and height", f"{values.dtype}{list(values.shape)}")
    expect_sizes(who, "sizes", values)
    different = np.unique(values.astype(float), axis=0)
    expect(is_integer(k, 1) and k <= len(different), who, f"k from 1 to the {len(different)} different sizes", repr(k))
    for name, number in (("tries", tries), ("most_rounds", most_rounds)):
        expect(is_integer(number, 1), who, f"{name}, a positive integer", repr(number))
    rng = np.random.default_rng(seed)
    found = [_one_try(values.astype(float), different[rng.choice(len(different), k, replace=False)], most_rounds)
             for _ in range(tries)]
    return max(found, key=lambda anchors: anchors.mean_iou)


def expect_anchors(who: str, anchors: Any) -> tuple[tuple[float, float], ...]:
    """Anchors as a tuple of pairs of numbers above 0."""
    values = as_numpy(who, "anchors", anchors)
    fits = values.ndim == 2 and values.shape[1:] == (2,) and len(values) and values.dtype.kind in "fiu"
    expect(bool(fits), who, "anchors of shape (k, 2), width and height", f"{values.dtype}{list(values.shape)}")
    expect_sizes(who, "anchors", values)
    return tuple((float(w), float(h)) for w, h in values)


def expect_sizes(who: str, name: str, values: np.ndarray) -> None:
    wrong = ~(np.isfinite(values) & (values > 0)).all(-1)
    expect(len(values) > 0, who, f"at least one of {name}", "none", "are all boxes without an area left out?")
    expect(not wrong.any(), who, f"{name} of finite widths and heights above 0",
           f"{values[wrong][0].tolist() if wrong.any() else ''} at index {int(wrong.argmax())}",
           "leave out boxes without an area")


def _one_try(sizes: np.ndarray, anchors: np.ndarray, most_rounds: int) -> Anchors:
    cluster = np.full(len(sizes), -1)
    for _ in range(most_rounds):
        nearest = size_iou(sizes, anchors).argmax(1)
        if (nearest == cluster).all():
            break
        cluster = nearest
        # An anchor without boxes stays where it is.
        anchors = np.array([np.median(sizes[cluster == j], 0) if (cluster == j).any() else anchors[j]
                            for j in range(len(anchors))])
    order = np.argsort(anchors.prod(1), kind="stable")
    overlaps = size_iou(sizes, anchors[order])
    return Anchors(anchors[order], overlaps.argmax(1), float(overlaps.max(1).mean()))
