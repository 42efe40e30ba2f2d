"""A network is any Python function of ops: its explicit passes are read off its trace.

    y, cache = net.forward(*args)        each op's own forward pass, its cache kept
    cotangents = net.backward(cache, dy) each op's own backward pass, in reverse order: the chain rule, by hand
    net.reference(*args)                 the same function with the ops' references: `jax.grad` of it is the check
"""

import functools
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import jax
from jax.extend import core

from jaxnn.axes import Axes, current_axes
from jaxnn.checks import InputError, expect, expect_arrays, expect_like
from jaxnn.config import config
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.build import build
from jaxnn.explicit.jaxprs import have_same_jaxpr, hoisted
from jaxnn.explicit.program import Program
from jaxnn.explicit.recording import is_users, record, typed
from jaxnn.explicit.table import Row, rows_of, table_of
from jaxnn.hand_derived import Op, bound_arguments
from jaxnn.varying import varying_like, zeros_like_aval

__all__ = ["Cache", "Network", "network"]

_KEPT = 64  # recordings of one network, the oldest of which is forgotten


def network(f: Callable) -> "Network":
    """The function f with explicit passes. It may call ops, layers and jnp, and use `jit`, `vmap`, `checkpoint`, `scan`
    and `cond`; pytrees, integers, PRNG keys and None are among its arguments. A `checkpoint` runs again whole, whatever
    its policy: the gradient is the same, the memory may be less and the time more. In a `cond` the ops go by the rules
    that JAX applies.

    Positional arguments are arrays or pytrees of them, keyword-only arguments are static. The backward pass gives a
    cotangent for each positional argument, in its structure: zeros where nothing is read, None for what has no
    derivative. Raises InputError, with the place in f, where f returns no array, branches in Python on a value that is
    known at run time only, or changes its arguments.

    >>> import jax.numpy as jnp
    >>> from jaxnn import network, sigmoid
    >>> @network
    ... def gate(x, z):
    ...     return x * sigmoid(z)
    >>> y, cache = gate.forward(2.0, 0.0)
    >>> [float(d) for d in gate.backward(cache, 1.0)]
    [0.5, 0.5]
    """
    return f if isinstance(f, Network) else Network(f)


class Network(Op):
    """A function of ops with the four faces of an op, made by `network`."""

    def __init__(self, f: Callable):
        if isinstance(f, type):
            raise InputError("network", f"expects a function of ops; got the class {f.__name__}: write "
                             f"{f.__name__}(...)")
        if not callable(f):
            raise InputError("network", f"expects a function of ops; got {type(f).__name__}")
        functools.update_wrapper(self, f, updated=())  # the attributes of an object that is called stay its own
        self.function = f
        self._signature = inspect.signature(f)
        self._recordings: dict[Any, Recording] = {}

    @property
    def name(self) -> str:
        f = getattr(self.function, "func", self.function)  # of a functools.partial
        return str(getattr(f, "name", None) or getattr(f, "__name__", type(f).__name__))

    @property
    def arguments(self) -> tuple[str, ...]:
        names: list[str] = []
        for name, p in self._signature.parameters.items():
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD):
                names.append(name)
        return tuple(names)

    def __call__(self, *args: Any, **static: Any) -> Any:
        return self.function(*args, **static)

    def forward(self, *args: Any, **static: Any) -> tuple[Any, "Cache"]:
        recording, leaves = self.recorded(args, static)
        out, tape = recording.program.forward(leaves)
        return jax.tree.unflatten(recording.y_tree, out), Cache(tape, recording)

    def backward(self, cache: "Cache", dy: Any) -> tuple[Any, ...]:
        """One cotangent for each positional argument, from the cache of `forward` and dy = ∂L/∂y."""
        expect(isinstance(cache, Cache), self.name, "the cache that its forward pass made", type(cache).__name__)
        recording = cache.recording
        found, _ = recording.program.backward(cache.tape, recording.cotangent_leaves(self.name, dy))
        return recording.cotangents(found)

    def reference(self, *args: Any, **static: Any) -> Any:
        recording, leaves = self.recorded(args, static, references=True)
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            # What was recorded has no values to look at: what an op refuses for its values is refused here.
            self.function(*args, **static)
        return jax.tree.unflatten(recording.y_tree, core.jaxpr_as_fun(recording.closed)(*leaves))

    def recorded(self, args: tuple, static: dict[str, Any], *, references: bool = False, watched: bool = False,
                 axes: Axes = ()) -> tuple["Recording", list[Any]]:
        """The recording of the function at these shapes, made once for each, and the values that it reads: the leaves
        of the arguments, and what the function closes over of a surrounding trace.

        references: with the ops' references. watched: the ops' values are on the tape. axes: (name, size) of named axes
        that no `vmap` binds, for a table alone.
        """
        args, static = self._bind(args, static)
        for name, arg in zip(self.arguments, args, strict=False):
            expect_arrays(self.name, name, arg)
        leaves, tree = jax.tree.flatten(args)
        settings = config.jax_enable_x64, config.jax_default_matmul_precision, config.jax_default_prng_impl
        choices = tuple(sorted((name, typed(value)) for name, value in static.items()))
        key = (references, watched, axes, tree, tuple(map(_aval, leaves)), choices, current_axes(), settings)
        found = self._recordings.get(key)
        if found is None:
            found, captured = _record(self, args, static, references, watched, axes)
            # A function that closes over values of a surrounding trace is a different function in the next trace.
            if captured:
                leaves += captured
            else:
                if len(self._recordings) >= _KEPT:
                    self._recordings.pop(next(iter(self._recordings)))
                self._recordings[key] = found
        return found, leaves

    def __repr__(self) -> str:
        return f"<network {self.name}({', '.join(self.arguments)})>"

    def _bind(self, args: tuple, static: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        return bound_arguments(self.name, self._signature, args, static)


class Recording:
    """A network at fixed shapes: its program and the structures of its arguments and its value.

    Two are equal if they are the same program, whatever their names and lines: the caches of a network that is made
    anew in each branch of a `cond`, or in each step of a `scan`, are of one type.
    """

    def __init__(self, name: str, closed: Any, args_tree: Any, y: Any, watched: bool, axes: Axes):
        self.name, self.closed, self.args_tree = name, closed, args_tree
        self.y = y
        self.y_tree = jax.tree.structure(y)
        self._watched, self._axes = watched, axes

    @functools.cached_property
    def program(self) -> Program:
        return build(self.closed, n_moving=self.args_tree.num_leaves, watched=self._watched, axes=self._axes)

    @functools.cached_property
    def _hash(self) -> int:
        return hash((self._watched, *(eqn.primitive.name for eqn in self.closed.jaxpr.eqns)))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Recording) or self._hash != other._hash:
            return False
        settings = self._watched, self._axes, self.args_tree, self.y_tree
        return (settings == (other._watched, other._axes, other.args_tree, other.y_tree)
                and have_same_jaxpr(self.closed, other.closed))

    @functools.cached_property
    def rows(self) -> tuple[Row, ...]:
        return rows_of(self.program)

    def cotangent_leaves(self, who: str, dy: Any) -> list[Any]:
        """dy for each leaf of the value; None stands for one without a derivative."""
        leaves = expect_like(who, "dy", "y", dy, self.y)
        return [None if d is None or not is_inexact(y) else varying_like(d.astype(y.dtype), y)
                for d, y in zip(leaves, jax.tree.leaves(self.y), strict=True)]

    def cotangents(self, found: list[Any]) -> tuple[Any, ...]:
        """One for each argument, in its structure."""
        filled = [zeros_like_aval(aval) if d is None and is_inexact(aval) else d
                  for d, aval in zip(found, self.program.in_avals, strict=True)][:self.args_tree.num_leaves]
        trees = jax.tree.unflatten(self.args_tree, range(len(filled)))
        return tuple(None if all(filled[i] is None for i in jax.tree.leaves(tree)) and jax.tree.leaves(tree)
                     else jax.tree.map(filled.__getitem__, tree) for tree in trees)


@functools.partial(jax.tree_util.register_dataclass, meta_fields=["recording"], data_fields=["tape"])
class Cache:
    """What a network's forward pass keeps: for each op its cache. A pytree of arrays; printed, a table."""

    def __init__(self, tape: Any, recording: Recording):
        self.tape, self.recording = tape, recording

    @property
    def rows(self) -> tuple[Row, ...]:
        return self.recording.rows

    def __repr__(self) -> str:
        return f"{self.recording.name}\n{table_of(self.rows)}"


def _record(net: Network, args: tuple, static: dict[str, Any], references: bool, watched: bool,
            axes: Axes) -> tuple[Recording, list[Any]]:
    """The recording, and the values of a surrounding trace that the function closes over."""
    f = net.function
    changed: list[str] = []

    def recorded(*args: Any) -> Any:
        before: list[Any] = list(map(jax.tree.flatten, args))
        y = f(*args, **static)
        for name, (leaves, tree), arg in zip(net.arguments, before, args, strict=False):
            after = jax.tree.flatten(arg)
            if after[1] != tree or any(a is not b for a, b in zip(after[0], leaves, strict=True)):
                changed.append(name)
        bad = [leaf for leaf in jax.tree.leaves(y) if not _is_array(leaf)]
        if bad or not jax.tree.leaves(y):
            raise InputError(net.name, "expects a function whose value is an array or a tree of arrays; got "
                             f"{type(bad[0] if bad else y).__name__}; look at what it returns")
        return y

    try:
        closed, y = record(recorded, args, references=references, axes=axes)
    except jax.errors.TracerBoolConversionError as error:
        raise InputError(
            net.name, f"branches in Python on a value that is known at run time only{_at(error)}; use "
            "jnp.where or jax.lax.cond, or pass what decides as a keyword argument") from error
    except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError,
            jax.errors.TracerIntegerConversionError) as error:
        raise InputError(
            net.name, f"needs in Python a value that is known at run time only{_at(error)}; use jnp in place "
            "of int, range and NumPy, or pass the value as a keyword argument") from error
    except InputError as error:
        if not error.path and (line := _where(error)):
            error.path = (line,)
        raise
    if changed:
        raise InputError(net.name, f"changes its argument '{changed[0]}'; return new values in place of that, for a "
                         "traced function is run once and not at each call")
    closed, captured = hoisted(closed)
    return Recording(net.name, closed, jax.tree.structure(args), y, watched, (*axes, *current_axes())), captured


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, bool | int | float | complex) or (hasattr(leaf, "shape") and hasattr(leaf, "dtype"))


def _aval(leaf: Any) -> Any:
    return (leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else jax.typeof(leaf)


def _at(error: BaseException) -> str:
    line = _where(error)
    return f", at {line}" if line else ""


def _where(error: BaseException) -> str:
    """The innermost line of a user's code in an error's traceback: "siamese:12"."""
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(error.__traceback__)
              if is_users(frame.f_code.co_filename)]
    return f"{frames[-1][0].co_name}:{frames[-1][1]}" if frames else ""
