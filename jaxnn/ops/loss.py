"""Losses L of one example, in nats where they are logarithms. The cost is their mean over a batch.

Each classification loss takes logits z, not probabilities: fused with its sigmoid or softmax it is
exact for every finite z, and its gradient is simply "probability minus target".

All losses end alike, as `jaxnn.ops.reduction` says: ℓ_e, the loss of each element e, is multiplied by a weight
w_e and summed over all elements.

    weights      w, an array of the shape of ℓ or of its leading axes; (), one number, for one example. None for 1.
    reduction    "sum", or "mean": the sum divided by the number of elements, not by the sum of their weights.
    axes         of ℓ, those to be summed: an integer or several; None for all, () for none.

Labels, targets and weights of floating-point numbers promote with the logits or predictions. A term 0 log 0 is 0, and
so are its derivatives: a logit of -inf that rules a class out costs nothing unless that class is the target.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import (
    InputError,
    expect,
    expect_array,
    expect_float,
    expect_real,
    expect_shape,
    is_integer,
    is_number,
    known,
)
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted, wide
from jaxnn.ops.reduction import Reduced, reduce_backward, reduce_forward

__all__ = ["BinaryCrossEntropyCache", "SoftmaxCrossEntropyCache", "binary_cross_entropy", "softmax_cross_entropy"]

Axes = int | Sequence[int] | None


class BinaryCrossEntropyCache(NamedTuple):
    logits: Any
    """z, any shape."""
    labels: Any
    """t, the same shape."""
    positive_weight: Any
    """q, () or the last axes of z; None for 1."""
    reduced: Reduced
    """Of the loss of each element."""


@hand_derived
def binary_cross_entropy(logits: Any, labels: Any, weights: Any = None, positive_weight: Any = None, *,
                         reduction: str = "sum", axes: Axes = None) -> Any:
    """L = Σ w ℓ, ℓ = -q t log σ(z) - (1 - t) log(1 - σ(z)) = q t log(1 + e^-z) + (1 - t) log(1 + e^z).

    Args:
      logits: z, any shape: one number, or several independent yes-or-no questions.
      labels: t, the same shape, in [0, 1]; integer, boolean or floating-point.
      weights, reduction, axes: as for every loss, see above; ℓ has the shape of z.
      positive_weight: q, how much a yes costs more than a no: (), or one for each question, of the shape of the
        last axes of z. None for 1.
    Returns:
      L, nats: (), or the axes that are left.
    Raises:
      InputError: the shapes differ, or a label known at the call is outside [0, 1].
    With the same arguments, PyTorch's `binary_cross_entropy_with_logits(weight=, pos_weight=, reduction=)` is equal.

    >>> round(float(binary_cross_entropy(jnp.zeros(2), jnp.array([0, 1]))), 3)
    1.386
    """
    who = binary_cross_entropy.name
    expect_alike(who, "logits", logits, "labels", labels)
    values = known(labels)
    expect(values is None or bool(np.all((values >= 0) & (values <= 1))), who, "labels in [0, 1]", _range(values))
    if positive_weight is not None:
        expect_float(who, "positive_weight", positive_weight)
        shape = jnp.shape(logits)
        fits = jnp.shape(positive_weight) == shape[max(len(shape) - jnp.ndim(positive_weight), 0):]
        expect(fits, who, f"positive_weight of the shape of the last axes of logits {shape}",
               str(jnp.shape(positive_weight)))
    logits, labels, weights, positive_weight = promoted(logits, labels, weights, positive_weight)
    t = jnp.asarray(labels, logits.dtype)
    yes, no = _costs(logits, t)
    if positive_weight is not None:
        yes = _along_last_axes(positive_weight, logits) * yes
    # Not log(1 + e^z) - t z, which is shorter and loses a small loss to rounding: 2 % of it at z = 10.
    losses = t * yes + (1 - t) * no
    total, reduced = reduce_forward(who, losses, weights, reduction, axes)
    return total, BinaryCrossEntropyCache(logits, labels, positive_weight, reduced)


@binary_cross_entropy.defbackward
def binary_cross_entropy_backward(cache: Any, dy: Any) -> Any:
    """∂/∂z log(1 + e^z) = σ(z) and ∂/∂z log(1 + e^-z) = -σ(-z), so with dℓ = dy w

        dz = dℓ ((1 - t) σ(z) - q t σ(-z))        dq = Σ dℓ t log(1 + e^-z)
        dt = dℓ (q log(1 + e^-z) - log(1 + e^z))

    For q = 1 these are dz = dℓ (σ(z) - t) and dt = -dℓ z.
    Source: Cox (1958); Solla, Levin & Fleisher (1988).
    """
    z, labels, q, reduced = cache
    dlosses, dweights = reduce_backward(reduced, dy)
    t = jnp.asarray(labels, z.dtype)
    yes, no = _costs(z, t)
    if q is None:
        dz, dq = dlosses * (lax.logistic(z) - t), None
        # Not yes - no everywhere: it is -z but for rounding.
        dt = dlosses * jnp.where(jnp.isinf(z), yes - no, -z)
    else:
        each = _along_last_axes(q, z)
        dz = dlosses * ((1 - t) * lax.logistic(z) - each * t * lax.logistic(-z))
        dt = dlosses * (each * yes - no)
        dq = jnp.sum(dlosses * (t * yes), tuple(range(z.ndim - q.ndim)))
    return dz, dt if is_float(labels) else None, dweights, dq


def _costs(z: Any, t: Any) -> tuple[Any, Any]:
    """(log(1 + e^-z), log(1 + e^z)), what a yes and a no cost; 0 where that is infinite and the label rules it out."""
    return (jnp.where((t == 0) & jnp.isneginf(z), 0, jnp.logaddexp(-z, 0)),
            jnp.where((t == 1) & jnp.isposinf(z), 0, jnp.logaddexp(z, 0)))


class SoftmaxCrossEntropyCache(NamedTuple):
    log_p: Any
    """log p, (..., n_classes), in at least float32."""
    labels: Any
    """Classes (...), or distributions (..., n_classes)."""
    class_weights: Any
    """c, (n_classes,); None for 1."""
    reduced: Reduced
    """Of the loss of each element, (...)."""
    options: Static
    """(smoothing, ignore_label)."""


@hand_derived
def softmax_cross_entropy(logits: Any, labels: Any, weights: Any = None, class_weights: Any = None, *,
                          smoothing: float = 0.0, ignore_label: int | None = None, reduction: str = "sum",
                          axes: Axes = None) -> Any:
    """L = Σ w ℓ, ℓ = -Σ_k c_k u_k log p_k with p = softmax(z), u = (1 - s) t + s / n_classes.

    Args:
      logits: z, (n_classes,) for one choice among n_classes, or (..., n_classes) for several.
      labels: classes, integers (...) in 0 .. n_classes - 1, or distributions t, (..., n_classes).
      weights, reduction, axes: as for every loss, see above; ℓ has the shape (...).
      class_weights: c, (n_classes,), what a class costs. None for 1.
      smoothing: s in [0, 1] (Szegedy et al. 2016).
      ignore_label: an integer; where it stands as a label, ℓ and its gradient are 0, whatever the logits, and a
        mean does not count it.
    Returns:
      L, nats: (), or the axes that are left. A label out of range that is known only at run time makes it NaN,
      and so its gradient: JAX by itself would clamp the label and train on a wrong class.
    Raises:
      InputError: a shape does not fit, or a label known at the call is out of range or no distribution.
    With the same arguments, PyTorch's `cross_entropy(weight=, ignore_index=, label_smoothing=, reduction=)` is equal
    but for two means: with class weights and integer labels it divides by the sum of c over the labels, not by their
    number; and the mean of labels that are all ignored is NaN there, and 0 in jaxnn.

    >>> round(float(softmax_cross_entropy(jnp.zeros(10), 7)), 3)
    2.303
    """
    who = softmax_cross_entropy.name
    expect_float(who, "logits", logits)
    expect(jnp.ndim(logits) >= 1 and logits.shape[-1] >= 1, who, "logits of shape (..., n_classes)",
           str(jnp.shape(logits)))
    expect(is_number(smoothing, 0, 1), who, "smoothing in [0, 1]", repr(smoothing))
    _check_labels(who, labels, logits.shape, ignore_label)
    if class_weights is not None:
        expect_float(who, "class_weights", class_weights)
        expect_shape(who, "class_weights", class_weights, logits.shape[-1:])
    options = Static((float(smoothing), ignore_label))
    logits, labels, weights, class_weights = promoted(logits, labels, weights, class_weights)
    # In float32 at least: e to a log p of -9 that is rounded to bfloat16 would be off by 2 %.
    z = wide(logits)
    shifted = z - lax.stop_gradient(jnp.max(z, -1, keepdims=True))
    log_p = shifted - jnp.log(jnp.sum(jnp.exp(shifted), -1, keepdims=True))
    cu = _smoothed(labels, log_p, options)
    if class_weights is not None:
        cu = _along_last_axes(class_weights, logits) * cu
    losses = -jnp.sum(cu * _counted(log_p, cu), -1)
    counts = None
    if ignore_label is not None:
        counts = ~_ignored(labels, ignore_label)
        losses = jnp.where(counts, losses, 0)
    total, reduced = reduce_forward(who, losses, weights, reduction, axes, counts=counts)
    return total.astype(logits.dtype), SoftmaxCrossEntropyCache(log_p, labels, class_weights, reduced, options)


@softmax_cross_entropy.defbackward
def softmax_cross_entropy_backward(cache: Any, dy: Any) -> Any:
    """With ∂log p_k/∂z_j = δ_kj - p_j and dℓ = dy w,

        dz_j = -dℓ Σ_k c_k u_k (δ_kj - p_j) = dℓ (p_j Σ_k c_k u_k - c_j u_j)
        dt_k = -dℓ (1 - s) c_k log p_k        dc_k = -Σ dℓ u_k log p_k, over all elements

    where Σ u = 1 for every target that is a distribution. An ignored element has the loss 0, and so has no part in
    any of them. What multiplies dℓ is finite, whatever is ruled out or ignored: the push-forward multiplies it with
    tangents, and 0 times inf is NaN.
    Source: Bridle (1990), eq. 5.
    """
    log_p, labels, class_weights, reduced, options = cache
    smoothing, ignore_label = options.value
    dlosses, dweights = reduce_backward(reduced, dy)
    d = dlosses[..., None] if dlosses.ndim else dlosses
    u = _smoothed(labels, log_p, options)
    c = None if class_weights is None else _along_last_axes(class_weights, log_p)
    cu = u if c is None else c * u
    skipped = False if ignore_label is None else _ignored(labels, ignore_label)[..., None]

    def kept(slope: Any) -> Any:
        return slope if skipped is False else jnp.where(skipped, 0, slope)

    dz = d * kept(jnp.exp(log_p) * jnp.sum(cu, -1, keepdims=True) - cu)
    dt = dc = None
    log_p = _counted(log_p, cu)
    if is_float(labels):
        dt = -d * ((1 - smoothing) * (log_p if c is None else c * log_p))
    if c is not None:
        dc = -jnp.sum(d * kept(u * log_p), tuple(range(log_p.ndim - 1)))
    return dz, dt, dweights, dc


def _counted(log_p: Any, cu: Any) -> Any:
    """log p, and 0 for a class that is ruled out and has no part in the target: 0 log 0 = 0."""
    return jnp.where((cu == 0) & jnp.isneginf(log_p), 0, log_p)


def _check_labels(who: str, labels: Any, shape: tuple[int, ...], ignore_label: int | None) -> None:
    expect_array(who, "labels", labels)
    values, n_classes = known(labels), shape[-1]
    expect(ignore_label is None or is_integer(ignore_label), who, "ignore_label, an integer", repr(ignore_label))
    if is_float(labels):
        expect_shape(who, "distributions as labels", labels, shape,
                     "convert classes to integers" if jnp.shape(labels) == shape[:-1] else "")
        expect(ignore_label is None, who, "classes as labels where one is ignored", "distributions",
               "pass weights of 0")
        if values is not None and values.size:
            loose = 0.01 if jnp.finfo(labels.dtype).bits == 16 else 1e-4  # rounding of n_classes entries
            totals = values.astype(np.float64).sum(-1)
            is_one = bool(np.all(values >= 0) and np.all(np.abs(totals - 1) <= loose))
            expect(is_one, who, "a distribution as labels: entries >= 0 that sum to 1",
                   f"{_range(values)}, sums from {totals.min():g} to {totals.max():g}")
        return
    expect(jnp.issubdtype(jnp.result_type(labels), jnp.integer), who,
           "integer classes or a distribution as labels", str(jnp.result_type(labels)))
    is_one_hot = jnp.shape(labels) == shape
    expect_shape(who, "integer labels", labels, shape[:-1],
                 "convert a distribution: labels.astype(jnp.float32)" if is_one_hot else
                 f"the classes are the last axis of logits {shape}")
    if values is not None:
        values = values if ignore_label is None else values[values != ignore_label]
        expect(bool(np.all((values >= 0) & (values < n_classes))), who, f"labels in 0 .. {n_classes - 1}",
               _range(values), "count classes from 0")


def _smoothed(labels: Any, log_p: Any, options: Any) -> Any:
    """u, (..., n_classes), of the dtype of log p; NaN where a class is out of range."""
    smoothing, ignore_label = options.value
    n_classes = log_p.shape[-1]
    if is_float(labels):
        t = labels.astype(log_p.dtype)
    else:
        # Not narrower than 32 bits: 256 classes as a uint8 are 0.
        classes = labels.astype(jnp.int32) if jnp.iinfo(labels.dtype).bits < 32 else labels
        if ignore_label is not None:
            classes = jnp.where(_ignored(labels, ignore_label), 0, classes)
        classes = lax.expand_dims(classes, (classes.ndim,)) if classes.ndim else classes
        each = jnp.expand_dims(jnp.arange(n_classes, dtype=classes.dtype), range(labels.ndim))
        is_class = each == classes
        t = jnp.where((classes >= 0) & (classes < n_classes), is_class.astype(log_p.dtype), jnp.nan)
    return (1 - smoothing) * t + smoothing / n_classes


def _ignored(labels: Any, ignore_label: int) -> Any:
    """Where the ignored label stands; nowhere if the labels' dtype does not hold it."""
    bounds = jnp.iinfo(labels.dtype)
    if not bounds.min <= ignore_label <= bounds.max:
        return jnp.zeros_like(labels, bool)
    return labels == ignore_label


def is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.floating))


def _along_last_axes(a: Any, x: Any) -> Any:
    shape = jnp.shape(a)
    return jnp.reshape(a, (1,) * (x.ndim - len(shape)) * bool(shape) + shape).astype(x.dtype)


def expect_alike(who: str, a_name: str, a: Any, b_name: str, b: Any) -> None:
    expect_float(who, a_name, a)
    expect_real(who, b_name, b)
    if jnp.shape(a) != jnp.shape(b):
        raise InputError(who, f"expects {b_name} of the shape of {a_name} {jnp.shape(a)}; got "
                         f"{jnp.shape(b)}; reshape one: JAX would broadcast them")


def _range(values: np.ndarray | None) -> str:
    return "" if values is None or not values.size else f"values from {values.min()} to {values.max()}"
