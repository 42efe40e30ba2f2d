"""A frame through YOLO-Fastest, its trained weights in PyTorch and in our layers."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.bench.measure import Side
from experiments.bench.torch_darknet import torch_darknet
from experiments.bench.torch_device import pytorch
from jaxnn.compiler_options import compiler_options
from jaxnn.data import MissingData, find
from jaxnn.detection import darknet_network, fold_darknet, read_configuration, read_darknet_weights
from jaxnn.gradients.cost import temporaries

__all__ = ["files_are_there", "yolo_fastest"]

SIZE = (352, 608)
FILES = ("yolo-fastest-1.1-xl.cfg", "yolo-fastest-1.1-xl.weights")


def files_are_there() -> bool:
    """Whether the data directory has the network: its benchmark is left out where it has not."""
    try:
        return len(_files()) == len(FILES)
    except MissingData:
        return False


def yolo_fastest() -> list[Side]:
    """One frame of 608x352 at inference, batch norm folded on each side: PyTorch with channels first and last, and
    ours. All give the maps of both heads."""
    configuration, weights = _files()
    sections = read_configuration(configuration)
    net = darknet_network(sections)
    folded = fold_darknet(net, *read_darknet_weights(weights, net))
    x = np.random.default_rng(0).uniform(0, 1, (*SIZE, 3)).astype(np.float32)

    def maps(params: Any, x: Any) -> Any:
        return folded.net(params, {}, x)[0]

    picture = jnp.asarray(x)
    compiled = jax.jit(maps).lower(folded.params, picture).compile(compiler_options(maps, folded.params, picture))
    ours = Side("jaxnn", lambda: compiled(folded.params, picture), temporaries(compiled))
    return [*_torch_sides(sections, weights, x), ours]


def _torch_sides(sections: Any, weights: Any, x: np.ndarray) -> list[Side]:
    torch = pytorch()
    if torch is None or jax.default_backend() == "gpu":  # Darknet's layers stand on the CPU here
        return []
    run = torch_darknet(sections, weights)
    first = torch.tensor(np.moveaxis(x, -1, 0)[None].copy())
    last = first.to(memory_format=torch.channels_last)

    def call(x: Any) -> Any:
        with torch.inference_mode():
            return [y.numpy() for y in run(x)]

    return [Side("PyTorch, channels last", lambda: call(last)), Side("PyTorch", lambda: call(first))]


def _files() -> list[Any]:
    return [find(f"c4/yolo_fastest/{name}", how_to_get="get it from the repository dog-qiuqiu/Yolo-Fastest",
                 instead="the other benchmarks") for name in FILES]
