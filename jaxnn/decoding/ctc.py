"""Labels from the classes of each step of time, as CTC reads them: repeats merged, then blanks removed.

    a prefix l of labels ends at step t in a blank, or in its last label; p_b(l), p_n(l) add up the paths of each
    p_b(l) <- (p_b(l) + p_n(l)) p_t(blank)        p_n(l) <- p_n(l) p_t(last label of l)
    p_n(l k) += p_t(k) (p_b(l) + p_n(l)), but p_t(k) p_b(l) where k is the last label of l
    score(l) = log (p_b + p_n) + α log P_model(l) + β |l|

Source: Graves (2012), section 7.5.3; with a language model: Hannun et al. (2014), algorithm 1.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import expect, expect_float, expect_integers, expect_shape, is_integer, is_number, known
from jaxnn.decoding.step import NO_TOKEN, as_carry, expect_start, shapes_of, split_step

__all__ = ["CTCBeams", "CTCPath", "ctc_beam_search", "ctc_greedy"]


class CTCPath(NamedTuple):
    """labels[:length] of the likeliest path."""

    labels: jax.Array
    """(T,) int32, -1 behind the last."""
    length: jax.Array
    """int32 ()."""
    log_p: jax.Array
    """Of the path, nats: less than that of the labels, which many paths share."""


class CTCBeams(NamedTuple):
    """`width` labellings, the best first; labels[i, :length[i]] is one."""

    labels: jax.Array
    """(width, T) int32, -1 behind the last."""
    length: jax.Array
    """(width,) int32."""
    log_p: jax.Array
    """(width,): log of the sum over the paths that were kept, nats, without the language model; -inf for a place that
    no labelling fills."""
    score: jax.Array
    """(width,): what they are ranked by."""


def ctc_greedy(logits: Any, n_steps: Any = None, *, blank: int = 0) -> CTCPath:
    """The labels of the likeliest path: the likeliest class of each step, repeats merged, blanks removed.

    Args:
      logits: (T, n_classes), the blank among the classes.
      n_steps: how many of the T steps count, an integer (); None for all.
      blank: its class.
    Raises:
      InputError: an argument is not as above, or n_steps known at the call is out of range. Out of range at run time,
        log p is NaN.

    >>> path = ctc_greedy(jax.nn.one_hot(jnp.array([1, 1, 0, 1, 2]), 3))
    >>> path.labels[:path.length].tolist()
    [1, 1, 2]
    """
    who = "ctc_greedy"
    counts, is_valid = _expect_logits(who, logits, n_steps, blank)
    log_p = _log_softmax(logits, counts)
    best = jnp.argmax(log_p, -1).astype(jnp.int32)
    before = jnp.concatenate([jnp.full_like(best[:1], blank), best[:-1]])
    is_new = (best != blank) & (best != before) & counts
    places = jnp.where(is_new, jnp.cumsum(is_new) - 1, best.shape[0])
    labels = jnp.full_like(best, NO_TOKEN).at[places].set(best, mode="drop")
    of_path = jnp.sum(jnp.where(counts, jnp.max(log_p, -1), 0))
    return CTCPath(labels, jnp.sum(is_new, dtype=jnp.int32), jnp.where(is_valid, of_path, jnp.nan))


def ctc_beam_search(logits: Any, n_steps: Any = None, *, width: int, blank: int = 0, model: Callable | None = None,
                    carry: Any = (), start: Any = None, model_weight: float = 1.0,
                    label_bonus: float = 0.0) -> CTCBeams:
    """The likeliest labellings, each the sum of its paths, among prefixes of which `width` are kept at each step.

    Args:
      logits: (T, n_classes), the blank among the classes.
      n_steps: how many of the T steps count, an integer (); None for all.
      width: how many prefixes are kept; where it is at least their number, the search is exact.
      blank: its class.
      model: a language model, (carry, label) -> (carry, logits (n_classes,)) of the label that follows. What it gives
        for the blank is left out. None for none.
      carry: the model's state before the first label.
      start: the label that the model gets first, an integer ().
      model_weight: α >= 0.
      label_bonus: β, added for each label, against the model's preference for the short.
    Returns:
      CTCBeams.
    Raises:
      InputError: an argument is not as above, or n_steps known at the call is out of range. Out of range at run time,
        log p is NaN.
    """
    who = "ctc_beam_search"
    counts, is_valid = _expect_logits(who, logits, n_steps, blank)
    expect(is_integer(width, 1), who, "width, a positive integer", repr(width))
    expect(is_number(model_weight, 0), who, "model_weight, a number >= 0", repr(model_weight))
    expect(is_number(label_bonus), who, "label_bonus, a number", repr(label_bonus))
    n_t, n_classes = logits.shape
    log_p = _log_softmax(logits, counts)
    model_step, carry, start, next_log_p = _model(who, model if model_weight else None, carry, start, n_classes,
                                                    blank, log_p.dtype)
    none = jnp.full(width, -jnp.inf, log_p.dtype)
    classes = jnp.arange(n_classes, dtype=jnp.int32)

    def visit(beam: Any, at_t: Any) -> tuple[Any, None]:
        log_p_t, counts = at_t
        labels, length, in_blank, in_label, of_model, nexts, carries = beam
        both = jnp.logaddexp(in_blank, in_label)
        last = jnp.where(length > 0, jnp.take_along_axis(labels, jnp.maximum(length - 1, 0)[:, None], 1)[:, 0], blank)
        stays_blank = both + log_p_t[blank]
        stays_label = jnp.where(length > 0, in_label + log_p_t[last], -jnp.inf)
        # (width, n_classes): prefix i and class k behind it; behind its own last label only after a blank.
        grown = jnp.where(classes == last[:, None], in_blank[:, None], both[:, None]) + log_p_t
        grown = jnp.where(classes == blank, -jnp.inf, grown)
        # Grown by its last label, prefix i may be prefix j, which is there already: their paths are one labelling's.
        same = labels[:, None, :] == jnp.where(jnp.arange(n_t) < (length - 1)[:, None], labels, NO_TOKEN)[None]
        is_parent = jnp.all(same, -1) & (length[:, None] + 1 == length) & (length > 0) & ~jnp.isneginf(both)
        joining = jnp.where(is_parent, grown[:, last], -jnp.inf)
        stays_label = jnp.logaddexp(stays_label, jax.nn.logsumexp(joining, 0))
        grown = jnp.where(jnp.any(is_parent[:, :, None] & (classes == last[None, :, None]), 1), -jnp.inf, grown)
        of_grown = of_model[:, None] + model_weight * nexts + label_bonus
        scores = jnp.concatenate([jnp.logaddexp(stays_blank, stays_label) + of_model, (grown + of_grown).reshape(-1)])
        _, chosen = lax.top_k(scores, width)
        is_grown = chosen >= width
        parent, k = jnp.divmod(chosen - width, n_classes)
        parent, k = jnp.where(is_grown, parent, chosen), jnp.where(is_grown, k, blank).astype(jnp.int32)
        labels, length, carries, nexts = jax.tree.map(lambda a: a[parent], (labels, length, carries, nexts))
        at = jnp.where(is_grown, length, n_t)
        labels = labels.at[jnp.arange(width), at].set(k, mode="drop")
        new_carries, new_nexts = jax.vmap(model_step)(carries, jnp.where(is_grown, k, start))
        carries, nexts = jax.tree.map(
            lambda new, old: jnp.where(is_grown.reshape(-1, *[1] * (old.ndim - 1)), new, old),
            (new_carries, new_nexts), (carries, nexts))
        moved = (labels, length + is_grown, jnp.where(is_grown, -jnp.inf, stays_blank[parent]),
                 jnp.where(is_grown, grown[parent, k], stays_label[parent]),
                 jnp.where(is_grown, of_grown[parent, k], of_model[parent]), nexts, carries)
        return jax.tree.map(lambda new, old: jnp.where(counts, new, old), moved, beam), None

    def many(a: Any) -> Any:
        return jnp.broadcast_to(a, (width, *jnp.shape(a)))

    beam = (jnp.full((width, n_t), NO_TOKEN, jnp.int32), jnp.zeros(width, jnp.int32), none.at[0].set(0), none,
            jnp.zeros_like(none), many(next_log_p), jax.tree.map(many, carry))
    (labels, length, in_blank, in_label, of_model, *_), _ = lax.scan(visit, beam, (log_p, counts))
    log_p = jnp.logaddexp(in_blank, in_label)
    score = log_p + of_model
    order = jnp.argsort(-score)
    is_empty = jnp.isneginf(score)
    log_p = jnp.where(is_empty, -jnp.inf, log_p)
    labels, length = jnp.where(is_empty[:, None], NO_TOKEN, labels), jnp.where(is_empty, 0, length)
    return CTCBeams(labels[order], length[order], *(jnp.where(is_valid, a[order], jnp.nan) for a in (log_p, score)))


def _model(who: str, model: Callable | None, carry: Any, start: Any, n_classes: int, blank: int,
           dtype: Any) -> tuple[Callable, Any, Any, Any]:
    """(step of the model -> (carry, log p of the next label), its carry after the start, the start, log p of the first
    label), (n_classes,); 0 for every label without a model."""
    if model is None:
        nothing = jnp.zeros(n_classes, dtype)
        return (lambda carry, label: (carry, nothing)), (), jnp.int32(0), nothing
    expect(start is not None, who, "start, the label that the model gets first", "None")
    start = expect_start(who, start)
    run, carry = split_step(who, model), as_carry(carry)
    logits, _ = shapes_of(run, carry, start)
    expect(logits.shape == (n_classes,), who, f"a model whose logits have the shape ({n_classes},), the blank in its "
           "place", str(logits.shape))

    def step(carry: Any, label: Any) -> tuple[Any, Any]:
        carry, logits, _ = run(carry, label)
        return carry, jax.nn.log_softmax(jnp.where(jnp.arange(n_classes) == blank, -jnp.inf, logits)).astype(dtype)

    carry, first = step(carry, start)
    return step, carry, start, first


def _log_softmax(logits: Any, counts: Any) -> Any:
    z = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jax.nn.log_softmax(jnp.where(counts[:, None], z, 0))


def _expect_logits(who: str, logits: Any, n_steps: Any, blank: int) -> tuple[Any, Any]:
    """(which steps count, (T,); whether their number is in range)."""
    expect_float(who, "logits", logits)
    expect_shape(who, "logits", logits, ("T", "n_classes"),
                 "decode one sequence, and use jax.vmap for a batch" if jnp.ndim(logits) == 3 else "")
    n_t, n_classes = logits.shape
    expect(is_integer(blank, 0) and blank < n_classes, who, f"blank, a class in 0 .. {n_classes - 1}", repr(blank))
    if n_steps is None:
        return jnp.full(n_t, True), True
    expect_integers(who, "n_steps", n_steps)
    expect_shape(who, "n_steps", n_steps, (), "for a batch use jax.vmap")
    values = known(n_steps)
    expect(values is None or bool(((values >= 0) & (values <= n_t)).all()), who, f"n_steps in 0 .. {n_t}", str(values))
    n = jnp.asarray(n_steps)
    n = n.astype(jnp.int32) if jnp.iinfo(n.dtype).max < jnp.iinfo(jnp.int32).max else n
    return jnp.arange(n_t) < n, (n >= 0) & (n <= n_t)

