"""A rule beside its plain function at any number of uses: one compiled program, called with the values of each."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from jaxnn.explicit.program import evaluate
from jaxnn.gradients.leaf import Leaf, as_wide, compare_leaf
from jaxnn.gradients.noise import with_noise
from jaxnn.gradients.rules.use import Use
from jaxnn.gradients.trees import normal

__all__ = ["ClosesOver", "Compared", "Pair"]

# A program that is run a few times: what the compiler would gain at run time costs more than it saves.
CHEAP: dict[str, Any] = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


class ClosesOver(ValueError):
    """A rule closes over values of the function around it, which are not there once it is taken out."""


class Compared(NamedTuple):
    """A rule at one use."""

    error: float
    """Of the worst leaf, in units of eps · max|leaf|; inf where one side is not finite."""
    leaves: tuple[list[Any], list[Any]]
    """By the rule, and by the plain function: the value, then the cotangent of each input that has one."""
    dy: list[Any]
    """The cotangent of the value: that of f's own backward pass, or a random one."""


class Pair:
    """A rule and the plain function that it stands for, differentiated at any cotangent.

    use: one of the rule's uses, for its equation and the shapes.
    plain: the closed jaxpr of the plain function.
    names: of the inputs.
    """

    def __init__(self, use: Use, plain: Any, names: tuple[str, ...], seed: int):
        self.eqn, self.plain = use.eqn, plain
        self.inputs, self.outputs = use.moving, use.asked
        rng = np.random.default_rng(seed)
        self.dy = [normal(rng, use.eqn.outvars[i].aval.shape, use.eqn.outvars[i].aval.dtype) for i in self.outputs]
        ys = ["value"] if len(use.eqn.outvars) == 1 else [f"value/{i}" for i in self.outputs]
        self.paths, self.n_values = [*ys, *(names[i] for i in self.inputs)], len(ys)
        closed, shapes = jax.make_jaxpr(self._both, return_shape=True)(use.values, self.dy)
        if any(isinstance(const, jax.core.Tracer) for const in closed.consts):
            raise ClosesOver("a rule closes over values of the function around it")
        self.tree = jax.tree.structure(shapes)
        self.lowered = jax.jit(core.jaxpr_as_fun(closed)).lower(*use.values, *self.dy)
        self.program: Any = None

    def compile(self) -> None:
        is_cpu = jax.default_backend() == "cpu"  # other compilers have other options
        self.program = self.lowered.compile(CHEAP if is_cpu else None)

    def _both(self, values: list[Any], dy: list[Any]) -> Any:
        rule = self._differentiated(lambda *values: evaluate(self.eqn, values), values, dy)
        plain = self._differentiated(core.jaxpr_as_fun(self.plain), values, dy)
        return [_measures(a, b) for a, b in zip(rule, plain, strict=True)], (rule, plain)

    def _run(self, values: list[Any], dy: Sequence[Any]) -> Any:
        return jax.tree.unflatten(self.tree, self.program(*values, *dy))

    def _differentiated(self, function: Any, values: list[Any], dy: list[Any]) -> list[Any]:
        """The value under differentiation, and the gradient."""
        def of_moving(moving: list[Any]) -> list[Any]:
            filled = list(values)
            for i, x in zip(self.inputs, moving, strict=True):
                filled[i] = x
            out = function(*filled)
            return [out[i] for i in self.outputs]

        y, pull_back = jax.vjp(of_moving, [values[i] for i in self.inputs])
        return [*y, *pull_back([jnp.asarray(d, leaf.dtype) for d, leaf in zip(dy, y, strict=True)])[0]]

    def at_use(self, use: Use) -> Compared:
        """Compared at the values of one use: at the cotangent that f's own backward pass sends there, which may have
        zeros, and at a random one. The worse of the two."""
        both = [self.at(use.values, dy) for dy in (use.cotangents, self.dy) if dy is not None]
        return max(both, key=lambda compared: compared.error)

    def at(self, values: list[Any], dy: Sequence[Any]) -> Compared:
        """Compared at the values of one use, and at one cotangent."""
        measures, leaves = self._run(values, dy)
        measures = np.asarray(jax.device_get(measures), np.float64)
        errors, sizes = measures[:, 0], measures[:, 1]
        whole = max(sizes[self.n_values:], default=0.0)
        eps = np.asarray([float(jnp.finfo(leaf.dtype).eps) for leaf in leaves[1]])
        scales = np.where((sizes > eps * whole) | (np.arange(len(sizes)) < self.n_values), sizes, whole)
        with np.errstate(invalid="ignore", over="ignore"):
            units = errors / (eps * np.where(scales > 0, scales, 1.0))
        return Compared(float(np.max(np.nan_to_num(units, nan=np.inf), initial=0.0)), leaves, list(dy))

    def leaves(self, compared: Compared, values: list[Any] | None = None) -> tuple[Leaf, ...]:
        """The leaves at one use. With the use's values their noise is measured: how far one rounding of the inputs
        moves the plain function's."""
        moved = [] if values is None else [self._moved(values, compared.dy, seed) for seed in (1, 2)]
        rule, plain = compared.leaves
        found: list[Leaf] = []
        for part in (slice(0, self.n_values), slice(self.n_values, None)):
            references = with_noise(self.paths[part], [as_wide(leaf) for leaf in plain[part]], None,
                                    [leaves[part] for leaves in moved],
                                    [float(jnp.finfo(leaf.dtype).eps) for leaf in plain[part]])
            found += [compare_leaf(reference, "lifted", value)
                      for reference, value in zip(references, rule[part], strict=True)]
        return tuple(found)

    def _moved(self, values: list[Any], dy: list[Any], seed: int) -> list[np.ndarray]:
        """The plain function's leaves where each number of the inputs is moved by up to one unit in its last place."""
        rng = np.random.default_rng((seed, 7))
        nudged = list(values)
        for i in self.inputs:
            factor = 1 + float(jnp.finfo(values[i].dtype).eps) * rng.uniform(-1, 1, values[i].shape)
            nudged[i] = jnp.asarray(as_wide(values[i]) * factor, values[i].dtype)
        return [as_wide(leaf) for leaf in self._run(nudged, dy)[1][1]]


def _measures(a: Any, b: Any) -> list[Any]:
    """The largest |a - b|, inf where b is not finite, and the largest |b|."""
    if not b.size:
        return [jnp.float32(0), jnp.float32(0)]
    size = jnp.max(jnp.abs(b))
    error = jnp.max(jnp.abs(a - b))
    wide = jnp.promote_types(size.dtype, jnp.float32)
    return [jnp.where(jnp.isfinite(error), error, jnp.inf).astype(wide), size.astype(wide)]
