"""The experiments of residual networks, transfer and named networks: their parts, by a second route each."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.course4 import (
    architectures_small,
    signs_resnet,
    signs_resnet_depth,
    transfer,
    transfer_probe,
)
from jaxnn import Conv, Dense, Flatten, MaxPool, Sequential, concatenate, global_average_pool, relu
from jaxnn import softmax_cross_entropy as loss
from jaxnn.checks import InputError
from jaxnn.layers import Parallel, Residual
from jaxnn.training import freeze, make_step, start_from


def test_folds_are_even():
    y = np.repeat([0, 1, 2], (7, 11, 4))
    fold = transfer_probe.folds_of(y, 4, 0)
    assert np.bincount(fold).tolist() == [6, 6, 5, 5]
    for label in range(3):
        counts = np.bincount(fold[y == label], minlength=4)
        assert counts.max() - counts.min() <= 1


def test_the_probe_is_logistic_regression():
    """scikit-learn's on standardized features, of the examples that are kept."""
    from sklearn.linear_model import LogisticRegression

    random = np.random.default_rng(0)
    x, y = random.normal(size=(80, 5)) * [1, 2, 3, 4, 5] + 1, random.integers(0, 3, 80)
    x[:, 0] += y
    kept = random.random(80) < 0.7
    params = transfer_probe.fit_probe(x, y, 3, 0.02, kept=kept)
    mean, deviation = x[kept].mean(0), x[kept].std(0)
    deviation += 1e-3 * deviation.mean()
    # Its C multiplies the sum of the losses.
    other = LogisticRegression(C=1 / (0.02 * kept.sum()), tol=1e-8, max_iter=1000)
    other.fit((x[kept] - mean) / deviation, y[kept])
    expected = jax.nn.log_softmax(other.decision_function((x - mean) / deviation))
    np.testing.assert_allclose(jax.nn.log_softmax(transfer_probe.logits_of(params, x)), expected, atol=5e-3)


def test_the_strength_grows_with_the_noise():
    random = np.random.default_rng(0)
    y = np.tile([0, 1], 30)
    clear = random.normal(size=(60, 4)) + 8 * y[:, None]
    noise = random.normal(size=(60, 40))
    assert transfer_probe.choose_strength(clear, y, 2, 0) < 0.1 < transfer_probe.choose_strength(noise, y, 2, 0)


def test_training_on_cached_maps_is_training_with_a_mask():
    """One step of the upper part on what the frozen part makes is a step of the whole network, frozen by a mask."""
    lower, upper = Sequential(conv1=Conv(3, (3, 3)), relu1=relu), Sequential(conv2=Conv(4, (3, 3)), relu2=relu)
    tail = {"upper": upper, "average": global_average_pool, "head": Dense(2)}
    whole, part = Sequential(lower=lower, **tail), Sequential(**tail)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(5, 6, 6, 2)).astype(np.float32), random.integers(0, 2, 5)
    params, _ = whole.init(jax.random.key(0), x.shape[1:])
    maps = transfer.logits(lower, params["lower"], x)
    mask = {"lower": True, "upper": False, "head": False}
    results = []
    for net, tree, inputs, optimizer in (
            (whole, params, x, freeze(optax.sgd(0.1), mask)),
            (part, {name: params[name] for name in ("upper", "head")}, maps, optax.sgd(0.1))):
        state = start_from(tree, {}, optimizer, jax.random.key(0))
        results.append(make_step(net, loss, optimizer)(state, inputs, y)[0].params)
    jax.tree.map(np.testing.assert_array_equal, results[0]["lower"], params["lower"])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
                 {name: results[0][name] for name in ("upper", "head")}, results[1])


def test_fine_tuning_begins_from_the_probe():
    """A probe on features that are averaged over the sizes gives the logits of the network whose head it becomes."""
    lower = Sequential(conv1=Conv(3, (3, 3)), relu1=relu)
    upper = Sequential(conv2=Conv(4, (3, 3)), relu2=relu, average=global_average_pool)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(10, 6, 6, 2)).astype(np.float32), np.arange(10) % 2
    params, _ = Sequential(**lower.parts, **upper.parts).init(jax.random.key(0), x.shape[1:])
    task = transfer.Task((6, 9), lower, upper, params, x, False, y, ("0", "1"), x)
    maps = transfer.maps_of(task)
    assert [m.shape for m in maps] == [(10, 6, 6, 3), (10, 9, 9, 3)]
    features = transfer.logits(transfer.over_sizes(upper), transfer.params_of(task, upper), maps)
    alone = [transfer.logits(upper, transfer.params_of(task, upper), m) for m in maps]
    np.testing.assert_allclose(features, (alone[0] + alone[1]) / 2, rtol=1e-6)
    head = transfer_probe.fit_probe(features, y, 2, 0.1)
    model = transfer.over_sizes(Sequential(upper=upper, head=Dense(2)))
    tree = {"upper": transfer.params_of(task, upper), "head": jax.tree.map(np.float32, head)}
    np.testing.assert_allclose(transfer.logits(model, tree, maps), transfer_probe.logits_of(head, features), atol=1e-5)


def test_two_of_each_class_at_least():
    y = np.array([0] * 20 + [1] * 3)
    chosen = transfer.of_each_class(np.arange(23), y, 6)
    assert len(chosen) == len(set(chosen)) == 6 and (y[chosen] == 1).sum() == 2


def size_of(net, shape):
    """How many parameters; init refuses parts that do not fit together."""
    params, _ = jax.eval_shape(lambda: net.init(jax.random.key(0), shape))
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.sampled
@pytest.mark.parametrize(("name", "size"), [
    # torchvision's number, the first kernel of 7x7 taken off and one of 3x3 added.
    ("ResNet-18", 11_689_512 - 40 * 3 * 64), ("GoogLeNet", 6_624_904 - 40 * 3 * 64),
    ("SqueezeNet", 1_248_424 - 40 * 3 * 96),
    ("MobileNet v1", 4_231_976)])
def test_as_wide_as_published(name, size):
    """With all channels only the first convolution differs from the published network."""
    assert size_of(architectures_small.network_of(name, 1000, 1), (32, 32, 3)) == size


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["LeNet-5", "AlexNet", "VGG-16", "ResNet-18", "MobileNet v2"])
def test_pictures_of_32_pixels_fit(name):
    assert size_of(architectures_small.network_of(name, 6, 4), (32, 32, 3)) > 6


def test_narrowed():
    """Channels, groups and units are divided; the logits are as many as before."""
    net = Sequential(
        wide=Conv(8, (3, 3)), depthwise=Conv(8, (3, 3), groups=8), residual=Residual(Conv(8, (1, 1))),
        two=Parallel(a=Conv(4, (1, 1)), b=Conv(12, (1, 1))), join=concatenate, flatten=Flatten(), fc=Dense(20),
        head=Dense(6))
    by_hand = Sequential(
        wide=Conv(2, (3, 3)), depthwise=Conv(2, (3, 3), groups=2), residual=Residual(Conv(2, (1, 1))),
        two=Parallel(a=Conv(1, (1, 1)), b=Conv(3, (1, 1))), join=concatenate, flatten=Flatten(), fc=Dense(5),
        head=Dense(6))
    assert architectures_small.narrowed(net, 4, last=6) == by_hand


def test_replaced():
    """At a path a part is replaced or left out; the others stay."""
    net = Sequential(stem=Sequential(conv=Conv(3, (7, 7)), act=relu), pool=MaxPool(2), fc=Dense(6))
    new = architectures_small.replaced(net, {"stem.conv": Conv(3, (3, 3)), "pool": None})
    assert new == Sequential(stem=Sequential(conv=Conv(3, (3, 3)), act=relu), fc=Dense(6))


def test_a_plain_network_is_a_residual_one_without_its_shortcuts():
    residual, plain = (signs_resnet_depth.network_of(kind, 14, 4, 10) for kind in ("residual", "plain"))
    # Two projections of 1x1, 4 to 8 and 8 to 16 channels, and their norms.
    assert size_of(residual, (8, 8, 1)) - size_of(plain, (8, 8, 1)) == 4 * 8 + 8 * 16 + 2 * (8 + 16)
    with pytest.raises(InputError, match="--depths expects 2 \\+ 6 n layers"):
        signs_resnet_depth.network_of("plain", 16, 4, 10)


def test_layers_of_the_small_residual_network():
    """2 + 2 · stages · blocks kernels, projections apart; pictures of 64 pixels are halved twice before the stages."""
    for blocks in (1, 3):
        net = signs_resnet.small((4, 8, 16), blocks, 6, 8)
        params, _ = jax.eval_shape(lambda net=net: net.init(jax.random.key(0), (8, 8, 1)))
        paths = [jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(params)
                 if leaf.ndim in (2, 4)]
        assert sum("shortcut" not in path for path in paths) == 2 + 6 * blocks
        assert sum("shortcut" in path for path in paths) == 2
    net = signs_resnet.small((4, 8), 1, 6, 64)
    stem = Sequential(**{name: net.parts[name] for name in ("conv1", "bn1", "relu1", "pool1")})
    params, state = stem.init(jax.random.key(0), (64, 64, 3))
    assert stem(params, state, jnp.zeros((64, 64, 3)))[0].shape == (16, 16, 4)
