"""Compares each rule inside a function, by itself, with its plain function, at every one of its uses.

At first one compiled program for each rule compares the two gradients at all uses. Where they differ, or where the
plain function's gradient is not finite, the whole comparison (`compare_gradients`) decides, and says why.
"""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np

from jaxnn.checks import InputError
from jaxnn.cotangents import is_inexact
from jaxnn.explicit.program import evaluate
from jaxnn.gradients.remark import one_line
from jaxnn.gradients.rules.group import Comparison, Group
from jaxnn.gradients.rules.pair import Pair
from jaxnn.gradients.rules.plain import kind_of, name_of, plain_of
from jaxnn.gradients.rules.report import RulesReport
from jaxnn.gradients.rules.use import Use
from jaxnn.gradients.rules.walk import uses_of_rules
from jaxnn.linearity import opened

__all__ = ["audit"]


def audit(f: Callable, args: tuple, static: dict[str, Any], compare: Comparison, *, seed: int = 0,
          in_whole: bool = False, intended: Sequence[str] = (), steps: Sequence[int] | None = None) -> RulesReport:
    """The rules inside f at these arguments, each distinct one compared at all of its uses.

    compare: (rule, *inputs, reference=..., dy=..., **static) -> the whole comparison of one rule.
    in_whole: whether each rule is compared in whole, at its first use, though it looks right.
    intended: names of rules that are meant to differ from their plain functions.
    steps: of each scan those that are opened; the first, the middle and the last, if none are named.
    Raises:
      InputError: f cannot be called with these arguments, or has no rule of a name that is declared.
    """
    try:
        uses, why_random = uses_of_rules(f, args, static, seed=seed, steps=steps)
    except Exception as error:
        raise InputError("compare_gradients", "expects a function that can be traced and run at these arguments; it "
                         f"raised {one_line(error)}") from error
    distinct: dict[Any, list[Use]] = {}
    key = functools.lru_cache(maxsize=None)(_key)  # a rule in a loop stands there once for each step
    for use in uses:
        distinct.setdefault((key(use.eqn, use.kind), use.moving, use.asked, bool(use.place.rule)), []).append(use)
    known = list(dict.fromkeys(name_of(use.eqn) for use in uses if use.kind == kind_of(use.eqn)))
    for name in intended:
        if name not in known:
            raise InputError("compare_gradients", f"expects intended to name rules inside of the function, "
                             f"{', '.join(map(repr, known)) or 'of which there are none'}; got {name!r}")
    groups = [Group(same, compare, seed, in_whole) for same in distinct.values()]
    _compile(group.pair for group in groups if group.pair is not None)
    wrong: set[int] = set()
    rules = {}
    for n, group in reversed(list(enumerate(groups))):  # a rule before the one whose plain function uses it
        rule = group.rule(wrong)
        rules[n] = rule._replace(is_intended=rule.name in intended)
        if not rules[n].ok:
            wrong.update(id(use.eqn) for use in group.uses)
    name = getattr(f, "name", None) or getattr(f, "__name__", None) or type(f).__name__
    return RulesReport(name, tuple(rules[n] for n in range(len(groups))), tuple(_notes(groups, why_random)))


def _notes(groups: Sequence["Group"], why_random: str) -> Iterable[str]:
    """At which cotangents the rules were compared, and at which steps of loops."""
    compared = [use for group in groups if group.is_compared for use in group.reached]
    if why_random and compared:
        yield f"f's own backward pass cannot be had ({why_random}): the rules were compared at random cotangents alone"
    elif compared:
        yield ("each rule was compared at the cotangents that f's own backward pass sends to it, at 1 or a random "
               "cotangent of f's value, and at random ones")
        alone: dict[str, list[str]] = {}
        for use in compared:
            if use.cotangents is None:
                why = ("in the plain function of another rule" if use.place.rule else
                       "f's backward pass sends zeros there" if use.has_probe else "in a while loop")
                alone.setdefault(why, []).append(name_of(use.eqn))
        for why, names in alone.items():
            yield f"at random ones alone, {why}: {', '.join(dict.fromkeys(names))}"
    loops: dict[int, set[int]] = {}
    for use in compared:
        for step, n in use.steps:
            loops.setdefault(int(n), set()).add(int(step) + 1)
    for n, opened_steps in loops.items():
        if len(opened_steps) < n:
            yield (f"of a loop of {n:,} steps those compared are {', '.join(map(str, sorted(opened_steps)))}; "
                   "steps=[...] names others of a scan")


def _compile(pairs: Iterable[Pair]) -> None:
    """Compiles the programs, as many at a time as there are cores."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(Pair.compile, pairs))


def _key(eqn: Any, kind: str) -> Any:
    """What two uses of one rule have in common: the rule, its static arguments, shapes and dtypes."""
    if kind == "op":
        return eqn.params["call"]
    if kind != kind_of(eqn):
        return kind, id(eqn)  # not opened
    avals = tuple(str(atom.aval) for atom in eqn.invars)
    return kind, name_of(eqn), _text(plain_of(eqn)), _traced_rule(eqn), avals


def _text(closed: Any) -> Any:
    jaxpr, consts = opened(closed)
    return str(jaxpr), tuple(hash(np.asarray(const).tobytes()) for const in consts)


def _traced_rule(eqn: Any) -> Any:
    """What a custom rule does, as a trace with its constants: two rules may have one name and one plain function."""
    smooth = [i for i, atom in enumerate(eqn.invars) if is_inexact(atom.aval)]

    def gradient(*values: Any) -> Any:
        def value(moving: list[Any]) -> list[Any]:
            filled = list(values)
            for i, x in zip(smooth, moving, strict=True):
                filled[i] = x
            return [y for y in evaluate(eqn, filled) if is_inexact(y)]

        y, pull_back = jax.vjp(value, [values[i] for i in smooth])
        return pull_back(y)

    try:
        return _text(jax.make_jaxpr(gradient)(*(jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype)
                                                for atom in eqn.invars)))
    except Exception:  # no reverse mode, or a rule that fails, which the comparison shows
        return id(eqn)
