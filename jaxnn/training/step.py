"""One step of training: a pure function from train state and batch to train state and cost, compiled once.

    train_state = start(layer, optimizer, shape, key)
    step = make_step(layer, loss, optimizer)
    train_state, info = step(train_state, x, labels)

The optimiser is optax's, with what it brings: clipping, weight decay, schedules, averages of the
parameters. A step whose cost, gradient, update, optimiser state or running statistics are not finite changes
nothing but the number of the step, and `info.applied` is False.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import expect
from jaxnn.training.freezing import frozen_in, moving_leaves, with_moving_leaves
from jaxnn.training.functions import (
    batch_size,
    losses_of,
    over_batch,
    plain,
    refuse_labels,
)
from jaxnn.training.precision import PRECISIONS, adjusted, cast_floats, scale_of
from jaxnn.training.programs import Programs
from jaxnn.training.rows import expect_by_rows_outermost
from jaxnn.training.step_arguments import expect_call, expect_counts, expect_own_state
from jaxnn.training.tracing import Traces, expect_kept, expect_same_tree, mixes_examples, stays_finite
from jaxnn.training.train_state import TrainState, copied

__all__ = ["Step", "StepInfo"]


class StepInfo(NamedTuple):
    """What a step reports.

    cost: the mean loss, in nats.
    gradient_norm: the Euclidean norm of the gradient by all that is trained, before the optimiser changes it.
    applied: False where something was not finite, so that nothing was changed.
    """

    cost: jax.Array
    gradient_norm: jax.Array
    applied: jax.Array


class Step:
    """A compiled training step. `traces` are the shapes it was traced for."""

    def __init__(self, layer: Callable, loss: Callable, optimizer: Any, gradients: str, precision: str | None,
                 accumulate: int, compiler_options: Mapping[str, Any] | None = None):
        self.layer, self.loss, self.optimizer = layer, loss, optimizer
        self.gradients, self.precision, self.accumulate = gradients, precision, accumulate
        self.traces = Traces()
        self._functions = (layer, loss) if gradients == "hand-derived" else (plain(layer), plain(loss))
        self._update = optax.with_extra_args_support(optimizer).update
        self._programs = Programs(compiler_options)
        self._compiled_gradient = jax.jit(self._whole_gradient)
        self._counts: dict[int, jax.Array] = {}
        self.batch_size: int | None = None  # the largest so far
        self._at_hand: tuple[Any, Any] | None = None  # (labels, n) of the call that is running
        self._mixes: bool | None = None  # whether examples depend on each other; found when a batch is not full

    def __call__(self, train_state: TrainState, x: Any, labels: Any,
                 n: int | None = None) -> tuple[TrainState, StepInfo]:
        """One step, on the first n examples; None takes all, of a batch that `fill` fills up first.

        Raises:
          InputError: n is not in 1 .. the size of the batch (looked at unless it is traced); the optimizer's state is
            that of another optimizer; another step has taken over the train state; the layer, the loss or the
            optimizer refuses what it gets.
        """
        expect_call(train_state, x, labels)
        if n is None:
            x, labels, n = self.fill(train_state, x, labels)
        else:
            expect_counts(n, (), batch_size(x, labels))
        return self._run("one", train_state, x, labels, n)

    def many(self, train_state: TrainState, x: Any, labels: Any, n: Any = None) -> tuple[TrainState, StepInfo]:
        """As many steps as x and labels have entries along their first axis, (steps, B, ...), in one
        dispatch: for steps so short that Python's share in them shows. n: (steps,), as in a single step."""
        expect_call(train_state, x, labels)
        sizes = [np.shape(leaf)[:2] for leaf in jax.tree.leaves((x, labels))]
        expect(len(set(sizes)) == 1 and len(sizes[0]) == 2 and 0 not in sizes[0], "step.many",
               "x and labels of at least one step and example each, (steps, B, ...)", str(sizes))
        n_steps, size = sizes[0]
        if n is None:
            n = np.full(n_steps, size, np.int32)
        else:
            expect_counts(n, (n_steps,), size)
        return self._run("many", train_state, x, labels, n)

    def fill(self, train_state: TrainState, x: Any, labels: Any) -> tuple[Any, Any, int]:
        """The batch as large as the largest before, and how many of its examples are its own. The filling
        weighs nothing, and nothing is compiled again for it. Where examples mix, as in batch norm, filling
        would weigh, and the batch stays as it is."""
        n = batch_size(x, labels)
        self.batch_size = max(n, self.batch_size or 0)
        if n == self.batch_size:
            return x, labels, n
        if self._mixes is None:
            self._mixes = mixes_examples(self.layer, train_state, x)
        if self._mixes:
            return x, labels, n
        rows = np.minimum(np.arange(self.batch_size), n - 1)
        x, labels = jax.tree.map(lambda a: a[rows], (x, labels))
        return x, labels, n

    def lower(self, train_state: TrainState, x: Any, labels: Any) -> jax.stages.Lowered:
        """The step's program, to be looked at: what it computes, keeps and sends."""
        batch = x, labels, batch_size(x, labels)
        return self._program("one", train_state, *batch).lower(train_state, *batch)

    def cost_and_gradient(self, train_state: TrainState, x: Any, labels: Any) -> tuple[jax.Array, Any]:
        """The cost and its gradient by the parameters, as the step computes them; 0 where a parameter is
        frozen. train_state is kept."""
        expect_call(train_state, x, labels)
        n = batch_size(x, labels)
        try:
            self._at_hand = labels, n
            cost, grads = self._compiled_gradient(train_state, x, labels, n)
        except Exception as error:
            expect_kept("cost_and_gradient", "a train state", train_state, error)
            raise
        finally:
            self._at_hand = None
        return cost, jax.tree.map(lambda g: g / scale_of(train_state.opt_state), grads)

    def _run(self, kind: str, train_state: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        out: tuple[TrainState, StepInfo]
        count = self._count(n)
        # While the step is traced, the loss looks at the values of these labels, which the program cannot.
        self._at_hand = labels, n
        try:
            program = self._program(kind, train_state, x, labels, count)
            out = program(train_state, x, labels, count)
        except Exception as error:  # looked into only then: a step is short, and its train state has many leaves
            expect_kept("step", "a train state", train_state, error)
            if "same buffer twice" not in str(error):
                raise
            # One array stands at two places, in a train state that `start` has not made. Each gets its own.
            out = program(jax.tree.map(copied, train_state), x, labels, count)
        finally:
            self._at_hand = None
        return out

    def _count(self, n: Any) -> Any:
        """n as an array, made once: the same number comes at almost every step, and its way to the device takes longer
        than the rest of what Python does for a step."""
        if type(n) is not int:
            return n
        if n not in self._counts:
            with jax.ensure_compile_time_eval():
                self._counts[n] = jnp.asarray(n)
        return self._counts[n]

    def _program(self, kind: str, train_state: TrainState, *batch: Any) -> Any:
        return self._programs.of(self._one if kind == "one" else self._many, train_state, *batch)

    def _one(self, layout: Any, train_state: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        self.traces.note("step", train_state=train_state, x=x, labels=labels)
        return self._step(layout, train_state, x, labels, n)

    def _many(self, layout: Any, train_state: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        self.traces.note("step.many", train_state=train_state, x=x, labels=labels)
        return jax.lax.scan(lambda before, batch: self._step(layout, before, *batch), train_state, (x, labels, n))

    def _step(self, layout: Any, before: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        expect_own_state(self.optimizer, before)
        expect_by_rows_outermost("make_step", before.opt_state)
        whole = before if layout is None else before._replace(params=layout.gathered(before.params))
        frozen = frozen_in(before.opt_state, before.params)
        (cost, state), scaled = self._gradient(whole, frozen, x, labels, n)
        grads = _with_zeros(before.params, frozen, scaled)
        if layout is not None:
            grads = layout.cut(grads)
            scaled = moving_leaves(grads, frozen)
        update = functools.partial(self._update, grads, before.opt_state, before.params, value=cost)
        updates, opt_state = jax.eval_shape(update)
        expect_same_tree("make_step", "an optimizer whose updates are like the parameters", before.params, updates)
        expect_same_tree("make_step", "an optimizer whose state keeps its structure", before.opt_state, opt_state)
        old = moving_leaves(before.params, frozen)

        def moved() -> tuple[Any, Any]:
            updates, opt_state = update()
            return optax.apply_updates(old, moving_leaves(updates, frozen)), opt_state

        # A norm that is finite has no element whose square is not, which would stay in Adam's v for good.
        norm = optax.tree.norm(scaled)
        trial, trial_state = update()
        applied = stays_finite((before.state, before.opt_state), (state, trial_state),
                               (cost, norm, moving_leaves(trial, frozen)))
        # A branch, and no jnp.where over all arrays, which would keep two of each; the updates it applies are
        # computed anew, for that takes less time than to keep them.
        new, opt_state = jax.lax.cond(applied, moved, lambda: (old, before.opt_state))
        state = jax.tree.map(lambda a, b: jnp.where(applied, a, b), state, before.state)
        info = StepInfo(cost, norm / scale_of(before.opt_state), applied)
        return before._replace(params=with_moving_leaves(before.params, frozen, new), state=state, step=before.step + 1,
                               opt_state=adjusted(self.optimizer, opt_state, applied)), info

    def _whole_gradient(self, train_state: TrainState, x: Any, labels: Any, n: Any) -> tuple[jax.Array, Any]:
        """(cost, gradient times the loss scale) by all parameters, 0 by those that are frozen."""
        frozen = frozen_in(train_state.opt_state, train_state.params)
        (cost, _), grads = self._gradient(train_state, frozen, x, labels, n)
        return cost, _with_zeros(train_state.params, frozen, grads)

    def _gradient(self, before: TrainState, frozen: Any, x: Any, labels: Any, n: Any) -> Any:
        """((cost, state), gradient times the loss scale) of the first n examples of the batch, by the leaves of
        the parameters that are not frozen: JAX takes the others as constants, and computes nothing for them."""
        size, parts = batch_size(x, labels), self.accumulate
        expect(size % parts == 0, "make_step", f"a batch that accumulate={parts} divides", f"{size} examples")
        keys = jax.random.split(jax.random.fold_in(before.key, before.step), size)
        whole = (x, labels, keys, jnp.arange(size) < n)
        scale, moving = scale_of(before.opt_state), moving_leaves(before.params, frozen)

        def cost_of(leaves: Any, state: Any, part: Any) -> Any:
            return self._part(with_moving_leaves(before.params, frozen, leaves), state, part, n, scale)

        gradient = jax.value_and_grad(cost_of, has_aux=True)
        if parts == 1:
            (cost, (cost, state)), grads = gradient(moving, before.state, whole)
            return (cost, state), grads
        # Part p takes the examples p, p + parts, ...: spread over devices, each keeps its own.
        split = jax.tree.map(lambda a: jnp.moveaxis(a.reshape(size // parts, parts, *a.shape[1:]), 1, 0), whole)

        def add(carry: Any, part: Any) -> tuple[Any, None]:
            cost, state, total = carry
            (_, (part_cost, state)), grads = gradient(moving, state, part)
            return (cost + part_cost, state, jax.tree.map(jnp.add, total, grads)), None

        zero = jax.eval_shape(lambda: gradient(moving, before.state, jax.tree.map(lambda a: a[0], split)))
        carry = jnp.zeros((), zero[0][1][0].dtype), before.state, jax.tree.map(jnp.zeros_like, moving)
        (cost, state, grads), _ = jax.lax.scan(add, carry, split)
        return (cost, state), grads

    def _part(self, params: Any, state: Any, part: Any, n: Any, scale: Any) -> Any:
        """A part's share in the mean loss over n examples; times the scale, for the gradient."""
        x, labels, keys, mask = part
        dtype, (layer, loss) = PRECISIONS[self.precision], self._functions
        predictions, new_state = over_batch(layer, cast_floats(params, dtype), state, cast_floats(x, dtype), keys,
                                            train=True)
        if dtype is not None:
            predictions = cast_floats(predictions, jnp.float32)
            structures: list[Any] = [jax.tree.structure(new_state), jax.tree.structure(state)]
            if structures[0] == structures[1]:
                new_state = jax.tree.map(lambda new, old: new.astype(old.dtype), new_state, state)
        expect_same_tree("make_step", "a layer whose state keeps its structure", state, new_state)
        if self._at_hand is not None:
            refuse_labels(self.loss, predictions, *self._at_hand)
        losses = losses_of(loss, predictions, labels)
        cost = jnp.sum(jnp.where(mask, losses, 0)) / n
        return cost * scale, (cost, new_state)



def _with_zeros(params: Any, frozen: Any, grads: list[jax.Array]) -> Any:
    """The gradient as a tree like the parameters, 0 where frozen."""
    return with_moving_leaves(jax.tree.map(jnp.zeros_like, params), frozen, grads)
