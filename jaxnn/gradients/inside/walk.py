"""A network's backward pass walked by hand and laid open: what each op inside kept, and what it was given.

    x -> f₁ -> f₂ -> ... -> y          forward:  yᵢ, cacheᵢ = fᵢ(yᵢ₋₁)
    dx <- b₁ <- b₂ <- ... <- dy        backward: dyᵢ₋₁ = bᵢ(cacheᵢ, dyᵢ),   dyᵢ = ∂L/∂yᵢ

Chain, parallel, residual, over_examples, and the layers made of them, are walked through. Whatever else
stands in a network is elementary: an op of the library, or a stage or op of the user's own. The walk is a
pure function of arrays; under `jit` what is not looked at is not computed.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax

from jaxnn.checks import expect
from jaxnn.compose import Chain, Parallel, Residual, Several
from jaxnn.examples import OverExamples
from jaxnn.hand_derived import EXAMPLES, Op, Static
from jaxnn.layers.layer import Layer, Mode
from jaxnn.stage import Bound, Narrowed, Stage, Widened, stage

__all__ = ["Record", "Watched", "as_stage", "opened", "params_of", "params_tree", "walk",
           "weight_gradient"]

Levels = tuple[tuple[int | None, ...], ...]
Backward = Callable[[Any, Any, Any], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Watched(Stage):
    """An elementary stage that keeps its value beside its cache, so that combinators carry both out."""

    part: Stage

    @property
    def name(self) -> str:
        return self.part.name

    @property
    def uses(self) -> frozenset[str]:
        return self.part.uses

    @property
    def op(self) -> Op:
        """The op within: of the layer in its mode, and without its static arguments."""
        inner = _inside(self.part)
        op = inner.op if isinstance(inner, Widened) else inner
        while isinstance(op, Bound):
            op = op.op
        return op

    def run(self, face, params, state, x, key):
        return self.part.run(face, params, state, x, key)

    def forward(self, params, state, x, key=None):
        out, cache = self.part.forward(params, state, x, key)
        return out, (cache, out[0])

    def backward(self, cache, dy):
        return self.part.backward(cache[0], dy)


@functools.partial(jax.tree_util.register_dataclass, meta_fields=["path", "part", "levels"],
                   data_fields=["cache", "value", "dy", "dx", "kept"])
@dataclasses.dataclass(frozen=True)
class Record:
    """One elementary op of a network, in one backward pass; a pytree of its arrays.

    path: where it stands, in the labels of params: "0/body/1"; "" if it is the network.
    part: the op as a stage.
    levels: one entry for each over_examples around it, the outermost first. It says of each leaf of the
      cache whether that leaf has an axis of these examples (0) or is shared by them (None); dy and dx
      have the axis always. The axes come first, in this order.
    cache, value: what its forward pass kept and gave.
    dy, dx: ∂L/∂value, and ∂L/∂x as its backward pass made it; None where no gradient arrives or leaves.
    kept: what `walk` was asked to keep of its backward pass.
    """

    path: str
    part: Watched
    levels: Levels
    cache: Any
    value: Any
    dy: Any
    dx: Any
    kept: Any

    @property
    def name(self) -> str:
        return self.part.name

    @property
    def has_params(self) -> bool:
        return "params" in self.part.uses


def as_stage(who: str, net: Op, train: bool) -> Stage:
    """A layer in its mode, or an op, as a stage. who: the caller, for the message."""
    if isinstance(net, Layer):
        return net.mode(train)
    expect(train is False, who, "a layer if train is True", f"the op '{getattr(net, 'name', net)}'",
           "leave train out: an op has one mode")
    return stage(net)


def opened(part: Stage) -> Stage:
    """The same network with each elementary stage in it watched; `walk` takes it apart."""
    inner = _inside(part)
    if type(inner) in (Chain, Parallel, Residual):  # a subclass may go backward in its own way
        return dataclasses.replace(inner, parts=tuple(map(opened, inner.parts)))  # type: ignore[attr-defined, type-var]
    if type(inner) is OverExamples:
        return dataclasses.replace(inner, part=opened(inner.part))
    return Watched(part)


def _inside(part: Stage) -> Stage:
    """What is left of a stage without the wrappings that change neither its backward pass nor its cache."""
    while True:
        op = part.op if isinstance(part, Widened) else None
        if isinstance(part, Mode):
            part = stage(part.layer.op(part.train))
        elif type(op) is Narrowed:
            part = op.stage
        elif isinstance(op, Layer):
            part = op.mode(False)
        elif isinstance(op, Bound) and isinstance(op.op, Layer):
            part = op.op.mode(**dict(op.static))  # type: ignore[arg-type]
        else:
            return part


def only_dx(part: Watched, cache: Any, dy: Any) -> tuple[Any, Any]:
    """The backward pass of an elementary op, as `walk` takes it: (what to keep, dx)."""
    return None, part.part.backward(cache, dy)[2]


def walk(net: Stage, cache: Any, dy: Any, backward: Backward = only_dx) -> tuple[list[Record], Any]:
    """The records of all elementary ops, in forward order, and dx of the network.

    Args:
      net: a network made by `opened`.
      cache: of `net.forward`.
      dy: ∂L/∂y, without the state's.
      backward: (part, cache, (dy, None)) -> (kept, dx) of an elementary op, for one example.
    """
    tree: Any
    leaves, tree = jax.tree.flatten(cache)
    steps, dx = _back(backward, net, cache, dy)
    # Each leaf's number stands in for it: where a number ends up, the leaf belongs.
    places = _places(net, tree.unflatten(range(len(leaves))), (), ())
    return [Record(path, part, tuple(tuple(axes[i] for i in jax.tree.leaves(numbers[0])) for axes in levels),
                   *jax.tree.map(leaves.__getitem__, numbers), *step)
            for (path, part, numbers, levels), step in zip(places, steps, strict=True)], dx


def _back(backward: Backward, part: Any, cache: Any, dy: Any) -> tuple[list[tuple], Any]:
    """(dy, dx, kept) of each elementary op in forward order, and dx of the whole."""
    if isinstance(part, Watched):
        kept, dx = (None, None) if dy is None else backward(part, cache[0], (dy, None))
        return [(dy, dx, kept)], dx
    if isinstance(part, OverExamples):
        leaves, static = cache
        tree, axes = static.value

        def one(leaves: list[Any], dy: Any) -> Any:
            return _back(backward, part.part, tree.unflatten(leaves), dy)

        if dy is None:
            return one(leaves, dy)
        return jax.vmap(one, in_axes=(list(axes), 0), axis_name=EXAMPLES)(leaves, dy)
    steps: list[Any] = []
    if isinstance(part, Chain):
        for inner, inner_cache in zip(reversed(part.parts), reversed(cache), strict=True):
            inner_steps, dy = _back(backward, inner, inner_cache, dy)
            steps = inner_steps + steps
        return steps, dy
    dys = (dy,) * len(part.parts) if isinstance(part, Residual) or dy is None else dy
    branches = [_back(backward, *branch) for branch in zip(part.parts, cache, dys, strict=True)]
    dxs = [dx for _, dx in branches if dx is not None]
    total = jax.tree.map(lambda *parts: sum(parts[1:], parts[0]), *dxs) if dxs else None
    return [step for inner_steps, _ in branches for step in inner_steps], total


def _places(part: Any, numbers: Any, path: tuple[str, ...], levels: tuple) -> Iterator[tuple]:
    if isinstance(part, Watched):
        yield "/".join(path), part, numbers, levels
    elif isinstance(part, OverExamples):
        inner, static = numbers
        tree, axes = static.value
        level = dict(zip(inner, axes, strict=True))
        yield from _places(part.part, tree.unflatten(inner), path, (*levels, level))
    else:
        for label, inner_part, inner in zip(part.labels, part.parts, numbers, strict=True):
            yield from _places(inner_part, inner, (*path, label), levels)


def params_of(part: Any, params: Any) -> list[Any]:
    """The params of each elementary op, in the order of the records; () for an op that has none."""
    if isinstance(part, OverExamples):
        return params_of(part.part, params)
    if not isinstance(part, Several):
        return [params]
    each = zip(part.parts, part.entries("params", params), strict=True)
    return [leaf for inner, entry in each for leaf in params_of(inner, entry)]


def params_tree(part: Any, entries: Any) -> Any:
    """The inverse: one entry for each elementary op, in the structure of the network's params."""
    entries = iter(entries)

    def build(part: Any) -> Any:
        if isinstance(part, OverExamples):
            return build(part.part)
        if not isinstance(part, Several):
            return next(entries)
        return part.pack("params", list(map(build, part.parts)))

    return build(part)


def weight_gradient(part: Watched, levels: Levels, cache: Any, dy: Any) -> Any:
    """Σ dparams over all examples of the levels, as over_examples sums them: in one matrix product."""
    tree: Any
    leaves, tree = jax.tree.flatten(cache)
    whole: Stage = part.part
    for axes in reversed(levels):
        whole, cache = OverExamples(whole), (leaves, Static((tree, axes)))
        tree = jax.tree.structure(cache)
    return whole.backward(cache, (dy, None))[0]
