"""Looking inside a backward pass: what each layer of a network keeps, gives, and is given back.

    x -> f₁ -> y₁ -> f₂ -> ... -> y        dx <- b₁ <- dy₁ <- b₂ <- ... <- dy,    dyᵢ = ∂L/∂yᵢ

For each layer: ‖yᵢ‖ and ‖cacheᵢ‖ going forward, ‖dyᵢ‖ and the gain ‖dyᵢ₋₁‖ / ‖dyᵢ‖ going backward, the
share of zeros, and what is not finite. A gradient vanishes or explodes where ‖dyᵢ‖ is a small or a large
part of the output's ‖dy‖; the first layer that went bad, forward or else backward, is named.

Norms are Euclidean, over all finite elements of all examples, and hold where the squares would not:
a vanished cotangent of 1e-30 is seen as that. Integers, masks, PRNG keys and static entries of a cache
have no norm and are left out.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import expect
from jaxnn.cotangents import is_inexact
from jaxnn.examples import OverExamples
from jaxnn.gradients.inside.report import Inside, InsideRow, Numbers
from jaxnn.gradients.inside.walk import as_stage, opened, params_of, walk, weight_gradient
from jaxnn.hand_derived import Op, Static
from jaxnn.stage import Stage

__all__ = ["look_inside"]


def look_inside(net: Op, *args: Any, loss: Callable | None = None, labels: Any = None, dy: Any = None,
                train: bool = False, vanishing: float = 1e-3, exploding: float = 1e3) -> Inside:
    """One forward and one backward pass, with numbers on each elementary op inside.

    Args:
      net: an op, or a layer; over_examples(net) for a batch.
      args: its arguments: those an op takes, (params, state, x, key) for a layer; key may be left out.
      loss: with labels, a loss (y, labels) -> () of one example, of which a batch takes the mean; without,
        a function of the whole y.
      dy: ∂L/∂y itself, instead of a loss. Without both, a random one.
      train: a layer's mode.
      vanishing, exploding: the multiples of the output's ‖dy‖ between which ‖dy‖ of a layer is as it
        should be.
    Raises:
      InputError: both loss and dy are given; an argument is missing or refused by an op inside.

    >>> from jaxnn import chain, relu, sigmoid
    >>> report = look_inside(chain(sigmoid, relu), jnp.zeros(4), dy=jnp.ones(4))
    >>> [(row.path, row.value.norm, row.cotangent.norm) for row in report.rows]
    [('0', 1.0, 2.0), ('1', 1.0, 2.0)]
    """
    who = "look_inside"
    expect(loss is None or dy is None, who, "a loss or dy", "both")
    expect(loss is not None or labels is None, who, "a loss with labels", "labels alone")
    expect(0 <= vanishing < exploding, who, "0 <= vanishing < exploding", f"{vanishing} and {exploding}")
    part = as_stage(who, net, train)
    names = net.arguments
    given = dict(zip(names, args))
    missing = [name for name in names if name not in given and name != "key"]
    expect(not missing and len(args) <= len(names), who, f"the arguments ({', '.join(names)}) of {net.name}",
           f"{len(args)} of them", f"pass {', '.join(missing)}" if missing else "")
    form = [given.get(name) for name in ("params", "state", "x", "key")]
    plan: Any
    plan, measured = _measure(part, loss, form, labels, dy)
    rows, members = plan.value
    found = _on_host(members, measured)
    numbers: list[Any] = [[_together(found, leaves) for leaves in entries] for *_, entries in rows]
    (at_x,), (at_y,), *of_layers = numbers
    layers = tuple(InsideRow._make((*row[:3], *of_layer, _dead(found, row[3][2])))
                   for row, of_layer in zip(rows[2:], of_layers, strict=True))
    source = "given" if dy is not None else "random" if loss is None else "of the loss"
    return Inside(layers, at_x, at_y, source, vanishing, exploding)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _measure(part: Stage, loss: Callable | None, form: list[Any], labels: Any, dy: Any) -> Any:
    """Both passes and all numbers in one compiled program: which leaf is where, and what it is like."""
    net = opened(part)
    params, state, x, key = form
    (y, _), cache = net.forward(params, state, x, key)
    dy = _cotangent(type(net) is OverExamples, y, loss, labels, dy)
    records, _ = walk(net, cache, dy)
    ledger = _Ledger()
    rows: list[Any] = [("x", "", (), (ledger.enter(x),)), ("dy", "", (), (ledger.enter(dy),))]
    for record, entry in zip(records, params_of(net, params), strict=True):
        gradient = None
        if record.has_params and record.dy is not None:
            gradient = weight_gradient(record.part, record.levels, record.cache, record.dy)
        shapes = tuple(jnp.shape(leaf) for leaf in jax.tree.leaves(record.value))
        rows.append((record.path, record.name.lstrip("_"), shapes[0] if len(shapes) == 1 else shapes, (
            ledger.enter(entry), ledger.enter(record.cache), ledger.enter(record.value, len(record.levels)),
            ledger.enter(record.dy), ledger.enter(record.dx), ledger.enter(gradient))))
    members, measured = ledger.measured()
    return Static((tuple(rows), members)), measured


def _cotangent(is_batch: bool, y: Any, loss: Callable | None, labels: Any, dy: Any) -> Any:
    """∂L/∂y; None for a leaf of integers."""
    if dy is not None:
        shapes = [jax.tree.map(jnp.shape, tree) for tree in (y, dy)]
        expect(shapes[0] == shapes[1], "look_inside", f"dy of the shape of y, {shapes[0]}", str(shapes[1]))
        return jax.tree.map(lambda d, leaf: jnp.asarray(d, leaf.dtype), dy, y)
    if loss is None:
        leaves, tree = jax.tree.flatten(y)
        keys = jax.random.split(jax.random.key(0), max(len(leaves), 1))
        return jax.tree.unflatten(tree, [
            jax.random.normal(k, leaf.shape, leaf.dtype) if is_inexact(leaf) else None
            for k, leaf in zip(keys, leaves, strict=True)])

    def cost(y: Any) -> Any:
        if labels is None:
            return loss(y)
        return jnp.mean(jax.vmap(loss)(y, labels)) if is_batch else loss(y, labels)

    found = jax.grad(cost, allow_int=True)(y)
    return jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, found)


class _Ledger:
    """Numbers the leaves to be measured, and measures those of one shape together.

    A deep network has thousands of leaves, and a program with as many small sums takes longer to compile
    than it will ever run: 100 layers 20 s, and 2 s together. Large leaves are not put together, which
    would copy them.
    """

    def __init__(self) -> None:
        self.leaves: list[Any] = []
        self.groups: dict[Any, list[int]] = {}

    def enter(self, tree: Any, n_levels: int = 0) -> tuple[int, ...]:
        """The numbers of the floating-point leaves; n_levels: how many axes of examples come first."""
        smooth = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype") and is_inexact(leaf)]
        numbers = tuple(range(len(self.leaves), len(self.leaves) + len(smooth)))
        for number, leaf in zip(numbers, smooth, strict=True):
            alone = number if leaf.size > 2**18 else None
            key = leaf.shape, leaf.dtype, min(n_levels, leaf.ndim), alone
            self.groups.setdefault(key, []).append(number)
        self.leaves += smooth
        return numbers

    def measured(self) -> tuple[tuple[tuple[int, ...], ...], list[Any]]:
        """The numbers in each group, and what its leaves are like."""
        return tuple(map(tuple, self.groups.values())), [
            _statistics(jnp.stack([self.leaves[number] for number in group]), n_levels)
            for (_, _, n_levels, _), group in self.groups.items()]


def _statistics(stack: Any, n_levels: int) -> dict[str, Any]:
    """What each array of a stack (k, ...) is like, (k,)."""
    axes = tuple(range(1, stack.ndim))
    size = jnp.abs(stack).astype(jnp.promote_types(jnp.finfo(stack.dtype).dtype, jnp.float32))
    finite = jnp.where(jnp.isfinite(size), size, 0)
    largest = jnp.max(finite, axes, initial=0)
    # Relative to the largest element the squares neither vanish nor overflow.
    unit = jnp.where(largest > 0, largest, 1).reshape(-1, *(1,) * len(axes))
    found = {"largest": largest, "relative": jnp.sqrt(jnp.sum(jnp.square(finite / unit), axes)),
             "zeros": jnp.sum(stack == 0, axes), "nans": jnp.sum(jnp.isnan(stack), axes),
             "infinities": jnp.sum(jnp.isinf(stack), axes), "size": jnp.full(len(stack), stack[0].size)}
    if n_levels and stack.size:
        dead = jnp.all(stack == 0, axes[:n_levels])
        found["dead"] = jnp.mean(dead, tuple(range(1, dead.ndim)))
    return found


def _on_host(members: tuple[tuple[int, ...], ...], measured: list[Any]) -> dict[int, dict[str, Any]]:
    """By the number of a leaf what it is like, in Python's own numbers."""
    return {number: {what: values[i].item() for what, values in group.items()}
            for numbers, group in zip(members, jax.device_get(measured), strict=True)
            for i, number in enumerate(numbers)}


def _together(found: dict[int, dict[str, Any]], leaves: tuple[int, ...]) -> Numbers | None:
    if not leaves:
        return None
    norm = math.hypot(*(found[leaf]["largest"] * found[leaf]["relative"] for leaf in leaves))
    size, zeros, nans, infinities = (
        sum(found[leaf][what] for leaf in leaves) for what in ("size", "zeros", "nans", "infinities"))
    return Numbers(norm, size, zeros, nans, infinities)


def _dead(found: dict[int, dict[str, Any]], leaves: tuple[int, ...]) -> float | None:
    """The share of elements that are 0 in all examples."""
    size = sum(found[leaf]["size"] for leaf in leaves if "dead" in found[leaf])
    if not size:
        return None
    return sum(found[leaf]["dead"] * found[leaf]["size"] for leaf in leaves if "dead" in found[leaf]) / size
