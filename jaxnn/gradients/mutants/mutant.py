"""An op with another backward pass."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

from jaxnn.gradients.mutants.mutation import Mutation
from jaxnn.hand_derived import HandDerived, Op

__all__ = ["Mutant", "with_backward"]


@dataclasses.dataclass(frozen=True)
class Mutant(Op):
    """An op with a mutated backward pass, its static arguments fixed; all else is the op's own.

    The mutated rule is lifted into JAX as the op's is. A mutation that is not linear in dy is refused
    there, when a gradient is taken; with `reverse_only` it is not, as in a plain `jax.custom_vjp`.
    """

    op: Op
    static: tuple[tuple[str, Any], ...]
    mutation: Mutation
    reverse_only: bool

    @property
    def name(self) -> str:
        return f"{self.op.name}, {self.mutation.name}"

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.op.arguments

    @property
    def no_gradient(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.op.no_gradient

    @functools.cached_property
    def lifted(self) -> HandDerived:
        return with_backward(self.op, dict(self.static), self.backward, name=self.name,
                             reverse_only=self.reverse_only)

    def __call__(self, *args: Any) -> Any:
        return self.lifted(*args)

    def forward(self, *args: Any) -> tuple[Any, Any]:
        return self.op.forward(*args, **dict(self.static))

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        return self.mutation(self.op.backward, cache, dy)

    def reference(self, *args: Any) -> Any:
        return self.op.reference(*args, **dict(self.static))


def with_backward(op: Op, static: dict[str, Any], backward: Callable, *, name: str,
                  reverse_only: bool = False) -> HandDerived:
    """The op with its static arguments fixed and another backward pass, lifted as any op."""
    def forward(*args: Any) -> tuple[Any, Any]:
        return op.forward(*args, **static)

    parameters = inspect.signature(op).parameters  # an argument may have a default, as lstm's initial state
    forward.__name__ = name
    forward.__signature__ = inspect.Signature([  # type: ignore[attr-defined]
        inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD,
                          default=parameters[n].default if n in parameters else inspect.Parameter.empty)
        for n in op.arguments])
    changed = HandDerived(forward, reverse_only=reverse_only, no_gradient=op.no_gradient)
    changed.defbackward(backward)
    return changed
