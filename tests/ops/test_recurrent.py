"""Recurrent networks: against NumPy loops and PyTorch; masks, directions, states, a user's cell."""

import collections
import inspect
import re
import sys
import textwrap
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn import dense, network
from jaxnn.linearity import equations
from jaxnn.ops import cell, gru, gru_reset_after, lstm, over_time, rnn, rnn_relu
from tests.compare import AS_USERS_COMPILE, QUICKLY, assert_close, check_backward, pulled_back

N, N_IN = 3, 2
SIGMA = scipy.special.expit


# A cell of a user's own: the minimal gated unit (Zhou et al. 2016), with its equations beside their derivation.


@cell(state="h", params={"weight_x": "2*n_hidden n_in", "weight_h": "2*n_hidden n_hidden", "bias": "2*n_hidden"})
def minimal_gated_unit(params, h, z):
    """f = σ(z_f + W_f h)    g = tanh(z_g + W_g (f h))    h_t = (1 - f) h + f g"""
    W_f, W_g = jnp.split(params["weight_h"], 2)
    z_f, z_g = jnp.split(z, 2)
    f = jax.nn.sigmoid(z_f + h @ W_f.T)
    g = jnp.tanh(z_g + (f * h) @ W_g.T)
    return (1 - f) * h + f * g, (f, g)


@minimal_gated_unit.defbackward
def minimal_gated_unit_backward(params, step, dh):
    """dz_g = dh f (1-g²)    d(fh) = W_gᵀ dz_g    df = dh (g-h) + d(fh) h    dz_f = df f (1-f)"""
    h, (f, g) = step.before, step.kept
    W_f, W_g = jnp.split(params["weight_h"], 2)
    dz_g = dh * f * (1 - g * g)
    dfh = dz_g @ W_g
    dz_f = (dh * (g - h) + dfh * h) * f * (1 - f)
    return jnp.concatenate([dz_f, dz_g]), dh * (1 - f) + dfh * f + dz_f @ W_f


@minimal_gated_unit.defproducts
def minimal_gated_unit_products(steps, dz):
    dz_f, dz_g = jnp.split(dz, 2, -1)
    return {"weight_h": [(dz_f, steps.before), (dz_g, steps.kept[0] * steps.before)]}


mgu = over_time(minimal_gated_unit)


# The equations once more, in NumPy: (W_h, b_h, state, z) -> the next state.


def rnn_step(U, b_h, h, z):
    return np.tanh(z + U @ h)


def relu_step(U, b_h, h, z):
    return np.maximum(z + U @ h, 0)


def gru_step(U, b_h, h, z):
    r, u = SIGMA(z[:N] + U[:N] @ h), SIGMA(z[N:2 * N] + U[N:2 * N] @ h)
    return u * h + (1 - u) * np.tanh(z[2 * N:] + U[2 * N:] @ (r * h))


def gru_reset_after_step(U, b_h, h, z):
    r, u = SIGMA(z[:N] + U[:N] @ h), SIGMA(z[N:2 * N] + U[N:2 * N] @ h)
    return u * h + (1 - u) * np.tanh(z[2 * N:] + r * (U[2 * N:] @ h + b_h))


def lstm_step(U, b_h, state, z):
    """Gates i, f, g, o in that order, each its block of rows."""
    h, c = state
    z = z + U @ h
    i, f, g, o = SIGMA(z[:N]), SIGMA(z[N:2 * N]), np.tanh(z[2 * N:3 * N]), SIGMA(z[3 * N:])
    c = f * c + i * g
    return o * np.tanh(c), c


def mgu_step(U, b_h, h, z):
    f = SIGMA(z[:N] + U[:N] @ h)
    return (1 - f) * h + f * np.tanh(z[N:] + U[N:] @ (f * h))


class Net(NamedTuple):
    op: object
    blocks: int
    step: object
    torch: str = ""


NETS = {
    "rnn": Net(rnn, 1, rnn_step, "RNN"), "relu": Net(rnn_relu, 1, relu_step, "RNN"), "gru": Net(gru, 3, gru_step),
    "gru_reset_after": Net(gru_reset_after, 3, gru_reset_after_step, "GRU"), "lstm": Net(lstm, 4, lstm_step, "LSTM"),
    "minimal gated unit": Net(mgu, 2, mgu_step)}
each = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


def make(net, time, seed=0):
    """params, x and a first state."""
    rng = np.random.default_rng(seed)
    normal = lambda *shape: rng.standard_normal(shape)  # noqa: E731
    rows = net.blocks * N
    params = {"weight_x": normal(rows, N_IN), "weight_h": normal(rows, N), "bias": normal(rows)}
    if net.op is gru_reset_after:
        params["bias_h"] = normal(N)
    return params, normal(time, N_IN), (normal(N), normal(N)) if net.op is lstm else normal(N)


def loop(net, params, x, state, mask=None, reverse=False):
    hs = np.zeros((len(x), N))
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        if mask is None or mask[t]:
            z = params["weight_x"] @ x[t] + params.get("bias", 0)
            state = net.step(params["weight_h"], params.get("bias_h", 0), state, z)
        hs[t] = state[0] if net.op is lstm else state
    return hs, state


def zeros(net):
    return (np.zeros(N), np.zeros(N)) if net.op is lstm else np.zeros(N)


def run(op, *args, **static):
    return jax.jit(lambda *args: op(*args, **static), compiler_options=QUICKLY)(*jax.tree.map(jnp.asarray, args))


def assert_same(got, want):
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


@each
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
@pytest.mark.usefixtures("x64")
def test_value_and_backward(net, reverse):
    params, x, initial = make(net, 5)
    mask = np.asarray([True, False, True, True, False])
    y, *_ = check_backward(net.op, params, x, initial, mask, threshold=64, reverse=reverse)
    assert_same(y, loop(net, params, x, initial, mask, reverse))


@each
@pytest.mark.usefixtures("x64")
def test_one_step_from_zeros_without_bias(net):
    params, x, _ = make(net, 1)
    if net.op is not mgu:  # its bias must be there
        params = {name: weight for name, weight in params.items() if not name.startswith("bias")}
    y, *_ = check_backward(net.op, params, x, None, None, threshold=64)
    assert_same(y, loop(net, params, x, zeros(net)))


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
        jacobian = np.any(jax.jit(jacobian, compiler_options=QUICKLY)(x), axis=(1, 3))  # (time, n, time, n_in)
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


# Dtypes and structures.


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
    assert "initial: h_0, c_0 before" in lstm.__doc__
    assert "weight_h (n_hidden, n_hidden)" in rnn.__doc__


@pytest.mark.usefixtures("x64")
def test_the_cell_in_the_documentation():
    text = inspect.cleandoc(sys.modules["jaxnn.ops.cell"].__doc__)
    source = text[text.index("    @cell("):text.index("    h, last =")]
    found = {"cell": cell, "jnp": jnp}
    exec(textwrap.dedent(source), found)
    params, x, initial = make(NETS["rnn"], 3)
    check_backward(over_time(found["leaky"]), params, x, initial, None, threshold=64)


# Errors.


def parameters(net, **changed):
    return jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), make(NETS[net], 1)[0]) | changed


P, X = parameters("lstm"), jnp.ones((4, 2))
ENTRIES = "{'weight_h': (4*n_hidden, n_hidden), 'weight_x': (4*n_hidden, n_in), 'bias': (4*n_hidden,) or None}"


@pytest.mark.parametrize(("op", "args", "words"), [
    (lstm, (P, jnp.ones((4, 3))), "lstm expects x of shape (time, 2); got (4, 3)"),
    (lstm, (P, jnp.ones(2)), "lstm expects x of shape (time, 2); got (2,)"),
    (lstm, (P, jnp.ones((0, 2))), "lstm expects at least one time step; got (0, 2)"),
    (lstm, (P, jnp.ones((4, 2), int)), "lstm expects floating-point x; got int32"),
    (lstm, (P | {"bias": jnp.ones(3)}, X), "lstm expects bias of shape (12,); got (3,)"),
    (lstm, (P | {"weight_x": jnp.ones((3, 2))}, X), "lstm expects weight_x of shape (12, n_in); got (3, 2)"),
    (lstm, (P | {"weight_h": jnp.ones((9, 3))}, X),
     "lstm expects weight_h of shape (4*n_hidden, n_hidden); got (9, 3)"),
    (lstm, (P | {"weight_h": jnp.ones(9)}, X), "lstm expects weight_h of shape (4*n_hidden, n_hidden); got (9,)"),
    (lstm, (P | {"weight_h": jnp.ones((12, 3), int)}, X), "lstm expects floating-point weight_h; got int32"),
    (lstm, ({"bias": jnp.ones(3)}, X), f"lstm expects params to be {ENTRIES}; got keys ['bias']"),
    (lstm, (P | {"bais": jnp.ones(3)}, X), "lstm expects params to be"),
    (lstm, (P | {"weight_h": None}, X), f"lstm expects params to be {ENTRIES}; got None for ['weight_h']"),
    (lstm, ((P,), X), f"lstm expects params to be {ENTRIES}; got tuple"),
    (lstm, (P, X, (jnp.ones(2), jnp.ones(3))), "lstm expects h_0 of shape (3,); got (2,)"),
    (lstm, (P, X, (jnp.ones(3), jnp.ones(4))), "lstm expects c_0 of shape (3,); got (4,)"),
    (lstm, (P, X, (jnp.ones(3), jnp.ones(3, int))), "lstm expects floating-point c_0; got int32"),
    (lstm, (P, X, jnp.ones(3)), "lstm expects initial to be (h_0, c_0); got"),
    (rnn, (parameters("rnn"), X, (jnp.ones(3),)), "rnn expects initial to be h_0, an array; got h_0, a tuple"),
    (rnn, (parameters("rnn"), X, None, jnp.ones(4)), "rnn expects mask, an array of bool; got float32; "
     "True stands for a step that counts"),
    (rnn, (parameters("rnn"), X, None, [True] * 4), "rnn expects mask, an array of bool; got list"),
    (rnn, (parameters("rnn"), X, None, jnp.ones((4, 2), bool)), "rnn expects mask of shape (4,); got (4, 2)"),
    (gru, (parameters("gru_reset_after"), X), "gru expects params to be {'weight_h': (3*n_hidden, n_hidden), "
     "'weight_x': (3*n_hidden, n_in), 'bias': (3*n_hidden,) or None}; "
     "got keys ['bias', 'bias_h', 'weight_h', 'weight_x']"),
    (gru_reset_after, (parameters("gru", bias_h=jnp.ones(4)), X),
     "gru_reset_after expects bias_h of shape (3,); got (4,)"),
    (mgu, (parameters("rnn"), X), "minimal_gated_unit expects weight_h of shape (2*n_hidden, n_hidden); got (3, 3)"),
])
def test_errors(op, args, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        op(*args)


def test_reverse_is_true_or_false():
    with pytest.raises(ValueError, match="lstm expects reverse to be True or False; got 'yes'"):
        lstm(P, X, reverse="yes")


def broken(step=None, backward=None, products=None):
    """A cell with one mistake."""
    plain = lambda params, h, z: (jnp.tanh(z + h @ params["weight_h"].T), ())  # noqa: E731
    made = cell(state="h", params={"weight_x": "n_hidden n_in", "weight_h": "n_hidden n_hidden"})(step or plain)
    made.name = made.__name__ = "broken"
    if backward is not None:
        made.defbackward(backward)
    if products is not None:
        made.defproducts(products)
    return over_time(made)


@pytest.mark.parametrize(("op", "words"), [
    (broken(lambda params, h, z: (z[:2], ()), lambda params, step, dh: (dh, dh)),
     r"broken expects its step to return a state \(h\) of float32\[3\]; got float32\[2\]"),
    (broken(lambda params, h, z: ((h, h), ()), lambda params, step, dh: (dh, dh)),
     r"broken expects its step to return a state \(h\) of float32\[3\]; got PyTreeDef"),
    (broken(backward=lambda params, step, dh: (dh, dh[:1])),
     r"broken expects its backward to return a state \(h\) of float32\[3\]; got float32\[1\]"),
    (broken(backward=lambda params, step, dh: (dh[:1], dh)),
     r"broken expects dz of the cell's backward pass of shape \(4, 3\); got \(4, 1\)"),
    (broken(backward=lambda params, step, dh: (dh, dh), products=lambda steps, dz: {"weight": dz}),
     r"broken expects its products to hold \['weight_h'\]; got \['weight'\]; give them by @broken.defproducts"),
    (broken(backward=lambda params, step, dh: (dh + 1, dh)), "backward of 'broken' is not linear in dy"),
])
def test_errors_in_a_cell(op, words):
    params = {name: a for name, a in parameters("rnn").items() if name != "bias"}
    with pytest.raises((TypeError, ValueError), match=words):
        jax.grad(lambda p: op(p, X)[0].sum())(params)
    with pytest.raises(TypeError, match=r"the cell 'broken' has no backward pass; write it under @broken\.defbackward"):
        broken()
    with pytest.raises(ValueError, match=r"cell expects params to name 'weight_x', which makes z; got \['W'\]"):
        cell(state="h", params={"W": "n_hidden n_in"})
    with pytest.raises(ValueError, match="cell expects a parameter whose shape names n_hidden; got"):
        cell(state="h", params={"weight_x": "m n"})
