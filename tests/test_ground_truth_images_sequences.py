"""The course's convolution, pooling and LSTM, step by step (course 4 week 1, course 5 week 1), in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from tests import course
from tests.test_ground_truth import assert_within

CASES = course.load()
HANDLERS = {}
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


def handles(*ids):
    def register(function):
        HANDLERS.update(dict.fromkeys(ids, function))
        return function

    return register


# Images are (example, height, width, channels) and kernels HWIO in the course too.


@handles("c4w1.conv_single_step.a", "c4w1.conv_single_step.b")
def conv_single_step(a_slice_prev, W, b):
    params = {"kernel": jnp.asarray(W)[..., None], "bias": jnp.reshape(b, 1)}
    return ops.conv(params, jnp.asarray(a_slice_prev), padding="VALID")[0, 0, 0]


def convolved(A_prev, W, b, pad, stride):
    params = {"kernel": jnp.asarray(W), "bias": jnp.ravel(b)}
    return jax.vmap(lambda x: ops.conv(params, x, stride=stride, padding=pad))(jnp.asarray(A_prev))


@handles("c4w1.conv_forward.2019")
def conv_forward(A_prev, W, b, pad, stride):
    Z = convolved(A_prev, W, b, pad, stride)
    return {"mean": jnp.mean(Z), "Z_3_2_1": Z[3, 2, 1]}


@handles("c4w1.conv_forward.pad6")
def conv_forward_padded(A_prev, W, b, pad, stride):
    Z = convolved(A_prev, W, b, pad, stride)
    return {"mean": jnp.mean(Z), "shape": np.asarray(Z.shape)}


@handles("c4w1.conv_backward.2017")
def conv_backward(A_prev, W, b, pad, stride, dZ):
    params = {"kernel": jnp.asarray(W), "bias": jnp.ravel(b)}
    forward = functools.partial(ops.conv.forward, stride=stride, padding=pad)
    _, cache = jax.vmap(forward, (None, 0))(params, jnp.asarray(A_prev))
    dparams, dA = jax.vmap(ops.conv.backward)(cache, jnp.asarray(dZ))
    return {"dA_mean": jnp.mean(dA), "dW_mean": jnp.mean(jnp.sum(dparams["kernel"], 0)),
            "db_mean": jnp.mean(jnp.sum(dparams["bias"], 0))}


@handles("c4w1.pool_forward.f3s1")
def pool_forward(A_prev, f, stride):
    pool = functools.partial(ops.max_pool, window=f, stride=stride)
    return {"max_1_1": jax.vmap(pool)(jnp.asarray(A_prev))[1, 1]}


@handles("c4w1.pool_backward")
def pool_backward(A_prev, dA, f, stride):
    _, cache = jax.vmap(lambda x: ops.max_pool.forward(x, window=f, stride=stride))(jnp.asarray(A_prev))
    (dA_prev,) = jax.vmap(ops.max_pool.backward)(cache, jnp.asarray(dA))
    return {"max_1_1": dA_prev[1, 1]}


@handles("c4w1.convnet_cost")
def convnet_cost(logits, Y):
    """Y is noise, which the library's loss refuses as labels: its formula with the library's log-softmax."""
    return -jnp.mean(jnp.sum(Y * ops.log_softmax(jnp.asarray(logits)), -1))


# The course's LSTM works on the rows [a_prev; x_t], a matrix for each gate; ours are stacked as i f g o.


def lstm_params(**W):
    gates = jnp.concatenate([jnp.asarray(W[f"W{g}"]) for g in "ifco"])
    n_a = W["Wf"].shape[0]
    bias = jnp.concatenate([jnp.ravel(W[f"b{g}"]) for g in "ifco"])
    return {"weight_h": gates[:, :n_a], "weight_x": gates[:, n_a:], "bias": bias}


def prediction(Wy, by, a):
    return jax.vmap(lambda a: ops.softmax(ops.dense(course.dense_params(Wy, by), a)))(a.T).T


@handles("c5w1.lstm_cell_forward")
def lstm_cell_forward(xt, a_prev, c_prev, **W):
    params = lstm_params(**W)
    run = jax.vmap(lambda x, a, c: ops.lstm(params, x[None], (a, c)))
    _, (h, c) = run(*map(jnp.transpose, (xt, a_prev, c_prev)))
    return {"a_next_4": h.T[4], "c_next_2": c.T[2], "yt_1": prediction(W["Wy"], W["by"], h.T)[1]}


@handles("c5w1.lstm_forward.test")
def lstm_forward(x, a0, **W):
    """The op gives the last cell state only; the two that the course prints are those of shorter sequences."""
    params = lstm_params(**W)
    x, a0 = jnp.transpose(jnp.asarray(x), (1, 2, 0)), jnp.transpose(a0)
    run = jax.vmap(lambda x, a: ops.lstm(params, x, (a, jnp.zeros_like(a))))
    h, _ = run(x, a0)
    cells = [run(x[:, :t + 1], a0)[1][1][1, 2] for t in (4, 5)]
    y = [prediction(W["Wy"], W["by"], h[:, t].T)[1, 1] for t in (4, 5)]
    return {"a": h[1, 4:6, 2], "c": jnp.stack(cells), "y": jnp.stack(y)}


@handles("c5w1.lstm_cell_backward")
def lstm_cell_backward(xt, a_prev, c_prev, da_next, dc_next, **W):
    params = lstm_params(**W)
    columns = [jnp.transpose(a) for a in (xt, a_prev, c_prev, da_next, dc_next)]

    def one(x, a, c, da, dc):
        _, cache = ops.lstm.forward(params, x[None], (a, c))
        return ops.lstm.backward(cache, (da[None], (jnp.zeros_like(da), dc)))

    dparams, dx, (da_prev, dc_prev), _ = jax.vmap(one)(*columns)
    dW = jnp.sum(jnp.concatenate([dparams["weight_h"], dparams["weight_x"]], -1), 0)
    gates = dict(zip("ifco", jnp.split(dW, 4)))
    biases = dict(zip("ifco", jnp.split(jnp.sum(dparams["bias"], 0), 4)))
    return {"dxt_1_2": dx[2, 0, 1], "da_prev_2_3": da_prev[3, 2], "dc_prev_2_3": dc_prev[3, 2],
            "dWf_3_1": gates["f"][3, 1], "dWi_1_2": gates["i"][1, 2], "dWc_3_1": gates["c"][3, 1],
            "dWo_1_2": gates["o"][1, 2], **{f"db{g}_4": biases[g][4] for g in "ifco"}}


@pytest.mark.parametrize("name", list(HANDLERS))
@pytest.mark.usefixtures("x64")
def test_case(name):
    case, got = CASES[name], HANDLERS[name](**CASES[name]["inputs"])
    expected = case["expected"]
    if isinstance(got, dict):  # what our ops do not compute, as average pooling, is left out
        expected = {k: expected[k] for k in got}
    assert_within(got, expected, case["tolerance"]["rel_to_max_abs"])
