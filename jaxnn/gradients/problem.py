"""One point at which gradients are compared, and all that is known there from the reference alone: found once for any
number of candidates. Where it is: `point`; its gradient there: `known_gradient`; along directions, and at other
arguments: below.
"""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.known_gradient import Both, KnownGradient
from jaxnn.gradients.leaf import ReferenceLeaf, as_wide, largest
from jaxnn.gradients.point import MOST_ALONE, MOST_EQUATIONS
from jaxnn.gradients.programs import precision
from jaxnn.gradients.trees import normal, to_device

__all__ = ["MOST_ALONE", "MOST_EQUATIONS", "Problem"]


class Problem(KnownGradient):
    """A `Point` at which the reference's gradient is known: what every candidate is compared with."""

    @functools.cached_property
    def _directions(self) -> dict[int, list[Any]]:
        return {}

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
