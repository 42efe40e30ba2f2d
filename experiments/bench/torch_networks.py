"""LeNet-5, ResNet-18, MobileNet v2, U-Net, a character LSTM and a transformer in PyTorch, and a training step of each,
eager or compiled."""

from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.bench.torch_device import as_result, on_device, pytorch

__all__ = ["step_of"]


def step_of(name: str, x: Any, labels: Any, *, dtype: str | None = None,
            compiled: bool = False) -> Callable[[], Any] | None:
    """One Adam step at each call; None without PyTorch. dtype: "bfloat16" to compute in, by its autocast."""
    torch = pytorch()
    if torch is None:
        return None
    net = {"lenet-5": _lenet, "resnet-18": _resnet, "mobilenet-v2": _mobilenet, "u-net": _unet,
           "character-lstm": _character_lstm, "transformer": _transformer}[name](torch.nn)
    net = on_device(net)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    forward = torch.compile(net) if compiled else net
    x = np.asarray(x)
    inputs = on_device(np.moveaxis(x, -1, 1).copy()) if x.ndim == 4 else on_device(x).long()
    targets = on_device(labels).long()

    def step() -> Any:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=dtype is not None):
            loss = torch.nn.functional.cross_entropy(forward(inputs), targets)
        loss.backward()
        optimizer.step()
        return as_result([loss])

    return step


def _lenet(nn: Any) -> Any:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))


def _unit(nn: Any, n_in: int, n_out: int, window: int, stride: int = 1, groups: int = 1, act: Any = None) -> list[Any]:
    return [nn.Conv2d(n_in, n_out, window, stride, window // 2, groups=groups, bias=False), nn.BatchNorm2d(n_out),
            *([act] if act else [])]


def _residual(nn: Any, body: Any, shortcut: Any, act: Any) -> Any:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.shortcut, self.act = body, shortcut, act

        def forward(self, x: Any) -> Any:
            return self.act(self.body(x) + self.shortcut(x))

    return Residual()


def _resnet(nn: Any) -> Any:
    parts, n_in = _unit(nn, 3, 64, 3, act=nn.ReLU()), 64
    for n, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            body = nn.Sequential(*_unit(nn, n_in, n, 3, stride, act=nn.ReLU()), *_unit(nn, n, n, 3))
            changes = stride > 1 or n_in != n
            shortcut = nn.Sequential(*_unit(nn, n_in, n, 1, stride)) if changes else nn.Identity()
            parts.append(_residual(nn, body, shortcut, nn.ReLU()))
            n_in = n
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(4 * 4 * 512, 10))


def _mobilenet(nn: Any) -> Any:
    from jaxnn.models.mobilenet import STAGES
    parts, n_in = _unit(nn, 3, 32, 3, 2, act=nn.ReLU6()), 32
    for expansion, n_out, n, first in STAGES:
        for i in range(n):
            width, stride = n_in * expansion, first if i == 0 else 1
            body = nn.Sequential(
                *([] if expansion == 1 else _unit(nn, n_in, width, 1, act=nn.ReLU6())),
                *_unit(nn, width, width, 3, stride, width, nn.ReLU6()), *_unit(nn, width, n_out, 1))
            adds = stride == 1 and n_in == n_out
            parts.append(_residual(nn, body, nn.Identity(), nn.Identity()) if adds else body)
            n_in = n_out
    return nn.Sequential(*parts, *_unit(nn, 320, 1280, 1, act=nn.ReLU6()), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                         nn.Linear(1280, 10))


def _unet(nn: Any) -> Any:
    import torch

    def stage(n_in: int, n: int) -> Any:
        return nn.Sequential(nn.Conv2d(n_in, n, 3, padding=1), nn.ReLU(), nn.Conv2d(n, n, 3, padding=1), nn.ReLU())

    class UNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            widths = [32 * 2**i for i in range(5)]
            self.down = nn.ModuleList([stage(a, b) for a, b in zip((3, *widths), widths, strict=False)])
            self.widen = nn.ModuleList([
                nn.ConvTranspose2d(2 * w, w, 3, 2, 1, output_padding=1) for w in widths[-2::-1]])
            self.up = nn.ModuleList([stage(2 * w, w) for w in widths[-2::-1]])
            self.last, self.logits = nn.Conv2d(32, 32, 3, padding=1), nn.Conv2d(32, 12, 1)

        def forward(self, x: Any) -> Any:
            skips = []
            for part in self.down[:-1]:
                x = part(x)
                skips.append(x)
                x = nn.functional.max_pool2d(x, 2)
            x = self.down[-1](x)
            for widen, part in zip(self.widen, self.up, strict=True):
                x = part(torch.cat([widen(x), skips.pop()], 1))
            return self.logits(self.last(x).relu())

    return UNet()


def _character_lstm(nn: Any) -> Any:
    class CharacterLSTM(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.lstm = nn.Embedding(86, 64), nn.LSTM(64, 256, batch_first=True)
            self.logits = nn.Linear(256, 86)

        def forward(self, x: Any) -> Any:
            return self.logits(self.lstm(self.embedding(x))[0]).transpose(1, 2)  # classes as axis 1

    return CharacterLSTM()


def _transformer(nn: Any) -> Any:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(128) for _ in range(2)])
            self.qkv, self.out = nn.Linear(128, 3 * 128), nn.Linear(128, 128)
            self.hidden, self.output = nn.Linear(128, 512), nn.Linear(512, 128)

        def forward(self, x: Any) -> Any:
            q, k, v = (a.unflatten(-1, (4, 32)).transpose(1, 2) for a in self.qkv(self.norms[0](x)).chunk(3, -1))
            y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).flatten(2))
            return x + self.output(nn.functional.gelu(self.hidden(self.norms[1](x)), approximate="tanh"))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(86, 128), nn.Embedding(256, 128)
            self.blocks = nn.Sequential(*[Block() for _ in range(4)])
            self.norm, self.logits = nn.LayerNorm(128), nn.Linear(128, 86)

        def forward(self, x: Any) -> Any:
            x = self.blocks(self.tokens(x) + self.places.weight[:x.shape[1]])
            return self.logits(self.norm(x)).transpose(1, 2)

    return Transformer()
