"""The mesh axes over which a value varies: inside `shard_map` they are a part of its type.

JAX refuses to add a value that is the same on all devices to one that differs from device to device, and a loop whose
carry is the one before the loop and the other after it. So each array that is made anew, a zero or a shape to trace
with, takes the mesh axes of the array for which it stands. Outside of `shard_map` there are none.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

__all__ = ["agree_on_varying_axes", "shape_like", "varying_like", "zeros_like_aval"]


def agree_on_varying_axes(args: tuple) -> tuple:
    """Inside `shard_map` an op's arguments must vary over the same mesh axes.

    A replicated weight that meets a sharded example is cast to vary; the cast transposes to the sum
    over devices, which sums the weight's gradient.
    """
    leaves, tree = jax.tree.flatten(args)
    union = frozenset[str]().union(*map(_varying_axes, leaves))
    return jax.tree.unflatten(tree, [_cast(x, union) for x in leaves]) if union else args


def varying_like(x: Any, aval: Any) -> Any:
    """x, cast to vary over the mesh axes that aval varies over too. aval: an array, a tracer or an abstract value."""
    return _cast(x, _varying_axes(aval))


def zeros_like_aval(aval: Any) -> Any:
    """Zeros of an abstract value's shape and dtype, which vary over its mesh axes."""
    return varying_like(jnp.zeros(aval.shape, aval.dtype), aval)


def shape_like(aval: Any, shape: tuple[int, ...]) -> Any:
    """An abstract value of another shape, which varies over the same mesh axes."""
    if not _varying_axes(aval):
        return jax.ShapeDtypeStruct(shape, aval.dtype)
    whole = NamedSharding(aval.sharding.mesh, PartitionSpec(*(None,) * len(shape)))
    return aval.update(shape=shape, sharding=whole)


def _varying_axes(x: Any) -> frozenset[str]:
    aval = x if hasattr(x, "manual_axis_type") else jax.typeof(x)
    return getattr(getattr(aval, "manual_axis_type", None), "varying", frozenset())


def _cast(x: Any, axes: frozenset[str]) -> Any:
    missing = axes - _varying_axes(x) if axes else axes
    return lax.pcast(x, tuple(sorted(missing)), to="varying") if missing else x
