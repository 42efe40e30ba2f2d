"""What is linear in dy and what is not, read off the jaxpr; and that the walk agrees with arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn.linearity import why_not_linear

CACHE = jnp.asarray([1.0, -2.0, 3.0, 0.5])
MASK = CACHE > 0
SQUARE = jnp.asarray(np.random.default_rng(0).standard_normal((4, 4)), jnp.float32)
INDEX = jnp.asarray([2, 0, 2, 1])


def scan_from_zero(dy):
    return lax.scan(lambda carry, d: (carry * 0.5 + d, carry), jnp.zeros(()), dy)


def scan_with_counter(dy):
    def step(carry, d):
        i, total = carry
        return (i + 1, total + d * i), d * CACHE[i]

    (_, total), out = lax.scan(step, (0, jnp.zeros(())), dy)
    return total, out


def scan_swapping(dy):
    """The carries trade places, so that it takes two rounds to see that both are linear."""
    def step(carry, d):
        a, b, c = carry
        return (b, c, d), a

    return lax.scan(step, (jnp.zeros(()),) * 3, dy)


def nested_scan(dy):
    return lax.scan(lambda carry, d: (carry + scan_from_zero(dy * d)[0] * 0 + d, None), jnp.zeros(()),
                    CACHE)[0] * dy


@jax.custom_jvp
def of_cache(x):
    return jnp.sin(x)


@of_cache.defjvp
def _of_cache_jvp(primals, tangents):
    return of_cache(*primals), jnp.cos(primals[0]) * tangents[0]


LINEAR = {
    "dy": lambda dy: dy,
    "zero": lambda dy: jnp.zeros_like(dy),
    "minus dy": lambda dy: -dy / 3,
    "product with the cache": lambda dy: dy * jnp.sin(CACHE) ** 2,
    "sum and difference": lambda dy: dy - 2 * dy[::-1] + jnp.zeros(4),
    "masked": lambda dy: jnp.where(MASK, dy, 0),
    "masked both ways": lambda dy: jnp.where(MASK, dy * 2, -dy),
    "masked with zeros_like": lambda dy: jnp.where(MASK, jnp.zeros_like(dy), dy),
    "masked in bfloat16": lambda dy: jnp.where(MASK, dy.astype(jnp.bfloat16), 0).astype(jnp.float32),
    "masked in float16": lambda dy: jnp.where(MASK, dy.astype(jnp.float16), 0).astype(jnp.float32),
    "zero in bfloat16": lambda dy: (dy.astype(jnp.bfloat16) + jnp.zeros(4, jnp.bfloat16)).astype(jnp.float32),
    "matrix products": lambda dy: (SQUARE @ dy, jnp.einsum("i,j->ij", dy, CACHE), jnp.vdot(dy, CACHE)),
    "solve": lambda dy: jax.scipy.linalg.solve_triangular(jnp.tril(SQUARE) + 3 * jnp.eye(4), dy),
    "linear solve": lambda dy: jnp.linalg.solve(SQUARE, dy),
    "fft": lambda dy: jnp.fft.irfft(jnp.fft.rfft(dy) * 2),
    "convolution": lambda dy: jnp.convolve(dy, CACHE),
    "cumulative sum": lambda dy: jnp.cumsum(dy),
    "mean": lambda dy: dy - jnp.mean(dy),
    "scatter into zeros": lambda dy: jnp.zeros((5,)).at[INDEX].add(dy),
    "set in zeros": lambda dy: jnp.zeros((8,)).at[2:6].set(dy),
    "written into zeros at a place of the cache":
        lambda dy: lax.dynamic_update_slice(jnp.zeros(8), dy, (jnp.argmax(CACHE),)),
    "written at a fixed place": lambda dy: lax.dynamic_update_slice(jnp.zeros(8), dy, (3,)),
    "row of zeros replaced": lambda dy: lax.dynamic_update_index_in_dim(jnp.zeros((3, 4)), dy, 1, 0),
    "gather": lambda dy: dy[INDEX],
    "gather from zeros": lambda dy: jnp.zeros(7)[INDEX] + dy,
    "slice of zeros": lambda dy: lax.dynamic_slice(jnp.zeros(7), (INDEX[0],), (4,)) + dy,
    "zeros split": lambda dy: jnp.split(jnp.zeros(8), 2)[0] + dy,
    "zeros summed up": lambda dy: jnp.cumsum(jnp.zeros(4)) + dy,
    "zeros stacked": lambda dy: jnp.stack([jnp.zeros(4), dy]),
    "zero in integers": lambda dy: dy + jnp.zeros(4, int),
    "masked with a zero in integers": lambda dy: jnp.where(MASK, dy, lax.reshape(lax.broadcast(0, (2, 2)), (4,))),
    "zeros times anything": lambda dy: dy + jnp.zeros((4, 4)) @ CACHE,
    "padded": lambda dy: jnp.pad(dy, 2),
    "concatenated with zeros": lambda dy: jnp.concatenate([jnp.zeros(2), dy, jnp.zeros(1)]),
    "sorted like the cache": lambda dy: dy[jnp.argsort(CACHE)],
    "reversed, repeated, reshaped": lambda dy: jnp.repeat(dy[::-1], 2).reshape(2, 4).T,
    "branch on the cache": lambda dy: lax.cond(CACHE[0] > 0, lambda d: d * 2, jnp.zeros_like, dy),
    "switch on the cache": lambda dy: lax.switch(INDEX[0], [lambda d: d, lambda d: -d, lambda d: d * 0], dy),
    "scan from zero": scan_from_zero,
    "scan with a counter": scan_with_counter,
    "scan with carries that swap": scan_swapping,
    "scan in a scan": nested_scan,
    "map over rows": lambda dy: lax.map(lambda row: row * 2, dy),
    "jit": lambda dy: jax.jit(lambda d: d * CACHE)(dy),
    "checkpoint": lambda dy: jax.checkpoint(lambda d: d * jnp.sin(CACHE))(dy),
    "a custom_jvp function of the cache": lambda dy: dy * of_cache(CACHE) * jax.nn.relu(CACHE),
    "a while loop on the cache":
        lambda dy: dy * lax.while_loop(lambda x: x < 10, lambda x: x * 2, CACHE[0]),
    "loop of fixed length": lambda dy: lax.fori_loop(0, 3, lambda i, d: d * 0.5, dy),
    "complex": lambda dy: jnp.real((dy + 0j) * (1 + 2j)),
    "vmap": lambda dy: jax.vmap(lambda row, d: row * d)(SQUARE, dy),
    "a pair of leaves": lambda dy: {"a": dy, "b": (jnp.zeros(3), dy[0])},
}

NOT_LINEAR = {
    "plus one": (lambda dy: dy + 1, "adds a term that does not depend on dy (add)"),
    "minus the cache": (lambda dy: dy - CACHE, "adds a term that does not depend on dy (sub)"),
    "plus a cache of the right shape": (lambda dy: dy * 2 + CACHE, "adds a term"),
    "plus the complement of zero in integers": (lambda dy: dy + ~jnp.zeros(4, int), "adds a term"),
    "plus one in integers": (lambda dy: dy + jnp.ones(4, int), "adds a term"),
    "constant": (lambda dy: CACHE * 2, "does not depend on dy and is not zero"),
    "ones": (lambda dy: jnp.ones(4), "does not depend on dy and is not zero"),
    "squared by a product": (lambda dy: dy * dy, "multiplies dy with itself (mul)"),
    "squared by a power": (lambda dy: dy**2, "of dy"),
    "square": (lambda dy: jnp.square(dy), "takes square of dy"),
    "norm": (lambda dy: jnp.vdot(dy, dy), "multiplies dy with itself (dot_general)"),
    "outer product with itself": (lambda dy: jnp.outer(dy, dy), "multiplies dy with itself (mul)"),
    "sin": (lambda dy: jnp.sin(dy), "takes sin of dy"),
    "tanh": (lambda dy: jnp.tanh(dy), "takes tanh of dy"),
    "exp": (lambda dy: jnp.exp(dy), "takes exp of dy"),
    "absolute value": (lambda dy: jnp.abs(dy), "takes abs of dy"),
    "sign": (lambda dy: jnp.sign(dy), "takes sign of dy"),
    "maximum": (lambda dy: jnp.maximum(dy, 0), "takes max of dy"),
    "clip": (lambda dy: jnp.clip(dy, -1, 1), "of dy"),
    "relu": (lambda dy: jax.nn.relu(dy), "takes max of dy"),
    "largest": (lambda dy: jnp.max(dy), "takes reduce_max of dy"),
    "sort": (lambda dy: jnp.sort(dy), "takes sort of dy"),
    "divided by": (lambda dy: CACHE / dy, "divides by dy"),
    "normalised": (lambda dy: dy / jnp.linalg.norm(dy), "multiplies dy with itself"),
    "rounded": (lambda dy: jnp.round(dy), "takes round of dy"),
    "rounded to integers": (lambda dy: dy.astype(jnp.int32).astype(jnp.float32), "of dy"),
    "where dy is positive": (lambda dy: jnp.where(dy > 0, dy, 0), "of dy"),
    "where else one": (lambda dy: jnp.where(MASK, dy, 1), "adds a term that does not depend on dy (where)"),
    "where else the cache": (lambda dy: jnp.where(MASK, CACHE, dy), "(where)"),
    "concatenated with ones": (lambda dy: jnp.concatenate([dy, jnp.ones(1)]), "(concatenate)"),
    "stacked with the cache": (lambda dy: jnp.stack([dy, CACHE]), "adds a term"),
    "subtracted from ones": (lambda dy: jnp.ones(5).at[INDEX].add(-dy), "adds a term"),
    "imaginary part of the cache": (lambda dy: lax.complex(dy, CACHE),
                                    "adds a term that does not depend on dy"),
    "padded with ones": (lambda dy: jnp.pad(dy, 1, constant_values=1.0), "(pad)"),
    "set in ones": (lambda dy: jnp.ones(8).at[2:6].set(dy), "does not depend on dy"),
    "added into ones": (lambda dy: jnp.ones(5).at[INDEX].add(dy), "does not depend on dy (scatter"),
    "written into the cache": (lambda dy: lax.dynamic_update_slice(CACHE, dy[:2], (1,)), "does not depend"),
    "read at a place that dy says": (lambda dy: CACHE[jnp.argmax(dy)], "takes argmax of dy"),
    "affine in a scan": (
        lambda dy: lax.scan(lambda c, d: (c, d + 1), jnp.zeros(()), dy)[1], "adds a term"),
    "affine in the carry": (
        lambda dy: lax.scan(lambda c, d: (c + 1, c + d), jnp.zeros(()), dy)[1], "adds a term"),
    "scan from one": (lambda dy: lax.scan(lambda c, d: (c + d, None), jnp.ones(()), dy)[0], "adds a term"),
    "product in the carry": (
        lambda dy: lax.scan(lambda c, d: (c * d + d, None), jnp.zeros(()), dy)[0], "itself"),
    "affine in one branch": (
        lambda dy: lax.cond(CACHE[0] > 0, lambda d: d + 1, lambda d: d, dy), "adds a term"),
    "constant in one branch": (
        lambda dy: lax.cond(CACHE[0] > 0, lambda d: CACHE, lambda d: d, dy), "(cond)"),
    "branch on dy": (lambda dy: lax.cond(dy[0] > 0, lambda d: d, lambda d: -d, dy), "branches on dy (cond)"),
    "affine in a jit": (lambda dy: jax.jit(lambda d: d + 1)(dy), "adds a term"),
    "affine in a checkpoint": (lambda dy: jax.checkpoint(lambda d: d + 1)(dy), "adds a term"),
    "while loop": (lambda dy: lax.while_loop(lambda d: d[0] < 10, lambda d: d * 2, dy), "while"),
}


def leaves_of(function):
    return lambda dy: jax.tree.leaves(function(dy))


@pytest.mark.sampled
@pytest.mark.parametrize("name", LINEAR)
def test_is_not_refused(name):
    f = leaves_of(LINEAR[name])
    assert why_not_linear(f, jnp.ones(4)) == [None] * len(f(jnp.ones(4)))


@pytest.mark.parametrize("name", LINEAR)
def test_table_is_right(name):
    """Each of them is linear by arithmetic: f(2a - b) = 2 f(a) - f(b)."""
    rng = np.random.default_rng(1)
    a, b = (jnp.asarray(rng.standard_normal(4), jnp.float32) for _ in range(2))
    f = leaves_of(LINEAR[name])
    for mixed, of_a, of_b in zip(f(2 * a - b), f(a), f(b)):
        np.testing.assert_allclose(mixed, 2 * of_a - of_b, atol=4e-2 if "float16" in name else 1e-4)


@pytest.mark.parametrize("name", NOT_LINEAR)
def test_is_refused(name):
    function, words = NOT_LINEAR[name]
    reasons = [r for r in why_not_linear(leaves_of(function), jnp.ones(4)) if r is not None]
    assert reasons
    assert words in reasons[0]


def test_each_output_has_its_own_reason():
    reasons = why_not_linear(lambda dy: [dy, dy * dy, dy[0] * 2, dy + 1], jnp.ones(3))
    assert [r is None for r in reasons] == [True, False, True, False]


def test_several_inputs():
    """A product of two of them is not linear in both together."""
    assert why_not_linear(lambda a, b: [a + b, a * 2], jnp.ones(3), jnp.ones(3)) == [None, None]
    (reason,) = why_not_linear(lambda a, b: [a * b], jnp.ones(3), jnp.ones(3))
    assert reason == "it multiplies dy with itself (mul)"


def test_a_constant_of_numpy_zeros_is_zero():
    zeros = np.zeros(4, np.float32)
    assert why_not_linear(lambda dy: [jnp.where(MASK, dy, zeros)], jnp.ones(4)) == [None]
