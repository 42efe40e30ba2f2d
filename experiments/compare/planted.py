"""compare --resnet50: is a mistake in one layer of ResNet-50 found, named and explained, rule by rule?

In one place stands an op of one's own, with a mistake in its backward pass that leaves the value right, so that
training runs and only learns worse.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax

from experiments.compare.resnet50 import cost_and_arguments, resnet
from experiments.shared.run import say
from jaxnn import compare_gradients
from jaxnn.checks import InputError
from jaxnn.gradients.mutants.mutant import with_backward
from jaxnn.gradients.options import add_seed_and_files, check_common, deliver, refuse
from jaxnn.hand_derived import EXAMPLES
from jaxnn.layers import BatchNorm, Conv
from jaxnn.ops import batch_norm, conv

__all__ = ["PLANTS", "resnet50"]

PLANTED = "stage3/block4"  # the eleventh of sixteen blocks


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
