"""Which parameters are read by the ops inside of an equation: the branches of a `cond`, the body of a loop."""

import math
from collections.abc import Hashable, Iterator, Sequence
from typing import Any

from jax.extend import core

from jaxnn.explicit.recording import op_primitive
from jaxnn.linearity import opened

__all__ = ["REARRANGED", "parameters_read"]

# They put the numbers of one array elsewhere, once or several times: a weight is still that weight.
REARRANGED = {"broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "pcast", "pvary", "reshape",
              "squeeze", "transpose"}


def parameters_read(eqn: Any, sources: Sequence[Hashable]) -> Iterator[tuple[Hashable, int]]:
    """(its source, how many numbers it holds) for each array of an op's argument `params`, in the order of reading.

    Args:
      eqn: an equation of a recorded jaxpr.
      sources: for each value that the equation reads, what stands for it outside. What is made inside stands for
        itself.
    """
    if eqn.primitive is op_primitive:
        call = eqn.params["call"]
        for source, is_param, shape in zip(sources, call.is_param, call.arg_shapes(), strict=True):
            if is_param:
                yield source, math.prod(shape.shape)
    for jaxpr, first in _inside(eqn):
        known = dict(zip(jaxpr.invars, sources[first:], strict=False))
        for inner in jaxpr.eqns:
            read = [atom if isinstance(atom, core.Literal) else known.get(atom, atom) for atom in inner.invars]
            if inner.primitive.name in REARRANGED and read:
                known[inner.outvars[0]] = read[0]
            yield from parameters_read(inner, [None if isinstance(r, core.Literal) else r for r in read])


def _inside(eqn: Any) -> Iterator[tuple[Any, int]]:
    """(a jaxpr inside, the first of the equation's operands that it reads)."""
    if eqn.primitive.name == "cond":
        yield from ((opened(branch)[0], 1) for branch in eqn.params["branches"])
    elif eqn.primitive.name == "while":
        yield opened(eqn.params["body_jaxpr"])[0], eqn.params["cond_nconsts"]
    else:
        jaxprs = (opened(p)[0] for p in eqn.params.values() if hasattr(p, "jaxpr") or hasattr(p, "eqns"))
        yield from ((jaxpr, 0) for jaxpr in jaxprs if len(jaxpr.invars) == len(eqn.invars))
