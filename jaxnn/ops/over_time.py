"""One loop over time: a cell says what one step does, and `over_time(cell)` runs and differentiates it.

    z_t = W_x x_t + b                       what step t gets from the input: for all t at once, before the loop
    s_t = step(s_{t-1}, z_t)                the state: h_t, or (h_t, c_t, ...), h_t being what is shown

A cell (`jaxnn.ops.cell`) is a step and its backward pass; here it is run over all times, forward and backward.

    h, last = over_time(lstm_cell)(params, x)

Backpropagation is truncated by a state that is given and not differentiated: a long text in pieces, each from the last
state of the piece before,

    h, last = lstm(params, piece, jax.lax.stop_gradient(last))

Sizes: time, n_in, n_hidden.
"""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import Entries, expect, expect_float, expect_shape, is_integer
from jaxnn.hand_derived import HandDerived, Static
from jaxnn.ops.cell import Cell, Step
from jaxnn.ops.dtypes import promoted, wide, wide_over_batch
from jaxnn.ops.time_first import time_first

__all__ = ["over_time", "through_time"]

_ARGUMENTS = """
Args:
  params: {params}.
  x: (time, n_in), one sequence.
  initial: {initial} before the first step, {container}; None for zeros.
  mask: (time,) of bool; where it is False the step is left out: the state stays as it was, h_t is that of the
    state, and x_t has no gradient. None for all True. `length_mask` makes one of a length.
  reverse: go from the last step to the first; h stays aligned with x, and the last state is that at step 0.
  segment: keep for the backward pass the states between segments of so many steps, and find the rest again, one segment
    at a time: memory for √time steps and not for all, where it is √time. None keeps what each step leaves.
Returns:
  (h, last): h (time, {size}), and the state after the last step, {last}.
  All are computed and returned in the dtype to which those of params, x and initial promote (`jnp.promote_types`).
Raises:
  InputError: a shape or dtype does not fit, or the sequence is empty.
"""

_COTANGENTS = """
Args:
  cache: of the forward pass.
  dy: (dh of all times (time, n_hidden), dlast in the structure of the state); None in place of either for zeros.
Returns:
  (dparams, dx, dinitial, None): each in the structure of its argument, dinitial None if no initial state was given.
"""


@functools.cache
def over_time(cell: Cell) -> HandDerived:
    """The op (params, x, initial=None, mask=None, *, reverse=False, segment=None) -> (h of all times, last state).

    It has the cell's name without "_cell". Its backward pass is `through_time`. The last hidden state, or one
    of the states alone, is read off its value.
    """
    def forward(params: Any, x: Any, initial: Any = None, mask: Any = None, *, reverse: bool = False,
                segment: int | None = None) -> Any:
        return _run(cell, params, x, initial, mask, reverse, segment)

    expect(isinstance(cell, Cell), "over_time", "a cell, made by @cell", repr(cell))
    forward.__name__ = forward.__qualname__ = cell.name
    forward.__module__ = cell.step.__module__
    forward.__doc__ = _description(cell)
    op = HandDerived(forward)

    def backward(cache: Any, dy: Any) -> Any:
        plan = cache.static.value
        if plan.segment is None:
            factors, dx, dinitial = through_time(cache, dy)
            dparams = _sums(factors, cache.record)
        else:
            dparams, dx, dinitial = _through_segments(cache, dy)
        return plan.entries.fill(**dparams), dx, dinitial, None

    backward.__doc__ = _derivation(cell)
    op.defbackward(backward)
    return op


def _description(cell: Cell) -> str:
    """What the op does: the cell's equations, the arguments of all such ops, the cell's example."""
    text, mark, example = inspect.cleandoc(cell.step.__doc__ or "").partition("\n>>> ")
    text, source_mark, source = text.rstrip().partition("\n\nSource:")
    shapes = []
    for name, shape in cell.params.items():
        axes = shape.rstrip("?").split()
        written = f"({', '.join(axes)}{',' if len(axes) == 1 else ''})"
        shapes.append(f'"{name}": {written}' + " or None" * shape.endswith("?"))
    alone = len(cell.state) == 1
    arguments = _ARGUMENTS.format(
        params="{" + ", ".join(shapes) + "}",
        initial=" and ".join(f"{name}_0 ({size},)" for name, size in cell.state.items()),
        container="an array" if alone else "in a tuple, list or namedtuple", size=next(iter(cell.state.values())),
        last="h" if alone else f"({', '.join(cell.state)})")
    return f"{text}\n{arguments}{source_mark.strip()}{source}\n{mark}{example}"


def _derivation(cell: Cell) -> str:
    """The gradient through time, and that of one step."""
    derivation, _, rest = (inspect.getdoc(through_time) or "").partition("\nArgs:")
    source = rest[rest.index("Source:"):]
    of_step = inspect.getdoc(cell.backward) or "No derivation is given."
    return (f"{derivation}{_COTANGENTS}{source}\n\nA step's own backward pass, of the cell {cell.__name__}:\n\n"
            f"{of_step}")


class _Cache(NamedTuple):
    params: Any
    x: Any
    mask: Any
    start: Any  # the state before the first step; with segments, those before each
    record: Any  # _Record; with segments, None
    static: Any  # Static(_Plan)


class _Record(NamedTuple):
    """What the steps leave for the backward pass, of all times."""

    h: Any
    slopes: Any


class _Plan(NamedTuple):
    cell: Cell
    reverse: bool
    segment: int | None
    entries: Entries  # of params
    initial_tree: Any  # without leaves: no initial state was given


def _run(cell: Cell, params: Any, x: Any, initial: Any, mask: Any, reverse: bool, segment: int | None) -> Any:
    given, entries, sizes = cell.weights(params)
    expect_float(cell.name, "x", x)
    expect_shape(cell.name, "x", x, ("time", given["weight_x"].shape[1]))
    expect(x.shape[0] > 0, cell.name, "at least one time step", str(x.shape))
    expect(isinstance(reverse, bool), cell.name, "reverse to be True or False", repr(reverse))
    expect(segment is None or is_integer(segment, 1), cell.name, "segment, a number of steps or None", repr(segment))
    if mask is not None:
        dtype = getattr(mask, "dtype", None)
        expect(dtype is not None and jnp.issubdtype(dtype, bool), cell.name, "mask, an array of bool",
               type(mask).__name__ if dtype is None else str(dtype), "True stands for a step that counts")
        expect_shape(cell.name, "mask", mask, (x.shape[0],))
    states = None if initial is None else cell.states(initial, sizes)

    # One promotion rule for all that meet in the loop, where the dtype of the state must stay what it is.
    x, *others = promoted(x, *given.values(), *(states or []))
    given = dict(zip(given, others, strict=False))
    # zeros_like and not zeros: inside `shard_map` it varies over the mesh axes that x varies over.
    start = cell.pack([jnp.zeros_like(x, shape=(n,)) for n in sizes] if states is None else others[len(given):])
    if mask is not None:
        x = jnp.where(mask[:, None], x, 0)  # padding of inf or NaN would reach the weights as 0 times inf
    x = time_first(x)
    plan = _Plan(cell, reverse, segment, entries, jax.tree.structure(initial))
    if segment is None:
        h, last, record = _steps(plan, given, x, mask, start)
        return (h, last), _Cache(given, x, mask, start, record, Static(plan))

    def of_segment(state: Any, at: Any) -> Any:
        x_of, mask_of = at
        h, after, _ = _steps(plan, given, x_of, mask_of, state)
        return after, (h, state)

    last, (h, starts) = lax.scan(of_segment, start, _in_segments(plan, x, mask), reverse=reverse)
    return (_joined(h, len(x)), last), _Cache(given, x, mask, starts, None, Static(plan))


def _steps(plan: _Plan, params: Any, x: Any, mask: Any, start: Any) -> Any:
    """(h, the last state, _Record) of all steps of x, in one loop."""
    cell = plan.cell
    # The products with x need no earlier step: one matrix product for the whole sequence.
    z = x @ params["weight_x"].T

    def step(state: Any, at_t: Any) -> Any:
        z_t, counts = at_t
        # Added in the loop, where z_t is read anyway: before the loop, all of z would be written a second time.
        z_t = z_t + params["bias"] if "bias" in params else z_t
        after, kept = cell.step(params, state, z_t)
        cell.expect_state("step", state, after)
        slopes = cell.slopes(params, Step(state, after, kept))
        if counts is not None:
            after = jax.tree.map(lambda new, old: jnp.where(counts, new, old), after, state)
        return after, (cell.shown(after), slopes)

    last, (h, slopes) = lax.scan(step, start, (z, mask), reverse=plan.reverse)
    return h, last, _Record(h, slopes)


def through_time(cache: Any, dy: Any) -> Any:
    """Backpropagation through time: gradients of the weights as sums over time, of x and of the initial state.

    The loss sees h_t as part of the value, and s_t through step t + 1. Let ds_t be its whole cotangent:

        ds_T = dlast + (dh_T, 0, ...)        ds_t = (∂s_{t+1}/∂s_t)ᵀ ds_{t+1} + (dh_t, 0, ...)

    The cell's backward pass gives dz_t and (∂s_t/∂s_{t-1})ᵀ ds_t from ds_t, for each t from the last to the
    first. The cotangent that is left over at the end is that of the initial state. z_t = W_x x_t + b then gives

        dW_x = Σ_t dz_t x_tᵀ        db = Σ_t dz_t        dx_t = W_xᵀ dz_t

    and the recurrence in the same way, for most cells dW_h = Σ_t dz_t h_{t-1}ᵀ. The factors of these sums wait until
    the loop has ended, so that each sum is one matrix product. The cell's slopes need no dy: they are found in the
    loop forward. A step that is left out has s_t = s_{t-1}: dz_t = 0, and ds_t passes as it is.

    In segments, the steps of each are run forward again from the state before it, then backward; ds goes from one
    segment to the one before, and the sums over time are those over the segments.

    Args:
      cache: of an op made by `over_time`.
      dy: (dh of all times (time, n_hidden), dlast in the structure of the state), None for zeros.
    Returns:
      (factors, dx, dinitial): {name: (b, a), b, or [(b, a), ...]} as `Cell` describes `products`; dinitial in the
      structure of the initial state, None if none was given.
    Source: Rumelhart, Hinton & Williams (1986); Werbos (1990); in segments, Chen et al. (2016).
    """
    plan, (dh, dlast) = cache.static.value, dy
    start, record = cache.start, cache.record
    if record is None:
        start = jax.tree.map(lambda a: a[-1 if plan.reverse else 0], start)
        *_, record = _steps(plan, cache.params, cache.x, cache.mask, start)
    if dh is not None:
        dh = time_first(dh)
    if dlast is None:
        dlast = jax.tree.map(jnp.zeros_like, start)
    # Without an initial state it is zero.
    start = None if plan.initial_tree.num_leaves == 0 else start
    factors, dx, dinitial = _steps_back(plan, cache.params, cache.x, cache.mask, start, record, dh, dlast)
    return {name: factors[name] for name in plan.entries.names}, time_first(dx), _as_initial(plan, dinitial)


def _steps_back(plan: _Plan, params: Any, x: Any, mask: Any, start: Any, record: _Record, dh: Any, dlast: Any) -> Any:
    """(factors, dx, the cotangent of the state before), of all steps of x, in one loop."""
    cell = plan.cell

    def step(dstate: Any, at_t: Any) -> Any:
        dh_t, slopes_t, counts = at_t
        if dh_t is not None:
            first, *others = jax.tree.leaves(dstate)
            dstate = cell.pack([first + dh_t, *others])
        d_t, dbefore = cell.backward(params, slopes_t, dstate)
        cell.expect_state("backward", dstate, dbefore)
        if counts is not None:
            d_t = jax.tree.map(lambda d: jnp.where(counts, d, 0), d_t)
            dbefore = jax.tree.map(lambda new, old: jnp.where(counts, new, old), dbefore, dstate)
        return dbefore, d_t

    dstart, d = lax.scan(step, dlast, (dh, record.slopes, mask), reverse=not plan.reverse)
    dz = d[0] if isinstance(d, tuple) else d
    expect_shape(cell.name, "dz of the cell's backward pass", dz, (dz.shape[0], params["weight_x"].shape[0]))
    h_before = _before(plan, record.h, None if start is None else cell.shown(start))
    factors = {"weight_x": (dz, x), "bias": dz} | cell.products(h_before, record.slopes, d)
    of_recurrence = sorted(set(plan.entries.names) - {"weight_x", "bias"})
    expect(set(of_recurrence) <= set(factors), cell.name, f"its products to hold {of_recurrence}",
           str(sorted(set(factors) - {"weight_x", "bias"})), f"give them by @{cell.__name__}.defproducts")
    return factors, dz @ params["weight_x"], dstart


def _through_segments(cache: _Cache, dy: Any) -> Any:
    """(dparams by name, dx, dinitial), segment by segment from the last one. `jax.checkpoint` around the body keeps JAX
    from saving what each segment leaves when it transposes this function."""
    plan, params, (dh, dlast) = cache.static.value, cache.params, dy
    if dlast is None:
        dlast = jax.tree.map(lambda a: jnp.zeros_like(a[0]), cache.start)
    dh = None if dh is None else time_first(dh)

    def of_segment(carry: Any, at: Any) -> Any:
        dstate, totals = carry
        (x, mask), start, dh = at
        *_, record = _steps(plan, params, x, mask, start)
        factors, dx, dstate = _steps_back(plan, params, x, mask, start, record, dh, dstate)
        sums = _sums({name: factors[name] for name in totals}, record)
        return (dstate, {name: total + sums[name] for name, total in totals.items()}), dx

    totals = {name: jnp.zeros_like(wide(params[name])) for name in plan.entries.names}
    slices = _in_segments(plan, cache.x, cache.mask), cache.start, _in_segments(plan, dh)[0]
    (dstate, totals), dx = lax.scan(jax.checkpoint(of_segment, prevent_cse=False), (dlast, totals), slices,
                                    reverse=not plan.reverse)
    dparams = {name: total.astype(params[name].dtype) for name, total in totals.items()}
    return dparams, time_first(_joined(dx, len(cache.x))), _as_initial(plan, dstate)


def _in_segments(plan: _Plan, x: Any, mask: Any = None) -> Any:
    """(x, mask) as (segments, steps, ...). The last segment is filled up with steps that are left out."""
    if x is None:
        return None, None
    time, steps = len(x), min(plan.segment or len(x), len(x))
    more = -time % steps
    if more and mask is None:
        mask = jnp.full(time, True)

    def split(a: Any) -> Any:
        return jnp.pad(a, ((0, more), *((0, 0),) * (a.ndim - 1))).reshape(-1, steps, *a.shape[1:])

    return split(x), None if mask is None else split(mask)


def _joined(a: Any, time: int) -> Any:
    """Segments as one sequence, without what the last one was filled up with."""
    return a.reshape(-1, *a.shape[2:])[:time]


def _as_initial(plan: _Plan, dstate: Any) -> Any:
    return plan.initial_tree.unflatten(jax.tree.leaves(dstate)[:plan.initial_tree.num_leaves])


def _before(plan: _Plan, h: Any, start: Any) -> Any:
    """h_{t-1} of all times, from h_t and h before the first step, None for zeros.

    By padding: under `vmap` a concatenation would move the axis of the examples to the front.
    """
    def padded(a: Any, before: int, after: int) -> Any:
        if plan.reverse:
            before, after = after, before
        return lax.pad(a, jnp.zeros((), a.dtype), ((before, after, 0), (0, 0, 0)))

    shifted = padded(h[1:] if plan.reverse else h[:-1], 1, 0)
    return shifted if start is None else shifted + padded(time_first(start[None]), 0, len(h) - 1)


def _sums(factors: dict[str, Any], record: _Record) -> dict[str, Any]:
    states = jax.tree.leaves(record)
    return {name: _summed(factor, states) for name, factor in factors.items()}


def _summed(factor: Any, states: list[Any]) -> Any:
    """Σ_t b_t a_tᵀ, Σ_t b_t, or blocks of rows.

    A product is of factors in their own dtype: the units that multiply matrices add up in float32. A sum over time, and
    over the examples, has no such unit.
    """
    if isinstance(factor, list):
        return jnp.concatenate([_summed(block, states) for block in factor])
    b, a = factor if isinstance(factor, tuple) else (factor, None)
    if a is None:
        return jnp.sum(wide_over_batch(b, *states), 0)
    return jnp.einsum("tb,ta->ba", b, a)
