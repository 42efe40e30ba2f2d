"""Options of XLA that make some programs faster, chosen for each program, and only where they were measured to win.

On CPU XLA gives some of a program's loops and products to a library (YNN). Its convolutions, and above all the
gradients of their kernels, take up to three times as long as XLA's own; its sums over a batch take a third. An option
says which are the library's: with `DOT,REDUCE` a training step of ResNet-18 takes 0.6 of the time, of LeNet-5 0.8, on
jax 0.10.2 and 0.12.0 (`python -m experiments bench resnet-18 lenet-5`).

A loop keeps for its backward pass what each step leaves. XLA's usual schedule makes the arrays of the loop backward
before the loop forward runs; the one for memory makes them when they are needed: a quarter less memory for the gradient
of an LSTM. Memory that a program asks for anew at each call is slow where it is much: below 32 MB glibc hands out what
it has, above it the system brings page after page. The gradient at 64 x 40 x 64 -> 256 comes below, and takes 0.8 of
the time; elsewhere the time is as it was (`python -m experiments bench lstm-64x40x64x256`).

Other programs are left as they are, and so are those for GPU and TPU.
"""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax

from jaxnn.linearity import equations

__all__ = ["compiler_options"]

_CONVOLUTIONS: dict[str, str | bool] = {
    "xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_DOT,LIBRARY_FUSION_TYPE_REDUCE"}
_LOOPS: dict[str, str | bool] = {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"}
# The releases on which the options were measured; another one may call them otherwise.
_MEASURED = ("0.10.", "0.11.", "0.12.")


def compiler_options(function: Callable, *args: Any, **kwargs: Any) -> dict[str, str | bool]:
    """The options for `jax.jit(function, compiler_options=...)`, or {} where none is known to win.

    Args:
      function: what is to be compiled, itself a `jax.jit` or not; it is traced.
      args, kwargs: of which it is compiled; arrays, or `jax.ShapeDtypeStruct`.

    >>> import jax, jax.numpy as jnp
    >>> compiler_options(lambda x: 2 * x, jnp.ones(3))
    {}
    """
    if jax.default_backend() != "cpu" or not version("jaxlib").startswith(_MEASURED):
        return {}
    traced = function if hasattr(function, "trace") else jax.jit(function)
    jaxpr = traced.trace(*args, **kwargs).jaxpr.jaxpr
    found = list(equations(jaxpr))
    if any(equation.primitive.name == "conv_general_dilated" for equation in found):
        return dict(_CONVOLUTIONS)
    has_loop = any(equation.primitive.name == "scan" and equation.params["length"] > 1 for equation in found)
    return dict(_LOOPS) if has_loop else {}
