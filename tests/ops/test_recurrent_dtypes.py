"""Recurrent networks: dtypes, long sums in half precision, structures, and the cell in the documentation."""

import collections
import inspect
import sys
import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import dense, network
from jaxnn.linearity import equations
from jaxnn.ops import cell, lstm, lstm_projected, over_time, rnn
from tests.compare import assert_close, check_backward, pulled_back
from tests.ops.recurrent_networks import (
    NETS,
    N,
    make,
    mgu,
    minimal_gated_unit,
)


@pytest.mark.sampled
@pytest.mark.parametrize(("of_params", "of_x", "of_state"), [
    ("bfloat16", "float32", "bfloat16"), ("float32", "bfloat16", "bfloat16"), ("bfloat16", "bfloat16", "float32"),
    ("float16", "bfloat16", "float16"), ("bfloat16", "bfloat16", "bfloat16")])
@pytest.mark.parametrize("name", ["lstm", "gru_reset_after"])
def test_dtypes_promote(name, of_params, of_x, of_state):
    net, dtypes = NETS[name], (of_params, of_x, of_state)
    args = tuple(jax.tree.map(lambda a: jnp.asarray(a, dtype), arg)  # noqa: B023
                 for arg, dtype in zip(make(net, 4), dtypes))
    y, cotangents = pulled_back(net.op, *args)
    dtype = jnp.promote_types(jnp.promote_types(of_params, of_x), of_state)
    assert {leaf.dtype for leaf in jax.tree.leaves(y)} == {dtype}
    assert jax.tree.map(jnp.result_type, cotangents) == jax.tree.map(jnp.result_type, args)
    wide = jax.tree.map(lambda a: a.astype(jnp.float32), args)
    for got, want in zip(jax.tree.leaves(cotangents), jax.tree.leaves(pulled_back(net.op, *wide)[1])):
        error = np.abs(np.asarray(got, np.float32) - want).max() / np.abs(want).max()
        assert error < (0.05 if dtype == jnp.bfloat16 else 0.01)


STEPS = 10_240  # which bfloat16 and float16 hold exactly


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_long_sums_in_half_precision(dtype):
    """With no recurrence and at h = 0 each step adds 1 to db and dW_x: bfloat16 would stop at 256."""
    params = {"weight_x": jnp.zeros((1, 1), dtype), "weight_h": jnp.zeros((1, 1), dtype), "bias": jnp.zeros(1, dtype)}
    x = jnp.ones((8, STEPS // 8, 1), dtype)
    _, of_one = pulled_back(lambda p: rnn(p, x.reshape(-1, 1))[0], params)
    _, of_batch = pulled_back(lambda p: jax.vmap(lambda x: rnn(p, x)[0])(x), params)
    _, cache = rnn.forward(params, x.reshape(-1, 1))
    explicit = rnn.backward(cache, (x.reshape(-1, 1), None))
    for dparams in (of_one[0], of_batch[0], explicit[0]):
        assert dparams["bias"].tolist() == [STEPS]
        assert dparams["weight_x"].tolist() == [[STEPS]]
    # The bias is summed in float32. The weights' products keep their factors' dtype, by which the units that multiply
    # matrices are fast and add up in float32: neither rule makes products of float32 of them.
    gradient = lambda p: jax.vjp(lambda p: jax.vmap(lambda x: rnn(p, x)[0])(x), p)[1](x)  # noqa: E731
    for jaxpr, of_weights in ((jax.make_jaxpr(rnn.backward)(cache, (x.reshape(-1, 1), None)), {STEPS}),
                              (jax.make_jaxpr(gradient)(params), {8, STEPS // 8})):
        eqns = list(equations(jaxpr.jaxpr))
        products = [eqn for eqn in eqns if eqn.primitive.name == "dot_general"]
        assert {var.aval.dtype for eqn in products for var in (*eqn.invars, *eqn.outvars)} == {jnp.dtype(dtype)}
        over_all = [eqn for eqn in products if _contracted(eqn) == of_weights]
        assert len(over_all) == 2  # dW_x and dW_h
        sums = [eqn for eqn in eqns if eqn.primitive.name == "reduce_sum" and eqn.invars[0].aval.size >= STEPS]
        assert [eqn.outvars[0].aval.dtype for eqn in sums] == [jnp.dtype(jnp.float32)]


def _contracted(product):
    axes = product.params["dimension_numbers"][0][0]
    return {product.invars[0].aval.shape[axis] for axis in axes}


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_explicit_passes_of_a_long_scan_sum_in_float32(dtype):
    params = {"weight": jnp.zeros((1, 1), dtype), "bias": jnp.zeros(1, dtype)}
    x = jnp.ones((STEPS, 1), dtype)
    net = network(lambda params, x: jax.lax.scan(lambda _, x_t: (None, dense(params, x_t)), None, x)[1])
    y, cache = net.forward(params, x)
    dparams, _ = net.backward(cache, jnp.ones_like(y))
    assert (dparams["weight"].tolist(), dparams["bias"].tolist()) == ([[STEPS]], [STEPS])
    assert {leaf.dtype for leaf in jax.tree.leaves(dparams)} == {jnp.dtype(dtype)}


class State(NamedTuple):
    hidden: object
    cell: object


@pytest.mark.parametrize("container", [tuple, list, lambda state: State(*state)], ids=["tuple", "list", "namedtuple"])
def test_structures_come_back(container):
    """assert_close and the lifting compare structures too."""
    params, x, initial = make(NETS["lstm"], 2)
    initial = container(initial)
    params = collections.OrderedDict(weight_x=params["weight_x"], weight_h=params["weight_h"], bias=None)
    _, cotangents = pulled_back(lstm, params, x, initial)
    assert jax.tree.structure(cotangents) == jax.tree.structure((params, x, initial))
    _, cache = lstm.forward(params, x, initial)
    explicit = lstm.backward(cache, (jnp.ones((2, N)), (jnp.ones(N), jnp.ones(N))))
    assert_close(explicit[:3], cotangents)
    assert explicit[3] is None


def test_one_cell_is_one_op():
    assert over_time(minimal_gated_unit) is mgu
    assert (mgu.name, lstm.name) == ("minimal_gated_unit", "lstm")
    assert "c_t = f c + i g" in lstm.__doc__
    assert "initial: h_0 (n_hidden,) and c_0 (n_hidden,) before" in lstm.__doc__
    assert "h_0 (n_out,) and c_0 (n_hidden,)" in lstm_projected.__doc__
    assert '"weight_h": (n_hidden, n_hidden), "bias": (n_hidden,) or None' in rnn.__doc__
    # Equations, arguments, source, example, derivation.
    order = ["c_t = f c + i g", "Args:", "Raises:", "Source: Hochreiter", ">>> h, last", "ds_T = dlast",
             "(dparams, dx, dinitial, None)", "dz_i = dc g i(1-i)"]
    places = [lstm.__doc__.index(part) for part in order]
    assert places == sorted(places)


@pytest.mark.usefixtures("x64")
def test_the_cell_in_the_documentation():
    text = inspect.cleandoc(sys.modules["jaxnn.ops.cell"].__doc__)
    source = text[text.index("    @cell("):text.index("    h, last =")]
    found = {"cell": cell, "jax": jax, "jnp": jnp}
    exec(textwrap.dedent(source), found)
    params, x, initial = make(NETS["minimal gated unit"], 3)
    check_backward(over_time(found["minimal_gated_unit"]), params, x, initial, None, threshold=64)
