"""Losses made of a loss: with a weight for each example, and over time.

    loss(prediction, label) -> ()          a loss L of one example, or of one step of time

Each function below takes such a loss, an op or any other function, and returns one. They compose with each other,
with `jax.vmap` and with `jaxnn.training.make_step`, whose cost is the mean of the losses of a batch:

    sum_over_time(loss)              Σ_t L(y_t, l_t)                     label: l (T, ...)
    mean_over_time(loss)             Σ_t L(y_t, l_t) / T                 label: l (T, ...)
    masked_mean_over_time(loss)      Σ_t m_t L(y_t, l_t) / Σ_t m_t       label: (l (T, ...), m (T,))
    weighted(loss)                   w L(y, l)                           label: (l, w ())
    sum_over_time(weighted(loss))    Σ_t w_t L(y_t, l_t)                 label: (l (T, ...), w (T,))
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import accepts, expect, expect_array, expect_arrays, expect_real, expect_shape

__all__ = ["masked_mean_over_time", "mean_over_time", "sum_over_time", "weighted"]

Loss = Callable[[Any, Any], Any]


def weighted(loss: Loss) -> Loss:
    """w L(y, l), of which the label is the pair (l, w).

    The cost of a batch of B examples is then Σ_b w_b L_b / B: it divides by the number of examples, not by the sum
    of the weights, so that an example counts the same in every batch. Weights whose mean over the set
    is one keep the cost's scale.

    Where w = 0 the example is left out: value and gradient are 0 even if L is NaN or infinite, as it is for a label
    that only fills a place. The weight is data: no gradient passes through it.

    Args:
      loss: (prediction, label) -> ().
    Returns:
      (prediction, (label, weight)) -> (), weight: (), a number or a boolean.
    Raises:
      InputError: the label is no pair, or the weight no single number.

    >>> from jaxnn.ops import squared_error
    >>> float(weighted(squared_error)(jnp.array([1.0]), (jnp.array([3.0]), 0.5)))
    2.0
    """
    _expect_loss("weighted", loss)
    name = f"weighted({_name(loss)})"

    # Under jit a loss cannot refuse the value of a label that only fills a place.
    compiled = jax.jit(loss, inline=True)

    def weighted_loss(prediction: Any, label: Any) -> Any:
        label, weight = _pair(name, "(label, weight)", label)
        expect_real(name, "weight", weight)
        expect_shape(name, "weight", weight, (), "pass weights of shape (B,) for a batch, under jax.vmap")
        return _scaled(name, compiled, prediction, label, jax.lax.stop_gradient(jnp.asarray(weight)))

    return _named(weighted_loss, name)


def sum_over_time(loss: Loss) -> Loss:
    """Σ_t L(y_t, l_t): of predictions (T, ...) and labels (T, ...), trees of arrays; 0 for T = 0.

    Steps that are padding are left out by a weight of 0: sum_over_time(weighted(loss)), with the labels (l, mask).

    Args:
      loss: (prediction, label) -> (), of one step.
    Returns:
      (predictions, labels) -> ().
    Raises:
      InputError: predictions and labels do not have one number of steps, or L is no single number.
    """
    _expect_loss("sum_over_time", loss)
    name = f"sum_over_time({_name(loss)})"

    def summed_loss(predictions: Any, labels: Any) -> Any:
        return jnp.sum(_each_step(name, loss, predictions, labels))

    return _named(summed_loss, name)


def mean_over_time(loss: Loss) -> Loss:
    """Σ_t L(y_t, l_t) / T: of predictions (T, ...) and labels (T, ...), trees of arrays.

    Args:
      loss: (prediction, label) -> (), of one step.
    Returns:
      (predictions, labels) -> ().
    Raises:
      InputError: predictions and labels do not have one number of steps, at least one, or L is no single number.
    """
    _expect_loss("mean_over_time", loss)
    name = f"mean_over_time({_name(loss)})"

    def mean_loss(predictions: Any, labels: Any) -> Any:
        losses = _each_step(name, loss, predictions, labels)
        expect(losses.shape[0] > 0, name, "at least one step of time", "none", "the mean of nothing is undefined")
        return jnp.mean(losses)

    return _named(mean_loss, name)


def masked_mean_over_time(loss: Loss) -> Loss:
    """Σ_t m_t L(y_t, l_t) / Σ_t m_t: the mean over the steps that are not masked, m_t = 1.

    With all steps masked the loss is 0, and so is its gradient. What stands in a masked step does not matter:
    its loss may be NaN, as for a label of -1. In a cost each example counts the same, however long it is; for a
    mean over all steps of a batch take sum_over_time(weighted(loss)) and divide by the mean number of steps.

    Args:
      loss: (prediction, label) -> (), of one step.
    Returns:
      (predictions, (labels, mask)) -> (), mask: (T,), boolean, True where the step counts.
    Raises:
      InputError: the label is no pair; the mask is not boolean of shape (T,); as `sum_over_time`.
    """
    _expect_loss("masked_mean_over_time", loss)
    name = f"masked_mean_over_time({_name(loss)})"
    total = sum_over_time(weighted(loss))

    def masked_loss(predictions: Any, label: Any) -> Any:
        labels, mask = _pair(name, "(labels, mask)", label)
        expect_array(name, "mask", mask)
        mask = jnp.asarray(mask)
        expect(mask.dtype == bool, name, "a boolean mask, True where a step counts", str(mask.dtype),
               "convert it: mask.astype(bool)")
        expect_shape(name, "mask", mask, _leading_axis(predictions) or ("time",))
        value = total(predictions, (labels, mask))
        return value / jnp.maximum(jnp.sum(mask), 1).astype(value.dtype)

    return _named(masked_loss, name)


def _scaled(name: str, loss: Loss, prediction: Any, label: Any, weight: jax.Array) -> jax.Array:
    """w L, and 0 where w = 0 whatever L is.

    Selecting the value alone would not do: its gradient, 0 · ∂L/∂y, is NaN where ∂L/∂y is. So y passes through a
    selection too, whose transpose drops that NaN.
    """
    is_used = weight != 0
    used = jax.tree.map(lambda y: jnp.where(is_used, y, jnp.zeros_like(y)), prediction)
    value = loss(used, label)
    _expect_number(name, value, ())
    return jnp.where(is_used, weight.astype(value.dtype) * value, jnp.zeros_like(value))


def _each_step(name: str, loss: Loss, predictions: Any, labels: Any) -> jax.Array:
    """The losses of all steps, (T,)."""
    expect_arrays(name, "predictions", predictions)
    expect_arrays(name, "labels", labels)
    leaves = jax.tree.leaves((predictions, labels))
    n_steps = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else None for leaf in leaves}
    if len(n_steps) != 1 or None in n_steps:
        expect(False, name, "predictions and labels with one leading axis of time",
               f"{jax.tree.map(jnp.shape, predictions)} and {jax.tree.map(jnp.shape, labels)}",
               "put a batch under jax.vmap")
    losses = jax.vmap(loss)(predictions, labels)
    _expect_number(name, losses, (n_steps.pop(),))
    return losses


def _leading_axis(predictions: Any) -> tuple[int, ...]:
    return next(iter(jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(predictions)), ())


def _expect_loss(who: str, loss: Any) -> None:
    expect(accepts(loss, 2), who, "a loss of one step or one example, called as loss(prediction, label)",
           f"the class {loss.__name__}" if isinstance(loss, type) else repr(loss))


def _expect_number(name: str, value: Any, shape: tuple[Any, ...]) -> None:
    """Raises InputError unless the value of the loss, with these leading axes, is one floating-point number."""
    fits = hasattr(value, "dtype") and jnp.issubdtype(value.dtype, jnp.floating) and np.shape(value) == shape
    if not fits:
        part = jax.tree.map(lambda v: f"{jnp.result_type(v)}{list(jnp.shape(v)[len(shape):])}", value)
        expect(False, name, "a loss with one floating-point number, of shape ()", str(part), "take its mean")


def _pair(name: str, form: str, label: Any) -> tuple[Any, Any]:
    fits = isinstance(label, tuple | list) and len(label) == 2
    expect(fits, name, f"the label to be the pair {form}",
           type(label).__name__ + (f" of {len(label)}" if isinstance(label, tuple | list) else ""))
    return label[0], label[1]


def _name(loss: Any) -> str:
    return getattr(loss, "name", None) or getattr(loss, "__name__", None) or type(loss).__name__


def _named(loss: Loss, name: str) -> Loss:
    """The loss under a name that errors and saved runs show."""
    loss.__name__ = loss.__qualname__ = name
    return loss
