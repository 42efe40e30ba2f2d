"""Gradient checkers, each as a function (point, mutant) -> verdict, with its defaults.

jaxnn and PyTorch are given an op, or a function with a backward pass, as they expect it; `check_grads`
and chex a JAX function of the leaves that have a derivative, or the mean square of its value, a loss.
"""

import copy
import functools
import unittest.mock
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from jax.test_util import check_grads

from experiments.compare.point import UNCHANGED, Point, mean_square, plain
from jaxnn.gradients.candidate import Candidate
from jaxnn.gradients.compare import compare_at
from jaxnn.gradients.leaf import compare_leaf
from jaxnn.gradients.mutants import Mutant
from jaxnn.gradients.routes.kinks import excuse_kinks
from jaxnn.linearity import why_not_linear

__all__ = ["ACCEPTED", "CHECKERS", "FOUND", "NOT_RUN", "REFUSED", "Checker", "has_torch"]

FOUND, REFUSED, ACCEPTED, NOT_RUN = "found", "refused", "accepted", "not run"
# The whole Jacobian takes two values for each input and two backward passes for each output.
MOST_EVALUATIONS = 400


class Checker(NamedTuple):
    name: str
    verdict: Callable[[Point, Mutant], str]
    note: str = ""
    is_ours: bool = False
    needs_torch: bool = False


def by_jaxnn(point: Point, mutant: Mutant) -> str:
    """compare_gradients of the op, by default options.

    A leaf that is wrong by one route is wrong in the report, so the explicit one is tried first,
    uncompiled. Where it is right, the whole comparison is made, of the op as a user has it.
    """
    with jax.disable_jit():
        candidate = Candidate(mutant, point.problem)
        if not mutant.mutation.mistake.linear and _is_refused(point, mutant, candidate):
            return REFUSED
        explicit = candidate.explicit
    if _is_wrong(point, explicit=explicit):
        return FOUND
    unchanged = mutant.mutation is UNCHANGED
    op = point.op if unchanged else Mutant(point.op, (), mutant.mutation, mutant.reverse_only)
    return ACCEPTED if compare_at(op, point.problem).ok else FOUND


def _is_refused(point: Point, mutant: Mutant, candidate: Candidate) -> bool:
    """Whether the rule is refused when it is lifted, since it is not linear in dy."""
    try:
        candidate.lifted  # noqa: B018
    except TypeError:
        y, cache = mutant.forward(*point.args)
        dy = point.problem.cotangent(y, point.problem.dy)
        if not any(why_not_linear(lambda dy: jax.tree.leaves(mutant.backward(cache, dy)), dy)):
            raise
        return True
    return False


def by_jaxnn_of_a_function(point: Point, mutant: Mutant) -> str:
    """compare_gradients of a `jax.custom_vjp` and its reference: one route, and nothing is refused."""
    with jax.disable_jit():
        lifted = Candidate(plain(mutant), point.problem).lifted
    if _is_wrong(point, lifted=lifted):
        return FOUND
    op = plain(Mutant(point.op, (), mutant.mutation, True))

    def function(*args: Any) -> Any:
        return op(*args)

    return ACCEPTED if compare_at(function, point.problem).ok else FOUND


def _is_wrong(point: Point, **routes: list[Any]) -> bool:
    """Whether a leaf by one of the routes is wrong, and not only for a kink."""
    for route, leaves in routes.items():
        candidate = copy.copy(point.right)  # a mutant has the value of its op, whose programs are compiled
        candidate.lifted = candidate.explicit = leaves
        for reference, value in zip(point.problem.gradient, leaves, strict=True):
            leaf = compare_leaf(reference, route, value)
            if not leaf.ok and not excuse_kinks(candidate, [leaf])[0].ok:
                return True
    return False


def by_check_grads(point: Point, mutant: Mutant, *, loss: bool = False) -> str:
    check = functools.partial(check_grads, args=point.inputs(), order=1, modes=["rev"])
    return _asserted(check, point, plain(mutant), loss)


def by_chex(point: Point, mutant: Mutant, *, loss: bool = False) -> str:
    """In both modes, as is the default; a mutation that is not linear in dy has reverse mode only."""
    linear = mutant.mutation.mistake.linear
    check = functools.partial(chex.assert_numerical_grads, f_args=point.inputs(), order=1,
                              **({} if linear else {"modes": ["rev"]}))
    return _asserted(check, point, mutant if linear else plain(mutant), loss)


def _asserted(check: Callable[..., Any], point: Point, mutant: Mutant, loss: bool) -> str:
    f = point.function(mutant)
    with jax.disable_jit():
        try:
            check(mean_square(f) if loss else f)
        except AssertionError:
            return FOUND
    return ACCEPTED


def by_gradcheck(point: Point, mutant: Mutant, *, fast_mode: bool) -> str:
    """In float64, of an autograd.Function that has the op's forward and the mutant's backward."""
    torch: Any = _torch()
    xs = [np.asarray(x, np.float64) for x in point.inputs()]
    ys = point.value64(xs)
    if not fast_mode and 2 * sum(x.size for x in xs) + 2 * sum(y.size for y in ys) > MOST_EVALUATIONS:
        return NOT_RUN

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *xs: Any) -> Any:
            arrays = [x.detach().numpy() for x in xs]
            ctx.pull_back = point.pull_back64(mutant, [array.copy() for array in arrays])
            return tuple(torch.from_numpy(y.copy()) for y in point.value64(arrays))

        @staticmethod
        def backward(ctx: Any, *dys: Any) -> Any:
            return tuple(map(torch.from_numpy, ctx.pull_back([dy.numpy() for dy in dys])))

    inputs = tuple(torch.from_numpy(x.copy()).requires_grad_() for x in xs)
    with _without_message(torch.autograd.gradcheck):
        right = torch.autograd.gradcheck(Function.apply, inputs, fast_mode=fast_mode, raise_exception=False)
    return ACCEPTED if right else FOUND


@functools.cache
def _torch() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
    return torch


def has_torch() -> bool:
    try:
        _torch()
    except ImportError:
        return False
    return True


def _without_message(gradcheck: Callable) -> Any:
    """When the fast mode has failed it goes through the whole Jacobian, for the text of its message only."""
    namespace = gradcheck.__globals__
    name = "_run_slow_mode_and_get_error"
    quick = {name: lambda *args, **kwargs: ""} if name in namespace else {}
    return unittest.mock.patch.dict(namespace, quick)


CHECKERS = (
    Checker("jaxnn", by_jaxnn, "compare_gradients of the op", is_ours=True),
    Checker("jaxnn-function", by_jaxnn_of_a_function,
            "compare_gradients of a jax.custom_vjp beside its reference", is_ours=True),
    Checker("check_grads", by_check_grads, "jax.test_util.check_grads, order 1, reverse mode"),
    Checker("check_grads-loss", functools.partial(by_check_grads, loss=True),
            "the same through the mean square of the value"),
    Checker("chex", by_chex, "chex.assert_numerical_grads, order 1"),
    Checker("chex-loss", functools.partial(by_chex, loss=True),
            "the same through the mean square of the value"),
    Checker("gradcheck", functools.partial(by_gradcheck, fast_mode=False),
            "torch.autograd.gradcheck, the whole Jacobian, float64; where that takes at most "
            f"{MOST_EVALUATIONS} evaluations", needs_torch=True),
    Checker("gradcheck-fast", functools.partial(by_gradcheck, fast_mode=True),
            "torch.autograd.gradcheck, fast_mode=True, float64", needs_torch=True),
)
