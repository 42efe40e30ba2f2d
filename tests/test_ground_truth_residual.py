"""The course's residual blocks (course 4 week 2), in float64, of the blocks that its ResNet-50 is made of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import over_examples
from jaxnn.models.resnet import block_course, resnet50_course
from tests import course
from tests.test_ground_truth import assert_within

CASES = course.load()
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


def value(block, X, kernels, *, train):
    """The block's value with these kernels, those of the body first, and without biases.

    kernels: None for kernels of ones.
    """
    X = jnp.asarray(X, jnp.float64)
    params, state = block.init(jax.random.key(0), X.shape[1:])
    residual = params["residual"]
    convolutions = [residual["body"][f"conv_{letter}"] for letter in "abc"]
    if "shortcut" in residual:
        convolutions.append(residual["shortcut"]["conv"])
    kernels = [np.ones(layer["kernel"].shape) for layer in convolutions] if kernels is None else kernels
    for layer, kernel in zip(convolutions, kernels, strict=True):
        assert layer["kernel"].shape == np.shape(kernel)
        layer["kernel"] = jnp.asarray(kernel, jnp.float64)
    return over_examples(block)(params, state, X, train=train)[0]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "widths", "stride", "window", "train", "printed"), [
    ("identity_block.2017", (2, 4, 6), 1, 2, False, lambda y: y[1, 1, 0]),
    ("identity_block.train_f3", (3, 3, 3), 1, 3, True, lambda y: y[:, (0, -1)].mean(-1)),
    ("identity_block.train_f2", (3, 3, 3), 1, 2, True, lambda y: y[:, (0, -1)].mean(-1)),
    ("convolutional_block.eval", (2, 4, 6), 2, 2, False, lambda y: y)])
def test_blocks(name, widths, stride, window, train, printed):
    case = CASES[f"c4w2.{name}"]
    block = block_course(widths, stride, name.startswith("convolutional"), window)
    y = value(block, case["inputs"]["X"], case["inputs"].get("kernels"), train=train)
    assert_within(printed(np.asarray(y)), case["expected"], case["tolerance"]["rel_to_max_abs"])


def test_numbers_of_resnet50():
    shapes = jax.eval_shape(lambda: resnet50_course().init(jax.random.key(0), (64, 64, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == CASES["c4w2.resnet50_params"]["expected"]
