"""One loop over time: a cell says what one step does, and `over_time(cell)` runs and differentiates it.

    z_t = W_x x_t + b                       what step t gets from the input: for all t at once, before the loop
    s_t = step(s_{t-1}, z_t)                the state: h_t, or (h_t, c_t, ...), h_t being what is shown

A cell is a step and its backward pass for one step of one example, with equations and derivation side by side:

    @cell(state="h", params={"weight_x": "n_hidden n_in", "weight_h": "n_hidden n_hidden", "bias": "n_hidden?"})
    def leaky(params, h, z):
        '''h_t = (h + tanh a) / 2  with  a = z_t + W_h h,  h = h_{t-1}'''
        y = jnp.tanh(z + h @ params["weight_h"].T)
        return (h + y) / 2, y                              # the next state, and what backward wants kept

    @leaky.defbackward
    def leaky_backward(params, step, dh):
        '''dz = da = dh (1 - tanh² a) / 2        dh_{t-1} = dh / 2 + W_hᵀ da'''
        dz = dh * (1 - step.kept ** 2) / 2
        return dz, dh / 2 + dz @ params["weight_h"]        # cotangents of z_t and of the state before

    h, last = over_time(leaky)(params, x)

`step` is a `Step`: the states before and after, and what was kept. Two more functions may be given.
`defslopes`: (params, steps) -> what backward gets in place of `step`, found for all times at once, with time as
first axis: what does not depend on dh is then out of the loop. `defproducts`: (steps, dz) -> the products whose sum
over time is the gradient of each weight of the recurrence; {"weight_h": (dz, h_{t-1})} if it is not given.

Sizes: time, n_in, n_hidden.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxnn.checks import InputError, expect, expect_float, expect_shape
from jaxnn.hand_derived import HandDerived, Static
from jaxnn.ops.dtypes import promoted, wide_over_batch
from jaxnn.ops.time_first import time_first

__all__ = ["Cell", "Step", "cell", "over_time", "through_time"]


class Step(NamedTuple):
    """What a step leaves for its backward pass; of all times at once, with time as the first axis.

    before, after: the states s_{t-1} and s_t. kept: what the cell's step gave beside its next state.
    """

    before: Any
    after: Any
    kept: Any


class Cell:
    """A step and its backward pass, made by `cell`.

    step(params, state, z) -> (next state, kept): one step; z = W_x x_t + b.
    backward(params, slopes, dstate) -> (dz, dstate before): linear in dstate, the whole cotangent of the next state.
    slopes(params, steps): what backward reads of a step, for all times at once; the steps themselves by default.
    products(steps, dz): {name: (b, a)} for a weight whose gradient is Σ_t b_t a_tᵀ, {name: b} where it is Σ_t b_t;
      a list of pairs for blocks of rows, one under another.
    """

    def __init__(self, step: Callable, state: tuple[str, ...], params: Mapping[str, str]):
        self.__name__, self.__doc__, self.__module__ = step.__name__, step.__doc__, step.__module__
        self.name = step.__name__.removesuffix("_cell")
        self.step, self.state, self.params = step, state, dict(params)
        self._backward: Callable | None = None
        self.slopes: Callable = lambda params, steps: steps
        self.products: Callable = lambda steps, dz: {"weight_h": (dz, self.shown(steps.before))}

    def defbackward(self, backward: Callable) -> Callable:
        self._backward = backward
        return backward

    def defslopes(self, slopes: Callable) -> Callable:
        self.slopes = slopes
        return slopes

    def defproducts(self, products: Callable) -> Callable:
        self.products = products
        return products

    @property
    def backward(self) -> Callable:
        if self._backward is None:
            raise InputError(f"the cell '{self.name}'",
                             f"has no backward pass; write it under @{self.__name__}.defbackward")
        return self._backward

    def shown(self, state: Any) -> Any:
        """h of a state."""
        return state if len(self.state) == 1 else state[0]

    def pack(self, leaves: list[Any]) -> Any:
        """A state of its arrays: h alone, or a tuple."""
        return leaves[0] if len(self.state) == 1 else tuple(leaves)

    def __repr__(self) -> str:
        return f"<cell {self.name}({', '.join(self.state)})>"


def cell(*, state: str, params: Mapping[str, str]) -> Callable[[Callable], Cell]:
    """Makes a cell of its step.

    Args:
      state: the names of the state's parts, "h" or "h c"; the first is what is shown. Each is (n_hidden,).
      params: the shape of each parameter by name, as "4*n_hidden n_in"; with "?" at the end it may be left out.
        "weight_x" (rows of z, n_in) and "bias", if there is one, make z; the others belong to the step.
    """
    expect("weight_x" in params, "cell", "params to name 'weight_x', which makes z", str(sorted(params)))
    return lambda step: Cell(step, tuple(state.split()), params)


_ARGUMENTS = """
Args:
  params: {params}; those with "?" may be left out.
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


@functools.cache
def over_time(cell: Cell) -> HandDerived:
    """The op (params, x, initial=None, mask=None, *, reverse=False) -> (h of all times, last state).

    It has the cell's name without "_cell". Its backward pass is `through_time`. The last hidden state, or one
    of the states alone, is read off its value.
    """
    def forward(params: Any, x: Any, initial: Any = None, mask: Any = None, *, reverse: bool = False) -> Any:
        return _run(cell, params, x, initial, mask, reverse)

    expect(isinstance(cell, Cell), "over_time", "a cell, made by @cell", repr(cell))
    starts = ", ".join(f"{name}_0" for name in cell.state)
    alone = len(cell.state) == 1
    forward.__name__ = forward.__qualname__ = cell.name
    forward.__module__ = cell.step.__module__
    shapes = (f"{name} ({shape.replace(' ', ', ')})" for name, shape in cell.params.items())
    forward.__doc__ = inspect.cleandoc(cell.step.__doc__ or "") + "\n" + _ARGUMENTS.format(
        params=", ".join(shapes), initial=starts,
        container="an array" if alone else "in a tuple, list or namedtuple",
        last="h" if alone else f"({', '.join(cell.state)})")
    op = HandDerived(forward)

    def backward(cache: Any, dy: Any) -> Any:
        factors, dx, dinitial = through_time(cache, dy)
        states = jax.tree.leaves(cache.after)
        dparams = {name: _summed(factor, states) for name, factor in factors.items()}
        return _in_params(cache, dparams), dx, dinitial, None

    of_step = inspect.getdoc(cell.backward) or "No derivation is given."
    backward.__doc__ = (f"{inspect.getdoc(through_time)}\n\nA step's own backward pass, of the cell "
                        f"{getattr(cell, '__name__', cell.name)}:\n\n{of_step}")
    op.defbackward(backward)
    return op


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
    params_tree: Any
    names: tuple[str, ...]  # of the leaves of params
    initial_tree: Any  # without leaves: no initial state was given


def _run(cell: Cell, params: Any, x: Any, initial: Any, mask: Any, reverse: bool) -> Any:
    names, given, n = _checked_params(cell, params)
    expect_float(cell.name, "x", x)
    expect_shape(cell.name, "x", x, ("time", given["weight_x"].shape[1]))
    expect(x.shape[0] > 0, cell.name, "at least one time step", str(x.shape))
    expect(isinstance(reverse, bool), cell.name, "reverse to be True or False", repr(reverse))
    if mask is not None:
        dtype = getattr(mask, "dtype", None)
        expect(dtype is not None and jnp.issubdtype(dtype, bool), cell.name, "mask, an array of bool",
               type(mask).__name__ if dtype is None else str(dtype), "True stands for a step that counts")
        expect_shape(cell.name, "mask", mask, (x.shape[0],))
    states = None if initial is None else _checked_initial(cell, initial, n)

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
        _expect_state(cell, "step", state, after)
        if counts is not None:
            after = jax.tree.map(lambda new, old: jnp.where(counts, new, old), after, state)
        return after, (after, kept)

    last, (after, kept) = lax.scan(step, start, (z, mask), reverse=reverse)
    plan = _Plan(cell, reverse, jax.tree.structure(params), names, jax.tree.structure(initial))
    return (cell.shown(after), last), _Cache(given, x, mask, start, after, kept, Static(plan))


def through_time(cache: Any, dy: Any) -> Any:
    """Backpropagation through time: the factors of the weights' gradients, dx, and that of the initial state.

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
    cell, reverse, _, names, initial_tree = cache.static.value
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
        _expect_state(cell, "backward", dstate, dbefore)
        if counts is not None:
            dz_t = jnp.where(counts, dz_t, 0)
            dbefore = jax.tree.map(lambda new, old: jnp.where(counts, new, old), dbefore, dstate)
        return dbefore, dz_t

    dinitial, dz = lax.scan(step, dlast, (dh, cell.slopes(params, steps), cache.mask), reverse=not reverse)
    expect_shape(cell.name, "dz of the cell's backward pass", dz, (dz.shape[0], params["weight_x"].shape[0]))
    factors = {"weight_x": (dz, cache.x), "bias": dz} | cell.products(steps, dz)
    expect(set(names) <= set(factors), cell.name, f"its products to hold {sorted(set(names) - {'weight_x', 'bias'})}",
           str(sorted(set(factors) - {"weight_x", "bias"})), f"give them by @{cell.__name__}.defproducts")
    dinitial = initial_tree.unflatten(jax.tree.leaves(dinitial)[:initial_tree.num_leaves])
    return {name: factors[name] for name in names}, time_first(dz @ params["weight_x"]), dinitial


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
    """Σ_t b_t a_tᵀ, Σ_t b_t, or blocks of rows, added up in float32 at least."""
    if isinstance(factor, list):
        return jnp.concatenate([_summed(block, states) for block in factor])
    b, a = factor if isinstance(factor, tuple) else (factor, None)
    if a is None:
        return jnp.sum(wide_over_batch(b, *states), 0)
    return jnp.einsum("tb,ta->ba", b, a, preferred_element_type=jnp.promote_types(b.dtype, jnp.float32))


def _in_params(cache: _Cache, by_name: dict[str, Any]) -> Any:
    plan = cache.static.value
    return plan.params_tree.unflatten([by_name[name] for name in plan.names])


def _expect_state(cell: Cell, part: str, before: Any, after: Any) -> None:
    trees: list[Any] = [jax.tree.structure(state) for state in (before, after)]
    fits = trees[0] == trees[1]
    want, got = (", ".join(f"{jnp.result_type(a)}{list(jnp.shape(a))}" for a in jax.tree.leaves(state))
                 for state in (before, after))
    expect(fits and want == got, cell.name, f"its {part} to return a state ({', '.join(cell.state)}) of {want}",
           got if fits else str(trees[1]))


def _checked_params(cell: Cell, params: Any) -> tuple[tuple[str, ...], dict[str, Any], int]:
    """The names of the leaves of params, params by name, and n_hidden."""
    who = cell.name
    required = sorted(name for name, shape in cell.params.items() if not shape.endswith("?"))
    may = f" (and, if wanted, {sorted(set(cell.params) - set(required))})" if len(required) < len(cell.params) else ""
    is_dict = isinstance(params, Mapping)
    given = {name: a for name, a in params.items() if a is not None} if is_dict else {}
    expect(is_dict and set(required) <= set(given) and set(params) <= set(cell.params), who,
           f"params to be {required}{may}", f"keys {sorted(params)}" if is_dict else type(params).__name__)
    shapes = {name: cell.params[name].removesuffix("?").split() for name in given}
    sizes: dict[str, int] = {}

    def size(word: str) -> int | str:
        times, _, name = word.rpartition("*")
        return int(times or 1) * sizes[name] if name in sizes else word

    # The weight from hidden to hidden first: the others are measured by its n_hidden.
    for name in sorted(given, key=lambda name: (-shapes[name].count("n_hidden"), -len(shapes[name]))):
        expect_float(who, name, given[name])
        expect_shape(who, name, given[name], [size(word) for word in shapes[name]])
        sizes = dict(zip(shapes[name], given[name].shape, strict=True)) | sizes
        expect_shape(who, name, given[name], [size(word) for word in shapes[name]])
    expect(not jax.tree_util.all_leaves([params]), who, "params in a mapping that JAX knows as a tree",
           type(params).__name__, "convert it: dict(params)")
    tree: Any = jax.tree.structure(params)
    order = tree.unflatten(range(tree.num_leaves))
    names = sorted(given, key=lambda name: order[name])
    return tuple(names), given, sizes["n_hidden"]


def _checked_initial(cell: Cell, initial: Any, n: int) -> list[Any]:
    starts = [f"{name}_0" for name in cell.state]
    if len(starts) == 1:
        states = [initial]
        wanted = f"initial to be {starts[0]}, an array"
    else:
        is_row = isinstance(initial, tuple | list) and len(initial) == len(starts)
        wanted = f"initial to be ({', '.join(starts)})"
        expect(is_row, cell.name, wanted, type(initial).__name__)
        states = list(initial)
    for name, state in zip(starts, states, strict=True):
        expect(hasattr(state, "dtype"), cell.name, wanted, f"{name}, a {type(state).__name__}")
        expect_float(cell.name, name, state)
        expect_shape(cell.name, name, state, (n,))
    return states
