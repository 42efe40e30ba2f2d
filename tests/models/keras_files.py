"""Keras' networks as it saves them: names and shapes in order, written from its own descriptions; and in PyTorch."""

import numpy as np

V1 = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]
V2 = [(16, 1), (24, 2), (24, 1), (32, 2), (32, 1), (32, 1), (64, 2), (64, 1), (64, 1), (64, 1), (96, 1), (96, 1),
      (96, 1), (160, 2), (160, 1), (160, 1), (320, 1)]


def layers(name, classes):
    """(layer, kind, shape) of each array; kind as Keras calls the array."""
    def conv(name, k, n_in, n_out, bias=True):
        yield name, "kernel", (k, k, n_in, n_out)
        if bias:
            yield name, "bias", (n_out,)

    def norm(name, n):
        for kind in ("gamma", "beta", "moving_mean", "moving_variance"):
            yield name, kind, (n,)

    def dense(name, n_in, n_out):
        yield name, "kernel", (n_in, n_out)
        yield name, "bias", (n_out,)

    if name == "vgg16":
        n_in = 3
        for block, (n, width) in enumerate(((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), 1):
            for i in range(1, n + 1):
                yield from conv(f"block{block}_conv{i}", 3, n_in, width)
                n_in = width
        yield from dense("fc1", 7 * 7 * 512, 20)
        yield from dense("fc2", 20, 20)
        yield from dense("predictions", 20, classes)
    elif name == "resnet50_keras":
        yield from conv("conv1_conv", 7, 3, 64)
        yield from norm("conv1_bn", 64)
        n_in = 64
        for stage, n in enumerate((3, 4, 6, 3), 2):
            width = 16 * 2**stage
            for block in range(1, n + 1):
                at = f"conv{stage}_block{block}"
                shapes = [(0, 1, n_in, 4 * width)] if block == 1 else []
                shapes += [(1, 1, n_in, width), (2, 3, width, width), (3, 1, width, 4 * width)]
                for place, k, a, b in shapes:
                    yield from conv(f"{at}_{place}_conv", k, a, b)
                    yield from norm(f"{at}_{place}_bn", b)
                n_in = 4 * width
        yield from dense("predictions", 2048, classes)
    elif name == "mobilenet_v1_keras":
        yield from conv("conv1", 3, 3, 32, bias=False)
        yield from norm("conv1_bn", 32)
        n_in = 32
        for i, (n, _) in enumerate(V1, 1):
            yield f"conv_dw_{i}", "depthwise_kernel", (3, 3, n_in, 1)
            yield from norm(f"conv_dw_{i}_bn", n_in)
            yield from conv(f"conv_pw_{i}", 1, n_in, n, bias=False)
            yield from norm(f"conv_pw_{i}_bn", n)
            n_in = n
        yield from conv("conv_preds", 1, 1024, classes)
    else:
        yield from conv("Conv1", 3, 3, 32, bias=False)
        yield from norm("bn_Conv1", 32)
        n_in = 32
        for i, (n, _) in enumerate(V2):
            at, wide = f"block_{i}" if i else "expanded_conv", 6 * n_in if i else n_in
            if i:
                yield from conv(f"{at}_expand", 1, n_in, wide, bias=False)
                yield from norm(f"{at}_expand_BN", wide)
            yield f"{at}_depthwise", "depthwise_kernel", (3, 3, wide, 1)
            yield from norm(f"{at}_depthwise_BN", wide)
            yield from conv(f"{at}_project", 1, wide, n, bias=False)
            yield from norm(f"{at}_project_BN", n)
            n_in = n
        yield from conv("Conv_1", 1, 320, 1280, bias=False)
        yield from norm("Conv_1_bn", 1280)
        yield from dense("predictions", 1280, classes)


def filled(name, classes=7):
    """{(layer, kind): array}, random as after training."""
    rng = np.random.default_rng(0)
    arrays = {}
    for layer, kind, shape in layers(name, classes):
        if kind in ("gamma", "moving_variance"):
            array = rng.uniform(0.5, 1.5, shape)
        else:
            fan = np.prod(shape[:2 if "depthwise" in kind else -1]) if "kernel" in kind else 100
            array = rng.normal(0, (2 / fan) ** 0.5, shape)
        arrays[layer, kind] = array.astype(np.float32)
    return arrays


def write(h5py, path, arrays, *, prefix="", place="{layer}/{layer}/{kind}:0"):
    """As Keras does: a group for each layer, with its names in attributes."""
    with h5py.File(path, "w") as file:
        for (layer, kind), array in arrays.items():
            name = place.format(layer=layer, kind=kind)
            file[prefix + name] = array
        (file[prefix] if prefix else file).attrs["layer_names"] = [layer.encode() for layer, _ in arrays][:20]
    return path


class Reader:
    """A network in PyTorch that reads Keras' arrays as Keras would: eps is that of its description."""

    def __init__(self, torch, arrays, eps):
        self.f, self.torch, self.arrays, self.eps = torch.nn.functional, torch, arrays, eps

    def get(self, layer, kind):
        array = self.arrays.get((layer, kind))
        return None if array is None else self.torch.tensor(array)

    def conv(self, x, layer, stride=1, same=False):
        kernel = self.get(layer, "kernel")
        x = self.same(x, kernel.shape[0], stride) if same else x
        return self.f.conv2d(x, kernel.permute(3, 2, 0, 1), self.get(layer, "bias"), stride)

    def depthwise(self, x, layer, stride=1):
        kernel = self.get(layer, "depthwise_kernel")
        return self.f.conv2d(x, kernel.permute(2, 3, 0, 1), None, stride, groups=x.shape[1])

    def same(self, x, k, stride):
        n = x.shape[-1]
        total = max((-(-n // stride) - 1) * stride + k - n, 0)
        return self.f.pad(x, (total // 2, total - total // 2) * 2)

    def norm(self, x, layer):
        return self.f.batch_norm(x, self.get(layer, "moving_mean"), self.get(layer, "moving_variance"),
                                 self.get(layer, "gamma"), self.get(layer, "beta"), eps=self.eps)

    def dense(self, x, layer):
        return x @ self.get(layer, "kernel") + self.get(layer, "bias")


def logits(torch, name, arrays, x):
    """x (batch, height, width, 3) -> (batch, classes), before Keras' softmax."""
    net = Reader(torch, arrays, 1.001e-5 if name == "resnet50_keras" else 1e-3)
    x, f = torch.tensor(x).permute(0, 3, 1, 2), torch.nn.functional
    if name == "vgg16":
        for block, n in enumerate((2, 2, 3, 3, 3), 1):
            for i in range(1, n + 1):
                x = net.conv(x, f"block{block}_conv{i}", same=True).relu()
            x = f.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in ("fc1", "fc2"):
            x = net.dense(x, layer).relu()
        return net.dense(x, "predictions")
    if name == "resnet50_keras":
        x = net.norm(net.conv(f.pad(x, (3,) * 4), "conv1_conv", 2), "conv1_bn").relu()
        x = f.max_pool2d(f.pad(x, (1,) * 4), 3, 2)
        for stage, n in enumerate((3, 4, 6, 3), 2):
            for block in range(1, n + 1):
                at, stride = f"conv{stage}_block{block}", 2 if block == 1 and stage > 2 else 1
                way = net.norm(net.conv(x, f"{at}_0_conv", stride), f"{at}_0_bn") if block == 1 else x
                x = net.norm(net.conv(x, f"{at}_1_conv", stride), f"{at}_1_bn").relu()
                x = net.norm(net.conv(x, f"{at}_2_conv", same=True), f"{at}_2_bn").relu()
                x = (net.norm(net.conv(x, f"{at}_3_conv"), f"{at}_3_bn") + way).relu()
        return net.dense(x.mean((2, 3)), "predictions")
    if name == "mobilenet_v1_keras":
        x = f.relu6(net.norm(net.conv(f.pad(x, (0, 1, 0, 1)), "conv1", 2), "conv1_bn"))
        for i, (_, stride) in enumerate(V1, 1):
            x = net.same(x, 3, 1) if stride == 1 else f.pad(x, (0, 1, 0, 1))
            x = f.relu6(net.norm(net.depthwise(x, f"conv_dw_{i}", stride), f"conv_dw_{i}_bn"))
            x = f.relu6(net.norm(net.conv(x, f"conv_pw_{i}"), f"conv_pw_{i}_bn"))
        return net.conv(x.mean((2, 3), keepdim=True), "conv_preds").flatten(1)
    x = f.relu6(net.norm(net.conv(x, "Conv1", 2, same=True), "bn_Conv1"))
    n_in = 32
    for i, (n, stride) in enumerate(V2):
        at, before = f"block_{i}" if i else "expanded_conv", x
        if i:
            x = f.relu6(net.norm(net.conv(x, f"{at}_expand"), f"{at}_expand_BN"))
        x = net.depthwise(net.same(x, 3, stride), f"{at}_depthwise", stride)
        x = f.relu6(net.norm(x, f"{at}_depthwise_BN"))
        x = net.norm(net.conv(x, f"{at}_project"), f"{at}_project_BN")
        x = x + before if stride == 1 and n == n_in else x
        n_in = n
    x = f.relu6(net.norm(net.conv(x, "Conv_1"), "Conv_1_bn"))
    return net.dense(x.mean((2, 3)), "predictions")
