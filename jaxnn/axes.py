"""The named axes of `vmap` that are bound where an op is called, bound again where its rule runs.

JAX keeps the rule of an op that it meets under `jit`, `scan`, `cond` or `checkpoint` and runs it later,
when it differentiates what it traced. By then a `vmap(..., axis_name=...)` inside has ended, and a
`pmean` over its axis finds no such name. (This holds for `custom_jvp` and `custom_vjp` alike, jax 0.10 to
0.12.) JAX has no public way to list the bound axes. If a release removes the private one, this does nothing,
and gradients must be taken inside of `jit`, as `jax.jit(jax.grad(...))`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_axis_env: Any = None
_extend: Any = None
try:
    from jax._src import core

    _axis_env, _extend = core.get_axis_env, core.extend_axis_env_nd
except (ImportError, AttributeError):
    pass

__all__ = ["Axes", "bound_axes", "current_axes", "unbound"]

Axes = tuple[tuple[Any, int], ...]  # (name, size)


def current_axes() -> Axes:
    """The axes that are bound at the call."""
    return () if _axis_env is None else tuple(_axis_env().axis_sizes.items())


def unbound(axes: Axes) -> list[tuple[Any, int]]:
    """Those of the axes that are not bound, to be bound around a trace."""
    bound = dict(current_axes())
    return [(name, size) for name, size in axes if name not in bound]


@contextmanager
def bound_axes(axes: Axes) -> Iterator[None]:
    """Binds those of the axes that are not bound."""
    bound = dict(current_axes())
    missing = [(name, size) for name, size in axes if name not in bound]
    if not missing:
        yield
        return
    with _extend(missing):
        yield
