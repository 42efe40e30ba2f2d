"""A mistake inside of a loop is named: the step, the gate, the carry."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients

RNG = np.random.default_rng(0)
N, N_IN, STEPS = 3, 2, 5


def array(*shape):
    return jnp.asarray(0.5 * RNG.standard_normal(shape), jnp.float32)


ARGS = array(4 * N, N_IN), array(4 * N, N), array(4 * N), array(STEPS, N_IN)


def step(weights, carry, x_t):
    """One step of an LSTM, gates i f g o."""
    (weight_x, weight_h, bias), (h, c) = weights, carry
    i, f, g, o = jnp.split(weight_x @ x_t + weight_h @ h + bias, 4)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    h = jax.nn.sigmoid(o) * jnp.tanh(c)
    return (h, c), h


def plain(weight_x, weight_h, bias, x):
    return jax.lax.scan(functools.partial(step, (weight_x, weight_h, bias)), (jnp.zeros(N), jnp.zeros(N)), x)[1]


def lstm(mistake, backwards=False):
    """The same with a backward pass over time by hand, in which `mistake` changes what a step yields:
    (t, gates' cotangent, (dh, dc)) -> the last two."""
    def forward(weight_x, weight_h, bias, x):
        weights = weight_x, weight_h, bias

        def one(carry, x_t):
            new, y = step(weights, carry, x_t)
            return new, (carry, x_t, y)

        zeros = jnp.zeros(N), jnp.zeros(N)
        _, (carries, xs, ys) = jax.lax.scan(one, zeros, x)
        return ys, (weights, carries, xs)

    def backward(cache, dy):
        weights, carries, xs = cache
        weight_x, weight_h, _ = weights

        def one(above, at):
            (t, dy_t, carry, x_t), (dh, dc) = at, above
            h, _ = carry

            def of_gates(z, c):
                i, f, g, o = jnp.split(z, 4)
                c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
                return jax.nn.sigmoid(o) * jnp.tanh(c), c

            z = weight_x @ x_t + weight_h @ h + weights[2]
            dz, dc = jax.vjp(of_gates, z, carry[1])[1]((dy_t + dh, dc))
            dz, below = mistake(t, dz, (weight_h.T @ dz, dc))
            return below, (jnp.outer(dz, x_t), jnp.outer(dz, h), dz, weight_x.T @ dz)

        zeros = jnp.zeros(N), jnp.zeros(N)
        _, (dweight_x, dweight_h, dbias, dx) = jax.lax.scan(
            one, zeros, (jnp.arange(STEPS), dy, carries, xs), reverse=True)
        return dweight_x.sum(0), dweight_h.sum(0), dbias.sum(0), dx

    f = jax.custom_vjp(plain)
    f.defvjp(forward, backward)
    return f


def gate_wrong(number):
    def mistake(t, dz, below):
        return dz.at[number * N:(number + 1) * N].mul(1.5), below

    return mistake


def carry_times(factor, at=None):
    def mistake(t, dz, below):
        return dz, jax.tree.map(lambda d: jnp.where((t == at) if at is not None else True, factor * d, d), below)

    return mistake


def test_the_rule_is_right_without_a_mistake():
    assert compare_gradients(lstm(lambda t, dz, below: (dz, below)), *ARGS, reference=plain, laws=False).ok


@pytest.mark.sampled
@pytest.mark.parametrize(("mistake", "kind", "words"), [
    (gate_wrong(0), "gate", "weight_x is wrong in block 1 of 4 along axis 0 (rows 0 to 2), 1.5 x the reference"),
    (gate_wrong(1), "gate", "weight_x is wrong in block 2 of 4 along axis 0 (rows 3 to 5), 1.5 x the reference"),
    (gate_wrong(3), "gate", "in block 4 of 4 along axis 0 (rows 9 to 11), "),
    (carry_times(0, at=2), "carry", "the carry's cotangent is lost from step 2 to step 1 alone, in the loop over y, x"),
    (carry_times(0), "carry", "the carry's cotangent is lost from each step to the one before it, in the loop over"),
    (carry_times(0.5, at=3), "carry", "the carry's cotangent is wrong from step 3 to step 2 alone, in the loop over")])
def test_the_mistake_is_named(mistake, kind, words):
    report = compare_gradients(lstm(mistake), *ARGS, reference=plain, laws=False, routes="lifted")
    assert not report.ok
    found = {finding.path: finding for finding in report.findings}
    assert found["weight_x"].kind == kind, report.findings
    assert words in found["weight_x"].words


def test_a_step_that_is_wrong_alone():
    def mistake(t, dz, below):
        return jnp.where(t == 2, 1.1, 1.0) * dz, below

    report = compare_gradients(lstm(mistake), *ARGS, reference=plain, laws=False, routes="lifted")
    assert any("wrong inside the step of a loop" in f.words and "at step 2 alone" in f.words
               for f in report.findings), report.findings


def test_no_loop_no_such_words():
    def f(x):
        return x**3

    wrong = jax.custom_vjp(f)
    wrong.defvjp(lambda x: (x**3, x), lambda x, dy: (jnp.where(x > 0, 3.1, 3.0) * x**2 * dy,))
    report = compare_gradients(wrong, array(6), reference=f, laws=False, routes="lifted")
    assert {finding.kind for finding in report.findings} == {"unexplained"}
