"""The size of a unit, and the noise of a reference."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.gradients.noise import one_rounding_away, with_noise

EPS = 2.0**-23


def test_noise_is_the_distance_from_float64_in_units_of_the_largest_element():
    value = np.array([1.0, 4.0])
    (leaf,) = with_noise(["x"], [value], [value + np.array([0, 3 * 4 * EPS])], [], [EPS])
    assert leaf.scale == value[1] + 12 * EPS
    np.testing.assert_allclose(leaf.noise, 3, rtol=1e-6)
    assert leaf.limit == 16 * leaf.noise


def test_what_a_rounding_moves_is_noise_and_what_jumps_is_a_kink():
    value = np.array([1.0, 1.0])
    (leaf,) = with_noise(["x"], [value], None, [value + np.array([5 * EPS, 0.5]), None], [EPS])
    np.testing.assert_allclose(leaf.noise, 5, rtol=1e-6)


def test_a_leaf_that_is_zero_but_for_rounding_is_measured_by_the_whole_gradient():
    small, large = with_noise(["bias", "weight"], [np.array([1e-9]), np.array([2.0])],
                              [np.array([1e-15]), np.array([2.0])], [], [EPS, EPS])
    assert small.scale == large.scale == 2


def test_arguments_move_by_at_most_one_unit_in_their_last_place():
    x = jnp.asarray(np.random.default_rng(0).standard_normal(1000), jnp.float32)
    for in_float64, dtype in ((True, np.float64), (False, np.float32)):
        dtypes = []

        def program(moving, dy, dtypes=dtypes):
            dtypes.append(moving[0].dtype)
            return moving

        (moved,) = one_rounding_away(program, [x], [x], np.random.default_rng(1), in_float64=in_float64)
        assert dtypes == [dtype]
        relative = np.abs(moved / np.asarray(x, np.float64) - 1) / EPS
        assert 0.5 < relative.max() <= (1 if in_float64 else 1.51)  # and the rounding to float32


def test_a_program_that_fails_there_gives_nothing():
    def program(moving, dy):
        raise jax.errors.JaxRuntimeError("no")

    assert one_rounding_away(program, [jnp.ones(2)], [jnp.ones(2)], np.random.default_rng(0), in_float64=True) is None
