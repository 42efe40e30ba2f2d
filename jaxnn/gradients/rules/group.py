"""One rule of a function, and all of its uses with the same shapes: the verdict on it.

One compiled program compares the two gradients at all uses. Where they differ, or where the plain function's gradient
is not finite, the whole comparison (`compare_gradients`) decides, and says why.
"""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

from jaxnn.cotangents import is_inexact
from jaxnn.explicit.program import evaluate
from jaxnn.gradients.leaf import THRESHOLD, as_wide
from jaxnn.gradients.programs import precision
from jaxnn.gradients.remark import Kind, Remark, one_line
from jaxnn.gradients.report import GradientReport
from jaxnn.gradients.rules.pair import ClosesOver, Compared, Pair
from jaxnn.gradients.rules.plain import kind_of, name_of, over_levels, plain_of, without_rules
from jaxnn.gradients.rules.report import Rule
from jaxnn.gradients.rules.use import Use
from jaxnn.gradients.trees import path_of
from jaxnn.linearity import equations, opened

__all__ = ["Comparison", "Group"]

MOST_WHOLE = 4  # uses of one rule at which it is compared in whole, while it turns out right there

Comparison = Callable[..., GradientReport]


class Group:
    """One rule, and all of its uses with the same shapes."""

    def __init__(self, uses: Sequence[Use], compare: Comparison, seed: int, in_whole: bool):
        self.compare, self.seed, self.in_whole = compare, seed, in_whole
        self.uses, self.reached = uses, [use for use in uses if use.is_reached]
        first = self.first = uses[0]
        self.pair: Pair | None = None
        self.problem, self.closes_over = "", False  # why there is no pair
        self.is_compared = bool(self.reached and first.kind == kind_of(first.eqn) and first.moving and first.asked)
        if self.is_compared:
            self._pair(plain_of(first.eqn))

    def _pair(self, plain: Any) -> None:
        self.plain, self.pair, self.closes_over = plain, None, False
        try:
            self.pair = Pair(self.first, plain, self.names, self.seed)
        except (ClosesOver, jax.errors.UnexpectedTracerError):
            self.closes_over = True
        except Exception as error:  # one of the two has no reverse mode, or fails: the whole comparison says which
            self.problem = one_line(error)

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """Of the inputs."""
        if self.first.kind == "op":
            call = self.first.eqn.params["call"]
            paths, _ = jax.tree_util.tree_flatten_with_path(jax.tree.unflatten(call.tree, call.avals))
            return tuple(path_of(path, tuple(call.op.arguments)) for path, _ in paths)
        given = getattr(opened(plain_of(self.first.eqn))[0].debug_info, "arg_names", None) or ()
        names = tuple(name or f"args[{i}]" for i, name in enumerate(given))
        n = len(self.first.values)
        return names if len(names) == n == len(set(names)) else tuple(f"args[{i}]" for i in range(n))

    def rule(self, wrong: set[int]) -> Rule:
        """The rule with its verdict. wrong: ids of equations whose own rules are wrong, which stand in the plain
        function of this one say, and are replaced by their own plain functions there."""
        inputs, kind = _described(atom.aval for atom in self.first.eqn.invars), self.first.kind
        rule = Rule(name_of(self.first.eqn) if kind == kind_of(self.first.eqn) else kind, kind, inputs,
                    sum(use.stands_for for use in self.reached or self.uses), 0, tuple(map(str, self.uses)), None,
                    inside=self.first.place.rule)
        if kind != kind_of(self.first.eqn):
            return rule._replace(note="what stands inside of it is not opened, and the rules there are judged by "
                                 "nothing: compare them by themselves", failed=True)
        if not self.reached:
            return rule._replace(note="it stands in a branch that is not taken at these arguments")
        if not self.is_compared:
            return rule._replace(note="no gradient passes through it")
        if any(id(eqn) in wrong for eqn in equations(opened(plain_of(self.first.eqn))[0])):
            self._pair(without_rules(plain_of(self.first.eqn), wrong))
            if self.pair is not None:
                self.pair.compile()
        rule = rule._replace(compared=len(self.reached), places=tuple(map(str, self.reached)))
        try:
            return self._judged(rule)
        except Exception as error:
            return rule._replace(note=one_line(error), failed=True)

    def _judged(self, rule: Rule) -> Rule:
        if self.closes_over:
            return rule._replace(failed=True, note="it closes over values of the function around it, and so cannot be "
                                 "compared by itself: give them to the rule as arguments")
        if self.pair is None:
            report = self._in_whole(self.reached[0])
            is_righter = not report.ok and self._sides_with_rule(report)
            is_right = report.ok or is_righter
            return rule._replace(report=report, compared=1, wrong_places=() if is_right else rule.places[:1],
                                 note=self.problem if is_right else "", is_righter=is_righter)
        compared = [self.pair.at_use(use) for use in self.reached]
        worst = max(range(len(compared)), key=lambda n: compared[n].error)
        doubtful = sorted((n for n, one in enumerate(compared) if one.error > THRESHOLD),
                          key=lambda n: -compared[n].error)
        doubtful = [n for n in doubtful if not self._in_brief(compared[n], self.reached[n].values).ok]
        if not doubtful:
            report = self._in_whole(self.reached[0]) if self.in_whole else self._in_brief(
                compared[worst], self.reached[worst].values if compared[worst].error > THRESHOLD else None)
            return rule._replace(report=report, wrong_places=() if report.ok else rule.places[:1])
        right: list[GradientReport] = []
        for n in doubtful[:MOST_WHOLE]:
            report = self._in_whole(self.reached[n], compared[n].dy)
            if not (report.ok or self._sides_with_rule(report)):
                others = tuple(rule.places[k] for k in sorted(doubtful) if k != n)
                return rule._replace(report=report, wrong_places=(rule.places[n], *others),
                                     note=self._note(compared[n]))
            right.append(report)
        if (rest := len(doubtful) - MOST_WHOLE) > 0:
            words = (f"at {rest} more uses, first at {rule.places[doubtful[MOST_WHOLE]]}, the gradients differ as they "
                     "do where the whole comparison calls them right, and were not compared in whole")
            right[0] = right[0]._replace(remarks=(*right[0].remarks, Remark(Kind.UNJUDGED, words)))
        report = next((report for report in right if not report.ok), right[0])
        return rule._replace(report=report, is_righter=not report.ok)

    def _sides_with_rule(self, report: GradientReport) -> bool:
        """Whether all that is amiss is the plain function's gradient, which its value's own slopes contradict. Not so
        if it holds something fixed: then the rule should."""
        amiss = report.wrong or report.failures or report.broken_laws or report.unjudged
        return bool(report.wrong_reference) and not amiss and not any(
            eqn.primitive.name == "stop_gradient" for eqn in equations(opened(self.plain)[0]))

    def _note(self, compared: Compared) -> str:
        """What a rule that is wrong may be in truth."""
        assert self.pair is not None
        if any(np.any(np.asarray(leaf)) for leaf in compared.leaves[1][self.pair.n_values:]):
            return ""
        return ("the plain function's gradient is zero everywhere, since it rounds, or holds its argument fixed: is "
                "the rule a surrogate, on purpose?")

    def _in_brief(self, compared: Compared, values: list[Any] | None) -> GradientReport:
        """The report of the pair's program at one use; with its values the noise is measured too."""
        assert self.pair is not None
        return GradientReport(name_of(self.first.eqn), self.pair.leaves(compared, values))

    def _in_whole(self, use: Use, dy: Sequence[Any] | None = None) -> GradientReport:
        """The whole comparison at one use; its report with the value under differentiation, if that is wrong.

        dy: the cotangent; that of f's own backward pass, if there is one, or else a random one, if none is given.
        """
        dy = use.cotangents if dy is None else dy
        report = self._of_op(use, dy) if use.kind == "op" else self._of_custom(use, dy)
        if self.pair is None:
            return report
        leaves = self.pair.leaves(self.pair.at(use.values, self.pair.dy if dy is None else dy), use.values)
        failures = [Remark(Kind.FAILURE, f"under differentiation {leaf.path}{list(leaf.element)} is {leaf.value:.6g}, "
                           f"and {leaf.reference:.6g} by the plain function") for leaf in leaves
                    if leaf.path.partition("/")[0] == "value" and not leaf.ok]
        return report._replace(remarks=(*report.remarks, *failures))

    def _compared(self, use: Use, rule: Callable, plain: Callable, dy: Sequence[Any] | None) -> GradientReport:
        """Functions of all inputs compared along those that move, and the outputs that are asked for."""
        values, is_bound = list(use.values), False

        def of_moving(function: Callable) -> Callable:
            def value(*moving: Any) -> tuple[Any, ...]:
                if is_bound and any(x.dtype != values[i].dtype for i, x in zip(use.moving, moving, strict=True)):
                    raise TypeError("the rule was traced in one precision and does not run in another")
                filled = list(values)
                for i, x in zip(use.moving, moving, strict=True):
                    filled[i] = x
                out = function(*filled)
                return tuple(out[i] for i in use.asked)

            return _named(value, name_of(use.eqn), tuple(self.names[i] for i in use.moving))

        functions = of_moving(rule), of_moving(plain)
        is_hidden = any("callback" in eqn.primitive.name for eqn in equations(opened(self.plain)[0]))
        is_bound = is_hidden or not all(
            _runs_in_float64(function, [values[i] for i in use.moving]) for function in functions)
        return self.compare(functions[0], *(values[i] for i in use.moving), reference=functions[1], dy=dy)

    def _of_op(self, use: Use, dy: Sequence[Any] | None) -> GradientReport:
        """An op beside its reference: as it stands where that is possible, so that its own backward is called."""
        call = use.eqn.params["call"]
        smooth = [i for i, value in enumerate(use.values) if is_inexact(value)]
        outputs = [i for i, var in enumerate(use.eqn.outvars) if is_inexact(var.aval)]
        is_whole = list(use.moving) == smooth and list(use.asked) == outputs
        is_own = self.plain is plain_of(use.eqn)
        if is_whole and not call.levels and is_own:
            args = jax.tree.unflatten(call.tree, use.values)
            return self.compare(call.op, *args, reference=call.op.reference, dy=dy, **dict(call.static))
        plain = over_levels(call, call.op.reference) if is_own else core.jaxpr_as_fun(self.plain)
        return self._compared(use, over_levels(call, call.op), plain, dy)

    def _of_custom(self, use: Use, dy: Sequence[Any] | None) -> GradientReport:
        """A custom rule beside the plain function that it carries."""
        return self._compared(use, lambda *values: evaluate(use.eqn, values), core.jaxpr_as_fun(self.plain), dy)


def _runs_in_float64(function: Callable, args: Sequence[Any]) -> bool:
    """Whether a traced function can be compiled for float64 too: constants of its own dtype may be inside."""
    try:
        with precision():
            wide = [as_wide(np.empty(0, x.dtype)).dtype for x in args]
            shapes = [jax.ShapeDtypeStruct(x.shape, dtype) for x, dtype in zip(args, wide, strict=True)]
            jax.jit(function).lower(*shapes)
    except Exception:
        return False
    return True


def _described(avals: Iterable[Any]) -> str:
    """Dtypes and shapes; of what repeats the number: "float32[8,4] 2 x float32[4]"."""
    texts = [f"{aval.dtype}{list(aval.shape)}".replace(" ", "") if hasattr(aval, "dtype") else str(aval)
             for aval in avals]
    runs = ((text, len(list(same))) for text, same in itertools.groupby(texts))
    return " ".join(f"{n} x {text}" if n > 1 else text for text, n in runs)


def _named(function: Any, name: str, arguments: tuple[str, ...]) -> Callable:
    function.__name__, function.arguments = name, arguments
    return function
