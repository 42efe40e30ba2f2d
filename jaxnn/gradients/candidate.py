"""What is compared at a problem: a function, its compiled programs, and all of its gradient in three ways."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.problem import Problem
from jaxnn.gradients.programs import Programs, arguments_of_changes, precision
from jaxnn.gradients.widths import Widths
from jaxnn.hand_derived import Op

__all__ = ["Candidate"]


class Candidate:
    """f at a problem. All programs of f are compiled here, each once."""

    def __init__(self, f: Callable, problem: Problem):
        self.f, self.problem = f, problem
        self.differentiates_in_float64 = True
        self.programs = Programs(problem.function_of(f), self._explicit_pull_back if self.has_passes else None)

    def at(self, problem: Problem) -> "Candidate":
        """f at another problem, with the same programs where they serve."""
        other = Candidate(self.f, problem)
        if self.problem.holds_the_same_as(problem):
            other.programs = self.programs
        return other

    @property
    def has_passes(self) -> bool:
        """Whether its forward and backward pass can be called by themselves: an op, a plain custom_vjp."""
        f = self.f
        return isinstance(f, Op) or (isinstance(f, jax.custom_vjp) and not f.nondiff_argnums and callable(
            getattr(f, "fwd", None)) and callable(getattr(f, "bwd", None)) and not f.symbolic_zeros)

    def prepare(self, routes: Sequence[str], *, in_float64: bool = True) -> None:
        """Has the programs compiled that the routes will run: beside one another, while others are traced.

        in_float64: whether the reference runs so.
        """
        problem = self.problem
        self.differentiates_in_float64 = bool({"float64", "taylor"} & set(routes))
        own = [route for route in ("lifted", "explicit", "forward", "second order") if route in routes]
        self.programs.prepare(own, problem.moving, problem.dy, problem.moving)
        if in_float64:
            with contextlib.suppress(Exception), precision():  # whoever runs the programs gets the errors
                moving, dy = problem.wide
                if self.differentiates_in_float64:
                    self.programs.prepare(["lifted"], moving, dy, moving)
                if {"finite differences", "taylor"} & set(routes):
                    self.programs.changes.prepare(*arguments_of_changes(moving, dy, problem.moving))

    @functools.cached_property
    def lifted(self) -> list[Any]:
        """J_fᵀ dy by jax.vjp."""
        return self._first[1]

    @functools.cached_property
    def _first(self) -> Any:
        """f's value and gradient."""
        return self.programs.run("lifted", self.problem.moving, self.problem.dy, self.problem.direction(0))

    @functools.cached_property
    def value(self) -> list[Any]:
        """f's value at the arguments."""
        try:
            return self._first[0]
        except Exception:  # no rule that JAX can apply
            return self.programs.value(self.problem.moving)

    @functools.cached_property
    def lifted64(self) -> list[np.ndarray] | None:
        """The same in float64; None where f cannot be run so."""
        return self.problem.in_float64(self.programs.pull_back)

    @functools.cached_property
    def widths(self) -> Widths:
        """Whether f computes in float64 when it is given float64: its gradient, where that is asked of it, and else its
        value."""
        moving, dy = self.problem.wide
        if not self.runs_in_float64:
            return Widths(False, False)
        return self.programs.widths(moving, dy if self.differentiates_in_float64 else None)

    @functools.cached_property
    def runs_in_float64(self) -> bool:
        """Whether f runs in float64, in which finite differences are taken then."""
        if self.differentiates_in_float64:
            return self.lifted64 is not None
        try:
            with precision():
                self.programs.changes.prepare(*arguments_of_changes(*self.problem.wide, self.problem.moving))
        except Exception:  # bound to one precision
            return False
        return True

    @functools.cached_property
    def explicit(self) -> list[Any]:
        """backward(cache, dy) as it comes, for the leaves that move."""
        return self.programs.run("explicit", self.problem.moving, self.problem.dy, self.problem.direction(0))

    def gradient(self, route: str) -> list[Any]:
        """All of the gradient by one of the routes "explicit", "lifted" and "float64"."""
        by_route = {"explicit": "explicit", "lifted": "lifted", "float64": "lifted64"}
        return getattr(self, by_route[route])

    def _explicit_pull_back(self, moving: list[Any], dy: list[Any]) -> list[Any]:
        """What backward returns for the leaves that move, None taken as zeros."""
        problem = self.problem
        f: Any = self.f  # an op or a custom_vjp, whose passes have other names
        args = problem.arguments(moving)
        forward, backward = (f.forward, f.backward) if isinstance(f, Op) else (f.fwd, f.bwd)
        y, cache = forward(*args, **problem.static)
        cotangents = backward(cache, problem.cotangent(y, dy))
        names = problem.names or tuple(f"args[{i}]" for i in range(len(args)))
        is_tuple = isinstance(cotangents, tuple | list)
        if not is_tuple or len(cotangents) > len(names):
            returned = f"{len(cotangents)} cotangents" if is_tuple else type(cotangents).__name__
            raise TypeError(f"backward returned {returned}; expected a tuple of {len(names)}, one for each of "
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
                for i, m in zip(problem.places, moving, strict=True)]
