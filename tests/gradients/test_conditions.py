"""The same comparison under transformations and in other dtypes: what breaks only there is found there."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, ops
from jaxnn.gradients import CONDITIONS, DTYPES
from tests.cases import array, tree, uniform, weights

RNG = np.random.default_rng(0)
X = array(3)(RNG, jnp.float32)


def quick(f, *args, **options):
    return compare_gradients(f, *args, routes=("lifted",), laws=False, **options)


def rule(plain, backward):
    f = jax.custom_vjp(plain)
    f.defvjp(lambda *args: (plain(*args), args), backward)
    return f


def square(x):
    return x * x


@pytest.mark.exhaustive
def test_everywhere():
    args = weights(4, 3)(RNG, jnp.float32), array(4)(RNG, jnp.float32)
    report = quick(ops.dense, *args, under="all", dtypes="all")
    assert report.ok, str(report)
    assert {(leaf.under, leaf.dtype) for leaf in report.under} == {(u, d) for u in CONDITIONS for d in DTYPES}
    table = str(report).splitlines()
    row = next(i for i, line in enumerate(table) if line.startswith("under"))
    assert table[row].split() == ["under", *DTYPES]
    assert [line.split("  ")[0].strip() for line in table[row + 1:row + 8]] == list(CONDITIONS)


def test_a_layer_that_needs_its_batch():
    args = (tree(scale=array(2), bias=array(2))(RNG, jnp.float32),
            tree(mean=array(2), variance=uniform(2))(RNG, jnp.float32), array(3, 2)(RNG, jnp.float32))
    batch = jax.vmap(ops.batch_norm, (None, None, 0), (0, None), axis_name="examples")
    report = quick(batch, *args, under=("grad of vmap", "sharded"))
    assert report.ok, str(report)


def test_wrong_under_vmap_alone():
    """A backward that looks at the whole batch, by a sum that vmap does not see."""
    def backward(args, dy):
        (x,) = args
        double = jax.custom_batching.custom_vmap(lambda g: g)
        double.def_vmap(lambda size, batched, g: (2 * g, batched[0]))
        return (double(2 * x * dy),)

    report = quick(rule(square, backward), X, reference=square,
                   under=("eager", "jit", "vmap", "grad of vmap"))
    assert {leaf.under for leaf in report.wrong} == {"vmap", "grad of vmap"}
    assert report.verdict.startswith("WRONG at x[")
    assert "under vmap in float32" in report.verdict


def test_wrong_in_one_dtype_alone():
    def backward(args, dy):
        (x,) = args
        return ((2 * x * dy).astype(jnp.float16).astype(x.dtype),)

    report = quick(rule(square, backward), X.astype(jnp.float16), reference=square, dtypes="all")
    assert {leaf.dtype for leaf in report.wrong} == {"float64", "float32"}


def test_what_f_alone_cannot_do_is_a_failure():
    def backward(args, dy):
        (x,) = args
        return (jax.lax.mul(2 * x, dy.astype(jnp.float32)),)  # refuses other dtypes

    report = quick(rule(square, backward), X, reference=square, dtypes=("float32", jnp.bfloat16))
    assert not report.ok
    assert len(report.failures) == 1
    assert report.failures[0].startswith("under jit in bfloat16 f raises TypeError: ")
    assert {leaf.dtype for leaf in report.under} == {"float32"}


def test_what_the_reference_cannot_do_is_a_note():
    def narrow(x):
        return jax.lax.mul(x, X)

    report = quick(narrow, X, reference=narrow, dtypes=("float32", "float16"))
    assert report.ok
    assert any(note.startswith("in float16 the reference raises TypeError") for note in report.notes)


def test_one_device_cannot_be_sharded_over(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    report = quick(square, X, reference=square, under="sharded")
    assert report.under == ()
    assert report.notes == ("sharded: not run, there is one device; "
                            "jax.config.update('jax_num_cpu_devices', 8) "
                            "makes eight of the CPU's",)


@pytest.mark.parametrize("name", ["relu", "max_pool"])
def test_examples_near_a_kink_do_not_disagree(name):
    op, x = {"relu": (ops.relu, array(64)), "max_pool": (ops.max_pool, array(4, 4, 2))}[name]
    static = {"window": 2} if name == "max_pool" else {}
    assert quick(op, x(RNG, jnp.float32), under="all", **static).ok
