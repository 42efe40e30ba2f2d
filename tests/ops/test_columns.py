"""Convolutions of few channels, of which several places are taken at a time, beside lax's convolution."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn import conv
from jaxnn.ops import columns


def plain(kernel, x, stride, pads):
    """The convolution as XLA has it."""
    space = "DHW"[3 - len(pads):]
    letters = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(x[None], kernel, stride, pads, dimension_numbers=letters)[0]


def whole(shape, seed):
    """Small whole numbers, whose products and sums are exact in float32."""
    return jnp.asarray(np.random.default_rng(seed).integers(-4, 5, shape), jnp.float32)


@pytest.mark.parametrize(("n_in", "n_out", "window", "size", "stride", "pads"), [
    (1, 6, (5, 5), (7, 9), (1, 1), ((2, 2), (2, 2))),
    (6, 16, (5, 5), (6, 8), (1, 1), ((0, 0), (0, 0))),
    (3, 16, (3, 3), (5, 6), (2, 1), ((1, 0), (1, 2))),
    (8, 8, (2, 3), (4, 3), (1, 1), ((0, 1), (0, 0))),
    (2, 4, (3, 4), (6, 9), (1, 1), ((-1, 2), (-2, -1))),
    (2, 3, (7,), (11,), (1,), ((6, 0),)),
    (2, 2, (3, 1, 3), (3, 2, 4), (1, 1, 1), ((1, 1), (0, 0), (1, 1)))], ids=str)
def test_value_and_gradient_are_exactly_those_of_the_plain_convolution(n_in, n_out, window, size, stride, pads):
    assert columns.n_columns(n_in, n_out, window[-1]) > 1
    kernel, x = whole((*window, n_in, n_out), 0), whole((*size, n_in), 1)
    dy = whole(jax.eval_shape(lambda k, x: plain(k, x, stride, pads), kernel, x).shape, 2)

    def passes(f):
        y, pull_back = jax.vjp(f, kernel, x)
        return y, *pull_back(dy)

    of_op = jax.jit(lambda: passes(lambda k, x: conv({"kernel": k}, x, stride=stride, padding=pads)))()
    of_xla = jax.jit(lambda: passes(lambda k, x: plain(k, x, stride, pads)))()
    for name, actual, expected in zip(("y", "dkernel", "dx"), of_op, of_xla, strict=True):
        np.testing.assert_array_equal(actual, expected, name)


def test_the_kernel_in_columns_has_a_transpose():
    for b, window in itertools.product((2, 4), (3, 5)):
        kernel, other = whole((2, window, 3, 4), 0), whole((2, columns.n_taps(window, b), 3 * b, 4 * b), 1)
        there = jnp.vdot(columns.kernel_in_columns(kernel, b), other)
        assert there == jnp.vdot(kernel, columns.kernel_from_columns(other, b, window))


def test_places_come_back_in_their_order():
    x = whole((2, 7, 3), 0)
    np.testing.assert_array_equal(columns.from_columns(columns.to_columns(x, 4, 0, 2), 4, 7), x)


def test_many_channels_are_left_to_the_plain_convolution():
    assert {columns.n_columns(n_in, n_out, 3) for n_in, n_out in ((64, 64), (3, 64), (16, 16), (64, 3))} == {1}
    assert columns.n_columns(1, 8, 1) == 1
