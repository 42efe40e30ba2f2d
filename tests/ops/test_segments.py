"""Recomputation by segments: the same numbers, less memory; truncated backpropagation; masks of lengths."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import network, per_example, squared_error
from jaxnn.ops import gru, length_mask, lstm, rnn
from tests.compare import AS_USERS_COMPILE, assert_close, check_backward, pulled_back
from tests.ops.recurrent_networks import NETS, N, assert_same, loop, make, run


@pytest.mark.sampled
@pytest.mark.parametrize(("segment", "reverse", "masked"), [
    (3, False, False), (3, True, True), (4, True, False), (1, False, True), (100, False, False)])
@pytest.mark.usefixtures("x64")
def test_in_segments(segment, reverse, masked):
    """Eight steps in segments that fit and that do not."""
    net = NETS["lstm"]
    params, x, initial = make(net, 8)
    mask = np.array([True, False, True, True, True, False, True, True]) if masked else None
    y, *_ = check_backward(lstm, params, x, initial, mask, threshold=64, reverse=reverse, segment=segment)
    assert_same(y, loop(net, params, x, initial, mask, reverse))


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["rnn", "gru", "gru_reset_after", "minimal gated unit"])
@pytest.mark.usefixtures("x64")
def test_every_cell_in_segments_and_in_a_batch(name):
    op = NETS[name].op
    params, x, _ = make(NETS[name], 10)
    x = np.stack([x[:5], x[5:]])
    both = [pulled_back(lambda p, x: jax.vmap(lambda x: op(p, x, segment=s))(x), params, x)  # noqa: B023
            for s in (2, None)]
    assert_close(*both, threshold=64)


@pytest.mark.exhaustive
def test_memory_as_the_root_of_time():
    """Temporaries of the compiled gradient: with √time steps in a segment they grow as √time."""
    n, batch = 16, 4

    def temporaries(time, segment):
        params = {"weight_x": jnp.ones((4 * n, 1)), "weight_h": jnp.ones((4 * n, n))}
        f = jax.grad(lambda p, x: jnp.sum(jax.vmap(lambda x: lstm(p, x, segment=segment)[1][0])(x)))
        compiled = jax.jit(f, compiler_options=AS_USERS_COMPILE).lower(params, jnp.ones((batch, time, 1))).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    all_steps, in_segments = (temporaries(1024, s) for s in (None, 32))
    assert in_segments < all_steps / 8
    assert temporaries(4096, 64) < 3 * in_segments
    assert temporaries(4096, None) > 3.5 * all_steps


@pytest.mark.usefixtures("x64")
def test_norms_of_single_examples_in_segments():
    params, x, _ = make(NETS["lstm"], 6)
    x = np.stack([x, 2 * x])

    def norms(segment):
        net = network(lambda params, x: lstm(params, x, segment=segment)[0])
        return per_example(net, squared_error, jax.tree.map(jnp.asarray, params), {}, x, np.zeros((2, 6, N))).norms

    assert_close(norms(4), norms(None), threshold=64)


@pytest.mark.usefixtures("x64")
def test_truncated_backpropagation():
    """A sequence in pieces, each from the last state of the piece before: the states are those of the whole, and a
    piece has no gradient of the pieces before."""
    params, x, _ = make(NETS["lstm"], 6)

    def in_pieces(params, x):
        h, last = lstm(params, x[:4])
        more, last = lstm(params, x[4:], jax.lax.stop_gradient(last))
        return jnp.concatenate([h, more]), last

    dy = (np.zeros((6, N)), (np.ones(N), np.ones(N)))  # of the last state alone
    y, (dparams, dx) = pulled_back(in_pieces, params, x, dy=dy)
    assert_same(y, run(lstm, params, x))
    assert not np.any(dx[:4]) and np.all(dx[4:])
    _, middle = run(lstm, params, x[:4])
    _, (want, _) = pulled_back(lambda p, x: lstm(p, x, middle), params, x[4:], dy=(dy[0][4:], dy[1]))
    assert_close(dparams, want, threshold=64)


# Masks of lengths.


@pytest.mark.usefixtures("x64")
def test_lengths_of_a_batch():
    params, x, initial = make(NETS["gru"], 5)
    lengths = jnp.array([0, 1, 5])
    h, last = jax.vmap(lambda n: gru(params, x, initial, length_mask(n, 5)))(lengths)
    np.testing.assert_array_equal(last[0], initial)  # nothing was read
    np.testing.assert_array_equal(h[0], np.broadcast_to(initial, (5, N)))
    assert_same((h[1][:1], last[1]), loop(NETS["gru"], params, x[:1], initial))
    assert_same((h[2], last[2]), loop(NETS["gru"], params, x, initial))
    # All masked: no gradient but that of the initial state, the identity.
    _, (dparams, dx, dinitial) = pulled_back(lambda p, x, i: gru(p, x, i, length_mask(0, 5))[1], params, x, initial)
    assert not any(map(np.any, jax.tree.leaves((dparams, dx))))
    np.testing.assert_array_equal(dinitial, np.ones(N))


@pytest.mark.parametrize(("length", "time", "words"), [
    (6, 5, "length_mask expects lengths in 0 .. 5; got values from 6 to 6; cut the sequence, or pad it to more steps"),
    (-1, 5, "length_mask expects lengths in 0 .. 5; got values from -1"),
    (2.0, 5, "length_mask expects integer lengths; got"), (True, 5, "length_mask expects integer lengths; got"),
    (jnp.array(2.0), 5, "length_mask expects integer lengths; got float32"),
    (2, -1, "length_mask expects length, an integer >= 0; got -1"),
    (2, None, "length_mask expects length, an integer >= 0")])
def test_refused_lengths(length, time, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        length_mask(length, time)


def test_one_length_of_a_batch_is_too_long():
    with pytest.raises(ValueError, match=r"lengths in 0 \.\. 5; got values from 2 to 6"):
        jax.vmap(lambda n: length_mask(n, 5))(jnp.array([2, 6]))


@pytest.mark.parametrize("segment", [0, -1, 2.0, True, "2"])
def test_refused_segments(segment):
    with pytest.raises(ValueError, match="rnn expects segment, a number of steps or None; got"):
        rnn({"weight_x": jnp.ones((1, 1)), "weight_h": jnp.ones((1, 1))}, jnp.ones((2, 1)), segment=segment)


@pytest.mark.usefixtures("x64")
def test_explicit_passes_in_segments():
    params, x, _ = make(NETS["lstm"], 5)
    net = network(lambda p, x: jnp.sum(lstm(p, x, segment=2)[0] ** 2))
    _, cache = net.forward(params, x)
    want = jax.jit(jax.grad(lambda p: jnp.sum(lstm.reference(p, x)[0] ** 2)))(params)
    assert_close(net.backward(cache, 1.0)[0], want, threshold=64)
