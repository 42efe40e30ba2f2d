"""What a training step refuses: arguments that JAX would refuse in other words, or take for something else."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_arrays, is_integer, known
from jaxnn.hand_derived import expect_held
from jaxnn.training.tracing import path_of
from jaxnn.training.train_state import TrainState, expect_train_state

__all__ = ["expect_call", "expect_counts", "expect_own_state"]


def expect_call(train_state: Any, x: Any, labels: Any) -> None:
    """Refuses what JAX would refuse in other words, or take for something else. It is asked at every step."""
    expect_train_state("step", train_state)
    for name, tree in (("x", x), ("labels", labels)):
        expect_arrays("step", name, tree)
        for leaf in jax.tree.leaves(tree):
            if isinstance(leaf, np.ndarray):
                expect_held("step", name, leaf)


def expect_counts(n: Any, shape: tuple[int, ...], size: int) -> None:
    """Raises InputError unless n is of this shape, and each a number of examples in 1 .. size."""
    is_integers = is_integer(n) or (hasattr(n, "dtype") and jnp.issubdtype(n.dtype, jnp.integer))
    is_count = is_integers and np.shape(n) == shape
    values = known(n) if is_count else None
    expect(is_count and (values is None or bool(np.all((values >= 1) & (values <= size)))), "step",
           f"n, of shape {shape}, in 1 .. {size}, the examples of the batch",
           str(n) if np.shape(n) == shape else f"shape {np.shape(n)}")


def expect_own_state(optimizer: Any, train_state: TrainState) -> None:
    """Raises InputError unless the optimizer's state has the structure and shapes of those that it makes."""
    try:
        own = jax.eval_shape(optimizer.init, train_state.params)
    except jax.errors.ConcretizationTypeError:  # it looks at values, and cannot be asked
        return
    structures: list[Any] = [jax.tree.structure(tree) for tree in (own, train_state.opt_state)]
    expected, actual = ({path_of(path): list(jnp.shape(leaf)) for path, leaf
                         in jax.tree_util.tree_flatten_with_path(tree)[0]} for tree in (own, train_state.opt_state))
    changes = [f"'{path}' is {actual.get(path, 'missing')}, not {expected.get(path, 'there')}"
               for path in {**expected, **actual} if expected.get(path) != actual.get(path)]
    expect(structures[0] == structures[1] and not changes, "step", "the state of its own optimizer",
           ", ".join(changes[:5]) or f"{structures[1]} in place of {structures[0]}",
           "give start and make_step the same optimizer")
