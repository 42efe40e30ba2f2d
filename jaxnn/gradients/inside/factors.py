"""The gradient of one example in factors, as a backward pass finds them, and its squared norm from them.

    G = Σ_p a_p b_pᵀ        ‖G‖² = Σ_pq (a_p · a_q) (b_p · b_q)

p runs over the places at which one example uses a weight: one for a dense layer, the positions of a
sequence or an image. With one place this is ‖a‖² ‖b‖², with few it is an inner product of two Gram
matrices, and G itself, (m, n), is never formed. A rule is an op's backward pass that stops before these
sums (jaxnn.gradients.inside.factor_rules); an op without a rule gives G by its own backward pass, example by
example.

Source: Goodfellow (2015), for one place; Rochette, Manoel & Tramel (2019) and Li et al. (2022), section 4,
for several.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.gradients.inside.walk import Record, Watched, weight_gradient
from jaxnn.hand_derived import Op

__all__ = ["Outer", "Patches", "Rows", "Whole", "backward_in_factors", "factor_rule", "squared_norms",
           "weighted_sum"]

# Bytes that the norms of several examples may take at a time: beyond it they are taken in turns. On CPU
# turns of 1 to 100 MB are equally fast; a GPU wants few turns.
TURN_BYTES = 2**25


class Outer(NamedTuple):
    """G = Σ_p a_p b_pᵀ: a (places, m), b (places, n)."""

    a: Any
    b: Any

    @property
    def _by_gram(self) -> bool:
        (places, m), n = self.a.shape, self.b.shape[-1]
        return places * (m + n) < m * n

    @property
    def size(self) -> int:
        """How many numbers its squared norm takes to find."""
        (places, m), n = self.a.shape, self.b.shape[-1]
        return 0 if places == 1 else 2 * places**2 if self._by_gram else m * n

    def joined(self, axes: int) -> "Outer":
        """The same with further axes of places in front, as one."""
        return Outer(*(x.reshape(-1, x.shape[-1]) for x in self))

    def squared(self) -> Any:
        """‖a‖² ‖b‖²; Σ (A Aᵀ)(B Bᵀ) where that is fewer products than G = Aᵀ B; else Σ G²."""
        if self.a.shape[0] == 1:
            return _squared(self.a) * _squared(self.b)
        if not self._by_gram:
            return _squared(_product("pm,pn->mn", self.a, self.b))
        grams = (_product("pm,qm->pq", x, x) for x in self)
        return jnp.maximum(jnp.sum(next(grams) * next(grams)), 0)  # rounding may leave a zero below 0

    def summed(self, weights: Any, like: Any) -> Any:
        """Σ_e w_e G_e over the examples, its first axis: one matrix product."""
        a = self.a * weights.astype(self.a.dtype)[:, None, None]
        return jnp.einsum("epm,epn->mn", a, self.b).reshape(like.shape)


class Patches(NamedTuple):
    """G of a convolution: a_p is the patch of x that the window sees at output position p, b_p is dy_p.

    x (images, height, width, c), dy (images, height out, width out, o); static: (window, stride, padding).
    """

    x: Any
    dy: Any
    static: Any

    @property
    def size(self) -> int:
        window = self.static.value[0]
        places, m, n = math.prod(self.dy.shape[:-1]), math.prod(window) * self.x.shape[-1], self.dy.shape[-1]
        shapes = (jax.ShapeDtypeStruct((places, k), self.x.dtype) for k in (m, n))
        return places * m + Outer(*shapes).size

    def joined(self, axes: int) -> "Patches":
        x, dy = (a.reshape(-1, *a.shape[axes + 1:]) for a in self[:2])
        return Patches(x, dy, self.static)

    def squared(self) -> Any:
        window, stride, pads = self.static.value
        padded = jnp.pad(self.x, ((0, 0), *pads, (0, 0)))
        reach = [(n - 1) * s + 1 for n, s in zip(self.dy.shape[1:-1], stride, strict=True)]
        images, c = self.x.shape[0], self.x.shape[-1]
        seen = [lax.slice(padded, (0, *k, 0), (images, *np.add(k, reach), c), (1, *stride, 1)).reshape(-1, c)
                for k in np.ndindex(*window)]
        return Outer(jnp.concatenate(seen, -1), self.dy.reshape(-1, self.dy.shape[-1])).squared()


class Rows(NamedTuple):
    """G has rows, and row r_p collects b_p: r (places,) integers, b (places, n)."""

    r: Any
    b: Any

    @property
    def size(self) -> int:
        return 2 * self.b.size

    def joined(self, axes: int) -> "Rows":
        return Rows(self.r.reshape(-1), self.b.reshape(-1, self.b.shape[-1]))

    def squared(self) -> Any:
        """‖G‖² = Σ_r ‖Σ_{p: r_p = r} b_p‖². Sorted, equal rows stand together and are summed in a table
        as long as there are places, not as there are rows."""
        order = jnp.argsort(self.r)
        r, b = self.r[order], self.b[order].astype(_wide(self.b))
        is_new = jnp.concatenate([jnp.zeros(1, bool), r[1:] != r[:-1]])
        return _squared(jax.ops.segment_sum(b, jnp.cumsum(is_new), r.shape[0]))

    def summed(self, weights: Any, like: Any) -> Any:
        b = self.b * weights.astype(self.b.dtype)[:, None, None]
        return jnp.zeros(like.shape, b.dtype).at[self.r].add(b, mode="drop", wrap_negative_indices=False)


class Whole(NamedTuple):
    """G itself."""

    g: Any

    @property
    def size(self) -> int:
        return self.g.size

    def joined(self, axes: int) -> "Whole":
        return Whole(jnp.sum(self.g, tuple(range(axes))))

    def squared(self) -> Any:
        return _squared(self.g)

    def summed(self, weights: Any, like: Any) -> Any:
        return jnp.einsum("e,e...->...", weights.astype(self.g.dtype), self.g)


Factor = Outer | Patches | Rows | Whole
Rule = Callable[[Any, Any], tuple[Any, Any]]
_RULES: dict[Op, Rule] = {}


def factor_rule(op: Op) -> Callable[[Rule], Rule]:
    """Registers rule(cache, dy) -> (the factors of dparams in the structure of params, dx) for an op.

    The rule sees one example, as the op's backward pass does, and keeps nothing that is shared by the
    examples. Where the op stands under over_examples inside of an example, the places of all positions
    are put together.
    """
    def register(rule: Rule) -> Rule:
        _RULES[op] = rule
        return rule

    return register


def backward_in_factors(part: Watched, cache: Any, dy: Any) -> tuple[Any, Any]:
    """The backward pass that `walk` takes: (factors, dx), with no factors where there is no rule."""
    rule = _RULES.get(part.op) if "params" in part.uses else None
    if rule is None:
        return None, part.part.backward(cache, dy)[2]
    return rule(cache, dy if "state" in part.op.arguments else dy[0])


def squared_norms(record: Record, params: Any, n_examples: int) -> Any:
    """The squared norms (B,) of each example's gradient, in the structure of the op's params.

    Sums are in float32 at least. Examples are taken in turns where all together would take much memory.

    Args:
      record: walked by `backward_in_factors`; its outermost examples are those of the batch.
      params: the op's, for the structure.
      n_examples: B.
    """
    nothing = jnp.zeros(n_examples)
    wanted: Any = jax.tree.structure(params)
    if record.dy is None:
        return wanted.unflatten([nothing] * wanted.num_leaves)
    batch, factors_of = _one_by_one(record, wanted)
    one = jax.eval_shape(lambda batch: factors_of(jax.tree.map(lambda leaf: leaf[0], batch)), batch)
    turn = TURN_BYTES // max(sum(4 * f.size for f in one if f is not None), 1)

    def squared(own: Any) -> list[Any]:
        return [None if f is None else f.squared() for f in factors_of(own)]

    if turn >= n_examples:  # noqa: SIM108
        mapped = jax.vmap(squared)(batch)
    else:
        mapped = lax.map(squared, batch, batch_size=max(turn, 1))
    return wanted.unflatten([nothing if s is None else s for s in mapped])


def _one_by_one(record: Record, wanted: Any) -> tuple[Any, Callable[[Any], list[Factor | None]]]:
    """What each example has of its own, (B, ...), and from that of one the factors of its leaves."""
    batch_axes, *positions = record.levels
    if record.kept is not None:
        return wanted.flatten_up_to(record.kept), lambda own: [
            None if f is None else f.joined(len(positions)) for f in own]
    tree: Any
    leaves, tree = jax.tree.flatten(record.cache)

    def whole(own_and_dy: Any) -> list[Factor | None]:
        own, dy = iter(own_and_dy[0]), own_and_dy[1]
        one = [leaf if axis is None else next(own) for leaf, axis in zip(leaves, batch_axes, strict=True)]
        dparams = weight_gradient(record.part, tuple(positions), tree.unflatten(one), dy)
        return [None if g is None else Whole(g) for g in _leaves_up_to(wanted, dparams)]

    own = [leaf for leaf, axis in zip(leaves, batch_axes, strict=True) if axis is not None]
    return (own, record.dy), whole


def weighted_sum(record: Record, params: Any, weights: Any) -> Any:
    """Σ_e w_e G_e, in the structure, shapes and dtypes of the op's params; weights (B,)."""
    tree: Any
    leaves, tree = jax.tree.flatten(params)
    if record.dy is None:
        return jax.tree.map(jnp.zeros_like, params)
    factors = None if record.kept is None else tree.flatten_up_to(record.kept)
    if factors is not None and all(f is None or hasattr(f, "summed") for f in factors):
        join = jax.vmap(lambda f: f.joined(len(record.levels) - 1))
        sums = [None if f is None else join(f).summed(weights, leaf)
                for f, leaf in zip(factors, leaves, strict=True)]
    else:
        dy = jax.tree.map(lambda d: d * weights.astype(d.dtype).reshape(-1, *(1,) * (d.ndim - 1)), record.dy)
        sums = _leaves_up_to(tree, weight_gradient(record.part, record.levels, record.cache, dy))
    return tree.unflatten([jnp.zeros_like(leaf) if g is None else g.astype(leaf.dtype)
                           for leaf, g in zip(leaves, sums, strict=True)])


def _leaves_up_to(tree: Any, values: Any) -> list[Any]:
    return [None] * tree.num_leaves if values is None else tree.flatten_up_to(values)


def _wide(x: Any) -> Any:
    return jnp.promote_types(x.dtype, jnp.float32)


def _squared(x: Any) -> Any:
    x = x.astype(_wide(x))
    return jnp.sum(x * x)


def _product(subscripts: str, a: Any, b: Any) -> Any:
    return jnp.einsum(subscripts, a, b, preferred_element_type=_wide(a))
