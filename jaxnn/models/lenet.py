"""LeNet-5 (LeCun, Bottou, Bengio & Haffner 1998): as it is built today, and as the paper has it.

x is (32, 32, 1), a digit of 28x28 with two pixels of padding around it.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import variance_scaling

from jaxnn.layers import Conv, Dense, Flatten, Layer, MaxPool, Sequential
from jaxnn.layers.layer import shape_of
from jaxnn.ops import average_pool, conv, relu, tanh

__all__ = ["lenet5", "lenet5_1998"]

# Which of the six maps of S2 each of the sixteen maps of C3 reads (table I of the paper).
C3_READS = ((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5),
            (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5))


def lenet5(classes: int = 10, *, act: Any = relu, pool: Any = MaxPool, padding: Any = "VALID") -> Sequential:
    """Two convolutions, three dense layers: 61,706 parameters for (32, 32, 1).

    Args:
      classes: how many logits.
      act: the activation; `jaxnn.tanh` with `AveragePool` is nearer to the paper.
      pool: MaxPool or AveragePool.
      padding: of the first convolution; 2 takes a picture of 28x28 as it is.
    """
    return Sequential(
        conv1=Conv(6, (5, 5), padding=padding), act1=act, pool1=pool(2),
        conv2=Conv(16, (5, 5), padding="VALID"), act2=act, pool2=pool(2), flatten=Flatten(),
        fc1=Dense(120), act3=act, fc2=Dense(84), act4=act, fc3=Dense(classes))


def lenet5_1998(classes: int = 10) -> Sequential:
    """The paper's: subsampling with a learnt coefficient, a scaled tanh, C3 that reads some maps of S2 only: 60,000
    parameters up to F6.

    The paper's last layer measures the distance of F6 from a picture of each digit, 7x12 pixels drawn by hand; here a
    dense layer stands in its place, with 850 parameters for ten classes.
    """
    return Sequential(
        c1=Conv(6, (5, 5), padding="VALID", kernel_init=FAN_IN), act1=scaled_tanh, s2=Subsampling(), act2=scaled_tanh,
        c3=SparseConv(C3_READS), act3=scaled_tanh, s4=Subsampling(), act4=scaled_tanh,
        c5=Conv(120, (5, 5), padding="VALID", kernel_init=FAN_IN), act5=scaled_tanh, flatten=Flatten(),
        f6=Dense(84, weight_init=FAN_IN), act6=scaled_tanh, output=Dense(classes, weight_init=FAN_IN))


FAN_IN = variance_scaling(1.0, "fan_in", "uniform")


def scaled_tanh(x: Any) -> Any:
    """y = 1.7159 tanh(2 x / 3), which is ±1 at ±1 (appendix A)."""
    return 1.7159 * tanh(2 / 3 * x)


@dataclasses.dataclass(frozen=True)
class Subsampling(Layer):
    """y = a Σ x + b over windows of 2x2, with a and b learnt for each map."""

    random = False

    def init(self, key, shape):
        maps = shape_of(self, shape, tree=False).shape[-1]
        return {"coefficient": jnp.full(maps, 0.25), "bias": jnp.zeros(maps)}, {}

    def apply(self, params, state, x, key, *, train):
        return params["coefficient"] * (4 * average_pool(x)) + params["bias"], state


@dataclasses.dataclass(frozen=True)
class SparseConv(Layer):
    """A 5x5 convolution whose maps read some maps of x each.

    reads: for each map out the maps in. The kernels that are learnt are stored one after another; the others are 0.
    """

    reads: tuple[tuple[int, ...], ...]
    random = False

    def init(self, key, shape):
        n = sum(map(len, self.reads))
        bound = np.concatenate([np.full(len(maps), (25 * len(maps)) ** -0.5) for maps in self.reads])
        kernels = jax.random.uniform(key, (5, 5, n), minval=-1.0) * jnp.asarray(np.sqrt(3) * bound, jnp.float32)
        return {"kernels": kernels, "bias": jnp.zeros(len(self.reads))}, {}

    def apply(self, params, state, x, key, *, train):
        ins = np.concatenate([np.array(maps) for maps in self.reads])
        outs = np.repeat(np.arange(len(self.reads)), [len(maps) for maps in self.reads])
        kernel = jnp.zeros((5, 5, x.shape[-1], len(self.reads)), params["kernels"].dtype)
        kernel = kernel.at[:, :, ins, outs].set(params["kernels"])
        return conv({"kernel": kernel, "bias": params["bias"]}, x, padding="VALID"), state
