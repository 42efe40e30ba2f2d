"""Statistics of the gradients g_b of single examples, from (cache, dy), without forming any g_b.

    ḡ = Σ_b g_b / B        S = Σ_b ‖g_b - ḡ‖² / (B - 1) = (Σ_b ‖g_b‖² - B ‖ḡ‖²) / (B - 1)
    |G|² ≈ ‖ḡ‖² - S / B    noise scale = S / |G|²

S estimates the trace of the covariance of g, |G|² the squared norm of the true gradient, both without
bias: E ‖ḡ‖² = |G|² + E S / B. With a batch as large as the noise scale, training takes about twice the
steps that it takes with an endless one. One forward and one backward pass give the norms, and for each
weight one matrix product gives ḡ, or the sum of clipped gradients (jaxnn.gradients.inside.factors).

Source: McCandlish et al. (2018), section 2.2 and appendix A.1; Abadi et al. (2016), algorithm 1.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import InputError, expect, known
from jaxnn.examples import OverExamples
from jaxnn.gradients.inside import factor_rules  # noqa: F401  # registers the rules
from jaxnn.gradients.inside.factors import backward_in_factors, squared_norms, weighted_sum
from jaxnn.gradients.inside.walk import Record, as_stage, opened, params_of, params_tree, walk
from jaxnn.hand_derived import EXAMPLES, Op
from jaxnn.linearity import equations

__all__ = ["Clipped", "PerExample", "clipped_gradient_sum", "per_example"]


class PerExample(NamedTuple):
    """What the gradients of the B examples of a batch are like."""

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
    """S / |G|², in examples; inf where |G|² is not seen above the noise."""

    def hardest(self, k: int) -> tuple[jax.Array, jax.Array]:
        """The k examples that pull hardest: their indices and their norms, the largest first."""
        expect(isinstance(k, int) and 0 < k <= self.norms.shape[0], "hardest",
               f"k in 1 .. {self.norms.shape[0]}, the size of the batch", repr(k))
        norms, indices = lax.top_k(self.norms, k)
        return indices, norms


class Clipped(NamedTuple):
    """The sum of clipped gradients, and what was clipped."""

    gradient_sum: Any
    """Σ_b c_b g_b, in the structure of params."""
    norms: jax.Array
    """‖g_b‖ before it was clipped, (B,)."""
    scales: jax.Array
    """c_b = min(1, max_norm / ‖g_b‖), (B,)."""
    losses: jax.Array


@functools.partial(jax.jit, static_argnames=("net", "loss", "train"))
def per_example(net: Op, loss: Callable, params: Any, state: Any, x: Any, labels: Any, key: Any = None, *,
                train: bool = False) -> PerExample:
    """Losses, gradient norms and their statistics over a batch, jit-compiled.

    Args:
      net: the network of one example, a layer or an op of (params, state, x, key).
      loss: (y, labels) -> (), of one example.
      params, state: the network's; () for what it does not have.
      x, labels: a batch, (B, ...).
      key: for what is random; each example gets the key that `over_examples` gives it.
      train: the layer's mode.
    Raises:
      InputError: a layer mixes the examples, as batch norm does in training; or a size does not fit.

    >>> from jaxnn import dense, squared_error
    >>> params, x = {"weight": jnp.zeros((1, 2))}, jnp.array([[3.0, 4.0], [0.0, 1.0]])
    >>> per_example(dense, squared_error, params, (), x, jnp.ones((2, 1))).norms.tolist()
    [10.0, 2.0]
    """
    batch, losses, records = _backward_pass("per_example", net, loss, params, state, x, labels, key, train)
    n, entries = losses.shape[0], params_of(batch, params)
    squares = params_tree(batch, _per_op(squared_norms, records, entries, n))
    total = _total(squares, n)
    gradient = params_tree(batch, _per_op(weighted_sum, records, entries, jnp.full(n, 1 / n)))
    mean_square = _total(jax.tree.map(lambda g: jnp.sum(jnp.square(g.astype(total.dtype))), gradient))
    # Rounding may leave a variance of 0 a little below it.
    variance = jnp.maximum(jnp.sum(total) - n * mean_square, 0) / (n - 1) if n > 1 else jnp.nan * total[0]
    signal = mean_square - variance / n
    noise_scale = jnp.where(signal <= 0, jnp.inf, variance / signal)
    return PerExample(losses, jnp.sqrt(total), jax.tree.map(jnp.sqrt, squares), gradient, variance, signal,
                      noise_scale)


@functools.partial(jax.jit, static_argnames=("net", "loss", "train"))
def _clipped(net: Op, loss: Callable, params: Any, state: Any, x: Any, labels: Any, max_norm: Any, key: Any,
             train: bool) -> Clipped:
    batch, losses, records = _backward_pass(
        "clipped_gradient_sum", net, loss, params, state, x, labels, key, train)
    n, entries = losses.shape[0], params_of(batch, params)
    squares = _per_op(squared_norms, records, entries, n)
    norms = jnp.sqrt(_total(squares, n))
    scales = jnp.minimum(1, max_norm / jnp.where(norms > 0, norms, max_norm))
    gradient_sum = params_tree(batch, _per_op(weighted_sum, records, entries, scales))
    return Clipped(gradient_sum, norms, scales, losses)


def clipped_gradient_sum(net: Op, loss: Callable, params: Any, state: Any, x: Any, labels: Any, max_norm: Any,
                         key: Any = None, *, train: bool = False) -> Clipped:
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
    known_norm = known(max_norm)
    expect(jnp.ndim(max_norm) == 0 and (known_norm is None or bool(known_norm > 0)), "clipped_gradient_sum",
           "max_norm > 0, one number", repr(max_norm))
    return _clipped(net, loss, params, state, x, labels, max_norm, key, train)


def _backward_pass(who: str, net: Op, loss: Callable, params: Any, state: Any, x: Any, labels: Any, key: Any,
                   train: bool) -> tuple[OverExamples, jax.Array, list[Record]]:
    """The losses (B,), and the records of each elementary op with dy = ∂L_b/∂y_b for each example."""
    batch = OverExamples(opened(as_stage(who, net, train)))
    (y, _), cache = batch.forward(params, state, x, key)
    n = jax.tree.leaves(y)[0].shape[0]
    sizes = [jnp.shape(leaf) for leaf in jax.tree.leaves(labels)]
    expect(all(s[:1] == (n,) for s in sizes), who, f"labels for {n} examples", f"shapes {sizes}")
    losses, dy = jax.vmap(jax.value_and_grad(loss))(y, labels)
    records, _ = walk(batch, cache, dy, backward_in_factors)
    for record in records:
        if record.dy is not None:
            _expect_apart(record)
    return batch, losses, records


def _expect_apart(record: Record) -> None:
    """Refuses an op whose backward pass sums over the examples of the batch: no g_b exists then."""
    batch_axes, *positions = record.levels
    tree: Any
    leaves, tree = jax.tree.flatten(record.cache)

    def of_one(leaf: Any, axis: int | None = 0) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape if axis is None else leaf.shape[1:], leaf.dtype)

    def backward(leaves: list[Any], dy: Any) -> Any:
        return record.part.part.backward(tree.unflatten(leaves), (dy, None))

    for axes in reversed(positions):
        backward = jax.vmap(backward, in_axes=(list(axes), 0), axis_name=EXAMPLES)
    one = [of_one(leaf, axis) for leaf, axis in zip(leaves, batch_axes, strict=True)]
    jaxpr = jax.make_jaxpr(backward, axis_env=[(EXAMPLES, 2)])(one, jax.tree.map(of_one, record.dy))
    if any(_over_examples(eqn) for eqn in equations(jaxpr.jaxpr)):
        error = InputError(record.name, "mixes the examples of a batch, so that no example has a gradient of "
                           "its own; use it with train=False, or normalize within each example")
        error.path = tuple(record.path.split("/")) if record.path else ()
        raise error


def _over_examples(eqn: Any) -> bool:
    axes = [eqn.params.get(name) for name in ("axes", "axis_name")]
    return eqn.primitive.name != "axis_index" and any(
        EXAMPLES in axis if isinstance(axis, tuple) else axis == EXAMPLES for axis in axes)


def _per_op(function: Callable, records: list[Record], entries: list[Any], of_batch: Any) -> list[Any]:
    """function(record, params, of_batch) for each op that has params; () for the others."""
    return [function(record, entry, of_batch) if record.has_params else ()
            for record, entry in zip(records, entries, strict=True)]


def _total(squares: Any, *shape: int) -> jax.Array:
    return sum(jax.tree.leaves(squares), jnp.zeros(shape))
