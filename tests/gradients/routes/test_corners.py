"""Corners where several linear pieces meet: another subgradient is told from an error. Complex functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients
from tests.gradients.routes.test_routes import rule

X = jnp.asarray([1.0, 2.0, -1.0])
ZEROS = jnp.zeros(3)
RNG = np.random.default_rng(0)
Z = jnp.asarray(RNG.standard_normal(4) + 1j * RNG.standard_normal(4), jnp.complex64)


def max_of_three(x, y, z):
    return jnp.maximum(jnp.maximum(x, y), z)


def largest(x):
    return jnp.max(x)


def largest_two(x):
    return jnp.sum(jnp.sort(x)[-2:])


def abs_of_max(x, y):
    return jnp.abs(jnp.maximum(x, y))


def three_pieces(x):
    return jax.nn.relu(x) - 0.1 * jax.nn.relu(-x) + jnp.maximum(x, 2 * x)


def l1(x):
    return jnp.sum(jnp.abs(x))


def constant(*gradients):
    return lambda args, dy: tuple(jnp.broadcast_to(jnp.asarray(g), a.shape) * dy for g, a in zip(gradients, args))


@pytest.mark.sampled
@pytest.mark.parametrize(("plain", "args", "gradients", "is_right"), [
    (max_of_three, (X, X, X), (1.0, 0.0, 0.0), True),
    (max_of_three, (X, X, X), (0.5, 0.5, 0.5), False),
    (max_of_three, (X, X, X), (1.5, -0.5, 0.0), False),
    (largest, (jnp.ones(200),), (jax.nn.one_hot(3, 200),), True),
    (largest, (jnp.ones(200),), (jnp.ones(200),), False),
    (largest, (jnp.ones(200),), (jnp.zeros(200),), False),
    (largest_two, (jnp.ones(4),), ([1.0, 1, 0, 0],), True),
    (largest_two, (jnp.ones(4),), ([1.0, 1, 1, 0],), False),
    (largest_two, (jnp.ones(4),), ([1.0, 0, 0, 0],), False),
    (abs_of_max, (ZEROS, ZEROS), (0.0, 1.0), True),
    (abs_of_max, (ZEROS, ZEROS), (1.0, 1.0), False),
    (three_pieces, (ZEROS,), (2.9,), True),
    (three_pieces, (ZEROS,), (3.1,), False),
    (l1, (jnp.zeros(100),), (0.3,), True),
    (l1, (jnp.zeros(100),), (-1.3,), False)])
def test_a_corner(plain, args, gradients, is_right):
    report = compare_gradients(rule(plain, constant(*gradients)), *args, reference=plain, laws=False)
    assert report.ok == is_right, str(report)
    assert not is_right or any("subgradient" in leaf.note for leaf in report.leaves)


# Complex arguments and values, by JAX's convention: <c, t> = Re(c t), no conjugate.


def exponential(z, s):
    return jnp.exp(z) * s, jnp.abs(z) ** 2


def of_exponential(conjugate):
    def backward(args, dy):
        (z, s), (d, e) = args, dy
        dz = d * jnp.exp(z) * s + 2 * e * jnp.conj(z)
        return jnp.conj(dz) if conjugate else dz, jnp.sum(d * jnp.exp(z)).real
    return backward


def modulus(z):
    return jnp.abs(z)


def to_complex(x):
    return jax.lax.complex(x, x * x)


def of_abs(at_zero):
    def backward(args, dy):
        (z,) = args
        return (dy * jnp.where(z == 0, at_zero, jnp.conj(z) / jnp.where(z == 0, 1, jnp.abs(z))),)
    return backward


@pytest.mark.sampled
@pytest.mark.parametrize(("plain", "args", "backward", "is_right"), [
    (exponential, (Z, jnp.float32(1.5)), of_exponential(False), True),
    (exponential, (Z, jnp.float32(1.5)), of_exponential(True), False),
    (to_complex, (X,), lambda a, dy: (dy.real - 2 * a[0] * dy.imag,), True),
    (to_complex, (X,), lambda a, dy: (dy.real + 2 * a[0] * dy.imag,), False),
    (modulus, (Z.at[1].set(0),), of_abs(0), True),
    (modulus, (Z.at[1].set(0),), of_abs(0.5j), True),
    (modulus, (Z.at[1].set(0),), of_abs(1.5j), False)])
def test_complex_functions(plain, args, backward, is_right):
    report = compare_gradients(rule(plain, backward), *args, reference=plain, laws=False)
    assert report.ok == is_right, str(report)
    if plain is exponential and not is_right:
        assert report.findings[0].words == "it is the complex conjugate"
