"""Sines, rotations: against NumPy, complex numbers and laws."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import rotary, sinusoidal_positions
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(3)


def test_sinusoidal_positions():
    table = sinusoidal_positions(50, 6)
    for t, c in ((0, 0), (3, 1), (49, 2)):
        angle = t / 10000 ** (2 * c / 6)
        np.testing.assert_allclose(table[t, 2 * c:2 * c + 2], [np.sin(angle), np.cos(angle)], rtol=1e-5, atol=1e-6)
    halves = sinusoidal_positions(50, 6, layout="halves")
    np.testing.assert_array_equal(halves, jnp.concatenate([table[:, ::2], table[:, 1::2]], 1))
    assert sinusoidal_positions(4, 5).shape == (4, 5)
    far = sinusoidal_positions(10**6 + 1, 2)[-1]  # in float32 throughout, the angle would be off by 0.03
    np.testing.assert_allclose(far, [np.sin(1e6), np.cos(1e6)], rtol=1e-5)


@pytest.mark.parametrize("layout", ["halves", "interleaved"])
@pytest.mark.usefixtures("x64")
def test_rotary(layout):
    """A pair is a complex number, multiplied by e^{i t ω}."""
    x = RNG.standard_normal((5, 2 * 6))
    positions = np.array([7, 8, 9, 0, 2])
    y, _, _ = check_backward(rotary, x, positions, layout=layout, n_heads=2)
    for head in range(2):
        a = x[:, head * 6:head * 6 + 6]
        pairs = a[:, :3] + 1j * a[:, 3:] if layout == "halves" else a[:, ::2] + 1j * a[:, 1::2]
        turned = pairs * np.exp(1j * positions[:, None] * 10000 ** (-np.arange(3) / 3))
        got = np.asarray(y)[:, head * 6:head * 6 + 6]
        got = got[:, :3] + 1j * got[:, 3:] if layout == "halves" else got[:, ::2] + 1j * got[:, 1::2]
        np.testing.assert_allclose(got, turned, rtol=1e-12)
    assert_close(rotary(x, layout=layout, n_heads=2), rotary(x, jnp.arange(5), layout=layout, n_heads=2))


@pytest.mark.parametrize("layout", ["halves", "interleaved"])
def test_scores_depend_on_distances_alone(layout):
    q, k = (jnp.asarray(RNG.standard_normal((4, 8)), jnp.float32) for _ in range(2))
    here, there = (rotary(q, p, layout=layout) @ rotary(k, p, layout=layout).T
                   for p in (jnp.arange(4), jnp.arange(4) + 100))
    np.testing.assert_allclose(here, there, atol=2e-4)
    assert_close(jnp.linalg.norm(rotary(q, layout=layout), axis=1), jnp.linalg.norm(q, axis=1))


def test_rotary_keeps_the_dtype_and_angles_wide():
    x = jnp.asarray(RNG.standard_normal((3, 4)), jnp.bfloat16)
    y = rotary(x, jnp.array([5000, 5001, 5002]), layout="halves")
    want = rotary(x.astype(jnp.float32), jnp.array([5000, 5001, 5002]), layout="halves")
    assert y.dtype == jnp.bfloat16
    assert_close(y, want.astype(jnp.bfloat16), 1)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: rotary(jnp.ones((2, 3)), layout="halves"), "x of 1 heads, each of an even width; got (2, 3)"),
    (lambda: rotary(jnp.ones((2, 6)), layout="halves", n_heads=2), "x of 2 heads, each of an even width"),
    (lambda: rotary(jnp.ones((2, 4)), layout="pairs"), "layout, 'halves' or 'interleaved'; got 'pairs'"),
    (lambda: rotary(jnp.ones((2, 4)), jnp.ones(2), layout="halves"), "integer positions; got float32"),
    (lambda: rotary(jnp.ones((2, 4)), jnp.arange(3), layout="halves"), "positions of shape (2,); got (3,)"),
    (lambda: rotary(jnp.ones((1, 2, 4)), layout="halves"), "for a batch use jax.vmap"),
    (lambda: sinusoidal_positions(0, 4), "n_places, a positive integer; got 0"),
    (lambda: sinusoidal_positions(4, 4, base=1), "base, a number above 1; got 1"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def test_rotary_by_vmap():
    x = jnp.asarray(RNG.standard_normal((2, 3, 4)), jnp.float32)
    assert_close(jax.vmap(lambda x: rotary(x, layout="halves"))(x)[1], rotary(x[1], layout="halves"))
