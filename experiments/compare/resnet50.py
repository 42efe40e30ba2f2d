"""compare --resnet50: is a mistake in one layer of ResNet-50 found, named and explained, rule by rule?

The network has He et al.'s bottleneck blocks. In one place stands an op of one's own, with a mistake in its backward
pass that leaves the value right, so that training runs and only learns worse.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from experiments.shared.run import say
from jaxnn import compare_gradients
from jaxnn.checks import InputError
from jaxnn.gradients.mutants.mutant import with_backward
from jaxnn.gradients.options import add_seed_and_files, check_common, deliver, refuse
from jaxnn.hand_derived import EXAMPLES
from jaxnn.layers import BatchNorm, Conv, Dense, MaxPool, Residual, Sequential, over_examples
from jaxnn.ops import batch_norm, conv, relu, softmax_cross_entropy

__all__ = ["BLOCKS", "PLANTS", "cost_and_arguments", "resnet", "resnet50"]

BLOCKS = (3, 4, 6, 3)  # of ResNet-50, in each stage (He et al. 2016, table 1)
PLANTED = "stage3/block4"  # the tenth of sixteen blocks


def _norm_backward(cache: Any, dy: Any) -> Any:
    """dx = r (dx̂ - ⟨dx̂⟩): as if the variance did not depend on x."""
    dparams, dstate, _ = batch_norm.backward(cache, dy)
    dx_hat = cache.scale * dy[0]
    mean = lax.pmean(jnp.mean(dx_hat, tuple(range(dx_hat.ndim - 1))), EXAMPLES)
    return dparams, dstate, cache.r * (dx_hat - mean)


def _conv_backward(cache: Any, dy: Any) -> Any:
    """dx with a kernel that is not reversed."""
    return conv.backward(cache._replace(kernel=lax.rev(cache.kernel, (0, 1))), dy)


my_batch_norm = with_backward(batch_norm, {}, _norm_backward, name="my_batch_norm")
my_conv = with_backward(conv, {}, _conv_backward, name="my_conv")


class MyBatchNorm(BatchNorm):
    def apply(self, params, state, x, key, *, train):
        return my_batch_norm(params, state, x)


class MyConv(Conv):
    def apply(self, params, state, x, key, *, train):
        return my_conv(params, x), state


PLANTS: dict[str, dict[str, Callable]] = {"none": {}, "batch-norm": {"norm": MyBatchNorm}, "conv": {"conv": MyConv}}


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
           own: dict[str, dict[str, Callable]]) -> Sequential:
    """A ResNet of bottleneck blocks, for images of any size.

    blocks: their number in each stage; n: channels of the first; own: other layers for the middle of a block, by the
    block's place.
    """
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


def resnet50(argv: Sequence[str]) -> int:
    """compare --resnet50: each rule inside ResNet-50, one of them planted with a mistake."""
    parser = argparse.ArgumentParser(
        "python -m experiments compare --resnet50", allow_abbrev=False,
        description=f"Compares each rule inside ResNet-50 at all of its uses, with a mistake planted in {PLANTED}. The "
        "exit status is 0 if all rules are right, 1 if not.")
    parser.add_argument("--plant", choices=PLANTS, default="batch-norm",
                        help="the mistake: batch-norm treats the variance as a constant, conv does not reverse its "
                        "kernel (default: batch-norm)")
    parser.add_argument("--size", type=int, default=64, metavar="N", help="of the images (default: 64)")
    parser.add_argument("--examples", type=int, default=2, metavar="N", help="in the batch (default: 2)")
    add_seed_and_files(parser)
    parser.set_defaults(plot=None)
    options = parser.parse_args(argv)
    try:
        check_common(options)
        for name in ("size", "examples"):
            if getattr(options, name) < 1:
                raise InputError(f"--{name}", f"expects an integer at least 1; got {getattr(options, name)}")
        begin = time.perf_counter()
        cost, args = cost_and_arguments(resnet(own={PLANTED: PLANTS[options.plant]}), options.examples, options.size,
                                        int(options.seed))
        report = compare_gradients(cost, *args, by="rule", seed=int(options.seed))
    except InputError as error:
        return refuse(error)
    status = deliver(report, options)
    say(f"{time.perf_counter() - begin:.1f} s, the network included")
    return status
