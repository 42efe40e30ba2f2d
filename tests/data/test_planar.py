"""Generated points against the course's own arrays, and against their definitions."""

import os
from pathlib import Path

import numpy as np
import pytest

from jaxnn.data import blobs, gaussian_quantiles, noisy_circles, noisy_moons, planar_flower

pytest.importorskip("sklearn")


def course_points(name):
    """X (2, n) and Y (1, n), features first, by name from one of the course's files."""
    path = Path(os.environ.get("JAXNN_DATA", "")) / name
    if not path.is_file():
        pytest.skip(f"{name} is missing: point JAXNN_DATA at the course's files")
    return np.load(path)


@pytest.mark.parametrize(("points", "file", "part"), [
    (lambda: planar_flower(), "c1/planar_generated.npz", ""),
    (lambda: noisy_circles(1, 300, noise=0.05, factor=0.8), "c2/circles_generated.npz", ""),
    (lambda: noisy_circles(2, 100, noise=0.05, factor=0.8), "c2/circles_generated.npz", "test"),
    (lambda: noisy_moons(3, 300), "c2/moons_generated.npz", ""),
], ids=["flower", "circles", "circles test", "moons"])
def test_equals_the_course_exactly(points, file, part):
    course = course_points(file)
    x, y = points()
    np.testing.assert_array_equal(x.T, course[f"X{part}"])
    np.testing.assert_array_equal(y[None], course[f"Y{part}"])


def test_flower_with_the_global_generator():
    """The recipe as the course writes it, statement by statement."""
    state = np.random.get_state()
    np.random.seed(7)
    x, y = np.zeros((60, 2)), np.zeros(60)
    for j in range(2):
        ix = range(30 * j, 30 * (j + 1))
        t = np.linspace(j * 3.12, (j + 1) * 3.12, 30) + np.random.randn(30) * 0.2
        r = 4 * np.sin(4 * t) + np.random.randn(30) * 0.2
        x[ix] = np.c_[r * np.sin(t), r * np.cos(t)]
        y[ix] = j
    np.random.set_state(state)
    np.testing.assert_array_equal(planar_flower(7, 60)[0], x)
    np.testing.assert_array_equal(planar_flower(7, 60)[1], y)


@pytest.mark.parametrize("n", [-2, 0, 1, 5])
def test_flower_needs_two_equal_classes(n):
    with pytest.raises(ValueError) as error:
        planar_flower(n=n)
    assert str(error.value) == (f"planar_flower expects an even n of at least 2; got {n}; "
                                "each class has n / 2 points")


MAKERS = [planar_flower, noisy_circles, noisy_moons, blobs, gaussian_quantiles]


@pytest.mark.parametrize("make", MAKERS)
def test_examples_first_and_reproducible(make):
    x, y = make()
    n = 400 if make is planar_flower else 200
    assert x.shape == (n, 2) and x.dtype == np.float64
    assert y.shape == (n,) and y.dtype == np.int64
    np.testing.assert_array_equal(make()[0], x)
    assert not np.array_equal(make(seed=11)[0], x)


@pytest.mark.parametrize("make", MAKERS)
def test_classes_are_balanced(make):
    counts = np.bincount(make()[1])
    assert len(counts) == (6 if make is blobs else 2)
    assert counts.max() - counts.min() <= 1


def test_geometry_without_noise():
    x, y = noisy_circles(noise=0)
    np.testing.assert_allclose(np.hypot(*x.T), np.where(y == 0, 1, 0.5))
    x, y = noisy_moons(noise=0)
    centres = np.where(y[:, None] == 0, [0, 0], [1, 0.5])
    np.testing.assert_allclose(np.hypot(*(x - centres).T), 1)
    x, y = gaussian_quantiles()
    radius = np.hypot(*x.T)
    assert radius[y == 0].max() <= radius[y == 1].min()
    # Of |x|² / variance, chi-squared with 2 degrees of freedom, the median is 2 ln 2.
    assert np.median(gaussian_quantiles(n=20_000)[0] ** 2 @ [1, 1]) == pytest.approx(
        0.5 * 2 * np.log(2), rel=0.03)
