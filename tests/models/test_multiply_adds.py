"""The multiply-adds of the named networks, and of each kind of product."""

import jax
import jax.numpy as jnp
import pytest

from jaxnn import models, network, ops, summary
from jaxnn.layers import LSTM, BatchNorm, Conv, ConvTranspose, Dense, Sequential, over_examples
from tests.models.test_models import SLOW

# By torchvision in billions ("GFLOPS", which there are multiply-adds), with the digits that it prints; by the paper for
# MobileNet v1 (table 4, millions); by counting on the paper for LeNet-5 and for AlexNet in two towers.
PUBLISHED = {
    "alexnet": 0.714e9, "vgg16": 15.47e9, "vgg19": 19.632e9, "googlenet": 1.498e9, "squeezenet": 0.819e9,
    "resnet18": 1.814e9, "resnet34": 3.664e9, "resnet50": 4.089e9, "resnet101": 7.801e9, "mobilenet_v1": 0.569e9,
    "mobilenet_v2": 0.301e9, "densenet121": 2.834e9}
EXACT = {"alexnet": 714_188_480, "vgg16": 15_470_264_320, "resnet18": 1_814_073_344, "resnet50": 4_089_184_256,
         "mobilenet_v2": 300_774_272, "densenet121": 2_834_161_664, "squeezenet": 818_924_576,
         "googlenet": 1_498_376_192}


def of(net, shape):
    return summary(net, shape, train=False).multiply_adds


@pytest.mark.sampled
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.exhaustive) if n in SLOW | {"resnet34"} else n
                                  for n in PUBLISHED])
def test_as_published(name):
    """To the last digit that is printed; the whole numbers are those of a counter in PyTorch, below."""
    found = of(getattr(models, name)(), (224, 224, 3))
    assert abs(found - PUBLISHED[name]) <= 0.5e6, "half of the last digit, for all of them"
    assert found == EXACT.get(name, found)


def test_of_the_small_ones():
    assert of(models.lenet5(), (32, 32, 1)) == (28**2 * 25 * 6 + 10**2 * 150 * 16 + 400 * 120 + 120 * 84 + 840)
    assert of(models.alexnet_two_towers(), (227, 227, 3)) == (
        55**2 * 363 * 96 + 27**2 * 1200 * 256 + 13**2 * (2304 * 384 + 1728 * 384 + 1728 * 256)
        + 9216 * 4096 + 4096**2 + 4096 * 1000)


def test_a_counter_in_pytorch_gives_the_same():
    """`torch.utils.flop_counter` on the twins, on the device "meta", where nothing is computed."""
    torch = pytest.importorskip("torch")
    counter = pytest.importorskip("torch.utils.flop_counter")
    twins = pytest.importorskip("tests.models.twins")
    found = {}
    for name, (kind, *args) in {
            "alexnet": ("AlexNet", 1000, 4096), "vgg16": ("VGG", 1000, 4096), "googlenet": ("GoogLeNet", 1000),
            "resnet18": ("ResNet", 1000, (2, 2, 2, 2), False), "resnet50": ("ResNet", 1000, (3, 4, 6, 3), True),
            "mobilenet_v2": ("MobileNetV2", 1000), "densenet121": ("DenseNet", 1000),
            "squeezenet": ("SqueezeNet", 1000)}.items():
        with torch.device("meta"), counter.FlopCounterMode(display=False) as count:
            getattr(twins, kind)(*args).eval()(torch.empty(1, 3, 224, 224))
        found[name] = count.get_total_flops() // 2
    assert found == EXACT


# The kinds of products, each counted on paper.

SMALL = {
    "dense": (Dense(5), (3,), 15), "no products": (Sequential(ops.relu, BatchNorm()), (3,), 0),
    "conv": (Conv(4, (3, 2), padding="VALID", stride=2), (9, 8, 6), 4 * 4 * 6 * 6 * 4),
    "padding counts": (Conv(1, (3, 3)), (2, 2, 1), 4 * 9),
    "groups": (Conv(4, (3, 3), groups=2), (5, 5, 6), 25 * 9 * 3 * 4),
    "depthwise": (Conv(6, (3, 3), groups=6, stride=2), (6, 6, 6), 9 * 9 * 6),
    "dilation": (Conv(2, (3,), padding="VALID", dilation=3), (10, 4), 4 * 3 * 4 * 2),
    "transposed": (ConvTranspose(4, (3, 3), stride=2), (5, 5, 6), 25 * 9 * 6 * 4),
    "transposed in groups": (ConvTranspose(4, (3, 3), stride=2, groups=2), (5, 5, 6), 25 * 9 * 3 * 4),
    "lstm": (LSTM(4), (7, 3), 7 * 4 * 4 * (3 + 4)),
    "a batch": (over_examples(Sequential(Conv(2, (3, 3)), BatchNorm())), (10, 4, 4, 1), 10 * 16 * 9 * 2),
    "a batch, depthwise": (over_examples(Conv(3, (3, 3), groups=3)), (10, 4, 4, 3), 10 * 16 * 9 * 3)}


@pytest.mark.parametrize("name", SMALL)
def test_a_kind_of_product(name):
    net, shape, expected = SMALL[name]
    assert of(net, shape) == summary(net, shape).multiply_adds == expected


def test_attention_counts_its_two_products():
    """q kᵀ and the weights times v: queries × keys × (n_k + n_v)."""
    q, k, v = jnp.ones((7, 4)), jnp.ones((5, 4)), jnp.ones((5, 3))
    (row,) = summary(lambda q, k, v: ops.attention(q, k, v), q, k, v).rows
    assert row.multiply_adds == 7 * 5 * (4 + 3)


def test_plain_functions():
    """Glue, a scan, a checkpoint, a `cond` and a `while_loop`; and the lines of the table."""
    w = jnp.ones((3, 3))

    def f(w, x):
        x = x @ w  # 9
        x, _ = jax.lax.scan(lambda x, _: (ops.dense({"weight": w}, x), None), x, length=4)  # 4 * 9
        x = jax.checkpoint(lambda x: ops.dense({"weight": w}, x))(x)  # 9
        x = jax.lax.cond(x[0] > 0, lambda x: w @ (w @ x), lambda x: w @ x, x)  # 18
        n = jax.lax.while_loop(lambda n: n[0] < 0, lambda n: w @ n, jax.lax.stop_gradient(x))  # 9
        return x + jax.lax.stop_gradient(n)

    table = summary(f, w, jnp.ones(3))
    assert table.multiply_adds == 9 + 36 + 9 + 18 + 9
    assert [row.multiply_adds for row in table.rows if row.step == "dense"] == [36, 9]
    assert str(table).splitlines()[0].split("  ")[-2:] == ["multiply-adds", "bytes of cache"]
    assert "81" in str(table).splitlines()[-1]


def test_a_raw_convolution_and_its_transpose():
    x, k = jnp.ones((1, 5, 5, 6)), jnp.ones((3, 3, 3, 4))

    def plain(x, k):
        return jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"),
                                            feature_group_count=2)

    def widened(x, k):
        return jax.lax.conv_general_dilated(x, k, (1, 1), [(2, 2)] * 2, lhs_dilation=(2, 2),
                                            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=2)

    for f in (plain, widened):
        assert summary(f, x, k).multiply_adds == 25 * 9 * 3 * 4


def test_the_rows_of_a_network_have_them_too():
    _, cache = network(ops.dense).forward({"weight": jnp.ones((2, 3))}, jnp.ones(3))
    assert [row.multiply_adds for row in cache.rows] == [6]
