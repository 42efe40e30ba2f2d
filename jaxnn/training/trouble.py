"""Why a step was not applied: which of the batch's examples, and which layer first, are not finite."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients import look_inside
from jaxnn.layers import over_examples
from jaxnn.training.precision import PRECISIONS, cast_floats, scale_of
from jaxnn.training.step import Step, StepInfo, TrainState
from jaxnn.training.tracing import is_finite

__all__ = ["explain"]


def explain(step: Step, state: TrainState, x: Any, labels: Any, number: int, info: StepInfo,
            names: Any = None) -> str:
    """What went wrong in step `number`, which has left the parameters as they were.

    state: now; x, labels: the batch of that step, on which the passes are run again; names: which example
    of the set each of the batch is.
    """
    said = f"step {number} was not applied: cost {float(info.cost):.4g}, ‖gradient‖ {float(info.gradient_norm):.4g}"
    if np.isfinite(info.cost) and float(scale_of(state.opt_state)) > 1:
        return f"{said}; the loss scale is now {float(scale_of(state.opt_state)):g}"
    try:
        return "; ".join([said, *_causes(step, state, x, labels, number, info, names)])
    except Exception as error:  # the run goes on: what is not found out must not end it
        return f"{said}; why was not found ({type(error).__name__}: {error})"


def _causes(step: Step, state: TrainState, x: Any, labels: Any, number: int, info: StepInfo, names: Any) -> list[str]:
    causes = [*_not_finite("x", x, names), *_not_finite("labels", labels, names)]
    if not causes:
        causes.append("every number in the batch is finite")
    causes += [f"parameter '{path}' is not finite" for path, leaf in _leaves(state.params) if not is_finite(leaf)]
    again = state._replace(step=jnp.asarray(number, jnp.int32))
    key = jax.random.fold_in(again.key, again.step)
    dtype = PRECISIONS[step.precision]
    inside = look_inside(over_examples(step.layer), cast_floats(state.params, dtype), state.state,
                         cast_floats(x, dtype), key, loss=step.loss, labels=labels, train=True)
    if inside.first_bad is not None:
        layer = next((f"; the first layer to give such a value is '{row.path}' ({row.layer})" for row in inside.rows
                      if row.value is not None and row.value.trouble), "")
        causes.append(f"first not finite: {inside.first_bad}{layer if not inside.first_bad.layer else ''}")
    elif not np.isfinite(info.cost):
        causes.append("every layer's value and cotangent is finite: look at the loss and at the labels")
    else:
        causes.append("so are the cost and every layer's cotangent: look at the optimizer, and its learning rate")
    if int(state.step) > number + 1:
        causes.append(f"looked at with the parameters of step {int(state.step)}")
    return causes


def _not_finite(name: str, tree: Any, names: Any) -> list[str]:
    """Which examples hold NaN or infinity, by their place in the set or else in the batch."""
    told = []
    for path, leaf in _leaves(tree):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        leaf = np.asarray(leaf)
        bad = np.flatnonzero(~np.isfinite(leaf.astype(np.float32)).reshape(len(leaf), -1).all(axis=1))
        if len(bad):
            shown = bad[:5] if names is None else np.asarray(names)[bad[:5]]
            places = ", ".join(map(str, shown)) + (", ..." if len(bad) > 5 else "")
            where = f"{name} '{path}'" if path else name
            told.append(f"{where} is not finite in {len(bad)} of the batch's {len(leaf)} examples, number {places} "
                        f"of the {'batch' if names is None else 'set'}")
    return told


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
            for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
