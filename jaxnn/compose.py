"""Ops compose into ops: the chain rule walked backward through the caches, by hand.

The form that composes is a **stage**, an op (params, state, x, key) -> (y, state). Any op whose
arguments are among these four names is one, with what it lacks left out: dense(params, x), relu(x),
dropout(x, key), batch_norm(params, state, x). Here stand the combinators over stages; each has the
four faces of an op, so a whole network has `forward`, `backward` and `reference` and is compared
with `jax.grad` like a single activation.

    chain      x -> f₁ -> f₂ -> ... -> y              dx = J₁ᵀ J₂ᵀ ... dy
    residual   y = body(x) + shortcut(x)              dx = J_bodyᵀ dy + J_shortcutᵀ dy
    parallel   y = (f₁(x), f₂(x), ...)                dx = Σᵢ Jᵢᵀ dyᵢ
    over_examples_op   y_b = f(x_b) for each example b    dparams = Σ_b (∂y_b/∂params)ᵀ dy_b
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap

from jaxnn.checks import InputError, at, expect
from jaxnn.hand_derived import Op, Static
from jaxnn.lifting import push_forward

__all__ = ["Chain", "OverExamples", "Parallel", "Residual", "Stage", "bind", "chain", "over_examples_op",
           "parallel", "residual", "stage"]

FORM = ("params", "state", "x", "key")
EXAMPLES = "examples"  # the name of the batch axis, over which batch norm averages


class Stage(Op):
    """An op (params, state, x, key) -> (y, state). `uses` says which of the four it looks at."""

    arguments = FORM
    uses: frozenset[str]

    def __call__(self, params: Any, state: Any, x: Any, key: Any = None) -> Any:
        return self.run(_value, params, state, x, key)

    def reference(self, params: Any, state: Any, x: Any, key: Any = None) -> Any:
        return self.run(_reference, params, state, x, key)

    def run(self, face: Callable[[Op], Callable], params: Any, state: Any, x: Any, key: Any) -> Any:
        """The value, with `face(op)` called for each op inside: the op itself or its reference."""
        raise NotImplementedError


def _value(op: Op) -> Callable:
    return op


def _reference(op: Op) -> Callable:
    return op.reference


# One op as a stage, and a stage as an op without the arguments it does not use.


@dataclasses.dataclass(frozen=True)
class Bound(Op):
    """An op with static arguments fixed."""

    op: Op
    static: tuple[tuple[str, Hashable], ...]

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.op.arguments

    def __call__(self, *args: Any) -> Any:
        return self.op(*args, **dict(self.static))

    def forward(self, *args: Any) -> tuple[Any, Any]:
        return self.op.forward(*args, **dict(self.static))

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        return self.op.backward(cache, dy)

    def reference(self, *args: Any) -> Any:
        return self.op.reference(*args, **dict(self.static))


def bind(op: Op, **static: Hashable) -> Op:
    """The op with its static arguments fixed: `bind(conv, stride=2)` fits into a chain."""
    return Bound(op, tuple(sorted(static.items())))


@dataclasses.dataclass(frozen=True)
class Widened(Stage):
    """An op as a stage: it is given the arguments it names, and state passes by if it has none."""

    op: Op

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def uses(self) -> frozenset[str]:
        return frozenset(self.op.arguments)

    def _pick(self, *args: Any) -> list[Any]:
        given = dict(zip(FORM, args, strict=True))
        return [given[name] for name in self.op.arguments]

    def run(self, face, params, state, x, key):
        out = face(self.op)(*self._pick(params, state, x, key))
        return out if "state" in self.uses else (out, state)

    def forward(self, params, state, x, key=None):
        out, cache = self.op.forward(*self._pick(params, state, x, key))
        return (out if "state" in self.uses else (out, state)), cache

    def backward(self, cache, dy):
        cotangents = self.op.backward(cache, dy if "state" in self.uses else dy[0])
        given = dict(zip(self.op.arguments, cotangents, strict=True))
        return given.get("params", ()), None, given["x"], None


def stage(op: Op) -> Stage:
    """The op as a stage; a stage is returned as it is."""
    if isinstance(op, Stage):
        return op
    if not isinstance(op, Op):
        raise TypeError(f"expected an op; got {type(op).__name__}: make one with @hand_derived")
    if "x" not in op.arguments or not set(op.arguments) <= set(FORM):
        raise TypeError(
            f"'{op.name}' takes ({', '.join(op.arguments)}); an op that composes takes x and, of "
            "params, state and key, what it needs")
    return Widened(op)


@dataclasses.dataclass(frozen=True)
class Narrowed(Op):
    """A stage as an op of only those arguments that it uses."""

    stage: Stage

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(name for name in FORM if name == "x" or name in self.stage.uses)

    def _fill(self, args: tuple) -> list[Any]:
        if len(args) != len(self.arguments):
            raise TypeError(
                f"{self.name} takes ({', '.join(self.arguments)}); got {len(args)} arguments")
        given = dict(zip(self.arguments, args, strict=True))
        return [given.get(name) for name in FORM]

    def _drop(self, out: Any) -> Any:
        return out if "state" in self.stage.uses else out[0]

    def __call__(self, *args: Any) -> Any:
        return self._drop(self.stage(*self._fill(args)))

    def reference(self, *args: Any) -> Any:
        return self._drop(self.stage.reference(*self._fill(args)))

    def forward(self, *args: Any) -> tuple[Any, Any]:
        out, cache = self.stage.forward(*self._fill(args))
        return self._drop(out), cache

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        cotangents = self.stage.backward(cache, dy if "state" in self.stage.uses else (dy, None))
        return tuple(dict(zip(FORM, cotangents, strict=True))[name] for name in self.arguments)


# Several stages as one.


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


@dataclasses.dataclass(frozen=True)
class Identity(Stage):
    name = "identity"
    uses = frozenset({"x"})

    def run(self, face, params, state, x, key):
        return x, state

    def forward(self, params, state, x, key=None):
        return (x, state), None

    def backward(self, cache, dy):
        return (), None, dy[0], None


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


def over_examples_op(op: Op) -> Op:
    """The op over a batch: x gets a leading axis, params and state are shared."""
    return Narrowed(OverExamples(stage(op)))


# The batch.


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

    def _split(self, x: Any, key: Any) -> tuple[Any, int | None]:
        sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else None for leaf in jax.tree.leaves(x)}
        if len(sizes) != 1 or None in sizes or 0 in sizes:
            expect(False, self.name, "x with a leading axis of at least one example, alike in all leaves",
                   str(jax.tree.map(jnp.shape, x)))
        if key is None or "key" not in self.uses:
            return None, None
        return jax.random.split(key, sizes.pop()), 0

    def run(self, face, params, state, x, key):
        keys, axis = self._split(x, key)
        one = jax.vmap(lambda p, s, x, k: self.part.run(face, p, s, x, k), axis_name=EXAMPLES,
                       in_axes=(None, None, 0, axis), out_axes=(0, None))
        return one(params, state, x, keys)

    def forward(self, params, state, x, key=None):
        keys, axis = self._split(x, key)
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
