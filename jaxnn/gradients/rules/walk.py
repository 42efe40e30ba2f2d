"""Every rule of its own inside a function, with the very inputs and cotangents that it gets at each of its uses.

A traced function is run one equation after another, inside of one compiled program that also returns what each rule
reads. To what a rule returns a probe is added, a zero: the gradient of f's value for the probe is the cotangent that
f's own backward pass sends to that rule. An op of ours is one equation, and so is each `jax.custom_vjp` and
`jax.custom_jvp`, and each hijax primitive, which carry the plain function that they stand for. `jit`, `checkpoint`, the
branch of a `cond` that is taken, and a rule's own plain function are opened. Of a loop the first, the middle and the
last step are, or those of a scan that are asked for. Where f's backward pass does not come to a rule, in the plain
function of another and in a while loop, there is no probe.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend import core

from jaxnn.cotangents import is_inexact
from jaxnn.explicit.program import evaluate
from jaxnn.explicit.recording import record
from jaxnn.gradients.compiling import compiled_quickly
from jaxnn.gradients.remark import one_line
from jaxnn.gradients.rules.flow import asked, asked_of_scan, moving, moving_of_scan, moving_of_while
from jaxnn.gradients.rules.plain import OPENED, has_rule, inner_jaxprs, kind_of, name_of, plain_of, steps_of
from jaxnn.gradients.rules.use import Place, Use
from jaxnn.gradients.trees import normal
from jaxnn.linearity import opened

__all__ = ["uses_of_rules"]

Steps = Sequence[int] | None  # of each scan, from 0, or from the end if negative; None: the first, the middle, the last


def uses_of_rules(f: Callable, args: tuple, static: dict[str, Any], *, seed: int = 0,
                  steps: Steps = None) -> tuple[list[Use], str]:
    """(each use of each rule inside f, in the order in which f comes to them; why f has no backward pass that sends
    cotangents to them, if it has none).

    The cotangent of f's value is one for a single number, and else random. Arrays and Python floats are traced;
    integers and whatever else there is are left as they are.
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

    def inputs(consts: Sequence[Any], values: Sequence[Any], probes: list[Any] | None = None) -> tuple[Any, Any]:
        found.clear()
        out = _run(closed.jaxpr, consts, values, flow, Place(), _Walk(found, _Probes(probes), steps))
        return [y for y in out if is_inexact(y)], [use.arrays for use in found]

    consts = list(opened(closed)[1])
    smooth, _ = jax.eval_shape(inputs, consts, values)
    rng = np.random.default_rng((seed, 6))
    dy = [jnp.ones(y.shape, y.dtype) if y.size == 1 and len(smooth) == 1 else normal(rng, y.shape, y.dtype)
          for y in smooth]
    probes = [[jnp.zeros(use.eqn.outvars[i].aval.shape, use.eqn.outvars[i].aval.dtype) for i in use.asked]
              if use.has_probe else [] for use in found]

    def with_cotangents(consts: Sequence[Any], values: Sequence[Any], dy: list[Any]) -> tuple[Any, Any]:
        _, pull_back, each = jax.vjp(lambda probes: inputs(consts, values, probes), probes, has_aux=True)
        return each, pull_back(dy)[0]

    why_not = ""
    cotangents: list[Any] = [[] for _ in found]
    try:
        each, cotangents = compiled_quickly(with_cotangents)(consts, values, dy)
    except Exception as error:  # a rule without reverse mode, or one that fails
        why_not = one_line(error)
        each = compiled_quickly(lambda consts, values: inputs(consts, values)[1])(consts, values)
    uses = [use.with_arrays(arrays)._replace(cotangents=_arrived(own))
            for use, arrays, own in zip(found, each, cotangents, strict=True)]
    return [use._replace(is_reached=bool(use.is_reached), stands_for=int(use.stands_for)) for use in uses], why_not


def _arrived(cotangents: Sequence[Any]) -> tuple[Any, ...] | None:
    return tuple(cotangents) if any(np.any(np.asarray(d)) for d in cotangents) else None


class _Probes:
    """The probes of all uses, one list for each, taken in the order in which the walk comes to them."""

    def __init__(self, each: list[Any] | None):
        self.each, self.at = each, 0

    def added(self, use: Use, outs: Sequence[Any]) -> list[Any]:
        """What a rule returns, with its probes."""
        outs = list(outs)
        if self.each is not None and use.has_probe:
            for i, probe in zip(use.asked, self.each[self.at], strict=True):
                outs[i] = outs[i] + probe
        self.at += 1
        return outs


class _Walk(NamedTuple):
    """What a walk carries along."""

    found: list[Use]
    probes: _Probes
    steps: Steps
    is_on_path: bool = True
    """Whether what is run is on the way to f's value, and not only looked at."""

    def aside(self) -> "_Walk":
        return self._replace(is_on_path=False)

    def add(self, use: Use, outs: Sequence[Any]) -> list[Any]:
        """Adds a use; returns what the rule returns, with its probes."""
        use = use._replace(has_probe=self.is_on_path and bool(use.asked))
        self.found.append(use)
        return self.probes.added(use, outs)


Flow = tuple[Sequence[bool], Sequence[bool]]  # of the arguments whether they move, of the values whether they are asked


def _run(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], flow: Flow, place: Place,
         walk: _Walk) -> list[Any]:
    """The values of a jaxpr's outputs; the rules that are used on the way are added to those that are found."""
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
        outs = _equation(eqn, tuple(map(read, eqn.invars)), of_eqn, place.inside(eqn), walk)
        values.update(zip(eqn.outvars, outs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _equation(eqn: Any, values: tuple[Any, ...], flow: Flow, place: Place, walk: _Walk) -> Sequence[Any]:
    name, kind = eqn.primitive.name, kind_of(eqn)
    if kind == "op" and getattr(eqn.params["call"].op, "by_autodiff", False):
        return _run(*opened(plain_of(eqn)), values, flow, place, walk)  # it has no rule but those inside
    if kind:
        if not all(isinstance(atom.aval, jax.core.ShapedArray) for atom in (*eqn.invars, *eqn.outvars)):
            return walk.add(Use(f"{kind} of other things than arrays", eqn, place, []), evaluate(eqn, values))
        inputs, outputs = (tuple(i for i, flag in enumerate(flags) if flag) for flags in flow)
        held = eqn.params.get("num_consts", 0)  # JAX has no gradient of what a rule's function closes over
        use = Use(kind, eqn, place, list(values), tuple(i for i in inputs if i >= held), outputs)
        outs = walk.add(use, evaluate(eqn, values))
        plain, place = plain_of(eqn), place._replace(rule=place.rule or name_of(eqn))
        if has_rule(opened(plain)[0]):
            _run(*opened(plain), values, flow, place, walk.aside())
        return outs
    if not any(map(has_rule, inner_jaxprs(eqn))):
        return evaluate(eqn, values)
    if name in OPENED:
        inner = next(eqn.params[key] for key in OPENED[name] if key in eqn.params)
        return _run(*opened(inner), values, flow, place, walk)
    if name == "cond":
        index = jnp.clip(values[0], 0, len(eqn.params["branches"]) - 1)
        chosen: list[Any] = []
        for k, branch in enumerate(eqn.params["branches"]):
            own = _run_if(index == k, opened(branch), values[1:], (flow[0][1:], flow[1]), place, walk)
            chosen = [jnp.where(index == k, a, b) for a, b in zip(own, chosen, strict=True)] if chosen else own
        return chosen
    if name == "scan":
        return _steps_of_scan(eqn, values, flow, place, walk)
    if name == "while":
        _steps_of_while(eqn, values, flow, place, walk.aside())
        return evaluate(eqn, values)
    return walk.add(Use(name, eqn, place, []), evaluate(eqn, values))


def _run_if(is_taken: Any, jaxpr: tuple[Any, Sequence[Any]], values: Sequence[Any], flow: Flow, place: Place,
            walk: _Walk, stands_for: Any = 1, step: tuple[tuple[Any, Any], ...] = ()) -> list[Any]:
    """The values of a jaxpr's outputs, zeros if it is not taken: it is not run then, for it may not end at other
    values. Adds the uses inside."""
    inside: list[Use] = []
    keys: list[Any] = []  # of each array the implementation, if it is of PRNG keys, which have no zeros
    tree: list[Any] = []
    first = walk.probes.at

    def inputs() -> list[Any]:
        inside.clear()
        walk.probes.at = first  # what is traced twice has its own probes both times
        out = _run(*jaxpr, values, flow, place, walk._replace(found=inside))
        leaves, structure = jax.tree.flatten((out, [use.arrays for use in inside]))
        tree[:] = [structure]
        keys[:] = [jax.random.key_impl(x) if _is_key(x) else None for x in leaves]
        return [jax.random.key_data(x) if _is_key(x) else x for x in leaves]

    shapes = jax.eval_shape(inputs)
    leaves = lax.cond(is_taken, inputs, lambda: [jnp.zeros(shape.shape, shape.dtype) for shape in shapes])
    leaves = [x if impl is None else jax.random.wrap_key_data(x, impl=impl)
              for x, impl in zip(leaves, keys, strict=True)]
    out, each = jax.tree.unflatten(tree[0], leaves)
    _add(inside, each, walk.found, is_taken, stands_for, step)
    return list(out)


def _add(inside: list[Use], each: list[Any], found: list[Use], is_taken: Any, stands_for: Any,
         step: tuple[tuple[Any, Any], ...]) -> None:
    for use, arrays in zip(inside, each, strict=True):
        use = use.with_arrays(arrays)
        found.append(use._replace(is_reached=jnp.logical_and(use.is_reached, is_taken),
                                  stands_for=use.stands_for * stands_for, steps=(*step, *use.steps)))


def _is_key(x: Any) -> bool:
    return bool(jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key))


def _steps_of_scan(eqn: Any, values: tuple[Any, ...], flow: Flow, place: Place, walk: _Walk) -> Sequence[Any]:
    """The value of a scan, some of whose steps are opened: in the order of time."""
    body, n = eqn.params["jaxpr"], eqn.params["length"]
    n_consts, n_carry = steps_of(eqn)
    consts, carry, xs = values[:n_consts], list(values[n_consts:n_consts + n_carry]), values[n_consts + n_carry:]
    if eqn.params["reverse"]:
        xs = tuple(jnp.flip(x, 0) for x in xs)
    step, at, parts = core.jaxpr_as_fun(body), 0, []
    flow = moving_of_scan(eqn, list(flow[0])), asked_of_scan(eqn, list(flow[1]))

    def advance(carry: list[Any], x: list[Any]) -> tuple[list[Any], list[Any]]:
        out = step(*consts, *carry, *x)
        return out[:n_carry], out[n_carry:]

    def skip_to(t: int) -> None:
        nonlocal carry, at
        if t > at:
            carry, ys = lax.scan(advance, carry, [x[at:t] for x in xs], t - at)
            parts.append(ys)
        at = t

    if not n:
        return evaluate(eqn, values)
    steps = _steps_to_open(n, walk.steps)
    for t, following in zip(steps, [*steps[1:], n], strict=True):
        skip_to(t)
        inside: list[Use] = []
        out = _run(*opened(body), (*consts, *carry, *(x[t] for x in xs)), flow, place, walk._replace(found=inside))
        since = 0 if t == steps[0] else t  # the first that is opened stands for those before too
        _add(inside, [use.arrays for use in inside], walk.found, True, following - since, ((t, n),))
        carry, at = list(out[:n_carry]), t + 1
        parts.append([jnp.expand_dims(y, 0) for y in out[n_carry:]])
    skip_to(n)
    ys = [jnp.concatenate(column) for column in zip(*parts, strict=True)]
    return [*carry, *(jnp.flip(y, 0) if eqn.params["reverse"] else y for y in ys)]


def _steps_to_open(n: int, steps: Steps) -> list[int]:
    """Of a scan of n steps those that are asked for; the last, if it has none of those."""
    if steps is None:
        return sorted({0, n // 2, n - 1})
    return sorted({t % n for t in steps if -n <= t < n}) or [n - 1]


def _steps_of_while(eqn: Any, values: tuple[Any, ...], flow: Flow, place: Place, walk: _Walk) -> None:
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
        _run_if(is_due, opened(params["body_jaxpr"]), (*of_body, *current), flow, place, walk, until - t,
                ((t, n),))
