"""The cosine-margin loss (CosFace): a classification by angles, in which the right class must win by a margin.

    ŵ_k = w_k / ‖w_k‖    x̂ = x / ‖x‖    c_k = ŵ_k · x̂    z_k = s (c_k - m t_k)    ℓ = -log softmax(z)_label

t_k is 1 for the label and 0 elsewhere. The rows of the weight are directions, one for each class of the training set;
the embedding x is what is kept.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxnn.checks import expect, expect_float, expect_integers, expect_shape, is_number, known
from jaxnn.checks import weights as entries_of
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted, wide
from jaxnn.ops.loss import softmax_cross_entropy
from jaxnn.ops.unit import to_unit, to_unit_backward

__all__ = ["cosine_margin_loss"]

Axes = int | Sequence[int] | None


@hand_derived
def cosine_margin_loss(params: Any, x: Any, labels: Any, weights: Any = None, *, scale: float = 30.0,
                       margin: float = 0.35, reduction: str = "sum", axes: Axes = None) -> Any:
    """L = Σ w ℓ, the cross-entropy of the scaled cosines of x with each class, that of the label less by the margin.

    Args:
      params: {"weight": (n_classes, features)}, a direction for each class.
      x: (..., features), an embedding of any length but 0.
      labels: (...), integers in 0 .. n_classes - 1.
      scale: s > 0, the length of the embeddings as it were: at s = 1 the loss could not become small.
      margin: m, a difference of cosines in [0, 2).
      weights, reduction, axes: as for every loss, see `jaxnn.ops.loss`; ℓ has the shape (...).
    Returns:
      L, nats: (), or the axes that are left. A label out of range that is known only at run time makes it NaN.
    Raises:
      InputError: a shape, dtype or option does not fit, or a label known at the call is out of range.

    >>> params = {"weight": jnp.array([[1.0, 0.0], [0.0, 2.0]])}
    >>> round(float(cosine_margin_loss(params, jnp.array([3.0, 3.0]), 0, scale=1.0, margin=0.0)), 3)
    0.693
    """
    who = cosine_margin_loss.name
    (weight, entries) = entries_of(who, params, weight="n_classes features")
    expect_float(who, "x", x)
    expect_shape(who, "x", x, ("...",) * max(jnp.ndim(x) - 1, 0) + (weight.shape[1],))
    expect_integers(who, "labels", labels)
    expect_shape(who, "labels", labels, jnp.shape(x)[:-1])
    n_classes, values = weight.shape[0], known(labels)
    if values is not None and values.size:
        expect(_are_between(values, n_classes), who, f"labels in 0 .. {n_classes - 1}",
               f"values from {values.min()} to {values.max()}", "count classes from 0")
    expect(is_number(scale) and scale > 0, who, "a finite scale > 0", repr(scale))
    expect(is_number(margin, 0) and margin < 2, who, "a margin in [0, 2), a difference of cosines", repr(margin))
    weight, x, weights = promoted(weight, x, weights)
    w_unit, w_cache = to_unit(wide(weight))
    x_unit, x_cache = to_unit(wide(x))
    cosines = jnp.einsum("...f,kf->...k", x_unit, w_unit)
    classes = jnp.expand_dims(jnp.asarray(labels, jnp.promote_types(jnp.result_type(labels), jnp.int32)), -1)
    is_label = classes == jnp.arange(n_classes, dtype=classes.dtype)
    z = scale * (cosines - margin * is_label)
    total, of_softmax = softmax_cross_entropy.forward(z, labels, weights, reduction=reduction, axes=axes)
    return total.astype(x.dtype), (w_cache, x_cache, of_softmax, entries,
                                   Static((scale, jnp.dtype(weight.dtype), jnp.dtype(x.dtype))))


@cosine_margin_loss.defbackward
def cosine_margin_loss_backward(cache: Any, dy: Any) -> Any:
    """dz is that of the softmax cross-entropy, and the margin is a constant, so dc_k = s dz_k. Then c = ŵ x̂ gives

        dx̂ = Σ_k dc_k ŵ_k        dŵ_k = dc_k x̂

    and the derivative of a unit vector, see `l2_normalize`, takes away what would only change a length:

        dx = (dx̂ - x̂ (x̂ · dx̂)) / ‖x‖        dw_k = (dŵ_k - ŵ_k (ŵ_k · dŵ_k)) / ‖w_k‖

    dx is at right angles to x, dw_k to w_k. Kinks: at ‖x‖ or ‖w_k‖ = eps, far below every embedding, as of
    `l2_normalize`.

    Args:
      cache: of both unit vectors, of the cross-entropy; the entries of params; s and the dtype.
      dy: () or the axes that are left.
    Source: Wang et al. (2018), CosFace, eq. 4.
    """
    w_cache, x_cache, of_softmax, entries, static = cache
    scale, *dtypes = static.value
    w_unit, x_unit = w_cache[0], x_cache[0]
    dz, _, dweights, _ = softmax_cross_entropy.backward(of_softmax, wide(dy))
    dcosines = scale * dz
    dx = to_unit_backward(x_cache, jnp.einsum("...k,kf->...f", dcosines, w_unit))
    dweight = to_unit_backward(w_cache, jnp.einsum("...k,...f->kf", dcosines, x_unit))
    return entries.fill(weight=dweight.astype(dtypes[0])), dx.astype(dtypes[1]), None, dweights


def _are_between(values: Any, n: int) -> bool:
    return bool((values >= 0).all() and (values < n).all())
