"""Mixed precision: parameters stay as they are, a step computes in a smaller type.

    bfloat16  has float32's range, so nothing more is needed
    float16   has a smallest normal number of 6e-5: gradients below it are lost. The loss is multiplied by
              a scale before the backward pass and the gradient divided by it after (Micikevicius et al.
              2018); the scale is halved when a gradient overflows and doubled after `interval` good steps.

The scale is part of the optimiser's state, so that it is saved and restored with the rest.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.training.functions import expect_optimizer

__all__ = ["LossScaleState", "LossScaled", "adjusted", "cast_floats",
           "expect_outermost", "loss_scaled", "scale_of"]

PRECISIONS = {None: None, "bfloat16": jnp.bfloat16, "float16": jnp.float16}


class LossScaleState(NamedTuple):
    """scale: what the loss is multiplied by; good: steps since the scale last changed."""

    scale: jax.Array
    good: jax.Array
    inner: Any


class LossScaled(optax.GradientTransformationExtraArgs):
    """An optimiser of gradients that are `scale` times too large. Make one by `loss_scaled`."""

    interval: int


def loss_scaled(optimizer: optax.GradientTransformation, initial: float = 2.0**15,
                interval: int = 2000) -> LossScaled:
    """The optimiser with a loss scale, which training in float16 needs.

    Args:
      initial: the first scale, a power of two at least 1, so that dividing by it rounds nothing.
      interval: good steps after which the scale is doubled.
    """
    expect(is_number(initial, 1) and float(initial).hex().startswith("0x1.0000000000000p"), "loss_scaled",
           "initial, a power of two at least 1", repr(initial))
    expect(is_integer(interval, 1), "loss_scaled", "interval, a positive integer", repr(interval))
    expect_optimizer("loss_scaled", optimizer)
    inner = optax.with_extra_args_support(optimizer)

    def init(params: Any) -> LossScaleState:
        return LossScaleState(jnp.asarray(initial, jnp.float32), jnp.zeros((), jnp.int32), inner.init(params))

    def update(grads: Any, opt_state: LossScaleState, params: Any = None, **extra: Any) -> tuple[Any, LossScaleState]:
        grads = jax.tree.map(lambda g: g / opt_state.scale.astype(g.dtype), grads)
        updates, inner_state = inner.update(grads, opt_state.inner, params, **extra)
        return updates, opt_state._replace(inner=inner_state)

    scaled = LossScaled(init, update)
    scaled.interval = interval
    return scaled


def scale_of(opt_state: Any) -> Any:
    return opt_state.scale if isinstance(opt_state, LossScaleState) else 1.0


def expect_outermost(who: str, opt_state: Any) -> None:
    """Raises InputError if there is a loss scale inside of another transformation: the step would not see it."""
    parts = jax.tree.leaves(opt_state, is_leaf=lambda a: isinstance(a, LossScaleState) and a is not opt_state)
    expect(not any(isinstance(part, LossScaleState) for part in parts), who, "loss_scaled(...) around everything else",
           "one inside of another transformation", "write loss_scaled(optax.chain(...))")


def adjusted(optimizer: Any, opt_state: Any, applied: jax.Array) -> Any:
    """The optimiser's state with its scale halved after an overflow, or doubled after enough good steps."""
    if not isinstance(opt_state, LossScaleState):
        return opt_state
    good = jnp.where(applied, opt_state.good + 1, 0)
    grow = good >= optimizer.interval
    scale = jnp.where(applied, jnp.where(grow, opt_state.scale * 2, opt_state.scale), opt_state.scale / 2)
    return opt_state._replace(scale=jnp.clip(scale, 1.0, 2.0**24), good=jnp.where(grow, 0, good))


def cast_floats(tree: Any, dtype: Any) -> Any:
    """The tree with its floating-point leaves in this type; None leaves them."""
    if dtype is None:
        return tree
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(jnp.result_type(a), jnp.floating) else a, tree)
