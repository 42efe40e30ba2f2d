"""The compiled programs of a step: one for each arrangement of its arrays on devices, with the options that suit it."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from jaxnn.compiler_options import compiler_options
from jaxnn.training.mesh import Layout
from jaxnn.training.train_state import TrainState

__all__ = ["Programs"]


class Programs:
    """options: for XLA; None chooses them for each program, {} takes XLA's own."""

    def __init__(self, options: Mapping[str, Any] | None):
        self._options = options
        self._compiled: dict[Any, Any] = {}

    def of(self, function: Callable, train_state: TrainState, *batch: Any) -> Any:
        """function(layout, train_state, *batch), compiled without its first argument; train_state is donated. Arrays on
        several devices stay where they are from step to step."""
        spread = _is_spread(train_state)
        # Inside a program that the caller compiles, the options are the caller's.
        inside = any(isinstance(leaf, jax.core.Tracer) for leaf in (train_state.step, *jax.tree.leaves(batch)))
        shardings = tuple(leaf.sharding for leaf in jax.tree.leaves(train_state)) if spread else None
        key = function.__name__, inside, shardings
        if key not in self._compiled:
            layout = Layout.of(train_state.params) if spread else None
            out = (jax.tree.map(lambda a: a.sharding, train_state), None) if spread else None
            compiled = functools.partial(jax.jit, functools.partial(function, layout), donate_argnums=0,
                                         out_shardings=out)
            options = {} if inside else self._options
            if options is None:  # JAX traces once, for this and for the call
                options = compiler_options(compiled(), train_state, *batch)
            self._compiled[key] = compiled(compiler_options=dict(options) or None)
        return self._compiled[key]


def _is_spread(train_state: TrainState) -> bool:
    """Whether arrays lie on several devices. This is asked at every step, in Python: so the quick answers come
    first, and the key is left out, whose sharding takes longer to ask for than those of all other arrays."""
    if jax.device_count() == 1:
        return False
    leaves = jax.tree.leaves((train_state.params, train_state.state, train_state.opt_state, train_state.step))
    if all(type(getattr(leaf, "sharding", None)) is SingleDeviceSharding for leaf in leaves):
        return False
    return any(len(getattr(leaf, "devices", set)()) > 1 for leaf in leaves if not isinstance(leaf, jax.core.Tracer))
