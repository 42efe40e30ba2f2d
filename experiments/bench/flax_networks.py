"""LeNet-5, ResNet-18, MobileNet v2, U-Net, a character LSTM and a transformer in Flax NNX, as its users write them,
and a training step of each."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

__all__ = ["step_of"]


def step_of(name: str, x: Any, labels: Any, *, dtype: str | None = None) -> Callable[[], Any] | None:
    """One Adam step at each call; None without Flax. dtype: of the layers' arithmetic, "bfloat16"."""
    try:
        from flax import nnx
    except ImportError:
        return None
    network = {"lenet-5": _lenet, "resnet-18": _resnet, "mobilenet-v2": _mobilenet, "u-net": _unet,
               "character-lstm": _character_lstm, "transformer": _transformer}[name]
    model = network(nnx if dtype is None else _Computing(nnx, dtype))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

    @nnx.jit
    def step(model: Any, optimizer: Any) -> Any:
        def cost(model: Any) -> Any:
            logits = model(x).astype(jnp.float32)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        loss, grads = nnx.value_and_grad(cost)(model)
        optimizer.update(model, grads)
        return loss

    return lambda: step(model, optimizer)


class _Computing:
    """Flax's module of layers, each made to compute in a dtype."""

    LAYERS = ("BatchNorm", "Conv", "ConvTranspose", "Embed", "LayerNorm", "Linear", "MultiHeadAttention",
              "OptimizedLSTMCell")

    def __init__(self, nnx: Any, dtype: str) -> None:
        self.nnx, self.dtype = nnx, dtype

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.nnx, name)
        return functools.partial(found, dtype=jnp.dtype(self.dtype)) if name in self.LAYERS else found


def _lenet(nnx: Any) -> Any:
    rngs = nnx.Rngs(0)
    pool = functools.partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2))
    return nnx.Sequential(
        nnx.Conv(1, 6, (5, 5), rngs=rngs), jax.nn.relu, pool, nnx.Conv(6, 16, (5, 5), padding="VALID", rngs=rngs),
        jax.nn.relu, pool, lambda x: x.reshape(x.shape[0], -1), nnx.Linear(400, 120, rngs=rngs), jax.nn.relu,
        nnx.Linear(120, 84, rngs=rngs), jax.nn.relu, nnx.Linear(84, 10, rngs=rngs))


def _unit(nnx: Any, rngs: Any, n_in: int, n_out: int, window: int, stride: int = 1, groups: int = 1,
          act: Callable | None = None) -> list[Any]:
    """Convolution, batch norm, activation."""
    pad = window // 2
    return [nnx.Conv(n_in, n_out, (window, window), stride, padding=((pad, pad), (pad, pad)), use_bias=False,
                     feature_group_count=groups, rngs=rngs),
            nnx.BatchNorm(n_out, momentum=0.9, rngs=rngs), *([act] if act else [])]


def _residual(nnx: Any, body: Any, shortcut: Any, act: Callable) -> Any:
    class Residual(nnx.Module):
        def __init__(self) -> None:
            self.body, self.shortcut = body, shortcut

        def __call__(self, x: Any) -> Any:
            return act(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))

    return Residual()


def _resnet(nnx: Any) -> Any:
    rngs, relu = nnx.Rngs(0), jax.nn.relu
    parts, n_in = _unit(nnx, rngs, 3, 64, 3, act=relu), 64
    for n, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            body = nnx.Sequential(*_unit(nnx, rngs, n_in, n, 3, stride, act=relu), *_unit(nnx, rngs, n, n, 3))
            changes = stride > 1 or n_in != n
            shortcut = nnx.Sequential(*_unit(nnx, rngs, n_in, n, 1, stride)) if changes else None
            parts.append(_residual(nnx, body, shortcut, relu))
            n_in = n
    return nnx.Sequential(*parts, lambda x: x.reshape(x.shape[0], -1), nnx.Linear(4 * 4 * 512, 10, rngs=rngs))


def _mobilenet(nnx: Any) -> Any:
    from jaxnn.models.mobilenet import STAGES
    rngs, relu6 = nnx.Rngs(0), jax.nn.relu6
    parts, n_in = _unit(nnx, rngs, 3, 32, 3, 2, act=relu6), 32
    for expansion, n_out, n, first in STAGES:
        for i in range(n):
            width, stride = n_in * expansion, first if i == 0 else 1
            body = nnx.Sequential(
                *([] if expansion == 1 else _unit(nnx, rngs, n_in, width, 1, act=relu6)),
                *_unit(nnx, rngs, width, width, 3, stride, width, relu6), *_unit(nnx, rngs, width, n_out, 1))
            adds = stride == 1 and n_in == n_out
            parts.append(_residual(nnx, body, None, lambda x: x) if adds else body)
            n_in = n_out
    return nnx.Sequential(*parts, *_unit(nnx, rngs, 320, 1280, 1, act=relu6), lambda x: x.mean((1, 2)),
                          nnx.Linear(1280, 10, rngs=rngs))


def _unet(nnx: Any) -> Any:
    rngs, relu = nnx.Rngs(0), jax.nn.relu
    conv = functools.partial(nnx.Conv, kernel_size=(3, 3), rngs=rngs)

    def stage(n_in: int, n: int) -> Any:
        return nnx.Sequential(conv(n_in, n), relu, conv(n, n), relu)

    class UNet(nnx.Module):
        def __init__(self) -> None:
            widths = [32 * 2**i for i in range(5)]
            self.down = nnx.List([stage(a, b) for a, b in zip((3, *widths), widths, strict=False)])
            self.widen = nnx.List([nnx.ConvTranspose(2 * w, w, (3, 3), (2, 2), rngs=rngs) for w in widths[-2::-1]])
            self.up = nnx.List([stage(2 * w, w) for w in widths[-2::-1]])
            self.last, self.logits = conv(32, 32), nnx.Conv(32, 12, (1, 1), rngs=rngs)

        def __call__(self, x: Any) -> Any:
            skips = []
            for part in self.down[:-1]:
                x = part(x)
                skips.append(x)
                x = nnx.max_pool(x, (2, 2), (2, 2))
            x = self.down[-1](x)
            for widen, part in zip(self.widen, self.up, strict=True):
                x = part(jnp.concatenate([widen(x), skips.pop()], -1))
            return self.logits(relu(self.last(x)))

    return UNet()


def _character_lstm(nnx: Any) -> Any:
    rngs = nnx.Rngs(0)
    return nnx.Sequential(nnx.Embed(86, 64, rngs=rngs), nnx.RNN(nnx.OptimizedLSTMCell(64, 256, rngs=rngs)),
                          nnx.Linear(256, 86, rngs=rngs))


def _transformer(nnx: Any) -> Any:
    rngs = nnx.Rngs(0)

    class Block(nnx.Module):
        def __init__(self) -> None:
            self.norms = nnx.List([nnx.LayerNorm(128, rngs=rngs) for _ in range(2)])
            self.attention = nnx.MultiHeadAttention(4, 128, decode=False, rngs=rngs)
            self.hidden, self.output = nnx.Linear(128, 512, rngs=rngs), nnx.Linear(512, 128, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            causal = jnp.tril(jnp.ones((x.shape[1], x.shape[1]), bool))[None, None]
            x = x + self.attention(self.norms[0](x), mask=causal)
            return x + self.output(jax.nn.gelu(self.hidden(self.norms[1](x))))

    class Transformer(nnx.Module):
        def __init__(self) -> None:
            self.tokens, self.places = nnx.Embed(86, 128, rngs=rngs), nnx.Embed(256, 128, rngs=rngs)
            self.blocks = nnx.List([Block() for _ in range(4)])
            self.norm, self.logits = nnx.LayerNorm(128, rngs=rngs), nnx.Linear(128, 86, rngs=rngs)

        def __call__(self, x: Any) -> Any:
            x = self.tokens(x) + self.places.embedding[:x.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.logits(self.norm(x))

    return Transformer()
