"""Compares the gradient of a function with that of its plain reference: whether it is right, where it is
wrong, why, and what it costs."""

import contextlib
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jaxnn.checks import InputError
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.conditions import CONDITIONS, DTYPES, under_conditions
from jaxnn.gradients.cost import gradient_costs
from jaxnn.gradients.diagnosis import diagnose
from jaxnn.gradients.differences import along_coordinates, along_directions
from jaxnn.gradients.evidence import Evidence
from jaxnn.gradients.kinks import excuse_kinks
from jaxnn.gradients.laws import gradient_laws
from jaxnn.gradients.leaf import Leaf, compare_leaf
from jaxnn.gradients.problem import Problem, argument_names, one_line, outputs_of
from jaxnn.gradients.report import Finding, GradientReport
from jaxnn.gradients.routes import ROUTES, by_float64, by_forward_mode, by_second_order
from jaxnn.hand_derived import Op

__all__ = ["compare_gradients", "judge"]


def compare_gradients(f: Callable, *args: Any, reference: Callable | None = None,
                      routes: str | Sequence[str] = ROUTES, under: str | Sequence[str] = (),
                      dtypes: str | Sequence[str] = (), laws: bool = True, cost: bool = False,
                      every_coordinate: bool = False, directions: int = 3, seed: int = 0,
                      **static: Any) -> GradientReport:
    """Compares the gradient of f with `jax.vjp` of its reference, at a random cotangent.

    Args:
      f: an op, a layer, a network of them, or any callable, a `jax.custom_vjp` say.
      args: its arguments. Floating-point arrays and Python floats are differentiated; integers, PRNG keys
        and whatever else there is are held.
      reference: the plain forward, which `jax.grad` differentiates; an op brings its own.
      routes: those by which f's gradient is reached, of `jaxnn.gradients.ROUTES`.
      under: transformations to repeat the comparison under, of `jaxnn.gradients.CONDITIONS`; "all".
      dtypes: of the arguments, to repeat it in, of `jaxnn.gradients.DTYPES`; "all". As they came, if none.
      laws: whether to check what must hold of any gradient: linear in dy, nothing read but the cache, ...
      cost: whether to measure time, memory and operations beside the reference's.
      every_coordinate: finite differences along each coordinate too, not only along random directions.
      directions: how many random directions there are for each leaf.
      seed: of the cotangent and the directions.
      static: keyword arguments of f and of its reference. One with a name of those above: bind it first.
    Returns:
      The report: `print(report)`, `report.ok`, `.leaves`, `.worst`, `.to_json()`, `.plot()`.
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
    if reference is None:
        if not isinstance(f, Op):
            raise InputError("compare_gradients", "expects an op, or reference= beside a plain function; got "
                             f"{type(f).__name__}")
        reference = f.reference
    names = argument_names(f) or argument_names(reference)
    problem = Problem(reference, args, static, names=names, seed=seed, hold=held_arguments(f))
    return judge(f, problem, routes=routes, under=under, dtypes=dtypes, laws=laws, cost=cost,
                 every_coordinate=every_coordinate, directions=directions)


def judge(f: Callable, problem: Problem, *, routes: str | Sequence[str] = ROUTES,
          under: str | Sequence[str] = (), dtypes: str | Sequence[str] = (), laws: bool = True,
          cost: bool = False, every_coordinate: bool = False, directions: int = 3) -> GradientReport:
    """`compare_gradients` at a problem that is there already: what is known of a reference serves many f."""
    routes = chosen("routes", routes, ROUTES)
    under, dtypes = chosen("under", under, CONDITIONS), chosen("dtypes", dtypes, DTYPES)
    failures: list[str] = []
    notes = [f"{a} and {b} are one array: each is moved by itself" for a, b in _aliases(problem)]
    with _quiet(notes, "the reference"):
        problem.wanted  # noqa: B018  # all that is asked of the reference, before f has its turn
    with _quiet(notes, "f"):
        problem = _common(f, problem, failures)
        it = Candidate(f, problem)
        rows, findings = _rows(it, routes, directions, every_coordinate, failures, notes)
        laws_ = _attempt("laws", failures, lambda: gradient_laws(it), ()) if laws and not failures else ()
        repeated: list[Leaf] = []
        if under or dtypes:
            repeated, failed, said = under_conditions(
                f, problem, under or ("jit",), dtypes or (str(problem.dy[0].dtype),))
            failures += failed
            notes += said
        costs = _attempt("cost", failures, lambda: gradient_costs(f, problem), ()) if cost else ()
    name = getattr(f, "name", None) or getattr(f, "__name__", None) or type(f).__name__
    return GradientReport(name, tuple(rows), tuple(repeated), laws_, costs, tuple(findings),
                          tuple(dict.fromkeys(failures)), tuple(dict.fromkeys(notes)))


def chosen(what: str, names: str | Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence):
        names = known if isinstance(names, str) and names == "all" else (names,)
    names = tuple(getattr(name, "__name__", str(name)) for name in names)  # jnp.float32 too
    for name in names:
        if name not in known:
            raise InputError("compare_gradients", f"expects {what} among {', '.join(map(repr, known))}, or "
                             f"'all'; got {name!r}")
    return names


def _rows(it: Candidate, routes: Sequence[str], directions: int, every_coordinate: bool, failures: list[str],
          notes: list[str]) -> tuple[list[Leaf], list[Finding]]:
    """The leaves by each route, and the reasons for those that are wrong."""
    problem = it.problem
    rows: list[Leaf] = []
    for route in ("explicit", "lifted"):
        if route in routes and (route == "lifted" or it.has_passes):
            def compared(route: str = route) -> list[Leaf]:
                return [compare_leaf(w, route, g)
                        for w, g in zip(problem.wanted, getattr(it, route), strict=True)]

            rows += _attempt(f"{route} backward", failures, compared, [])
    has_rule = any(row.route == "lifted" for row in rows) or "lifted" not in routes
    if "float64" in routes and has_rule:
        rows += _attempt("float64", notes, lambda: by_float64(it), [])
    # What a function has no rule for is a limit of it, not a wrong gradient.
    if "forward" in routes and has_rule:
        rows += _attempt("f has no forward mode", notes, lambda: by_forward_mode(it, directions), [])
    if {"finite differences", "taylor"} & set(routes) and has_rule:
        rows += _attempt("finite differences", failures,
                         lambda: along_directions(it, directions, tuple(routes)), [])
        if it.lifted64 is None:
            notes.append("f does not run in float64: finite differences were taken in its own precision, and "
                         "there is no Taylor order")
    if "second order" in routes and has_rule:
        rows += _attempt("f has no second derivative", notes, lambda: by_second_order(it), [])
    if every_coordinate and has_rule:
        rows += _attempt("every coordinate", failures, lambda: along_coordinates(it, 10_000), [])
    if problem.in_other_precision is not None and problem.oracle is None:
        notes.append("the reference is another function in float64 (does it draw random numbers?): its noise "
                     "was measured in its own precision")
    if problem.held:
        notes.append(f"the reference holds {', '.join(map(repr, problem.held))} of its value fixed: finite "
                     "differences leave it out")
    if any(not row.ok for row in rows):
        rows = excuse_kinks(it, rows)
    for path in problem.paths:
        routes_ = {row.route: row for row in rows if row.path == path}
        checks = [routes_[name] for name in ("finite differences", "taylor") if name in routes_]
        wrong_here = any(not row.ok for row in routes_.values())
        if wrong_here and len(checks) == 2 and all(row.ok and not row.excused for row in checks):
            notes.append(f"{path}: finite differences side with f: is it the reference that is wrong?")
    findings = []
    for i, path in enumerate(problem.paths):
        wrong = [row.route for row in rows if row.path == path and not row.ok
                 and row.route in ("explicit", "lifted", "float64")]
        if wrong:
            got = getattr(it, "lifted64" if wrong[0] == "float64" else wrong[0])[i]
            numbers = numbers_of(it.f, problem.static)
            findings.append(diagnose(Evidence(problem, i, got, numbers, wrong[0] == "float64")))
    return rows, findings


def _common(f: Callable, problem: Problem, failures: list[str]) -> Problem:
    """The problem on those outputs that both sides have alike; what they have not is said."""
    try:
        y = jax.eval_shape(lambda: f(*problem.args, **problem.static))
    except Exception as error:
        raise InputError("compare_gradients", "expects an f that can be called with these arguments; it "
                         f"raised {one_line(error)}") from error
    ours = {out.path: out for out in outputs_of(y)}
    theirs = {out.path: out for out in problem.outputs}
    for path in dict.fromkeys([*theirs, *ours]):
        a, b = ours.get(path), theirs.get(path)
        where = f"the value's {path!r}" if path else "the value"
        if a is None or b is None:
            who, other = ("the reference", "f") if a is None else ("f", "the reference")
            failures.append(f"{who} returns {where}, {_kind(a or b)}, which {other} does not")
        elif (a.shape, a.dtype) != (b.shape, b.dtype):
            failures.append(f"{where} is {_kind(a)} by f and {_kind(b)} by the reference")
    alike = {path for path, out in theirs.items() if path in ours and ours[path].shape == out.shape}
    if not alike:
        raise InputError("compare_gradients", "expects f and its reference to have a value in common; "
                         + "; ".join(failures))
    if alike == set(theirs):
        return problem
    return Problem(problem.callable, problem.args, problem.static, names=problem.names, seed=problem.seed,
                   hold=problem.hold, only=alike)


def _kind(out: Any) -> str:
    return f"{out.dtype}{list(out.shape)}"


def _attempt(what: str, said: list[str], run: Callable, otherwise: Any) -> Any:
    """What run returns, or, where f raises, otherwise, with a line that says so."""
    try:
        return run()
    except Exception as error:
        said.append(f"{what}: f raised {one_line(error)}" if not what.startswith("f ") else
                    f"{what}: {one_line(error)}")
        return otherwise


@contextlib.contextmanager
def _quiet(notes: list[str], who: str) -> Iterator[None]:
    """Keeps what is printed meanwhile, and says so in a note."""
    buffer = io.StringIO()
    try:
        with contextlib.redirect_stdout(buffer):
            yield
    finally:
        if lines := list(dict.fromkeys(buffer.getvalue().splitlines())):
            notes.append(f"{who} printed {lines[0]!r}" + (" ..." if len(lines) > 1 else ""))


def _aliases(problem: Problem) -> Iterator[tuple[str, str]]:
    seen: dict[int, str] = {}
    for path, leaf in zip(problem.paths, problem.moving, strict=True):
        if id(leaf) in seen:
            yield seen[id(leaf)], path
        seen[id(leaf)] = path


def held_arguments(f: Callable) -> tuple[int, ...]:
    """The arguments that a custom rule declares to have no gradient."""
    given = getattr(f, "nondiff_argnums", ()) or ()
    return tuple(i for i in given if isinstance(i, int))


def numbers_of(f: Any, static: dict[str, Any]) -> dict[str, float]:
    """The numbers a function was made with, by name: static keywords, hyperparameters of the ops inside."""
    found: dict[str, float] = {}

    def look(x: Any, name: str) -> None:
        if isinstance(x, bool):
            return
        if isinstance(x, int | float):
            found.setdefault(name, float(x))
        elif isinstance(x, dict):
            for key, value in x.items():
                look(value, str(key))
        elif isinstance(x, tuple | list):
            for item in x:
                if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str):
                    look(item[1], item[0])
                else:
                    look(item, name)
        elif dataclasses.is_dataclass(x) and not isinstance(x, type):
            for field in dataclasses.fields(x):
                look(getattr(x, field.name), field.name)

    look(static, "")
    look(f, "")
    return found
