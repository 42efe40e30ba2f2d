"""LSTMs with peepholes, a projection, layer norm inside: against NumPy loops, PyTorch, and one another."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import layer_norm_lstm, lstm, lstm_peephole, lstm_projected
from tests.compare import check_backward, pulled_back
from tests.ops.recurrent_networks import SIGMA, assert_same, run

N, N_IN, N_OUT, TIME = 3, 2, 2, 5


def normal(seed, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def plain(n_out=N):
    return normal(0, weight_x=(4 * N, N_IN), weight_h=(4 * N, n_out))


PEEPHOLE = plain() | normal(1, bias=(4 * N,), weight_c=(3 * N,))
PROJECTED = plain(N_OUT) | normal(1, bias=(4 * N,), weight_p=(N_OUT, N))
LAYER_NORM = plain() | normal(1, scale_x=(4 * N,), scale_h=(4 * N,), shift=(4 * N,), scale_c=(N,), shift_c=(N,))
X = normal(2, x=(TIME, N_IN))["x"]


def state(n_out=N):
    return tuple(normal(3, h=(n_out,), c=(N,)).values())


def normalized(v):
    return (v - v.mean()) / np.sqrt(v.var() + 1e-5)


# The equations once more: (params, h, c, x_t) -> (h, c).


def peephole_step(p, h, c, x):
    i, f, g, o = np.split(p["weight_x"] @ x + p["weight_h"] @ h + p["bias"], 4)
    p_i, p_f, p_o = np.split(p["weight_c"], 3)
    new = SIGMA(f + p_f * c) * c + SIGMA(i + p_i * c) * np.tanh(g)
    return SIGMA(o + p_o * new) * np.tanh(new), new


def projected_step(p, h, c, x):
    i, f, g, o = np.split(p["weight_x"] @ x + p["weight_h"] @ h + p["bias"], 4)
    c = SIGMA(f) * c + SIGMA(i) * np.tanh(g)
    return p["weight_p"] @ (SIGMA(o) * np.tanh(c)), c


def layer_norm_step(p, h, c, x):
    i, f, g, o = np.split(p["scale_x"] * normalized(p["weight_x"] @ x) + p["scale_h"] * normalized(p["weight_h"] @ h)
                          + p["shift"], 4)
    c = SIGMA(f) * c + SIGMA(i) * np.tanh(g)
    return SIGMA(o) * np.tanh(p["scale_c"] * normalized(c) + p["shift_c"]), c


CASES = {"peepholes": (lstm_peephole, PEEPHOLE, state(), peephole_step),
         "projection": (lstm_projected, PROJECTED, state(N_OUT), projected_step),
         "layer norm": (layer_norm_lstm, LAYER_NORM, state(), layer_norm_step)}


@pytest.mark.sampled
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("x64")
def test_value_and_backward(name):
    op, params, (h, c), step = CASES[name]
    mask = np.array([True, False, True, True, False])
    y, *_ = check_backward(op, params, X, (h, c), mask, threshold=64, reverse=True)
    want = np.zeros((TIME, len(h)))
    for t in reversed(range(TIME)):
        if mask[t]:
            h, c = step(params, h, c, X[t])
        want[t] = h
    assert_same(y, (want, (h, c)))


@pytest.mark.usefixtures("x64")
def test_projection_against_pytorch(torch):
    theirs = torch.nn.LSTM(N_IN, N, proj_size=N_OUT).double()
    with torch.no_grad():
        for to, value in (("weight_ih_l0", "weight_x"), ("weight_hh_l0", "weight_h"), ("bias_ih_l0", "bias"),
                          ("weight_hr_l0", "weight_p")):
            getattr(theirs, to).copy_(torch.tensor(PROJECTED[value]))
        theirs.bias_hh_l0.zero_()
    x = torch.tensor(X[:, None], requires_grad=True)
    y, (h, c) = theirs(x)
    (y.sin().sum() + h.sum() + c.cos().sum()).backward()
    cost = lambda p, x: (lambda h, last: jnp.sum(jnp.sin(h)) + jnp.sum(last[0]) + jnp.sum(jnp.cos(last[1])))(  # noqa: E731
        *lstm_projected(p, x))
    _, (dparams, dx) = pulled_back(cost, PROJECTED, X)
    for ours, other in ((dx, x.grad[:, 0]), (dparams["weight_x"], theirs.weight_ih_l0.grad),
                        (dparams["weight_h"], theirs.weight_hh_l0.grad), (dparams["bias"], theirs.bias_ih_l0.grad),
                        (dparams["weight_p"], theirs.weight_hr_l0.grad)):
        np.testing.assert_allclose(ours, other.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_without_what_is_added_they_are_the_lstm():
    bare = plain() | {"bias": PEEPHOLE["bias"]}
    want = run(lstm, bare, X)
    assert_same(run(lstm_peephole, bare | {"weight_c": np.zeros(3 * N)}, X), want)
    assert_same(run(lstm_projected, bare | {"weight_p": np.eye(N)}, X), want)


@pytest.mark.usefixtures("x64")
def test_layer_norm_does_not_see_the_size_of_its_weights():
    """But for eps: weights a hundred times as large change nothing, and their gradient is across them."""
    large = LAYER_NORM | {name: 100 * LAYER_NORM[name] for name in ("weight_x", "weight_h")}
    far = run(layer_norm_lstm, large, X, state())
    farther = run(layer_norm_lstm, large | {"weight_x": 10 * large["weight_x"]}, X, state())
    for a, b in zip(jax.tree.leaves(far), jax.tree.leaves(farther), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-7)
    _, (dparams, _) = pulled_back(lambda p, x: jnp.sum(layer_norm_lstm(p, x, state())[0] ** 2), large, X)
    assert abs(np.vdot(dparams["weight_h"], large["weight_h"])) < 1e-6


@pytest.mark.parametrize(("op", "params", "words"), [
    (lstm_peephole, PEEPHOLE | {"weight_c": np.ones(N)}, r"lstm_peephole expects weight_c of shape \(9,\); got \(3,\)"),
    (lstm_projected, PROJECTED | {"weight_p": np.ones((N, N))},
     r"lstm_projected expects weight_p of shape \(2, 3\); got \(3, 3\)"),
    (layer_norm_lstm, plain(), "layer_norm_lstm expects params to be"),
    (layer_norm_lstm, LAYER_NORM | {"bias": np.ones(4 * N)}, "layer_norm_lstm expects params to be")])
def test_errors(op, params, words):
    with pytest.raises(ValueError, match=words):
        op(params, jnp.ones((TIME, N_IN)))
    with pytest.raises(ValueError, match=r"lstm_projected expects h_0 of shape \(2,\); got \(3,\)"):
        lstm_projected(PROJECTED, jnp.ones((TIME, N_IN)), (jnp.ones(N), jnp.ones(N)))
