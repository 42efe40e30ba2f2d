"""A stage over the examples of a batch.

    y_b = f(params, x_b) for each example b        dparams = Σ_b (∂y_b/∂params)ᵀ dy_b
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxnn.checks import expect
from jaxnn.hand_derived import EXAMPLES, Op, Static
from jaxnn.lifting import push_forward
from jaxnn.stage import Narrowed, Stage, stage

__all__ = ["OverExamples", "over_examples_op"]


def over_examples_op(op: Op) -> Op:
    """The op over a batch: x gets a leading axis, params and state are shared."""
    return Narrowed(OverExamples(stage(op)))


@dataclasses.dataclass(frozen=True)
class OverExamples(Stage):
    """A stage over the leading axis of x, by `vmap` over the axis named "examples".

    Params and state are shared, each example gets a key of its own. The explicit backward does not
    sum per-example gradients: it transposes the batch's push-forward, in which the weights' tangent
    is one for all, so that dparams = Σ_b is one matrix product.
    """

    part: Stage

    @property
    def name(self) -> str:
        return f"over_examples({self.part.name})"

    @property
    def uses(self) -> frozenset[str]:
        return self.part.uses

    def _split(self, x: Any, key: Any) -> tuple[Any, Any, int | None]:
        x = jax.tree.map(jnp.asarray, x)  # JAX cannot map a NumPy array that a jit function holds
        sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else 0 for leaf in jax.tree.leaves(x)}
        if len(sizes) != 1 or 0 in sizes:
            expect(False, self.name, "x with a leading axis of at least one example, alike in all leaves",
                   str(jax.tree.map(jnp.shape, x)))
        if key is None or "key" not in self.uses:
            return x, None, None
        return x, jax.random.split(key, sizes.pop()), 0

    def run(self, face, params, state, x, key):
        x, keys, axis = self._split(x, key)
        one = jax.vmap(lambda p, s, x, k: self.part.run(face, p, s, x, k), axis_name=EXAMPLES,
                       in_axes=(None, None, 0, axis), out_axes=(0, None))
        return one(params, state, x, keys)

    def forward(self, params, state, x, key=None):
        x, keys, axis = self._split(x, key)
        mark = _Batched()

        def one(params, state, x, key):
            out, cache = self.part.forward(params, state, x, key)
            leaves, tree = jax.tree.flatten(cache)
            return out, mark(leaves, tree)

        def batch(cache_axes):
            return jax.vmap(one, in_axes=(None, None, 0, axis), out_axes=((0, None), cache_axes),
                            axis_name=EXAMPLES)(params, state, x, keys)

        jax.eval_shape(lambda: batch(0))  # finds which leaves of the cache belong to single examples
        axes = tuple(0 if b else None for b in mark.batched)
        out, leaves = batch(list(axes))
        return out, (leaves, Static((mark.tree, axes)))

    def backward(self, cache, dy):
        leaves, static = cache
        tree, axes = static.value
        dy = dy[0]

        def pull_back(leaves: list[Any], dy: Any) -> tuple[Any, Any]:
            dparams, _, dx, _ = self.part.backward(jax.tree.unflatten(tree, leaves), (dy, None))
            return dparams, dx

        one = jax.vmap(pull_back, in_axes=(list(axes), 0), axis_name=EXAMPLES)
        shapes, cotangents = jax.tree.flatten(jax.eval_shape(one, leaves, dy))
        shapes = [jax.ShapeDtypeStruct(s.shape[1:], s.dtype) for s in shapes]
        dparams_and_dx = jax.tree.unflatten(cotangents, range(len(shapes)))
        is_x = [i in jax.tree.leaves(dparams_and_dx[1]) for i in range(len(shapes))]
        n = jax.tree.leaves(dy)[0].shape[0]
        wanted = [jax.ShapeDtypeStruct((n, *s.shape), s.dtype) if b else s
                  for s, b in zip(shapes, is_x, strict=True)]

        def push(tangents: list[Any]) -> Any:
            def push_one(leaves: list[Any], y: Any, tangents: list[Any]) -> Any:
                flat = lambda dy: jax.tree.leaves(pull_back(leaves, dy))  # noqa: E731
                return push_forward(self.name, flat, y)(tangents)

            return jax.vmap(push_one, in_axes=(list(axes), 0, [0 if b else None for b in is_x]),
                            axis_name=EXAMPLES)(leaves, dy, tangents)

        (flat,) = jax.linear_transpose(push, wanted)(jax.tree.leaves(dy))
        dparams, dx = jax.tree.unflatten(cotangents, flat)
        return dparams, None, dx, None


class _Batched:
    """Records, while a function is traced under `vmap`, which leaves differ between examples."""

    def __init__(self) -> None:
        self.batched: list[bool] = []
        self.tree: Any = None

    def __call__(self, leaves: list[Any], tree: Any) -> list[Any]:
        if self.tree is not None:
            return leaves
        self.tree, self.batched = tree, [False] * len(leaves)
        return [self._watch(i, leaf) for i, leaf in enumerate(leaves)]

    def _watch(self, i: int, leaf: Any) -> Any:
        @custom_vmap
        def watched(leaf):
            return leaf

        @watched.def_vmap
        def rule(axis_size, in_batched, leaf):
            self.batched[i] = bool(jax.tree.leaves(in_batched)[0])
            return leaf, in_batched[0]

        return watched(leaf)
