"""Every op's gradient, over a small batch, lowers for CUDA and for TPU: no device is needed for that."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from jax.export import export

from tests.cases import CASES, VARIED
from tests.test_hand_derived_transformations import Smooth, weigh

PLATFORMS = ("cuda", "tpu")


def lowered(f, *args):
    """A program lowered for both platforms."""
    return export(jax.jit(f), platforms=PLATFORMS)(*args)


@pytest.mark.sampled
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name, marks=[pytest.mark.exhaustive]
                                               if case.name in VARIED else []) for case in CASES])
def test_gradient_of_a_batch(case):
    smooth_args = Smooth(case, 2)
    value = smooth_args.value(functools.partial(case.op, **case.static))

    def gradient(m, r):
        return jax.grad(lambda m: weigh(jax.vmap(value, smooth_args.axes, axis_name="examples")(m, r)))(m)

    exported = lowered(gradient, smooth_args.smooth, smooth_args.rough)
    assert exported.platforms == PLATFORMS
    assert [leaf.shape for leaf in exported.out_avals] == [leaf.shape for leaf in smooth_args.smooth]


def test_what_a_platform_lacks_is_found():
    """So that the passing above means something: an operation that has a rule for CPU alone."""
    with pytest.raises(NotImplementedError, match=r"cuda|tpu"):
        lowered(lambda x: lax.linalg.schur(x)[0], jnp.eye(3))
