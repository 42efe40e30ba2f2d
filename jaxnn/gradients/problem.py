"""One point at which gradients are compared: a reference, its arguments, and a random cotangent there.

The gradient is that of φ(args) = <dy, reference(args)>, one leaf for each floating-point leaf of the
arguments. All that is known from the reference alone is found here, once for any number of candidates.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError
from jaxnn.cotangents import is_inexact
from jaxnn.gradients.leaf import ReferenceLeaf, as_wide, difference, largest
from jaxnn.gradients.noise import JUMP, ZERO, one_rounding_away, with_noise
from jaxnn.gradients.programs import ForwardPrograms, NoPrograms, Programs, precision, widen
from jaxnn.gradients.remark import one_line
from jaxnn.gradients.trees import Output, argument_names, as_array, describe, normal, outputs_of, path_of, to_device
from jaxnn.gradients.widths import Widths
from jaxnn.linearity import equations

__all__ = ["Problem"]

# What series and iterations leave over in float64, in units of its eps: some 1e-12.
SERIES = 1e4
MOST_EQUATIONS = 500  # of the reference's trace; one of more is large, and by default fewer routes are run
MOST_ALONE = 8  # leaves that each move by themselves along random directions; more move together
MOST_FORWARD = 4_096  # coordinates of the arguments for which forward mode takes the place of reverse mode
EPS64 = float(np.finfo(np.float64).eps)

Both = tuple[list[Any], list[Any]]  # a value and its gradient


class Problem:
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
        self._directions: dict[int, list[Any]] = {}
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

    # The arguments and the value, as leaves.

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

    def at(self, leaves: list[Any]) -> "Problem":
        """The same problem at other leaves of the arguments.

        The compiled programs are shared, if no leaf that is held differs: those are constants in the programs.
        """
        other = Problem(self.reference, jax.tree.unflatten(self.tree, leaves), self.static, names=self.names,
                        seed=self.seed, only=self.only, hold=self.hold, in_float64=self.in_float64_too)
        if self.holds_the_same_as(other):
            other.programs = self.programs
        elif self.without_reverse:
            other.programs = type(self.programs)(other.programs.outputs)
        other.without_reverse = self.without_reverse
        return other

    def holds_the_same_as(self, other: "Problem") -> bool:
        return all(a is b for i, (a, b) in enumerate(zip(self.leaves, other.leaves, strict=True))
                   if i not in self.places)

    def of_outputs(self, paths: set[str]) -> "Problem":
        """The same problem with only some of the outputs compared."""
        return Problem(self.reference, self.args, self.static, names=self.names, seed=self.seed, hold=self.hold,
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

    def tangents(self, seed: int, only: int | None = None) -> list[Any]:
        """A random direction of the arguments; of one leaf, zeros elsewhere, with `only`: of those of its elements at
        which the reference has a gradient."""
        rng = np.random.default_rng((self.seed, seed))
        if only is None:
            return [normal(rng, m.shape, m.dtype) for m in self.moving]
        direction = normal(rng, self.moving[only].shape, self.moving[only].dtype)
        has_gradient = np.isfinite(self.gradient[only].finite)
        if not has_gradient.all():
            direction = np.where(has_gradient, direction, 0).astype(direction.dtype)
        return [direction if i == only else np.zeros(m.shape, m.dtype) for i, m in enumerate(self.moving)]

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

    def direction(self, seed: int) -> list[Any]:
        """A random direction of all leaves together. Where there are many, a leaf with a small gradient goes farther
        than one with a large one, so that each counts; elements at which the reference has no gradient stay."""
        if seed not in self._directions:
            tangents = self.tangents(seed)
            if self.together:
                most = max(leaf.scale for leaf in self.gradient)
                tangents = [
                    to_device(np.where(np.isfinite(leaf.finite), as_wide(t) * self._weight(leaf, most), 0), t.dtype)
                    for t, leaf in zip(tangents, self.gradient, strict=True)]
            self._directions[seed] = tangents
        return self._directions[seed]

    def weights(self) -> list[float]:
        """By how much farther each leaf goes."""
        most = max(leaf.scale for leaf in self.gradient)
        return [self._weight(leaf, most) for leaf in self.gradient]

    @staticmethod
    def _weight(leaf: ReferenceLeaf, most: float) -> float:
        return min(100.0, most / leaf.scale) if leaf.scale else 1.0

    # The reference's gradient.

    def prepare(self, *, in_float64: bool = True) -> None:
        """Has the reference's programs compiled, beside one another."""
        self.programs.prepare(["lifted"], self.moving, self.dy, self.moving)
        if in_float64 and self.is_known_in_float64:
            with contextlib.suppress(Exception), precision():  # whoever runs it gets the error
                moving, dy = self.wide
                self.programs.prepare(["lifted"], moving, dy, moving)

    @property
    def pulled_back(self) -> list[Any]:
        """The reference's gradient, as it comes: by reverse mode; failing that by forward mode, one coordinate after
        another; failing that NaN, and finite differences of f's own value judge f."""
        return self._first[1]

    @functools.cached_property
    def _first(self) -> Both:
        """The reference's value and gradient."""
        try:
            return self.programs.both(self.moving, self.dy)
        except Exception as error:
            no_reverse = one_line(error)
        try:
            self.programs.value(self.moving)
        except Exception as error:
            raise InputError("compare_gradients", "expects a reference that can be run at these arguments; it raised "
                             f"{one_line(error)}") from error
        outputs, n = self.programs.outputs, sum(m.size for m in self.moving)
        if n <= MOST_FORWARD:
            self.programs = ForwardPrograms(outputs)
            with contextlib.suppress(Exception):
                found = self.programs.both(self.moving, self.dy)
                self.without_reverse = (f"the reference has no reverse mode ({no_reverse}): its gradient was found by "
                                        "forward mode, one coordinate after another")
                return found
        self.programs = NoPrograms(outputs)
        why = "no reverse and no forward mode" if n <= MOST_FORWARD else (
            f"no reverse mode, and its arguments more than the {MOST_FORWARD:,} coordinates that forward mode takes "
            "one after another")
        self.without_reverse = (f"the reference has {why} ({no_reverse}): finite differences of f's own value judge f "
                                "in its place")
        return self.programs.both(self.moving, self.dy)

    @functools.cached_property
    def _first64(self) -> tuple[list[np.ndarray], list[np.ndarray]] | None:
        """The same in float64; None where the reference cannot be run so."""
        self._first  # noqa: B018  # which says what programs there are
        return self.in_float64(self.programs.both)

    @property
    def pulled_back64(self) -> list[np.ndarray] | None:
        """The gradient in float64, as it comes; None where the reference cannot be run so."""
        return None if self._first64 is None else self._first64[1]

    @functools.cached_property
    def exact(self) -> list[np.ndarray] | None:
        """The same in float64; None where the reference cannot be run so, or is another function there.

        Random numbers are drawn anew in another precision: a dropout mask, say.
        """
        exact = self.pulled_back64 if self.is_known_in_float64 else None
        if exact is None:
            return None
        whole = max(map(largest, exact))
        for narrow, wide in zip(self.pulled_back, exact, strict=True):
            value, limit = as_wide(narrow), JUMP * np.sqrt(float(jnp.finfo(narrow.dtype).eps)) * largest(wide)
            errors = difference(value, wide)[np.isfinite(value)]  # float64 decides where the narrow one overflows
            if largest(wide) > ZERO * whole and errors.max(initial=0) > limit:
                return None
        return exact

    @functools.cached_property
    def _rounded(self) -> list[tuple[list[np.ndarray], list[np.ndarray]] | None]:
        """The value and the gradient at arguments one rounding away, twice, in a tree of many leaves that is known in
        float64 once; None where the reference fails there."""
        seeds = (1,) if self.together and self.exact is not None else (1, 2)
        return [self._one_rounding_away(self.programs.both, seed, self.exact is not None) for seed in seeds]

    @functools.cached_property
    def gradient(self) -> list[ReferenceLeaf]:
        """What each leaf of the gradient should be."""
        return self._leaves(self.paths, self.pulled_back, self.exact,
                            [moved and moved[1] for moved in self._rounded])

    @functools.cached_property
    def gradient64(self) -> list[ReferenceLeaf] | None:
        """What f should give in float64. None where the reference can't be run so, or rounds to a narrower
        dtype inside."""
        if self.pulled_back64 is None or not self.widths.all_wide:
            return None
        leaves = with_noise(self.paths, self.pulled_back64, None, [], [EPS64] * len(self.paths))
        # How much a rounding is amplified does not depend on its size.
        return [leaf._replace(noise=max(narrow.noise, SERIES))
                for leaf, narrow in zip(leaves, self.gradient, strict=True)]

    @functools.cached_property
    def value(self) -> list[ReferenceLeaf]:
        """What each output should be."""
        exact = None if self.exact is None or self._first64 is None else self._first64[0]
        return self._leaves([out.path for out in self.outputs], self._first[0], exact,
                            [moved and moved[0] for moved in self._rounded])

    @property
    def value64(self) -> list[np.ndarray] | None:
        """The value in float64, as it comes."""
        return None if self._first64 is None else self._first64[0]

    @functools.cached_property
    def second_order(self) -> list[ReferenceLeaf]:
        """What the product of φ's Hessian with `direction(0)` should be.

        Its terms are of the gradient's size even where they cancel: a unit is a rounding of the larger one.
        """
        def program(moving: list[Any], dy: list[Any]) -> list[Any]:
            return self.programs.run("second order", moving, dy, self.direction(0))

        exact = None if self.exact is None else self.in_float64(program)
        moved = [self._one_rounding_away(program, seed, exact is not None) for seed in (1, 2)]
        leaves = self._leaves(self.paths, program(self.moving, self.dy), exact, moved)
        return self._as_large_as_the_gradient(leaves)

    @functools.cached_property
    def second_order_by_differences(self) -> list[ReferenceLeaf] | None:
        """The same to some nine digits, which is enough for a narrower dtype, from programs that are there already:
        the gradient in float64 a little way up and down the direction. None where that is not known."""
        is_narrow = all(leaf.eps > 1e-9 for leaf in self.gradient)
        if not is_narrow or self.exact is None or self.without_reverse or not self.widths.moving_wide:
            return None
        sizes = [float(np.sqrt(np.mean(np.square(np.abs(as_wide(m)))))) if m.size else 0.0 for m in self.moving]
        step = 1e-7 * min((size for size in sizes if np.isfinite(size) and size > 0), default=1.0)
        with precision():
            moving, dy = self.wide
            away = [[jax.device_put(as_wide(m) + signed * as_wide(t))
                     for m, t in zip(moving, self.direction(0), strict=True)] for signed in (step, -step)]
            up, down = ([as_wide(leaf) for leaf in self.programs.pull_back(m, dy)] for m in away)
        with np.errstate(invalid="ignore", over="ignore"):
            products = [(a - b) / (2 * step) for a, b in zip(up, down, strict=True)]
        leaves = [first._replace(value=product, exact=None, scale=largest(product))
                  for first, product in zip(self.gradient, products, strict=True)]
        return self._as_large_as_the_gradient(leaves)

    def _as_large_as_the_gradient(self, leaves: list[ReferenceLeaf]) -> list[ReferenceLeaf]:
        scales = [max(leaf.scale, first.scale) for leaf, first in zip(leaves, self.gradient, strict=True)]
        return [leaf._replace(scale=scale, noise=leaf.noise * (leaf.scale or 1.0) / (scale or 1.0))
                for leaf, scale in zip(leaves, scales, strict=True)]

    @functools.cached_property
    def elsewhere(self) -> list[Any]:
        """Other arguments, near these: of the leaves that move."""
        rng = np.random.default_rng((self.seed, 4))
        moved = [as_wide(m) * (1 + 0.1 * rng.standard_normal(m.shape)) for m in self.moving]
        return [to_device(_off_zero(m, near, rng), m.dtype) for m, near in zip(self.moving, moved, strict=True)]

    @functools.cached_property
    def both_elsewhere(self) -> Both | None:
        """The reference's value and gradient there; None where the reference does not run."""
        try:
            return self.programs.both(self.elsewhere, self.dy)
        except Exception:
            return None

    @functools.cached_property
    def is_refused_elsewhere(self) -> bool:
        """Whether the reference refuses the values there: it expects numbers that sum to one, say. It is run op by
        op, so this is asked only where something is wrong."""
        try:
            self.programs.outputs(self.elsewhere)
        except Exception:
            return True
        return False

    @functools.cached_property
    def held(self) -> list[str]:
        """The outputs that the reference holds fixed: no direction of the arguments moves them. None are known of a
        reference that has neither reverse nor forward mode."""
        if self.without_reverse or len(self.outputs) > 8:
            return self._held_by_forward_mode(range(len(self.outputs)))
        if len(self.outputs) == 1:
            without = [] if any(np.any(np.asarray(leaf)) for leaf in self.pulled_back) else [0]
        else:
            without = []
            for i in range(len(self.outputs)):  # the pull-back of its cotangent alone
                alone = [d if i == j else jnp.zeros_like(d) for j, d in enumerate(self.dy)]
                if not any(np.any(np.asarray(leaf)) for leaf in self.programs.pull_back(self.moving, alone)):
                    without.append(i)
        return self._held_by_forward_mode(without) if without else []

    def _held_by_forward_mode(self, candidates: Iterable[int]) -> list[str]:
        try:
            pushed = self.programs.run("forward", self.moving, self.dy, self.tangents(0))
        except Exception:  # a custom_vjp, say
            return []
        return [self.outputs[i].path for i in candidates
                if pushed[i].size and not np.any(np.asarray(pushed[i]))]

    @functools.cached_property
    def widths(self) -> Widths:
        """Whether the reference computes in float64 when it is given float64."""
        return self.programs.widths(*self.wide)

    @property
    def differs_in_float64(self) -> bool:
        """Whether the reference is another function in float64."""
        return self.is_known_in_float64 and self.pulled_back64 is not None and self.exact is None

    # In float64, and one rounding away.

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

    @staticmethod
    def _leaves(paths: list[str], values: list[Any], exact: list[np.ndarray] | None,
                moved: list[list[np.ndarray] | None]) -> list[ReferenceLeaf]:
        return with_noise(paths, list(map(as_wide, values)), exact, moved,
                          [float(jnp.finfo(value.dtype).eps) for value in values])

    def _one_rounding_away(self, program: Callable, seed: int, in_float64: bool) -> Any:
        rng = np.random.default_rng((self.seed, seed, 7))
        return one_rounding_away(program, self.moving, self.dy, rng, in_float64=in_float64)


def _off_zero(x: Any, near: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """near, with those of its elements that are zero in x, or next to it, moved too: by a tenth of a typical element,
    and to the side on which all others lie, for probabilities say may not be negative."""
    wide = as_wide(x)
    finite = np.abs(wide[np.isfinite(wide)])
    typical = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 0.0
    is_small = np.abs(wide) <= 1e-3 * typical
    if not is_small.any():
        return near
    step = 0.1 * (typical or 1.0) * rng.standard_normal(wide.shape)
    if not np.iscomplexobj(wide) and np.any(wide != 0) and (np.all(wide >= 0) or np.all(wide <= 0)):
        step = np.abs(step) * (1 if np.all(wide >= 0) else -1)
    return near + np.where(is_small, step, 0)
