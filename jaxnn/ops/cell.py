"""A cell: what one step of a recurrent network does, and its backward pass.

A cell is a step and its backward pass for one step of one example, with equations and derivation side by side. The
minimal gated unit (Zhou et al. 2016), as a cell of one's own:

    @cell(state="h", params={"weight_x": "2*n_hidden n_in", "weight_h": "2*n_hidden n_hidden", "bias": "2*n_hidden?"})
    def minimal_gated_unit(params, h, z):
        '''f = σ(z_f + W_f h)    g = tanh(z_g + W_g (f h))    h_t = (1 - f) h + f g'''
        W_f, W_g = jnp.split(params["weight_h"], 2)
        z_f, z_g = jnp.split(z, 2)
        f = jax.nn.sigmoid(z_f + h @ W_f.T)
        g = jnp.tanh(z_g + (f * h) @ W_g.T)
        return (1 - f) * h + f * g, (f, g)                 # the next state, and what backward wants kept

    @minimal_gated_unit.defbackward
    def minimal_gated_unit_backward(params, step, dh):
        '''dz_g = dh f (1-g²)    d(fh) = W_gᵀ dz_g    df = dh (g-h) + d(fh) h    dz_f = df f (1-f)'''
        h, (f, g) = step.before, step.kept
        W_f, W_g = jnp.split(params["weight_h"], 2)
        dz_g = dh * f * (1 - g * g)
        dfh = dz_g @ W_g
        dz_f = (dh * (g - h) + dfh * h) * f * (1 - f)
        # The cotangents of z_t and of the state before.
        return jnp.concatenate([dz_f, dz_g]), dh * (1 - f) + dfh * f + dz_f @ W_f

    @minimal_gated_unit.defproducts
    def minimal_gated_unit_products(h, step, dz):
        '''dW_f = Σ_t dz_f hᵀ    dW_g = Σ_t dz_g (f h)ᵀ'''
        dz_f, dz_g = jnp.split(dz, 2, -1)
        return {"weight_h": [(dz_f, h), (dz_g, step.kept[0] * h)]}

    h, last = over_time(minimal_gated_unit)(params, x)

`step` is a `Step`: the states before and after, and what was kept. Two more functions may be given.
`defslopes`: (params, step) -> what backward and the products read in place of `step`, found in the loop forward: what
does not depend on dh is then out of the loop backward, and no more is kept than that.
`defproducts`: (h, slopes, d), each of all times, h being h_{t-1} -> the products whose sum over time is the gradient of
each weight of the recurrence; {"weight_h": (dz, h)} if it is not given.

How the gradient of all steps is made of it is derived in `jaxnn.ops.over_time`. Sizes: n_in, n_hidden.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import Entries, InputError, expect, expect_float, expect_shape, weights

__all__ = ["Cell", "Step", "cell"]


class Step(NamedTuple):
    """What a step leaves for its backward pass. before, after: the states s_{t-1} and s_t. kept: what the cell's step
    gave beside its next state.
    """

    before: Any
    after: Any
    kept: Any


class Cell:
    """A step and its backward pass, made by `cell`.

    step(params, state, z) -> (next state, kept): one step; z = W_x x_t + b.
    backward(params, slopes, dstate) -> (d, dstate before): linear in dstate, the whole cotangent of the next state. d
      is dz, or a tuple of what the products need, dz first.
    slopes(params, step): what backward reads of a step; the step itself by default.
    products(h, slopes, d), of all times: {name: (b, a)} for a weight whose gradient is Σ_t b_t a_tᵀ, {name: b} where it
      is Σ_t b_t; a list of pairs for blocks of rows, one under another.
    """

    def __init__(self, step: Callable, state: Mapping[str, str], params: Mapping[str, str]):
        self.__name__, self.__doc__, self.__module__ = step.__name__, step.__doc__, step.__module__
        self.name = step.__name__.removesuffix("_cell")
        self.step, self.state, self.params = step, dict(state), dict(params)
        self._backward: Callable | None = None
        self.slopes: Callable = lambda params, step: step
        self.products: Callable = lambda h, slopes, dz: {"weight_h": (dz, h)}

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

    def weights(self, params: Any) -> tuple[dict[str, Any], Entries, tuple[int, ...]]:
        """(the arrays of params by name, its Entries, the size of each part of the state); InputError where they do not
        fit."""
        # The weight from hidden to hidden first: the others are measured by its n_hidden.
        names = sorted(self.params, key=lambda name: -self.params[name].count("n_hidden"))
        *arrays, entries = weights(self.name, params, **{name: self.params[name] for name in names})
        given = {name: a for name, a in zip(names, arrays, strict=True) if a is not None}
        sizes: dict[str, int] = {}
        for name, array in given.items():
            for word, n in zip(self.params[name].rstrip("?").split(), array.shape, strict=True):
                times, _, size = word.rpartition("*")
                sizes[size] = n // int(times or 1)
        return given, entries, tuple(sizes[size] for size in self.state.values())

    def states(self, initial: Any, sizes: tuple[int, ...]) -> list[Any]:
        """The arrays of an initial state, each of its size; InputError where it is none."""
        starts = [f"{name}_0" for name in self.state]
        if len(starts) == 1:
            states, expected = [initial], f"initial to be {starts[0]}, an array"
        else:
            expected = f"initial to be ({', '.join(starts)})"
            is_row = isinstance(initial, tuple | list) and len(initial) == len(starts)
            expect(is_row, self.name, expected, type(initial).__name__)
            states = list(initial)
        for name, state, n in zip(starts, states, sizes, strict=True):
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


def cell(*, state: str | Mapping[str, str], params: Mapping[str, str]) -> Callable[[Callable], Cell]:
    """Makes a cell of its step.

    Args:
      state: the names of the state's parts, "h" or "h c", each (n_hidden,); or their sizes by name, {"h": "n_out",
        "c": "n_hidden"}, in the words of `params`. The first is what is shown.
      params: the shape of each parameter by name, as "4*n_hidden n_in"; with "?" at the end it may be left out.
        "weight_x" (rows of z, n_in) and "bias", if there is one, make z; the others belong to the step.
    """
    expect("weight_x" in params, "cell", "params to name 'weight_x', which makes z", str(sorted(params)))
    sizes = dict.fromkeys(state.split(), "n_hidden") if isinstance(state, str) else dict(state)
    for size in sizes.values():
        expect(any(size in re.split(r"[ *]", shape) and not shape.endswith("?") for shape in params.values()), "cell",
               f"a parameter whose shape names {size}", str(dict(params)))
    return lambda step: Cell(step, sizes, params)
