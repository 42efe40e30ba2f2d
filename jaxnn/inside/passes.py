"""One forward and one backward pass for each example of a batch, which stop before the sums of factors.

What they keep gives, for each weight, the norms of the gradients of single examples, and any weighted sum of these
gradients by one matrix product (jaxnn.inside.factors).
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import InputError, expect
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.program import OpStep, Program
from jaxnn.hand_derived import EXAMPLES
from jaxnn.inside import factor_rules  # noqa: F401  # registers the rules
from jaxnn.inside.factors import Factor, Whole, factors_and_rest, has_rule, n_params, norm_of
from jaxnn.linearity import equations
from jaxnn.network import Network

__all__ = ["Passes"]

# Bytes that the norms of several examples may take at a time: beyond that they are taken in turns. On CPU turns of 1 to
# 100 MB are equally fast; a GPU wants few turns.
TURN_BYTES = 2**25


class Passes:
    """One forward and one backward pass for each example, side by side, which stop before the sums of factors."""

    def __init__(self, who: str, cost: Network, params: Any, state: Any, x: Any, labels: Any, key: Any):
        sizes = [jnp.shape(leaf) for leaf in jax.tree.leaves((x, labels))]
        n = sizes[0][0] if sizes and sizes[0] else 0
        expect(n > 0 and all(s[:1] == (n,) for s in sizes), who,
               "x and labels with a leading axis of as many examples, at least one",
               f"shapes {[jnp.shape(leaf) for leaf in jax.tree.leaves(x)]} and "
               f"{[jnp.shape(leaf) for leaf in jax.tree.leaves(labels)]}")
        self.params = params
        keys = None if key is None else jax.random.split(key, n)
        x, labels = jax.tree.map(jnp.asarray, (x, labels))  # JAX cannot map a NumPy array that a jit function holds
        first = jax.tree.map(lambda leaf: leaf[0], (x, labels))
        one_key = None if keys is None else keys[0]
        recording, values = cost.recorded((params, state, *first, one_key), {}, axes=((EXAMPLES, n),))
        captured = values[recording.args_tree.num_leaves:]
        self.program = recording.program
        shapes = jax.tree.map(lambda y: y.shape, recording.y)
        expect(shapes == (), who, "a loss with one number, of shape (), for each example", str(shapes), "take its sum")
        expect(jnp.issubdtype(recording.y.dtype, jnp.floating), who, "a loss of floating-point numbers",
               str(recording.y.dtype))
        for step in self.program.walk():
            if isinstance(step, OpStep):
                _expect_apart(step)
        if any(map(_over_examples, equations(self.program.traced[0].jaxpr))):
            raise InputError(cost.name, "mixes the examples of a batch between its ops, so that no example has a "
                             "gradient of its own; reduce within each example alone")
        is_complex = any(jnp.iscomplexobj(leaf) for leaf in jax.tree.leaves(params))
        expect(not is_complex, who, "real params", "complex ones", "split them into real and imaginary parts")
        n_params = len(jax.tree.leaves(params))
        self.smooth = [i for i in range(n_params) if is_inexact(self.program.in_avals[i])]
        self.factored = _factored(self.program, self.smooth)

        def one(x: Any, label: Any, key: Any) -> Any:
            (loss,), tape = self.program.forward([*jax.tree.leaves((params, state, x, label, key)), *captured])
            found, kept = self.program.backward(tape, [jnp.ones_like(loss)], self._op_backward)
            factors = {slot: kept[i][n] for slot, (i, n) in self.factored.items() if kept[i] is not None}
            whole = {slot: found[slot] for slot in self.smooth if slot not in self.factored and found[slot] is not None}
            return loss, {slot: f for slot, f in factors.items() if f is not None} | {
                slot: Whole(g) for slot, g in whole.items()}

        each = jax.vmap(one, (0, 0, None if keys is None else 0), axis_name=EXAMPLES)
        self.losses, self.factors = each(x, labels, keys)

    def _op_backward(self, step: OpStep, tape: list[Any], dy: list[Any]) -> tuple[list[Any], Any]:
        call = step.call
        slots = {n: slot for slot, (i, n) in self.factored.items() if self.program.steps[i] is step}
        if not slots:
            return call.backward(step.cache(tape), dy), None
        factors, rest = factors_and_rest(call, step.cache(tape), dy)
        others = [n for n in range(len(factors)) if n not in slots]
        of_params: list[Any] = [None] * len(factors)
        if others:
            whole = call.backward(step.cache(tape), dy)
            for n in others:
                of_params[n] = whole[n]
        return [*of_params, *rest], factors

    def norms(self) -> Any:
        """The norms (B,) of each example's gradient, in the structure of params, summed in float32 at least.

        Examples are taken in turns where all together would take much memory.
        """
        n = self.losses.shape[0]

        def norm(factors: dict[int, Factor]) -> dict[int, Any]:
            return {slot: norm_of(f) for slot, f in factors.items()}

        one = jax.eval_shape(lambda: jax.tree.map(lambda leaf: leaf[0], self.factors))
        turn = TURN_BYTES // max(sum(4 * f.size for f in one.values()), 1)
        found = jax.vmap(norm)(self.factors) if turn >= n else lax.map(norm, self.factors, batch_size=max(turn, 1))
        return self._tree(lambda slot, leaf: found.get(slot, jnp.zeros(n)))

    def weighted_sum(self, weights: Any) -> Any:
        """Σ_b w_b g_b, in the structure, shapes and dtypes of params."""
        return self._tree(lambda slot, leaf: self.factors[slot].summed(weights, leaf).astype(leaf.dtype)
                          if slot in self.factors else jnp.zeros_like(leaf))

    def _tree(self, f: Callable) -> Any:
        leaves, tree = jax.tree.flatten(self.params)
        return jax.tree.unflatten(tree, [
            f(slot, leaf) if slot in self.smooth else None for slot, leaf in enumerate(leaves)])


def _factored(program: Program, slots: list[int]) -> dict[int, tuple[int, int]]:
    """The leaves of params that one op alone reads, as its own params, whose gradient comes in factors: by slot, the
    number of the step and of its argument's leaf."""
    found = {}
    for slot in slots:
        readers = [(i, n) for i, step in enumerate(program.steps) for n, read in enumerate(step.ins) if read == slot]
        if len(readers) != 1 or slot in program.outs:
            continue
        (i, n), step = readers[0], program.steps[readers[0][0]]
        if isinstance(step, OpStep) and has_rule(step.call) and n < n_params(step.call):
            found[slot] = (i, n)
    return found


def _expect_apart(step: OpStep) -> None:
    """Refuses an op that reduces over the examples of the batch: no example has a gradient of its own then."""
    call = step.call
    shapes = call.arg_shapes()

    def passes(*leaves: Any) -> Any:
        y, cache = call.forward(*leaves)
        return y, [c for c in call.backward(cache, [jnp.ones_like(leaf) for leaf in y]) if c is not None]

    jaxpr = jax.make_jaxpr(passes, axis_env=[(EXAMPLES, 2)])(*shapes)
    if any(_over_examples(eqn) for eqn in equations(jaxpr.jaxpr)):
        error = InputError(call.op.name, "mixes the examples of a batch, so that no example has a gradient of its "
                           "own; use it with train=False, or normalize within each example")
        error.path = tuple((step.place or step.line).split("/"))
        raise error


def _over_examples(eqn: Any) -> bool:
    axes = [eqn.params.get(name) for name in ("axes", "axis_name")]
    return eqn.primitive.name != "axis_index" and any(
        EXAMPLES in axis if isinstance(axis, tuple) else axis == EXAMPLES for axis in axes)
