"""Weights with timm's names, and Keras' HDF5 files: every name that does not fit is listed."""

import jax
import numpy as np
import pytest

from jaxnn import models, over_examples
from jaxnn.data import MissingData, list_hdf5, read_hdf5
from jaxnn.models import KERAS, TIMM, TORCHVISION, BadWeights, from_published, read_keras, to_published
from tests import course
from tests.models import keras_files
from tests.models.test_models import filled, shapes_of
from tests.models.test_twins import TWINS, twin

h5py = pytest.importorskip("h5py")


# timm

def timm_mobilenet_v2():
    """The names in the order in which torchvision has the same arrays, from timm's table of stages."""
    def unit(conv, norm):
        return [f"{conv}.weight", *(f"{norm}.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var"))]

    names = unit("conv_stem", "bn1")
    for stage, n in enumerate((1, 2, 3, 4, 3, 3, 1)):
        for i in range(n):
            at = f"blocks.{stage}.{i}"
            convs = ("conv_dw", "conv_pw") if stage == 0 else ("conv_pw", "conv_dw", "conv_pwl")
            for place, conv in enumerate(convs, 1):
                names += unit(f"{at}.{conv}", f"{at}.bn{place}")
    return [*names, *unit("conv_head", "bn2"), "classifier.weight", "classifier.bias"]


def timm_vgg16(name, array):
    """As timm itself renames and reshapes torchvision's file."""
    for ours, theirs in (("classifier.0", "pre_logits.fc1"), ("classifier.3", "pre_logits.fc2"),
                         ("classifier.6", "head.fc")):
        name = name.replace(ours, theirs)
    if name == "pre_logits.fc1.weight":
        array = array.reshape(-1, 512, 7, 7)
    return name, array[..., None, None] if name == "pre_logits.fc2.weight" else array


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["mobilenet_v2", "vgg16", "resnet18",
                                  pytest.param("densenet121", marks=pytest.mark.exhaustive)])
def test_timm_has_the_same_arrays_by_other_names(name):
    """The file of a torchvision network, renamed as timm does, is read to the same params."""
    net, arrays = getattr(models, name)(7, **({"hidden": 20} if name == "vgg16" else {})), twin(*TWINS[name][1])[1]
    arrays = {key: array for key, array in arrays.items() if not key.endswith("num_batches_tracked")}
    timm = dict(arrays)
    if name == "mobilenet_v2":
        timm = dict(zip(timm_mobilenet_v2(), arrays.values(), strict=True))
    elif name == "vgg16":
        timm = dict(timm_vgg16(key, array) for key, array in arrays.items())
    shapes = shapes_of(net, (35, 35, 3))
    found = from_published(timm, *shapes, TIMM[name])
    jax.tree.map(np.testing.assert_array_equal, found, from_published(arrays, *shapes, TORCHVISION[name]))
    back = to_published(*found, TIMM[name])
    assert back.keys() == timm.keys()
    for key, array in timm.items():
        np.testing.assert_array_equal(back[key], array)


@pytest.mark.exhaustive
def test_squeezes_are_convolutions_in_timm():
    net = models.se_resnet50(7)
    names = to_published(*shapes_and_zeros(net), TIMM["se_resnet50"])
    assert names["layer2.0.se.fc1.weight"].shape == (32, 512, 1, 1)
    assert names["layer2.0.se.fc2.weight"].shape == (512, 32, 1, 1)
    assert names["layer2.0.se.fc2.bias"].shape == (512,)


def shapes_and_zeros(net):
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes_of(net, (33, 33, 3)))


# Keras

MODELS = {"mobilenet_v2_keras": (models.mobilenet_v2_keras, 32), "mobilenet_v1_keras": (models.mobilenet_v1_keras, 32),
          "resnet50_keras": (models.resnet50_keras, 33), "vgg16": (lambda n: models.vgg16(n, hidden=20), 224)}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [name if name.startswith("mobilenet_v2") else
                                  pytest.param(name, marks=pytest.mark.exhaustive) for name in MODELS])
def test_logits_of_a_keras_file(name, tmp_path):
    """A randomly filled file of Keras' layout, read by us and, as Keras' code says, by a network in PyTorch."""
    torch = pytest.importorskip("torch")
    make, size = MODELS[name]
    arrays = keras_files.filled(name)
    path = keras_files.write(h5py, tmp_path / "w.h5", arrays, prefix="model_weights/")
    net = make(7)
    params, state = read_keras(path, *shapes_of(net, (size, size, 3)), KERAS[name])
    x = np.random.default_rng(1).standard_normal((2, size, size, 3)).astype(np.float32)
    y = jax.jit(lambda p, s, x: over_examples(net)(p, s, x)[0])(params, state, x)
    expected = keras_files.logits(torch, name, arrays, x).numpy()
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("name", [name if name.startswith("mobilenet_v2") else
                                  pytest.param(name, marks=pytest.mark.exhaustive) for name in MODELS])
def test_every_array_of_a_keras_file_has_a_place(name, tmp_path):
    make, size = MODELS[name]
    path = keras_files.write(h5py, tmp_path / "w.h5", keras_files.filled(name))
    shapes = shapes_of(make(7), (size, size, 3))
    params, state = read_keras(path, *shapes, KERAS[name])
    assert jax.tree.map(np.shape, (params, state)) == jax.tree.map(lambda leaf: leaf.shape, shapes)


@pytest.mark.exhaustive
def test_names_of_the_course_and_of_keras_1(tmp_path):
    """Its ResNet-50 is of Keras 2.0, and Keras 1 called the arrays "res2a_branch2a_W" and so on."""
    net, old = models.resnet50_course(), {"kernel": "W", "bias": "b", "moving_mean": "running_mean",
                                          "moving_variance": "running_std"}
    shapes = shapes_of(net, (64, 64, 3))
    params, state = filled(net, (64, 64, 3))
    arrays = {}
    for tree in (params, state):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            *parts, kind = (key.key for key in path)
            dotted = ".".join(parts)
            is_norm = "norm" in parts[-1]
            theirs = {"weight": "kernel", "scale": "gamma", "mean": "moving_mean", "variance": "moving_variance",
                      **({"bias": "beta"} if is_norm else {})}.get(kind, kind)
            arrays[KERAS["resnet50_course"][dotted], theirs] = leaf.T if kind == "weight" else leaf
    assert {"res4f_branch2c", "bn2a_branch1", "fc1000", "bn_conv1", "conv1"} <= {layer for layer, _ in arrays}
    for place in ("{layer}/{layer}/{kind}:0", "{layer}/{layer}_{kind}_1:0"):
        renamed = {(layer, old.get(kind, kind) if "_1" in place else kind): a for (layer, kind), a in arrays.items()}
        path = keras_files.write(h5py, tmp_path / "w.h5", renamed, place=place)
        found = read_keras(path, *shapes, KERAS["resnet50_course"])
        jax.tree.map(np.testing.assert_array_equal, found, (params, state))


def small_file(tmp_path, **changes):
    arrays = {("fc1", "kernel"): np.ones((4, 3), np.float32), ("fc1", "bias"): np.ones(3, np.float32),
              ("head", "kernel"): np.ones((3, 2)), ("head", "bias"): np.ones(2, np.float16)}
    for name, array in changes.items():
        arrays[tuple(name.split("__"))] = array
    return keras_files.write(h5py, tmp_path / "w.h5", {k: a for k, a in arrays.items() if a is not None})


def read_small(path, **options):
    shapes = {name: {"weight": jax.ShapeDtypeStruct((n_out, n_in), np.float32),
                     "bias": jax.ShapeDtypeStruct((n_out,), np.float32)}
              for name, n_out, n_in in (("hidden", 3, 4), ("head", 2, 3))}
    return read_keras(path, shapes, {}, {"hidden": "fc1"}, **options)


def test_everything_that_does_not_fit_is_listed(tmp_path):
    params, _ = read_small(small_file(tmp_path))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    path = small_file(tmp_path, fc1__bias=None, head__kernel=np.ones((2, 3), np.float32), head__bias=np.ones(2, int),
                      extra__kernel=np.ones(1), fc1__odd=np.ones(1))
    with pytest.raises(BadWeights) as error:
        read_small(path)
    for words in ("missing fc1/bias", "head/head/kernel:0 of shape (2, 3) where (3, 2) is expected",
                  "head/head/bias:0 of dtype int64 where floating-point numbers are expected",
                  "left over extra/extra/kernel:0", "left over fc1/fc1/odd:0"):
        assert words in str(error.value)
    assert read_small(small_file(tmp_path, extra__kernel=np.ones(1)), ignore=["extra"])[1] == {}


def test_one_layer_twice(tmp_path):
    path = small_file(tmp_path)
    with h5py.File(path, "a") as file:
        file["other/fc1/kernel:0"] = np.ones((4, 3))
    with pytest.raises(BadWeights, match="fc1/kernel twice, at fc1/fc1/kernel:0 and at other/fc1/kernel:0"):
        read_small(path)


def test_files_that_are_none_of_keras(tmp_path):
    with pytest.raises(MissingData, match="no such file"):
        read_small(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_bytes(b"<html>")
    with pytest.raises(BadWeights, match="without the HDF5 signature"):
        read_small(tmp_path / "text.h5")
    with h5py.File(tmp_path / "3.h5", "w") as file:
        file["layers/dense/vars/0"] = np.ones(3)
    with pytest.raises(BadWeights, match="numbers its arrays, as Keras 3 does"):
        read_small(tmp_path / "3.h5")
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["fc1/kernel:0"] = h5py.ExternalLink("/etc/passwd", "x")
    with pytest.raises(BadWeights, match="a link to another file"):
        read_small(tmp_path / "links.h5")
    with h5py.File(tmp_path / "loop.h5", "w") as file:
        file["a"] = file["/"]
    with pytest.raises(BadWeights, match="at most 10,000 links, 16 deep; got more"):
        read_small(tmp_path / "loop.h5")
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        for (layer, kind), shape in {("fc1", "kernel"): (4, 3), ("fc1", "bias"): (3,), ("head", "kernel"): (3, 2),
                                     ("head", "bias"): (2,)}.items():
            file[f"{layer}/{kind}:0"] = np.full(shape, np.nan)
    with pytest.raises(BadWeights, match="expects finite values"):
        read_small(tmp_path / "nan.h5")


@pytest.mark.parametrize(("name", "expected"), [
    ("c5/model_shakespeare_kiank.h5", {"lstm_5/lstm_5_2/recurrent_kernel:0", "dense_3/dense_3_2/kernel:0"}),
    ("c5/nmt_attention_model.h5", {"lstm_20/lstm_20/kernel:0", "dense_38/dense_38/bias:0"})])
def test_the_courses_own_files_are_listed_and_read(name, expected):
    directory = course.data_directory()
    if directory is None or not (directory / name).exists():
        pytest.skip("the course's files are not here: set JAXNN_DATA")
    fields = list_hdf5(directory / name)
    arrays = read_hdf5(directory / name, {key: f for key, f in fields.items() if key.startswith("model_weights/")})
    assert all(array.size for array in arrays.values())
    assert {f"model_weights/{key}" for key in expected} <= arrays.keys(), sorted(arrays)
