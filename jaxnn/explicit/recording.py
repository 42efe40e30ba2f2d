"""Reading a function of ops: while it is traced, an op stands in the trace as one equation of its own.

    record(f, args)                    the jaxpr of f, each op an equation `op` with its `Call`
    record(f, args, references=True)   the jaxpr of f with the ops' references, which have no rules

A `Call` (`jaxnn.explicit.call`) is an op at fixed shapes, over the axes of the `vmap`s around it.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import ad, batching, mlir

from jaxnn.axes import Axes, current_axes
from jaxnn.config import config
from jaxnn.explicit.call import Call, call_of, over_level
from jaxnn.explicit.recorder import recording
from jaxnn.varying import agree_on_varying_axes

__all__ = ["is_users", "op_primitive", "record", "typed"]


def typed(value: Any) -> Any:
    """A static value with its type: 1, 1.0 and True are equal, and three choices."""
    return (tuple, tuple(map(typed, value))) if type(value) is tuple else (type(value), value)


def record(f: Callable, args: tuple, *, references: bool = False, axes: Axes = ()) -> tuple[Any, Any]:
    """(jaxpr, shapes of the value) of f at these arguments.

    A named axis of size one, which nothing reduces over, stands around the trace: JAX keeps what it traced of an
    inner `jit` by the axes around it, and so keeps what it recorded apart from what it compiles.
    """
    with recording(_reference if references else _bind):
        kind = "jaxnn references" if references else "jaxnn ops"
        return jax.make_jaxpr(f, axis_env=[(kind, 1), *axes], return_shape=True)(*args)


def _reference(op: Any, args: tuple, static: dict[str, Any]) -> Any:
    return op.reference(*args, **static)


def _bind(op: Any, args: tuple, static: dict[str, Any]) -> Any:
    leaves, tree = jax.tree.flatten(agree_on_varying_axes(args))
    avals = tuple(map(jax.typeof, leaves))
    choices = tuple(sorted((name, typed(value)) for name, value in static.items()))
    surroundings = current_axes(), choices, config.jax_enable_x64
    call = call_of(op, tuple(sorted(static.items())), tree, avals, surroundings)
    out = op_primitive.bind(*leaves, call=call, line=_line())
    return jax.tree.unflatten(call.y_tree, out)


# The equation of an op in a jaxpr, and what JAX's own transformations make of it.

op_primitive = core.Primitive("op")
op_primitive.multiple_results = True


@op_primitive.def_impl
def _value(*leaves: Any, call: Call, line: str) -> list[Any]:
    return call.lifted(*leaves)


@op_primitive.def_abstract_eval
def _avals(*avals: Any, call: Call, line: str) -> list[Any]:
    return list(call.out_avals)


def _batch(axis: Any, leaves: Sequence[Any], dims: Sequence[int | None], call: Call, line: str) -> tuple[Any, Any]:
    name = axis.name if isinstance(axis.name, str | tuple) else None
    if name is None and all(dim is None for dim in dims):
        return op_primitive.bind(*leaves, call=call, line=line), [None] * len(call.out_avals)
    over = over_level(call, tuple(dims), name, axis.size, current_axes())
    return op_primitive.bind(*leaves, call=over, line=line), list(over.levels[-1].value)


def _push(leaves: Sequence[Any], tangents: Sequence[Any], call: Call, line: str) -> tuple[Any, Any]:
    return jax.jvp(call.lifted, tuple(leaves), tuple(map(ad.instantiate_zeros, tangents)))


batching.fancy_primitive_batchers[op_primitive] = _batch
ad.primitive_jvps[op_primitive] = _push
mlir.register_lowering(op_primitive, mlir.lower_fun(
    lambda *leaves, call, line: call.lifted(*leaves), multiple_results=True))

_HERE = str(Path(__file__).parents[1])
_JAX = str(Path(jax.__file__).parent)


def is_users(file: str) -> bool:
    """Whether a file is neither JAX's nor ours."""
    return not file.startswith((_HERE, _JAX, "<frozen"))


def _line() -> str:
    """The line of a user's code that calls an op: "siamese:12"."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return f"{frame.f_code.co_name}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
