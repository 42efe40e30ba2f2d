"""IoU and its relatives: the course's numbers, PyTorch, their kinks, boxes without an area, errors."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.detection import complete_iou, distance_iou, generalized_iou, iou, pairwise, to_centre, to_corners
from tests import course
from tests.compare import check_backward, finite_differences

MEASURES = (iou, generalized_iou, distance_iou, complete_iou)
EACH = pytest.mark.parametrize("measure", MEASURES, ids=lambda op: op.name)
FORMS = pytest.mark.parametrize("form", ["corners", "centre"])


def random_boxes(n, seed, form="corners"):
    """Boxes of which some overlap, some lie within another and some are apart."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 4, (n, 2)), rng.uniform(0.3, 3, (n, 2))], -1)
    return boxes if form == "centre" else np.concatenate([boxes[:, :2] - boxes[:, 2:] / 2,
                                                          boxes[:, :2] + boxes[:, 2:] / 2], -1)


def in_torch(torch, measure, a, b, hold_alpha=False):
    """From the papers' equations, corners."""
    (al, at, ar, ab), (bl, bt, br, bb) = a.unbind(-1), b.unbind(-1)
    low, high = torch.minimum, torch.maximum
    shared = (low(ar, br) - high(al, bl)).clamp(min=0) * (low(ab, bb) - high(at, bt)).clamp(min=0)
    union = (ar - al) * (ab - at) + (br - bl) * (bb - bt) - shared
    width, height = high(ar, br) - low(al, bl), high(ab, bb) - low(at, bt)
    q = shared / union
    if measure is iou:
        return q
    if measure is generalized_iou:
        return q - (width * height - union) / (width * height)
    distance = ((al + ar - bl - br) ** 2 + (at + ab - bt - bb) ** 2) / 4
    d = q - distance / (width**2 + height**2)
    if measure is distance_iou:
        return d
    v = 4 / np.pi**2 * (torch.atan((ar - al) / (ab - at)) - torch.atan((br - bl) / (bb - bt))) ** 2
    alpha = v / (1 - q + v)
    return d - (alpha.detach() if hold_alpha else alpha) * v


@pytest.mark.sampled
@EACH
@FORMS
@pytest.mark.usefixtures("x64")
def test_gradients(measure, form):
    """Explicit and lifted beside the reference's and finite differences."""
    check_backward(measure, random_boxes(12, 0, form), random_boxes(12, 1, form), form=form, fd_tolerance=1e-6)


@pytest.mark.sampled
@pytest.mark.parametrize(("measure", "hold_alpha"), [*((m, False) for m in MEASURES), (complete_iou, True)],
                         ids=lambda p: getattr(p, "name", "held" if p is True else ""))
@pytest.mark.usefixtures("x64")
def test_against_pytorch(measure, hold_alpha, torch):
    a, b = random_boxes(40, 2), random_boxes(40, 3)
    options = {"hold_alpha": True} if hold_alpha else {}
    y, pull_back = jax.vjp(lambda a, b: measure(a, b, **options), jnp.asarray(a), jnp.asarray(b))
    ta, tb = (torch.tensor(boxes, requires_grad=True) for boxes in (a, b))
    expected = in_torch(torch, measure, ta, tb, hold_alpha)
    expected.sum().backward()
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-12, atol=1e-12)
    for got, want in zip(pull_back(jnp.ones(40)), (ta.grad, tb.grad)):
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.sampled
@EACH
@pytest.mark.usefixtures("x64")
def test_both_forms_are_one_measure(measure):
    a, b = (jnp.asarray(random_boxes(20, seed)) for seed in (4, 5))
    np.testing.assert_allclose(measure(a, b), measure(to_centre(a), to_centre(b), form="centre"), rtol=1e-12)
    np.testing.assert_allclose(measure(a, b), measure(b, a), rtol=1e-12)
    slopes = jax.grad(lambda c: jnp.sum(measure(to_corners(c), b)))(to_centre(a))
    np.testing.assert_allclose(jax.grad(lambda c: jnp.sum(measure(c, to_centre(b), form="centre")))(to_centre(a)),
                               slopes, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")
@pytest.mark.usefixtures("x64")
def test_the_courses_numbers():
    case = course.load()["c4w3.iou"]
    pairs = np.asarray(case["inputs"]["pairs"], float)
    np.testing.assert_allclose(iou(pairs[:, 0], pairs[:, 1]), case["expected"], rtol=0, atol=1e-12)


def test_by_counting_pixels():
    """Boxes of whole pixels: IoU by sets."""
    rng = np.random.default_rng(6)
    corners = np.sort(rng.integers(0, 9, (30, 2, 2)), 1).reshape(30, 4)
    boxes = jnp.asarray(corners, jnp.float32)
    table = np.asarray(pairwise(iou, boxes[:15], boxes[15:]))
    for (i, j), value in np.ndenumerate(table):
        cells = [{(x, y) for x in range(left, right) for y in range(top, bottom)}
                 for left, top, right, bottom in (corners[i], corners[15 + j])]
        union = len(cells[0] | cells[1])
        assert value == pytest.approx(len(cells[0] & cells[1]) / union if union else 0, abs=1e-6)


# Kinks.


@EACH
def test_two_equal_boxes_pull_at_nothing(measure):
    """There q is largest, and the mean of both slopes is 0."""
    box = jnp.array([1.0, 2.0, 4.0, 3.5])
    value, slope = jax.value_and_grad(measure)(box, box)
    assert value == 1 and not slope.any()


@pytest.mark.usefixtures("x64")
def test_at_equal_edges_the_mean_of_both_slopes_is_taken():
    a, b = jnp.array([0.0, 0, 2, 2]), jnp.array([1.0, 0.5, 2, 3])
    h = 1e-6
    for measure in MEASURES:
        one_sided = [(measure(a.at[2].add(s * h), b) - measure(a, b)) / (s * h) for s in (1, -1)]
        assert abs(one_sided[0] - one_sided[1]) > 0.01
        np.testing.assert_allclose(jax.grad(measure)(a, b)[2], np.mean(one_sided), atol=1e-5)


@pytest.mark.usefixtures("x64")
def test_boxes_that_touch_have_the_slope_of_boxes_apart():
    a, b = jnp.array([0.0, 0, 1, 1]), jnp.array([1.0, 0.25, 2, 2])
    for measure in MEASURES:
        apart = finite_differences(lambda left, m=measure: m(a, b + left), jnp.array([1e-3, 0, 1e-3, 0]))
        slope = jax.grad(measure, 1)(a, b)
        np.testing.assert_allclose(slope, apart, atol=2e-3)
    assert not jax.grad(iou)(a, b).any() and jax.grad(generalized_iou)(a, b)[2] > 0.1


@pytest.mark.sampled
@EACH
def test_boxes_without_an_area(measure):
    """Two points, a line and a box: finite, and IoU is 0."""
    a = jnp.array([[1.0, 1, 1, 1], [0, 0, 2, 0], [1, 1, 1, 1]])
    b = jnp.array([[1.0, 1, 1, 1], [0, 0, 2, 2], [0, 0, 4, 4]])
    value, pull_back = jax.vjp(measure, a, b)
    assert np.isfinite(value).all() and (measure is not iou or not value.any())
    assert all(np.isfinite(slope).all() for slope in pull_back(jnp.ones(3)))
    assert all(np.isfinite(d).all() for d in jax.jvp(measure, (a, b), (a, b)))


def test_large_boxes_in_narrow_dtypes():
    """The area of 400 x 400 pixels is more than float16 holds."""
    a, b = jnp.array([0.0, 0, 400, 400]), jnp.array([200.0, 0, 600, 400])
    for dtype in (jnp.float16, jnp.bfloat16):
        for measure in MEASURES:
            value = measure(a.astype(dtype), b.astype(dtype))
            assert value.dtype == dtype
            np.testing.assert_allclose(value, measure(a, b), rtol=1e-2)
            assert np.isfinite(jax.grad(measure)(a.astype(dtype), b.astype(dtype))).all()


def test_upside_down_under_jit_is_nan():
    box = jnp.array([2.0, 0, 1, 1])
    assert np.isnan(jax.jit(iou)(box, jnp.array([0.0, 0, 1, 1])))
    assert np.isnan(jax.jit(functools.partial(iou, form="centre"))(jnp.array([0.0, 0, -1, 1]), box))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: iou(jnp.array([2.0, 0, 1, 1]), jnp.ones(4)), "iou expects a as (left, top, right, bottom), upright and of "
     "numbers; got (2, 0, 1, 1); put its corners in order with upright(boxes)"),
    (lambda: iou(jnp.ones((2, 4)), jnp.ones((2, 4)).at[1, 2].set(-3.0), form="centre"),
     "iou expects b as (x, y, width, height), upright and of numbers; got (1, 1, -3, 1) at index (1,)"),
    (lambda: iou(jnp.ones((2, 4)), jnp.ones((3, 4))),
     "b of the shape of a, (2, 4); got shape (3, 4); pairwise makes a table of all pairs"),
    (lambda: iou(jnp.ones(5), jnp.ones(5)), "a of shape (..., 4), four numbers for each box; got shape (5,)"),
    (lambda: iou(jnp.ones(4), jnp.ones(4), form="corner"), "form, one of corners, centre; got 'corner'"),
    (lambda: pairwise(iou, jnp.ones(4), jnp.ones((2, 4))), "pairwise expects a of shape (n, 4)"),
    (lambda: iou(jnp.array([0.0, 0, jnp.nan, 1]), jnp.ones(4)), "got (0, 0, nan, 1)"),
], ids=range(7))
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
