"""The U-Net: the course's parameters, layer by layer; a twin in PyTorch, with batch norm and without."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import models, over_examples
from tests import course

# A 3x3 convolution of n channels to m has 9 n m + m numbers. The first stage reads red, green and blue; each stage up
# widens to half of the channels, and joins them with as many.
COURSE = {
    "down1": (896, 9_248), "down2": (18_496, 36_928), "down3": (73_856, 147_584), "down4": (295_168, 590_080),
    "down5": (1_180_160, 2_359_808), "widen4": (1_179_904,), "up4": (1_179_904, 590_080), "widen3": (295_040,),
    "up3": (295_040, 147_584), "widen2": (73_792,), "up2": (73_792, 36_928), "widen1": (18_464,),
    "up1": (18_464, 9_248), "last": (9_248,), "logits": (759,)}


def shapes_of(net, shape):
    return jax.eval_shape(lambda: net.init(jax.random.key(0), shape))


def filled(net, shape):
    """Random numbers in the place of an init, all scales and variances above zero."""
    rng = np.random.default_rng(0)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        if path[-1].key in ("scale", "variance") else rng.normal(0, 0.3, leaf.shape).astype(np.float32),
        shapes_of(net, shape))


def numbers(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def test_the_courses_parameters():
    params, state = shapes_of(models.unet(23), (96, 128, 3))
    found = {name: tuple(numbers(part[conv]) for conv in sorted(part) if conv.startswith("conv"))
             or (numbers(part),) for name, part in params.items()}
    assert found == COURSE and state == {}
    if not course.missing():
        assert numbers(params) == course.load()["c4w3.unet_params"]["expected"]


def test_what_batch_norm_adds():
    """A scale, a bias, and two statistics for each channel of a stage; the bias of its convolution is not there."""
    plain, (params, state) = shapes_of(models.unet(5, width=4, depth=2), (8, 8, 3))[0], shapes_of(
        models.unet(5, width=4, depth=2, batch_norm=True), (8, 8, 3))
    channels = 2 * (4 + 8 + 16 + 8 + 4)
    assert numbers(params) == numbers(plain) + channels and numbers(state) == 2 * channels
    assert set(state) == {"down1", "down2", "down3", "up1", "up2"}
    assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {jnp.dtype(jnp.float32)}


def torch_unet(torch, params, state, x, depth, train):
    """The same network in PyTorch; x (n, channels, height, width). Without dropout."""
    F = torch.nn.functional

    def conv(p, x):
        kernel = torch.moveaxis(p["kernel"], (-1, -2), (0, 1))
        return F.conv2d(x, kernel, p.get("bias"), padding="same")

    def stage(p, s, x):
        for i in "12":
            x = conv(p[f"conv{i}"], x)
            if s:
                norm, running = p[f"norm{i}"], s[f"norm{i}"]
                x = F.batch_norm(x, running["mean"].clone(), running["variance"].clone(), norm["scale"], norm["bias"],
                                 training=train, eps=1e-5)
            x = F.relu(x)
        return x

    skips = []
    for i in range(1, depth + 1):
        x = stage(params[f"down{i}"], state.get(f"down{i}"), x)
        skips.append(x)
        x = F.max_pool2d(x, 2)
    x = stage(params[f"down{depth + 1}"], state.get(f"down{depth + 1}"), x)
    for i in range(depth, 0, -1):
        # PyTorch's kernel is (n_in, n_out, height, width); its result is one longer at the high side than "same".
        wide = params[f"widen{i}"]
        kernel = torch.moveaxis(wide["kernel"], (-2, -1), (0, 1))
        x = F.conv_transpose2d(x, kernel, wide["bias"], stride=2)[..., :-1, :-1]
        x = stage(params[f"up{i}"], state.get(f"up{i}"), torch.cat([x, skips.pop()], 1))
    return conv(params["logits"], F.relu(conv(params["last"], x)))


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_twin(torch, batch_norm):
    """Logits at inference, and the gradient by the parameters, by our backward passes and by PyTorch's."""
    depth, net = 2, models.unet(3, width=2, depth=2, batch_norm=batch_norm)
    params, state = filled(net, (8, 12, 3))
    rng = np.random.default_rng(1)
    x, dy = (rng.standard_normal((2, 8, 12, n)).astype(np.float32) for n in (3, 3))

    @jax.jit
    def program(params, x):
        y, pull_back = jax.vjp(lambda params: over_examples(net)(params, state, x)[0], params)
        return y, pull_back(jnp.asarray(dy))[0]

    y, grads = program(params, x)
    free, running = (jax.tree.map(lambda a: torch.from_numpy(np.array(a)), tree) for tree in (params, state))
    leaves = [leaf.requires_grad_() for leaf in jax.tree.leaves(free)]
    expected = torch_unet(torch, free, running, torch.from_numpy(np.moveaxis(x, -1, 1)), depth, train=False)
    torch.sum(expected * torch.from_numpy(np.moveaxis(dy, -1, 1))).backward()
    _assert_near(y, np.moveaxis(expected.detach().numpy(), 1, -1))
    for ours, leaf in zip(jax.tree.leaves(grads), leaves, strict=True):
        _assert_near(ours, leaf.grad.numpy())


@pytest.mark.exhaustive
def test_batch_norm_in_training(torch, monkeypatch):
    """Statistics of the batch: the value is PyTorch's, and the running ones of every stage move towards them."""
    # Dropout draws numbers of its own: it is taken out of the stages.
    stage = models.unet.__globals__["_stage"]
    monkeypatch.setitem(models.unet.__globals__, "_stage", lambda width, norm, rate=0: stage(width, norm))
    net = models.unet(3, width=2, depth=1, batch_norm=True)
    params, state = filled(net, (4, 6, 3))
    x = np.random.default_rng(1).standard_normal((3, 4, 6, 3)).astype(np.float32)
    y, moved = over_examples(net)(params, state, x, train=True)
    free, running = (jax.tree.map(lambda a: torch.from_numpy(np.array(a)), tree) for tree in (params, state))
    expected = torch_unet(torch, free, running, torch.from_numpy(np.moveaxis(x, -1, 1)), 1, train=True)
    _assert_near(y, np.moveaxis(expected.numpy(), 1, -1))
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    for a, b in zip(*map(jax.tree.leaves, (moved, state)), strict=True):
        assert (np.asarray(a) != b).all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="batch_norm"):
        models.unet(3, batch_norm=1)
    with pytest.raises(ValueError, match="UNet expects width, a positive integer; got 0"):
        models.unet(3, width=0)


def _assert_near(ours, theirs):
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() <= 2e-5 * np.abs(theirs).max()
