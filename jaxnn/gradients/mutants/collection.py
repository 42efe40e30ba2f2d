"""All mutants of an op that differ from it, and from one another."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from jaxnn.checks import expect
from jaxnn.gradients.mutants.mutant import Mutant
from jaxnn.gradients.mutants.right import RightPass
from jaxnn.hand_derived import Op

__all__ = ["Mutants", "mutants"]


@dataclasses.dataclass(frozen=True)
class Mutants:
    """The mutants of an op at some arguments, to be iterated over, and the names of those left out."""

    mutants: tuple[Mutant, ...]
    equivalent: tuple[str, ...]
    """Not wrong: the gradient is the original's."""
    repeated: tuple[str, ...]
    """Wrong, but just as one before."""

    def __iter__(self) -> Iterator[Mutant]:
        return iter(self.mutants)

    def __len__(self) -> int:
        return len(self.mutants)


def mutants(op: Op, *args: Any, **static: Any) -> Mutants:
    """All mutants that differ from the op, and from one another, at these arguments.

    Whether a mutant differs is decided from the explicit backward passes alone, in float64, on the cache
    of these arguments and one random dy; no gradient checker and no reference is asked.

    Raises:
      InputError: op is not an op, or its backward gives no cotangent at all.

    >>> import jax.numpy as jnp
    >>> from jaxnn import sigmoid
    >>> [m.name for m in mutants(sigmoid, jnp.array([0.5, 1.0]))][:2]
    ['sigmoid, x: zero', 'sigmoid, x: its sign flipped']
    """
    expect(isinstance(op, Op), "mutants", "an op", type(op).__name__, "make one with @hand_derived")
    reverse_only = getattr(op, "reverse_only", False)
    right = RightPass(op, args, static)
    kept: list[Mutant] = []
    equivalent, repeated, fingerprints = [], [], set()
    for mutation in right.mutations():
        gradient = right.gradient(mutation)
        fingerprint = tuple((leaf + 0.0).tobytes() for leaf in gradient)  # + 0.0: -0 is 0
        if right.is_right(gradient):
            equivalent.append(mutation.name)
        elif fingerprint in fingerprints:
            repeated.append(mutation.name)
        else:
            fingerprints.add(fingerprint)
            kept.append(Mutant(op, tuple(sorted(static.items())), mutation, reverse_only))
    return Mutants(tuple(kept), tuple(equivalent), tuple(repeated))

