"""`make_step`: a compiled step of training from a layer, a loss and an optimizer."""

from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxnn.checks import expect, is_integer
from jaxnn.training.functions import expect_layer, expect_loss, expect_optimizer
from jaxnn.training.precision import PRECISIONS, LossScaled
from jaxnn.training.rows import ByRows
from jaxnn.training.rows_step import RowsStep
from jaxnn.training.step import Step

__all__ = ["make_step"]


def make_step(layer: Callable, loss: Callable, optimizer: optax.GradientTransformation, *,
              gradients: str = "hand-derived", precision: str | None = None, accumulate: int = 1,
              compiler_options: Mapping[str, Any] | None = None) -> Step:
    """step(train_state, x, labels) -> (train_state, info), jit-compiled; train_state is donated.

    Args:
      layer: (params, state, x, key, *, train) -> (y, state), of one example: a layer or any such function. x and
        y are trees of arrays.
      loss: (y, label) -> (), of one example, in nats: an op, or any function; `jaxnn.losses` makes losses with
        weights, and over time, of others. label is a tree of arrays.
      optimizer: an optax transformation; `freeze(...)` of one trains a part of the parameters, `loss_scaled(...)`
        is for float16.
      gradients: "hand-derived", or "autodiff" of the references of layer and loss.
      precision: "bfloat16" or "float16" to compute in, with parameters, losses and updates as they are;
        None computes as the parameters are.
      accumulate: parts in which a batch is taken, one after another, to save memory. The gradient is that
        of the whole batch; batch norm takes its statistics from each part.
      compiler_options: for XLA; None takes what `jaxnn.compiler_options` chooses for this step, {} XLA's own.
    The cost is the mean loss over the batch: every leaf of x and of labels is (B, ...); labels may be None.
    Raises:
      InputError: an argument is not as above.
    """
    who = "make_step"
    expect_layer(who, layer)
    expect_loss(who, loss)
    expect(gradients in ("hand-derived", "autodiff"), who, "gradients 'hand-derived' or 'autodiff'", repr(gradients))
    is_known = precision is None or (isinstance(precision, str) and precision in PRECISIONS)
    expect(is_known, who, f"precision among {list(PRECISIONS)}", repr(precision))
    expect(is_integer(accumulate, 1), who, "accumulate, a positive integer", repr(accumulate))
    expect_optimizer(who, optimizer)
    expect(precision != "float16" or isinstance(optimizer, LossScaled), who,
           "an optimizer with a loss scale for float16", "one without", "use loss_scaled(optimizer)")
    expect(compiler_options is None or isinstance(compiler_options, Mapping), who,
           "compiler_options, a mapping from names to values, or None", repr(compiler_options))
    options = (layer, loss, optimizer, gradients, precision, accumulate, compiler_options)
    return RowsStep(*options) if isinstance(optimizer, ByRows) else Step(*options)
