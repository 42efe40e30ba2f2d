"""The step of `make_step` with an optimizer of `by_rows`: tables are read, differentiated and moved row by row.

While the layer runs, a `Table` stands in the place of each table. Where `embedding` reads it, the rows are taken from
the table, which is held fixed, and a zero is added to them: the cost's gradient by that zero is dy, and the table
itself has none.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxnn.checks import expect
from jaxnn.explicit.recorder import recording
from jaxnn.hand_derived import Op
from jaxnn.network import Network
from jaxnn.ops.embedding import embedding
from jaxnn.training.freezing import frozen_in, moving_leaves, with_moving_leaves
from jaxnn.training.functions import batch_size, losses_of, name_of, over_batch, refuse_labels
from jaxnn.training.precision import PRECISIONS, cast_floats
from jaxnn.training.rows import ByRowsState, RowGradient, Table, row_gradient
from jaxnn.training.step import Step, StepInfo
from jaxnn.training.step_arguments import expect_own_state
from jaxnn.training.tracing import expect_same_tree, stays_finite
from jaxnn.training.train_state import TrainState

__all__ = ["RowsStep"]


class RowsStep(Step):
    """A compiled training step that moves tables row by row."""

    def __init__(self, layer: Callable, loss: Callable, optimizer: Any, gradients: str, precision: str | None,
                 accumulate: int, compiler_options: Mapping[str, Any] | None = None):
        expect(gradients == "hand-derived" and accumulate == 1, "make_step",
               "hand-derived gradients and accumulate=1 with an optimizer of by_rows",
               f"{gradients!r} and {accumulate}")
        super().__init__(layer, loss, optimizer, gradients, precision, accumulate, compiler_options)

    def _step(self, layout: Any, before: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        expect(layout is None, "make_step", "arrays on one device with an optimizer of by_rows", "several devices")
        expect_own_state(self.optimizer, before)
        opt_state: ByRowsState = before.opt_state
        frozen = frozen_in(opt_state, before.params)
        (cost, state), scaled, rows = self._gradient_by_rows(before, frozen, x, labels, n)
        grads = with_moving_leaves(jax.tree.map(jnp.zeros_like, before.params), frozen, scaled)
        # The state of the tables is large, and no part of what may be copied or looked at as a whole.
        small = opt_state._replace(rows=())
        update = functools.partial(self._update, grads, small, before.params, value=cost)
        updates, new = update()
        expect_same_tree("make_step", "an optimizer whose state keeps its structure", small, new)
        old, changes = moving_leaves(before.params, frozen), moving_leaves(updates, frozen)
        norm = optax.tree.norm((scaled, [gradient.values for gradient in rows]))
        applied = stays_finite((before.state, small), (state, new), (cost, norm, changes))

        def kept(a: Any, b: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(applied, a, b), a, b)

        tables, states = _tables(before.params, frozen), []
        moved = []
        for table, row_state, gradient in zip(tables, opt_state.rows, rows, strict=True):
            # Not applied: no row is one. A branch over the table would copy it.
            none = table.shape[0] + jnp.arange(gradient.rows.shape[0], dtype=jnp.int32)
            gradient = RowGradient(jnp.where(applied, gradient.rows, none), gradient.values)
            row_state, table = self.optimizer.rows.update(gradient, row_state, table)
            states.append(row_state)
            moved.append(table)
        params = with_moving_leaves(before.params, frozen, kept(optax.apply_updates(old, changes), old))
        params = with_moving_leaves(params, [not f for f in frozen], moved)
        return before._replace(
            params=params, state=kept(state, before.state), step=before.step + 1,
            opt_state=kept(new, small)._replace(rows=tuple(states))), StepInfo(cost, norm, applied)

    def _whole_gradient(self, train_state: TrainState, x: Any, labels: Any, n: Any) -> tuple[jax.Array, Any]:
        """As for every step: here a table's gradient is made whole."""
        frozen = frozen_in(train_state.opt_state, train_state.params)
        (cost, _), scaled, rows = self._gradient_by_rows(train_state, frozen, x, labels, n)
        whole = [jnp.zeros_like(table).at[g.rows].add(g.values.astype(table.dtype), mode="drop")
                 for table, g in zip(_tables(train_state.params, frozen), rows, strict=True)]
        grads = with_moving_leaves(train_state.params, frozen, scaled)
        return cost, with_moving_leaves(grads, [not f for f in frozen], whole)

    def _gradient_by_rows(self, before: TrainState, frozen: Any, x: Any, labels: Any, n: Any) -> Any:
        """((cost, state), the gradient by the leaves that are no tables, the RowGradient of each table)."""
        size, dtype = batch_size(x, labels), PRECISIONS[self.precision]
        keys = jax.random.split(jax.random.fold_in(before.key, before.step), size)
        tables, moving = _tables(before.params, frozen), moving_leaves(before.params, frozen)
        marks = [Table(i, table.shape, table.dtype) for i, table in enumerate(tables)]

        def run(leaves: Any, taps: Any, found: list[int]) -> Any:
            """((y, the rows read at each place), state) of the batch; found: which table each place reads."""
            def tapped(params: Any, state: Any, x_taps: Any, key: Any, *, train: bool) -> Any:
                reads = _Reads(tables, x_taps[1], dtype)
                with recording(reads):
                    out = self.layer(params, state, x_taps[0], key, train=train)
                found[:] = reads.which
                read = reads.rows, reads.values if taps is None else []
                return ((out[0], *read), out[1]) if isinstance(out, tuple) and len(out) == 2 else out

            tapped.__name__ = name_of(self.layer)
            params = with_moving_leaves(before.params, frozen, cast_floats(leaves, dtype))
            params = with_moving_leaves(params, [not f for f in frozen], marks)
            return over_batch(tapped, params, before.state, (cast_floats(x, dtype), taps), keys, train=True)

        which: list[int] = []
        (_, _, shapes), _ = jax.eval_shape(lambda leaves: run(leaves, None, which), moving)
        expect(set(which) == set(range(len(tables))), "make_step", f"a layer that reads each of its {len(tables)} "
               "tables by `embedding`", f"one that reads {len(set(which))} of them",
               "mark in `tables` only what is read so")
        taps = [jnp.zeros(y.shape, jnp.promote_types(y.dtype, jnp.float32)) for y in shapes]

        def cost_of(leaves: Any, taps: Any) -> Any:
            (predictions, rows, _), state = run(leaves, taps, which)
            if dtype is not None:
                predictions = cast_floats(predictions, jnp.float32)
                state = jax.tree.map(lambda new, old: new.astype(old.dtype), state, before.state)
            expect_same_tree("make_step", "a layer whose state keeps its structure", before.state, state)
            if self._at_hand is not None:
                refuse_labels(self.loss, predictions, *self._at_hand)
            losses = losses_of(self.loss, predictions, labels)
            cost = jnp.sum(jnp.where(jnp.arange(size) < n, losses, 0)) / n
            return cost, (state, rows)

        (cost, (state, rows)), (scaled, values) = jax.value_and_grad(cost_of, (0, 1), has_aux=True)(moving, taps)
        gradients = []
        for i, table in enumerate(tables):
            places = [k for k, index in enumerate(which) if index == i]
            gradients.append(row_gradient(
                jnp.concatenate([rows[k].reshape(-1) for k in places]),
                jnp.concatenate([values[k].reshape(-1, table.shape[1]) for k in places]), table.shape[0]))
        return (cost, state), scaled, gradients


class _Reads:
    """What an op does while the layer runs: `embedding` of a Table notes which rows it reads, and adds the next tap."""

    def __init__(self, tables: list[Any], taps: Any, dtype: Any):
        self.tables, self.taps, self.dtype = tables, taps, dtype
        self.which: list[int] = []
        self.rows: list[Any] = []
        self.values: list[Any] = []  # for their shapes

    def __call__(self, op: Op, args: tuple, static: dict[str, Any]) -> Any:
        table = args[0].get("table") if op is embedding and isinstance(args[0], Mapping) else None
        with recording(None):
            if not isinstance(table, Table):
                with recording(self if isinstance(op, Network) else None):
                    return op(*args, **static)
            y = embedding({"table": jax.lax.stop_gradient(self.tables[table.index])}, args[1])
        x = args[1]
        if jnp.iinfo(x.dtype).bits < 32:
            x = x.astype(jnp.int32)
        if self.taps is not None:
            y = y + self.taps[len(self.rows)].astype(y.dtype)
        self.which.append(table.index)
        # An integer that int32 does not hold is no row.
        self.rows.append(jnp.where((x >= 0) & (x < table.shape[0]), x, table.shape[0]).astype(jnp.int32))
        self.values.append(y)
        return y if self.dtype is None else y.astype(self.dtype)


def _tables(params: Any, frozen: Any) -> list[Any]:
    return [leaf for leaf, is_table in zip(jax.tree.leaves(params), frozen, strict=True) if is_table]
