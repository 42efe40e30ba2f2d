"""One step of training: a pure function from state and batch to state and cost, compiled once.

    state = start(layer, optimizer, shape, key)
    step = make_step(layer, loss, optimizer)
    state, info = step(state, x, labels)

The optimiser is optax's, with what it brings: clipping, weight decay, schedules, averages of the
parameters. A step whose cost, gradient, update or running statistics are not finite changes nothing but the
step's number, and says so in `info.applied`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import expect
from jaxnn.hand_derived import EXAMPLES, Op
from jaxnn.layers import Layer, over_examples
from jaxnn.training.mesh import Layout
from jaxnn.training.precision import PRECISIONS, LossScaled, adjusted, cast_floats, expect_outermost, scale_of
from jaxnn.training.tracing import Traces, expect_same_tree, is_finite, mixes_examples, stays_finite

__all__ = ["Step", "StepInfo", "TrainState", "evaluate", "make_step", "start"]


class TrainState(NamedTuple):
    """All that training carries on: restore it and the run goes on as if it had not stopped.

    key: never changes; step s draws from `fold_in(key, s)`, so any step can be repeated.
    step: steps done, int32, which is also the position in the data.
    """

    params: Any
    state: Any
    opt_state: Any
    key: jax.Array
    step: jax.Array


class StepInfo(NamedTuple):
    """What a step tells: cost, the mean loss in nats; the gradient's Euclidean norm before the optimiser
    sees it; applied, False where something was not finite and so nothing was changed."""

    cost: jax.Array
    gradient_norm: jax.Array
    applied: jax.Array


def start(layer: Layer, optimizer: optax.GradientTransformation, shape: Any, key: Any) -> TrainState:
    """The state before the first step. shape: that of one example.

    Raises:
      InputError: the optimiser is none, or its first update is not finite, or unlike the parameters.
    """
    expect_optimizer("start", optimizer)
    init_key, key = jax.random.split(key)
    params, state = layer.init(init_key, shape)
    optimizer = optax.with_extra_args_support(optimizer)
    # Some keep the parameters in their state, or an array twice, and a buffer cannot be donated twice.
    opt_state = jax.tree.map(lambda a: jnp.array(a, copy=True), optimizer.init(params))
    expect_outermost("start", opt_state)
    trial = jax.jit(lambda p, s: optimizer.update(jax.tree.map(jnp.ones_like, p), s, p, value=jnp.ones(()))[0])
    updates = trial(params, opt_state)
    expect_same_tree("start", "an optimizer whose updates are like the parameters", params, updates)
    expect(bool(is_finite(updates)), "start", "an optimizer whose first update, for a gradient of ones, is finite",
           "NaN or infinity", "look at its learning rate")
    return TrainState(params, state, opt_state, key, jnp.zeros((), jnp.int32))


def make_step(layer: Layer, loss: Op, optimizer: optax.GradientTransformation, *,
              gradients: str = "hand-derived", precision: str | None = None, accumulate: int = 1) -> "Step":
    """step(train_state, x, labels) -> (train_state, info), jit-compiled; train_state is donated.

    Args:
      layer: the network, of one example.
      loss: (logits, labels) -> (), of one example, in nats.
      optimizer: an optax transformation; `loss_scaled(...)` of one for float16.
      gradients: "hand-derived", or "autodiff" of the same forward passes without their rules.
      precision: "bfloat16" or "float16" to compute in, with parameters, losses and updates as they are;
        None computes as the parameters are.
      accumulate: parts in which a batch is taken, one after another, to save memory. The gradient is that
        of the whole batch; batch norm takes its statistics from each part.
    The cost is the mean loss over the batch: x (B, ...), labels (B, ...).
    Raises:
      InputError: an argument is not as above.
    """
    who = "make_step"
    expect(isinstance(layer, Layer), who, "a layer", type(layer).__name__, "put ops into Sequential(...)")
    expect(isinstance(loss, Op) and len(loss.arguments) >= 2, who, "a loss that is an op of (logits, labels)",
           f"'{loss.name}' of ({', '.join(loss.arguments)})" if isinstance(loss, Op) else type(loss).__name__,
           "make one with @hand_derived")
    expect(gradients in ("hand-derived", "autodiff"), who, "gradients 'hand-derived' or 'autodiff'", repr(gradients))
    expect(precision in PRECISIONS, who, f"precision among {list(PRECISIONS)}", repr(precision))
    expect(isinstance(accumulate, int) and accumulate > 0, who, "accumulate, a positive integer", repr(accumulate))
    expect_optimizer(who, optimizer)
    expect(precision != "float16" or isinstance(optimizer, LossScaled), who,
           "an optimizer with a loss scale for float16", "one without", "use loss_scaled(optimizer)")
    return Step(layer, loss, optimizer, gradients, precision, accumulate)


class Step:
    """A compiled training step. `traces` are the shapes it was traced for."""

    def __init__(self, layer: Layer, loss: Op, optimizer: Any, gradients: str, precision: str | None,
                 accumulate: int):
        self.layer, self.loss, self.optimizer = layer, loss, optimizer
        self.gradients, self.precision, self.accumulate = gradients, precision, accumulate
        self.traces = Traces()
        self._update = optax.with_extra_args_support(optimizer).update
        self._compiled: dict[Any, Any] = {}
        self._compiled_gradient = jax.jit(self._gradient)
        self.batch_size: int | None = None  # the largest so far
        self._mixes: bool | None = None  # whether its examples depend on each other; found when it is asked for

    def __call__(self, state: TrainState, x: Any, labels: Any, n: int | None = None) -> tuple[TrainState, StepInfo]:
        """One step, on the first n examples; None takes all, of a batch that `fill` fills up first."""
        if n is None:
            x, labels, n = self.fill(state, x, labels)
        return self._jitted("one", state)(state, x, labels, n)

    def many(self, state: TrainState, x: Any, labels: Any, n: Any = None) -> tuple[TrainState, StepInfo]:
        """As many steps as x and labels have entries along their first axis, (steps, B, ...), in one
        dispatch: for steps so short that Python's share in them shows. n: (steps,), as in a single step."""
        n_steps, size = jax.tree.leaves(labels)[0].shape[:2]
        return self._jitted("many", state)(state, x, labels, np.full(n_steps, size, np.int32) if n is None else n)

    def fill(self, state: TrainState, x: Any, labels: Any) -> tuple[Any, Any, int]:
        """The batch as large as the largest before it, and how many of its examples are its own. The filling
        weighs nothing, and nothing is compiled again for it; where examples mix, as in batch norm, it would
        weigh, and the batch stays as it is."""
        n = batch_size(x, labels)
        self.batch_size = max(n, self.batch_size or 0)
        if n == self.batch_size:
            return x, labels, n
        if self._mixes is None:
            self._mixes = mixes_examples(self.layer, state, x)
        if self._mixes:
            return x, labels, n
        rows = np.minimum(np.arange(self.batch_size), n - 1)
        x, labels = jax.tree.map(lambda a: a[rows], (x, labels))
        return x, labels, n

    def lower(self, state: TrainState, x: Any, labels: Any) -> jax.stages.Lowered:
        """The step's program, to be looked at: what it computes, keeps and sends."""
        return self._jitted("one", state).lower(state, x, labels, batch_size(x, labels))

    def cost_and_gradient(self, state: TrainState, x: Any, labels: Any) -> tuple[jax.Array, Any]:
        """The cost and its gradient by the parameters, as the step computes them; state is kept."""
        (cost, _), grads = self._compiled_gradient(state, x, labels, batch_size(x, labels))
        return cost, jax.tree.map(lambda g: g / scale_of(state.opt_state), grads)

    def _jitted(self, kind: str, state: TrainState) -> Any:
        """The compiled function. Arrays on several devices stay where they are from step to step."""
        leaves = jax.tree.leaves(state)
        spread = any(len(getattr(leaf, "devices", set)()) > 1 for leaf in leaves
                     if not isinstance(leaf, jax.core.Tracer))
        key = kind, tuple(leaf.sharding for leaf in leaves) if spread else None
        if key not in self._compiled:
            layout = Layout.of(state.params) if spread else None
            function: Any = functools.partial(self._one if kind == "one" else self._many, layout)
            where = (jax.tree.map(lambda a: a.sharding, state), None) if spread else None
            self._compiled[key] = jax.jit(function, donate_argnums=0, out_shardings=where)
        return self._compiled[key]

    def _one(self, layout: Any, state: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        self.traces.note("step", state=state, x=x, labels=labels)
        return self._step(layout, state, x, labels, n)

    def _many(self, layout: Any, state: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        self.traces.note("step.many", state=state, x=x, labels=labels)
        return jax.lax.scan(lambda s, batch: self._step(layout, s, *batch), state, (x, labels, n))

    def _step(self, layout: Any, now: TrainState, x: Any, labels: Any, n: Any) -> tuple[TrainState, StepInfo]:
        whole = now if layout is None else now._replace(params=layout.gathered(now.params))
        (cost, state), scaled = self._gradient(whole, x, labels, n)
        scaled = scaled if layout is None else layout.cut(scaled)
        update = functools.partial(self._update, scaled, now.opt_state, now.params, value=cost)
        updates, opt_state = jax.eval_shape(update)
        expect_same_tree("make_step", "an optimizer whose updates are like the parameters", now.params, updates)
        expect_same_tree("make_step", "an optimizer whose state keeps its structure", now.opt_state, opt_state)

        def moved() -> tuple[Any, Any]:
            updates, opt_state = update()
            return optax.apply_updates(now.params, updates), opt_state

        # A norm that is finite has no element whose square is not, which would stay in Adam's v for good.
        norm = optax.tree.norm(scaled)
        applied = is_finite((cost, norm, update()[0])) & stays_finite(now.state, state)
        # A branch, and no jnp.where over all arrays, which would keep two of each; the updates it applies are
        # computed anew, for that takes less time than to keep them.
        params, opt_state = jax.lax.cond(applied, moved, lambda: (now.params, now.opt_state))
        state = jax.tree.map(lambda a, b: jnp.where(applied, a, b), state, now.state)
        info = StepInfo(cost, norm / scale_of(now.opt_state), applied)
        return now._replace(params=params, state=state, opt_state=adjusted(self.optimizer, opt_state, applied),
                            step=now.step + 1), info

    def _gradient(self, now: TrainState, x: Any, labels: Any, n: Any) -> Any:
        """((cost, state), gradient times the loss scale) of the first n examples of the batch."""
        size, parts = batch_size(x, labels), self.accumulate
        expect(size % parts == 0, "make_step", f"a batch that accumulate={parts} divides", f"{size} examples")
        keys = jax.random.split(jax.random.fold_in(now.key, now.step), size)
        whole = (x, labels, keys, jnp.arange(size) < n)
        gradient = jax.value_and_grad(self._part, has_aux=True)
        if parts == 1:
            (cost, (cost, state)), grads = gradient(now.params, now.state, *whole, n, scale_of(now.opt_state))
            return (cost, state), grads
        # Part p takes the examples p, p + parts, ...: spread over devices, each keeps its own.
        split = jax.tree.map(lambda a: jnp.moveaxis(a.reshape(size // parts, parts, *a.shape[1:]), 1, 0), whole)

        def add(carry: Any, part: Any) -> tuple[Any, None]:
            cost, state, total = carry
            (_, (part_cost, state)), grads = gradient(now.params, state, *part, n, scale_of(now.opt_state))
            return (cost + part_cost, state, jax.tree.map(jnp.add, total, grads)), None

        zero = jax.eval_shape(lambda: gradient(now.params, now.state, *jax.tree.map(lambda a: a[0], split), n, 1.0))
        carry = jnp.zeros((), zero[0][1][0].dtype), now.state, jax.tree.map(jnp.zeros_like, now.params)
        (cost, state, grads), _ = jax.lax.scan(add, carry, split)
        return (cost, state), grads

    def _part(self, params: Any, state: Any, x: Any, labels: Any, keys: Any, mask: Any, n: Any,
              scale: Any) -> Any:
        """A part's share in the mean loss over n examples; times the scale, for the gradient."""
        dtype = PRECISIONS[self.precision]
        net, loss = (self.layer, self.loss) if self.gradients == "hand-derived" else (
            self.layer.reference, self.loss.reference)
        apply = jax.vmap(functools.partial(net, train=True), in_axes=(None, None, 0, 0), out_axes=(0, None),
                         axis_name=EXAMPLES)
        logits, new_state = apply(cast_floats(params, dtype), state, cast_floats(x, dtype), keys)
        if dtype is not None:
            logits = cast_floats(logits, jnp.float32)
            new_state = jax.tree.map(lambda new, old: new.astype(old.dtype), new_state, state)
        losses = jax.vmap(loss)(logits, labels)
        expect(losses.ndim == 1, "make_step", f"a loss with one number, of shape (), for each example; {loss}",
               str(losses.shape[1:]), "take its mean")
        cost = jnp.sum(jnp.where(mask, losses, 0)) / n
        return cost * scale, (cost, new_state)


def expect_optimizer(who: str, optimizer: Any) -> None:
    expect(hasattr(optimizer, "init") and hasattr(optimizer, "update"), who, "an optax transformation as optimizer",
           type(optimizer).__name__, "call it: optax.adam(1e-3)" if callable(optimizer) else "")


def batch_size(x: Any, labels: Any) -> int:
    """The number of examples, which all leaves agree on."""
    sizes = [{jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(tree)} for tree in (x, labels)]
    expect(len(sizes[0]) == 1 and 0 not in sizes[0], "step", "x with a leading axis of at least one example, "
           "alike in all leaves", str(jax.tree.map(jnp.shape, x)))
    expect(sizes[0] == sizes[1], "step", f"as many labels as there are examples, {max(sizes[0])}",
           str(jax.tree.map(jnp.shape, labels)))
    return sizes[0].pop()


@functools.partial(jax.jit, static_argnums=0)
def _inference(layer: Layer, params: Any, state: Any, x: Any) -> jax.Array:
    return over_examples(layer)(params, state, x, train=False)[0]


def evaluate(layer: Layer, params: Any, state: Any, x: Any, *, batch_size: int | None = None) -> jax.Array:
    """The logits of x (B, ...) at inference, jit-compiled.

    batch_size: how many examples to take at a time, where all at once need too much memory.
    """
    if batch_size is None:
        return _inference(layer, params, state, x)
    sizes = {np.shape(leaf)[0] for leaf in jax.tree.leaves(x)}
    expect(len(sizes) == 1 and 0 not in sizes, "evaluate", "x with at least one example, as many in all leaves",
           str(jax.tree.map(np.shape, x)))
    expect(isinstance(batch_size, int) and batch_size > 0, "evaluate", "batch_size, a positive integer",
           repr(batch_size))
    n, parts = sizes.pop(), []
    for first in range(0, n, batch_size):
        # The last is filled up, so that nothing is compiled again for it.
        rows = np.minimum(np.arange(first, first + batch_size), n - 1)
        parts.append(_inference(layer, params, state, jax.tree.map(lambda a, rows=rows: a[rows], x)))
    return jax.tree.map(lambda *p: jnp.concatenate(p)[:n], *parts)
