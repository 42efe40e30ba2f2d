"""Compares the gradient of a function with that of its plain reference: whether it is right, where it is
wrong, why, and what it costs."""

import contextlib
import functools
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import jax

from jaxnn.checks import InputError, expect, expect_bool, is_integer
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.compiling import unrounded_products
from jaxnn.gradients.conditions import CONDITIONS, DTYPES, compare_under_conditions
from jaxnn.gradients.cost import gradient_costs
from jaxnn.gradients.laws import gradient_laws
from jaxnn.gradients.leaf import Excuse, Leaf
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.reasons.diagnosis import diagnose_all
from jaxnn.gradients.reference import with_reference
from jaxnn.gradients.remark import Attempt, Kind, Remark, attempt, one_line
from jaxnn.gradients.report import GradientReport
from jaxnn.gradients.routes import CHEAPEST, ROUTES
from jaxnn.gradients.routes.run import compare_by_routes
from jaxnn.gradients.rules.audit import audit
from jaxnn.gradients.rules.report import RulesReport
from jaxnn.gradients.timing import Time, route, timed
from jaxnn.gradients.trees import argument_names, describe, outputs_of

__all__ = ["compare_at", "compare_gradients"]


@overload
def compare_gradients(f: Callable, *args: Any, by: None = None, **options: Any) -> GradientReport: ...
@overload
def compare_gradients(f: Callable, *args: Any, by: str, **options: Any) -> RulesReport: ...
def compare_gradients(f: Callable, *args: Any, reference: Callable | None = None,
                      routes: str | Sequence[str] | None = None, under: str | Sequence[str] = (),
                      dtypes: str | Sequence[str] = (), laws: bool = True, cost: bool = False,
                      every_coordinate: bool = False, directions: int = 3, seed: int = 0, by: str | None = None,
                      intended: Sequence[str] = (), steps: Sequence[int] | None = None, **static: Any) -> Any:
    """Compares the gradient of f with `jax.vjp` of its reference, at a random cotangent.

    Meanwhile factors of float32 products keep all their bits, also on GPU and TPU, where JAX rounds them unless it is
    told otherwise: right gradients agree there as they do on a CPU. `cost` is of such products too.

    Args:
      f: an op, a layer, any function of ops, or any other callable, a `jax.custom_vjp` say.
      args: its arguments. Floating-point arrays and Python floats are differentiated; integers, PRNG keys
        and whatever else there is are held.
      reference: the plain forward, which `jax.grad` differentiates. An op, a layer and a function of ops bring their
        own, and a `jax.custom_vjp` brings the function that it was made of.
      routes: those by which f's gradient is reached, of `jaxnn.gradients.ROUTES`; "all". If none are named, all of
        them; of a large function, one of more than `MOST_EQUATIONS` equations, `CHEAPEST`, as the report says.
      under: transformations to repeat the comparison under, of `jaxnn.gradients.CONDITIONS`; "all".
      dtypes: of the arguments, to repeat it in, of `jaxnn.gradients.DTYPES`; "all". Their own, if none.
      laws: whether to check what must hold of any gradient: linear in dy, nothing read but the cache, ...
      cost: whether to measure time, memory and operations beside the reference's.
      every_coordinate: finite differences along each coordinate too, not only along random directions.
      directions: how many random directions there are for each leaf. More than eight leaves move together, along
        one direction, and fewer of them, by themselves at last, where that shows an error.
      seed: of the cotangent and the directions.
      by: "rule" compares no gradient of f itself, but each rule inside f with the plain function that it stands for,
        at the inputs that it gets there, and at the cotangents that f's own backward pass sends there: ops with their
        references, each `jax.custom_vjp` and `jax.custom_jvp` with the function that it was made of; inside `jit`,
        `vmap`, `checkpoint`, `cond` and loops (the first, the middle and the last step) too. f needs no reference
        then. A rule that differs at one of its uses is compared there in whole, by the routes `CHEAPEST` unless
        `routes` names others; with one of these options every rule is.
      intended: with by="rule", names of rules that are meant to differ from their plain functions: straight-through
        estimators, fake quantisation. The report lists them as such, and calls them neither right nor wrong.
      steps: with by="rule", of each scan those whose rules are compared, from 0, or from the end if negative.
      static: keyword arguments of f and of its reference. One with a name of those above: bind it first.
    Returns:
      The report, a GradientReport: `print(report)`, `report.ok`, `.leaves`, `.worst`, `.to_json()`, `.plot()`; in
      `.times` the seconds that each route took. With
      by="rule" a RulesReport: `.ok`, `.rules`, each of which has its `.report`.
    Raises:
      InputError: f has no reference, f or the reference cannot be called with these arguments, or there is
        nothing to differentiate.

    >>> import jax, jax.numpy as jnp
    >>> @jax.custom_vjp
    ... def square(x):
    ...     return x * x
    >>> square.defvjp(lambda x: (x * x, x), lambda x, dy: (x * dy,))
    >>> report = compare_gradients(square, jnp.arange(1.0, 4.0), reference=lambda x: x * x)
    >>> report.ok, report.findings[0].words
    (False, 'exactly half the reference')
    """
    if not callable(f):
        raise InputError("compare_gradients", f"expects a callable as f; got {type(f).__name__}")
    _expect_options(routes, directions, seed, laws=laws, cost=cost, every_coordinate=every_coordinate)
    if by is not None:
        if by != "rule":
            raise InputError("compare_gradients", f"expects by to be 'rule', or none; got {by!r}")
        if reference is not None:
            raise InputError("compare_gradients", "expects no reference beside by='rule', for each rule is compared "
                             "with its own plain function; got one")
        intended = (intended,) if isinstance(intended, str) else tuple(intended)
        expect(steps is None or (isinstance(steps, Sequence) and len(steps) > 0 and all(map(is_integer, steps))),
               "compare_gradients", "steps, numbers of the steps of scans", repr(steps))
        options = {"routes": CHEAPEST if routes is None else routes, "under": under, "dtypes": dtypes,
                   "cost": cost, "every_coordinate": every_coordinate, "directions": directions, "seed": seed}
        in_whole = bool(routes is not None or under or dtypes or cost or every_coordinate)
        with unrounded_products():
            return audit(f, args, static, functools.partial(_compare_one_rule, options), seed=seed, in_whole=in_whole,
                         intended=intended, steps=steps)
    expect(not intended and steps is None, "compare_gradients", "intended and steps beside by='rule' alone",
           "one of them without", "add by='rule'")
    with unrounded_products():
        f, reference = with_reference(f, reference, args, static)
        names = argument_names(f) or argument_names(reference)
        problem = Problem(reference, args, static, names=names, seed=seed, hold=arguments_without_gradient(f),
                          in_float64=None if routes is None else True)
    return compare_at(f, problem, routes=routes, under=under, dtypes=dtypes, laws=laws, cost=cost,
                      every_coordinate=every_coordinate, directions=directions)


def _expect_options(routes: Any, directions: Any, seed: Any, **choices: Any) -> None:
    who = "compare_gradients"
    expect(not isinstance(routes, Sequence) or len(routes) > 0, who, f"routes among {', '.join(map(repr, ROUTES))}",
           "none")
    expect(is_integer(directions, 1), who, "directions, a positive integer", repr(directions))
    expect(is_integer(seed, 0), who, "seed, an integer >= 0", repr(seed))
    for name, value in choices.items():
        expect_bool(who, name, value)


def _compare_one_rule(options: dict[str, Any], f: Callable, *args: Any, reference: Callable,
                      dy: Sequence[Any] | None = None, **static: Any) -> GradientReport:
    """A rule beside its plain function; without the laws, which another batch or other arguments may not fit."""
    options = dict(options)
    problem = Problem(reference, args, static, names=argument_names(f), seed=options.pop("seed"), dy=dy)
    return compare_at(f, problem, laws=False, **options)


def compare_at(f: Callable, problem: Problem, *, routes: str | Sequence[str] | None = None,
               under: str | Sequence[str] = (), dtypes: str | Sequence[str] = (), laws: bool = True,
               cost: bool = False, every_coordinate: bool = False, directions: int = 3) -> GradientReport:
    """`compare_gradients` at a problem that is there already: what is known of a reference serves many f."""
    times: list[Time] = []
    not_run: tuple[Remark, ...] = ()
    with unrounded_products(), timed(times):
        if routes is None:
            routes, not_run = default_routes(problem)
        routes = chosen("routes", routes, ROUTES)
        under, dtypes = chosen("under", under, CONDITIONS), chosen("dtypes", dtypes, DTYPES)
        report = _compared(f, problem, routes, under, dtypes, laws, cost, every_coordinate, directions)
    return report._replace(times=tuple(times), remarks=(*not_run, *report.remarks))


def default_routes(problem: Problem) -> tuple[tuple[str, ...], tuple[Remark, ...]]:
    """(the routes where none are named, what is said of the others)."""
    if not problem.is_large:
        return ROUTES, ()
    others = ", ".join(repr(route) for route in ROUTES if route not in CHEAPEST)
    return CHEAPEST, (Remark(Kind.NOTE, f"not run: {others}, since the reference is a large function, of "
                             f"{problem.n_equations:,} equations, whose own error was measured in its own precision; "
                             "ask for all with routes='all'"),)


def _compared(f: Callable, problem: Problem, routes: tuple[str, ...], under: tuple[str, ...], dtypes: tuple[str, ...],
              laws: bool, cost: bool, every_coordinate: bool, directions: int) -> GradientReport:
    printed_by_f, printed_by_reference = io.StringIO(), io.StringIO()
    by_f, by_reference = (functools.partial(contextlib.redirect_stdout, text)
                          for text in (printed_by_f, printed_by_reference))
    with by_reference(), route("reference"):
        problem.prepare()
    with by_f(), route("lifted"):
        problem, differences = common_outputs(f, problem)
        candidate = Candidate(f, problem)
        candidate.prepare(("lifted", *routes))
    with by_reference(), route("reference"):
        problem.gradient  # noqa: B018  # all that is asked of the reference, before f has its turn
    with by_f():
        by_routes = compare_by_routes(candidate, routes, directions, every_coordinate)
        with route("reasons"):
            findings = tuple(diagnose_all(candidate, by_routes.results))
        by_laws, by_conditions, costs = Attempt(), Attempt(), Attempt()
        if laws and not _has_failure((*differences, *by_routes.remarks)):
            with route("laws"):
                by_laws = attempt(lambda: gradient_laws(candidate), "laws: f raised")
        if under or dtypes:
            with route("other transformations and dtypes"):
                by_conditions = compare_under_conditions(
                    candidate, under or ("jit",), dtypes or (str(problem.dy[0].dtype),))
        if cost:
            with route("cost"):
                costs = attempt(lambda: gradient_costs(candidate), "cost: f raised")
    under_conditions = tuple(
        leaf._replace(excuse=Excuse.REFERENCE, note="f's own value contradicts the reference's gradient")
        if not leaf.ok and leaf.path in _contradicted(by_routes.results) else leaf for leaf in by_conditions.results)
    remarks = [*_aliases(problem), *_printed("the reference", printed_by_reference), *differences,
               *by_routes.remarks, *by_laws.remarks, *by_conditions.remarks, *costs.remarks,
               *_printed("f", printed_by_f)]
    name = getattr(f, "name", None) or getattr(f, "__name__", None) or type(f).__name__
    return GradientReport(name, by_routes.results, under_conditions, by_laws.results, costs.results, findings,
                          tuple(dict.fromkeys(remarks)))


def chosen(option: str, names: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The names that an option gives, one or several; "all" stands for all that are known."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        names = known if isinstance(names, str) and names == "all" else (names,)
    names = tuple(getattr(name, "__name__", str(name)) for name in names)  # jnp.float32 too
    for name in names:
        if name not in known:
            raise InputError("compare_gradients", f"expects {option} among {', '.join(map(repr, known))}, or "
                             f"'all'; got {name!r}")
    return names


def common_outputs(f: Callable, problem: Problem) -> tuple[Problem, list[Remark]]:
    """The problem on those outputs that f and the reference have alike, and a remark on each of the others."""
    try:
        y = jax.eval_shape(lambda: f(*problem.args, **problem.static))
    except Exception as error:
        raise InputError("compare_gradients", "expects an f that can be called with these arguments; it "
                         f"raised {one_line(error)}") from error
    of_f = {out.path: out for out in outputs_of(y)}
    of_reference = {out.path: out for out in problem.outputs}
    differences = [Remark(Kind.FAILURE, words) for path in dict.fromkeys([*of_reference, *of_f])
                   if (words := _difference(path, of_f.get(path), of_reference.get(path)))]
    alike = {path for path, out in of_reference.items() if path in of_f and of_f[path].shape == out.shape}
    if not alike:
        raise InputError("compare_gradients", "expects f and its reference to have a value in common; "
                         + "; ".join(difference.words for difference in differences))
    return (problem if alike == set(of_reference) else problem.of_outputs(alike)), differences


def _difference(path: str, a: Any, b: Any) -> str | None:
    """How f's output at a path differs from the reference's, in shape or dtype; None if in neither."""
    where = f"the value's {path!r}" if path else "the value"
    if a is None:
        return f"the reference returns {where}, {describe(b)}, which f does not"
    if b is None:
        return f"f returns {where}, {describe(a)}, which the reference does not"
    if (a.shape, a.dtype) != (b.shape, b.dtype):
        return f"{where} is {describe(a)} by f and {describe(b)} by the reference"
    return None


def arguments_without_gradient(f: Callable) -> tuple[int, ...]:
    """The arguments that a custom rule declares to have no gradient."""
    declared = getattr(f, "nondiff_argnums", ()) or ()
    return tuple(i for i in declared if isinstance(i, int))


def _contradicted(leaves: Sequence[Leaf]) -> set[str]:
    """The paths at which the reference itself is wrong."""
    return {leaf.path for leaf in leaves if leaf.excuse is Excuse.REFERENCE}


def _has_failure(remarks: Sequence[Remark]) -> bool:
    return any(remark.kind is Kind.FAILURE for remark in remarks)


def _printed(name: str, text: io.StringIO) -> Iterator[Remark]:
    """What f or the reference printed meanwhile."""
    if lines := list(dict.fromkeys(text.getvalue().splitlines())):
        yield Remark(Kind.NOTE, f"{name} printed {lines[0]!r}" + (" ..." if len(lines) > 1 else ""))


def _aliases(problem: Problem) -> Iterator[Remark]:
    """The leaves that are one array."""
    first: dict[int, str] = {}
    for path, leaf in zip(problem.paths, problem.moving, strict=True):
        if id(leaf) in first:
            yield Remark(Kind.NOTE, f"{first[id(leaf)]} and {path} are one array: each is moved by itself")
        first[id(leaf)] = path
