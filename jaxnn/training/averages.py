"""The average of the parameters along the way, which often generalises better than where the way ends.

    a ← decay · a + (1 - decay) · params        after each step, by optax.ema, without the bias of its start

    optimizer = with_average(optax.adam(1e-3), decay=0.999)
    ...
    logits = evaluate(layer, average(train_state.opt_state), train_state.state, x)

The average is part of the optimiser's state, and so it is saved and restored with the rest.
Source: Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging.
"""

from typing import Any, NamedTuple

import jax
import optax

from jaxnn.checks import expect, is_number
from jaxnn.training.functions import expect_optimizer

__all__ = ["AverageState", "average", "with_average"]


class AverageState(NamedTuple):
    """The optimiser's own state, optax.ema's, and the average without its bias."""

    inner: Any
    ema: Any
    average: Any


def with_average(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformationExtraArgs:
    """The optimiser, keeping an average of the parameters in its state. decay: in [0, 1)."""
    expect(is_number(decay, 0) and decay < 1, "with_average", "decay in [0, 1)", repr(decay))
    expect_optimizer("with_average", optimizer)
    inner, ema = optax.with_extra_args_support(optimizer), optax.ema(decay)

    def init(params: Any) -> AverageState:
        return AverageState(inner.init(params), ema.init(params), jax.tree.map(lambda p: p.copy(), params))

    def update(grads: Any, opt_state: AverageState, params: Any = None, **extra: Any) -> tuple[Any, AverageState]:
        updates, inner_state = inner.update(grads, opt_state.inner, params, **extra)
        averaged, ema_state = ema.update(optax.apply_updates(params, updates), opt_state.ema)
        return updates, AverageState(inner_state, ema_state, averaged)

    return optax.GradientTransformationExtraArgs(init, update)


def average(opt_state: Any) -> Any:
    """The averaged parameters in an optimiser's state, wherever in it they are.

    Raises:
      InputError: there is none, or more than one.
    """
    found = [leaf for leaf in jax.tree.leaves(opt_state, is_leaf=lambda a: isinstance(a, AverageState))
             if isinstance(leaf, AverageState)]
    expect(len(found) == 1, "average", "the state of one with_average(...)", f"{len(found)} of them")
    return found[0].average
