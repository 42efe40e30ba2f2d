"""The form that composes: a stage, an op (params, state, x, key) -> (y, state).

Any op whose arguments are among these four names is one, with what it lacks left out: dense(params, x),
relu(x), dropout(x, key), batch_norm(params, state, x). `stage` widens such an op to the full form,
`Narrowed` turns a stage back into an op of what it uses.
"""

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any

from jaxnn.hand_derived import Op

__all__ = ["Bound", "Identity", "Narrowed", "Stage", "Widened", "bind", "stage"]

FORM = ("params", "state", "x", "key")


class Stage(Op):
    """An op (params, state, x, key) -> (y, state). `uses` says which of the four it looks at."""

    @property
    def arguments(self) -> tuple[str, ...]:
        return FORM

    @property
    def uses(self) -> frozenset[str]:
        raise NotImplementedError

    def __call__(self, params: Any, state: Any, x: Any, key: Any = None) -> Any:
        return self.run(_value, params, state, x, key)

    def reference(self, params: Any, state: Any, x: Any, key: Any = None) -> Any:
        return self.run(_reference, params, state, x, key)

    def run(self, face: Callable[[Op], Callable], params: Any, state: Any, x: Any, key: Any) -> Any:
        """The value, with `face(op)` called for each op inside: the op itself or its reference."""
        raise NotImplementedError


def _value(op: Op) -> Callable:
    return op


def _reference(op: Op) -> Callable:
    return op.reference


# One op as a stage, and a stage as an op without the arguments it does not use.


@dataclasses.dataclass(frozen=True)
class Bound(Op):
    """An op with static arguments fixed."""

    op: Op
    static: tuple[tuple[str, Hashable], ...]

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.op.arguments

    def __call__(self, *args: Any) -> Any:
        return self.op(*args, **dict(self.static))

    def forward(self, *args: Any) -> tuple[Any, Any]:
        return self.op.forward(*args, **dict(self.static))

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        return self.op.backward(cache, dy)

    def reference(self, *args: Any) -> Any:
        return self.op.reference(*args, **dict(self.static))


def bind(op: Op, **static: Hashable) -> Op:
    """The op with its static arguments fixed: `bind(conv, stride=2)` fits into a chain."""
    return Bound(op, tuple(sorted(static.items())))


@dataclasses.dataclass(frozen=True)
class Widened(Stage):
    """An op as a stage: it is given the arguments it names, and state passes by if it has none."""

    op: Op

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def uses(self) -> frozenset[str]:
        return frozenset(self.op.arguments)

    def _pick(self, *args: Any) -> list[Any]:
        given = dict(zip(FORM, args, strict=True))
        return [given[name] for name in self.op.arguments]

    def run(self, face, params, state, x, key):
        out = face(self.op)(*self._pick(params, state, x, key))
        return out if "state" in self.uses else (out, state)

    def forward(self, params, state, x, key=None):
        out, cache = self.op.forward(*self._pick(params, state, x, key))
        return (out if "state" in self.uses else (out, state)), cache

    def backward(self, cache, dy):
        cotangents = self.op.backward(cache, dy if "state" in self.uses else dy[0])
        given = dict(zip(self.op.arguments, cotangents, strict=True))
        return given.get("params", ()), None, given["x"], None


def stage(op: Op) -> Stage:
    """The op as a stage; a stage is returned as it is."""
    if isinstance(op, Stage):
        return op
    if not isinstance(op, Op):
        raise TypeError(f"expected an op; got {type(op).__name__}: make one with @hand_derived")
    if "x" not in op.arguments or not set(op.arguments) <= set(FORM):
        raise TypeError(
            f"'{op.name}' takes ({', '.join(op.arguments)}); an op that composes takes x and, of "
            "params, state and key, what it needs")
    return Widened(op)


@dataclasses.dataclass(frozen=True)
class Narrowed(Op):
    """A stage as an op of only those arguments that it uses."""

    stage: Stage

    @property
    def name(self) -> str:
        return self.stage.name

    @property
    def arguments(self) -> tuple[str, ...]:
        return tuple(name for name in FORM if name == "x" or name in self.stage.uses)

    def _fill(self, args: tuple) -> list[Any]:
        if len(args) != len(self.arguments):
            raise TypeError(
                f"{self.name} takes ({', '.join(self.arguments)}); got {len(args)} arguments")
        given = dict(zip(self.arguments, args, strict=True))
        return [given.get(name) for name in FORM]

    def _drop(self, out: Any) -> Any:
        return out if "state" in self.stage.uses else out[0]

    def __call__(self, *args: Any) -> Any:
        return self._drop(self.stage(*self._fill(args)))

    def reference(self, *args: Any) -> Any:
        return self._drop(self.stage.reference(*self._fill(args)))

    def forward(self, *args: Any) -> tuple[Any, Any]:
        out, cache = self.stage.forward(*self._fill(args))
        return self._drop(out), cache

    def backward(self, cache: Any, dy: Any) -> tuple[Any, ...]:
        cotangents = self.stage.backward(cache, dy if "state" in self.stage.uses else (dy, None))
        return tuple(dict(zip(FORM, cotangents, strict=True))[name] for name in self.arguments)


@dataclasses.dataclass(frozen=True)
class Identity(Stage):
    @property
    def name(self) -> str:
        return "identity"

    @property
    def uses(self) -> frozenset[str]:
        return frozenset({"x"})

    def run(self, face, params, state, x, key):
        return x, state

    def forward(self, params, state, x, key=None):
        return (x, state), None

    def backward(self, cache, dy):
        return (), None, dy[0], None
