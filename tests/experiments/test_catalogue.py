"""The catalogue is complete, and its arguments fit their ops at every size and over a batch."""

import jax
import jax.numpy as jnp
import pytest

from experiments.catalogue import CASES, KINDS, SIZES, find
from jaxnn import ops
from jaxnn.checks import InputError
from jaxnn.hand_derived import Op


def test_every_op_is_in_the_catalogue():
    exported = {name for name, value in vars(ops).items() if isinstance(value, Op)}
    missing = exported - {case.name for case in CASES}
    assert not missing, "ops without a line in experiments/catalogue.py"
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.kind for case in CASES} <= set(KINDS)


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_arguments_fit_their_op_at_every_size(case):
    largest = []
    for size in SIZES:
        args = case.args(size)
        jax.eval_shape(lambda args=args: case.op.reference(*args, **case.static))
        largest.append(max(leaf.size for leaf in jax.tree.leaves(args)))
    assert largest[0] < largest[1] < largest[2] <= 4096


@pytest.mark.sampled
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_over_a_batch_parameters_are_shared(case):
    op, args = case.over_batch(3)
    one = case.args(seed=0, **({"examples": 3} if "examples" in case.sizes else {}))
    for name, arg, alone in zip(op.arguments, args, one):
        for a, b in zip(jax.tree.leaves(arg), jax.tree.leaves(alone), strict=True):
            is_shared = name in case.shared or "examples" in case.sizes
            assert a.shape == (b.shape if is_shared else (3, *b.shape))
    y, batch = (jax.eval_shape(lambda f=f: f(*args, **case.static)) for f in (op, op.reference))
    assert jax.tree.map(jnp.shape, y) == jax.tree.map(jnp.shape, batch)


def test_a_batch_is_the_sum_of_its_examples():
    """Each face is mapped over the examples, and what they share gets the sum."""
    op, args = find("lstm").over_batch(2)
    _, cache = op.forward(*args)
    dparams, dx, *_ = op.backward(cache, jax.tree.map(jnp.ones_like, op(*args)))
    want = jax.grad(lambda p: sum(map(jnp.sum, jax.tree.leaves(op.reference(p, *args[1:])))))(args[0])
    for a, b in zip(jax.tree.leaves(dparams), jax.tree.leaves(want), strict=True):
        assert jnp.allclose(a, b, rtol=1e-4, atol=1e-5)
    assert dx.shape == args[1].shape


def test_a_name_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="expects the name of an op; got 'dens'; did you mean 'dense'"):
        find("dens")
    with pytest.raises(InputError, match="dense expects a size, one of small, medium, large; got 'huge'"):
        find("dense").args("huge")
    with pytest.raises(InputError, match="dense expects sizes named o, i; got 't'"):
        find("dense").args(t=4)
    with pytest.raises(InputError, match="--batch expects at least one example; got 0"):
        find("dense").over_batch(0)


def test_sizes_by_name():
    params, x = find("dense").args("large", i=5)
    assert params["weight"].shape == (48, 5) and x.shape == (5,)
    _, (params, x) = find("dense").over_batch(7, i=5, o=2)
    assert params["weight"].shape == (2, 5) and x.shape == (7, 5)
    _, (*_, x) = find("batch_norm").over_batch(7, c=3, examples=2)
    assert x.shape == (7, 2, 2, 3)


def test_another_dtype_gets_the_same_numbers():
    (params, x), (rounded, x16) = find("dense").args(), find("dense").args(dtype="bf16")
    assert x16.dtype == rounded["weight"].dtype == jnp.bfloat16
    assert jnp.array_equal(x16, x.astype(jnp.bfloat16))
    assert jnp.array_equal(rounded["bias"], params["bias"].astype(jnp.bfloat16))
