"""Frozen parameters: they keep their values, and their gradient is not computed.

    optimizer = freeze(optax.adam(1e-3), {"body": True, "head": False})     # one bool for a whole subtree
    optimizer = freeze(optax.adam(1e-3), lambda params: ...)                # or a function that makes such a tree

The mask becomes a part of the optimiser's state, as a constant without arrays. There the step reads which leaves
it differentiates, and so it works within `loss_scaled`, `with_average` and `optax.chain` too.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn.checks import InputError, expect
from jaxnn.hand_derived import Static
from jaxnn.training.functions import expect_optimizer

__all__ = ["FrozenState", "freeze", "frozen_in", "moving_leaves", "of_other_leaves", "with_moving_leaves"]


class FrozenState(NamedTuple):
    """inner: the state of the optimizer of the other leaves; frozen: a bool for each leaf, in the tree's order."""

    inner: Any
    frozen: Static


def freeze(optimizer: optax.GradientTransformation, mask: Any) -> optax.GradientTransformationExtraArgs:
    """The optimizer, moving only the leaves that the mask does not freeze.

    A step of `make_step` neither computes a gradient of frozen leaves nor touches them. The gradient's norm is
    that of the others, and the optimizer keeps no state for them. Running statistics are no parameters: those of
    a frozen batch norm still follow the batches.

    Args:
      optimizer: an optax transformation.
      mask: True where frozen: a tree of bools like the parameters, or a prefix of it, or a function
        params -> such a tree.
    Raises:
      InputError: from `init`, if the mask does not fit the parameters, holds anything but bools, or freezes all.
    """
    return of_other_leaves("freeze", optimizer, mask, at_least_one=True)


def of_other_leaves(who: str, optimizer: optax.GradientTransformation, mask: Any, *,
                    at_least_one: bool) -> optax.GradientTransformationExtraArgs:
    """The optimizer of the leaves that the mask is False for. at_least_one: whether there must be any."""
    expect_optimizer(who, optimizer)
    inner = optax.with_extra_args_support(optimizer)

    def moving_part(frozen: Sequence[bool], params: Any) -> optax.GradientTransformationExtraArgs:
        return optax.masked(inner, jax.tree.unflatten(jax.tree.structure(params), [not f for f in frozen]))

    def init(params: Any) -> FrozenState:
        frozen = _mask_leaves(who, mask, params)
        expect(not at_least_one or not all(frozen), who, "a mask that leaves a parameter to train",
               f"all {len(frozen)} frozen")
        return FrozenState(moving_part(frozen, params).init(params), Static(frozen))

    def update(grads: Any, opt_state: FrozenState, params: Any = None, **extra: Any) -> tuple[Any, FrozenState]:
        frozen: Any = opt_state.frozen.value
        updates, inner_state = moving_part(frozen, grads).update(grads, opt_state.inner, params, **extra)
        zeros = jax.tree.map(jnp.zeros_like, grads if params is None else params)
        return with_moving_leaves(zeros, frozen, moving_leaves(updates, frozen)), opt_state._replace(inner=inner_state)

    return optax.GradientTransformationExtraArgs(init, update)


def _mask_leaves(who: str, mask: Any, params: Any) -> tuple[bool, ...]:
    # A module of Equinox can be called and is a tree nevertheless: only a leaf is a function of params.
    is_function: bool = callable(mask) and jax.tree_util.all_leaves([mask])
    prefix: Any = mask(params) if is_function else mask
    try:
        leaves = jax.tree.leaves(jax.tree.broadcast(prefix, params))
    except ValueError as error:
        raise InputError(who, f"expects a mask like the parameters, or a prefix of them; got {prefix!r} for "
                         f"{jax.tree.structure(params)}; {str(error).splitlines()[0]}") from error
    others = [leaf for leaf in leaves if not isinstance(leaf, bool | np.bool_)]
    expect(not others, who, f"a mask of bools, True {'where frozen' if who == 'freeze' else 'for a table'}",
           f"{type(others[0]).__name__}" if others else "")
    return tuple(map(bool, leaves))


def frozen_in(opt_state: Any, params: Any) -> tuple[bool, ...]:
    """Which leaves of the parameters are frozen by an optimizer with this state.

    Raises:
      InputError: the optimizer has several masks, or one for another tree than all parameters.
    """
    found = [leaf for leaf in jax.tree.leaves(opt_state, is_leaf=lambda s: isinstance(s, FrozenState))
             if isinstance(leaf, FrozenState)]
    n = len(jax.tree.leaves(params))
    if not found:
        return (False,) * n
    expect(len(found) == 1, "freeze", "to be used once in an optimizer", f"{len(found)} times", "join the masks")
    frozen: Any = found[0].frozen.value
    expect(len(frozen) == n, "freeze", f"a mask of all {n} parameters", f"{len(frozen)} of them",
           "write freeze(...) around transformations of a part of the parameters, not within")
    return tuple(frozen)


def moving_leaves(tree: Any, frozen: Sequence[bool]) -> list[Any]:
    """The leaves that are not frozen."""
    return [leaf for leaf, is_frozen in zip(jax.tree.leaves(tree), frozen, strict=True) if not is_frozen]


def with_moving_leaves(tree: Any, frozen: Sequence[bool], leaves: Sequence[Any]) -> Any:
    """The tree with these in place of its leaves that are not frozen."""
    remaining = iter(leaves)
    return jax.tree.unflatten(jax.tree.structure(tree), [
        leaf if is_frozen else next(remaining) for leaf, is_frozen in zip(jax.tree.leaves(tree), frozen, strict=True)])
