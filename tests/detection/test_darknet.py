"""Darknet's files: networks beside PyTorch, the published ones, and files that are damaged or of another network."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench.torch_darknet import torch_darknet
from jaxnn import over_examples
from jaxnn.checks import InputError
from jaxnn.detection import (
    darknet_network,
    fold_darknet,
    parse_configuration,
    read_configuration,
    read_darknet_weights,
    yolo_v2_configuration,
)
from jaxnn.detection.darknet_file import BadConfiguration
from jaxnn.detection.darknet_sections import darknet_reorg, passthrough
from jaxnn.models.weights import BadWeights
from tests import course

# Each kind of section once: depthwise convolution, SPP, shortcut, groups of a route, passthrough, two heads.
SMALL = """
[net]
height=32  # of the picture
width=32
channels=3

[convolutional]
filters=8
size=3
stride=2
pad=1
batch_normalize=1
activation=leaky

[convolutional]
filters=8
groups=8
size=3
pad=1
batch_normalize=1
activation=linear

[shortcut]
from=-2
activation=linear

[maxpool]
size=2
stride=2

[maxpool]
size=5
stride=1

[route]
layers=-2

[maxpool]
size=3
stride=1

[route]
layers=-1,-3,3

[route]
layers=-1
groups=2
group_id=1

[dropout]
probability=.2

[convolutional]
filters=14
size=1
activation=linear

[yolo]
mask=1,2
anchors=3,4, 8,9, 20,16
classes=2
num=3

[route]
layers=2

[reorg3d]
stride=2

[convolutional]
filters=4
size=5
stride=2
padding=1
activation=logistic

[upsample]
stride=2

[convolutional]
filters=7
size=1
activation=linear

[yolo]
mask=0
anchors=3,4, 8,9, 20,16
classes=2
num=3
"""
NUMBERS = (27 * 8 + 32) + (9 * 8 + 32) + (12 * 14 + 14) + (32 * 25 * 4 + 4) + (4 * 7 + 7)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The small network's configuration, and random weights."""
    folder = tmp_path_factory.mktemp("darknet")
    (folder / "small.cfg").write_text(SMALL)
    numbers = np.random.default_rng(0).uniform(0.1, 0.5, NUMBERS).astype("<f4")  # variances are positive
    (folder / "small.weights").write_bytes(weights_file(numbers))
    return folder


@pytest.fixture(scope="module")
def net():
    return darknet_network(parse_configuration(SMALL))


def weights_file(numbers, version=(0, 2, 0), count=8):
    return np.array(version, "<i4").tobytes() + bytes(count) + np.asarray(numbers, "<f4").tobytes()


def test_a_random_network_beside_pytorch(files, torch):
    net = darknet_network(read_configuration(files / "small.cfg"))
    params, state = read_darknet_weights(files / "small.weights", net)
    folded = fold_darknet(net, params, state)
    x = np.random.default_rng(1).uniform(0, 1, (32, 48, 3)).astype(np.float32)
    maps, _ = jax.jit(net)(params, state, x)
    maps_folded, _ = jax.jit(folded.net)(folded.params, folded.state, x)
    for fold in (False, True):
        twin = torch_darknet(parse_configuration(SMALL), files / "small.weights", fold=fold)
        expected = twin(torch.tensor(np.moveaxis(x, -1, 0)[None]))
        assert [m.shape for m in maps] == [(8, 12, 14), (6, 10, 7)]
        for got, got_folded, want in zip(maps, maps_folded, expected, strict=True):
            want = np.moveaxis(want[0].numpy(), 0, -1)
            scale = np.abs(want).max()
            np.testing.assert_allclose(got, want, atol=1e-5 * scale)
            np.testing.assert_allclose(got_folded, want, atol=1e-5 * scale)
    assert "norm" in params["convolutional_0"] and not jax.tree.leaves(folded.state)


@pytest.mark.exhaustive
def test_the_gradient_of_a_network(net):
    """It is a layer like any other: trained, its batch norms move."""
    params, state = net.init(jax.random.key(0), (32, 32, 3))
    x = jnp.asarray(np.random.default_rng(2).uniform(0, 1, (2, 32, 32, 3)), jnp.float32)

    def cost(params):
        maps, new = over_examples(net)(params, state, x, jax.random.key(0), train=True)
        return sum(jnp.mean(m**2) for m in maps), new

    slopes, new = jax.jit(jax.grad(cost, has_aux=True))(params)
    assert all(np.isfinite(leaf).all() and np.any(leaf) for leaf in jax.tree.leaves(slopes))
    assert jax.tree.structure(new) == jax.tree.structure(state)
    assert (new["convolutional_0"]["norm"]["mean"] != state["convolutional_0"]["norm"]["mean"]).any()


def test_heads_for_a_picture_of_any_size(net):
    coarse, fine = net.heads((64, 32))
    assert coarse.anchors == ((8 / 32, 9 / 64), (20 / 32, 16 / 64)) and fine.anchors == ((3 / 32, 4 / 64),)
    assert (coarse.classes, coarse.softmax, coarse.channels) == (2, False, 14)


def test_a_section_read_twice_and_no_head():
    text = "[net]\nheight=4\nwidth=4\nchannels=1\n[maxpool]\nsize=1\n[shortcut]\nfrom=-1\n[avgpool]\n"
    net = darknet_network(parse_configuration(text))
    x = jnp.arange(16.0).reshape(4, 4, 1)
    assert net({}, {}, x)[0].tolist() == [15.0] and net.heads((4, 4)) == () and net.maps((4, 4)) == []


@pytest.mark.exhaustive
def test_yolo_v2():
    """The number that the course prints, of parameters and running statistics; anchors in cells."""
    net = darknet_network(parse_configuration(yolo_v2_configuration()))
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (608, 608, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 50_983_561
    (head,) = net.heads((608, 608))
    assert net.maps((608, 608)) == [(19, 19, 425)] and head.softmax
    np.testing.assert_allclose(head.anchors[0], [0.57273 / 19, 0.677385 / 19])
    assert net.maps((416, 320)) == [(13, 10, 425)]
    small = darknet_network(parse_configuration(yolo_v2_configuration(3, [[1, 2]], size=64, reorg="reorg")))
    assert small.maps((64, 64)) == [(2, 2, 8)]


def test_orders_of_the_passthrough():
    """Darknet's own loop, index by index, and the order of TensorFlow's space_to_depth."""
    height, width, channels, r = 4, 6, 8, 2
    x = np.random.default_rng(3).standard_normal((height, width, channels)).astype(np.float32)
    memory = np.moveaxis(x, -1, 0).ravel()
    written = np.zeros_like(memory)
    few = channels // r**2
    for k in range(channels):
        for j in range(height):
            for i in range(width):
                offset = k // few
                place = i * r + offset % r + width * r * (j * r + offset // r + height * r * (k % few))
                written[i + width * (j + height * k)] = memory[place]
    expected = np.moveaxis(written.reshape(channels * r**2, height // r, width // r), 0, -1)
    np.testing.assert_array_equal(darknet_reorg(x, r), expected)
    squares = passthrough(x, r)
    for (row, column), _ in np.ndenumerate(np.zeros((2, 3))):
        np.testing.assert_array_equal(squares[row, column], x[2 * row:2 * row + 2, 2 * column:2 * column + 2].ravel())


@pytest.mark.exhaustive
@pytest.mark.skipif(course.data_directory() is None, reason="the weights are not here: set JAXNN_DATA")
def test_yolo_fastest_beside_pytorch(torch):
    folder = course.data_directory() / "c4" / "yolo_fastest"
    sections = read_configuration(folder / "yolo-fastest-1.1-xl.cfg")
    net = darknet_network(sections)
    params, state = read_darknet_weights(folder / "yolo-fastest-1.1-xl.weights", net)
    assert sum(leaf.size for leaf in jax.tree.leaves((params, state))) == 923_486
    folded = fold_darknet(net, params, state)
    x = np.random.default_rng(4).uniform(0, 1, (64, 96, 3)).astype(np.float32)
    maps, _ = jax.jit(folded.net)(folded.params, {}, x)
    expected = torch_darknet(sections, folder / "yolo-fastest-1.1-xl.weights")(
        torch.tensor(np.moveaxis(x, -1, 0)[None]))
    for got, want in zip(maps, expected, strict=True):
        np.testing.assert_allclose(got, np.moveaxis(want[0].numpy(), 0, -1), atol=2e-4)


# Bad files.


@pytest.mark.sampled
@pytest.mark.parametrize(("content", "words"), [
    (lambda n: weights_file(n)[:-1], "which end inside of 'convolutional_16'; it is cut off"),
    (lambda n: weights_file(n) + b"1", "which are no whole numbers at the end; it is damaged"),
    (lambda n: weights_file(n)[:8], "expects a header of 12 bytes; got 8; the file is cut off"),
    (lambda n: weights_file(n)[:16], "end inside of 'convolutional_0'; it is cut off"),
    (lambda n: weights_file(n[:-8]), "which end inside of 'convolutional_16'; it is cut off, or of another network"),
    (lambda n: weights_file([*n, 1.0]), "it is of another network, or has weights of layers that the .cfg lacks"),
    (lambda n: b"", "expects a header of 12 bytes; got 0"),
    (lambda n: b"P" * 4000, "it is no .weights file"),
    (lambda n: weights_file(-n), "variances of at least 0; 'convolutional_0/norm/variance' has others"),
    (lambda n: weights_file(np.where(np.arange(len(n)) == 300, np.nan, n)), "it is damaged, or of another network"),
    (lambda n: weights_file(n, version=(0, 1, 0)), "it is of another network"),
], ids=range(11))
def test_bad_weights(net, tmp_path, content, words):
    numbers = np.random.default_rng(0).uniform(0.1, 0.5, NUMBERS).astype("<f4")
    (tmp_path / "bad.weights").write_bytes(content(numbers))
    with pytest.raises(BadWeights, match=re.escape(words)):
        read_darknet_weights(tmp_path / "bad.weights", net)


def test_the_older_header(net, files, tmp_path):
    """Of version 0.1, whose count of pictures has 4 bytes."""
    params, _ = read_darknet_weights(files / "small.weights", net)
    numbers = np.random.default_rng(0).uniform(0.1, 0.5, NUMBERS).astype("<f4")
    (tmp_path / "old.weights").write_bytes(weights_file(numbers, (0, 1, 0), 4))
    old, _ = read_darknet_weights(tmp_path / "old.weights", net)
    assert all((a == b).all() for a, b in zip(jax.tree.leaves(old), jax.tree.leaves(params)))


@pytest.mark.parametrize("place", ["/nowhere.weights", "folder"])
def test_no_weights(net, tmp_path, place):
    with pytest.raises(BadWeights, match="no such file"):
        read_darknet_weights(tmp_path if place == "folder" else place, net)
    with pytest.raises(BadConfiguration, match="no such file"):
        read_configuration(tmp_path if place == "folder" else "/nowhere.cfg")


NET = "[net]\nheight=8\nwidth=8\nchannels=3\n"


@pytest.mark.parametrize(("text", "words"), [
    ("", "expects [net] as its first section; got no section"),
    ("[convolutional]\nfilters=2", "expects [net] as its first section; got [convolutional]"),
    ("filters=2", "line 1 expects [net] first; got 'filters=2'"),
    ("[net]\nheight", "line 2 expects name = value; got 'height'"),
    ("[net\nheight=3", "line 1 expects a kind in brackets; got '[net'"),
    ("[net]\nheight=8\nheight=8\n[route]\nlayers=-1", "line 3 expects one value for each name; got 'height' again"),
    ("[net]\nheight=8\n\n[route]\nlayers=-1", "[net] in line 1 expects width, an integer of 32 bits; got none"),
    (NET + "[lstm]\n", "[lstm] in line 5 expects a kind among convolutional, maxpool"),
    (NET + "[route]\nlayers=-1", "[route] in line 5 expects a section before this one, from which to read; got none"),
    (NET + "[convolutional]\nfilters=4\n[shortcut]\nfrom=-9",
     "[shortcut] in line 7 expects sections before this one, 0 to 0, or -1"),
    (NET + "[convolutional]\nfilters=x", "[convolutional] in line 5 expects filters, an integer of 32 bits; got 'x'"),
    (NET + "[convolutional]\nfilters=2147483648", "filters, an integer of 32 bits; got '2147483648'"),
    (NET.replace("height=8", "height=" + "9" * 4000) + "[route]\nlayers=-1",
     "height, an integer of 32 bits; got '" + "9" * 79 + "..."),
    (NET + "[dropout]\nprobability=nan", "[dropout] in line 5 expects probability, a finite number; got 'nan'"),
    (NET + "[dropout]\nprobability=2", "[dropout] in line 5: Dropout expects rate, the fraction dropped, in [0, 1)"),
    (NET + "[maxpool]\npadding=1000003", "[maxpool] in line 5: MaxPool at 'maxpool_0' expects padding of at most"),
    (NET + "[convolutional]\nfilters=6\nsize=1\n[yolo]\nanchors=1,2\nclasses=1\nnum=1\nscale_x_y=0.5",
     "[yolo] in line 8: YoloHead expects stretch, a finite number of at least 1; got 0.5"),
    (NET + "[route]\nlayers=0,inf", "layers, integers of 32 bits separated by commas; got '0,inf'"),
    (NET + "[convolutional]\nfilters=0", "filters of at least 1; got 0"),
    (NET + "[convolutional]\nfilters=4\nactivation=sine", "activation, one of linear, leaky"),
    (NET + "[convolutional]\nfilters=4\ngroups=3", "groups that divide filters = 4; got 3"),
    (NET + "[convolutional]\nfilters=4\ndilation=2", "no dilation, which is not built here; got 2"),
    (NET + "[convolutional]\nfilters=7\nsize=1\n[yolo]\nanchors=1,2\nclasses=3\nnum=1",
     "a map of 8 channels, 1 anchors of 5 + 3 numbers; got 7"),
    (NET + "[convolutional]\nfilters=8\nsize=1\n[yolo]\nanchors=0,2\nclasses=3\nnum=1", "widths and heights above 0"),
    (NET + "[convolutional]\nfilters=8\nsize=1\n[yolo]\nanchors=1,2,3\nclasses=3\nnum=2",
     "anchors, num = 2 pairs; got 3 numbers"),
    (NET + "[convolutional]\nfilters=8\nsize=1\n[yolo]\nmask=4\nanchors=1,2\nclasses=3\nnum=1",
     "mask, numbers of the 1 anchors; got 4"),
    (NET + "[convolutional]\nfilters=4\n[convolutional]\nfilters=5\n[shortcut]\nfrom=-2\n[yolo]\nanchors=1,2\nnum=1",
     "'shortcut_2' expects two layers of one shape; got (8, 8, 5) and (8, 8, 4)"),
], ids=range(27))
def test_bad_configurations(text, words):
    with pytest.raises(BadConfiguration, match=re.escape(words)):
        darknet_network(parse_configuration(text))


def test_files_that_are_no_configuration(tmp_path):
    (tmp_path / "a").write_bytes(b"\xff\xfe\x00[net]")
    (tmp_path / "b").write_bytes(b"[net]\n" * 200_000)
    for name, words in (("a", "expects text; got bytes that are none"), ("b", "at most 1,048,576 bytes of text")):
        with pytest.raises(BadConfiguration, match=words):
            read_configuration(tmp_path / name)


def test_weights_of_another_network_of_ours(net, files):
    params, state = read_darknet_weights(files / "small.weights", net)
    del params["convolutional_1"]
    with pytest.raises(InputError, match="the params of this network, which has a part 'convolutional_1'"):
        fold_darknet(net, params, state)
