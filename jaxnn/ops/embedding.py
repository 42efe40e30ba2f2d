"""Embedding: each integer of a sequence is replaced by its row of a table.

    y_t = E[x_t]    E table (n_rows, n_dim), x integers of any shape
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_integers, known, weights
from jaxnn.hand_derived import Static, hand_derived
from jaxnn.ops.dtypes import wide

__all__ = ["embedding"]


@hand_derived
def embedding(params: Any, x: Any) -> Any:
    """y_t = E[x_t].

    Args:
      params: {"table": (n_rows, n_dim)}.
      x: integers in 0 .. n_rows - 1, of any shape (...).
    Returns:
      (..., n_dim). An integer out of range that is known only at run time gives a row of NaN: JAX by
      itself would take the nearest row, or the last for -1.
    Raises:
      InputError: x is not of integers, or one known at the call is out of range.

    >>> embedding({"table": jnp.eye(3)}, jnp.array([2, 0])).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    table, entries = weights(embedding.name, params, table="n_rows n_dim")
    expect_integers(embedding.name, "x", x)
    n_rows, values = table.shape[0], known(x)
    if values is not None and values.size:
        expect(bool(np.all((values >= 0) & (values < n_rows))), embedding.name, f"x in 0 .. {n_rows - 1}",
               f"values from {values.min()} to {values.max()}", "count rows from 0")
    y = table.at[_rows(x, n_rows)].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
    return y, (x, entries, Static(table.shape))


@embedding.defbackward
def embedding_backward(cache: Any, dy: Any) -> Any:
    """y_t reads row x_t once, so each row collects the cotangents of the places that read it:

        dE_r = Σ_t dy_t [x_t = r]

    Under vmap this is one scatter-add over the batch into one table. An optimiser that moves only the
    rows that were read needs no table at all: they are in the cache, dE_r = dy_t row by row. The sum is kept in
    float32 at least: in bfloat16 a row would stop at 256 places.

    Args:
      cache: x, the Entries of params, (n_rows, n_dim).
      dy: (..., n_dim).
    """
    x, entries, shape = cache
    d, rows = wide(dy), _rows(x, shape.value[0])
    zeros = jnp.zeros(shape.value, d.dtype)
    return entries.fill(table=zeros.at[rows].add(d, mode="drop", wrap_negative_indices=False)), None


def _rows(x: Any, n_rows: int) -> Any:
    """x as JAX can read it: JAX narrows integers that int32 does not hold, and 2³² + 1 would read row 1. One of
    them that is no row becomes n_rows, which is none either."""
    largest = np.iinfo(np.int32).max
    if jnp.iinfo(x.dtype).max <= largest or n_rows > largest:
        return x
    return jnp.where((x >= 0) & (x < n_rows), x, n_rows).astype(jnp.int32)
