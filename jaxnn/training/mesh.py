"""Many devices: a mesh with the axes "data" and "model", and where arrays lie on it.

    mesh = make_mesh(data=4, model=2)
    train_state = shard(train_state, mesh)               # parameters on every device: data parallel
    train_state = shard(train_state, mesh, fully=True)   # parameters, and what the optimiser keeps, in pieces
    train_state, history = fit(train_state, step, batches, steps=1000, mesh=mesh)

Each batch is spread over "data". The step is the same program as on one device: the compiler puts in the
communication, and the mean over the batch stays the mean over the whole batch.
"""

import math
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxnn.checks import expect, expect_arrays, expect_bool, is_integer

__all__ = ["Layout", "make_mesh", "place", "shard", "sharding_of"]


def make_mesh(data: int | None = None, model: int = 1) -> Mesh:
    """A mesh of data x model devices, of all processes; data=None takes all there are.

    Raises:
      InputError: there are fewer devices, or a size is not positive.
    """
    n = jax.device_count()
    for name, size in (("data", data), ("model", model)):
        expect((size is None and name == "data") or is_integer(size, 1), "make_mesh",
               f"{name}, a positive number of devices", repr(size))
    if data is None:
        expect(n % model == 0, "make_mesh", f"model, a divisor of the {n} devices", str(model))
        data = n // model
    expect(data * model <= n, "make_mesh", f"at most the {n} devices there are", f"{data} x {model}",
           "jax.config.update('jax_num_cpu_devices', 8) before JAX is used gives virtual ones")
    return jax.make_mesh((data, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2,
                         devices=jax.devices()[:data * model])


def sharding_of(shape: tuple[int, ...], mesh: Mesh, *, fully: bool) -> NamedSharding:
    """Where an array of this shape lies. Fully sharded, its longest axis that "data" divides is cut over
    "data", and the longest of the others that "model" divides over "model"; what none divides is copied."""
    spec: list[str | None] = [None] * len(shape)
    if fully:
        for name in ("data", "model"):
            n = mesh.shape[name]
            free = [i for i, size in enumerate(shape) if spec[i] is None and size % n == 0 and size >= n]
            if n > 1 and free:
                spec[max(free, key=lambda i: shape[i])] = name
    return NamedSharding(mesh, PartitionSpec(*spec))


def shard(tree: Any, mesh: Mesh, *, fully: bool = False) -> Any:
    """The tree, such as a TrainState, on the devices of the mesh: copied, or with `fully` in pieces."""
    expect(isinstance(mesh, Mesh), "shard", "a mesh, made by make_mesh", repr(mesh))
    expect_bool("shard", "fully", fully)
    expect_arrays("shard", "the tree", tree)
    return jax.tree.map(lambda a: _put(a, sharding_of(np.shape(a), mesh, fully=fully)), tree)


class Layout(NamedTuple):
    """Where the parameters lie, and where a step wants them: in one piece along "data", for there each
    device has examples of its own. The gradients go back to where the parameters lie."""

    own: Any
    whole: Any

    @classmethod
    def of(cls, params: Any) -> "Layout":
        own = jax.tree.map(lambda a: a.sharding, params)
        return cls(own, jax.tree.map(_whole_along_data, own))

    def gathered(self, params: Any) -> Any:
        return jax.lax.with_sharding_constraint(params, self.whole)

    def cut(self, grads: Any) -> Any:
        return jax.lax.with_sharding_constraint(grads, self.own)


def _whole_along_data(sharding: Any) -> Any:
    if not isinstance(sharding, NamedSharding):
        return sharding
    return NamedSharding(sharding.mesh, PartitionSpec(*[None if name == "data" else name for name in sharding.spec]))


def place(batch: Any, mesh: Mesh | None, *, axis: int = 0) -> Any:
    """The batch with its examples, along `axis`, spread over "data"; as it is without a mesh.

    Every process gives the whole batch and keeps its part.
    Raises:
      InputError: the number of examples is not a multiple of the devices along "data".
    """
    if mesh is None:
        return batch
    n = mesh.shape["data"]
    for leaf in jax.tree.leaves(batch):
        expect(np.shape(leaf)[axis] % n == 0, "place", f"a batch whose size the {n} devices along 'data' divide",
               str(np.shape(leaf)[axis]), f"take {math.ceil(np.shape(leaf)[axis] / n) * n}")
    sharding = NamedSharding(mesh, PartitionSpec(*[None] * axis, "data"))
    return jax.tree.map(lambda a: _put(a, sharding), batch)


def _put(leaf: Any, sharding: NamedSharding) -> Any:
    if sharding.is_fully_addressable:
        return jax.device_put(leaf, sharding)
    if hasattr(leaf, "dtype") and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = _put(jax.random.key_data(leaf), NamedSharding(sharding.mesh, PartitionSpec()))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    host = np.asarray(leaf)
    return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
