"""A painting from end to end on a small network, with both optimisers; colours kept; noise of grids found."""

import functools

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn.style import (
    costs_of,
    goal_of,
    grid_noise,
    luminance,
    paint,
    total_of,
    with_colours_of,
    with_luminance_like,
)
from jaxnn.style.painting import picture_of, zero_levels
from tests.style.test_costs import CONTENT, OF, OTHER, SMALL


@functools.cache
def cost():
    goal = goal_of(SMALL, CONTENT, [OTHER[:, ::-1]], **OF)

    def of_picture(picture):
        parts = costs_of(SMALL, goal, picture)
        return total_of(parts, {"content": 0.1, "smooth": 0.0}), parts

    return of_picture


@pytest.mark.sampled
@pytest.mark.parametrize("optimizer", [optax.adam(0.02), optax.lbfgs(
    linesearch=optax.scale_by_zoom_linesearch(max_linesearch_steps=5))], ids=["adam", "lbfgs"])
def test_a_painting(optimizer):
    painting = paint(cost(), CONTENT, optimizer=optimizer, steps=25, levels=3, every=10)
    assert painting.steps == [0, 10, 20, 25] and len(painting.frames) == len(painting.costs) == 4
    first, last = (sum(painting.costs[i]["parts"]["style"].values()) for i in (0, -1))
    assert last < first / 4
    assert painting.picture.shape == CONTENT.shape and 0 <= painting.picture.min() <= painting.picture.max() <= 1
    np.testing.assert_array_equal(painting.frames[0], np.round(np.asarray(CONTENT) * 255))


def test_a_cost_that_is_not_finite_ends_the_painting():
    painting = paint(lambda p: (jnp.where(jnp.mean(p) < 0.45, jnp.nan, jnp.sum(p)), {}), CONTENT,
                     optimizer=optax.sgd(1e-2), steps=40, levels=1, every=5)
    assert np.isnan(painting.costs[-1]["cost"]) and painting.steps[-1] < 40
    assert np.isfinite(painting.picture).all()


def test_levels():
    """The sum of levels of all sizes: a move of one coarse number moves its neighbourhood."""
    z = zero_levels((5, 7, 3), 4, jnp.float32)
    assert [level.shape[:2] for level in z] == [(5, 7), (3, 4), (2, 2), (1, 1)]
    start = jnp.ones((5, 7, 3))
    np.testing.assert_array_equal(picture_of(start, z), start)
    z[3] = z[3].at[0, 0, 1].set(2.0)
    moved = picture_of(start, z) - start
    np.testing.assert_allclose(moved[..., 1], 2)
    assert not moved[..., 0].any()
    assert [level.shape[:2] for level in zero_levels((1, 1, 3), 3, jnp.float32)] == [(1, 1)] * 3


def test_colours():
    """The greys are the painting's, the colours the content's; what is inside of 0 .. 1 is not cut."""
    content, painting = 0.4 + 0.2 * CONTENT, 0.4 + 0.2 * OTHER
    mixed = with_colours_of(painting, content)
    np.testing.assert_allclose(luminance(mixed), luminance(painting), atol=1e-5)
    np.testing.assert_allclose(mixed - luminance(mixed), content - luminance(content), atol=1e-5)
    like = with_luminance_like(painting * 0.3, content)
    np.testing.assert_allclose((like.mean(), like.std()), (luminance(content).mean(), luminance(content).std()),
                               rtol=1e-4)
    assert jnp.isfinite(with_luminance_like(jnp.ones((4, 4, 3)), content)).all()
    with pytest.raises(ValueError, match="expects two pictures of one size"):
        with_colours_of(painting[:3], content)


def test_the_noise_of_a_grid_is_found():
    """On a smooth random picture, a checkerboard and blocks of eight, a hundredth of the range strong."""
    noise = np.random.default_rng(0).standard_normal((96, 112))
    low = np.fft.rfft2(noise) / (1 + 200 * (np.fft.fftfreq(96)[:, None] ** 2 + np.fft.rfftfreq(112) ** 2)) ** 2
    smooth = np.fft.irfft2(low, noise.shape)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    i, j = np.indices(smooth.shape)
    assert grid_noise(smooth).grid < 4
    assert grid_noise(smooth + 0.01 * (-1) ** (i + j)).grid > 20
    assert grid_noise(smooth + 0.02 * ((i % 8 == 0) | (j % 8 == 0))).grid > 20
    assert grid_noise(smooth + 0.1 * noise).fine > 5 * grid_noise(smooth).fine
    with pytest.raises(ValueError, match="expects a picture of at least 64 by 64 pixels"):
        grid_noise(smooth[:20])


@pytest.mark.parametrize(("options", "words"), [
    ({"steps": 0}, "paint expects steps, a positive integer; got 0"),
    ({"levels": 1.5}, "paint expects levels, a positive integer; got 1.5"),
])
def test_errors(options, words):
    with pytest.raises(ValueError, match=words):
        paint(cost(), CONTENT, optimizer=optax.adam(0.1), **options)
    with pytest.raises(ValueError, match=r"expects start of shape \(height, width, 3\)"):
        paint(cost(), jnp.ones((4, 4)), optimizer=optax.adam(0.1))
