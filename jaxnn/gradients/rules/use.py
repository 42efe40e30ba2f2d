"""A use of a rule inside a function: where it stands, and what is read and sent there."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.explicit.build import scopes_of
from jaxnn.gradients.rules.plain import line_of

__all__ = ["Place", "Use"]


class Place(NamedTuple):
    """Where an equation stands."""

    scope: str = ""
    """The named scopes around it: "encoder/norm"."""
    line: str = ""
    """The file, line and function that it was called from: "model.py:12 in block"."""
    rule: str = ""
    """The rule in whose plain function it stands: f's gradient passes through that rule and not through this one."""

    def __str__(self) -> str:
        return ", ".join(filter(None, (self.scope, self.line, self.rule and f"inside of {self.rule}"))) or "-"

    def inside(self, eqn: Any) -> "Place":
        """The place of an equation of what stands here."""
        scope = "/".join(filter(None, (self.scope, scopes_of(eqn))))
        return self._replace(scope=scope, line=line_of(eqn) or self.line)


class Use(NamedTuple):
    """A rule at one place: its equation, and what that reads there."""

    kind: str
    """"op", "custom_vjp", "custom_jvp", "hijax"; or the name of a primitive whose inside is not opened."""
    eqn: Any
    place: Place
    values: list[Any]
    moving: tuple[int, ...] = ()
    """The inputs that a gradient is asked of: those that depend on f's floating-point arguments."""
    asked: tuple[int, ...] = ()
    """The outputs that a gradient comes from: those that f's value depends on."""
    is_reached: Any = True
    """Whether f comes to it at all: False in a branch that is not taken."""
    stands_for: Any = 1
    """So many uses: in a loop the steps up to the next one that is run here."""
    steps: tuple[tuple[Any, Any], ...] = ()
    """(step, number of steps) of each loop around it, the outermost first."""
    has_probe: bool = False
    """Whether f's backward pass may come to it."""
    cotangents: tuple[Any, ...] | None = None
    """What f's backward pass sends to the outputs that are asked for; None where that sends nothing, or zeros."""

    @property
    def arrays(self) -> Any:
        """What the compiled program returns of it."""
        return self.values, *jax.tree.map(jnp.asarray, (self.is_reached, self.stands_for, self.steps))

    def with_arrays(self, arrays: Any) -> "Use":
        return self._replace(values=arrays[0], is_reached=arrays[1], stands_for=arrays[2], steps=arrays[3])

    def __str__(self) -> str:
        loops = (f"step {int(step) + 1} of {int(n)}" for step, n in self.steps)
        return ", ".join([str(self.place), *loops])
