"""ResNet-50: bottleneck blocks of today's layers (He et al. 2016)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.layers import BatchNorm, Conv, Dense, MaxPool, Residual, Sequential, over_examples
from jaxnn.ops import relu, softmax_cross_entropy

__all__ = ["BLOCKS", "cost_and_arguments", "resnet"]

BLOCKS = (3, 4, 6, 3)  # of ResNet-50, in each stage (He et al. 2016, table 1)


def bottleneck(n: int, stride: int, n_in: int, *, conv: Callable = Conv, norm: Callable = BatchNorm) -> Residual:
    """1x1, 3x3 and 1x1 to four times as many channels (He et al. 2016, section 4.1, figure 5), the stride in the 3x3
    convolution. conv, norm: the layers of the middle."""
    middle = conv(n, use_bias=False) if stride == 1 else Conv(n, stride=stride, use_bias=False)
    body = Sequential(conv1=Conv(n, (1, 1), use_bias=False), norm1=BatchNorm(), relu1=relu, conv2=middle, norm2=norm(),
                      relu2=relu, conv3=Conv(4 * n, (1, 1), use_bias=False), norm3=BatchNorm())
    if stride == 1 and n_in == 4 * n:
        return Residual(body)
    return Residual(body, Sequential(conv=Conv(4 * n, (1, 1), stride=stride, use_bias=False), norm=BatchNorm()))


def resnet(blocks: Sequence[int] = BLOCKS, n: int = 64, n_classes: int = 1000, *,
           own: Mapping[str, Mapping[str, Callable]] | None = None) -> Sequential:
    """A ResNet of bottleneck blocks, for images of any size.

    blocks: their number in each stage; n: channels of the first; own: other layers for the middle of a block, by the
    block's place.
    """
    own = own or {}
    parts: dict[str, Any] = {"conv": Conv(n, (7, 7), stride=2, use_bias=False), "norm": BatchNorm(), "relu": relu,
                             "pool": MaxPool((3, 3), stride=2, padding="SAME")}
    n_in = n
    for i, number in enumerate(blocks):
        stage: dict[str, Any] = {}
        for k in range(number):
            width, layers = n * 2**i, own.get(f"stage{i + 1}/block{k + 1}", {})
            stage |= {f"block{k + 1}": bottleneck(width, 2 if i and not k else 1, n_in, **layers), f"relu{k + 1}": relu}
            n_in = 4 * width
        parts[f"stage{i + 1}"] = Sequential(**stage)
    return Sequential(**parts, average=lambda x: jnp.mean(x, (0, 1)), head=Dense(n_classes))


def cost_and_arguments(net: Sequential, examples: int, size: int, seed: int = 0) -> tuple[Callable, tuple[Any, Any]]:
    """(cost, (params, images)): random weights, images and labels. The weights are NumPy's: JAX takes 20 s to compile
    random numbers of so many shapes."""
    rng = np.random.default_rng(seed)

    def weight(path: Any, leaf: Any) -> Any:
        if path[-1].key in ("scale", "variance"):
            return jnp.ones(leaf.shape)
        fan_in = np.prod(leaf.shape[:-1]) if path[-1].key == "kernel" else leaf.shape[-1]
        deviation = np.sqrt(2 / fan_in) if len(leaf.shape) > 1 else 0
        return jnp.asarray(rng.normal(0, deviation, leaf.shape), leaf.dtype)

    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (size, size, 3)))
    params, state = jax.tree_util.tree_map_with_path(weight, shapes)
    x, labels = jnp.asarray(rng.normal(size=(examples, size, size, 3)), jnp.float32), jnp.arange(examples)

    def resnet50(params: Any, x: Any) -> Any:
        logits, _ = over_examples(net)(params, state, x, train=True)
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, labels))

    return resnet50, (params, x)
