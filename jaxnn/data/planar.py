"""Generated points in the plane, with the course's recipes.

Each function returns x (n, 2) float64 and y (n,) int64. The course keeps features first: its X is
x.T and its Y is y[None]. What no points can be made of raises InputError.
"""

import numpy as np

from jaxnn.checks import expect, is_integer, is_number
from jaxnn.data.extra import import_extra

__all__ = ["blobs", "gaussian_quantiles", "noisy_circles", "noisy_moons", "planar_flower"]

Points = tuple[np.ndarray, np.ndarray]


def planar_flower(seed: int = 1, n: int = 400) -> Points:
    """Petals of a four-fold rose in alternating classes.

    With u ~ N(0, 0.2²) drawn anew each time, class j in {0, 1} has n / 2 points
        t = linspace(3.12 j, 3.12 (j + 1)) + u        r = 4 sin 4t + u
    at (r sin t, r cos t), class 0 first.

    Raises:
      InputError: n is odd or less than 2.
    Source: Deep Learning Specialization, course 1, week 3; its seed is 1.
    """
    expect(is_integer(n, 2) and n % 2 == 0, "planar_flower", "an even n of at least 2", repr(n),
           "each class has n / 2 points")
    _expect_seed("planar_flower", seed)
    random = np.random.RandomState(seed)  # the course's generator, frozen by NumPy
    x = np.empty((2, n // 2, 2))
    for j in range(2):
        t = np.linspace(j * 3.12, (j + 1) * 3.12, n // 2) + 0.2 * random.randn(n // 2)
        r = 4 * np.sin(4 * t) + 0.2 * random.randn(n // 2)
        x[j] = np.stack((r * np.sin(t), r * np.cos(t)), axis=1)
    return x.reshape(n, 2), np.repeat(np.arange(2), n // 2)


def noisy_circles(
    seed: int = 1, n: int = 200, *, noise: float = 0.3, factor: float = 0.5
) -> Points:
    """Two circles of radius 1 (class 0) and `factor` (class 1), with Gaussian noise.

    Week 3 of course 1 draws 200 points with the defaults, from a generator in no particular state.
    Week 1 of course 2 takes n=300, noise=0.05, factor=0.8, seed 1, and seed 2 and n=100 to test.
    """
    who = "noisy_circles"
    _expect_points(who, seed, n)
    expect(is_number(noise, 0), who, "noise, a number >= 0", repr(noise))
    expect(is_number(factor, 0) and factor < 1, who, "factor, a number in [0, 1)", repr(factor))
    return _sklearn("make_circles", n_samples=n, noise=noise, factor=factor, random_state=seed)


def noisy_moons(seed: int = 1, n: int = 200, *, noise: float = 0.2) -> Points:
    """Two interleaved half circles of radius 1, with Gaussian noise.

    Week 3 of course 1 draws 200 points from a generator in no particular state. Week 2 of course 2
    takes n=300 and seed 3.
    """
    _expect_points("noisy_moons", seed, n)
    expect(is_number(noise, 0), "noisy_moons", "noise, a number >= 0", repr(noise))
    return _sklearn("make_moons", n_samples=n, noise=noise, random_state=seed)


def blobs(seed: int = 5, n: int = 200, *, n_centers: int = 6) -> Points:
    """Gaussian clouds of standard deviation 1; y is the cloud, 0..n_centers-1.

    Week 3 of course 1 takes the defaults and the binary labels y % 2.
    """
    _expect_points("blobs", seed, n)
    expect(is_integer(n_centers, 1), "blobs", "n_centers, a positive integer", repr(n_centers))
    return _sklearn("make_blobs", n_samples=n, centers=n_centers, n_features=2, random_state=seed)


def gaussian_quantiles(
    seed: int = 1, n: int = 200, *, variance: float = 0.5, n_classes: int = 2
) -> Points:
    """One Gaussian cloud around the origin, cut into rings of equally many points.

    Week 3 of course 1 takes the defaults, from a generator in no particular state.
    """
    who = "gaussian_quantiles"
    _expect_points(who, seed, n)
    expect(is_number(variance) and variance > 0, who, "variance, a number > 0", repr(variance))
    expect(is_integer(n_classes, 1) and n_classes <= n, who, f"n_classes in 1 .. {n}, the number of points",
           repr(n_classes))
    return _sklearn("make_gaussian_quantiles", cov=variance, n_samples=n, n_features=2,
                    n_classes=n_classes, random_state=seed)


def _expect_points(who: str, seed: int, n: int) -> None:
    expect(is_integer(n, 1), who, "n, a positive integer", repr(n))
    _expect_seed(who, seed)


def _expect_seed(who: str, seed: int) -> None:
    expect(is_integer(seed, 0) and seed < 2**32, who, "seed in 0 .. 2**32 - 1", repr(seed))


def _sklearn(maker: str, **parameters: float) -> Points:
    x, y = getattr(import_extra("sklearn.datasets", maker), maker)(**parameters)
    return x, y.astype(np.int64)
