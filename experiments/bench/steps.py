"""Whole training steps of networks for pictures and for text, beside Flax NNX and PyTorch: forward and backward pass,
and Adam."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from experiments.bench import flax_networks, torch_networks
from experiments.bench.measure import Side, classes, normal
from jaxnn import network
from jaxnn.compiler_options import compiler_options
from jaxnn.gradients.cost import temporaries
from jaxnn.layers import LSTM, BatchNorm, Conv, Dense, Flatten, Residual, Sequential, over_examples
from jaxnn.models import character_model, decoder, lenet5, mobilenet_v2, unet
from jaxnn.ops import gelu_tanh, relu, softmax_cross_entropy
from jaxnn.training.precision import cast_floats

__all__ = ["text_step", "training_step"]


def text_step(name: str, batch: int | None = None, time: int | None = None, dtype: str | None = None) -> list[Side]:
    """The sides of `character-lstm` or `transformer`: as of `training_step`. batch, time: in place of the usual."""
    layer, sizes = {
        "character-lstm": (character_model(86, LSTM(256), 64), (64, 40)),
        "transformer": (Sequential(decoder(86, 128, 4, 4, 512, cross=False, activation=gelu_tanh),
                                   over_examples(Dense(86))), (8, 256))}[name]
    shape = batch or sizes[0], time or sizes[1]
    ids, labels = (classes(seed, shape[0] * shape[1], 86).reshape(shape) for seed in (0, 1))
    return _sides(name, layer, ids, labels, dtype, train=False, compiled=False)


def training_step(name: str, dtype: str | None = None) -> list[Side]:
    """The sides of `lenet-5`, `resnet-18`, `mobilenet-v2` or `u-net`: autodiff of the same functions, Flax, PyTorch,
    and jaxnn. Both sides that are jaxnn's functions have the same `compiler_options`.

    dtype: "bfloat16" for layers that compute in it, with parameters, loss and updates in float32."""
    layer, shape, n_classes = {
        "lenet-5": (lenet5(padding=2), (64, 28, 28, 1), 10),
        "resnet-18": (_resnet_18(10), (32, 32, 32, 3), 10),
        "mobilenet-v2": (_without_dropout(mobilenet_v2(10)), (32, 32, 32, 3), 10),
        "u-net": (unet(12), (2, 96, 128, 3), 12)}[name]
    x = normal(0, *shape)
    labels = classes(1, shape[0] if name != "u-net" else 2 * 96 * 128, n_classes)
    labels = labels.reshape(shape[:3] if name == "u-net" else shape[:1])
    # At inference U-Net has no dropout: the peers have none. The others have batch norm.
    compiled = name in ("lenet-5", "resnet-18")  # PyTorch takes minutes to compile the others
    return _sides(name, layer, x, labels, dtype, train=name != "u-net", compiled=compiled)


def _sides(name: str, layer: Any, x: Any, labels: Any, dtype: str | None, *, train: bool,
           compiled: bool) -> list[Side]:
    batch = over_examples(layer)
    sides = [_jax_step("autodiff", network(batch).reference, layer, x, labels, dtype, train=train)]
    peers = [("Flax NNX", flax_networks.step_of(name, x, labels, dtype=dtype)),
             ("PyTorch", torch_networks.step_of(name, x, labels, dtype=dtype))]
    if compiled:
        peers.append(("PyTorch, compiled",
                      _that_runs(torch_networks.step_of(name, x, labels, dtype=dtype, compiled=True))))
    sides += [Side(peer, step) for peer, step in peers if step]
    return [*sides, _jax_step("jaxnn", batch, layer, x, labels, dtype, train=train)]


def _jax_step(name: str, call: Callable, layer: Any, x: Any, labels: Any, dtype: str | None, *, train: bool) -> Side:
    optimizer, loss = optax.adam(1e-3), softmax_cross_entropy
    for _ in range(labels.ndim):
        loss = jax.vmap(loss)
    params, state = layer.init(jax.random.key(0), x.shape[1:])

    def cost(params: Any, state: Any) -> Any:
        logits, state = call(cast_floats(params, dtype), state, cast_floats(x, dtype), jax.random.key(0), train=train)
        return jnp.mean(loss(logits.astype(jnp.float32), labels)), state

    def step(before: Any) -> Any:
        params, state, opt_state = before
        grads, state = jax.grad(cost, has_aux=True)(params, state)
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), state, opt_state

    latest = [(params, state, optimizer.init(params))]
    compiled = jax.jit(step, donate_argnums=0).lower(latest[0]).compile(compiler_options(step, latest[0]))

    def run() -> Any:
        latest[0] = compiled(latest[0])
        return latest[0]

    return Side(name, run, temporaries(compiled))


def _that_runs(step: Callable | None) -> Callable | None:
    """The step, unless PyTorch cannot compile it here: that needs a C++ compiler."""
    if step is None:
        return None
    try:
        step()
    except Exception:
        return None
    return step


def _without_dropout(net: Sequential) -> Sequential:
    return Sequential(**{name: part for name, part in net.parts.items() if name != "drop"})


def _resnet_18(n_classes: int) -> Sequential:
    """ResNet-18 for pictures of 32x32 (He et al. 2016, section 4.2), with Flatten for its last average."""
    def block(n: int, stride: int, n_before: int) -> Residual:
        body = Sequential(Conv(n, stride=stride, use_bias=False), BatchNorm(), relu,
                          Conv(n, use_bias=False), BatchNorm())
        if stride == 1 and n == n_before:
            return Residual(body)
        return Residual(body, Sequential(Conv(n, (1, 1), stride=stride, use_bias=False), BatchNorm()))

    blocks: list[Any] = []
    n_before = 64
    for n, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            blocks += [block(n, stride, n_before), relu]
            n_before = n
    return Sequential(Conv(64, use_bias=False), BatchNorm(), relu, *blocks, Flatten(), Dense(n_classes))
