"""How many products a function takes, each with the sum that it goes into: its multiply-adds.

Counted are the products of matrices and of kernels: `dot_general` and convolutions, wherever they stand, inside of
`jit`, `scan`, `cond`, `checkpoint` and rules. Sums, biases, means, activations and norms count nothing: this is what
papers and torchvision print, as "multiply-adds", "MACs" or half of the "FLOPs". An op whose products JAX does not show
as one of these two has a rule of its own in `RULES`.

    dot_general      elements of the value times the terms of each
    convolution      elements of the value times the taps of a kernel and the channels that it reads; those that lie on
                     padding count too
    scan             its steps times one of them
    cond             the branch with the most
    while_loop       one round: how many there are is known at run time only
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax

from jaxnn.axes import Axes, unbound
from jaxnn.explicit.call import Call
from jaxnn.explicit.recorder import recording
from jaxnn.linearity import opened

__all__ = ["RULES", "of_call", "of_equation", "of_function"]

RULES: dict[Any, Callable] = {}
"""By op: (its arguments as shapes, its value's shape, static) -> how many multiply-adds one example takes."""


@functools.lru_cache(maxsize=4096)
def of_call(call: Call, axes: Axes = ()) -> int:
    """Of an op's forward pass, over all examples. axes: named axes around it that no `vmap` binds."""
    if call.op not in RULES:
        return of_function(lambda *leaves: call.forward(*leaves)[0], call.arg_shapes(), axes)
    args = jax.tree.unflatten(call.tree, call.avals)
    one = RULES[call.op](*args, value=jax.tree.unflatten(call.y_tree, call.y_avals), **dict(call.static))
    return one * math.prod(level.size for level in call.levels if any(axis is not None for axis in level.value))


def of_function(f: Callable, shapes: Any, axes: Axes = ()) -> int:
    """Of a function of arrays of these shapes."""
    with recording(None):
        return _of_jaxpr(jax.make_jaxpr(f, axis_env=unbound(axes))(*shapes))


def of_equation(equation: Any) -> int:
    """Of one equation of a jaxpr, with what is inside of it."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        x = equation.invars[0].aval
        return math.prod(equation.outvars[0].aval.shape) * math.prod(x.shape[axis] for axis in contracted)
    if name == "conv_general_dilated":
        return _of_convolution(equation)
    inner = [_of_jaxpr(value) for value in jax.tree.leaves(list(params.values()), is_leaf=_is_jaxpr)
             if _is_jaxpr(value)]
    if name == "scan":
        return params["length"] * sum(inner)
    if name == "cond":
        return max(inner)
    # A rule carries other functions beside its own: only the first is run.
    return sum(inner[:1] if name.startswith(("custom_jvp", "custom_vjp")) else inner)


def _of_convolution(equation: Any) -> int:
    x, kernel = (atom.aval for atom in equation.invars)
    numbers, value = equation.params["dimension_numbers"], equation.outvars[0].aval
    out_axis, in_axis = numbers.rhs_spec[:2]
    if any(n > 1 for n in equation.params["lhs_dilation"]):  # a transposed one: each x lays the kernel once
        groups = equation.params["feature_group_count"]
        return math.prod(x.shape) * math.prod(kernel.shape) // (kernel.shape[in_axis] * groups)
    return math.prod(value.shape) * math.prod(kernel.shape) // kernel.shape[out_axis]


def _of_jaxpr(jaxpr: Any) -> int:
    return sum(map(of_equation, opened(jaxpr)[0].eqns))


def _is_jaxpr(value: Any) -> bool:
    return hasattr(opened(value)[0], "eqns")
