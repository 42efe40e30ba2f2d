"""What is to be judged at a problem: a function, and the two ways to all of its gradient."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.problem import Problem, Side
from jaxnn.hand_derived import Op

__all__ = ["Candidate"]


class Candidate:
    """f at a problem, and its gradient by the routes that yield all of it."""

    def __init__(self, f: Callable, problem: Problem):
        self.f, self.problem = f, problem
        self.side = Side("f", problem.function_of(f))

    @property
    def has_passes(self) -> bool:
        """Whether its forward and backward pass can be called by themselves: an op, a plain custom_vjp."""
        f = self.f
        return isinstance(f, Op) or (isinstance(f, jax.custom_vjp) and not f.nondiff_argnums and callable(
            getattr(f, "fwd", None)) and callable(getattr(f, "bwd", None)) and not f.symbolic_zeros)

    @functools.cached_property
    def lifted(self) -> list[Any]:
        """J_fᵀ dy by jax.vjp."""
        return self.side.pull_back(self.problem.moving, self.problem.dy)

    @functools.cached_property
    def lifted64(self) -> list[np.ndarray] | None:
        return self.problem.in_float64(self.side.pull_back)

    @functools.cached_property
    def is_wide(self) -> bool:
        """Whether it computes in float64 throughout when it is given float64."""
        return self.lifted64 is not None and self.problem.is_wide(self.side)

    @functools.cached_property
    def explicit(self) -> list[Any]:
        """backward(cache, dy) as it comes, for the leaves that move."""
        return jax.jit(self.walk_back)(self.problem.moving, self.problem.dy)

    def walk_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        """forward, then backward: what it returns for the leaves that move, None taken as zeros."""
        problem, f = self.problem, self.f
        args = problem.arguments(moving)
        forward, backward = (f.forward, f.backward) if isinstance(f, Op) else (f.fwd, f.bwd)  # type: ignore
        y, cache = forward(*args, **problem.static)
        cotangents = backward(cache, problem.cotangent(y, dy))
        names = problem.names or tuple(f"args[{i}]" for i in range(len(args)))
        if not isinstance(cotangents, tuple | list) or len(cotangents) > len(names):
            is_tuple = isinstance(cotangents, tuple | list)
            came = f"{len(cotangents)} cotangents" if is_tuple else type(cotangents).__name__
            raise TypeError(f"backward returned {came}; expected a tuple of {len(names)}, one for each of "
                            f"({', '.join(names)})")
        leaves: list[Any] = []
        for name, arg, cotangent in zip(names, args, cotangents, strict=False):
            tree: Any = jax.tree.structure(arg)
            try:
                leaves += [None] * tree.num_leaves if cotangent is None else tree.flatten_up_to(cotangent)
            except ValueError:
                raise TypeError(f"backward returned {jax.tree.structure(cotangent)} for '{name}'; the "
                                f"argument has {tree}") from None
        leaves += [None] * (len(problem.leaves) - len(leaves))  # arguments left at their default come last
        return [jnp.zeros_like(m) if leaves[i] is None else jnp.asarray(leaves[i])
                for i, m in zip(problem.smooth, moving, strict=True)]
