"""The triplet loss of a batch, whose triplets are chosen among all that the batch has: mining.

    L = Σ_t max(D(a, p) - D(a, n) + m, 0) / N        over the N chosen triplets t = (a, p, n)

a and p are two embeddings of one class, n is one of another class. Chosen are

    "all"          every triplet
    "hard"         for each a one: its farthest p and its nearest n ("batch hard")
    "semi-hard"    for each (a, p) one: the nearest n that is farther from a than p is, and where no n is, the
                   farthest n

Mining has no derivative: which triplets are chosen does not change with a small step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_float, expect_integers, expect_shape, is_number, known
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.distances import distance_of, expect_distance, slope_of
from jaxnn.ops.dtypes import wide

__all__ = ["MINING", "MinedTriplets", "mined_triplet_loss"]

MINING = ("all", "hard", "semi-hard")


class MinedTriplets(NamedTuple):
    """The cache of `mined_triplet_loss`."""

    embeddings: Any
    """e, (n, features), in at least float32."""
    slopes: Any
    """∂L/∂D, (n, n): of the anchor's row, positive for a positive, negative for a negative."""
    static: Static
    """(the kind of D, the dtype of the embeddings)."""


@hand_derived
def mined_triplet_loss(embeddings: Any, labels: Any, *, margin: float = 0.2, mining: str = "semi-hard",
                       distance: str = "squared") -> Any:
    """L = the mean of the triplet losses of the chosen triplets, those that are zero among them.

    Args:
      embeddings: e, (n, features): a batch as one argument, because a triplet needs three of it.
      labels: (n,), integers, the class of each.
      margin: m, in the unit of D.
      mining: "all", "hard" or "semi-hard", see above.
      distance: "squared" or "euclidean", D.
    Returns:
      L, (), in the unit of D. Memory grows as n² features, and as n³ bytes except for "hard".
    Raises:
      InputError: a shape, dtype or option does not fit; or labels that are known at the call make no triplet. A batch
        without a triplet that is known at run time only has the loss 0, the mean of nothing.

    >>> e = jnp.array([[0.0], [1.0], [3.0]])
    >>> float(mined_triplet_loss(e, jnp.array([0, 0, 1]), margin=4.0, mining="hard"))
    0.5
    """
    who = mined_triplet_loss.name
    expect_float(who, "embeddings", embeddings)
    expect_shape(who, "embeddings", embeddings, ("examples", "features"))
    expect_integers(who, "labels", labels)
    expect_shape(who, "labels", labels, embeddings.shape[:1])
    expect(is_number(margin), who, "a finite margin", repr(margin))
    expect(isinstance(mining, str) and mining in MINING, who, "mining 'all', 'hard' or 'semi-hard'", repr(mining))
    expect_distance(who, distance)
    _expect_triplets(who, labels)
    e, labels = wide(embeddings), jnp.asarray(labels)
    is_same = labels[:, None] == labels
    is_positive, is_negative = is_same & ~jnp.eye(len(e), dtype=bool), ~is_same
    D = distance_of(e[:, None] - e, distance)
    total, slopes = {"all": _all, "hard": _hard, "semi-hard": _semi_hard}[mining](D, is_positive, is_negative, margin)
    return (total.astype(embeddings.dtype),
            MinedTriplets(e, slopes, Static((distance, jnp.dtype(embeddings.dtype)))))


@mined_triplet_loss.defbackward
def mined_triplet_loss_backward(cache: Any, dy: Any) -> Any:
    """L is a function of the distances D_ij of embeddings i and j alone, and in these it is linear by pieces: a chosen
    triplet that costs something adds 1/N to S_ap = ∂L/∂D_ap and -1/N to S_an. With s_ij = ∂D_ij/∂e_i = -∂D_ij/∂e_j,
    embedding i meets D in row i, as the anchor, and in column i, as another's positive or negative:

        de_i = dy (Σ_j S_ij s_ij + Σ_j S_ji s_ij) = dy Σ_j (S_ij + S_ji) s_ij

    since s_ij = -s_ji. For squared distances s_ij = 2 (e_i - e_j).

    Kinks: where a triplet's loss begins, D_ap - D_an + m = 0, its slope 0 is taken; of equally far positives and of
    equally near negatives the first counts; of a Euclidean distance that is 0 the slope is 0. Where mining changes its
    choice, L has a kink for "hard" and jumps for "semi-hard".

    Args:
      cache: a MinedTriplets.
      dy: ().
    Source: Schroff, Kalenichenko & Philbin (2015), section 3.2 (semi-hard); Hermans, Beyer & Leibe (2017), eq. 5 and 7
      (hard, all).
    """
    e, slopes, static = cache
    distance, dtype = static.value
    both = wide(dy) * (slopes + slopes.T)
    # A sum, which XLA takes while it subtracts; a product would have all differences written out before.
    return jnp.sum(both[:, :, None] * slope_of(e[:, None] - e, distance), 1).astype(dtype), None


def _all(D: Any, is_positive: Any, is_negative: Any, margin: float) -> tuple[Any, Any]:
    excess = D[:, :, None] - D[:, None, :] + margin
    is_triplet = is_positive[:, :, None] & is_negative[:, None, :]
    is_on = is_triplet & ~(excess <= 0)
    n = jnp.maximum(jnp.sum(is_triplet, dtype=D.dtype), 1)
    slopes = jnp.sum(is_on, 2, dtype=D.dtype) - jnp.sum(is_on, 1, dtype=D.dtype)
    return jnp.sum(jnp.where(is_on, excess, 0)) / n, slopes / n


def _hard(D: Any, is_positive: Any, is_negative: Any, margin: float) -> tuple[Any, Any]:
    farthest = jnp.argmax(jnp.where(is_positive, D, -jnp.inf), 1)
    nearest = jnp.argmin(jnp.where(is_negative, D, jnp.inf), 1)
    is_triplet = jnp.any(is_positive, 1) & jnp.any(is_negative, 1)
    rows = jnp.arange(len(D))
    excess = D[rows, farthest] - D[rows, nearest] + margin
    is_on = is_triplet & ~(excess <= 0)
    n = jnp.maximum(jnp.sum(is_triplet, dtype=D.dtype), 1)
    chosen = jax.nn.one_hot(farthest, len(D), dtype=D.dtype) - jax.nn.one_hot(nearest, len(D), dtype=D.dtype)
    return jnp.sum(jnp.where(is_on, excess, 0)) / n, jnp.where(is_on[:, None], chosen, 0) / n


def _semi_hard(D: Any, is_positive: Any, is_negative: Any, margin: float) -> tuple[Any, Any]:
    is_farther = is_negative[:, None, :] & (D[:, None, :] > D[:, :, None])
    nearest = jnp.argmin(jnp.where(is_farther, D[:, None, :], jnp.inf), 2)
    farthest = jnp.argmax(jnp.where(is_negative, D, -jnp.inf), 1)
    negative = jnp.where(jnp.any(is_farther, 2), nearest, farthest[:, None])
    is_triplet = is_positive & jnp.any(is_negative, 1)[:, None]
    excess = D - jnp.take_along_axis(D, negative, 1) + margin
    is_on = is_triplet & ~(excess <= 0)
    n = jnp.maximum(jnp.sum(is_triplet, dtype=D.dtype), 1)
    ones = is_on.astype(D.dtype)
    slopes = ones.at[jnp.arange(len(D))[:, None], negative].add(-ones)
    return jnp.sum(jnp.where(is_on, excess, 0)) / n, slopes / n


def _expect_triplets(who: str, labels: Any) -> None:
    """Refuses labels, where they are known, of which none is there twice beside another one."""
    values = known(labels)
    if values is None or values.ndim != 1:
        return
    _, counts = np.unique(values, return_counts=True)
    expect(len(counts) > 1 and counts.max() > 1, who, "labels of at least two classes, of one of them two examples",
           f"{len(values)} examples of {len(counts)} classes, the largest of {counts.max(initial=0)}",
           "draw a batch as several examples of each of several classes")
