"""Who is this? Distances between embeddings of faces: verification, identification, and what a training does to them.

    verification      are these two pictures of one person? The distance is compared with a threshold.
    identification    which of the people known by one picture each is this? The nearest, or nobody where all are far.

A distance is Euclidean or squared, and says so: `Distances` and `Threshold` carry their kind, and one is never compared
with the other. Of unit vectors the course's .7 is a Euclidean distance, 0.49 a squared one.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import InputError, as_numpy, expect, is_integer, is_number
from jaxnn.ops import triplet_loss
from jaxnn.ops.distances import expect_distance

__all__ = ["Distances", "HardTriplets", "Roc", "Threshold", "all_pairs", "choose_threshold", "collapse", "distances",
           "hardest_triplets", "identify", "one_shot", "roc", "same_person"]


class Distances(NamedTuple):
    """values: of any shape. kind: "euclidean" or "squared"."""

    values: np.ndarray
    kind: str


class Threshold(NamedTuple):
    """Two pictures at this distance or less are taken for one person. kind: of the distance, "euclidean" or
    "squared"."""

    value: float
    kind: str

    def on(self, kind: str) -> "Threshold":
        """The same threshold for the other kind of distance."""
        expect_distance("Threshold", kind)
        if kind == self.kind:
            return self
        return Threshold(self.value**2 if kind == "squared" else self.value**0.5, kind)


class Roc(NamedTuple):
    """Of pairs, how many are accepted at each threshold, from the least distance to the largest.

    thresholds: (n,) distances. accepted_same: (n,) the fraction of one person's pairs. accepted_other: (n,) of two
    people's pairs. area: under the curve, the chance that a pair of one person is nearer than one of two. equal_error:
    where as many pairs of one person are refused as of two people accepted.
    """

    thresholds: np.ndarray
    accepted_same: np.ndarray
    accepted_other: np.ndarray
    area: float
    equal_error: float


class HardTriplets(NamedTuple):
    """places: (n, 3) of anchor, positive and negative. losses: (n,). pulls: (n,), the length of the loss's gradient at
    the three embeddings together."""

    places: np.ndarray
    losses: np.ndarray
    pulls: np.ndarray


def distances(a: Any, b: Any, kind: str = "euclidean") -> Distances:
    """Between all a (n, features) and all b (m, features): (n, m)."""
    expect_distance("distances", kind)
    a, b = (as_numpy("distances", name, x).astype(np.float64) for name, x in (("a", a), ("b", b)))
    expect(a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1], "distances", "a (n, features) and b (m, features)",
           f"{a.shape} and {b.shape}")
    square = np.stack([((row - b) ** 2).sum(-1) for row in a]) if len(a) else np.zeros((0, len(b)))
    return Distances(square if kind == "squared" else np.sqrt(square), kind)


def same_person(found: Distances, threshold: Threshold) -> np.ndarray:
    """Whether each distance is within the threshold.

    Raises:
      InputError: one is squared and the other is not.
    """
    if found.kind != threshold.kind:
        raise InputError("same_person", f"expects distance and threshold of one kind; got {found.kind} distances and a "
                         f"threshold of {threshold.value:g} for {threshold.kind} ones; pass threshold.on("
                         f"'{found.kind}'), {threshold.on(found.kind).value:.4g}")
    return found.values <= threshold.value


def all_pairs(embeddings: Any, people: Any, kind: str = "euclidean") -> tuple[Distances, np.ndarray]:
    """(distances, same): of every two pictures once, (n (n - 1) / 2,), and whether they are of one person."""
    people = _people("all_pairs", embeddings, people)
    of_all = distances(embeddings, embeddings, kind)
    above = np.triu_indices(len(people), 1)
    return Distances(of_all.values[above], kind), (people[:, None] == people)[above]


def roc(found: Distances, same: Any) -> Roc:
    """The receiver's operating characteristic of a verification by distance.

    Args:
      found: (n,) distances of pairs.
      same: (n,) booleans, whether the two are one person; some are, and some are not.
    Source: Fawcett (2006), algorithm 1; equal distances are one step of the curve.
    """
    same = np.asarray(same)
    expect(same.dtype == bool and same.shape == found.values.shape and same.ndim == 1, "roc",
           "booleans of the shape of the distances, (n,)", f"{same.dtype}{list(same.shape)} and "
           f"{list(found.values.shape)}")
    expect(bool(same.any() and not same.all()), "roc", "pairs of one person and pairs of two",
           f"{int(same.sum())} and {int((~same).sum())}")
    expect(bool(np.isfinite(found.values).all()), "roc", "finite distances",
           f"{int((~np.isfinite(found.values)).sum())} that are not")
    order = np.argsort(found.values, kind="stable")
    values, is_same = found.values[order], same[order]
    last = np.append(values[1:] != values[:-1], True)  # of equal ones
    accepted_same = np.cumsum(is_same)[last] / is_same.sum()
    accepted_other = np.cumsum(~is_same)[last] / (~is_same).sum()
    tpr, fpr = np.append(0, accepted_same), np.append(0, accepted_other)
    area = float(np.sum(np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2))
    at = int(np.argmin(np.abs(1 - tpr - fpr)))
    return Roc(values[last], accepted_same, accepted_other, area, float((1 - tpr[at] + fpr[at]) / 2))


def choose_threshold(found: Distances, same: Any) -> Threshold:
    """The threshold with the best balanced accuracy, the mean of the pairs of one person that it accepts and of the
    pairs of two that it refuses; between two distances, so that it does not hang on one pair.

    It is chosen on some people and must be measured on others.
    """
    curve = roc(found, same)
    best = int(np.argmax(curve.accepted_same - curve.accepted_other))
    above = curve.thresholds[min(best + 1, len(curve.thresholds) - 1)]
    return Threshold(float((curve.thresholds[best] + above) / 2), found.kind)


def identify(found: Distances, threshold: Threshold | None = None) -> np.ndarray:
    """For each of n pictures the nearest of m known ones, (n,) their places; -1 for nobody within the threshold.

    found: (n, m).
    """
    expect(found.values.ndim == 2 and found.values.shape[1] > 0, "identify", "distances (n, m) to at least one known "
           "picture", str(found.values.shape))
    nearest: np.ndarray = found.values.argmin(1)
    if threshold is None:
        return nearest
    is_near = same_person(Distances(found.values.min(1), found.kind), threshold)
    return np.where(is_near, nearest, -1)


def one_shot(embeddings: Any, people: Any) -> np.ndarray:
    """Of identification with one known picture for each person: the fraction of the others that is right, (k,), once
    for each choice of the known picture, the first of each person, the second and so on; k is the least number of
    pictures of one person."""
    people = _people("one_shot", embeddings, people)
    places = [np.flatnonzero(people == person) for person in np.unique(people)]
    k = min(map(len, places))
    expect(len(places) > 1 and k > 1, "one_shot", "at least two people with two pictures each",
           f"{len(places)} people, the least with {k}")
    found = distances(embeddings, embeddings)
    rates = []
    for i in range(k):
        known = np.array([of[i] for of in places])
        others = np.setdiff1d(np.arange(len(people)), known)
        read = people[known][identify(Distances(found.values[np.ix_(others, known)], found.kind))]
        rates.append(float(np.mean(read == people[others])))
    return np.array(rates)


def collapse(embeddings: Any, loss: float, margin: float, distance: str = "squared") -> str | None:
    """A sentence where the embedding has collapsed, all pictures to nearly one point; else None.

    Then all distances vanish beside the margin, each triplet costs the margin, and no triplet has a gradient: the
    training stays there, and its loss looks merely flat. Two signs must agree: the loss is at the margin, within 5 %,
    and the mean distance of two embeddings is below 5 % of the margin.

    Args:
      embeddings: (n, features), of several people.
      loss: the mean triplet loss.
      margin, distance: of the loss, "squared" or "euclidean".
    """
    e = as_numpy("collapse", "embeddings", embeddings).astype(np.float64)
    expect(e.ndim == 2 and len(e) > 1, "collapse", "embeddings (n, features) of at least two pictures", str(e.shape))
    expect(is_number(margin) and margin > 0, "collapse", "a margin > 0", repr(margin))
    expect_distance("collapse", distance)
    square = 2 * float(e.var(0).sum())  # the mean over all pairs is twice the variance
    spread = square if distance == "squared" else square**0.5
    if spread > 0.05 * margin or abs(loss - margin) > 0.05 * margin:
        return None
    return (f"the embedding has collapsed: the loss {loss:.4g} is the margin {margin:g}, and the mean {distance} "
            f"distance of its {len(e)} points is {spread:.2g}; try semi-hard mining, a smaller learning rate or more "
            "people in a batch")


def hardest_triplets(embeddings: Any, people: Any, *, margin: float = 0.2, n: int = 10,
                     distance: str = "squared") -> HardTriplets:
    """The n triplets with the largest triplet loss, no anchor twice, and how they pull.

    For each anchor it is the farthest picture of the same person and the nearest of another: with this triplet the
    anchor costs most. The pull is the length of the gradient at anchor, positive and negative together, by the explicit
    backward pass of `triplet_loss`. Those that cost nothing are left out.
    """
    people = _people("hardest_triplets", embeddings, people)
    expect(is_integer(n, 1), "hardest_triplets", "n, a positive integer", repr(n))
    e = np.asarray(embeddings, np.float32)
    found = distances(e, e, distance).values
    same = people[:, None] == people
    positive = np.where(same & ~np.eye(len(e), dtype=bool), found, -np.inf).argmax(1)
    negative = np.where(same, np.inf, found).argmin(1)
    places = np.stack([np.arange(len(e)), positive, negative], 1)
    places = places[same.sum(1) > 1] if (~same).any() else places[:0]
    expect(len(places) > 0, "hardest_triplets", "at least two people, one of them with two pictures",
           f"{len(e)} pictures of {len(np.unique(people))} people")
    losses, cache = triplet_loss.forward(*(e[places[:, i]] for i in range(3)), margin=margin, distance=distance,
                                         axes=())
    grads = triplet_loss.backward(cache, np.ones(len(places), np.float32))[:3]
    pulls = np.sqrt(sum(np.sum(np.square(g), -1) for g in grads))
    order = [i for i in np.argsort(-np.asarray(losses), kind="stable")[:n] if losses[i] > 0]
    return HardTriplets(places[order], np.asarray(losses)[order], pulls[order])


def _people(who: str, embeddings: Any, people: Any) -> np.ndarray:
    people, e = np.asarray(people), as_numpy(who, "embeddings", embeddings)
    expect(e.ndim == 2 and people.shape == (len(e),), who, "embeddings (n, features) and people (n,)",
           f"{e.shape} and {people.shape}")
    return people
