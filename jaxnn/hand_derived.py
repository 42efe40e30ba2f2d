"""The one abstraction: an op, a forward pass with a backward pass derived by hand.

    y, cache = forward(x)        one example in, its value and what backward needs out
    (dx,)    = backward(cache, dy)

With L the loss and dy = ∂L/∂y, backward returns dx = (∂y/∂x)ᵀ dy, one cotangent for each positional
argument. It is linear in dy, so its transpose is the push-forward t -> (∂y/∂x) t. That is how the
rule enters JAX: `custom_jvp` with tangents dy/dt = transpose(backward(cache, ·))(dx/dt). Reverse mode
transposes once more and runs the operations of the hand-derived backward, forward mode the transposed
ones, and every transformation built from these two follows. Under `vmap` the tangent of an unbatched
weight stays unbatched, so its gradient is one matrix product over the batch and not one per example.
"""

import functools
import inspect
from collections.abc import Callable, Hashable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_derivatives import SymbolicZero

from jaxnn.linearity import why_not_linear

__all__ = ["HandDerived", "Op", "Static", "hand_derived", "push_forward"]

PyTree = Any


class Op:
    """A differentiable function with four faces.

    op(*args)               the value; differentiated by the hand-derived rule
    op.forward(*args)       (value, cache)
    op.backward(cache, dy)  one cotangent per argument; None where there is no gradient
    op.reference(*args)     the value, with no rule: `jax.grad` of it is what the rule must equal

    `arguments` are the names of the positional arguments, in order.
    """

    name: str
    arguments: tuple[str, ...]

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


def hand_derived(forward: Callable | None = None, *, reverse_only: bool = False) -> Any:
    """Makes an op of a forward pass; `@op.defbackward` then adds its backward pass.

    Args:
      forward: (*args, **static) -> (y, cache). Positional arguments are arrays or pytrees of arrays,
        keyword-only arguments are static and hashable. What backward must know of a static argument
        it finds in the cache (as `Static(...)`, if the cache is to cross a `jit`).
      reverse_only: lift the rule by `jax.custom_vjp`, for a backward that JAX cannot transpose (a
        Pallas kernel, an FFI call, a `while_loop`). What is lost: forward mode (`jvp`, `jacfwd`,
        `hessian`, `linearize`), and under `vmap` one copy of a weight's gradient per example is
        made before they are summed.

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
        return functools.partial(hand_derived, reverse_only=reverse_only)
    return HandDerived(forward, reverse_only=reverse_only)


class HandDerived(Op):
    """An op made by `hand_derived`."""

    def __init__(self, forward: Callable, *, reverse_only: bool = False):
        functools.update_wrapper(self, forward)
        self.name = forward.__name__
        self.reverse_only = reverse_only
        self._forward = forward
        self._backward: Callable | None = None
        self._signature = inspect.signature(forward)
        kinds = [p.kind for p in self._signature.parameters.values()]
        if inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds:
            raise TypeError(
                f"forward of '{self.name}' takes *args or **kwargs; name each argument, and pass "
                "several arrays as one tuple")
        named = self._signature.parameters.items()
        self.arguments = tuple(k for k, p in named if p.kind is not inspect.Parameter.KEYWORD_ONLY)
        self._lifted = functools.lru_cache(maxsize=None)(self._lift)
        self._known_linear: set[Hashable] = set()

    def defbackward(self, backward: Callable) -> Callable:
        """Sets the backward pass (cache, dy) -> cotangents and returns it unchanged."""
        n = len(inspect.signature(backward).parameters)
        if n != 2:
            raise TypeError(
                f"backward of '{self.name}' takes {n} arguments; expected (cache, dy): put what it "
                "needs of a static argument into the cache")
        self._backward = backward
        return backward

    def __call__(self, *args: Any, **static: Any) -> Any:
        args, static = self._bind(args, static)
        if self._backward is None:
            raise TypeError(
                f"'{self.name}' has no backward pass; write it under @{self.name}.defbackward")
        return self._lifted(**static)(*_agree_on_varying_axes(args))

    def forward(self, *args: Any, **static: Any) -> tuple[Any, Any]:
        args, static = self._bind(args, static)
        return self._run(args, static)

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        if self._backward is None:
            raise TypeError(
                f"'{self.name}' has no backward pass; write it under @{self.name}.defbackward")
        return self._backward(cache, dy)

    def __repr__(self) -> str:
        return f"<op {self.name}({', '.join(self.arguments)})>"

    def _run(self, args: tuple, static: dict[str, Any]) -> tuple[Any, Any]:
        out = self._forward(*args, **static)
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(
                f"forward of '{self.name}' returned {type(out).__name__}; expected the pair "
                "(value, cache)")
        return out

    def _bind(self, args: tuple, static: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
        try:
            bound = self._signature.bind(*args, **static)
        except TypeError as error:
            raise TypeError(f"{self.name}{self._signature}: {error}") from None
        bound.apply_defaults()
        for name, value in bound.kwargs.items():
            if not isinstance(value, Hashable):
                raise TypeError(
                    f"{self.name}: the keyword argument '{name}' is static and must be hashable; "
                    f"got {type(value).__name__}: pass a tuple for a list, and arrays by position")
        return jax.tree.map(_as_array, bound.args), bound.kwargs

    # Lifting the rule into JAX.

    def _lift(self, **static: Any) -> Callable:
        """The value as a function of the positional arguments, differentiated by the rule."""

        def value(*args: Any) -> Any:
            return self._run(args, static)[0]

        value.__name__ = value.__qualname__ = self.name
        if self.reverse_only:
            reverse = jax.custom_vjp(value)
            reverse.defvjp(lambda *args: (lambda y, c: (y, (c, args)))(*self._run(args, static)),
                           self._pull_back)
            return reverse
        lifted = jax.custom_jvp(value)
        lifted.defjvp(functools.partial(self._jvp, static), symbolic_zeros=True)
        return lifted

    def _jvp(self, static: dict[str, Any], args: tuple, tangents: tuple) -> tuple[Any, Any]:
        y, cache = self._run(args, static)
        leaves, tree = jax.tree.flatten(tangents, is_leaf=lambda t: isinstance(t, SymbolicZero))
        moving = [i for i, t in enumerate(leaves)
                  if not isinstance(t, SymbolicZero) and _is_inexact(t)]

        def pull_back(dy: Any) -> list[Any]:
            cotangents = self._cotangents(self.backward(cache, dy), args)
            return [cotangents[i] for i in moving]

        shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in jax.tree.leaves(args))
        signature = (tuple(static.items()), tree, tuple(moving), shapes)
        if signature not in self._known_linear:
            self._check_linear(pull_back, y, [self._paths(args)[i] for i in moving])
            self._known_linear.add(signature)
        return y, push_forward(pull_back, y, self.name)([leaves[i] for i in moving])

    def _check_linear(self, pull_back: Callable, y: Any, paths: list[str]) -> None:
        smooth, rough, join = _split_smooth(y)
        used: list[str] = []

        def of_smooth(dy: list[Any]) -> list[Any]:
            cotangents = pull_back(join(dy, [None] * len(rough)))
            used[:] = [p for p, c in zip(paths, cotangents, strict=True) if c is not None]
            return [c for c in cotangents if c is not None]

        for path, reason in zip(used, why_not_linear(of_smooth, smooth), strict=True):
            if reason is not None:
                raise TypeError(
                    f"backward of '{self.name}' is not linear in dy: in the cotangent of '{path}' {reason}")

    def _pull_back(self, residuals: tuple, dy: Any) -> tuple:
        cache, args = residuals
        dy = jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, dy)
        cotangents = self._cotangents(self.backward(cache, dy), args)
        leaves, tree = jax.tree.flatten(args)
        filled = [_zero_tangent(x) if c is None else c for c, x in zip(cotangents, leaves, strict=True)]
        return jax.tree.unflatten(tree, filled)

    def _cotangents(self, cotangents: Any, args: tuple) -> list[Any]:
        """The cotangents, one per leaf of the arguments, checked against them and cast to them."""
        who = f"backward of '{self.name}'"
        if not isinstance(cotangents, tuple | list) or len(cotangents) != len(args):
            came = (f"{len(cotangents)} cotangents" if isinstance(cotangents, tuple | list)
                    else type(cotangents).__name__)
            raise TypeError(
                f"{who} returned {came}; expected a tuple of {len(args)}, one for each of "
                f"({', '.join(self.arguments)}), None where there is no gradient")
        leaves = []
        for name, arg, cotangent in zip(self.arguments, args, cotangents, strict=True):
            tree = jax.tree.structure(arg)
            try:
                leaves += [None] * tree.num_leaves if cotangent is None else tree.flatten_up_to(cotangent)
            except ValueError:
                raise TypeError(
                    f"{who}: the cotangent of '{name}' has structure "
                    f"{jax.tree.structure(cotangent)}; the argument has {tree}") from None
        return [_check_cotangent(who, path, x, c) for path, x, c in zip(
            self._paths(args), jax.tree.leaves(args), leaves, strict=True)]

    def _paths(self, args: tuple) -> list[str]:
        return [name + jax.tree_util.keystr(path) for name, arg in zip(self.arguments, args, strict=True)
                for path, _ in jax.tree_util.tree_leaves_with_path(arg)]


def push_forward(pull_back: Callable, y: PyTree, name: str) -> Callable:
    """The transpose of a pull-back: tangents of the arguments -> tangent of y.

    Args:
      pull_back: dy -> list of cotangents (None: no gradient), linear in dy. Integer leaves of dy
        are None.
      y: the value, for its shapes.
      name: the op's name, for the message.
    Raises:
      TypeError: the pull-back holds an operation that JAX cannot transpose.
    """
    smooth, rough, join = _split_smooth(y)

    def push(tangents: list[Any]) -> Any:
        used: list[int] = []

        def of_smooth(dy: list[Any]) -> list[Any]:
            cotangents = pull_back(join(dy, [None] * len(rough)))
            used[:] = [i for i, c in enumerate(cotangents) if c is not None]
            return [cotangents[i] for i in used]

        transposed = jax.linear_transpose(of_smooth, smooth)
        try:
            (tangent,) = transposed([tangents[i] for i in used])
        except (NotImplementedError, AssertionError, ValueError) as error:
            said = str(error).splitlines()[:1] or [""]
            raise TypeError(
                f"backward of '{name}' cannot be transposed: it is not linear in dy, or it calls what "
                "JAX cannot transpose; if it is linear, use @hand_derived(reverse_only=True) "
                f"({type(error).__name__}: {said[0]})") from error
        return join(tangent, [_zero_tangent(leaf) for leaf in rough])

    return push


def _split_smooth(y: PyTree) -> tuple[list[Any], list[Any], Callable]:
    """The leaves of y that have a derivative, those that have none, and how to join two such lists."""
    leaves, tree = jax.tree.flatten(y)
    is_smooth = [_is_inexact(leaf) for leaf in leaves]

    def join(smooth: list[Any], rough: list[Any]) -> PyTree:
        s, r = iter(smooth), iter(rough)
        return jax.tree.unflatten(tree, [next(s) if is_s else next(r) for is_s in is_smooth])

    return ([x for x, s in zip(leaves, is_smooth, strict=True) if s],
            [x for x, s in zip(leaves, is_smooth, strict=True) if not s], join)


def _check_cotangent(who: str, path: str, x: Any, cotangent: Any) -> Any:
    if cotangent is None:
        return None
    if not hasattr(cotangent, "shape"):
        if not isinstance(cotangent, bool | int | float | complex):
            raise TypeError(
                f"{who}: the cotangent of '{path}' is a {type(cotangent).__name__}; the argument is an array")
        cotangent = jnp.asarray(cotangent)
    dtype, kind = jnp.result_type(x), jnp.result_type(cotangent)
    if not _is_inexact(x):
        if kind == jax.dtypes.float0:
            return None
        raise TypeError(
            f"{who}: the cotangent of '{path}' is {kind}{list(jnp.shape(cotangent))}; the argument "
            f"is {dtype}, which has no gradient: return None in its place")
    if jnp.shape(cotangent) != jnp.shape(x):
        raise TypeError(
            f"{who}: the cotangent of '{path}' has shape {jnp.shape(cotangent)}; the argument has "
            f"shape {jnp.shape(x)}")
    if not jnp.issubdtype(kind, jnp.inexact) or (
            jnp.issubdtype(kind, jnp.complexfloating) and not jnp.issubdtype(dtype, jnp.complexfloating)):
        raise TypeError(
            f"{who}: the cotangent of '{path}' has dtype {kind}; the argument has dtype {dtype}")
    return lax.convert_element_type(cotangent, dtype)


def _agree_on_varying_axes(args: tuple) -> tuple:
    """Inside `shard_map` an op's arguments must vary over the same mesh axes.

    A replicated weight that meets a sharded example is cast to vary; the cast transposes to the sum
    over devices, which is how the weight's gradient comes to be summed.
    """
    leaves, tree = jax.tree.flatten(args)
    varying = [_varying_axes(x) for x in leaves]
    union = frozenset().union(*varying)
    if not union:
        return args
    return jax.tree.unflatten(tree, [
        lax.pcast(x, tuple(sorted(union - axes)), to="varying") if union - axes else x
        for x, axes in zip(leaves, varying, strict=True)])


def _varying_axes(x: Any) -> frozenset[str]:
    return getattr(getattr(jax.typeof(x), "manual_axis_type", None), "varying", frozenset())


def _as_array(x: Any) -> Any:
    return jnp.asarray(x) if isinstance(x, (bool, int, float, complex, np.ndarray, np.generic)) else x


def _is_inexact(x: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(x), jnp.inexact)


def _signature(x: Any) -> Hashable:
    return (jnp.shape(x), str(jnp.result_type(x)))


def _zero_tangent(x: Any) -> Any:
    if _is_inexact(x):
        return jnp.zeros_like(x)
    return np.zeros(jnp.shape(x), jax.dtypes.float0)
