"""A layer and a loss are any two functions of one example; here are their batches, names and checks.

    layer(params, state, x, key, *, train) -> (y, state)
    loss(prediction, label) -> ()

x, y, prediction and label are trees of arrays. The state that a layer returns is one for all examples: a layer
that updates it from the batch reduces over the axis named "examples", by `jax.lax.pmean` say.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError, accepts, expect
from jaxnn.explicit.recording import record
from jaxnn.hand_derived import EXAMPLES, Op
from jaxnn.network import network

__all__ = ["batch_size", "description", "expect_layer", "expect_loss", "expect_optimizer", "losses_of", "name_of",
           "over_batch", "plain", "refuse_labels"]


def plain(f: Callable) -> Callable:
    """The same function with the references of the ops in it, which have no hand-derived rules."""
    return f.reference if isinstance(f, Op) else network(f).reference


def name_of(f: Any) -> str:
    """The name of an op or a function; of anything else, what `description` gives."""
    return getattr(f, "name", None) or getattr(f, "__name__", None) or description(f)


def description(f: Any) -> str:
    """`repr` without addresses, so that it is the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(f))


def over_batch(layer: Callable, params: Any, state: Any, x: Any, keys: Any, *, train: bool) -> tuple[Any, Any]:
    """(y, state) of a batch: x (B, ...), a key for each example or None, y (B, ...).

    Raises:
      InputError: the layer does not return a pair, or its state differs from example to example.
    """
    def one(params: Any, state: Any, x: Any, key: Any) -> tuple[Any, Any]:
        out = layer(params, state, x, key, train=train)
        expect(isinstance(out, tuple) and len(out) == 2, name_of(layer), "to return the pair (y, state)",
               type(out).__name__, "return (y, state), with {} for a state that is empty")
        return out

    try:
        return jax.vmap(one, in_axes=(None, None, 0, 0), out_axes=(0, None), axis_name=EXAMPLES)(
            params, state, x, keys)
    except ValueError as error:
        if isinstance(error, InputError) or "out_axes" not in str(error):
            raise
        raise InputError(name_of(layer), "expects to return one state for all examples; got one for each; average "
                         f"it over the batch: jax.lax.pmean(..., '{EXAMPLES}')") from error


def losses_of(loss: Callable, predictions: Any, labels: Any) -> jax.Array:
    """The loss of each example, (B,).

    Raises:
      InputError: the loss of an example is not one floating-point number.
    """
    values = jax.vmap(loss)(predictions, labels)
    is_number = isinstance(values, jax.Array) and values.ndim == 1 and jnp.issubdtype(values.dtype, jnp.floating)
    if not is_number:
        shapes = jax.tree.map(lambda v: f"{v.dtype}{list(v.shape[1:])}", values)
        expect(False, "make_step", f"a loss with one floating-point number, of shape (), for each example from "
               f"'{name_of(loss)}'", str(shapes), "return one number, such as the mean: jnp.mean(...)")
    return values


def batch_size(x: Any, labels: Any) -> int:
    """The number of examples, which all leaves agree on. labels may be an empty tree: None, ()."""
    sizes = [set(map(_leading_size, jax.tree.leaves(tree))) for tree in (x, labels)]
    if len(sizes[0]) != 1 or 0 in sizes[0]:
        expect(False, "step", "x with a leading axis of at least one example, alike in all leaves",
               str(jax.tree.map(np.shape, x)))
    if sizes[1] and sizes[0] != sizes[1]:
        expect(False, "step", f"as many labels as there are examples, {max(sizes[0])}",
               str(jax.tree.map(np.shape, labels)))
    return sizes[0].pop()


def _leading_size(leaf: Any) -> int:
    shape: tuple[int, ...] = leaf.shape if hasattr(leaf, "shape") else np.shape(leaf)
    return shape[0] if shape else 0


def expect_optimizer(who: str, optimizer: Any) -> None:
    """Raises InputError unless the optimizer is an optax transformation."""
    expect(hasattr(optimizer, "init") and hasattr(optimizer, "update"), who, "an optax transformation as optimizer",
           type(optimizer).__name__, "call it: optax.adam(1e-3)" if callable(optimizer) else "")


def refuse_labels(loss: Callable, predictions: Any, labels: Any, n: Any) -> None:
    """Lets a loss refuse the values of labels, which it does not see once it is compiled: a class out of range, say.

    Args:
      predictions: of any batch, for the shapes; nothing is computed.
      labels: (B, ...), of which the first n count; or (steps, B, ...), and n (steps,).
    Raises:
      InputError: the loss refuses them.
    """
    leaves = jax.tree.leaves((labels, n))
    if len(leaves) < 2 or any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
        return
    # Those of a batch that is spread over processes are nowhere whole; fit says of a cost that is NaN what it finds.
    if any(isinstance(leaf, jax.Array) and not leaf.is_fully_addressable for leaf in leaves):
        return
    size = np.shape(leaves[0])[np.ndim(n)]
    counts = np.arange(size) < np.expand_dims(n, -1)
    with jax.ensure_compile_time_eval():
        labels = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[counts]), labels)
    like = jax.tree.map(lambda y: jax.ShapeDtypeStruct((int(counts.sum()), *jnp.shape(y)[1:]), y.dtype), predictions)
    try:
        # With the references of the ops, which see the values; a rule would trace its forward pass apart.
        record(lambda y: jax.vmap(loss)(y, labels), (like,), references=True)
    except InputError:
        raise
    except Exception:  # of another kind: the loss itself will say what there is
        return


def expect_layer(who: str, layer: Any) -> None:
    """Raises InputError unless the layer can be called as layer(params, state, x, key, train=True)."""
    expect(accepts(layer, 4, train=True), who, "a layer, called as layer(params, state, x, key, train=True)",
           _described(layer), "put ops into Sequential(...), or write a function with these arguments")


def expect_loss(who: str, loss: Any) -> None:
    """Raises InputError unless the loss can be called as loss(prediction, label)."""
    expect(accepts(loss, 2), who, "a loss, called as loss(prediction, label)", _described(loss),
           "write a function of the prediction and the label of one example")


def _described(f: Any) -> str:
    if isinstance(f, Op):
        return f"'{f.name}' of ({', '.join(f.arguments)})"
    if not callable(f) or isinstance(f, type):
        return f"the class {f.__name__}" if isinstance(f, type) else type(f).__name__
    return f"'{name_of(f)}' of {inspect.signature(f)}"
