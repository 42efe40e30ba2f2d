"""Dense layer and softmax cross-entropy in one, for many classes: logits exist for a chunk of classes at a time.

    z = x Wᵀ + b    λ = log Σ_k e^{z_k}    ℓ = λ - (1 - s) z_t - s Σ_k z_k / n_classes

    x (..., n_in) rows    W (n_classes, n_in) weight    b (n_classes,) bias    t labels (...)    s smoothing

The logits of 1,024 rows and 32,000 classes are 131 MB, and their gradient as many. One `scan` over chunks of classes
keeps instead the largest logit m so far and Σ e^{z - m}, both for each row; backward visits the chunks
once more and finds the logits of each again.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import Entries, expect, expect_float, expect_integers, is_integer, is_number, weights
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import promoted
from jaxnn.ops.loss import _check_labels, _ignored
from jaxnn.ops.reduction import Reduced, reduce_backward, reduce_forward

__all__ = ["DenseSoftmaxCrossEntropyCache", "dense_softmax_cross_entropy"]


class DenseSoftmaxCrossEntropyCache(NamedTuple):
    weight: Any
    """W, (n_classes, n_in)."""
    bias: Any
    """b, (n_classes,); None for 0."""
    x: Any
    """(..., n_in)."""
    labels: Any
    """t, (...)."""
    largest: Any
    """m, the largest logit of each row, (rows,), in at least float32."""
    total: Any
    """Σ_k e^{z_k - m}, (rows,)."""
    reduced: Reduced
    """Of the loss of each row."""
    entries: Entries
    """Of params."""
    plan: Static
    """A _Plan."""


@hand_derived
def dense_softmax_cross_entropy(params: Any, x: Any, labels: Any, weights: Any = None, *, chunk: int = 1024,
                                smoothing: float = 0.0, ignore_label: int | None = None, reduction: str = "sum",
                                axes: int | Sequence[int] | None = None) -> Any:
    """L = Σ w ℓ, ℓ = softmax_cross_entropy(dense(params, x), t), without the logits of all classes at once.

    Args:
      params: {"weight": (n_classes, n_in), "bias": (n_classes,)}; "bias" may be left out or be None.
      x: (..., n_in): one row, or the rows of a sequence, (time, n_in).
      labels: t, integers (...) in 0 .. n_classes - 1.
      weights, reduction, axes: as for every loss, see `jaxnn.ops.loss`; ℓ has the shape (...).
      chunk: how many classes at a time. It changes memory, rows times chunk numbers, and speed, and the result only
        by rounding. Where neither it nor a number down to
        its half divides n_classes, W is copied once.
      smoothing: s in [0, 1] (Szegedy et al. 2016).
      ignore_label: an integer; where it stands as a label, ℓ and its gradient are 0, whatever x is, and a mean does
        not count it.
    Returns:
      L, nats: (), or the axes that are left. A label out of range that is known only at run time makes it NaN, and
      so its gradient.
    Raises:
      InputError: a shape does not fit, or a label known at the call is out of range.
    For the head of a model: as the last line of its layer, which then takes the labels beside x and returns the loss;
    or in a combinator of `jaxnn.losses`, as the loss of one step,
    `lambda x, label: dense_softmax_cross_entropy(params, x, label)`.

    >>> params = {"weight": jnp.zeros((10, 3))}
    >>> round(float(dense_softmax_cross_entropy(params, jnp.ones((2, 3)), jnp.array([7, 1]))), 3)
    4.605
    """
    who = dense_softmax_cross_entropy.name
    weight, bias, entries = _params(who, params)
    expect_float(who, "x", x)
    expect(jnp.ndim(x) >= 1 and x.shape[-1] == weight.shape[1], who,
           f"x of shape (..., {weight.shape[1]}), as weight {weight.shape} has columns", str(jnp.shape(x)))
    expect(weight.shape[0] >= 1, who, "at least one class", "weight of no rows")
    expect(is_integer(chunk, 1), who, "chunk, a positive integer", repr(chunk))
    expect(is_number(smoothing, 0, 1), who, "smoothing in [0, 1]", repr(smoothing))
    expect_integers(who, "labels", labels)
    _check_labels(who, labels, (*x.shape[:-1], weight.shape[0]), ignore_label)
    plan = _Plan(weight.shape[0], weight.shape[1], min(chunk, weight.shape[0]), float(smoothing), ignore_label)
    dtype = promoted(x, weight, bias, weights)[0].dtype
    ws, bs, rows, t, _ = plan.chunks(weight, bias, x, labels)
    # Labels that are no class, and are not to be ignored, are found in no chunk: their loss stays NaN.
    at_label = jnp.where(t == _IGNORED, 0, jnp.nan).astype(plan.wide(rows))

    def visit(carry: Any, part: Any) -> Any:
        largest, total, at_label, summed = carry
        first, w, b = part
        z = plan.logits(rows, first, w, b)
        larger = jnp.maximum(largest, lax.stop_gradient(jnp.max(z, 1)))
        # Where all classes so far are ruled out, -inf less -inf would be NaN.
        level = jnp.where(jnp.isneginf(larger), 0, larger)
        total = total * jnp.exp(largest - level) + jnp.sum(jnp.exp(z - level[:, None]), 1)
        own = jnp.clip(t - first, 0, plan.size - 1)
        found = jnp.take_along_axis(z, own[:, None], 1)[:, 0]
        at_label = jnp.where(own == t - first, found, at_label)
        if plan.smoothing:
            summed = summed + jnp.sum(jnp.where(plan.is_class(first), z, 0), 1)
        return (larger, total, at_label, summed), None

    zeros = jnp.zeros_like(at_label)
    start = zeros - jnp.inf, zeros, at_label, zeros
    (largest, total, at_label, summed), _ = lax.scan(visit, start, (plan.firsts, ws, bs))
    s = plan.smoothing
    # m - z_t and not λ - z_t, which would lose a small loss to rounding.
    losses = (1 - s) * (largest - at_label) + jnp.log(total)
    if s:
        losses = losses + s * (largest - summed / plan.n_classes)
    losses = jnp.reshape(jnp.where(t == _IGNORED, 0, losses), jnp.shape(labels))
    counts = None if ignore_label is None else ~_ignored(labels, ignore_label)
    total_loss, reduced = reduce_forward(who, losses, weights, reduction, axes, counts=counts)
    return total_loss.astype(dtype), DenseSoftmaxCrossEntropyCache(
        weight, bias, x, labels, largest, total, reduced, entries, Static(plan))


@dense_softmax_cross_entropy.defbackward
def dense_softmax_cross_entropy_backward(cache: Any, dy: Any) -> Any:
    """With p_k = e^{z_k - λ}, u_k = (1 - s) [t = k] + s / n_classes, Σ_k u_k = 1, and dℓ = dy w,

        dz_k = dℓ (p_k - u_k)
        dW_ki = Σ dz_k x_i        db_k = Σ dz_k        dx_i = Σ_k dz_k W_ki

    the first two summed over the rows. A chunk of classes has its own rows of dW and db; dx is added up over the
    chunks. p is found again in each chunk from the same product as in forward; `jax.checkpoint` around the body
    keeps JAX from saving every p of the scan when it transposes this function.

    Args:
      cache: a DenseSoftmaxCrossEntropyCache.
      dy: (), or the axes that are left.
    Source: Bridle (1990), eq. 5; in chunks: Wijmans et al. (2025), section 4.
    """
    plan = cache.plan.value
    dlosses, dweights = reduce_backward(cache.reduced, dy)
    ws, bs, rows, t, is_valid = plan.chunks(cache.weight, cache.bias, cache.x, cache.labels)
    d = jnp.ravel(jnp.broadcast_to(dlosses, jnp.shape(cache.labels))) * is_valid
    lse = cache.largest + jnp.log(cache.total)

    def visit(dx: Any, part: Any) -> Any:
        first, w, b = part
        p = jnp.exp(plan.logits(rows, first, w, b) - lse[:, None])
        u = (1 - plan.smoothing) * (t[:, None] == first + jnp.arange(plan.size))
        if plan.smoothing:
            u = u + jnp.where(plan.is_class(first), plan.smoothing / plan.n_classes, 0)
        dz = d[:, None] * (p - u)
        db = None if b is None else jnp.sum(dz, 0)
        return dx + dz @ w.astype(dz.dtype), (dz.T @ rows.astype(dz.dtype), db)

    body = jax.checkpoint(visit, prevent_cse=False)
    dx, (dw, db) = lax.scan(body, jnp.zeros_like(rows, plan.wide(rows)), (plan.firsts, ws, bs))
    dparams = cache.entries.fill(weight=plan.joined(dw), bias=None if db is None else plan.joined(db))
    return dparams, jnp.reshape(dx, jnp.shape(cache.x)), None, dweights


_IGNORED = -2
_NO_CLASS = -1


@dataclasses.dataclass(frozen=True)
class _Plan:
    """How the classes are cut into chunks of one size; what fills the last one is ruled out."""

    n_classes: int
    n_in: int
    chunk: int
    smoothing: float
    ignore_label: int | None

    @functools.cached_property
    def size(self) -> int:
        """Of a chunk: one that divides the classes and is more than half of what was asked for, where there is one, so
        that W need not be copied to be filled up; else as even as can be."""
        fits = [n for n in range(self.chunk, self.chunk // 2, -1) if self.n_classes % n == 0]
        n_chunks = -(-self.n_classes // self.chunk)
        return fits[0] if fits else -(-self.n_classes // n_chunks)

    @property
    def n_chunks(self) -> int:
        return -(-self.n_classes // self.size)

    @property
    def firsts(self) -> Any:
        return jnp.arange(self.n_chunks, dtype=jnp.int32) * self.size

    def wide(self, rows: Any) -> Any:
        """The dtype of logits: rounded to bfloat16, one of 100 is off by up to 1/4."""
        return jnp.promote_types(rows.dtype, jnp.float32)

    def is_class(self, first: Any) -> Any:
        return first + jnp.arange(self.size) < self.n_classes

    def chunks(self, weight: Any, bias: Any, x: Any, labels: Any) -> tuple[Any, Any, Any, Any, Any]:
        """W (n_chunks, size, n_in), b (n_chunks, size) and x (rows, n_in) of one dtype; t (rows,) of int32; and for
        each row 1, or 0 where it is ignored, or NaN where its label is no class, (rows,)."""
        weight, bias, x = promoted(weight, bias, x)
        skipped = (jnp.zeros_like(labels, bool) if self.ignore_label is None
                   else _ignored(labels, self.ignore_label)).reshape(-1)
        t = labels.reshape(-1)
        largest = jnp.iinfo(jnp.int32).max
        if jnp.iinfo(t.dtype).max <= largest:  # not narrower than 32 bits: 256 classes as a uint8 are 0
            t = t.astype(jnp.int32)
        t = jnp.where((t >= 0) & (t < self.n_classes), t, self.n_classes).astype(jnp.int32)
        t = jnp.where(skipped, _IGNORED, jnp.where(t == self.n_classes, _NO_CLASS, t))
        rows = jnp.reshape(x, (math.prod(x.shape[:-1]), self.n_in))
        # NaN in a row that is ignored would be NaN times 0 in dW.
        rows = jnp.where(skipped[:, None], 0, rows) if self.ignore_label is not None else rows
        is_valid = jnp.where(t == _IGNORED, 0, jnp.where(t == _NO_CLASS, jnp.nan, 1)).astype(self.wide(rows))
        return self.cut(weight), None if bias is None else self.cut(bias), rows, t, is_valid

    def cut(self, a: Any) -> Any:
        extra = self.n_chunks * self.size - self.n_classes
        if extra:
            a = jnp.pad(a, ((0, extra),) + ((0, 0),) * (a.ndim - 1))
        return a.reshape(self.n_chunks, self.size, *a.shape[1:])

    def joined(self, a: Any) -> Any:
        return a.reshape(-1, *a.shape[2:])[: self.n_classes]

    def logits(self, rows: Any, first: Any, w: Any, b: Any) -> Any:
        """z of a chunk, (rows, size); -inf for what fills it."""
        z = jnp.matmul(rows, w.T, preferred_element_type=self.wide(rows))
        if b is not None:
            z = z + b
        if self.n_chunks * self.size > self.n_classes:
            z = jnp.where(self.is_class(first), z, -jnp.inf)
        return z


def _params(who: str, params: Any) -> tuple[Any, Any, Entries]:
    return weights(who, params, weight="n_classes n_in", bias="n_classes?")
