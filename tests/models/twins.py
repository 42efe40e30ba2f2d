"""The named networks in PyTorch, with the names of torchvision: written for the comparison, not taken from it."""

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")  # pytest looks for doctests in this file too
nn = torch.nn


def features(*parts):
    return nn.Sequential(*parts)


class SqueezeNet(nn.Module):
    class Fire(nn.Module):
        def __init__(self, n_in, n, m):
            super().__init__()
            self.squeeze, self.expand1x1 = nn.Conv2d(n_in, n, 1), nn.Conv2d(n, m, 1)
            self.expand3x3 = nn.Conv2d(n, m, 3, padding=1)

        def forward(self, x):
            x = self.squeeze(x).relu()
            return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu()

    def __init__(self, classes):
        super().__init__()
        fire, pool = self.Fire, lambda: nn.MaxPool2d(3, 2, ceil_mode=True)
        self.features = features(
            nn.Conv2d(3, 96, 7, 2), nn.ReLU(), pool(), fire(96, 16, 64), fire(128, 16, 64), fire(128, 32, 128), pool(),
            fire(256, 32, 128), fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), pool(), fire(512, 64, 256))
        self.classifier = features(nn.Dropout(), nn.Conv2d(512, classes, 1), nn.ReLU())

    def forward(self, x):
        return self.classifier(self.features(x)).mean((2, 3))


class AlexNet(nn.Module):
    def __init__(self, classes, hidden):
        super().__init__()
        self.features = features(
            nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(),
            nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(), nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(), nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2))
        self.classifier = features(
            nn.Dropout(), nn.Linear(256 * 36, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(),
            nn.Linear(hidden, classes))

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 6).flatten(1))


class VGG(nn.Module):
    def __init__(self, classes, hidden):
        super().__init__()
        parts, n_in = [], 3
        for n, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
            for _ in range(n):
                parts += [nn.Conv2d(n_in, width, 3, padding=1), nn.ReLU()]
                n_in = width
            parts.append(nn.MaxPool2d(2))
        self.features = features(*parts)
        self.classifier = features(
            nn.Linear(512 * 49, hidden), nn.ReLU(), nn.Dropout(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Dropout(),
            nn.Linear(hidden, classes))

    def forward(self, x):
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 7).flatten(1))


class ResNet(nn.Module):
    class Squeeze(nn.Module):
        """With timm's names: squeeze-and-excitation of 1x1 convolutions."""

        def __init__(self, channels):
            super().__init__()
            self.fc1, self.fc2 = nn.Conv2d(channels, channels // 16, 1), nn.Conv2d(channels // 16, channels, 1)

        def forward(self, x):
            return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()

    class Block(nn.Module):
        def __init__(self, n_in, width, stride, wide, squeezed):
            super().__init__()
            self.se = ResNet.Squeeze(4 * width) if squeezed else nn.Identity()
            n_out = 4 * width if wide else width
            shapes = ((n_in, width, 1, 1), (width, width, 3, stride), (width, n_out, 1, 1)) if wide else (
                (n_in, width, 3, stride), (width, width, 3, 1))
            self.n = len(shapes)
            for i, (a, b, k, s) in enumerate(shapes, 1):
                setattr(self, f"conv{i}", nn.Conv2d(a, b, k, s, k // 2, bias=False))
                setattr(self, f"bn{i}", nn.BatchNorm2d(b))
            self.downsample = None
            if stride > 1 or n_in != n_out:
                self.downsample = features(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

        def forward(self, x):
            y = x
            for i in range(1, self.n + 1):
                y = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(y))
                y = y.relu() if i < self.n else y
            return (self.se(y) + (x if self.downsample is None else self.downsample(x))).relu()

    def __init__(self, classes, blocks, wide, squeezed=False):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        n_in = 64
        for stage, n in enumerate(blocks, 1):
            width = 32 * 2**stage
            layer = []
            for i in range(n):
                layer.append(self.Block(n_in, width, 2 if stage > 1 and i == 0 else 1, wide, squeezed))
                n_in = 4 * width if wide else width
            setattr(self, f"layer{stage}", features(*layer))
        self.fc = nn.Linear(n_in, classes)

    def forward(self, x):
        x = nn.functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for stage in range(1, 5):
            x = getattr(self, f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


class MobileNetV2(nn.Module):
    class Block(nn.Module):
        def __init__(self, n_in, n_out, stride, expansion):
            super().__init__()
            width = n_in * expansion
            parts = [] if expansion == 1 else [MobileNetV2.unit(n_in, width, 1)]
            self.conv = features(*parts, MobileNetV2.unit(width, width, 3, stride, width),
                                 nn.Conv2d(width, n_out, 1, bias=False), nn.BatchNorm2d(n_out))
            self.adds = stride == 1 and n_in == n_out

        def forward(self, x):
            return x + self.conv(x) if self.adds else self.conv(x)

    @staticmethod
    def unit(n_in, n_out, k, stride=1, groups=1):
        return features(nn.Conv2d(n_in, n_out, k, stride, k // 2, groups=groups, bias=False), nn.BatchNorm2d(n_out),
                        nn.ReLU6())

    def __init__(self, classes):
        super().__init__()
        parts, n_in = [self.unit(3, 32, 3, 2)], 32
        for t, c, n, s in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
                           (6, 320, 1, 1)):
            for i in range(n):
                parts.append(self.Block(n_in, c, s if i == 0 else 1, t))
                n_in = c
        self.features = features(*parts, self.unit(320, 1280, 1))
        self.classifier = features(nn.Dropout(0.2), nn.Linear(1280, classes))

    def forward(self, x):
        return self.classifier(self.features(x).mean((2, 3)))


class DenseNet(nn.Module):
    class Layer(nn.Module):
        def __init__(self, n_in):
            super().__init__()
            self.norm1, self.conv1 = nn.BatchNorm2d(n_in), nn.Conv2d(n_in, 128, 1, bias=False)
            self.norm2, self.conv2 = nn.BatchNorm2d(128), nn.Conv2d(128, 32, 3, padding=1, bias=False)

        def forward(self, x):
            return torch.cat([x, self.conv2(self.norm2(self.conv1(self.norm1(x).relu())).relu())], 1)

    def __init__(self, classes):
        super().__init__()
        self.features = features()
        self.features.add_module("conv0", nn.Conv2d(3, 64, 7, 2, 3, bias=False))
        self.features.add_module("norm0", nn.BatchNorm2d(64))
        self.features.add_module("relu0", nn.ReLU())
        self.features.add_module("pool0", nn.MaxPool2d(3, 2, 1))
        n_in = 64
        for block, n in enumerate((6, 12, 24, 16), 1):
            layers = features()
            for i in range(1, n + 1):
                layers.add_module(f"denselayer{i}", self.Layer(n_in))
                n_in += 32
            self.features.add_module(f"denseblock{block}", layers)
            if block < 4:
                transition = features()
                transition.add_module("norm", nn.BatchNorm2d(n_in))
                transition.add_module("relu", nn.ReLU())
                transition.add_module("conv", nn.Conv2d(n_in, n_in // 2, 1, bias=False))
                transition.add_module("pool", nn.AvgPool2d(2))
                self.features.add_module(f"transition{block}", transition)
                n_in //= 2
        self.features.add_module("norm5", nn.BatchNorm2d(n_in))
        self.classifier = nn.Linear(n_in, classes)

    def forward(self, x):
        return self.classifier(self.features(x).relu().mean((2, 3)))


INCEPTIONS = {"3a": (192, 64, 96, 128, 16, 32, 32), "3b": (256, 128, 128, 192, 32, 96, 64),
          "4a": (480, 192, 96, 208, 16, 48, 64), "4b": (512, 160, 112, 224, 24, 64, 64),
          "4c": (512, 128, 128, 256, 24, 64, 64), "4d": (512, 112, 144, 288, 32, 64, 64),
          "4e": (528, 256, 160, 320, 32, 128, 128), "5a": (832, 256, 160, 320, 32, 128, 128),
          "5b": (832, 384, 192, 384, 48, 128, 128)}


class GoogLeNet(nn.Module):
    class Unit(nn.Module):
        def __init__(self, n_in, n_out, k, stride=1):
            super().__init__()
            self.conv = nn.Conv2d(n_in, n_out, k, stride, k // 2, bias=False)
            self.bn = nn.BatchNorm2d(n_out, eps=1e-3)

        def forward(self, x):
            return self.bn(self.conv(x)).relu()

    class Inception(nn.Module):
        def __init__(self, n_in, n1, r3, n3, r5, n5, p):
            super().__init__()
            unit = GoogLeNet.Unit
            self.branch1 = unit(n_in, n1, 1)
            self.branch2 = features(unit(n_in, r3, 1), unit(r3, n3, 3))
            self.branch3 = features(unit(n_in, r5, 1), unit(r5, n5, 3))
            self.branch4 = features(nn.MaxPool2d(3, 1, 1), unit(n_in, p, 1))

        def forward(self, x):
            return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)

    def __init__(self, classes):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = self.Unit(3, 64, 7, 2), self.Unit(64, 64, 1), self.Unit(64, 192, 3)
        for name, shape in INCEPTIONS.items():
            setattr(self, f"inception{name}", self.Inception(*shape))
        self.fc = nn.Linear(1024, classes)

    def forward(self, x):
        def pool(x, window=3):
            return nn.functional.max_pool2d(x, window, 2, ceil_mode=True)

        x = pool(self.conv3(self.conv2(pool(self.conv1(x)))))
        x = pool(self.inception3b(self.inception3a(x)))
        for name in "abcde":
            x = getattr(self, f"inception4{name}")(x)
        return self.fc(self.inception5b(self.inception5a(pool(x, 2))).mean((2, 3)))


class NN4Small2(nn.Module):
    """With the course's names, a dot where these have an underscore. The branches that pool are laid into zeros."""

    class Unit(nn.Sequential):
        """Convolution, norm and relu, once or twice: numbered if twice."""

        def __init__(self, *shapes, eps=1e-5):
            super().__init__()
            for i, (n_in, n, k, s) in enumerate(shapes, 1):
                i = i if len(shapes) > 1 else ""
                self.add_module(f"conv{i}", nn.Conv2d(n_in, n, k, s, k // 2))
                self.add_module(f"bn{i}", nn.BatchNorm2d(n, eps))
                self.add_module(f"relu{i}", nn.ReLU())

    @staticmethod
    def halves(x):
        return nn.functional.max_pool2d(x, 3, 2)

    @staticmethod
    def mean_of_thirds(x):
        return nn.functional.avg_pool2d(x, 3)

    @staticmethod
    def norm_of_thirds(x):
        """Of each 3x3 window. PyTorch's own lp_pool2d has NaN for the gradient of a window of zeros."""
        return torch.linalg.vector_norm(x.unfold(2, 3, 3).unfold(3, 3, 3), dim=(-2, -1))

    class Inception(nn.Module):
        def __init__(self, n_in, stride, r3, n3, r5, n5, pool, p, n1, *, before, after):
            super().__init__()
            unit = NN4Small2.Unit
            self.add_module("3x3", unit((n_in, r3, 1, 1), (r3, n3, 3, stride)))
            if n5:
                self.add_module("5x5", unit((n_in, r5, 1, 1), (r5, n5, 5, stride)))
            self.pool = unit(*([(n_in, p, 1, 1)] if p else []))
            self.pooling, self.pads = pool, (before, after, before, after)
            if n1:
                self.add_module("1x1", unit((n_in, n1, 1, 1)))

        def forward(self, x):
            pooled = nn.functional.pad(self.pool(self.pooling(x)), self.pads)
            return torch.cat([pooled if name == "pool" else branch(x) for name, branch in self.named_children()], 1)

    def __init__(self, pooling):
        super().__init__()
        one, halves = self.Inception, self.halves
        thirds = self.mean_of_thirds if pooling == "average" else self.norm_of_thirds
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3), nn.BatchNorm2d(64, 1e-3)
        self.conv2, self.bn2 = nn.Conv2d(64, 64, 1), nn.BatchNorm2d(64)
        self.conv3, self.bn3 = nn.Conv2d(64, 192, 3, 1, 1), nn.BatchNorm2d(192)
        self.inception_3a = one(192, 1, 96, 128, 16, 32, halves, 32, 64, before=3, after=4)
        self.inception_3b = one(256, 1, 96, 128, 32, 64, thirds, 64, 64, before=4, after=4)
        self.inception_3c = one(320, 2, 128, 256, 32, 64, halves, 0, 0, before=0, after=1)
        self.inception_4a = one(640, 1, 96, 192, 32, 64, thirds, 128, 256, before=2, after=2)
        self.inception_4e = one(640, 2, 160, 256, 64, 128, halves, 0, 0, before=0, after=1)
        self.inception_5a = one(1024, 1, 96, 384, 0, 0, thirds, 96, 256, before=1, after=1)
        self.inception_5b = one(736, 1, 96, 384, 0, 0, halves, 96, 256, before=1, after=1)
        self.dense = nn.Linear(736, 128)

    def forward(self, x):
        def pool(x):
            return nn.functional.max_pool2d(x, 3, 2, 1)

        x = pool(self.bn1(self.conv1(x)).relu())
        x = pool(self.bn3(self.conv3(self.bn2(self.conv2(x)).relu())).relu())
        for name in ("3a", "3b", "3c", "4a", "4e", "5a", "5b"):
            x = getattr(self, f"inception_{name}")(x)
        return nn.functional.normalize(self.dense(x.mean((2, 3))))
