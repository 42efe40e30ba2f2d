"""Losses L of one example, in nats where they are logarithms. The cost is their mean over a batch.

Each classification loss takes logits z, not probabilities: fused with its sigmoid or softmax it is
exact for every finite z, and its gradient is simply "probability minus target".
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import InputError, expect, expect_float, expect_shape, known
from jaxnn.hand_derived import Static, hand_derived

__all__ = ["binary_cross_entropy", "huber", "softmax_cross_entropy", "squared_error"]


@hand_derived
def binary_cross_entropy(logits: Any, labels: Any) -> Any:
    """L = -Σ [t log σ(z) + (1 - t) log(1 - σ(z))] = Σ [t log(1 + e^-z) + (1 - t) log(1 + e^z)].

    Args:
      logits: z, any shape: one number, or several independent yes-or-no questions.
      labels: t, the same shape, in [0, 1]; integer, boolean or floating-point.
    Returns:
      L, (), nats.
    Raises:
      InputError: the shapes differ, or a label known at the call is outside [0, 1].
    """
    _expect_alike("binary_cross_entropy", "logits", logits, "labels", labels)
    values = known(labels)
    expect(values is None or bool(np.all((values >= 0) & (values <= 1))), "binary_cross_entropy",
           "labels in [0, 1]", _range(values))
    t = jnp.asarray(labels, logits.dtype)
    # Not log(1 + e^z) - t z, which is shorter and loses a small loss to rounding: 2 % of it at z = 10.
    return jnp.sum(t * jnp.logaddexp(-logits, 0) + (1 - t) * jnp.logaddexp(logits, 0)), (logits, labels)


@binary_cross_entropy.defbackward
def binary_cross_entropy_backward(cache: Any, dy: Any) -> Any:
    """∂/∂z log(1 + e^z) = σ(z), so dz = dy (σ(z) - t); L is linear in t, so dt = -dy z.

    Source: Cox (1958); Solla, Levin & Fleisher (1988).
    """
    z, labels = cache
    dz = dy * (lax.logistic(z) - jnp.asarray(labels, z.dtype))
    return dz, -dy * z if _is_float(labels) else None


@hand_derived
def softmax_cross_entropy(logits: Any, labels: Any, *, smoothing: float = 0.0) -> Any:
    """L = -Σ_k t_k log p_k with p = softmax(z): the loss of one example among n_classes.

    Args:
      logits: z, (n_classes,).
      labels: the class, an integer () in 0 .. n_classes - 1, or a distribution t, (n_classes,).
      smoothing: s in [0, 1]; the target becomes (1 - s) t + s / n_classes (Szegedy et al. 2016).
    Returns:
      L, (), nats. A label out of range that is known only at run time makes it NaN, and so its
      gradient: JAX by itself would clamp the label and train on a wrong class.
    Raises:
      InputError: a shape does not fit, or a label known at the call is out of range or no
        distribution.
    """
    who = "softmax_cross_entropy"
    expect_float(who, "logits", logits)
    expect_shape(who, "logits", logits, ("n_classes",), "apply it to one example, under jax.vmap")
    expect(0 <= smoothing <= 1, who, "smoothing in [0, 1]", str(smoothing))
    n_classes = logits.shape[0]
    _check_labels(who, labels, n_classes)
    smooth = (1 - smoothing) * _distribution(labels, n_classes, logits.dtype) + smoothing / n_classes
    shifted = logits - lax.stop_gradient(jnp.max(logits))
    log_p = shifted - jnp.log(jnp.sum(jnp.exp(shifted)))
    # A class ruled out by a logit of -inf costs nothing unless it is the target: 0 log 0 = 0.
    terms = jnp.where((smooth == 0) & jnp.isneginf(log_p), 0, smooth * log_p)
    return -jnp.sum(terms), (log_p, labels, Static(float(smoothing)))


@softmax_cross_entropy.defbackward
def softmax_cross_entropy_backward(cache: Any, dy: Any) -> Any:
    """With ∂log p_k/∂z_j = δ_kj - p_j and u the smoothed target,

        dz_j = -dy Σ_k u_k (δ_kj - p_j) = dy (p_j Σ_k u_k - u_j)        dt_k = -dy (1 - s) log p_k

    where Σ u = 1 for every target that is a distribution.
    Source: Bridle (1990), eq. 5.
    """
    log_p, labels, smoothing = cache
    s, n_classes = smoothing.value, log_p.shape[0]
    u = (1 - s) * _distribution(labels, n_classes, log_p.dtype) + s / n_classes
    dz = dy * (jnp.exp(log_p) * jnp.sum(u) - u)
    return dz, -dy * (1 - s) * log_p if _is_float(labels) else None


def _check_labels(who: str, labels: Any, n_classes: int) -> None:
    values = known(labels)
    if _is_float(labels):
        expect_shape(who, "a distribution as labels", labels, (n_classes,),
                     "convert classes to integers" if jnp.ndim(labels) == 0 else "")
        if values is not None:
            loose = 0.01 if jnp.finfo(labels.dtype).bits == 16 else 1e-4  # rounding of n_classes entries
            totals = values.astype(np.float64).sum(-1)
            is_one = bool(np.all(values >= 0) and np.all(np.abs(totals - 1) <= loose))
            expect(is_one, who, "a distribution as labels: entries >= 0 that sum to 1",
                   f"{_range(values)}, sums from {totals.min():g} to {totals.max():g}")
        return
    expect(jnp.issubdtype(jnp.result_type(labels), jnp.integer), who,
           "integer classes or a distribution as labels", str(jnp.result_type(labels)))
    expect_shape(who, "an integer label", labels, (), "pass labels of shape (B,) for logits (B, n_classes)")
    if values is not None:
        expect(bool(np.all((values >= 0) & (values < n_classes))), who, f"labels in 0 .. {n_classes - 1}",
               _range(values), "count classes from 0")


def _distribution(labels: Any, n_classes: int, dtype: Any) -> Any:
    """Labels as a distribution (n_classes,); NaN where a class is out of range."""
    if _is_float(labels):
        return labels.astype(dtype)
    is_class = jnp.arange(n_classes) == labels
    return jnp.where((labels >= 0) & (labels < n_classes), is_class.astype(dtype), jnp.nan)


@hand_derived
def squared_error(predictions: Any, targets: Any) -> Any:
    """L = Σ (p - t)² over the elements of one example (the course's L2 loss); any shape."""
    _expect_alike("squared_error", "predictions", predictions, "targets", targets)
    error = predictions - targets
    return jnp.sum(error * error), (error, Static(_is_float(targets)))


@squared_error.defbackward
def squared_error_backward(cache: Any, dy: Any) -> Any:
    """dp = 2 dy (p - t), dt = -dp."""
    error, has_gradient = cache
    dp = 2 * dy * error
    return dp, -dp if has_gradient.value else None


@hand_derived
def huber(predictions: Any, targets: Any, *, delta: float = 1.0) -> Any:
    """L = Σ h(p - t), h(e) = e²/2 where |e| <= delta, else delta (|e| - delta/2); any shape.

    Raises:
      InputError: the shapes differ, or delta <= 0.
    """
    _expect_alike("huber", "predictions", predictions, "targets", targets)
    expect(isinstance(delta, int | float) and delta > 0, "huber", "delta > 0", str(delta))
    error = predictions - targets
    inside = jnp.clip(error, -delta, delta)
    # e²/2 and delta |e| - delta²/2 are both c (e - c/2) with c = e clipped to [-delta, delta].
    return jnp.sum(inside * (error - inside / 2)), (inside, Static(_is_float(targets)))


@huber.defbackward
def huber_backward(cache: Any, dy: Any) -> Any:
    """h'(e) = e clipped to [-delta, delta]: the error inside, a slope of ±delta outside; dt = -dp.

    Source: Huber (1964), section 4.
    """
    inside, has_gradient = cache
    dp = dy * inside
    return dp, -dp if has_gradient.value else None


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(jnp.result_type(x), jnp.floating))


def _expect_alike(who: str, a_name: str, a: Any, b_name: str, b: Any) -> None:
    expect_float(who, a_name, a)
    if jnp.shape(a) != jnp.shape(b):
        raise InputError(who, f"expects {b_name} of the shape of {a_name} {jnp.shape(a)}; got "
                         f"{jnp.shape(b)}; reshape one: JAX would broadcast them")


def _range(values: np.ndarray | None) -> str:
    return "" if values is None or not values.size else f"values from {values.min()} to {values.max()}"
