"""What is known of a gradient from the reference alone: its leaves, and how exact they are."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError
from jaxnn.gradients.leaf import ReferenceLeaf, as_wide, difference, largest
from jaxnn.gradients.noise import JUMP, ZERO, one_rounding_away, with_noise
from jaxnn.gradients.point import Point
from jaxnn.gradients.programs import ForwardPrograms, NoPrograms, precision
from jaxnn.gradients.remark import one_line
from jaxnn.gradients.widths import Widths

__all__ = ["Both", "KnownGradient"]

# What series and iterations leave over in float64, in units of its eps: some 1e-12.
SERIES = 1e4
MOST_FORWARD = 4_096  # coordinates of the arguments for which forward mode takes the place of reverse mode
EPS64 = float(np.finfo(np.float64).eps)

Both = tuple[list[Any], list[Any]]  # a value and its gradient


class KnownGradient(Point):
    """The reference's value and gradient at a point, in its own precision, in float64, and one rounding away."""

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

    @property
    def differs_in_float64(self) -> bool:
        """Whether the reference is another function in float64."""
        return self.is_known_in_float64 and self.pulled_back64 is not None and self.exact is None

    @functools.cached_property
    def widths(self) -> Widths:
        """Whether the reference computes in float64 when it is given float64."""
        return self.programs.widths(*self.wide)

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

    @staticmethod
    def _leaves(paths: list[str], values: list[Any], exact: list[np.ndarray] | None,
                moved: list[list[np.ndarray] | None]) -> list[ReferenceLeaf]:
        return with_noise(paths, list(map(as_wide, values)), exact, moved,
                          [float(jnp.finfo(value.dtype).eps) for value in values])

    def _one_rounding_away(self, program: Callable, seed: int, in_float64: bool) -> Any:
        rng = np.random.default_rng((self.seed, seed, 7))
        return one_rounding_away(program, self.moving, self.dy, rng, in_float64=in_float64)
