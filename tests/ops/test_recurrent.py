"""Recurrent networks: against NumPy loops, PyTorch and Keras' equations; masks, directions, states, batches."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import gru, gru_reset_after, lstm
from tests.compare import AS_USERS_COMPILE, assert_close, check_backward, pulled_back
from tests.ops.recurrent_networks import (
    N_IN,
    NETS,
    SIGMA,
    N,
    assert_same,
    each,
    loop,
    make,
    mgu,
    run,
    zeros,
)


@pytest.mark.sampled
@each
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.usefixtures("x64")
def test_value_and_backward(net, reverse):
    params, x, initial = make(net, 5)
    mask = np.asarray([True, False, True, True, False])
    y, *_ = check_backward(net.op, params, x, initial, mask, threshold=64, reverse=reverse)
    assert_same(y, loop(net, params, x, initial, mask, reverse))


@pytest.mark.sampled
@each
@pytest.mark.usefixtures("x64")
def test_one_step_from_zeros_without_bias(net):
    params, x, _ = make(net, 1)
    if net.op is not mgu:  # its bias must be there
        params = {name: weight for name, weight in params.items() if not name.startswith("bias")}
    y, *_ = check_backward(net.op, params, x, None, None, threshold=64)
    assert_same(y, loop(net, params, x, zeros(net)))


@pytest.mark.sampled
@each
@pytest.mark.usefixtures("x64")
def test_from_zeros(net):
    """Without an initial state as with one of zeros, in value and gradient."""
    params, x, _ = make(net, 4)
    dy = jax.tree.map(lambda a: np.random.default_rng(1).standard_normal(a.shape),
                      (np.zeros((4, N)), zeros(net)))
    y, cotangents = pulled_back(net.op, params, x, dy=dy)
    assert_same(y, loop(net, params, x, zeros(net)))
    assert_close((y, cotangents), pulled_back(lambda p, x: net.op(p, x, zeros(net)), params, x, dy=dy))


@pytest.mark.parametrize("name", [name for name, net in NETS.items() if net.torch])
@pytest.mark.usefixtures("x64")
def test_against_pytorch(torch, name):
    """PyTorch has the same order of gates, and two biases: their sum is ours, but for the candidate of a GRU."""
    net, rng = NETS[name], np.random.default_rng(2)
    params, x, initial = make(net, 6)
    dy = jax.tree.map(lambda a: rng.standard_normal(a.shape), (np.zeros((6, N)), initial))
    theirs = getattr(torch.nn, net.torch)(N_IN, N, **{"nonlinearity": "relu"} if name == "relu" else {}).double()
    second = np.zeros(net.blocks * N)
    second[-N:] = params.get("bias_h", 0)
    with torch.no_grad():
        for to, value in (("weight_ih_l0", params["weight_x"]), ("weight_hh_l0", params["weight_h"]),
                          ("bias_ih_l0", params["bias"]), ("bias_hh_l0", second)):
            getattr(theirs, to).copy_(torch.tensor(value))
    t = torch.tensor(x[:, None], requires_grad=True)
    start = jax.tree.map(lambda a: torch.tensor(a[None, None], requires_grad=True), initial)
    y, last = theirs(t, start)
    dlast = [torch.tensor(a[None, None]) for a in jax.tree.leaves(dy[1])]
    torch.autograd.backward([y, *jax.tree.leaves(last)], [torch.tensor(dy[0][:, None]), *dlast])
    got, (dparams, dx, dinitial) = pulled_back(net.op, params, x, initial, dy=dy)
    pairs = [(got[0], y.detach()[:, 0]), (dx, t.grad[:, 0]), (dparams["weight_x"], theirs.weight_ih_l0.grad),
             (dparams["weight_h"], theirs.weight_hh_l0.grad), (dparams["bias"], theirs.bias_ih_l0.grad),
             *((ours, a.detach()[0, 0]) for ours, a in zip(jax.tree.leaves(got[1]), jax.tree.leaves(last))),
             *((ours, a.grad[0, 0]) for ours, a in zip(jax.tree.leaves(dinitial), jax.tree.leaves(start)))]
    if "bias_h" in params:
        pairs.append((dparams["bias_h"], theirs.bias_hh_l0.grad[-N:]))
    for ours, other in pairs:
        np.testing.assert_allclose(ours, other.numpy(), rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reset_after", [False, True])
@pytest.mark.usefixtures("x64")
def test_gru_as_keras_has_it(reset_after):
    """Keras: kernels (n_in, 3 n_hidden), gates z r h; with reset_after=True a bias of two rows, for x and for h."""
    rng = np.random.default_rng(3)
    kernel, recurrent, x = map(rng.standard_normal, ((N_IN, 3 * N), (N, 3 * N), (5, N_IN)))
    bias = rng.standard_normal((2, 3 * N)) * [[1], [reset_after]]
    h, want = np.zeros(N), []
    for x_t in x:
        x_z, x_r, x_h = np.split(x_t @ kernel + bias[0], 3)
        if reset_after:
            h_z, h_r, h_h = np.split(h @ recurrent + bias[1], 3)
            z, r = SIGMA(x_z + h_z), SIGMA(x_r + h_r)
            hh = np.tanh(x_h + r * h_h)
        else:
            h_z, h_r = np.split(h @ recurrent[:, :2 * N], 2)
            z, r = SIGMA(x_z + h_z), SIGMA(x_r + h_r)
            hh = np.tanh(x_h + (r * h) @ recurrent[:, 2 * N:])
        h = z * h + (1 - z) * hh
        want.append(h)

    def reordered(a):
        z, r, h = np.split(a, 3)
        return np.concatenate([r, z, h])

    params = {"weight_x": reordered(kernel.T), "weight_h": reordered(recurrent.T)}
    if reset_after:
        both = bias.sum(0)
        both[2 * N:] = bias[0, 2 * N:]
        params |= {"bias": reordered(both), "bias_h": bias[1, 2 * N:]}
    else:
        params["bias"] = reordered(bias[0])
    h, last = run(gru_reset_after if reset_after else gru, params, x)
    assert_same((h, last), (np.stack(want), want[-1]))


@pytest.mark.sampled
@each
@pytest.mark.usefixtures("x64")
def test_a_sequence_in_two_halves(net):
    params, x, initial = make(net, 6)
    for reverse in (False, True):
        pieces = (x[4:], x[:4]) if reverse else (x[:4], x[4:])
        one, middle = run(net.op, params, pieces[0], initial, reverse=reverse)
        two, last = run(net.op, params, pieces[1], middle, reverse=reverse)
        h = np.concatenate([two, one] if reverse else [one, two])
        assert_same((h, last), run(net.op, params, x, initial, reverse=reverse))


@pytest.mark.sampled
@each
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.usefixtures("x64")
def test_padding_changes_nothing_whatever_it_holds(net, reverse):
    """A padded sequence is the sequence: same states, same gradients, none at the padding, though it is NaN."""
    params, x, initial = make(net, 4)
    padded, mask = np.concatenate([x, np.full((3, N_IN), np.nan)]), np.arange(7) < 4
    pull = lambda x, *mask: pulled_back(  # noqa: E731
        lambda p, x, i: (lambda h, last: (h[:4], last))(*net.op(p, x, i, *mask, reverse=reverse)), params, x, initial)
    y, (dparams, dx, dinitial) = pull(padded, jnp.asarray(mask))
    want_y, want = pull(x)
    assert not np.any(dx[4:])
    assert_close((y, (dparams, dx[:4], dinitial)), (want_y, want))
    h, last = run(lambda p, x: net.op(p, x, mask=jnp.zeros(4, bool), reverse=reverse), params, x)
    assert not any(map(np.any, jax.tree.leaves((h, last))))


@pytest.mark.usefixtures("x64")
def test_the_future_does_not_reach_the_past():
    params, x, initial = make(NETS["lstm"], 5)
    for reverse in (False, True):
        jacobian = jax.jacrev(lambda x: lstm(params, x, initial, reverse=reverse)[0])  # noqa: B023
        jacobian = np.any(jax.jit(jacobian)(x), axis=(1, 3))  # (time, n, time, n_in)
        np.testing.assert_array_equal(jacobian, np.triu(np.ones((5, 5))) if reverse else np.tril(np.ones((5, 5))))


def test_gates_by_themselves():
    """Each gate's bias pushed to its end shows what the gate does: swapped gates would be seen."""
    def end(op, blocks, state, **bias):
        params = {"weight_x": np.zeros((len(blocks), 1)), "weight_h": np.zeros((len(blocks), 1)),
                  "bias": np.asarray([bias.get(g, 0.0) for g in blocks])}
        return np.ravel(jax.tree.leaves(run(op, params, np.zeros((1, 1)), state)[1]))

    ends = lambda **bias: end(lstm, "ifgo", (np.zeros(1), np.ones(1)), **bias)  # noqa: E731
    # Input shut: the cell is kept, and shown.
    np.testing.assert_allclose(ends(i=-100.0, f=100.0, g=100.0, o=100.0), [np.tanh(1), 1], rtol=1e-6)
    # Forgotten, and replaced by the candidate -1.
    np.testing.assert_allclose(ends(i=100.0, f=-100.0, g=-100.0, o=100.0), [np.tanh(-1), -1], rtol=1e-6)
    # Kept and added to, and not shown.
    np.testing.assert_allclose(ends(i=100.0, f=100.0, g=100.0, o=-100.0), [0, 2], atol=1e-6)
    for op in (gru, gru_reset_after):
        np.testing.assert_allclose(end(op, "run", 0.5 * np.ones(1), u=100.0, n=100.0), [0.5])  # kept
        np.testing.assert_allclose(end(op, "run", 0.5 * np.ones(1), u=-100.0, n=100.0), [1])  # replaced


@each
def test_saturated_gates_have_finite_gradients(net):
    params = jax.tree.map(lambda p: jnp.asarray(1e4 * p, jnp.float32), make(net, 1)[0])
    x = jnp.ones((3, N_IN))
    found = pulled_back(lambda p: net.op(p, x)[0], params)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(found))


# Batches.


@pytest.mark.sampled
@each
@pytest.mark.usefixtures("x64")
def test_a_batch_is_the_sum_of_its_examples(net):
    params, *_ = make(net, 5)
    x, initial = (jax.tree.map(lambda *a: np.stack(a), *(make(net, 5, seed)[i] for seed in (0, 1))) for i in (1, 2))
    mask = np.arange(5) < np.asarray([[5], [3]])

    def batch(params, x, initial):
        return jax.vmap(net.op, (None, 0, 0, 0))(params, x, initial, mask)

    def by_hand(params, x, initial):
        each = [net.op.reference(params, x[i], jax.tree.map(lambda a: a[i], initial), mask[i])  # noqa: B023
                for i in range(2)]
        return jax.tree.map(lambda *a: jnp.stack(a), *each)

    assert_close(pulled_back(batch, params, x, initial), pulled_back(by_hand, params, x, initial), threshold=64)


def test_no_copy_of_what_is_wide():
    """In the compiled gradient of a batch z and dz are never moved between (batch, time) and (time, batch)."""
    batch, time = 5, 7
    params, *_ = make(NETS["lstm"], 1)
    x = jnp.ones((batch, time, N_IN))
    gradient = jax.grad(lambda p, x: jnp.sum(jax.vmap(lambda x: lstm(p, x)[0])(x) ** 2), (0, 1))
    text = jax.jit(gradient, compiler_options=AS_USERS_COMPILE).lower(params, x).compile().as_text()
    moved = re.findall(r"= f32\[([\d,]+)\]\S* transpose\(.*dimensions=\{1,0,2\}", text)
    assert moved  # x is, at least
    assert f"{batch},{time},{4 * N}" not in moved
    assert f"{time},{batch},{4 * N}" not in moved
