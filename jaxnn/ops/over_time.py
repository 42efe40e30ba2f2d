"""One loop over time: a cell says what one step does, and `over_time(cell)` runs and differentiates it.

    z_t = W_x x_t + b                       what step t gets from the input: for all t at once, before the loop
    s_t = step(s_{t-1}, z_t)                the state: h_t, or (h_t, c_t, ...), h_t being what is shown

A cell (`jaxnn.ops.cell`) is a step and its backward pass; here it is run over all times, forward and backward.

    h, last = over_time(lstm_cell)(params, x)

Sizes: time, n_in, n_hidden.
"""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import Entries, expect, expect_float, expect_shape
from jaxnn.hand_derived import HandDerived, Static
from jaxnn.ops.cell import Cell, Step
from jaxnn.ops.dtypes import promoted, wide_over_batch
from jaxnn.ops.time_first import time_first

__all__ = ["over_time", "through_time"]

_ARGUMENTS = """
Args:
  params: {params}.
  x: (time, n_in), one sequence.
  initial: {initial} before the first step, each (n_hidden,), {container}; None for zeros.
  mask: (time,) of bool; where it is False the step is left out: the state stays as it was, h_t is that of the
    state, and x_t has no gradient. None for all True.
  reverse: go from the last step to the first; h stays aligned with x, and the last state is that at step 0.
Returns:
  (h, last): h (time, n_hidden), and the state after the last step, {last}.
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
    """The op (params, x, initial=None, mask=None, *, reverse=False) -> (h of all times, last state).

    It has the cell's name without "_cell". Its backward pass is `through_time`. The last hidden state, or one
    of the states alone, is read off its value.
    """
    def forward(params: Any, x: Any, initial: Any = None, mask: Any = None, *, reverse: bool = False) -> Any:
        return _run(cell, params, x, initial, mask, reverse)

    expect(isinstance(cell, Cell), "over_time", "a cell, made by @cell", repr(cell))
    forward.__name__ = forward.__qualname__ = cell.name
    forward.__module__ = cell.step.__module__
    forward.__doc__ = _description(cell)
    op = HandDerived(forward)

    def backward(cache: Any, dy: Any) -> Any:
        factors, dx, dinitial = through_time(cache, dy)
        states = jax.tree.leaves(cache.after)
        dparams = {name: _summed(factor, states) for name, factor in factors.items()}
        return cache.static.value.entries.fill(**dparams), dx, dinitial, None

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
        params="{" + ", ".join(shapes) + "}", initial=", ".join(f"{name}_0" for name in cell.state),
        container="an array" if alone else "in a tuple, list or namedtuple",
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
    params: Any  # without the bias
    x: Any
    mask: Any
    initial: Any
    after: Any  # the states of all times
    kept: Any
    static: Any  # Static(_Plan)


class _Plan(NamedTuple):
    cell: Cell
    reverse: bool
    entries: Entries  # of params
    initial_tree: Any  # without leaves: no initial state was given


def _run(cell: Cell, params: Any, x: Any, initial: Any, mask: Any, reverse: bool) -> Any:
    given, entries, n = cell.weights(params)
    expect_float(cell.name, "x", x)
    expect_shape(cell.name, "x", x, ("time", given["weight_x"].shape[1]))
    expect(x.shape[0] > 0, cell.name, "at least one time step", str(x.shape))
    expect(isinstance(reverse, bool), cell.name, "reverse to be True or False", repr(reverse))
    if mask is not None:
        dtype = getattr(mask, "dtype", None)
        expect(dtype is not None and jnp.issubdtype(dtype, bool), cell.name, "mask, an array of bool",
               type(mask).__name__ if dtype is None else str(dtype), "True stands for a step that counts")
        expect_shape(cell.name, "mask", mask, (x.shape[0],))
    states = None if initial is None else cell.states(initial, n)

    # One promotion rule for all that meet in the loop, where the dtype of the state must stay what it is.
    x, *others = promoted(x, *given.values(), *(states or []))
    given = dict(zip(given, others, strict=False))
    # zeros_like and not zeros: inside `shard_map` it varies over the mesh axes that x varies over.
    start = cell.pack([jnp.zeros_like(x, shape=(n,))] * len(cell.state) if states is None else others[len(given):])
    if mask is not None:
        x = jnp.where(mask[:, None], x, 0)  # padding of inf or NaN would reach the weights as 0 times inf
    x = time_first(x)
    # The products with x need no earlier step: one matrix product for the whole sequence.
    z = x @ given["weight_x"].T
    bias = given.pop("bias", None)
    z = z if bias is None else z + bias

    def step(state: Any, at_t: Any) -> Any:
        z_t, counts = at_t
        after, kept = cell.step(given, state, z_t)
        cell.expect_state("step", state, after)
        if counts is not None:
            after = jax.tree.map(lambda new, old: jnp.where(counts, new, old), after, state)
        return after, (after, kept)

    last, (after, kept) = lax.scan(step, start, (z, mask), reverse=reverse)
    plan = _Plan(cell, reverse, entries, jax.tree.structure(initial))
    return (cell.shown(after), last), _Cache(given, x, mask, start, after, kept, Static(plan))


def through_time(cache: Any, dy: Any) -> Any:
    """Backpropagation through time: gradients of the weights as sums over time, of x and of the initial state.

    The loss sees h_t as part of the value, and s_t through step t + 1. Let ds_t be its whole cotangent:

        ds_T = dlast + (dh_T, 0, ...)        ds_t = (∂s_{t+1}/∂s_t)ᵀ ds_{t+1} + (dh_t, 0, ...)

    The cell's backward pass gives dz_t and (∂s_t/∂s_{t-1})ᵀ ds_t from ds_t, for each t from the last to the
    first. The cotangent that is left over at the end is that of the initial state. z_t = W_x x_t + b then gives

        dW_x = Σ_t dz_t x_tᵀ        db = Σ_t dz_t        dx_t = W_xᵀ dz_t

    and the recurrence in the same way, for most cells dW_h = Σ_t dz_t h_{t-1}ᵀ. The factors of these sums wait until
    the loop has ended, so that each sum is one matrix product. The cell's slopes need no dy: they are found
    before the loop. A step that is left out has s_t = s_{t-1}: dz_t = 0, and ds_t passes as it is.

    Args:
      cache: of an op made by `over_time`.
      dy: (dh of all times (time, n_hidden), dlast in the structure of the state), None for zeros.
    Returns:
      (factors, dx, dinitial): {name: (b, a), b, or [(b, a), ...]} as `Cell` describes `products`; dinitial in the
      structure of the initial state, None if none was given.
    Source: Rumelhart, Hinton & Williams (1986); Werbos (1990).
    """
    cell, reverse, entries, initial_tree = cache.static.value
    params, (dh, dlast) = cache.params, dy
    steps = Step(_states_before(cache), cache.after, cache.kept)
    if dh is not None:
        dh = time_first(dh)
    if dlast is None:
        dlast = jax.tree.map(jnp.zeros_like, cache.initial)

    def step(dstate: Any, at_t: Any) -> Any:
        dh_t, slopes_t, counts = at_t
        if dh_t is not None:
            first, *others = jax.tree.leaves(dstate)
            dstate = cell.pack([first + dh_t, *others])
        dz_t, dbefore = cell.backward(params, slopes_t, dstate)
        cell.expect_state("backward", dstate, dbefore)
        if counts is not None:
            dz_t = jnp.where(counts, dz_t, 0)
            dbefore = jax.tree.map(lambda new, old: jnp.where(counts, new, old), dbefore, dstate)
        return dbefore, dz_t

    dinitial, dz = lax.scan(step, dlast, (dh, cell.slopes(params, steps), cache.mask), reverse=not reverse)
    expect_shape(cell.name, "dz of the cell's backward pass", dz, (dz.shape[0], params["weight_x"].shape[0]))
    factors = {"weight_x": (dz, cache.x), "bias": dz} | cell.products(steps, dz)
    of_recurrence = sorted(set(entries.names) - {"weight_x", "bias"})
    expect(set(of_recurrence) <= set(factors), cell.name, f"its products to hold {of_recurrence}",
           str(sorted(set(factors) - {"weight_x", "bias"})), f"give them by @{cell.__name__}.defproducts")
    dinitial = initial_tree.unflatten(jax.tree.leaves(dinitial)[:initial_tree.num_leaves])
    return {name: factors[name] for name in entries.names}, time_first(dz @ params["weight_x"]), dinitial


def _states_before(cache: _Cache) -> Any:
    """s_{t-1} of all times, from s_t and the initial state.

    By padding: under `vmap` a concatenation would move the axis of the examples to the front.
    """
    plan = cache.static.value
    time = cache.x.shape[0]

    def padded(a: Any, before: int, after: int) -> Any:
        if plan.reverse:
            before, after = after, before
        return lax.pad(a, jnp.zeros((), a.dtype), ((before, after, 0), (0, 0, 0)))

    def one(start: Any, after: Any) -> Any:
        shifted = padded(after[1:] if plan.reverse else after[:-1], 1, 0)
        # Without an initial state it is zero.
        return shifted if plan.initial_tree.num_leaves == 0 else shifted + padded(time_first(start[None]), 0, time - 1)

    return jax.tree.map(one, cache.initial, cache.after)


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
