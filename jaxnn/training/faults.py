"""Why a step was not applied: which of the batch's examples, and which layer first, are not finite."""

import contextlib
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError
from jaxnn.inside import look_inside
from jaxnn.layers import over_examples
from jaxnn.training.functions import losses_of, over_batch
from jaxnn.training.precision import PRECISIONS, cast_floats, scale_of
from jaxnn.training.step import Step, StepInfo
from jaxnn.training.tracing import is_finite, path_of
from jaxnn.training.train_state import TrainState

__all__ = ["describe_fault"]

MAX_EXAMPLES = 50  # whose loss is computed one by one


def describe_fault(step: Step, train_state: TrainState, x: Any, labels: Any, number: int, info: StepInfo,
                   indices: Any = None) -> str:
    """What was not finite in step `number`, which left the parameters as they were.

    Args:
      train_state: the newest; its parameters stand for those of that step.
      x, labels: the batch of that step, on which the passes are run again.
      indices: which example of the set each of the batch is.
    """
    summary = (f"step {number} was not applied: cost {float(info.cost):.4g}, "
               f"‖gradient‖ {float(info.gradient_norm):.4g}")
    scale = float(scale_of(train_state.opt_state))
    if np.isfinite(info.cost) and scale > 1:
        return f"{summary}; the loss scale is lowered to {scale:g}"
    try:
        return "; ".join([summary, *_causes(step, train_state, x, labels, number, info, indices)])
    except Exception as error:  # a cause that is not found must not end the run
        return f"{summary}; no cause was found ({type(error).__name__}: {error})"


def _causes(step: Step, train_state: TrainState, x: Any, labels: Any, number: int, info: StepInfo,
            indices: Any) -> list[str]:
    causes = [*_not_finite("x", x, indices), *_not_finite("labels", labels, indices)]
    if not causes and not np.isfinite(info.cost):
        with contextlib.suppress(Exception):  # a loss that cannot be asked hides no other cause
            causes = _refused_labels(step, train_state, x, labels, indices)
    if not causes:
        causes.append("every number in the batch is finite")
    causes += [f"parameter '{path}' is not finite" for path, leaf in _leaves(train_state.params)
               if not is_finite(leaf)]
    causes += _causes_inside(step, train_state, x, labels, number, info)
    if int(train_state.step) > number + 1:
        causes.append(f"looked for with the newest parameters, those after step {int(train_state.step) - 1}")
    return causes


def _causes_inside(step: Step, train_state: TrainState, x: Any, labels: Any, number: int,
                   info: StepInfo) -> list[str]:
    key = jax.random.fold_in(train_state.key, jnp.asarray(number, jnp.int32))
    dtype = PRECISIONS[step.precision]
    inside = look_inside(over_examples(step.layer), cast_floats(train_state.params, dtype), train_state.state,
                         cast_floats(x, dtype), key, loss=step.loss, labels=labels, train=True)
    if inside.first_bad is not None:
        layer = next((f"; the first layer to give such a value is '{row.path}' ({row.op})" for row in inside.rows
                      if row.value is not None and row.value.trouble), "")
        if inside.bad_forward is None and not inside.first_bad.op:
            layer = ", while every layer's value is finite: look at the loss, and its slope there"
        return [f"first not finite: {inside.first_bad}{layer if not inside.first_bad.op else ''}"]
    if not np.isfinite(info.cost):
        return ["every layer's value and cotangent is finite: look at the loss and at the labels"]
    return ["so are the cost and every layer's cotangent: look at the optimizer, and its learning rate"]


def _refused_labels(step: Step, train_state: TrainState, x: Any, labels: Any, indices: Any) -> list[str]:
    """Which examples have a label that the loss refuses. In a compiled step it cannot: a label that is no class, say,
    gives NaN there."""
    predictions, _ = over_batch(step.layer, train_state.params, train_state.state, x, None, train=False)
    losses = np.asarray(jax.jit(functools.partial(losses_of, step.loss))(predictions, labels))
    bad, refused, message = np.flatnonzero(~np.isfinite(losses)), list[int](), ""
    for i in map(int, bad[:MAX_EXAMPLES]):
        try:
            step.loss(*jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf)[i], (predictions, labels)))
        except InputError as error:
            refused.append(i)
            message = message or str(error)
    if not refused:
        return []
    number = f"{'at least ' if len(bad) > MAX_EXAMPLES else ''}{len(refused)} of the batch's {len(losses)}"
    return [f"the labels of {number} examples are refused, number {_places(refused, indices)}: {message}"]


def _places(examples: Any, indices: Any) -> str:
    """Numbers of examples, by their place in the set or else in the batch."""
    shown = np.asarray(examples)[:5] if indices is None else np.asarray(indices)[np.asarray(examples)[:5]]
    return (", ".join(map(str, shown)) + (", ..." if len(examples) > 5 else "")
            + f" of the {'batch' if indices is None else 'set'}")


def _not_finite(name: str, tree: Any, indices: Any) -> list[str]:
    """Which examples hold NaN or infinity, by their place in the set or else in the batch."""
    causes = []
    for path, leaf in _leaves(tree):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            continue
        leaf = np.asarray(leaf)
        bad = np.flatnonzero(~np.isfinite(leaf.astype(np.float32)).reshape(len(leaf), -1).all(axis=1))
        if len(bad):
            leaf_name = f"{name} '{path}'" if path else name
            causes.append(f"{leaf_name} is not finite in {len(bad)} of the batch's {len(leaf)} examples, number "
                          f"{_places(bad, indices)}")
    return causes


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(path_of(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
