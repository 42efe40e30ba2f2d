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

from jaxnn.checks import accepts, expect, expect_arrays, expect_key, expect_real, is_integer, known
from jaxnn.explicit.recording import typed
from jaxnn.inside.factors import power_of_two
from jaxnn.inside.passes import Passes
from jaxnn.network import Network, network

__all__ = ["Clipped", "PerExample", "clipped_gradient_sum", "per_example"]


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
    passes = Passes("per_example", cost, params, state, x, labels, key)
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
    passes = Passes("clipped_gradient_sum", cost, params, state, x, labels, key)
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


def _joined_norm(leaf_norms: Any, n: int) -> jax.Array:
    """√ Σ ‖·‖² over the leaves, (n,), without squares that overflow or vanish."""
    norms = jnp.stack([*jax.tree.leaves(leaf_norms), jnp.zeros(n)])
    unit = power_of_two(norms, 0)
    return unit * jnp.sqrt(jnp.sum(jnp.square(norms / unit), 0))


def _total(squares: Any, *shape: int) -> jax.Array:
    return sum(jax.tree.leaves(squares), jnp.zeros(shape))
