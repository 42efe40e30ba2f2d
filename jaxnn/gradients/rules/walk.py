"""Every rule of its own inside a function, with the very inputs that it gets at each of its uses.

A traced function is run one equation after another, inside of one compiled program that also returns what each rule
reads. An op of ours is one equation, and so is each `jax.custom_vjp` and `jax.custom_jvp`, and each hijax primitive,
which carry the plain function that they stand for. `jit`, `checkpoint`, the branch of a `cond` that is taken, and a
rule's own plain function are opened. Of a loop the first, the middle and the last step are.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from jaxnn.explicit.build import scopes_of
from jaxnn.explicit.program import evaluate
from jaxnn.explicit.recording import record
from jaxnn.gradients.rules.flow import asked, asked_of_scan, moving, moving_of_scan, moving_of_while
from jaxnn.gradients.rules.plain import OPENED, has_rule, inner_jaxprs, kind_of, line_of, name_of, plain_of, steps_of
from jaxnn.linearity import opened

__all__ = ["Place", "Use", "uses_of_rules"]


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

    @property
    def arrays(self) -> Any:
        """What the compiled program returns of it."""
        return self.values, *jax.tree.map(jnp.asarray, (self.is_reached, self.stands_for, self.steps))

    def with_arrays(self, arrays: Any) -> "Use":
        return self._replace(values=arrays[0], is_reached=arrays[1], stands_for=arrays[2], steps=arrays[3])

    def __str__(self) -> str:
        loops = (f"step {int(step) + 1} of {int(n)}" for step, n in self.steps)
        return ", ".join([str(self.place), *loops])


def uses_of_rules(f: Callable, args: tuple, static: dict[str, Any]) -> list[Use]:
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

    flow = [True] * len(closed.jaxpr.invars), [True] * len(closed.jaxpr.outvars)

    def inputs(consts: Sequence[Any], values: Sequence[Any]) -> list[Any]:
        found.clear()
        _run(closed.jaxpr, consts, values, flow, Place(), found)
        return [use.arrays for use in found]

    each = jax.jit(inputs)(list(opened(closed)[1]), values)
    uses = [use.with_arrays(arrays) for use, arrays in zip(found, each, strict=True)]
    return [use._replace(is_reached=bool(use.is_reached), stands_for=int(use.stands_for)) for use in uses]


Flow = tuple[Sequence[bool], Sequence[bool]]  # of the arguments whether they move, of the values whether they are asked


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], flow: Flow, place: Place,
         found: list[Use]) -> list[Any]:
    """The values of a jaxpr's outputs; the rules that are used on the way are added to found."""
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))
    moves, is_asked = moving(jaxpr, flow[0]), asked(jaxpr, flow[1])

    def read(atom: Any) -> Any:
        if not isinstance(atom, core.Literal):
            return values[atom]
        aval: Any = atom.aval
        return jnp.asarray(atom.val, aval.dtype)

    for eqn in jaxpr.eqns:
        of_eqn = ([not isinstance(atom, core.Literal) and moves[atom] for atom in eqn.invars],
                  [is_asked.get(var, False) for var in eqn.outvars])
        outs = _equation(eqn, tuple(map(read, eqn.invars)), of_eqn, place.inside(eqn), found)
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(eqn: Any, values: tuple[Any, ...], flow: Flow, place: Place, found: list[Use]) -> Sequence[Any]:
    name, kind = eqn.primitive.name, kind_of(eqn)
    if kind == "op" and getattr(eqn.params["call"].op, "by_autodiff", False):
        _run(*opened(plain_of(eqn)), values, flow, place, found)  # it has no rule but those inside
        return evaluate(eqn, values)
    if kind:
        if not all(isinstance(atom.aval, jax.core.ShapedArray) for atom in (*eqn.invars, *eqn.outvars)):
            found.append(Use(f"{kind} of other things than arrays", eqn, place, []))
            return evaluate(eqn, values)
        inputs, outputs = (tuple(i for i, flag in enumerate(flags) if flag) for flags in flow)
        held = eqn.params.get("num_consts", 0)  # JAX has no gradient of what a rule's function closes over
        found.append(Use(kind, eqn, place, list(values), tuple(i for i in inputs if i >= held), outputs))
        plain, place = plain_of(eqn), place._replace(rule=place.rule or name_of(eqn))
        if kind not in ("op", "hijax"):
            return _run(*opened(plain), values, flow, place, found)
        if has_rule(plain.jaxpr):
            _run(*opened(plain), values, flow, place, found)
        return evaluate(eqn, values)
    if not any(map(has_rule, inner_jaxprs(eqn))):
        return evaluate(eqn, values)
    if name in OPENED:
        inner = next(eqn.params[key] for key in OPENED[name] if key in eqn.params)
        return _run(*opened(inner), values, flow, place, found)
    if name == "cond":
        for k, branch in enumerate(eqn.params["branches"]):
            is_taken = jnp.clip(values[0], 0, len(eqn.params["branches"]) - 1) == k
            _run_if(is_taken, opened(branch), values[1:], (flow[0][1:], flow[1]), place, found)
    elif name == "scan":
        _steps_of_scan(eqn, values, flow, place, found)
    elif name == "while":
        _steps_of_while(eqn, values, flow, place, found)
    else:
        found.append(Use(name, eqn, place, []))
    return evaluate(eqn, values)


def _run_if(is_taken: Any, jaxpr: tuple[Any, Sequence[Any]], values: Sequence[Any], flow: Flow, place: Place,
            found: list[Use], stands_for: Any = 1, step: tuple[tuple[Any, Any], ...] = ()) -> None:
    """Adds the uses inside of a jaxpr, which is run only if it is taken: it may not end at other values."""
    inside: list[Use] = []
    keys: list[Any] = []  # of each array the implementation, if it is of PRNG keys, which have no zeros
    tree: list[Any] = []

    def inputs() -> list[Any]:
        inside.clear()
        _run(*jaxpr, values, flow, place, inside)
        leaves, structure = jax.tree.flatten([use.arrays for use in inside])
        tree[:] = [structure]
        keys[:] = [jax.random.key_impl(x) if _is_key(x) else None for x in leaves]
        return [jax.random.key_data(x) if _is_key(x) else x for x in leaves]

    shapes = jax.eval_shape(inputs)
    leaves = lax.cond(is_taken, inputs, lambda: [jnp.zeros(shape.shape, shape.dtype) for shape in shapes])
    leaves = [x if impl is None else jax.random.wrap_key_data(x, impl=impl)
              for x, impl in zip(leaves, keys, strict=True)]
    _add(inside, jax.tree.unflatten(tree[0], leaves), found, is_taken, stands_for, step)


def _add(inside: list[Use], each: list[Any], found: list[Use], is_taken: Any, stands_for: Any,
         step: tuple[tuple[Any, Any], ...]) -> None:
    for use, arrays in zip(inside, each, strict=True):
        use = use.with_arrays(arrays)
        found.append(use._replace(is_reached=jnp.logical_and(use.is_reached, is_taken),
                                  stands_for=use.stands_for * stands_for, steps=(*step, *use.steps)))


def _is_key(x: Any) -> bool:
    return bool(jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key))


def _steps_of_scan(eqn: Any, values: tuple[Any, ...], flow: Flow, place: Place, found: list[Use]) -> None:
    """The first, the middle and the last step of a scan, in the order of time."""
    body, n = eqn.params["jaxpr"], eqn.params["length"]
    n_consts, n_carry = steps_of(eqn)
    consts, carry, xs = values[:n_consts], list(values[n_consts:n_consts + n_carry]), values[n_consts + n_carry:]
    if eqn.params["reverse"]:
        xs = tuple(jnp.flip(x, 0) for x in xs)
    step, at = core.jaxpr_as_fun(body), 0
    flow = moving_of_scan(eqn, list(flow[0])), asked_of_scan(eqn, list(flow[1]))

    def advance(carry: list[Any], x: list[Any]) -> tuple[list[Any], None]:
        return step(*consts, *carry, *x)[:n_carry], None

    steps = sorted({0, n // 2, n - 1}) if n else []
    for t, following in zip(steps, [*steps[1:], n], strict=True):
        if t > at:
            carry, _ = lax.scan(advance, carry, [x[at:t] for x in xs], t - at)
        inside: list[Use] = []
        _run(*opened(body), (*consts, *carry, *(x[t] for x in xs)), flow, place, inside)
        _add(inside, [use.arrays for use in inside], found, True, following - t, ((t, n),))
        at = t


def _steps_of_while(eqn: Any, values: tuple[Any, ...], flow: Flow, place: Place, found: list[Use]) -> None:
    """The first, the middle and the last step of a while loop, whose number is found by running it."""
    params = eqn.params
    n_cond, n_body = params["cond_nconsts"], params["body_nconsts"]
    of_cond, of_body, first = values[:n_cond], values[n_cond:n_cond + n_body], list(values[n_cond + n_body:])
    goes_on, step = core.jaxpr_as_fun(params["cond_jaxpr"]), core.jaxpr_as_fun(params["body_jaxpr"])

    flow = moving_of_while(eqn, list(flow[0])), [True] * len(first)

    def advance(state: list[Any]) -> list[Any]:
        return list(step(*of_body, *state))

    def count(state: tuple[list[Any], Any]) -> tuple[list[Any], Any]:
        return advance(state[0]), state[1] + 1

    _, n = lax.while_loop(lambda state: goes_on(*of_cond, *state[0])[0], count, (first, jnp.int32(0)))
    current, at = first, jnp.int32(0)
    for t, is_due, until in ((0, n > 0, jnp.where(n > 2, n // 2, 1)), (n // 2, n > 2, n - 1), (n - 1, n > 1, n)):
        t = jnp.maximum(t, at)
        current = lax.fori_loop(0, jnp.where(is_due, t - at, 0), lambda _, state: advance(state), current)
        at = jnp.where(is_due, t, at)
        _run_if(is_due, opened(params["body_jaxpr"]), (*of_body, *current), flow, place, found, until - t,
                ((t, n),))
