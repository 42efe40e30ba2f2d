"""The point at which gradients are compared: a reference, its arguments as leaves, the outputs that are compared, and a
cotangent of those.

The gradient is that of φ(args) = <dy, reference(args)>, one leaf for each floating-point leaf of the arguments.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError
from jaxnn.cotangents import is_inexact
from jaxnn.gradients.leaf import as_wide
from jaxnn.gradients.programs import Programs, precision, widen
from jaxnn.gradients.remark import one_line
from jaxnn.gradients.trees import Output, argument_names, as_array, describe, normal, outputs_of, path_of
from jaxnn.linearity import equations

__all__ = ["MOST_ALONE", "MOST_EQUATIONS", "Point"]

MOST_EQUATIONS = 500  # of the reference's trace; one of more is large, and by default fewer routes are run
MOST_ALONE = 8  # leaves that each move by themselves along random directions; more move together


class Point:
    """A reference at its arguments and one cotangent.

    Args:
      reference: any callable of the arguments.
      args: its arguments. Floating-point arrays and Python floats move; integers, PRNG keys and whatever
        else there is are held.
      static: its keyword arguments.
      names: of the positional arguments, for the paths.
      seed: of the cotangent and the directions.
      only: paths of the outputs to compare; None for all.
      hold: numbers of arguments that are left as they are, floating-point or not.
      dy: the cotangent, for each output that is compared; a random one, if none is given.
      in_float64: whether the reference's gradient is found in float64 too, by which its own error is measured. Unless
        that is said, of all but large references; of those the error is measured in their own precision.
    Raises:
      InputError: the reference fails, or there is nothing to differentiate.
    """

    def __init__(self, reference: Callable, args: tuple, static: dict[str, Any] | None = None, *,
                 names: tuple[str, ...] | None = None, seed: int = 0, only: set[str] | None = None,
                 hold: tuple[int, ...] = (), in_float64: bool | None = None, dy: Sequence[Any] | None = None):
        self.reference, self.static, self.seed = reference, dict(static or {}), seed
        self.only, self.hold, self.in_float64_too = only, hold, in_float64
        self.names = names or argument_names(reference)
        flat, self.tree = jax.tree_util.tree_flatten_with_path(args)
        self.argument_numbers = [path[0].idx for path, _ in flat]
        is_free = [number not in hold for number in self.argument_numbers]
        self.leaves = [as_array(leaf) if free else leaf for (_, leaf), free in zip(flat, is_free, strict=True)]
        self.leaf_paths = [path_of(path, self.names) for path, _ in flat]
        self.places = [i for i, leaf in enumerate(self.leaves)
                       if is_free[i] and isinstance(leaf, jax.Array) and is_inexact(leaf)]
        self.paths = [self.leaf_paths[i] for i in self.places]
        self.moving = [self.leaves[i] for i in self.places]
        if not self.moving:
            raise InputError("compare_gradients", "expects at least one floating-point argument; got "
                             f"{', '.join(map(describe, self.leaves)) or 'none'}; pass floats where a gradient is "
                             "due")
        self.outputs = self._outputs(args)
        self.without_reverse = ""  # why the reference's gradient was not found by reverse mode, in words
        self.programs = Programs(self.function_of(reference))
        rng = np.random.default_rng(seed)
        self.dy = list(dy) if dy is not None else [normal(rng, out.shape, out.dtype) for out in self.outputs]

    def _outputs(self, args: tuple) -> list[Output]:
        """The floating-point leaves of the value that are compared."""
        try:
            y = jax.eval_shape(lambda: self.reference(*args, **self.static))
        except Exception as error:
            raise InputError("compare_gradients", "expects a reference that can be called with these "
                             f"arguments; it raised {one_line(error)}") from error
        outputs = [out for out in outputs_of(y) if self.only is None or out.path in self.only]
        if not outputs:
            value = ", ".join(map(describe, jax.tree.leaves(y))) or "nothing"
            raise InputError("compare_gradients", "expects a function with a floating-point value; the "
                             f"reference returns {value}: there is nothing to differentiate")
        return outputs

    @property
    def args(self) -> tuple:
        return self.arguments(self.moving)

    def arguments(self, moving: list[Any]) -> tuple:
        """The arguments with these leaves in the places of those that move."""
        filled = list(self.leaves)
        for i, leaf in zip(self.places, moving, strict=True):
            filled[i] = leaf
        return jax.tree.unflatten(self.tree, filled)

    def function_of(self, f: Callable) -> Callable[[list[Any]], list[Any]]:
        """f as (moving) -> the outputs that are compared."""
        paths = [out.path for out in self.outputs]

        def outputs(moving: list[Any]) -> list[Any]:
            y = f(*self.arguments(moving), **self.static)
            by_path = {path_of(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(y)}
            return [jnp.asarray(by_path[path]) for path in paths]

        return outputs

    def at(self, leaves: list[Any]) -> Self:
        """The same problem at other leaves of the arguments.

        The compiled programs are shared, if no leaf that is held differs: those are constants in the programs.
        """
        other = type(self)(self.reference, jax.tree.unflatten(self.tree, leaves), self.static, names=self.names,
                        seed=self.seed, only=self.only, hold=self.hold, in_float64=self.in_float64_too)
        if self.holds_the_same_as(other):
            other.programs = self.programs
        elif self.without_reverse:
            other.programs = type(self.programs)(other.programs.outputs)
        other.without_reverse = self.without_reverse
        return other

    def holds_the_same_as(self, other: "Point") -> bool:
        return all(a is b for i, (a, b) in enumerate(zip(self.leaves, other.leaves, strict=True))
                   if i not in self.places)

    def of_outputs(self, paths: set[str]) -> Self:
        """The same problem with only some of the outputs compared."""
        return type(self)(self.reference, self.args, self.static, names=self.names, seed=self.seed, hold=self.hold,
                       only=paths, in_float64=self.in_float64_too)

    def cotangent(self, y: Any, dy: list[Any]) -> Any:
        """dy in the structure of y, which may have more outputs than are compared: None for integers."""
        by_path = dict(zip([out.path for out in self.outputs], dy, strict=True))

        def one(path: Any, leaf: Any) -> Any:
            if not is_inexact(leaf):
                return None
            d = by_path.get(path_of(path))
            return jnp.zeros(leaf.shape, leaf.dtype) if d is None else d.astype(leaf.dtype)

        return jax.tree_util.tree_map_with_path(one, y)

    @functools.cached_property
    def n_equations(self) -> int:
        """Of the reference's trace, those inside of others too; 0 where that cannot be traced."""
        try:
            return sum(1 for _ in equations(self.programs.trace(self.moving).jaxpr))
        except Exception:  # whoever runs it gets the error
            return 0

    @property
    def is_large(self) -> bool:
        return self.n_equations > MOST_EQUATIONS

    @property
    def is_known_in_float64(self) -> bool:
        """Whether the reference's gradient is asked for in float64."""
        return not self.is_large if self.in_float64_too is None else self.in_float64_too

    @functools.cached_property
    def together(self) -> bool:
        """Whether all leaves move together along a direction, and not each by itself: there are many."""
        return len(self.moving) > MOST_ALONE

    @functools.cached_property
    def wide(self) -> tuple[list[Any], list[Any]]:
        """(moving, dy) in float64, for use under `precision`."""
        with precision():
            return [widen(m) for m in self.moving], [widen(d) for d in self.dy]

    def in_float64(self, program: Callable) -> Any:
        """program(moving, dy) in float64; None where it can't be run so."""
        try:
            with precision():
                return jax.tree.map(as_wide, program(*self.wide))
        except Exception:  # bound to one precision
            return None
