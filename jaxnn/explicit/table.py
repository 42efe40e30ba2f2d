"""The table of a network's steps: what each puts out, the parameters it reads, its multiply-adds, and what it keeps for
backward."""

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.extend import core

from jaxnn.explicit import multiply_adds
from jaxnn.explicit.program import ForwardOnly, Glue, OpStep, Program, Recompute, Scan, Step

__all__ = ["Row", "rows_of", "table_of", "uses"]


class Row(NamedTuple):
    """One step of a network."""

    place: str
    """The named scopes around it, or else the function and line that it was called from; "use 2" in it where an op is
    called with the same parameters for the second time."""
    step: str
    """The op's name; of glue, the primitives in it."""
    backward: str
    """Where its backward pass comes from: "by hand", "autodiff" for an op made by by_autodiff and for glue, "none"."""
    shape: Any
    """Of its value."""
    parameters: int
    """How many numbers the argument `params` of the op holds, or of the ops in the branches of a `cond`; what several
    steps read counts once, at the first."""
    cache_bytes: int
    """What it keeps beyond the network's own arguments; what several steps keep counts once, at the first."""
    nonlinear: tuple[str, ...] = ()
    """Of glue: the primitives that are not linear in the network's arguments."""
    multiply_adds: int = 0
    """Of its forward pass, as `jaxnn.explicit.multiply_adds` counts them; of a step inside of a scan, those of all its
    rounds."""


def rows_of(program: Program) -> tuple[Row, ...]:
    """The rows of all steps, those inside of a scan or a checkpoint after their own; none of glue that no gradient
    passes through, such as the splitting of keys."""
    closed, tree = program.traced
    jaxpr = getattr(closed, "jaxpr", closed)
    counted = set(jaxpr.invars)
    sizes = []
    for atom in jaxpr.outvars[len(program.out_avals):]:
        is_new = not isinstance(atom, core.Literal) and atom not in counted
        sizes.append(_bytes(atom.aval) if is_new else 0)
        if is_new:
            counted.add(atom)
    found = list(_rows(program, "", tree.unflatten(sizes), list(range(len(program.in_avals))), set()))
    places = uses([(row.place, step) for row, step in found])
    return tuple(row._replace(place=place) for (row, _), place in zip(found, places, strict=True))


def uses(steps: Sequence[tuple[str, Step]]) -> list[str]:
    """The place of each step; with "use 1", "use 2", ... where the same op at one place reads the same parameters, or
    none, as in the two halves of a Siamese pair."""
    keys = [(place, step.call.op.name, step.parameters) if isinstance(step, OpStep) else None for place, step in steps]
    totals, so_far = Counter(keys), Counter[Any]()
    places = []
    for key, (place, _) in zip(keys, steps, strict=True):
        so_far[key] += 1
        places.append(f"{place}, use {so_far[key]}" if key is not None and totals[key] > 1 else place)
    return places


def _rows(program: Program, prefix: str, sizes: Sequence[Any], origins: Sequence[Any],
          counted: set[Any], rounds: int = 1) -> Iterator[tuple[Row, Step]]:
    """origins: what each argument of the program is outside of it; counted: the parameters that have been; rounds: how
    often the program is run."""
    def origin(slot: int) -> Any:
        return origins[slot] if slot < len(origins) else (program, slot)

    for step, of_step in zip(program.steps, sizes, strict=True):
        place = _joined(prefix, step.place) or step.line
        if isinstance(step, Scan):
            once, each = map(iter, of_step)
            inner = step.inner.tape_tree.unflatten([next(each) if v else next(once) for v in step.is_varying])
            yield Row(place, f"scan of {step.length} steps", "by hand", _shapes(program, step), 0, 0), step
            yield from _rows(step.inner, _joined(place, "scan"), inner, list(map(origin, step.ins)), counted,
                             rounds * step.length)
        elif isinstance(step, Recompute):
            name = "checkpoint; its policy is not kept" if step.has_policy else "checkpoint"
            yield Row(place, name, "by hand", _shapes(program, step), 0, sum(jax.tree.leaves(of_step))), step
            nothing = step.inner.tape_tree.unflatten([0] * step.inner.tape_tree.num_leaves)
            yield from _rows(step.inner, _joined(place, "checkpoint"), nothing, list(map(origin, step.ins)), counted,
                             rounds)
        elif not isinstance(step, Glue) or step.differentiable:
            parameters = _new_parameters(step, origin, counted)
            yield Row(place, *_described(step), _shapes(program, step), parameters,
                      sum(jax.tree.leaves(of_step)), step.nonlinear if isinstance(step, Glue) else (),
                      rounds * _multiply_adds(program, step)), step


def _joined(*places: str) -> str:
    return "/".join(filter(None, places))


def _described(step: Step) -> tuple[str, str]:
    if isinstance(step, OpStep):
        return step.call.op.name, "autodiff" if getattr(step.call.op, "by_autodiff", False) else "by hand"
    if isinstance(step, Glue):
        return ", ".join(step.names), "autodiff"
    assert isinstance(step, ForwardOnly)
    return step.equation.primitive.name, "none"


def _multiply_adds(program: Program, step: Step) -> int:
    if isinstance(step, OpStep):
        return multiply_adds.of_call(step.call, program.axes)
    if isinstance(step, ForwardOnly):
        return multiply_adds.of_equation(step.equation)
    assert isinstance(step, Glue)
    return multiply_adds.of_function(step.forward_pass, [program.slot_avals[slot] for slot in step.ins], program.axes)


def _new_parameters(step: Step, origin: Callable[[Any], Any], counted: set[Any]) -> int:
    """How many numbers of parameters the step's ops read that no step before has read."""
    total = 0
    for source, n in step.parameters:
        whence = origin(source) if isinstance(source, int) else source
        if whence not in counted:
            counted.add(whence)
            total += n
    return total


def _shapes(program: Program, step: Step) -> Any:
    shapes = tuple(program.slot_avals[slot].shape for slot in step.outs)
    return shapes[0] if len(shapes) == 1 else shapes


def _bytes(aval: Any) -> int:
    return math.prod(aval.shape) * getattr(aval.dtype, "itemsize", 4)


def table_of(rows: Sequence[Row]) -> str:
    """The rows as text, with their totals; glue that is not linear is named."""
    head = ("place", "step", "backward", "output shape", "parameters", "multiply-adds", "bytes of cache")
    body = [(r.place, _described_row(r), r.backward, _text(r.shape), f"{r.parameters:,}" if r.parameters else "",
             f"{r.multiply_adds:,}" if r.multiply_adds else "", f"{r.cache_bytes:,}") for r in rows]
    total = ("total", "", "", "", *(f"{sum(getattr(r, name) for r in rows):,}"
                                    for name in ("parameters", "multiply_adds", "cache_bytes")))
    widths = [max(map(len, column)) for column in zip(head, *body, total, strict=True)]
    line = "  ".join("-" * w for w in widths)
    texts = ["  ".join(c.rjust(w) if i > 3 else c.ljust(w)
                       for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
             for row in (head, *body, total)]
    return "\n".join([texts[0], line, *texts[1:-1], line, texts[-1]])


def _described_row(row: Row) -> str:
    return _shortened(row.step) + (f"; not linear: {', '.join(row.nonlinear)}" if row.nonlinear else "")


def _shortened(text: str, limit: int = 48) -> str:
    return text if len(text) <= limit else text[:limit].rsplit(", ", 1)[0] + ", ..."


def _text(shape: Any) -> str:
    return str(shape).replace("'", "")
