"""Statistics of the gradients g_b of single examples, from (cache, dy), without forming any g_b.

    ḡ = Σ_b g_b / B        S = Σ_b ‖g_b - ḡ‖² / (B - 1) = (Σ_b ‖g_b‖² - B ‖ḡ‖²) / (B - 1)
    |G|² ≈ ‖ḡ‖² - S / B    noise scale = S / |G|²

S estimates the trace of the covariance of g, |G|² the squared norm of the true gradient, both without
bias: E ‖ḡ‖² = |G|² + E S / B. With a batch as large as the noise scale, training takes about twice as many
steps as with an infinite batch. One forward and one backward pass give the norms, and for each
weight one matrix product gives ḡ, or the sum of clipped gradients (jaxnn.inside.factors).

Source: McCandlish et al. (2018), section 2.2 and appendix A.1; Abadi et al. (2016), algorithm 1.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import InputError, accepts, expect, expect_arrays, expect_key, expect_real, is_integer, known
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.program import OpStep, Program
from jaxnn.explicit.recording import typed
from jaxnn.hand_derived import EXAMPLES
from jaxnn.inside import factor_rules  # noqa: F401  # registers the rules
from jaxnn.inside.factors import Factor, Whole, factors_and_rest, has_rule, n_params, norm_of, power_of_two
from jaxnn.linearity import equations
from jaxnn.network import Network, network

__all__ = ["Clipped", "PerExample", "clipped_gradient_sum", "per_example"]

# Bytes that the norms of several examples may take at a time: beyond that they are taken in turns. On CPU turns of 1 to
# 100 MB are equally fast; a GPU wants few turns.
TURN_BYTES = 2**25


class PerExample(NamedTuple):
    """Statistics of the gradients of the B examples of a batch."""

    losses: jax.Array
    """(B,), in the units of the loss."""
    norms: jax.Array
    """‖g_b‖ over all params, (B,)."""
    leaf_norms: Any
    """The same of each leaf of params by itself, in the structure of params, each (B,)."""
    gradient: Any
    """ḡ, the gradient of the mean loss, in the structure of params."""
    variance: jax.Array
    """S; NaN for a batch of one."""
    signal: jax.Array
    """The estimate of |G|², which noise may bring below 0; average S and |G|² over steps, not their ratio."""
    noise_scale: jax.Array
    """S / |G|², in examples; inf where the estimate of |G|² is not positive."""

    def __repr__(self) -> str:
        fields = (f"{name}: {jax.tree.map(jnp.shape, value)}" for name, value in self._asdict().items())
        return f"PerExample({', '.join(fields)})"

    def hardest(self, k: int) -> tuple[jax.Array, jax.Array]:
        """The k examples that pull hardest: their indices and their norms, the largest first."""
        expect(is_integer(k, 1) and k <= self.norms.shape[0], "hardest",
               f"k in 1 .. {self.norms.shape[0]}, the size of the batch", repr(k))
        norms, indices = lax.top_k(self.norms, k)
        return indices, norms


class Clipped(NamedTuple):
    """The sum of clipped gradients, and by how much each was clipped."""

    gradient_sum: Any
    """Σ_b c_b g_b, in the structure of params."""
    norms: jax.Array
    """‖g_b‖ before it was clipped, (B,)."""
    scales: jax.Array
    """c_b = min(1, max_norm / ‖g_b‖), (B,)."""
    losses: jax.Array


def per_example(net: Callable, loss: Callable, params: Any, state: Any, x: Any, labels: Any, key: Any = None,
                **static: Any) -> PerExample:
    """Losses, gradient norms and their statistics over a batch, jit-compiled.

    Args:
      net: the network of one example: a layer, or any function of ops whose arguments are among (params, state,
        x, key).
      loss: (y, labels) -> (), of one example.
      params, state: the network's; {} for what it does not have.
      x, labels: a batch, (B, ...).
      key: for what is random; each example gets the key that `over_examples` gives it.
      static: keyword arguments of net, such as train=True.
    Raises:
      InputError: an op mixes the examples, as batch norm does in training; or a size does not fit.
    A weight that several ops read, or an op that has no rule in jaxnn.inside.factor_rules, has the gradient of each
    example formed: (B, *shape) numbers.

    >>> from jaxnn import dense, squared_error
    >>> params, x = {"weight": jnp.zeros((1, 2))}, jnp.array([[3.0, 4.0], [0.0, 1.0]])
    >>> per_example(dense, squared_error, params, {}, x, jnp.ones((2, 1))).norms.tolist()
    [10.0, 2.0]
    """
    who = "per_example"
    cost = _cost_of(who, net, loss, static)
    _expect_examples(who, params, state, x, labels, key)
    return _per_example(cost, params, state, x, labels, key)


@functools.partial(jax.jit, static_argnums=0)
def _per_example(cost: Network, params: Any, state: Any, x: Any, labels: Any, key: Any) -> PerExample:
    passes = _Passes("per_example", cost, params, state, x, labels, key)
    n = passes.losses.shape[0]
    leaf_norms = passes.norms()
    norms = _joined_norm(leaf_norms, n)
    gradient = passes.weighted_sum(jnp.full(n, 1 / n))
    # In units of the largest norm, of which the square may overflow or vanish where it does not.
    unit = power_of_two(norms)
    total = jnp.square(norms / unit)
    mean_square = _total(jax.tree.map(lambda g: jnp.sum(jnp.square(g.astype(total.dtype) / unit)), gradient))
    # Rounding may leave a variance of 0 a little below it.
    variance = jnp.maximum(jnp.sum(total) - n * mean_square, 0) / (n - 1) if n > 1 else jnp.nan * total[0]
    signal = mean_square - variance / n
    noise_scale = jnp.where(signal <= 0, jnp.inf, variance / signal)
    return PerExample(passes.losses, norms, leaf_norms, gradient, variance * unit * unit, signal * unit * unit,
                      noise_scale)


def clipped_gradient_sum(net: Callable, loss: Callable, params: Any, state: Any, x: Any, labels: Any, max_norm: Any,
                         key: Any = None, **static: Any) -> Clipped:
    """Σ_b c_b g_b with c_b = min(1, max_norm / ‖g_b‖), jit-compiled: the sum that DP-SGD adds noise to.

    A backward pass is linear in dy, so what scales an example's dy scales its gradient: the norms come
    first, and then one matrix product for each weight on (cache_b, c_b dy_b). The backward pass through the
    network is not run again. In bfloat16 a clipped norm is max_norm to within 1 %.

    Args:
      max_norm: the largest norm that an example's whole gradient may keep, > 0.
      The others: as for `per_example`.
    Raises:
      InputError: as `per_example`; max_norm is not positive.
    """
    who = "clipped_gradient_sum"
    expect_real(who, "max_norm", max_norm)
    is_bool = jnp.issubdtype(jnp.result_type(max_norm), jnp.bool_)
    known_norm = known(max_norm)
    expect(jnp.ndim(max_norm) == 0 and not is_bool and (known_norm is None or bool(known_norm > 0)), who,
           "max_norm > 0, one number", repr(max_norm))
    cost = _cost_of(who, net, loss, static)
    _expect_examples(who, params, state, x, labels, key)
    return _clipped(cost, params, state, x, labels, max_norm, key)


@functools.partial(jax.jit, static_argnums=0)
def _clipped(cost: Network, params: Any, state: Any, x: Any, labels: Any, max_norm: Any, key: Any) -> Clipped:
    passes = _Passes("clipped_gradient_sum", cost, params, state, x, labels, key)
    norms = _joined_norm(passes.norms(), passes.losses.shape[0])
    scales = jnp.where(norms <= max_norm, 1, max_norm / norms)
    return Clipped(passes.weighted_sum(scales), norms, scales, passes.losses)


@functools.lru_cache(maxsize=256)
def _cost_of_one(net: Callable, loss: Callable, static: tuple[tuple[str, Any], ...], types: Any) -> Network:
    """The loss of one example, (params, state, x, label, key) -> (), as a network; one for the same net and loss."""
    def cost(params: Any, state: Any, x: Any, label: Any, key: Any) -> Any:
        given = {"params": params, "state": state, "x": x, "key": key}
        y = net(*(given[name] for name in names), **dict(static))
        return loss(y[0] if "state" in names else y, label)

    names = network(net).arguments
    return network(cost)


def _cost_of(who: str, net: Callable, loss: Callable, static: dict[str, Any]) -> Network:
    expect(callable(net), who, "a network that can be called as net", type(net).__name__)
    expect(accepts(loss, 2), who, "a loss, called as loss(y, label)", repr(loss))
    names = network(net).arguments
    expect("x" in names and set(names) <= {"params", "state", "x", "key"}, who,
           "a network of one example whose arguments are among (params, state, x, key)",
           f"'{network(net).name}' of ({', '.join(names)})", "wrap it in a function of those")
    return _cost_of_one(net, loss, tuple(sorted(static.items())), typed(tuple(sorted(static.items()))))


def _expect_examples(who: str, params: Any, state: Any, x: Any, labels: Any, key: Any) -> None:
    """Refuses, by name, what `jax.jit` would not take for an array."""
    for name, tree in (("params", params), ("state", state), ("x", x), ("labels", labels)):
        expect_arrays(who, name, tree)
    if key is not None:
        expect_key(who, key)


class _Passes:
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


def _joined_norm(leaf_norms: Any, n: int) -> jax.Array:
    """√ Σ ‖·‖² over the leaves, (n,), without squares that overflow or vanish."""
    norms = jnp.stack([*jax.tree.leaves(leaf_norms), jnp.zeros(n)])
    unit = power_of_two(norms, 0)
    return unit * jnp.sqrt(jnp.sum(jnp.square(norms / unit), 0))


def _total(squares: Any, *shape: int) -> jax.Array:
    return sum(jax.tree.leaves(squares), jnp.zeros(shape))
