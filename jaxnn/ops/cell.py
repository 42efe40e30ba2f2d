"""A cell: what one step of a recurrent network does, and its backward pass.

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

How the gradient of all steps is made of it is derived in `jaxnn.ops.over_time`. Sizes: n_in, n_hidden.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import Entries, InputError, expect, expect_float, expect_shape, weights

__all__ = ["Cell", "Step", "cell"]


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

    def weights(self, params: Any) -> tuple[dict[str, Any], Entries, int]:
        """(the arrays of params by name, its Entries, n_hidden); InputError where they do not fit."""
        # The weight from hidden to hidden first: the others are measured by its n_hidden.
        names = sorted(self.params, key=lambda name: -self.params[name].count("n_hidden"))
        *arrays, entries = weights(self.name, params, **{name: self.params[name] for name in names})
        given = {name: a for name, a in zip(names, arrays, strict=True) if a is not None}
        return given, entries, next(n for name in given for n in self._n_hidden(name, given[name]))

    def _n_hidden(self, name: str, array: Any) -> Iterator[int]:
        for word, n in zip(self.params[name].rstrip("?").split(), array.shape, strict=True):
            times, _, size = word.rpartition("*")
            if size == "n_hidden":
                yield n // int(times or 1)

    def states(self, initial: Any, n: int) -> list[Any]:
        """The arrays of an initial state, each (n,); InputError where it is none."""
        starts = [f"{name}_0" for name in self.state]
        if len(starts) == 1:
            states, expected = [initial], f"initial to be {starts[0]}, an array"
        else:
            expected = f"initial to be ({', '.join(starts)})"
            is_row = isinstance(initial, tuple | list) and len(initial) == len(starts)
            expect(is_row, self.name, expected, type(initial).__name__)
            states = list(initial)
        for name, state in zip(starts, states, strict=True):
            expect(hasattr(state, "dtype"), self.name, expected, f"{name}, a {type(state).__name__}")
            expect_float(self.name, name, state)
            expect_shape(self.name, name, state, (n,))
        return states

    def expect_state(self, part: str, before: Any, after: Any) -> None:
        """Refuses what the cell's step, or its backward pass, returns in place of a state like the one before."""
        trees: list[Any] = [jax.tree.structure(state) for state in (before, after)]
        fits = trees[0] == trees[1]
        due, actual = (", ".join(f"{jnp.result_type(a)}{list(jnp.shape(a))}" for a in jax.tree.leaves(state))
                       for state in (before, after))
        expect(fits and due == actual, self.name, f"its {part} to return a state ({', '.join(self.state)}) of {due}",
               actual if fits else str(trees[1]))

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
    expect(any("n_hidden" in shape and not shape.endswith("?") for shape in params.values()), "cell",
           "a parameter whose shape names n_hidden", str(dict(params)))
    return lambda step: Cell(step, tuple(state.split()), params)
