"""Looking inside a backward pass: the cache, the value and the cotangent of each op of a network.

    x -> f₁ -> y₁ -> f₂ -> ... -> y        dx <- b₁ <- dy₁ <- b₂ <- ... <- dy,    dyᵢ = ∂L/∂yᵢ

For each op there are ‖yᵢ‖ and ‖cacheᵢ‖ going forward, ‖dyᵢ‖ and the gain ‖dyᵢ₋₁‖ / ‖dyᵢ‖ going backward, the
share of zeros, and the numbers that are not finite. A gradient vanishes or explodes where ‖dyᵢ‖ is a small or a
large multiple of the output's ‖dy‖. The report names the first op that is not finite, forward or else backward.

Norms are Euclidean, over all finite elements of all examples, and do not underflow where the squares would:
a cotangent of 1e-30 has the norm 1e-30. Integers, masks, PRNG keys and static entries of a cache
have no norm and are left out.
"""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import accepts, expect, expect_arrays, is_number
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.program import OpStep, Program, Recompute, Scan
from jaxnn.explicit.table import uses
from jaxnn.hand_derived import Static, as_static, expect_hashable
from jaxnn.inside.report import Inside, InsideRow, Numbers
from jaxnn.layers.containers import OverExamples
from jaxnn.layers.layer import Layer
from jaxnn.network import Network, network

__all__ = ["look_inside"]


def look_inside(f: Callable, *args: Any, loss: Callable | None = None, labels: Any = None, dy: Any = None,
                vanishing: float = 1e-3, exploding: float = 1e3, **static: Any) -> Inside:
    """One forward and one backward pass, with numbers on each op inside.

    Args:
      f: any function of ops: an op, a network, a layer; over_examples(layer) for a batch.
      args: its arguments: for a layer (params, state, x, key); key may be left out.
      loss: with labels, a loss (y, labels) -> () of one example, of which a batch takes the mean; without, a function
        of the whole y. A layer's y is its value without its state.
      dy: ∂L/∂y itself, instead of a loss. Without both, a random one.
      vanishing, exploding: the multiples of the output's ‖dy‖ between which ‖dy‖ of an op counts as healthy.
      static: keyword arguments of f, such as train=True.
    Raises:
      InputError: both loss and dy are given; an argument is missing or refused by an op inside.

    >>> from jaxnn import relu, sigmoid
    >>> report = look_inside(lambda x: relu(sigmoid(x)), jnp.zeros(4), dy=jnp.ones(4))
    >>> [(row.op, row.value.norm, row.cotangent.norm) for row in report.rows]
    [('sigmoid', 1.0, 2.0), ('relu', 1.0, 2.0)]
    """
    who = "look_inside"
    expect(loss is None or dy is None, who, "a loss or dy", "both")
    expect(loss is not None or labels is None, who, "a loss with labels", "labels alone")
    fits = is_number(vanishing, 0) and (is_number(exploding) or exploding == math.inf) and vanishing < exploding
    expect(fits, who, "0 <= vanishing < exploding", f"{vanishing!r} and {exploding!r}")
    n = 1 if labels is None else 2
    expect(loss is None or accepts(loss, n), who, "a loss of (y, labels), or, without labels, of y", repr(loss))
    expect(callable(f), who, "a function of ops", type(f).__name__)
    static = {name: as_static(value) for name, value in static.items()}
    expect_hashable(who, static)
    for name, tree in (("args", args), ("labels", labels), ("dy", dy)):
        expect_arrays(who, name, tree)
    plan: Any
    plan, measured = _measure(_network_of(f), loss, tuple(sorted(static.items())), args, labels, dy)
    rows, members = plan.value
    found = _on_host(members, measured)
    numbers: list[Any] = [[_together(found, leaves) for leaves in entries] for *_, entries in rows]
    (at_x,), (at_y,), *of_ops = numbers
    ops = tuple(InsideRow._make((*row[:3], *of_op, _dead(found, row[3][2])))
                for row, of_op in zip(rows[2:], of_ops, strict=True))
    source = "given" if dy is not None else "random" if loss is None else "of the loss"
    return Inside(ops, at_x, at_y, source, vanishing, exploding)


_network_of = functools.lru_cache(maxsize=256)(network)


class _Record(NamedTuple):
    """An op in one backward pass. cotangents: one for each leaf of its arguments; empty where no gradient arrives."""

    step: OpStep
    prefix: str
    n_scans: int
    """How many scans it stands in: each puts an axis of time in front."""
    cache: list[Any]
    value: list[Any]
    dy: list[Any]
    cotangents: list[Any]

    @property
    def place(self) -> str:
        return "/".join(filter(None, (self.prefix, self.step.place))) or self.step.line


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _measure(net: Network, loss: Callable | None, static: tuple, args: Any, labels: Any, dy: Any) -> Any:
    """Both passes and all numbers in one compiled program: the places of the leaves, and their statistics."""
    recording, leaves = net.recorded(args, dict(static), watched=True)
    program = recording.program
    out, tape = program.forward(leaves)
    y = jax.tree.unflatten(recording.y_tree, out)
    f = net.function
    is_layer, is_batch = isinstance(f, Layer), isinstance(f, OverExamples)
    dy = _cotangent(is_batch, y[0] if is_layer else y, loss, labels, dy)
    whole_dy = (dy, None) if is_layer else dy
    _, kept = program.backward(tape, recording.cotangent_leaves(net.name, whole_dy), _recorded)
    names = net.arguments
    ledger = _Ledger()
    x = [arg for name, arg in zip(names, args, strict=False) if name not in ("params", "state")]
    rows: list[Any] = [("x", "", (), (ledger.enter(x),)), ("dy", "", (), (ledger.enter(dy),))]
    records = list(_records(program, tape, kept))
    places = uses([(record.place, record.step) for record in records])
    for record, place in zip(records, places, strict=True):
        call = record.step.call
        shapes = tuple(jnp.shape(leaf) for leaf in record.value)
        n_levels = sum(0 in level.value for level in call.levels)
        n_axes = record.n_scans + n_levels if n_levels else 0
        is_param = call.is_param
        params = [leaves[slot] for slot, is_p in zip(record.step.ins, is_param, strict=True)
                  if is_p and not record.prefix and slot < len(leaves)]
        gradient, dx = ([c for c, is_p in zip(record.cotangents, is_param, strict=False)
                         if is_p is of_params and c is not None] for of_params in (True, False))
        rows.append((place, call.op.name.lstrip("_"), shapes[0] if len(shapes) == 1 else shapes, (
            ledger.enter(params), ledger.enter(record.cache), ledger.enter(record.value, n_axes),
            ledger.enter(record.dy), ledger.enter(dx), ledger.enter(gradient))))
    members, measured = ledger.measured()
    return Static((tuple(rows), members)), measured


def _recorded(step: OpStep, tape: list[Any], dy: list[Any]) -> tuple[list[Any], Any]:
    cotangents = step.call.backward(step.cache(tape), dy)
    return cotangents, (step.cache(tape), step.value(tape), dy, cotangents)


def _records(program: Program, tape: list[Any] | None, kept: list[Any] | None, prefix: str = "",
             n_scans: int = 0) -> Iterator[_Record]:
    """The records of all ops in forward order; those inside of a scan with an axis of time in front."""
    for i, step in enumerate(program.steps):
        record = None if kept is None else kept[i]
        if isinstance(step, OpStep):
            if record is not None:
                yield _Record(step, prefix, n_scans, *record)
            elif tape is not None:
                yield _Record(step, prefix, n_scans, step.cache(tape[i]), step.value(tape[i]), [], [])
        elif isinstance(step, Scan | Recompute) and record is not None:
            is_scan = isinstance(step, Scan)
            inside = "/".join(filter(None, (prefix, step.place or step.line, "scan" if is_scan else "checkpoint")))
            yield from _records(step.inner, None, record, inside, n_scans + is_scan)


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
        if is_batch and labels is not None:
            value = jnp.mean(jax.vmap(loss)(y, labels))
        else:
            value = loss(y) if labels is None else loss(y, labels)
        is_cost = jnp.shape(value) == () and jnp.issubdtype(jnp.result_type(value), jnp.floating)
        expect(is_cost, "look_inside", "a loss that gives one floating-point number, of shape ()",
               f"{jnp.result_type(value)}{list(jnp.shape(value))}", "take its sum or its mean")
        return value

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
        self.numbers: dict[tuple[int, int], int] = {}
        self.groups: dict[Any, list[int]] = {}

    def enter(self, tree: Any, n_levels: int = 0) -> tuple[int, ...]:
        """The numbers of the floating-point leaves; n_levels: how many axes of examples, and of time, come first.

        One leaf may have several places: a weight is a parameter and stands in a cache, a value is what the next op
        keeps. It is measured once for each n_levels.
        """
        smooth = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype") and is_inexact(leaf)]
        return tuple(self._number(leaf, min(n_levels, leaf.ndim)) for leaf in smooth)

    def _number(self, leaf: Any, n_levels: int) -> int:
        number = self.numbers.setdefault((id(leaf), n_levels), len(self.leaves))
        if number == len(self.leaves):
            self.leaves.append(leaf)
            alone = number if leaf.size > 2**16 else None
            self.groups.setdefault((leaf.shape, leaf.dtype, n_levels, alone), []).append(number)
        return number

    def measured(self) -> tuple[tuple[tuple[int, ...], ...], list[Any]]:
        """The numbers of the leaves in each group, and their statistics."""
        return tuple(map(tuple, self.groups.values())), [
            _statistics(jnp.stack([self.leaves[number] for number in group]), n_levels)
            for (_, _, n_levels, _), group in self.groups.items()]


def _statistics(stack: Any, n_levels: int) -> dict[str, Any]:
    """The statistics of each array of a stack (k, ...), each (k,)."""
    axes = tuple(range(1, stack.ndim))
    size = jnp.abs(stack).astype(jnp.promote_types(jnp.finfo(stack.dtype).dtype, jnp.float32))
    finite = jnp.where(jnp.isfinite(size), size, 0)
    counted = [mask.astype(jnp.int32) for mask in (stack == 0, jnp.isnan(stack), jnp.isinf(stack))]
    # One pass for all four: on CPU each by itself would write an array as large as the stack.
    largest, zeros, nans, infinities = lax.reduce(
        (finite, *counted), (jnp.zeros((), finite.dtype), *[jnp.zeros((), jnp.int32)] * 3),
        lambda a, b: (jnp.maximum(a[0], b[0]), *(m + n for m, n in zip(a[1:], b[1:], strict=True))), axes)
    # Relative to the largest element the squares neither vanish nor overflow.
    unit = jnp.where(largest > 0, largest, 1).reshape(-1, *(1,) * len(axes))
    found = {"largest": largest, "relative": jnp.sqrt(jnp.sum(jnp.square(finite / unit), axes)), "zeros": zeros,
             "nans": nans, "infinities": infinities, "size": jnp.full(len(stack), stack[0].size)}
    if n_levels and stack.size:
        dead = jnp.all(stack == 0, axes[:n_levels])
        found["dead"] = jnp.mean(dead, tuple(range(1, dead.ndim)))
    return found


def _on_host(members: tuple[tuple[int, ...], ...], measured: list[Any]) -> dict[int, dict[str, Any]]:
    """The statistics by the number of a leaf, as Python's numbers."""
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
