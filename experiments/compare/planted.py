"""compare --resnet50: is a mistake in one layer of ResNet-50 found, named and explained, rule by rule?

The network is `jaxnn.models.resnet50`. In one place of it stands an op of one's own, with a mistake in its backward
pass that leaves the value right, so that training runs and only learns worse.
"""

import argparse
import copy
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
from jaxnn.layers import BatchNorm, Conv, Sequential, over_examples
from jaxnn.models import resnet50 as resnet50_of
from jaxnn.ops import batch_norm, conv, softmax_cross_entropy

__all__ = ["PLANTS", "cost_and_arguments", "resnet50", "with_plant"]

PLANTED = "layer3/3"  # the eleventh of sixteen blocks


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
my_conv = with_backward(conv, {"padding": 1}, _conv_backward, name="my_conv")  # as in a block: 3x3, stride 1


class MyBatchNorm(BatchNorm):
    def apply(self, params, state, x, key, *, train):
        return my_batch_norm(params, state, x)


class MyConv(Conv):
    def apply(self, params, state, x, key, *, train):
        return my_conv(params, x), state


# Of a block: the part in whose place one of these stands.
PLANTS: dict[str, tuple[str, Callable | None]] = {
    "none": ("", None), "batch-norm": ("bn2", MyBatchNorm), "conv": ("conv2", MyConv)}


def with_plant(net: Sequential, block: str, plant: str) -> Sequential:
    """The network with one of `PLANTS` in a block, given by its path: "layer3/3"."""
    part, kind = PLANTS[plant]
    return net if kind is None else _replaced(net, (*block.split("/"), "residual", "body", part), kind)


def _replaced(layer: Any, path: tuple[str, ...], kind: Callable) -> Any:
    """A layer with a layer of another kind, and the same options, at a path."""
    if not path:
        return kind(**vars(layer))
    changed = copy.copy(layer)
    changed.parts = layer.parts | {path[0]: _replaced(layer.parts[path[0]], path[1:], kind)}
    return changed


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

    def cost(params: Any, x: Any) -> Any:
        logits, _ = over_examples(net)(params, state, x, train=True)
        return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, labels))

    cost.__name__ = "resnet50"
    return cost, (params, x)


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
        net = with_plant(resnet50_of(), PLANTED, options.plant)
        cost, args = cost_and_arguments(net, options.examples, options.size, int(options.seed))
        report = compare_gradients(cost, *args, by="rule", seed=int(options.seed))
    except InputError as error:
        return refuse(error)
    status = deliver(report, options)
    say(f"{time.perf_counter() - begin:.1f} s, the network included")
    return status
