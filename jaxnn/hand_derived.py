"""The one abstraction: an op, a forward pass with a backward pass derived by hand.

    y, cache = forward(x)        one example in, its value and what backward needs out
    (dx,)    = backward(cache, dy)

With L the loss and dy = ∂L/∂y, backward returns dx = (∂y/∂x)ᵀ dy, one cotangent for each positional
argument. `jaxnn.lifting` makes it the derivative that every JAX transformation uses.
"""

import functools
import inspect
import traceback
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.axes import current_axes
from jaxnn.checks import InputError, expect, expect_arrays, has_numbers
from jaxnn.explicit.recorder import recorder
from jaxnn.lifting import lift_forward_mode, lift_reverse_mode, value_and_cache
from jaxnn.varying import agree_on_varying_axes

__all__ = ["EXAMPLES", "HandDerived", "Op", "Static", "as_array", "as_static", "bound_arguments", "expect_hashable",
           "expect_held", "hand_derived"]

EXAMPLES = "examples"
"""The name of the batch's axis: ops are written for one example, and `jax.vmap` makes the batch."""


class Op:
    """A differentiable function with four faces.

    op(*args)               the value; differentiated by the hand-derived rule
    op.forward(*args)       (value, cache)
    op.backward(cache, dy)  one cotangent per argument; None where there is no gradient
    op.reference(*args)     the value, with no rule: `jax.grad` of it is what the rule must equal

    `arguments` are the names of the positional arguments, in order; `no_gradient` those of them for which backward
    returns None though they are of floating-point numbers.
    """

    no_gradient: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def arguments(self) -> tuple[str, ...]:
        raise NotImplementedError

    def __call__(self, *args: Any, **static: Any) -> Any:
        raise NotImplementedError

    def forward(self, *args: Any, **static: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        raise NotImplementedError

    def reference(self, *args: Any, **static: Any) -> Any:
        return self.forward(*args, **static)[0]


@jax.tree_util.register_static
class Static:
    """A hashable value that rides in a cache without being an array: a stride, a shape, an op.

    >>> jax.tree.leaves(Static((2, 2)))
    []
    """

    def __init__(self, value: Hashable):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Static) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return f"Static({self.value!r})"


def hand_derived(forward: Callable | None = None, *, reverse_only: bool = False,
                 no_gradient: Sequence[str] = ()) -> Any:
    """Makes an op of a forward pass; `@op.defbackward` then adds its backward pass.

    Args:
      forward: (*args, **static) -> (y, cache). Positional arguments are arrays or pytrees of arrays,
        keyword-only arguments are static and hashable; lists of them are made tuples, and NumPy's numbers
        Python's. What backward must know of a static argument it finds in the cache, as `Static(...)` if
        the cache is to cross a `jit`.
      reverse_only: lift the rule by `jax.custom_vjp`, for a backward that JAX cannot transpose (a
        Pallas kernel, an FFI call, a `while_loop`). What is lost: forward mode (`jvp`, `jacfwd`,
        `linearize`), and under `vmap` one copy of a weight's gradient per example is
        made before they are summed.
      no_gradient: names of arguments that are held fixed, such as running statistics: backward returns None for
        them. None for any other argument of floating-point numbers is refused, since it would never be trained.

    >>> @hand_derived
    ... def square(x):
    ...     return x * x, x
    >>> @square.defbackward
    ... def square_backward(x, dy):
    ...     return (2 * x * dy,)
    >>> float(jax.grad(square)(3.0))
    6.0
    """
    if forward is None:
        return functools.partial(hand_derived, reverse_only=reverse_only, no_gradient=no_gradient)
    return HandDerived(forward, reverse_only=reverse_only, no_gradient=no_gradient)


class HandDerived(Op):
    """An op made by `hand_derived`."""

    def __init__(self, forward: Callable, *, reverse_only: bool = False, no_gradient: Sequence[str] = ()):
        expect(callable(forward), "hand_derived", "a forward pass, a function", type(forward).__name__)
        functools.update_wrapper(self, forward)
        self.reverse_only = reverse_only
        self.no_gradient = (no_gradient,) if isinstance(no_gradient, str) else tuple(no_gradient)
        self._forward = forward
        self._backward: Callable | None = None
        self._signature = inspect.signature(forward)
        kinds = [p.kind for p in self._signature.parameters.values()]
        if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
            raise InputError(f"forward of '{self.name}'", "takes *args or **kwargs; name each argument, and pass "
                             "several arrays as one tuple")
        needs_keyword = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty
                            for p in self._signature.parameters.values())
        self._n_arrays = -1 if needs_keyword else len(self.arguments)  # of a call without keywords; -1: there is none
        unknown = set(self.no_gradient) - set(self.arguments)
        if unknown:
            raise InputError(f"'{self.name}'", f"declares no_gradient of {sorted(unknown)}; its arguments are "
                             f"({', '.join(self.arguments)})")

    @property
    def name(self) -> str:
        return self._forward.__name__

    @property
    def arguments(self) -> tuple[str, ...]:
        named = self._signature.parameters.items()
        return tuple(name for name, p in named if p.kind is not inspect.Parameter.KEYWORD_ONLY)

    def defbackward(self, backward: Callable) -> Callable:
        """Sets the backward pass (cache, dy) -> cotangents and returns it unchanged."""
        n = len(inspect.signature(backward).parameters)
        if n != 2:
            raise InputError(f"backward of '{self.name}'", f"takes {n} arguments; expected (cache, dy): put what it "
                             "needs of a static argument into the cache")
        self._backward = backward
        derivation = inspect.getdoc(backward) or "No derivation is given."
        self.__doc__ = (f"{self.name}{self._signature}\n\n{inspect.getdoc(self._forward) or ''}\n\n"
                        f"Backward pass, {getattr(backward, '__name__', 'backward')}(cache, dy):\n\n{derivation}")
        mode = lift_reverse_mode if self.reverse_only else lift_forward_mode
        lift = mode(self.name, self.arguments, backward, self.no_gradient)
        # One function for each choice of static arguments: JAX keeps what it traced by function. 1, 1.0 and True
        # are equal, and three choices: what forward refuses of one must not be answered for another.
        self._lifted = functools.lru_cache(maxsize=None, typed=True)(
            lambda axes, /, **static: lift(functools.partial(self._forward, **static), axes))
        return backward

    def __call__(self, *args: Any, **static: Any) -> Any:
        args, static = self._bind(args, static)
        if self._backward is None:
            raise InputError(f"'{self.name}'", f"has no backward pass; write it under @{self.name}.defbackward")
        recorded, is_traced = recorder(), any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(args))
        if recorded is None and not is_traced:
            return value_and_cache(self.name, self._forward(*args, **static))[0]  # nothing is differentiated
        self._expect_arrays(args)
        if recorded is not None:
            return recorded(self, args, static)
        return self._lifted(current_axes(), **static)(*agree_on_varying_axes(args))

    def forward(self, *args: Any, **static: Any) -> tuple[Any, Any]:
        args, static = self._bind(args, static)
        return value_and_cache(self.name, self._forward(*args, **static))

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        if self._backward is None:
            raise InputError(f"'{self.name}'", f"has no backward pass; write it under @{self.name}.defbackward")
        try:
            return self._backward(cache, dy)
        except InputError:
            raise
        except Exception as error:
            shapes = jax.tree.map(lambda d: getattr(d, "shape", type(d).__name__), dy)
            frame = traceback.extract_tb(error.__traceback__)[-1]
            raise InputError(
                f"backward of '{self.name}'", f"raised {type(error).__name__} at line {frame.lineno} of "
                f"{frame.filename}: {error}; it expects the op's cache, and a dy of the structure and the shapes of "
                f"its value; got dy of {shapes}") from error

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join(self.arguments)})>"

    def _expect_arrays(self, args: tuple) -> None:
        """What is no array JAX would refuse on its own, and name neither the op nor the argument."""
        for name, arg in zip(self.arguments, args, strict=True):
            expect_arrays(self.name, name, arg)

    def _bind(self, args: tuple, static: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        if not static and len(args) == self._n_arrays and all(
                isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(args)):
            return args, static  # nothing to bind or to convert: the call of most ops
        return bound_arguments(self.name, self._signature, args, static)


def bound_arguments(name: str, signature: inspect.Signature, args: tuple,
                    keywords: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    """(the positional arguments as arrays, with their defaults; the keyword-only ones that are given, static)."""
    try:
        bound = signature.bind(*args, **keywords)
    except TypeError as error:
        # Python names one mistake at a time, and a missing argument before one that is not known.
        unknown = [key for key in keywords if key not in signature.parameters and repr(key) not in str(error)]
        others = f"; no argument is called {', '.join(map(repr, unknown))}" if unknown else ""
        bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
        raise InputError(name, f"expects {inspect.Signature(bare)}: {error}{others}") from None
    static = {key: as_static(bound.arguments[key]) for key, p in signature.parameters.items()
              if p.kind is p.KEYWORD_ONLY and key in bound.arguments}
    static |= {key: as_static(value) for p in signature.parameters.values() if p.kind is p.VAR_KEYWORD
               for key, value in bound.arguments.get(p.name, {}).items()}
    expect_hashable(name, static)
    bound.apply_defaults()
    names = [key for key, p in signature.parameters.items() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += ["args"] * (len(bound.args) - len(names))
    return tuple(jax.tree.map(functools.partial(as_array, name, key), arg)
                 for key, arg in zip(names, bound.args, strict=True)), static


def expect_hashable(name: str, static: dict[str, Any]) -> None:
    """Refuses keyword arguments by which JAX could not tell one program from another."""
    for key, value in static.items():
        try:
            hash(value)
        except TypeError as error:
            raise InputError(name, f"expects the keyword argument '{key}', which is static, to be hashable; got "
                             f"{type(value).__name__} ({error}): {_advice_on_static(key, value)}") from None


def _advice_on_static(key: str, value: Any) -> str:
    """What to pass instead of a value that is not hashable, or holds one that is not."""
    if isinstance(value, tuple):
        return next(_advice_on_static(f"{key}[{i}]", part) for i, part in enumerate(value) if not _is_hashable(part))
    if isinstance(value, jax.core.Tracer):
        return ("inside of jax.jit, jax.vmap and jax.grad an argument has no number yet: pass a Python number as "
                f"{key}, or name it in static_argnames of jax.jit")
    if hasattr(value, "dtype") and jnp.ndim(value) == 0:
        kinds = {jnp.bool_: "bool", jnp.integer: "int", jnp.floating: "float", jnp.complexfloating: "complex"}
        kind = next((word for kind, word in kinds.items() if jnp.issubdtype(value.dtype, kind)), None)
        if kind is not None:
            return f"pass a Python number as {key}: {kind}(...)"
    return "pass arrays by position" if hasattr(value, "dtype") else "pass a number, text, or a tuple of these"


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def as_static(value: Any) -> Any:
    """A list as a tuple and a NumPy number as Python's, so that equal choices are one."""
    if type(value) in (list, tuple):
        return tuple(map(as_static, value))
    return value.item() if isinstance(value, np.number | np.bool_) else value


def as_array(who: str, argument: str, x: Any) -> Any:
    """Numbers and NumPy arrays as JAX's; an integer that JAX's dtype does not hold is refused, not wrapped."""
    if not isinstance(x, bool | int | float | complex | np.ndarray | np.generic):
        return x
    expect_held(who, argument, x)
    return jnp.asarray(x)


def expect_held(who: str, argument: str, x: Any) -> None:
    """Refuses text, dates and Python objects, and integers that JAX would wrap."""
    values = np.asarray(x)
    if not isinstance(x, int) and not has_numbers(values):
        raise InputError(who, f"expects {argument} of numbers; got an array of {_kind(values)}; convert it: classes "
                         "given by name, say, by np.unique(..., return_inverse=True)")
    # A Python integer of more than 64 bits is an object to NumPy.
    dtype = jax.dtypes.canonicalize_dtype(int if type(x) is int else values.dtype)
    if dtype != values.dtype and jnp.issubdtype(dtype, jnp.integer) and values.size:
        low, high, bounds = values.min(), values.max(), jnp.iinfo(dtype)
        if low < bounds.min or high > bounds.max:
            raise InputError(who, f"expects {argument} that {dtype} holds; got values from {low} to {high}; JAX "
                             "would wrap them: use smaller numbers, or jax.enable_x64(True)")


def _kind(values: np.ndarray) -> str:
    words = {"U": "text", "S": "bytes", "O": "Python objects", "M": "dates", "m": "time differences"}
    return words.get(values.dtype.kind, str(values.dtype))
