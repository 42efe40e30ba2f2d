"""LSTM over a sequence: against a NumPy loop over its equations and PyTorch, states in and out."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.ops import lstm, lstm_hidden, lstm_last
from tests.compare import QUICKLY, assert_close, check_backward, pulled_back

RNG = np.random.default_rng(0)
N, N_IN = 3, 2
SIGMA = scipy.special.expit
quick_lstm = jax.jit(lambda *args: lstm(*args), compiler_options=QUICKLY)


def make(time, n=N, n_in=N_IN):
    params = {"weight_x": RNG.standard_normal((4 * n, n_in)), "weight_h": RNG.standard_normal((4 * n, n)),
              "bias": RNG.standard_normal(4 * n)}
    return params, RNG.standard_normal((time, n_in)), (RNG.standard_normal(n), RNG.standard_normal(n))


def loop(params, x, initial):
    """Gates i, f, g, o in that order, each its block of rows."""
    h, c = initial
    n, hs = len(h), []
    for x_t in x:
        z = params["weight_x"] @ x_t + params["weight_h"] @ h + params["bias"]
        i, f, g, o = SIGMA(z[:n]), SIGMA(z[n:2 * n]), np.tanh(z[2 * n:3 * n]), SIGMA(z[3 * n:])
        c = f * c + i * g
        h = o * np.tanh(c)
        hs.append(h)
    return np.stack(hs), (h, c)


@pytest.mark.parametrize("time", [1, 2, 7])
@pytest.mark.usefixtures("x64")
def test_value_and_backward(time):
    params, x, initial = make(time)
    (h, (h_T, c_T)), *_ = check_backward(lstm, params, x, initial, threshold=64)
    want, (want_h, want_c) = loop(params, x, initial)
    for got, ours in ((h, want), (h_T, want_h), (c_T, want_c)):
        np.testing.assert_allclose(got, ours, rtol=1e-12)


@pytest.mark.parametrize("op", [lstm_hidden, lstm_last], ids=lambda op: op.name)
@pytest.mark.usefixtures("x64")
def test_from_zeros(op):
    params, x, _ = make(5)
    h, (h_T, _) = loop(params, x, (np.zeros(N), np.zeros(N)))
    y, *_ = check_backward(op, params, x, threshold=64)
    np.testing.assert_allclose(y, h if op is lstm_hidden else h_T, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_without_initial_state():
    params, x, _ = make(4)
    zeros = (np.zeros(N), np.zeros(N))
    dy = RNG.standard_normal((4, N)), zeros
    y, (dparams,) = pulled_back(lambda p: lstm(p, x), params, dy=dy)
    assert_close(y, quick_lstm(params, x, zeros))
    assert_close(quick_lstm(params, x, None), y)
    assert_close(dparams, pulled_back(lambda p: lstm.reference(p, x), params, dy=dy)[1][0], threshold=64)


@pytest.mark.usefixtures("x64")
def test_against_pytorch(torch):
    """PyTorch's gates have the same order; it has two biases, whose sum is ours."""
    params, x, (h_0, c_0) = make(6)
    net = torch.nn.LSTM(N_IN, N).double()
    with torch.no_grad():
        for name, value in (("weight_ih_l0", params["weight_x"]), ("weight_hh_l0", params["weight_h"]),
                            ("bias_ih_l0", params["bias"]), ("bias_hh_l0", np.zeros(4 * N))):
            getattr(net, name).copy_(torch.tensor(value))
    t, h, c = (torch.tensor(a, requires_grad=True) for a in (x[:, None], h_0[None, None], c_0[None, None]))
    y, (h_T, c_T) = net(t, (h, c))
    dy, dh_T, dc_T = RNG.standard_normal((6, N)), RNG.standard_normal(N), RNG.standard_normal(N)
    torch.autograd.backward([y, h_T, c_T],
                            [torch.tensor(a) for a in (dy[:, None], dh_T[None, None], dc_T[None, None])])
    got, (dparams, dx, (dh_0, dc_0)) = pulled_back(lstm, params, x, (h_0, c_0), dy=(dy, (dh_T, dc_T)))
    np.testing.assert_allclose(got[0], y.detach().numpy()[:, 0], rtol=1e-12)
    for ours, theirs in ((dparams["weight_x"], net.weight_ih_l0.grad),
                         (dparams["weight_h"], net.weight_hh_l0.grad),
                         (dparams["bias"], net.bias_ih_l0.grad), (dx, t.grad[:, 0]), (dh_0, h.grad[0, 0]),
                         (dc_0, c.grad[0, 0])):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_a_sequence_in_two_halves():
    params, x, initial = make(6)
    h, last = quick_lstm(params, x, initial)
    first, middle = quick_lstm(params, x[:2], initial)
    second, end = quick_lstm(params, x[2:], middle)
    assert_close((np.concatenate([first, second]), end), (h, last))


@pytest.mark.usefixtures("x64")
def test_the_future_does_not_reach_the_past():
    params, x, initial = make(5)
    jacobian = jax.jacrev(lambda x: lstm(params, x, initial)[0])
    jacobian = np.asarray(jax.jit(jacobian, compiler_options=QUICKLY)(x))  # (time, n, time, n_in)
    for t in range(5):
        assert not np.any(jacobian[t, :, t + 1:])
        assert np.all(np.any(jacobian[t, :, :t + 1], axis=(0, 2)))


def test_gates_by_themselves():
    """Each gate's bias pushed to its end shows what the gate does: swapped gates would be seen."""
    def run(**bias):
        params = {"weight_x": np.zeros((4, 1)), "weight_h": np.zeros((4, 1)),
                  "bias": np.asarray([bias.get(g, 0.0) for g in "ifgo"])}
        return quick_lstm(params, np.zeros((1, 1)), (np.zeros(1), np.ones(1)))[1]

    h, c = run(i=-100.0, f=100.0, g=100.0, o=100.0)  # input shut: the cell is kept, and shown
    np.testing.assert_allclose([h[0], c[0]], [np.tanh(1), 1], rtol=1e-6)
    h, c = run(i=100.0, f=-100.0, g=-100.0, o=100.0)  # forgotten, and replaced by the candidate -1
    np.testing.assert_allclose([h[0], c[0]], [np.tanh(-1), -1], rtol=1e-6)
    h, c = run(i=100.0, f=100.0, g=100.0, o=-100.0)  # kept and added to, and not shown
    np.testing.assert_allclose([h[0], c[0]], [0, 2], atol=1e-6)


def test_saturated_gates_have_finite_gradients():
    params = jax.tree.map(lambda p: jnp.asarray(1e4 * p, jnp.float32), make(1)[0])
    x = jnp.ones((6, N_IN))
    found = pulled_back(lambda p: lstm_hidden(p, x), params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


P = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), make(1)[0])


@pytest.mark.parametrize(("params", "x", "initial", "words"), [
    (P, jnp.ones((4, 3)), None, "lstm expects x of shape (time, 2); got (4, 3)"),
    (P, jnp.ones(2), None, "lstm expects x of shape (time, 2); got (2,)"),
    (P, jnp.ones((0, 2)), None, "lstm expects at least one time step; got (0, 2)"),
    (P, jnp.ones((4, 2), int), None, "lstm expects floating-point x; got int32"),
    (P | {"bias": jnp.ones(3)}, jnp.ones((4, 2)), None, "lstm expects bias of shape (12,); got (3,)"),
    (P | {"weight_x": jnp.ones((3, 2))}, jnp.ones((4, 2)), None,
     "lstm expects weight_x of shape (12, n_in); got (3, 2)"),
    (P | {"weight_h": jnp.ones((9, 3))}, jnp.ones((4, 2)), None,
     "lstm expects weight_h of shape (12, 3); got (9, 3)"),
    ({"bias": jnp.ones(3)}, jnp.ones((4, 2)), None,
     "lstm expects params to be ['bias', 'weight_h', 'weight_x']; got keys"),
    (P, jnp.ones((4, 2)), (jnp.ones(2), jnp.ones(3)), "lstm expects h_0 of shape (3,); got (2,)"),
    (P, jnp.ones((4, 2)), (jnp.ones(3), jnp.ones(4)), "lstm expects c_0 of shape (3,); got (4,)"),
    (P, jnp.ones((4, 2)), jnp.ones(3), "lstm expects initial to be (h_0, c_0); got"),
])
def test_errors(params, x, initial, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        lstm(params, x, initial)
