"""Convolutions in float64 as matrix products.

XLA has no library for them on the CPU: it makes loops, which take long to compile, or else, compiled quickly, thirty
times as long to run. Products in float64 it has. So each convolution

    y_nfo = Σ_ck w_fck x_n,c,(o·stride + k·dilation)

is written as a gather of all (k, o) at once, and one product over (c, k).
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from jaxnn.config import config
from jaxnn.linearity import equations

__all__ = ["with_products"]

PARAMETERS = ("dimension_numbers", "padding", "lhs_dilation", "rhs_dilation", "window_strides")
MOST = 1 << 24  # numbers that a gather may make; 128 MB


def with_products(f: Callable) -> Callable:
    """f, with products in the place of its convolutions in float64. Not to be differentiated: that is done before."""
    @functools.wraps(f)
    def rewritten(*args: Any) -> Any:
        if not config.jax_enable_x64:
            return f(*args)
        # One equation calls all of f: what is rewritten inside of that is not traced again.
        call, shapes = jax.make_jaxpr(jax.jit(f), return_shape=True)(*args)
        if any(map(_is_slow, equations(call.jaxpr))):
            call = core.ClosedJaxpr(_rewritten(call.jaxpr), call.consts)
        leaves = core.jaxpr_as_fun(call)(*jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(shapes), leaves)

    return rewritten


def _is_slow(eqn: Any) -> bool:
    if eqn.primitive.name != "conv_general_dilated" or jax.default_backend() != "cpu":
        return False
    x, w = (v.aval for v in eqn.invars)
    spec, groups = eqn.params["dimension_numbers"], eqn.params["feature_group_count"] * eqn.params["batch_group_count"]
    window = math.prod(w.shape[axis] for axis in spec.rhs_spec[2:])
    y = eqn.outvars[0].aval
    places = math.prod(y.shape[axis] for axis in spec.out_spec[2:])
    n, c = (x.shape[axis] for axis in spec.lhs_spec[:2])
    return x.dtype == np.float64 and groups == 1 and 0 < n * c * window * places <= MOST


def _rewritten(x: Any) -> Any:
    """A jaxpr, or whatever holds some among the parameters of an equation, with products for convolutions."""
    if isinstance(x, core.ClosedJaxpr):
        return core.ClosedJaxpr(_rewritten(x.jaxpr), x.consts)
    if isinstance(x, core.Jaxpr):
        return x.replace(eqns=[_of_equation(eqn) for eqn in x.eqns])
    if isinstance(x, tuple) and any(isinstance(item, core.ClosedJaxpr | core.Jaxpr) for item in x):
        return tuple(map(_rewritten, x))
    return x


def _of_equation(eqn: Any) -> Any:
    if _is_slow(eqn):
        call = _call(tuple(v.aval.shape for v in eqn.invars), **{name: eqn.params[name] for name in PARAMETERS})
        return call.replace(invars=eqn.invars, outvars=eqn.outvars)
    return eqn.replace(params={name: _rewritten(value) for name, value in eqn.params.items()})


@functools.lru_cache(maxsize=1_000)
def _call(shapes: tuple[tuple[int, ...], ...], **params: Any) -> Any:
    """The equation that calls the product in the place of a convolution. A network has the same one many times."""
    product = jax.jit(functools.partial(_product, params))
    closed = jax.make_jaxpr(product)(*(jax.ShapeDtypeStruct(shape, np.float64) for shape in shapes))
    (call,) = closed.jaxpr.eqns
    return call


def _product(params: dict[str, Any], x: Any, w: Any) -> Any:
    """The convolution of the module's equation, in the layout that JAX's parameters give."""
    spec = params["dimension_numbers"]
    x, w = lax.transpose(x, spec.lhs_spec), lax.transpose(w, spec.rhs_spec)  # (n, c, *space), (f, c, *window)
    borders = [(low, high, between - 1) for (low, high), between in zip(
        params["padding"], params["lhs_dilation"], strict=True)]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), (0, 0, 0), *borders])
    n, c, *space = x.shape
    f, _, *window = w.shape
    places = [(size - (k - 1) * dilation - 1) // stride + 1 for size, k, dilation, stride in zip(
        space, window, params["rhs_dilation"], params["window_strides"], strict=True)]
    read: Any = np.zeros((1, 1), np.int32)  # (k, o): where x is read, in x flattened over its space
    for size, k, o, dilation, stride in zip(space, window, places, params["rhs_dilation"], params["window_strides"],
                                            strict=True):
        along = np.arange(k)[:, None] * dilation + np.arange(o) * stride
        read = read[:, None, :, None] * size + along[None, :, None, :]
        read = read.reshape(read.shape[0] * k, read.shape[2] * o)
    windows = x.reshape(n, c, -1).at[:, :, read.ravel()].get(mode="promise_in_bounds")
    windows = windows.reshape(n, c * math.prod(window), math.prod(places))
    y = lax.dot_general(w.reshape(f, -1), windows, (((1,), (1,)), ((), ())))  # (f, n, o)
    y = jnp.moveaxis(y, 0, 1).reshape(n, f, *places)
    return lax.transpose(y, np.argsort(spec.out_spec))
