"""Tables of which a step reads few rows: their gradient is those rows, and the optimiser moves no others.

    optimizer = by_rows(optax.adam(1e-3), row_adagrad(0.1), {"words": True, "head": False})
    step = make_step(layer, loss, optimizer)

A table's gradient has a row for each of its rows, nearly all of them zero: for 1,000,000 words to make and to apply
it takes a hundred times longer than the step itself. Here every place where `embedding` reads a table keeps its
cotangent, dE_r = Σ dy of the places that read r is summed over these places alone, and rows are moved where they
stand. Time and memory do not depend on the number of rows.

    row_sgd      equal to SGD on the whole table
    row_adagrad  equal to Adagrad on the whole table: a row of zeros in the gradient moves nothing there either
    row_adam     not equal to Adam: a row's moments rest, and do not fall, while the row is not read, and their bias is
                 corrected by how often that row was read. Where every step reads every row the two are equal.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import InputError, expect, is_number
from jaxnn.ops.dtypes import wide
from jaxnn.training.freezing import of_other_leaves

__all__ = ["ByRows", "ByRowsState", "RowGradient", "RowOptimizer", "by_rows", "row_adagrad", "row_adam", "row_clip",
           "row_gradient", "row_sgd"]


class RowGradient(NamedTuple):
    """The gradient by a table (n_rows, n_dim), of the rows that were read.

    rows: (k,) int32, increasing; what fills the places of rows that were read twice is n_rows or more, and no row.
    values: (k, n_dim), in at least float32; 0 where `rows` is no row.
    """

    rows: jax.Array
    values: jax.Array


def row_gradient(rows: Any, values: Any, n_rows: int) -> RowGradient:
    """dE_r = Σ_t dy_t [x_t = r], each row once.

    Args:
      rows: x, integers (k,); one that is no row moves none.
      values: dy, (k, n_dim).
      n_rows: of the table.

    >>> gradient = row_gradient(jnp.array([3, 1, 3]), jnp.array([[1.0], [2.0], [3.0]]), 5)
    >>> gradient.rows.tolist(), gradient.values[:, 0].tolist()
    ([1, 3, 7], [2.0, 4.0, 0.0])
    """
    k = rows.shape[0]
    rows = jnp.where((rows >= 0) & (rows < n_rows), rows, n_rows).astype(jnp.int32)
    order = jnp.argsort(rows)
    rows = rows[order]
    is_first = jnp.concatenate([jnp.full(min(k, 1), True), rows[1:] != rows[:-1]])
    segment = jnp.cumsum(is_first) - 1
    summed = jax.ops.segment_sum(wide(values)[order], segment, k, indices_are_sorted=True)
    # Each number once, so that XLA need not look for rows that are written twice.
    found = (n_rows + jnp.arange(k, dtype=jnp.int32)).at[segment].min(rows, indices_are_sorted=True)
    found = jnp.where(found >= n_rows, n_rows + jnp.arange(k, dtype=jnp.int32), found)
    return RowGradient(found, jnp.where((found < n_rows)[:, None], summed, 0))


class RowOptimizer(NamedTuple):
    """init(table) -> state, arrays with one entry or one row for each row of the table; update(gradient, state, table)
    -> (state, table), of which only the rows of the gradient differ."""

    init: Callable
    update: Callable


def row_sgd(learning_rate: float | Callable[[Any], Any]) -> RowOptimizer:
    """E_r <- E_r - η dE_r; η a number, or a schedule: a function of the number of steps before, as optax makes them."""
    if not callable(learning_rate):
        _expect_rate("row_sgd", learning_rate)

    def init(table: Any) -> Any:
        return jnp.zeros((), jnp.int32) if callable(learning_rate) else ()

    def update(gradient: RowGradient, state: Any, table: Any) -> tuple[Any, Any]:
        if callable(learning_rate):
            return state + 1, _moved(table, gradient, -learning_rate(state) * gradient.values)
        return state, _moved(table, gradient, -learning_rate * gradient.values)

    return RowOptimizer(init, update)


def row_clip(rows: RowOptimizer, most: float) -> RowOptimizer:
    """The optimizer `rows`, given gradients of which no row is longer than `most`: dE_r min(1, most / |dE_r|).

    A row that is read at many places of a batch has a gradient of as many terms. Where these agree, and the batch is
    large, one step would go far beyond the minimum, and the next back again, farther.
    """
    expect(is_number(most, 0) and most > 0, "row_clip", "most, a number > 0", repr(most))

    def update(gradient: RowGradient, state: Any, table: Any) -> tuple[Any, Any]:
        squares = jnp.sum(gradient.values**2, axis=1, keepdims=True)
        scale = jnp.where(squares > most**2, most * jax.lax.rsqrt(squares), 1)
        return rows.update(RowGradient(gradient.rows, gradient.values * scale), state, table)

    return RowOptimizer(rows.init, update)


def row_adagrad(learning_rate: float, *, initial: float = 0.1, eps: float = 1e-7) -> RowOptimizer:
    """s_r <- s_r + dE_r²,  E_r <- E_r - η dE_r / √(s_r + ε), s = `initial` at first (Duchi, Hazan & Singer 2011)."""
    _expect_rate("row_adagrad", learning_rate)
    for name, value in (("initial", initial), ("eps", eps)):
        expect(is_number(value, 0), "row_adagrad", f"{name}, a number >= 0", repr(value))

    def update(gradient: RowGradient, squares: Any, table: Any) -> tuple[Any, Any]:
        rows, g = gradient
        s = _read(squares, rows) + g * g
        change = jnp.where(s > 0, g * jax.lax.rsqrt(s + eps), 0)
        return _written(squares, rows, s), _moved(table, gradient, -learning_rate * change)

    return RowOptimizer(lambda table: jnp.full(table.shape, initial, wide(table).dtype), update)


def row_adam(learning_rate: float, *, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> RowOptimizer:
    """m_r <- b1 m_r + (1 - b1) dE_r,  v_r <- b2 v_r + (1 - b2) dE_r²,  n_r <- n_r + 1, of the rows that are read;
    E_r <- E_r - η m̂_r / (√v̂_r + ε), m̂_r = m_r / (1 - b1^{n_r}), v̂_r = v_r / (1 - b2^{n_r}).

    Corrected by the number of all steps, as is usual, a row that is read for the first time at step 1,000 would move
    by (1 - b1) / √(1 - b2) = 3.2 η.
    """
    _expect_rate("row_adam", learning_rate)
    for name, value in (("b1", b1), ("b2", b2)):
        expect(is_number(value, 0) and value < 1, "row_adam", f"{name} in [0, 1)", repr(value))
    expect(is_number(eps, 0), "row_adam", "eps, a number >= 0", repr(eps))

    def init(table: Any) -> dict[str, Any]:
        zeros = jnp.zeros(table.shape, wide(table).dtype)
        return {"m": zeros, "v": zeros, "n": jnp.zeros(table.shape[0], jnp.int32)}

    def update(gradient: RowGradient, state: Any, table: Any) -> tuple[Any, Any]:
        rows, g = gradient
        m = b1 * _read(state["m"], rows) + (1 - b1) * g
        v = b2 * _read(state["v"], rows) + (1 - b2) * g * g
        n = _read(state["n"], rows) + 1
        power = n.astype(m.dtype)[:, None]
        change = m / (1 - b1**power) / (jnp.sqrt(v / (1 - b2**power)) + eps)
        written = {name: _written(state[name], rows, new) for name, new in (("m", m), ("v", v), ("n", n))}
        return written, _moved(table, gradient, -learning_rate * change)

    return RowOptimizer(init, update)


class ByRowsState(NamedTuple):
    """others: the state of the optimizer of all other leaves; rows: for each table, the row optimizer's."""

    others: Any
    rows: tuple[Any, ...]


class ByRows(optax.GradientTransformationExtraArgs):
    """An optimizer that moves some tables row by row. Make one by `by_rows`."""

    rows: RowOptimizer


def by_rows(optimizer: optax.GradientTransformation, rows: RowOptimizer, tables: Any) -> ByRows:
    """The optimizer for all parameters but the tables, of which only the rows that a step reads are moved.

    Args:
      optimizer: an optax transformation, for everything else. A clipped norm is that of its own part.
      rows: row_sgd, row_adagrad or row_adam.
      tables: True for each table: a tree of bools like the parameters, or a prefix of it, or a function params -> such
        a tree. Tables are read by the op `embedding` alone, not within a `vmap`, `scan` or `jit` of the layer's own:
        any other use of one is refused.
    Used by `make_step` on one device, with hand-derived gradients and without `accumulate`.
    Raises:
      InputError: an argument is not as above; from `init`, if a table is no array (n_rows, n_dim).
    """
    expect(isinstance(rows, RowOptimizer), "by_rows", "rows, made by row_sgd, row_adagrad or row_adam",
           type(rows).__name__)
    others = of_other_leaves("by_rows", optimizer, tables, at_least_one=False)  # a model may be tables alone

    def init(params: Any) -> ByRowsState:
        state = others.init(params)
        found = [leaf for leaf, is_table in zip(jax.tree.leaves(params), state.frozen.value, strict=True) if is_table]
        expect(bool(found), "by_rows", "a table among the parameters", "none", "use the optimizer by itself")
        for table in found:
            expect(jnp.ndim(table) == 2, "by_rows", "tables of shape (n_rows, n_dim)", str(jnp.shape(table)))
        return ByRowsState(state, tuple(rows.init(table) for table in found))

    def update(grads: Any, opt_state: ByRowsState, params: Any = None, **extra: Any) -> tuple[Any, ByRowsState]:
        updates, state = others.update(grads, opt_state.others, params, **extra)
        return updates, opt_state._replace(others=state)

    made = ByRows(init, update)
    made.rows = rows
    return made


def expect_by_rows_outermost(who: str, opt_state: Any) -> None:
    """Raises InputError where an optimizer of by_rows is inside of another: the step would leave its tables alone."""
    parts = jax.tree.leaves(opt_state, is_leaf=lambda a: isinstance(a, ByRowsState))
    expect(not any(isinstance(part, ByRowsState) for part in parts), who, "by_rows(...) around everything else",
           "one inside of another transformation", "write by_rows(optax.chain(...), ...)")


@jax.tree_util.register_static
class Table:
    """What stands in the place of a table while a layer runs: `embedding` reads it, and nothing else does."""

    def __init__(self, index: int, shape: tuple[int, ...], dtype: Any):
        self.index, self.shape, self.dtype, self.ndim = index, shape, np.dtype(dtype), len(shape)

    def _key(self) -> Any:
        return self.index, self.shape, self.dtype

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Table) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _refused(self, *args: Any, **keywords: Any) -> Any:
        raise InputError("by_rows", f"expects the table of shape {self.shape} to be read by `embedding` alone; got "
                         "another use of it, whose gradient would be of all its rows; leave it out of `tables`")

    __jax_array__ = __array__ = __getitem__ = __matmul__ = __rmatmul__ = __add__ = __mul__ = __rmul__ = _refused
    T = at = astype = reshape = transpose = sum = mean = property(_refused)


def _expect_rate(who: str, rate: Any) -> None:
    expect(is_number(rate, 0), who, "learning_rate, a number >= 0", repr(rate))


def _read(a: Any, rows: Any) -> Any:
    """The rows of an array, of a zero where there is none."""
    return a.at[rows].get(mode="fill", fill_value=0, unique_indices=True, indices_are_sorted=True)


def _written(a: Any, rows: Any, values: Any) -> Any:
    return a.at[rows].set(values.astype(a.dtype), mode="drop", unique_indices=True, indices_are_sorted=True)


def _moved(table: Any, gradient: RowGradient, change: Any) -> Any:
    return table.at[gradient.rows].add(change.astype(table.dtype), mode="drop", unique_indices=True,
                                       indices_are_sorted=True)
