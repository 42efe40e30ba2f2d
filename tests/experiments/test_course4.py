"""The course's convolution as loops: its printed numbers, and the fast ops beside it; what a network looks at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.course4 import convnet, looking, loops, step_by_step
from jaxnn import Conv, Dense, Flatten, Sequential
from tests import course

NEEDS_CASES = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


@NEEDS_CASES
def test_zeros_around_pictures():
    case = course.load()["c4w1.zero_pad"]
    X, expected = np.asarray(case["inputs"]["X"]), case["expected"]
    padded = loops.zero_pad(X, (expected["shape"][1] - X.shape[1]) // 2)
    pad = (padded.shape[1] - X.shape[1]) // 2
    inner = padded[:, pad:-pad, pad:-pad]
    np.testing.assert_array_equal(padded.shape, expected["shape"])
    np.testing.assert_array_equal(inner, X)
    np.testing.assert_allclose(inner[1, 1], expected["inner"], rtol=1e-6)
    assert np.abs(padded).sum() - np.abs(inner).sum() == pytest.approx(expected["border_sum"], abs=1e-9)


@NEEDS_CASES
def test_the_courses_numbers():
    """Course 4, week 1: a forward and a backward pass of the assignment."""
    inputs = dict(course.load()["c4w1.conv_backward.2017"]["inputs"])
    expected = course.load()["c4w1.conv_backward.2017"]["expected"]
    hparameters = {"pad": int(inputs["pad"]), "stride": int(inputs["stride"])}
    arrays = [np.asarray(inputs[name], np.float64) for name in ("A_prev", "W", "b")]
    _, cache = loops.conv_forward(*arrays, hparameters)
    dA, dW, db = loops.conv_backward(np.asarray(inputs["dZ"], np.float64), cache)
    for name, array in (("dA_mean", dA), ("dW_mean", dW), ("db_mean", db)):
        np.testing.assert_allclose(array.mean(), expected[name], rtol=1e-9)


@pytest.mark.usefixtures("x64")
def test_loops_and_ops_agree():
    rows = step_by_step.compare(step_by_step.Knobs(examples=2, size=7, channels=2))
    assert len(rows) == 7 and max(error for _, error, _, _ in rows) < 1e-12


def test_ties_of_the_course_are_no_derivative():
    """Both of two equal maxima get all of dA there."""
    A = np.ones((1, 2, 2, 1))
    _, cache = loops.pool_forward(A, {"f": 2, "stride": 2})
    assert loops.pool_backward(np.ones((1, 1, 1, 1)), cache).sum() == 4
    assert loops.pool_backward(np.ones((1, 1, 1, 1)), cache, "average").sum() == 1


def test_what_a_network_looks_at():
    """Of a network that reads two pixels: no other has a saliency, and hiding no other changes the probability."""
    net = Sequential(Conv(1, (1, 1)), Flatten(), Dense(2))
    weight = np.zeros((2, 36), np.float32)
    weight[0, 7], weight[0, 28] = 3, -2
    params = {"conv1": {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.zeros(1)},
              "dense1": {"weight": jnp.asarray(weight), "bias": jnp.zeros(2)}}
    image = np.random.default_rng(0).random((6, 6, 1)).astype(np.float32)
    slopes = looking.saliency(net, params, {}, image[None], np.array([0]))[0]
    np.testing.assert_allclose(slopes, np.abs(weight[0]).reshape(6, 6))
    hidden = looking.occlusion(net, params, {}, image, 0, 1)
    seen = float(jax.nn.softmax(net(params, {}, image)[0])[0])
    changed = np.abs(hidden - seen) > 1e-6
    assert np.flatnonzero(changed).tolist() == [7, 28]


@pytest.mark.skipif(course.data_directory() is None, reason="the course's data are not here: set JAXNN_DATA")
def test_parts_of_the_published_sets():
    """A test set stays a test set, and no picture is in two parts."""
    for name, n, n_test in (("usps", 9298, 2007), ("signs", 1200, 120)):
        pictures = convnet.load(convnet.Knobs(data=name), None)
        assert len(pictures.x) == n and pictures.test.tolist() == list(range(n - n_test, n))
        places = np.concatenate([pictures.train, pictures.dev, pictures.test])
        assert sorted(places) == list(range(n))
        assert pictures.x.min() >= 0 and 0.9 < pictures.x.max() <= 1
