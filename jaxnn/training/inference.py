"""What a layer gives at inference, batch by batch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_arrays, is_integer
from jaxnn.training.functions import expect_layer, over_batch
from jaxnn.training.tracing import expect_kept

__all__ = ["evaluate"]


def evaluate(layer: Callable, params: Any, state: Any, x: Any, *, batch_size: int | None = None) -> Any:
    """The predictions for x (B, ...) at inference, jit-compiled: a tree of arrays (B, ...).

    Args:
      layer: as in `make_step`; called with key=None and train=False.
      batch_size: how many examples to take at a time, where all at once need too much memory.
    Raises:
      InputError: an argument is not as above.
    """
    expect_layer("evaluate", layer)
    for name, tree in (("params", params), ("state", state), ("x", x)):
        expect_arrays("evaluate", name, tree)
    sizes = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(x)}
    expect(len(sizes) == 1 and 0 not in sizes, "evaluate", "x with at least one example, as many in all leaves",
           str(jax.tree.map(np.shape, x)))
    try:
        return _in_parts(layer, params, state, x, sizes.pop(), batch_size)
    except Exception as error:
        expect_kept("evaluate", "params and state", (params, state), error)
        raise


def _in_parts(layer: Callable, params: Any, state: Any, x: Any, n: int, batch_size: int | None) -> Any:
    if batch_size is None:
        return _predictions(layer, params, state, x)
    expect(is_integer(batch_size, 1), "evaluate", "batch_size, a positive integer",
           repr(batch_size))
    parts = []
    for first in range(0, n, batch_size):
        # The last is filled up, so that nothing is compiled again for it.
        rows = np.minimum(np.arange(first, first + batch_size), n - 1)
        parts.append(_predictions(layer, params, state, jax.tree.map(lambda a, rows=rows: a[rows], x)))
    return jax.tree.map(lambda *p: jnp.concatenate(p)[:n], *parts)


@functools.partial(jax.jit, static_argnums=0)
def _predictions(layer: Callable, params: Any, state: Any, x: Any) -> Any:
    return over_batch(layer, params, state, x, None, train=False)[0]
