"""The gradient of one example in factors, as a backward pass finds them, and its squared norm from them.

    G = Σ_p a_p b_pᵀ        ‖G‖² = Σ_pq (a_p · a_q) (b_p · b_q)

p runs over the places at which one example uses a weight: one for a dense layer, the positions of a
sequence or an image. With one place this is ‖a‖² ‖b‖², with few it is an inner product of two Gram
matrices, and G itself, (m, n), is never formed. A rule is an op's backward pass that stops before these
sums (jaxnn.inside.factor_rules); an op without a rule gives G by its own backward pass.

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

from jaxnn.cotangents import is_inexact
from jaxnn.explicit.call import Call, Level
from jaxnn.hand_derived import Op
from jaxnn.ops.conv import conv

__all__ = ["Factor", "Outer", "Patches", "Rows", "Whole", "factor_rule", "factors_and_rest", "has_rule", "n_params",
           "norm_of", "power_of_two"]


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
        """Σ (A Aᵀ)(B Bᵀ) where that is fewer products than G = Aᵀ B; else Σ G²."""
        if not self._by_gram:
            return _squared(_product("pm,pn->mn", self.a, self.b))
        grams = (_product("pm,qm->pq", x, x) for x in self)
        return jnp.maximum(jnp.sum(next(grams) * next(grams)), 0)  # rounding may leave a zero below 0

    def summed(self, weights: Any, like: Any) -> Any:
        """Σ_e w_e G_e over the examples, the first axis: one matrix product over all places of all examples."""
        a, b = (x.reshape(-1, x.shape[-1]) for x in (_times(weights, self.a), self.b))
        return jnp.einsum("pm,pn->mn", a, b).reshape(like.shape)


class Patches(NamedTuple):
    """G of a convolution: a_p is the patch of x that the window sees at output position p, b_p is dy_p.

    x (images, height, width, c), dy (images, height out, width out, o); static: (window, a Geometry without groups).
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
        window, geometry = self.static.value
        stride, dilation = geometry.stride, geometry.dilation
        padded = lax.pad(self.x, jnp.zeros((), self.x.dtype), [(0, 0, 0), *((*p, 0) for p in geometry.pads), (0, 0, 0)])
        reach = [(n - 1) * s + 1 for n, s in zip(self.dy.shape[1:-1], stride, strict=True)]
        images, c = self.x.shape[0], self.x.shape[-1]
        starts = [tuple(a * d for a, d in zip(k, dilation, strict=True)) for k in np.ndindex(*window)]
        patches = [lax.slice(padded, (0, *k, 0), (images, *np.add(k, reach), c), (1, *stride, 1)).reshape(-1, c)
                for k in starts]
        return Outer(jnp.concatenate(patches, -1), self.dy.reshape(-1, self.dy.shape[-1])).squared()

    def summed(self, weights: Any, like: Any) -> Any:
        """Σ_e w_e G_e by one convolution over all images, which needs no patches."""
        _, geometry = self.static.value
        x, dy = (a.reshape(-1, *a.shape[2:]) for a in (self.x, _times(weights, self.dy)))

        def of_kernel(kernel: Any) -> Any:
            return jax.vmap(lambda x: conv({"kernel": kernel}, x, stride=geometry.stride, padding=geometry.pads,
                                           dilation=geometry.dilation))(x)

        _, pull_back = jax.vjp(of_kernel, jnp.zeros(like.shape, x.dtype))
        return pull_back(dy)[0]


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
        b = _times(weights, self.b.astype(_wide(self.b)))
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
        return jnp.sum(_times(weights, self.g), 0)


Factor = Outer | Patches | Rows | Whole
Rule = Callable[[Any, Any], tuple[Any, tuple[Any, ...]]]
_RULES: dict[Op, Rule] = {}


def factor_rule(op: Op) -> Callable[[Rule], Rule]:
    """Registers rule(cache, dy) -> (the factors of dparams by the names of params, the cotangents of the other
    arguments) for an op whose first argument is a mapping of params.

    The rule is given one example, as the op's backward pass is, and keeps nothing that the examples share.
    """
    def register(rule: Rule) -> Rule:
        _RULES[op] = rule
        return rule

    return register


def has_rule(call: Call) -> bool:
    """Whether an op's params, shared by all positions of an example, have their gradient in factors."""
    n = n_params(call)
    return call.op in _RULES and all(axis is None for level in call.levels for axis in level.args[:n])


def n_params(call: Call) -> int:
    """How many leaves the op's first argument has."""
    return len(jax.tree.leaves(jax.tree.unflatten(call.tree, call.avals)[0]))


def factors_and_rest(call: Call, cache: list[Any], dy: list[Any]) -> tuple[list[Factor | None], list[Any]]:
    """The factors of the leaves of params, with the places of all positions put together, and the cotangents of the
    other leaves."""
    smooth = [i for i, aval in enumerate(call.y_avals) if is_inexact(aval)]
    arguments = jax.tree.unflatten(call.tree, call.avals)

    def one(cache: list[Any], dy: list[Any]) -> Any:
        given = dict(zip(smooth, dy, strict=True))
        dy_tree = jax.tree.unflatten(call.y_tree, [given.get(i) for i in range(len(call.y_avals))])
        factors, rest = _RULES[call.op](call.cache_of(cache), dy_tree)
        flat = [leaf for arg, cotangent in zip(arguments[1:], rest, strict=True)
                for leaf in _leaves_up_to(jax.tree.structure(arg), cotangent)]
        names = [path[0].key for path, _ in jax.tree_util.tree_leaves_with_path(arguments[0])]
        return [factors.get(name) for name in names], flat

    axes_of_rest = [[level.args[i] for i in range(n_params(call), len(call.avals))] for level in call.levels]
    each = one
    for level, axes in zip(call.levels, axes_of_rest, strict=True):
        each = _over(each, level, [level.value[i] for i in smooth], axes)
    factors, rest = each(cache, [dy[i] for i in smooth])
    return [None if f is None else f.joined(len(call.levels)) for f in factors], rest


def _over(inner: Callable, level: Level, values: list[Any], axes: list[Any]) -> Callable:
    def outer(cache: list[Any], dy: list[Any]) -> Any:
        dy = [d / level.size if axis is None else d for d, axis in zip(dy, values, strict=True)]
        factors, rest = level.map(inner, (list(level.cache), values), 0)(cache, dy)
        return factors, [None if c is None else jnp.sum(c, 0) if axis is None else jnp.moveaxis(c, 0, axis)
                         for c, axis in zip(rest, axes, strict=True)]

    return outer


def _leaves_up_to(tree: Any, values: Any) -> list[Any]:
    return [None] * tree.num_leaves if values is None else tree.flatten_up_to(values)


def norm_of(factor: Factor) -> Any:
    """‖G‖. Each array is measured in units of its own size, a power of two, which rounds nothing: the square of a
    norm of 2e19 overflows float32, and that of 1e-23 is 0."""
    if isinstance(factor, Outer) and factor.a.shape[0] == 1:
        # ‖a‖ ‖b‖. As vectors: where b is also a bias's gradient, the compiled program finds its norm once.
        return norm_of(Whole(factor.a[0])) * norm_of(Whole(factor.b[0]))
    units: list[Any] = []

    def in_units(a: Any) -> Any:
        if not is_inexact(a):
            return a
        unit = power_of_two(a)
        units.append(unit)
        return a.astype(unit.dtype) / unit

    if isinstance(factor, Rows | Whole):
        arrays = {"b": in_units(factor.b)} if isinstance(factor, Rows) else {"g": in_units(factor.g)}
    else:
        arrays = {name: in_units(getattr(factor, name)) for name in factor._fields[:2]}
    norm = jnp.sqrt(factor._replace(**arrays).squared())
    for unit in units:
        norm = norm * unit
    return norm


def power_of_two(x: Any, axis: int | None = None) -> Any:
    """The power of two just above the largest |x|, in at least float32; 1 where that is 0, infinite or NaN."""
    largest = jnp.max(jnp.abs(x.astype(_wide(x))), axis, initial=0)
    _, exponent = jnp.frexp(largest)
    usable = (largest > 0) & jnp.isfinite(largest)
    # Less than the largest exponent, so that the power is a number.
    power = jnp.ldexp(jnp.ones_like(largest), jnp.minimum(exponent, jnp.finfo(largest.dtype).maxexp - 1))
    return jnp.where(usable, power, 1)


def _times(weights: Any, x: Any) -> Any:
    return x * weights.astype(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))


def _wide(x: Any) -> Any:
    return jnp.promote_types(x.dtype, jnp.float32)


def _squared(x: Any) -> Any:
    x = x.astype(_wide(x))
    return jnp.sum(x * x)


def _product(subscripts: str, a: Any, b: Any) -> Any:
    return jnp.einsum(subscripts, a, b, preferred_element_type=_wide(a))
