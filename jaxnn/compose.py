"""Ops compose into ops: the chain rule walked backward through the caches, by hand.

Each combinator over stages has the four faces of an op, so that a whole network has `forward`,
`backward` and `reference`, and is compared with `jax.grad` like a single activation.

    chain      x -> f₁ -> f₂ -> ... -> y              dx = J₁ᵀ J₂ᵀ ... dy
    residual   y = body(x) + shortcut(x)              dx = J_bodyᵀ dy + J_shortcutᵀ dy
    parallel   y = (f₁(x), f₂(x), ...)                dx = Σᵢ Jᵢᵀ dyᵢ
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, at, expect
from jaxnn.hand_derived import Op
from jaxnn.stage import Identity, Narrowed, Stage, stage

__all__ = ["Chain", "Parallel", "Residual", "Several", "chain", "parallel", "residual"]


@dataclasses.dataclass(frozen=True)
class Several(Stage):
    """What the combinators share: parts, each with its entry of params and state and its own key.

    Params and state are tuples in the order of the parts, or dicts if the parts have names; () where
    no part has any.
    """

    parts: tuple[Stage, ...]
    names: tuple[str, ...] | None = None

    @property
    def name(self) -> str:
        return f"{type(self).__name__.lower()}({', '.join(p.name for p in self.parts)})"

    @property
    def uses(self) -> frozenset[str]:
        return frozenset({"x"}).union(*(p.uses for p in self.parts))

    @property
    def labels(self) -> tuple[str, ...]:
        return self.names or tuple(map(str, range(len(self.parts))))

    def pack(self, what: str, entries: Sequence[Any]) -> Any:
        if what not in self.uses:
            return ()
        return tuple(entries) if self.names is None else dict(zip(self.names, entries, strict=True))

    def entries(self, what: str, tree: Any) -> list[Any]:
        if what not in self.uses:
            return [()] * len(self.parts)
        is_named = isinstance(tree, dict)
        fits = (set(tree) == set(self.names) if is_named and self.names
                else isinstance(tree, tuple | list) and not self.names and len(tree) == len(self.parts))
        if not fits:
            wanted = (f"a dict with keys {list(self.names)}" if self.names
                      else f"a tuple of {len(self.parts)} entries, one for each part")
            came = f"keys {list(tree)}" if is_named else (
                f"{len(tree)} entries" if isinstance(tree, tuple | list) else type(tree).__name__)
            expect(False, self.name, f"{what} to be {wanted}", came)
        return [tree[name] for name in self.names] if self.names else list(tree)

    def _keys(self, key: Any) -> list[Any]:
        random = [p for p, part in enumerate(self.parts) if "key" in part.uses]
        keys: list[Any] = [None] * len(self.parts)
        if key is not None and random:
            for p, k in zip(random, jax.random.split(key, len(random)), strict=True):
                keys[p] = k
        return keys

    def _each(self, params: Any, state: Any, key: Any) -> list[tuple]:
        return list(zip(self.labels, self.parts, self.entries("params", params),
                        self.entries("state", state), self._keys(key), strict=True))


class Chain(Several):
    """Parts one after another."""

    def run(self, face, params, state, x, key):
        states = []
        for label, part, p, s, k in self._each(params, state, key):
            with at(label):
                x, s = part.run(face, p, s, x, k)
            states.append(s)
        return x, self.pack("state", states)

    def forward(self, params, state, x, key=None):
        states, caches = [], []
        for label, part, p, s, k in self._each(params, state, key):
            with at(label):
                (x, s), cache = part.forward(p, s, x, k)
            states.append(s)
            caches.append(cache)
        return (x, self.pack("state", states)), tuple(caches)

    def backward(self, cache, dy):
        dx, dparams = dy[0], []
        for part, part_cache in zip(reversed(self.parts), reversed(cache), strict=True):
            dparam, _, dx, _ = part.backward(part_cache, (dx, None))
            dparams.append(dparam)
        return self.pack("params", dparams[::-1]), None, dx, None


class Parallel(Several):
    """Parts side by side on the same x; y is the tuple of their values."""

    def run(self, face, params, state, x, key):
        out = []
        for label, part, p, s, k in self._each(params, state, key):
            with at(label):
                out.append(part.run(face, p, s, x, k))
        return tuple(y for y, _ in out), self.pack("state", [s for _, s in out])

    def forward(self, params, state, x, key=None):
        out, caches = [], []
        for label, part, p, s, k in self._each(params, state, key):
            with at(label):
                y, cache = part.forward(p, s, x, k)
            out.append(y)
            caches.append(cache)
        return (tuple(y for y, _ in out), self.pack("state", [s for _, s in out])), tuple(caches)

    def backward(self, cache, dy):
        cotangents = [part.backward(c, (dy_i, None))
                      for part, c, dy_i in zip(self.parts, cache, dy[0], strict=True)]
        dx = [c[2] for c in cotangents if c[2] is not None]
        total = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *dx) if dx else None
        return self.pack("params", [c[0] for c in cotangents]), None, total, None


class Residual(Parallel):
    """y = body(x) + shortcut(x) (He et al. 2016); without a shortcut y = body(x) + x."""

    def _sum(self, ys: tuple[Any, ...]) -> Any:
        shapes = [jnp.shape(y) for y in ys]
        if len(set(shapes)) != 1:
            raise InputError("residual", f"expects its branches to agree in shape; got {shapes}; "
                             "give it a shortcut that changes the shape alike")
        return sum(ys[1:], ys[0])

    def run(self, face, params, state, x, key):
        ys, state = super().run(face, params, state, x, key)
        return self._sum(ys), state

    def forward(self, params, state, x, key=None):
        (ys, state), cache = super().forward(params, state, x, key)
        return (self._sum(ys), state), cache

    def backward(self, cache, dy):
        return super().backward(cache, ((dy[0],) * len(self.parts), None))


def chain(*ops: Op) -> Op:
    """The ops one after another, as an op of what they use of (params, state, x, key).

    params and state are tuples with one entry for each op, () for an op that has none.

    >>> from jaxnn.ops import dense, relu
    >>> chain(dense, relu, dense).arguments
    ('params', 'x')
    """
    if not ops:
        raise TypeError("chain expects at least one op; got none")
    return Narrowed(Chain(tuple(map(stage, ops))))


def parallel(*ops: Op) -> Op:
    """The ops side by side on one x; the value is the tuple of theirs. `add` or `concatenate` joins it."""
    if not ops:
        raise TypeError("parallel expects at least one op; got none")
    return Narrowed(Parallel(tuple(map(stage, ops))))


def residual(body: Op, shortcut: Op | None = None) -> Op:
    """y = body(x) + shortcut(x), or + x; params are the pair (of the body, of the shortcut)."""
    return Narrowed(Residual((stage(body), Identity() if shortcut is None else stage(shortcut))))
