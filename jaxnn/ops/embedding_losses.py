"""Losses of embeddings, vectors that are near for one person and far for two: of a triplet, of a pair.

    triplet        ℓ = max(D(a, p) - D(a, n) + m, 0)                  a an anchor, p of the same class, n of another
    contrastive    ℓ = d² / 2 for a pair of one class, else max(m - d, 0)² / 2            d = ‖a - b‖

D is ‖·‖² or ‖·‖, see `jaxnn.ops.distances`; m is the margin, in the unit of D or of d. Weights, reduction and axes are
as of every loss, see `jaxnn.ops.loss`: ℓ has the shape of the vectors without their last axis.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxnn.checks import InputError, expect, expect_array, expect_float, expect_shape, is_number
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.distances import distance_of, expect_distance, slope_of
from jaxnn.ops.dtypes import promoted, wide
from jaxnn.ops.reduction import reduce_backward, reduce_forward

__all__ = ["contrastive_loss", "triplet_loss"]

Axes = int | Sequence[int] | None


@hand_derived
def triplet_loss(anchor: Any, positive: Any, negative: Any, weights: Any = None, *, margin: float = 0.2,
                 distance: str = "squared", reduction: str = "sum", axes: Axes = None) -> Any:
    """L = Σ w ℓ, ℓ = max(D(a, p) - D(a, n) + m, 0).

    Args:
      anchor, positive, negative: a, p and n, (..., features), of one shape. FaceNet's have the length one, by
        `l2_normalize`; the loss takes them as they are.
      margin: m, in the unit of D; 0.2 with squared distances is the paper's and the course's (alpha).
      distance: "squared" or "euclidean", D.
      weights, reduction, axes: as for every loss; ℓ has the shape (...).
    Returns:
      L: (), or the axes that are left; in the unit of D. At the margin itself, L = m for each triplet, an embedding
      that maps everything to one point has this loss and no gradient.
    Raises:
      InputError: the shapes differ, margin is no finite number, or distance another word.
    PyTorch's `triplet_margin_loss` has Euclidean distances and adds 1e-6 to each difference.

    >>> float(triplet_loss(jnp.array([1.0, 1.0]), jnp.array([0.0, 3.0]), jnp.array([1.0, 0.0]), margin=1.0))
    5.0
    """
    who = triplet_loss.name
    _expect_vectors(who, {"anchor": anchor, "positive": positive, "negative": negative})
    expect(is_number(margin), who, "a finite margin", repr(margin))
    expect_distance(who, distance)
    anchor, positive, negative, weights = promoted(anchor, positive, negative, weights)
    to_positive, to_negative = wide(anchor) - wide(positive), wide(anchor) - wide(negative)
    excess = distance_of(to_positive, distance) - distance_of(to_negative, distance) + margin
    is_off = excess <= 0  # NaN is not
    losses = jnp.where(is_off, 0, excess)
    total, reduced = reduce_forward(who, losses, weights, reduction, axes)
    return total.astype(anchor.dtype), (to_positive, to_negative, is_off, reduced, Static(distance))


@triplet_loss.defbackward
def triplet_loss_backward(cache: Any, dy: Any) -> Any:
    """With s_p = ∂D(a, p)/∂a and s_n = ∂D(a, n)/∂a, and D(a, b) a function of a - b alone,

        da = dℓ (s_p - s_n)        dp = -dℓ s_p        dn = dℓ s_n

    where ℓ > 0, and 0 elsewhere; the three sum to 0. For squared distances s_p = 2 (a - p) and s_n = 2 (a - n), so that
    da = 2 dℓ (n - p): the anchor is pulled from n towards p.

    Kinks: at D(a, p) - D(a, n) + m = 0 the slope 0 is taken, as of relu at 0; of Euclidean distances, where a = p or
    a = n, the slope 0 of that distance.

    Args:
      cache: a - p and a - n in at least float32, where ℓ is off, the reduction, the kind of D.
      dy: ∂L/∂L', () or the axes that are left.
    Source: Schroff, Kalenichenko & Philbin (2015), eq. 2.
    """
    to_positive, to_negative, is_off, reduced, distance = cache
    dlosses, dweights = reduce_backward(reduced, dy)
    d = jnp.where(is_off, 0, dlosses)[..., None]
    s_p, s_n = slope_of(to_positive, distance.value), slope_of(to_negative, distance.value)
    return d * (s_p - s_n), -d * s_p, d * s_n, dweights


@hand_derived
def contrastive_loss(a: Any, b: Any, same: Any, weights: Any = None, *, margin: float = 1.0, reduction: str = "sum",
                     axes: Axes = None) -> Any:
    """L = Σ w ℓ, ℓ = d² / 2 where a and b are of one class, else max(m - d, 0)² / 2, with d = ‖a - b‖.

    Args:
      a, b: (..., features), of one shape.
      same: (...), booleans: whether a and b are of one class.
      margin: m > 0, a distance, not a squared one: pairs of two classes that are farther apart cost nothing.
      weights, reduction, axes: as for every loss; ℓ has the shape (...).
    Returns:
      L: (), or the axes that are left; in the square of the unit of a.
    Raises:
      InputError: a shape or dtype does not fit, or margin is not > 0.

    >>> float(contrastive_loss(jnp.array([3.0, 4.0]), jnp.zeros(2), jnp.array(False), margin=7.0))
    2.0
    """
    who = contrastive_loss.name
    _expect_vectors(who, {"a": a, "b": b})
    expect_array(who, "same", same)
    same = jnp.asarray(same)
    expect(same.dtype == bool, who, "booleans as same, True where a and b are of one class", str(same.dtype),
           "compare the labels: same = labels_a == labels_b")
    expect_shape(who, "same", same, jnp.shape(a)[:-1])
    expect(is_number(margin) and margin > 0, who, "a finite margin > 0", repr(margin))
    a, b, weights = promoted(a, b, weights)
    difference = wide(a) - wide(b)
    missing = margin - distance_of(difference, "euclidean")
    missing = jnp.where(missing <= 0, 0, missing)
    losses = jnp.where(same, distance_of(difference, "squared"), missing * missing) / 2
    total, reduced = reduce_forward(who, losses, weights, reduction, axes)
    return total.astype(a.dtype), (difference, same, missing, reduced)


@contrastive_loss.defbackward
def contrastive_loss_backward(cache: Any, dy: Any) -> Any:
    """With u = (a - b) / d the slope of d, and q = max(m - d, 0), which is kept,

        da = dℓ (a - b) for one class        da = -dℓ q u for two        db = -da

    because ∂(d²/2)/∂a = d u = a - b and ∂(q²/2)/∂a = q ∂q/∂a = -q u.

    Kinks: at a = b of two classes, where all directions lead away alike, 0 is taken: such a pair never parts. At d = m
    there is none, since q² leaves zero with the slope 0; only the second derivative jumps there, from 1 to 0.

    Args:
      cache: a - b in at least float32, same, q, the reduction.
      dy: () or the axes that are left.
    Source: Hadsell, Chopra & LeCun (2006), eq. 4.
    """
    difference, same, missing, reduced = cache
    dlosses, dweights = reduce_backward(reduced, dy)
    apart = -missing[..., None] * slope_of(difference, "euclidean")
    da = dlosses[..., None] * jnp.where(same[..., None], difference, apart)
    return da, -da, None, dweights


def _expect_vectors(who: str, arrays: dict[str, Any]) -> None:
    (first, x), *others = arrays.items()
    expect_float(who, first, x)
    expect(jnp.ndim(x) >= 1 and x.shape[-1] >= 1, who, f"{first} of shape (..., features)", str(jnp.shape(x)))
    for name, y in others:
        expect_float(who, name, y)
        if jnp.shape(y) != jnp.shape(x):
            raise InputError(who, f"expects {name} of the shape of {first} {jnp.shape(x)}; got {jnp.shape(y)}; reshape "
                             "one: JAX would broadcast them")
