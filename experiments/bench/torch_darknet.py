"""A network of Darknet in PyTorch, built from the same .cfg and .weights: the files are read a second time, front to
back, and batch norm is folded here as OpenCV does."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.detection import Section

__all__ = ["torch_darknet"]

EPS = 1e-5


def torch_darknet(sections: Sequence[Section], weights: Path, *, fold: bool = True) -> Callable[[Any], list[Any]]:
    """x (examples, channels, height, width) -> the maps of the heads, or the last section's value where there is none.

    fold: whether batch norm is folded into its convolution.
    """
    import torch

    data = Path(weights).read_bytes()
    major, minor = np.frombuffer(data[:8], "<i4")
    stream = _Numbers(np.frombuffer(data, "<f4", offset=20 if major * 10 + minor >= 2 else 16))
    channels, steps = [int(sections[0].options["channels"])], []
    for i, section in enumerate(sections[1:]):
        step, sources = _step(torch, section, i, channels, stream, fold)
        steps.append((section.kind, step, sources))
    assert stream.place == len(stream.numbers)

    def run(x: Any) -> list[Any]:
        values, heads = {-1: x}, []
        for i, (kind, step, sources) in enumerate(steps):
            values[i] = step(*(values[n] for n in sources))
            heads += [values[i]] * (kind in ("yolo", "region"))
        return heads or [values[len(steps) - 1]]

    return run


class _Numbers:
    def __init__(self, numbers: np.ndarray):
        self.numbers, self.place = numbers, 0

    def take(self, *shape: int) -> Any:
        import torch

        n = int(np.prod(shape))
        part = self.numbers[self.place:self.place + n]
        self.place += n
        return torch.tensor(part.copy().reshape(shape))


def _step(torch: Any, section: Section, i: int, channels: list[int], stream: _Numbers,
          fold: bool) -> tuple[Callable, tuple[int, ...]]:
    """What a section does, and the numbers of those it reads. channels: of the picture and of all before; grows."""
    functional, options = torch.nn.functional, section.options
    before: tuple[int, ...] = (i - 1,)
    kind, stride = section.kind, int(options.get("stride", 1))
    n = channels[-1]
    if kind == "convolutional":
        step, n = _convolution(torch, options, n, stream, fold)
    elif kind == "maxpool":
        size = int(options["size"])
        pads = (size - 1) // 2, size - 1 - (size - 1) // 2

        def step(x: Any) -> Any:
            return functional.max_pool2d(functional.pad(x, (*pads, *pads), value=-torch.inf), size, stride)
    elif kind == "route":
        before = tuple(int(k) if int(k) >= 0 else i + int(k) for k in options["layers"].split(","))
        groups, part = int(options.get("groups", 1)), int(options.get("group_id", 0))
        n = sum(channels[k + 1] for k in before) // groups

        def step(*xs: Any) -> Any:
            return torch.cat([x.chunk(groups, 1)[part] for x in xs], 1)
    elif kind == "shortcut":
        other = int(options["from"])
        before = (i - 1, other if other >= 0 else i + other)

        def step(a: Any, b: Any) -> Any:
            return a + b
    elif kind == "upsample":
        def step(x: Any) -> Any:
            return functional.interpolate(x, scale_factor=int(options["stride"]))
    elif kind == "reorg3d":
        n *= stride**2

        def step(x: Any) -> Any:
            return torch.cat([x[:, :, r::stride, c::stride] for r in range(stride) for c in range(stride)], 1)
    else:
        def step(x: Any) -> Any:  # dropout, at inference, and the heads
            return x
    channels.append(n)
    return step, before


def _convolution(torch: Any, options: Any, n_in: int, stream: _Numbers, fold: bool) -> tuple[Callable, int]:
    functional = torch.nn.functional
    n, size, groups = (int(options.get(name, default)) for name, default in (
        ("filters", 1), ("size", 1), ("groups", 1)))
    padding = size // 2 if int(options.get("pad", 0)) else int(options.get("padding", 0))
    stride, bias, norm = int(options.get("stride", 1)), stream.take(n), None
    if int(options.get("batch_normalize", 0)):
        scale, mean, variance = stream.take(n), stream.take(n), stream.take(n)
        norm = mean, variance, scale, bias
    kernel = stream.take(n, n_in // groups, size, size)
    if norm and fold:
        factor = scale / torch.sqrt(variance + EPS)
        kernel, bias, norm = kernel * factor[:, None, None, None], bias - factor * mean, None
    word = options.get("activation", "logistic")

    def step(x: Any) -> Any:
        y = functional.conv2d(x, kernel, None if norm else bias, stride, padding, 1, groups)
        if norm:
            y = functional.batch_norm(y, *norm, eps=EPS)
        return functional.leaky_relu(y, 0.1) if word == "leaky" else torch.sigmoid(y) if word == "logistic" else y

    return step, n
