"""A split in which no group is in two parts: no speaker, person, patient or film both taught and tested."""

from typing import Any

import numpy as np

from jaxnn.checks import as_numpy, expect, is_integer, is_number
from jaxnn.data.splits import Split

__all__ = ["split_groups"]


def split_groups(groups: Any, fractions: tuple[float, float, float] = (0.8, 0.1, 0.1), *, seed: int,
                 labels: Any = None) -> Split:
    """Deals whole groups of examples to train, dev and test.

    The groups are dealt one after another, the largest first and those of one size in a random order, each to the part
    that is furthest behind its fraction; a part that would be left without a group gets one first. Groups cannot be
    divided, so the parts have their fractions only roughly.

    Args:
      groups: (n,) of any dtype that sorts: the group of each example. At least 3 groups.
      fractions: of train, dev and test; positive, summing to 1.
      seed: 0..2**32-1; the same seed gives the same split on every machine.
      labels: (n,) of any dtype that sorts. Given, a group goes to the part where it brings the counts of the classes
        nearest to their fractions.
    Raises:
      InputError: an argument is not as above.

    >>> part = split_groups(np.array(["ann", "ann", "bob", "bob", "eve", "eve"]), (0.4, 0.3, 0.3), seed=0)
    >>> [len(places) for places in part]
    [2, 2, 2]
    """
    who = "split_groups"
    groups = as_numpy(who, "groups", groups)
    expect(groups.ndim == 1 and groups.dtype != object, who, "groups, (n,) numbers or text that sort",
           f"{groups.dtype} of shape {groups.shape}")
    is_three = isinstance(fractions, tuple | list) and len(fractions) == 3 and all(is_number(f) for f in fractions)
    expect(is_three and min(fractions) > 0 and abs(sum(fractions) - 1) <= 1e-9, who,
           "three positive fractions (train, dev, test) that sum to 1", repr(fractions),
           "give for example (0.8, 0.1, 0.1)")
    expect(is_integer(seed, 0) and seed < 2**32, who, "seed in 0 .. 2**32 - 1", repr(seed))
    names, group = np.unique(groups, return_inverse=True)
    expect(len(names) >= 3, who, "at least 3 groups, one for each part", f"{len(names)} in {len(groups)} examples",
           "split by something finer, or use jaxnn.data.split")
    strata = np.zeros(len(groups), int)
    if labels is not None:
        labels = as_numpy(who, "labels", labels)
        expect(labels.shape == groups.shape and labels.dtype != object, who,
               f"labels of shape {groups.shape} that sort", f"{labels.dtype} of shape {labels.shape}")
        strata = np.unique(labels, return_inverse=True)[1]
    counts = np.zeros((len(names), strata.max() + 1))  # of the classes in each group
    np.add.at(counts, (group, strata), 1)

    random = np.random.RandomState(int(seed))  # frozen by NumPy, so a split outlives its releases
    order = random.permutation(len(names))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    share = np.asarray(fractions)[:, None]
    dealt, part_of = np.zeros((3, counts.shape[1])), np.empty(len(names), int)
    n_each = np.zeros(3, int)
    total = counts.sum(0)
    for i, g in enumerate(order):
        empty = np.flatnonzero(n_each == 0)
        parts = empty if len(names) - i <= len(empty) else np.arange(3)
        # How far each class is from its fraction, of a class's own size, if the group goes there.
        missing = share * total - dealt
        gain = (np.square(missing) - np.square(missing - counts[g])) / (share * np.maximum(total, 1))
        part_of[g] = parts[np.argmax(gain.sum(1)[parts])]
        dealt[part_of[g]] += counts[g]
        n_each[part_of[g]] += 1
    return Split(*(random.permutation(np.flatnonzero(part_of[group] == p)) for p in range(3)))
