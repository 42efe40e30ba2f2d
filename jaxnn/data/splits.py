"""Examples dealt to training, development and test; features put on one scale."""

from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import InputError, as_numpy, expect, is_integer, is_number
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
      InputError: an argument is not as above, or a part would have no example.
    """
    expect(is_integer(n_examples, 3), "split", "n_examples, at least 3, one for each part", repr(n_examples),
           "add examples")
    expect(is_integer(seed, 0) and seed < 2**32, "split", "seed in 0 .. 2**32 - 1", repr(seed))
    n_examples, seed = int(n_examples), int(seed)
    is_three = isinstance(fractions, tuple | list) and len(fractions) == 3 and all(is_number(f) for f in fractions)
    expect(is_three and min(fractions) > 0 and abs(sum(fractions) - 1) <= 1e-9, "split",
           "three positive fractions (train, dev, test) that sum to 1", repr(fractions),
           "give for example (0.8, 0.1, 0.1)")
    strata = np.zeros(n_examples) if labels is None else as_numpy("split", "labels", labels)
    expect(strata.shape == (n_examples,), "split", f"labels of shape ({n_examples},), one for each example",
           f"shape {strata.shape}", "pass the labels of the examples being split")
    expect(strata.dtype != object, "split", "labels that sort, numbers or text", "Python objects")
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
            raise InputError("split", f"expects at least one example in each part; got none for {name}, "
                             f"{fraction:g} of {n_examples} examples; add examples or raise its fraction")
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
      InputError: as `check_examples`, or an array has other features than train.
    """
    arrays = [as_numpy("standardize", "x", x) for x in (train, *others)]
    for x in arrays:
        check_examples(x)
        if x.shape[1:] != arrays[0].shape[1:]:
            raise InputError("standardize", f"expects features of shape {arrays[0].shape[1:]}, as in train; "
                             f"got {x.shape[1:]}; select the same features in each part")
    fitted = arrays[0].astype(np.float64)
    mean = fitted.mean(axis=0)
    # Not std == 0: the mean of equal numbers is rounded, and their deviation may be 1e-17.
    constant = fitted.min(axis=0) == fitted.max(axis=0)
    scale = np.where(constant, 1.0, fitted.std(axis=0))
    return tuple((x - mean) / scale for x in arrays)
