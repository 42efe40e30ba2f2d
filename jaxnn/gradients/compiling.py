"""Programs that are compiled for a comparison: quickly, for they run a few times only, beside one another, and with
products that are not rounded.

XLA spends most of its time on making a program fast. A comparison runs each of its programs a few times, so it asks for
none of that on the CPU. While one program is traced, which needs Python, others are compiled by threads.
"""

import concurrent.futures
import contextlib
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax

from jaxnn.config import config
from jaxnn.gradients.convolutions import with_products
from jaxnn.gradients.timing import note

__all__ = ["Program", "compiled_quickly", "unrounded_products"]

_QUICKLY = {
    "xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_parallel_codegen_split_count": 1,
    # The emitters that compile in two thirds of the time, where a release has the choice.
    **({"xla_cpu_use_fusion_emitters": False} if version("jaxlib").startswith("0.10.") else {})}
_THREADS = concurrent.futures.ThreadPoolExecutor(2, thread_name_prefix="compiling")


def compiled_quickly(f: Callable) -> Any:
    """jax.jit(f), without the passes of XLA's that take long."""
    return jax.jit(f, compiler_options=_QUICKLY if jax.default_backend() == "cpu" else None)


def unrounded_products() -> contextlib.AbstractContextManager:
    """Inside, factors of float32 products keep all 24 bits, unless a product names a precision of its own.

    On a GPU JAX rounds them to 11 bits (TF32) unless it is told otherwise, on a TPU to 8. By that two right gradients
    differ by thousands of units (LSTM on an H200: 2,600), since each has products of its own. A CPU rounds none, and
    what is traced elsewhere too is there not traced again for this.
    """
    return contextlib.nullcontext() if jax.default_backend() == "cpu" else jax.default_matmul_precision("highest")


class Program:
    """A function, compiled once for all arguments of the same shapes, dtypes and devices."""

    def __init__(self, function: Callable):
        self.function = function
        self._compiled: dict[Any, concurrent.futures.Future] = {}

    def prepare(self, *args: Any) -> None:
        """Traces the function now and has it compiled by a thread. Raises what tracing raises."""
        with unrounded_products():
            self._prepare(_kind(args), args)

    def _prepare(self, key: Any, args: Any) -> None:
        if key not in self._compiled and not config.jax_disable_jit:
            begin = time.perf_counter()
            lowered = compiled_quickly(with_products(self.function)).lower(*args)
            self._compiled[key] = _THREADS.submit(lowered.compile)
            note(tracing=time.perf_counter() - begin, programs=1)

    def __call__(self, *args: Any) -> Any:
        with unrounded_products():
            if config.jax_disable_jit:
                return self.function(*args)
            key = _kind(args)
            self._prepare(key, args)
        begin = time.perf_counter()
        compiled = self._compiled[key].result()
        note(compiling=time.perf_counter() - begin)
        return jax.block_until_ready(compiled(*args))


def _kind(args: Any) -> Any:
    """What a program is compiled for."""
    leaves, tree = jax.tree.flatten(args)
    # The type of an array is at hand; a tree may have hundreds, and be asked for thousands of times.
    return config.jax_enable_x64, config.jax_default_matmul_precision, tree, tuple(
        (jax.typeof(x), _place(x)) for x in leaves)


def _place(x: Any) -> Any:
    """The devices of an array that is bound to some."""
    return x.sharding if getattr(x, "committed", False) else None
