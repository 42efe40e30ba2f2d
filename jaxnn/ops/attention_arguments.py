"""The arguments of `attention` checked, and the masks of its kin."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import (
    expect,
    expect_bool,
    expect_float,
    expect_integers,
    expect_key,
    expect_shape,
    is_integer,
    is_number,
    known,
)
from jaxnn.ops.attention_plan import Plan

__all__ = ["expect_visible", "planned"]


def planned(who: str, q: Any, k: Any, v: Any, mask: Any, bias: Any, slopes: Any, length: Any, start: Any, key: Any, *,
            n_heads: Any, n_kv_heads: Any, causal: Any, window: Any, scale: Any, soft_cap: Any, rate: Any,
            n_keys: Any, chunk: Any) -> Plan:
    """The plan of a call whose arguments fit together.

    Raises:
      InputError: they do not.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        expect_float(who, name, x)
    expect(is_integer(n_heads, 1), who, "n_heads, a positive integer", repr(n_heads))
    n_kv_heads = n_heads if n_kv_heads is None else n_kv_heads
    expect(is_integer(n_kv_heads, 1) and n_heads % n_kv_heads == 0, who,
           f"n_kv_heads, a positive integer that divides the {n_heads} heads", repr(n_kv_heads))
    batch = "it takes one sequence, its heads side by side (n_heads): for a batch use jax.vmap"
    expect_shape(who, "q", q, ("T_q", "d" if n_heads == 1 else "n_heads * d"), batch if jnp.ndim(q) > 2 else "")
    T_q, width = q.shape
    expect(width % n_heads == 0, who, f"q of a width that n_heads={n_heads} divides", str(width))
    expect_shape(who, "k", k, ("T_k", width // n_heads * n_kv_heads),
                 "" if n_kv_heads == n_heads else f"its {n_kv_heads} heads are as wide as those of q")
    T_k = k.shape[0]
    expect_shape(who, "v", v, (T_k, "d_v" if n_kv_heads == 1 else "n_kv_heads * d_v"))
    expect(v.shape[1] % n_kv_heads == 0, who, f"v of a width that n_kv_heads={n_kv_heads} divides", str(v.shape[1]))
    expect(min(T_q, T_k, width) > 0, who, "at least one query, key and dimension", f"q {q.shape}, k {k.shape}")
    expect_bool(who, "causal", causal)
    before, after = _window(who, window)
    given = {"causal": causal, "window": window is not None, "slopes": slopes is not None}
    rules = [name for name in given if given[name]]
    expect(not rules or T_q <= T_k, who, f"at most as many queries as keys with {' and '.join(rules)}, for query i "
           "stands at place T_k - T_q + i", f"{T_q} and {T_k}")
    _expect_pairwise(who, mask, bias, n_heads, T_q, T_k)
    if slopes is not None:
        expect_float(who, "slopes", slopes)
        expect_shape(who, "slopes", slopes, (n_heads,), "one for each head: jaxnn.ops.alibi_slopes(n_heads)")
    for name, n, most in (("length", length, T_k), ("start", start, T_k - T_q)):
        if n is None:
            continue
        expect_integers(who, name, n)
        expect_shape(who, name, n, (), "it is one number, that of this sequence: for a batch use jax.vmap")
        values = known(n)
        if values is not None and values.size:
            expect(bool(np.all((values >= 0) & (values <= most))), who, f"{name} in 0 .. {most}",
                   str(values) if values.ndim == 0 else f"values from {values.min()} to {values.max()}")
    expect(start is None or bool(rules), who, "start, the place of the first query, together with causal, window or "
           "slopes", "none of them", "leave start out")
    expect(scale is None or is_number(scale), who, "scale, a finite number, or None for 1 / √d", repr(scale))
    expect(soft_cap is None or (is_number(soft_cap) and soft_cap > 0), who, "soft_cap, a positive number or None",
           repr(soft_cap))
    expect(is_number(rate, 0) and rate < 1, who, "rate, the fraction of weights dropped, in [0, 1)", repr(rate))
    if rate > 0 or key is not None:
        expect_key(who, key)
        expect(rate > 0, who, "a positive rate where it gets a key", repr(rate), "leave the key out at inference")
    expect(n_keys is None or (is_integer(n_keys, 1) and n_keys <= T_k), who,
           f"n_keys, how many keys are read, an integer in 1 .. {T_k}, or None for all", repr(n_keys))
    # Larger products are faster, and waste more on the diagonal, which weighs most in short sequences (CPU, jax 0.12).
    # A GPU takes as long for a small pair of chunks as for a larger one (H200, T = 1,024: 0.90 ms of 256, 0.55 of 512).
    if T_q >= 4096 or (jax.default_backend() == "gpu" and window is None):
        fits = 512
    else:
        fits = 128 if T_k <= 512 and (causal or window is not None) else 256
    chunk = fits if chunk is None else chunk
    expect(is_integer(chunk, 1), who, "chunk, a positive integer", repr(chunk))
    scale = 1 / (width // n_heads) ** 0.5 if scale is None else float(scale)
    return Plan(T_q, T_k, n_heads, n_kv_heads, scale, causal, before, after, soft_cap, float(rate), chunk,
                start is not None, T_k if n_keys is None else n_keys)


def expect_visible(who: str, mask: Any, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Refuses a mask of another shape than one of these, or of another dtype than bool."""
    if mask is None:
        return
    expect_shape(who, "mask", mask, next((s for s in shapes if len(s) == jnp.ndim(mask)), shapes[0]),
                 "for padding, one number of keys, pass length" if jnp.ndim(mask) == 1 and len(shapes) > 1 else "")
    advice = "True stands for a key that the query may see" + (
        "; numbers to be added to the scores are the bias"
        if jnp.issubdtype(jnp.result_type(mask), jnp.floating) and len(shapes) > 1 else "")
    expect(jnp.issubdtype(jnp.result_type(mask), bool), who, "mask, an array of bool", str(jnp.result_type(mask)),
           advice)


def _expect_pairwise(who: str, mask: Any, bias: Any, n_heads: int, T_q: int, T_k: int) -> None:
    shapes = ((T_q, T_k), (n_heads, T_q, T_k))
    expect_visible(who, mask, shapes)
    if bias is not None:
        expect_float(who, "bias", bias)
        expect_shape(who, "bias", bias, shapes[jnp.ndim(bias) == 3])


def _window(who: str, window: Any) -> tuple[int | None, int | None]:
    """(before, after)."""
    if window is None:
        return None, None
    expected = "window, a pair (before, after) of integers >= 0 or None for no limit, or one positive integer for both"
    if is_integer(window, 1):
        return int(window), int(window)
    fits = isinstance(window, tuple) and len(window) == 2 and all(n is None or is_integer(n, 0) for n in window)
    expect(fits and window != (None, None), who, expected, repr(window),
           "with (0, 0) a query sees its own place alone" if is_integer(window, 0) else "")
    return window
