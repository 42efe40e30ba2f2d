"""Connectionist temporal classification: how likely a labelling is when nobody says which step belongs to which label.

    a path π names a class or the blank ∅ for each of T steps;  B(π): repeats merged, then blanks removed
    P(l) = Σ over the paths with B(π) = l of Π_t p_t(π_t)    L = -log P(l)    p_t = softmax(z_t)

    l' = ∅ l_1 ∅ l_2 ... ∅, 2 S + 1 places; a path stays at its place s, goes to s + 1, or, between two
    labels that differ, to s + 2
    α_t(s) = log P(the first t steps end at s) = log p_t(l'_s) + log Σ_{r → s} e^{α_{t-1}(r)}
    β_t(s) = log P(the steps after t, from s) = log Σ_{s → r} p_{t+1}(l'_r) e^{β_{t+1}(r)}

Impossible is -inf, and logarithms are added up with no constant in its place. After each step the largest α is taken
off and kept apart, so that α stays as precise at step 10,000 as at step 1.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.checks import expect, expect_float, expect_integers, expect_shape, is_integer, known
from jaxnn.hand_derived import Static, hand_derived

__all__ = ["CTCCache", "ctc"]


class CTCCache(NamedTuple):
    log_p: Any
    """log p, (T, n_classes), in at least float32."""
    alpha: Any
    """α less its largest of each step, (T, 2 S + 1)."""
    places: Any
    """l', (2 S + 1,), int32."""
    n_steps: Any
    """int32 ()."""
    n_labels: Any
    """int32 ()."""
    factor: Any
    """0 where no path fits, NaN where an argument is out of range, else 1: ()."""
    blank: Static


@hand_derived
def ctc(logits: Any, labels: Any, n_steps: Any = None, n_labels: Any = None, *, blank: int = 0) -> Any:
    """L = -log Σ_π Π_t p_t(π_t), over the paths π that become the labels when repeats are merged and blanks removed.

    Args:
      logits: z, (T, n_classes), the blank among the classes.
      labels: l, integers (S,) in 0 .. n_classes - 1 without the blank. The same label twice needs a blank between.
      n_steps: how many of the T steps count, an integer (); None for all. What stands behind them does not matter.
      n_labels: how many of the S labels count, an integer (); None for all. What stands behind them does not matter.
      blank: its class, 0 .. n_classes - 1.
    Returns:
      L, nats, (), at least 0. Labels that do not fit into the steps have P = 0: L is then infinite, and its gradient
      zero, since no logits can change that; such an example cannot spoil the gradient of others. A training
      step leaves out the update that has an infinite cost, so give it a weight of 0 or leave it out. A label or a
      number out of range that is known only at run time makes L and its gradient NaN.
    Raises:
      InputError: a shape does not fit; or, of values known at the call, a label is out of range or the blank, a number
        is out of range, or the labels do not fit into the steps.
    With `log_softmax` of the same logits, PyTorch's `ctc_loss(reduction="none")` is equal. The gradient is by the
    logits, that of PyTorch by the logits as well: what it calls a gradient by log p is none.

    >>> round(float(ctc(jnp.zeros((2, 2)), jnp.array([1]))), 4)  # three of four paths: 11 01 10
    0.2877
    """
    who = ctc.name
    expect_float(who, "logits", logits)
    expect_shape(who, "logits", logits, ("T", "n_classes"))
    expect_integers(who, "labels", labels)
    expect_shape(who, "labels", labels, ("S",))
    n_classes = logits.shape[1]
    expect(n_classes >= 1, who, "at least one class, the blank", str(logits.shape))
    expect(is_integer(blank, 0) and blank < n_classes, who, f"blank, a class in 0 .. {n_classes - 1}", repr(blank))
    for name, n in (("n_steps", n_steps), ("n_labels", n_labels)):
        if n is not None:
            expect_integers(who, name, n)
            expect_shape(who, name, n, (), "for a batch use jax.vmap")
    _check_values(who, logits.shape, labels, n_steps, n_labels, blank)
    n_t, in_steps = _number(n_steps, logits.shape[0])
    n_l, in_labels = _number(n_labels, labels.shape[0])
    counts = jnp.arange(labels.shape[0]) < n_l
    classes, is_class = _classes(labels, n_classes, blank)
    is_valid = in_steps & in_labels & jnp.all(is_class | ~counts)
    places = jnp.full(2 * labels.shape[0] + 1, blank, jnp.int32).at[1::2].set(jnp.where(counts, classes, blank))

    z = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    steps = jnp.arange(z.shape[0]) < n_t
    log_p = _log_softmax(jnp.where(steps[:, None], z, 0))
    from_two = _may_skip(places, blank)

    def step(before: Any, at_t: Any) -> Any:
        alpha, taken, lost = before
        log_p_t, counts = at_t
        alpha_t = log_p_t + _log_sum_of_three(
            alpha, _moved(alpha, 1), jnp.where(from_two, _moved(alpha, 2), -jnp.inf))
        largest = _finite_maximum(alpha_t)
        alpha = jnp.where(counts, alpha_t - largest, alpha)
        # What the sum of all that was taken off loses to rounding is kept beside it (Kahan 1965).
        term = jnp.where(counts, largest, 0) - lost
        total = taken + term
        return (alpha, total, (total - taken) - term), alpha

    # As if a path came from the first blank: there it stays, or goes on to the first label.
    zero = jnp.zeros_like(log_p, shape=())
    start = jnp.where(jnp.arange(places.shape[0]) == 0, zero, -jnp.inf), zero, zero
    (last, taken, _), alpha = lax.scan(step, start, (log_p[:, places], steps))
    log_likelihood = taken + _log_sum(jnp.where(_is_end(places, n_l), last, -jnp.inf))
    loss = -log_likelihood
    loss = loss - lax.stop_gradient(jnp.minimum(loss, 0))  # a probability of 1 is rounded up, too
    loss = jnp.where(is_valid, loss, jnp.nan)
    factor = jnp.where(is_valid, jnp.where(jnp.isposinf(loss), 0, 1), jnp.nan).astype(log_p.dtype)
    return loss.astype(logits.dtype), CTCCache(log_p, alpha, places, n_t, n_l, lax.stop_gradient(factor),
                                               Static(blank))


@ctc.defbackward
def ctc_backward(cache: Any, dy: Any) -> Any:
    """Of the paths that become l, those that stand at place s at step t have the probability e^{α_t(s) + β_t(s)}, and

        γ_t(s) = e^{α_t(s) + β_t(s)} / Σ_r e^{α_t(r) + β_t(r)}

    is the part of P(l) that they make up. A factor p_t(k) of P(l) stands in those at the places of class k, so

        ∂L/∂log p_t(k) = -Σ_s γ_t(s) [l'_s = k] = -q_t(k),  and with ∂log p_k/∂z_j = δ_kj - p_j and Σ_k q_t(k) = 1
        dz_t(k) = dy (p_t(k) - q_t(k))

    γ is divided by its own sum: what is taken off α and β at each step cancels, and each step's gradient sums to zero.

    Args:
      cache: a CTCCache.
      dy: ().
    Source: Graves et al. (2006), eq. 7-16; there β has the factor p_t(l'_s) too.
    """
    log_p, alpha, places, n_t, n_l, factor, blank = cache
    from_two = _may_skip(places, blank.value)
    to_two = _moved(from_two, -2, False)
    end = jnp.where(_is_end(places, n_l), jnp.zeros_like(log_p, shape=()), -jnp.inf)

    def step(after: Any, at_t: Any) -> Any:
        log_p_t, t = at_t
        beta_t = _log_sum_of_three(after, _moved(after, -1), jnp.where(to_two, _moved(after, -2), -jnp.inf))
        beta_t = jnp.where(t == n_t - 1, end, beta_t)
        reached = beta_t + log_p_t
        return reached - _finite_maximum(reached), beta_t

    times = jnp.arange(log_p.shape[0])
    _, beta = lax.scan(step, end, (log_p[:, places], times), reverse=True)
    both = alpha + beta
    shares = jnp.exp(both - _finite_maximum(both))
    total = jnp.sum(shares, -1, keepdims=True)
    shares = shares / jnp.where(total == 0, 1, total)
    q = jnp.zeros_like(log_p).at[:, places].add(shares)
    slope = jnp.where((times < n_t)[:, None], jnp.exp(log_p) - q, 0)
    return dy.astype(log_p.dtype) * factor * slope, None, None, None


def _log_softmax(z: Any) -> Any:
    """log p, (T, n_classes); where p is nearly 1, as precise as 1 - p."""
    largest, others = _largest_and_others(z, -1)
    return (z - largest[..., None]) - jnp.log1p(others)[..., None]


def _log_sum(a: Any) -> Any:
    """log Σ e^a along the first axis; -inf for nothing but -inf, and no gradient then."""
    largest, others = _largest_and_others(a, 0)
    return jnp.where(jnp.all(jnp.isneginf(a), 0), -jnp.inf, largest + jnp.log1p(others))


def _log_sum_of_three(a: Any, b: Any, c: Any) -> Any:
    """log (e^a + e^b + e^c), as `_log_sum` of the three: m + log1p(e^{x - m} + e^{y - m}), with m the largest and x, y
    the other two."""
    larger, x = jnp.maximum(a, b), jnp.minimum(a, b)
    largest, y = jnp.maximum(larger, c), jnp.minimum(larger, c)
    m = jnp.where(jnp.isneginf(largest), 0, largest)
    return jnp.where(jnp.isneginf(largest), -jnp.inf, m + jnp.log1p(jnp.exp(x - m) + jnp.exp(y - m)))


def _largest_and_others(a: Any, axis: int) -> tuple[Any, Any]:
    """(m, Σ e^{a - m} without the term of m, which is 1), so that log Σ e^a = m + log1p(others) keeps what is much
    smaller than 1. m is 0 where all are -inf."""
    index = lax.broadcasted_iota(jnp.int32, a.shape, axis % a.ndim)
    is_largest = index == jnp.argmax(a, axis, keepdims=True)
    m = jnp.sum(jnp.where(is_largest & ~jnp.isneginf(a), a, 0), axis)
    return m, jnp.sum(jnp.where(is_largest, 0, jnp.exp(a - jnp.expand_dims(m, axis))), axis)


def _finite_maximum(a: Any) -> Any:
    """The largest along the last axis, held fixed, (..., 1); 0 where all are -inf."""
    largest = lax.stop_gradient(jnp.max(a, -1, keepdims=True))
    largest = jnp.where(jnp.isneginf(largest), 0, largest)
    return largest if a.ndim > 1 else largest[0]


def _moved(a: Any, n: int, fill: Any = -jnp.inf) -> Any:
    """Each element moved n places on, back for n < 0; what is left empty is filled."""
    filling = jnp.full_like(a[: abs(n)], fill)
    return jnp.concatenate([filling, a[:-n]])[: a.shape[0]] if n > 0 else jnp.concatenate([a[-n:], filling])[
        -a.shape[0]:]


def _may_skip(places: Any, blank: int) -> Any:
    """Where a path may come from two places before: to a label that differs from the label before it."""
    return (places != blank) & (places != _moved(places, 2, blank))


def _is_end(places: Any, n_labels: Any) -> Any:
    """Where a path may end: at the last label or the blank after it."""
    s = jnp.arange(places.shape[0])
    return (s == 2 * n_labels) | (s == 2 * n_labels - 1)


def _number(n: Any, most: int) -> tuple[Any, Any]:
    """(n as int32, whether it is in 0 .. most); all of them for None."""
    if n is None:
        return jnp.asarray(most, jnp.int32), jnp.asarray(True)
    n = n.astype(jnp.int32) if jnp.iinfo(n.dtype).max < np.iinfo(np.int32).max else n
    fits = (n >= 0) & (n <= most)
    return jnp.where(fits, n, 0).astype(jnp.int32), fits


def _classes(labels: Any, n_classes: int, blank: int) -> tuple[Any, Any]:
    """(the labels as int32, where they are classes other than the blank)."""
    labels = labels.astype(jnp.int32) if jnp.iinfo(labels.dtype).max < np.iinfo(np.int32).max else labels
    is_class = (labels >= 0) & (labels < n_classes) & (labels != blank)
    return jnp.where(is_class, labels, blank).astype(jnp.int32), is_class


def _check_values(who: str, shape: tuple[int, ...], labels: Any, n_steps: Any, n_labels: Any, blank: int) -> None:
    """Refuses what is out of range or does not fit into the steps, as far as the values are known at the call."""
    (n_t, n_classes), n_l = shape, labels.shape[0]
    for name, n, most in (("n_steps", n_steps, n_t), ("n_labels", n_labels, n_l)):
        values = None if n is None else known(n)
        if values is not None and values.size:
            expect(bool(np.all((values >= 0) & (values <= most))), who, f"{name} in 0 .. {most}",
                   f"values from {values.min()} to {values.max()}", f"the array has {most}")
    values, lengths = known(labels), known(n_l if n_labels is None else n_labels)
    steps = known(n_t if n_steps is None else n_steps)
    if values is None or lengths is None:
        return
    try:
        lengths, batch = np.broadcast_arrays(lengths, np.zeros(np.broadcast_shapes(values.shape[:-1], lengths.shape)))
    except ValueError:  # each under a `vmap` of its own
        return
    values = np.broadcast_to(values, (*batch.shape, n_l)).astype(np.int64)
    counts = np.arange(n_l) < lengths[..., None]
    used = values[counts]
    if used.size:
        expect(bool(np.all((used >= 0) & (used < n_classes))), who, f"labels in 0 .. {n_classes - 1}",
               f"values from {used.min()} to {used.max()}", "pass n_labels for labels that fill a place")
        expect(not np.any(used == blank), who, f"labels without the blank, {blank}", "some that are the blank",
               "it is the class of no label: give the labels the others")
    if steps is None:
        return
    needed = lengths + np.sum((values[..., 1:] == values[..., :-1]) & counts[..., 1:], -1)
    if needed.size and steps.shape in ((), needed.shape):
        over = needed - steps
        worst = np.unravel_index(np.argmax(over), over.shape)
        expect(bool(over[worst] <= 0), who, "labels that fit into the steps, one each and a blank between repeats",
               f"{lengths[worst]} labels that need {needed[worst]} steps, and "
               f"{steps if steps.ndim == 0 else steps[worst]} steps",
               "leave the example out, or give it a weight of 0: jaxnn.losses.weighted")
