"""Examples dealt to training, development and test; features put on one scale."""

import operator
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data.checks import check_examples

__all__ = ["Split", "split", "standardize"]


class Split(NamedTuple):
    """Indices of examples, int64, shuffled: `x[part.train], y[part.train]`."""

    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def split(
    n_examples: int,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    *,
    seed: int,
    labels: Any = None,
) -> Split:
    """Deals the examples 0..n_examples-1 at random to three parts, each to exactly one.

    Args:
      n_examples: at least 3.
      fractions: of train, dev and test; positive, summing to 1.
      seed: 0..2**32-1; the same seed gives the same split on every machine.
      labels: (n_examples,) of any dtype that sorts. Given, the split is stratified: each part's
        count of each class is within one example of its fraction. A class of few examples can so be
        missing from a part.
    Raises:
      TypeError: n_examples or seed is no integer.
      ValueError: fractions or labels are not as above, or a part would have no example.
    """
    n_examples, seed = operator.index(n_examples), operator.index(seed)
    if len(fractions) != 3 or not all(f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(
            "split expects three positive fractions (train, dev, test) that sum to 1; "
            f"got {tuple(fractions)}; give for example (0.8, 0.1, 0.1)"
        )
    if n_examples < 3:
        raise ValueError(
            f"split expects at least 3 examples, one for each part; got {n_examples}; add examples"
        )
    strata = np.zeros(n_examples) if labels is None else np.asarray(labels)
    if strata.shape != (n_examples,):
        raise ValueError(
            f"split expects labels of shape ({n_examples},), one for each example; "
            f"got shape {strata.shape}; pass the labels of the examples being split"
        )
    random = np.random.RandomState(seed)  # frozen by NumPy, so a split outlives its releases
    dealt: list[list[np.ndarray]] = [[], [], []]
    owed = np.zeros(3)  # examples by which each part is behind, over the classes so far
    classes, members_class = np.unique(strata, return_inverse=True)  # NaN would equal no label
    for k in range(len(classes)):
        members = random.permutation(np.flatnonzero(members_class == k))
        quota = len(members) * np.asarray(fractions)
        counts = np.floor(quota).astype(int)
        # The examples that rounding down leaves over go, one each, to the parts furthest behind: were it always the
        # same part, many small classes would leave another one empty.
        furthest = np.argsort(-(owed + quota - counts), kind="stable")
        counts[furthest[: len(members) - counts.sum()]] += 1
        owed += quota - counts
        for part, piece in zip(dealt, np.split(members, np.cumsum(counts)[:-1]), strict=True):
            part.append(piece)
    for name, fraction, part in zip(Split._fields, fractions, dealt, strict=True):
        if sum(map(len, part)) == 0:
            raise ValueError(
                f"split expects at least one example in each part; got none for {name}, "
                f"{fraction:g} of {n_examples} examples; add examples or raise its fraction"
            )
    return Split(*(random.permutation(np.concatenate(part)) for part in dealt))


def standardize(train: Any, *others: Any) -> tuple[np.ndarray, ...]:
    """Gives each feature mean 0 and standard deviation 1 on the training examples.

        x' = (x - mean(train)) / std(train)

    The other parts are moved by the same numbers, for they must not leak into the training. A
    feature that is constant on the training examples has no scale: it is centred, and otherwise
    left.

    Args:
      train: (B, ...) finite numbers; each position behind the first axis is a feature.
      others: (any, ...) with the same features.
    Returns:
      (train, *others), float64.
    Raises:
      TypeError, ValueError: as `check_examples`, or an array has other features than train.
    """
    arrays = [np.asarray(x) for x in (train, *others)]
    for x in arrays:
        check_examples(x)
        if x.shape[1:] != arrays[0].shape[1:]:
            raise ValueError(
                f"standardize expects features of shape {arrays[0].shape[1:]}, as in train; "
                f"got {x.shape[1:]}; select the same features in each part"
            )
    fitted = arrays[0].astype(np.float64)
    mean = fitted.mean(axis=0)
    # Not std == 0: the mean of equal numbers is rounded, and their deviation may be 1e-17.
    constant = fitted.min(axis=0) == fitted.max(axis=0)
    scale = np.where(constant, 1.0, fitted.std(axis=0))
    return tuple((x - mean) / scale for x in arrays)
