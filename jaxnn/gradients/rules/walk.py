"""Every rule of its own inside a function, with the very inputs that it gets there.

A traced function is run one equation after another. An op of ours is one equation, and so is each `jax.custom_vjp`
and `jax.custom_jvp`, which carries the plain function that it was made of. `jit`, `checkpoint`, the branch of a `cond`
that is taken, and a rule's own plain function are opened; of a loop the first and the last step are.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from jaxnn.explicit.build import line_of, scopes_of
from jaxnn.explicit.program import evaluate
from jaxnn.explicit.recording import op_primitive, record
from jaxnn.linearity import equations, opened

__all__ = ["Place", "Use", "uses_of_rules"]

CUSTOM = {"custom_vjp_call": "custom_vjp", "custom_vjp_call_jaxpr": "custom_vjp", "custom_jvp_call": "custom_jvp"}
OPENED = {"pjit", "jit", "closed_call", "core_call", "remat", "remat2", "checkpoint"}


class Place(NamedTuple):
    """Where an equation stands."""

    scope: str = ""
    """The named scopes around it: "encoder/norm"."""
    line: str = ""
    """The function and line that it was called from: "block:12"."""
    step: str = ""
    """Of a loop around it: "first step" or "last step"."""

    def __str__(self) -> str:
        return ", ".join(filter(None, self)) or "-"

    def inside(self, eqn: Any, step: str = "") -> "Place":
        """The place of an equation of what stands here."""
        return Place("/".join(filter(None, (self.scope, scopes_of(eqn)))), line_of(eqn) or self.line, step or self.step)


class Use(NamedTuple):
    """A rule at one place: its equation, and what that reads there. kind: "op", "custom_vjp", "custom_jvp"."""

    kind: str
    eqn: Any
    values: tuple[Any, ...]
    place: Place

    @property
    def plain(self) -> Any:
        """The closed jaxpr of the plain function that a custom rule carries."""
        return self.eqn.params.get("call_jaxpr") or self.eqn.params["fun_jaxpr"]


def uses_of_rules(f: Callable, args: tuple, static: dict[str, Any]) -> Iterator[Use]:
    """Each use of each rule inside f, in the order in which f comes to them.

    Arrays and Python floats are traced; integers and whatever else there is are left as they are.
    """
    leaves, tree = jax.tree.flatten(args)
    arrays = jax.Array | np.ndarray | np.generic | float | complex
    traced = [i for i, leaf in enumerate(leaves) if isinstance(leaf, arrays)]

    def function(*values: Any) -> Any:
        filled = list(leaves)
        for i, value in zip(traced, values, strict=True):
            filled[i] = value
        return f(*jax.tree.unflatten(tree, filled), **static)

    values = tuple(jnp.asarray(leaves[i]) for i in traced)
    closed, _ = record(function, values)
    found: list[Use] = []
    _run(closed.jaxpr, closed.consts, values, Place(), found)
    yield from found


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], place: Place, found: list[Use]) -> list[Any]:
    """The values of a jaxpr's outputs; the rules that are used on the way are added to found."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        if not isinstance(atom, core.Literal):
            return values[atom]
        aval: Any = atom.aval
        return jnp.asarray(atom.val, aval.dtype)

    for eqn in jaxpr.eqns:
        outs = _equation(eqn, tuple(map(read, eqn.invars)), place.inside(eqn), found)
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(eqn: Any, values: tuple[Any, ...], place: Place, found: list[Use]) -> Sequence[Any]:
    name = eqn.primitive.name
    if eqn.primitive is op_primitive:
        found.append(Use("op", eqn, values, place._replace(line=eqn.params["line"] or place.line)))
        return evaluate(eqn, values)
    if name in CUSTOM:
        use = Use(CUSTOM[name], eqn, values, place)
        found.append(use)
        return _run(*opened(use.plain), values, place, found)
    if not any(map(_has_rule, _inner(eqn))):
        return evaluate(eqn, values)
    if name in OPENED:
        inner = eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]
        return _run(*opened(inner), values, place, found)
    if name == "cond":
        branch = eqn.params["branches"][int(np.clip(values[0], 0, len(eqn.params["branches"]) - 1))]
        return _run(*opened(branch), values[1:], place, found)
    if name == "scan":
        _steps_of_scan(eqn, values, place, found)
    elif name == "while":
        _steps_of_while(eqn, values, place, found)
    return evaluate(eqn, values)


def _steps_of_scan(eqn: Any, values: tuple[Any, ...], place: Place, found: list[Use]) -> None:
    """The first and the last step of a scan, in the order of time."""
    params = eqn.params
    body, length = params["jaxpr"], params["length"]
    # The order is constants, carry, slices; only slices lose an axis on the way in.
    inner = opened(body)[0]
    n_slices = sum(len(a.aval.shape) > len(b.aval.shape) for a, b in zip(eqn.invars, inner.invars, strict=True))
    n_carry = sum(len(a.aval.shape) == len(b.aval.shape) for a, b in zip(eqn.outvars, inner.outvars, strict=True))
    n_consts = len(values) - n_slices - n_carry
    consts, carry, xs = values[:n_consts], list(values[n_consts:n_consts + n_carry]), list(values[n_consts + n_carry:])
    if not length:
        return
    if params["reverse"]:
        xs = [jnp.flip(x, 0) for x in xs]
    step = core.jaxpr_as_fun(body)
    _run(*opened(body), (*consts, *carry, *(x[0] for x in xs)), place._replace(step="first step"), found)
    if length > 1:
        last, _ = lax.scan(lambda carry, x: (step(*consts, *carry, *x)[:n_carry], None), carry, [x[:-1] for x in xs],
                           length - 1)
        _run(*opened(body), (*consts, *last, *(x[-1] for x in xs)), place._replace(step="last step"), found)


def _steps_of_while(eqn: Any, values: tuple[Any, ...], place: Place, found: list[Use]) -> None:
    """The first and the last step of a while loop: the one after which it ends."""
    params = eqn.params
    n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
    of_cond, of_body, first = values[:n_cond], values[n_cond:n_cond + n_body], list(values[n_cond + n_body:])
    goes_on, step = core.jaxpr_as_fun(params["cond_jaxpr"]), core.jaxpr_as_fun(params["body_jaxpr"])
    if not goes_on(*of_cond, *first)[0]:
        return
    body = opened(params["body_jaxpr"])
    _run(*body, (*of_body, *first), place._replace(step="first step"), found)

    def advance(state: tuple[list[Any], list[Any], Any]) -> tuple[list[Any], list[Any], Any]:
        _, current, n = state
        return current, list(step(*of_body, *current)), n + 1

    last, _, n = lax.while_loop(lambda state: goes_on(*of_cond, *state[1])[0], advance, (first, first, 0))
    if n > 1:
        _run(*body, (*of_body, *last), place._replace(step="last step"), found)


def _inner(eqn: Any) -> Iterator[Any]:
    """The jaxprs inside of an equation."""
    for value in eqn.params.values():
        for one in value if isinstance(value, tuple | list) else (value,):
            jaxpr = opened(one)[0]
            if isinstance(jaxpr, core.Jaxpr):
                yield jaxpr


def _has_rule(jaxpr: Any) -> bool:
    return any(eqn.primitive is op_primitive or eqn.primitive.name in CUSTOM for eqn in equations(jaxpr))
