"""The programs that are measured: each op against what autodiff makes of the same equation.

"autodiff" is the equation as one writes it in JAX, and what JAX makes of it; "reference" is our own
forward pass without its rule, where that differs; "jaxnn" is our op.
"""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxnn.gradients.inside.per_example import per_example

import jaxnn
from experiments.bench.measure import Case, Side, of_gradient, of_pull_back
from jaxnn.gradients.cost import temporaries
from jaxnn.layers import BatchNorm, Conv, Dense, Residual, Sequential, over_examples
from jaxnn.ops import attention, batch_norm, dense, lstm, max_pool, relu, softmax_cross_entropy
from jaxnn.training import TrainState, make_step, start

__all__ = ["CASES"]


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def classes(seed: int, n: int, n_classes: int) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (n,), 0, n_classes)


def cost_of(net: Callable, loss: Callable) -> Callable:
    return lambda params, x, labels: jnp.mean(jax.vmap(loss)(jax.vmap(lambda x: net(params, x))(x), labels))


def mlp_arguments() -> tuple[Any, tuple[Any, Any, Any]]:
    """The network as an op, and (params, x, labels)."""
    net = jaxnn.chain(dense, relu, dense, relu, dense)
    params: list[Any] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise((784, 1024, 1024, 10))):
        params += [{"weight": normal(i, n_out, n_in) / n_in**0.5, "bias": jnp.zeros(n_out)}, ()]
    return net, (tuple(params[:-1]), normal(9, 256, 784), classes(10, 256, 10))


def mlp() -> list[Side]:
    net, args = mlp_arguments()

    def plain(params: Any, x: Any) -> Any:
        for layer in params[:-1:2]:
            x = jax.nn.relu(layer["weight"] @ x + layer["bias"])
        return params[-1]["weight"] @ x + params[-1]["bias"]

    autodiff = cost_of(plain, optax.softmax_cross_entropy_with_integer_labels)
    return [of_gradient("autodiff", autodiff, *args),
            of_gradient("jaxnn", cost_of(net, softmax_cross_entropy), *args)]


def per_example_norms() -> list[Side]:
    """One gradient of the mean loss, beside the norms of all examples' gradients: by forming each of
    them, and from (cache, dy), with that gradient, the variance and the noise scale."""
    net, args = mlp_arguments()

    def norms_of_all(params: Any, x: Any, labels: Any) -> Any:
        gradient = jax.grad(lambda p, x, label: softmax_cross_entropy(net(p, x), label))
        grads = jax.vmap(gradient, (None, 0, 0))(params, x, labels)
        return jnp.sqrt(sum(jnp.sum(g**2, tuple(range(1, g.ndim))) for g in jax.tree.leaves(grads)))

    def statistics(params: Any, x: Any, labels: Any) -> Any:
        return per_example(net, softmax_cross_entropy, params, (), x, labels)

    def side(name: str, f: Callable) -> Side:
        compiled = jax.jit(f).lower(*args).compile()
        return Side(name, lambda: compiled(*args), temporaries(compiled))

    return [of_gradient("one gradient", cost_of(net, softmax_cross_entropy), *args),
            side("vmap(grad)", norms_of_all), side("jaxnn", statistics)]


def training_step() -> list[Side]:
    """make_step, which looks whether all is finite, beside the step one writes in plain JAX, which does not."""
    optimizer = optax.adam(1e-3)
    net = Sequential(Dense(1024), relu, Dense(1024), relu, Dense(10))
    x, labels = normal(9, 256, 784), classes(10, 256, 10)

    def plain_cost(params: Any, x: Any, labels: Any) -> Any:
        for layer in params[:-1:2]:
            x = jax.nn.relu(x @ layer["weight"].T + layer["bias"])
        logits = x @ params[-1]["weight"].T + params[-1]["bias"]
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))

    def plain(now: TrainState, x: Any, labels: Any) -> Any:
        value, grads = jax.value_and_grad(plain_cost)(now.params, x, labels)
        updates, opt_state = optimizer.update(grads, now.opt_state)
        return now._replace(params=optax.apply_updates(now.params, updates), opt_state=opt_state), value

    def side(name: str, step: Callable, lowered: Any) -> Side:
        held = [start(net, optimizer, (784,), jax.random.key(0))]
        compiled = lowered(held[0], x, labels).compile()

        def run() -> Any:
            held[0], info = step(held[0], x, labels)
            return info

        return Side(name, run, temporaries(compiled))

    jitted, ours = jax.jit(plain, donate_argnums=0), make_step(net, softmax_cross_entropy, optimizer)
    return [side("autodiff", jitted, jitted.lower), side("jaxnn", ours, ours.lower)]


def pool() -> list[Side]:
    x, dy = normal(0, 64, 32, 32, 64), normal(1, 64, 16, 16, 64)

    def plain(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")

    return [of_pull_back("autodiff", plain, dy, x), of_pull_back("jaxnn", jax.vmap(max_pool), dy, x)]


def normalization() -> list[Side]:
    x, dy = normal(0, 256, 32, 32, 64), normal(1, 256, 32, 32, 64)
    params = {"scale": jnp.ones(64), "bias": jnp.zeros(64)}
    state = {"mean": jnp.zeros(64), "variance": jnp.ones(64)}

    def plain(params: Any, x: Any) -> Any:
        mean = jnp.mean(x, (0, 1, 2))
        variance = jnp.mean((x - mean) ** 2, (0, 1, 2))
        return params["scale"] * (x - mean) / jnp.sqrt(variance + 1e-5) + params["bias"]

    def ours(op: Callable) -> Callable:
        return lambda p, x: jax.vmap(lambda x: op(p, state, x)[0], axis_name="examples")(x)

    return [of_pull_back("autodiff", plain, dy, params, x),
            of_pull_back("reference", ours(batch_norm.reference), dy, params, x),
            of_pull_back("jaxnn", ours(batch_norm), dy, params, x)]


def attention_of(length: int) -> Callable[[], list[Side]]:
    def sides() -> list[Side]:
        q, k, v = (normal(i, 8, length, 64) for i in range(3))

        def plain(q: Any, k: Any, v: Any) -> Any:
            scores = q @ k.T / 8
            visible = jnp.tril(jnp.ones(scores.shape, bool))
            return jax.nn.softmax(jnp.where(visible, scores, -jnp.inf), -1) @ v

        def cost(f: Callable) -> Callable:
            return lambda q, k, v: jnp.sum(jax.vmap(f)(q, k, v) ** 2)

        return [of_gradient(name, cost(f), q, k, v, argnums=(0, 1, 2))
                for name, f in (("autodiff", plain), ("jaxnn", attention))]

    return sides


def embedding_step() -> list[Side]:
    """One gradient-descent step on 1,024 rows: the dense gradient, and the rows alone from the cache."""
    rows, dy = classes(0, 1024, 1_000_000), normal(1, 1024, 64)

    def by_gradient(table: Any) -> Any:
        grad = jax.grad(lambda t: jnp.sum(jaxnn.embedding({"table": t}, rows) * dy))(table)
        return table - 0.1 * grad

    def by_rows(table: Any) -> Any:
        _, (ids, _) = jaxnn.embedding.forward({"table": table}, rows)
        return table.at[ids].add(-0.1 * dy)

    def stepping(name: str, step: Callable) -> Side:
        table = normal(2, 1_000_000, 64)
        compiled = jax.jit(step, donate_argnums=0).lower(table).compile()
        held = [table]

        def call() -> Any:
            held[0] = compiled(held[0])
            return held[0]

        return Side(name, call, temporaries(compiled))

    return [stepping("dense gradient", by_gradient), stepping("rows in place", by_rows)]


def recurrent() -> list[Side]:
    n, n_in = 100, 100
    params = {"weight_x": normal(0, 4 * n, n_in) / 10, "weight_h": normal(1, 4 * n, n) / 10,
              "bias": jnp.zeros(4 * n)}
    x = normal(2, 64, 40, n_in)

    def plain(params: Any, x: Any) -> Any:
        def step(carry: Any, x_t: Any) -> Any:
            h, c = carry
            z = params["weight_x"] @ x_t + params["weight_h"] @ h + params["bias"]
            i, f, g, o = jnp.split(z, 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        return lax.scan(step, (jnp.zeros(n), jnp.zeros(n)), x)[1]

    def cost(f: Callable) -> Callable:
        return lambda params, x: jnp.sum(jax.vmap(lambda x: f(params, x))(x) ** 2)

    sides = [of_gradient(name, cost(f), params, x, argnums=(0, 1)) for name, f in (
        ("autodiff", plain), ("reference", lambda p, x: lstm.reference(p, x)[0]),
        ("jaxnn", lambda p, x: lstm(p, x)[0]))]
    return [*sides[:1], *_torch_lstm(x), *sides[1:]]


def _torch_lstm(x: Any) -> list[Side]:
    try:
        import torch
    except ImportError:
        return []
    net = torch.nn.LSTM(100, 100, batch_first=True)
    x_torch = torch.tensor(x.tolist(), requires_grad=True)

    def call() -> Any:
        return torch.autograd.grad((net(x_torch)[0] ** 2).sum(), [x_torch, *net.parameters()])[0].numpy()

    return [Side("PyTorch", call)]


def resnet_18(n_classes: int) -> Sequential:
    """ResNet-18 for images of 32x32 (He et al. 2016, section 4.2), with Flatten for its last average."""
    def block(n: int, stride: int, n_before: int) -> Residual:
        body = Sequential(Conv(n, stride=stride, use_bias=False), BatchNorm(), relu,
                          Conv(n, use_bias=False), BatchNorm())
        if stride == 1 and n == n_before:
            return Residual(body)
        return Residual(body, Sequential(Conv(n, (1, 1), stride=stride, use_bias=False), BatchNorm()))

    blocks: list[Any] = []
    n_before = 64
    for n, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            blocks += [block(n, stride, n_before), relu]
            n_before = n
    return Sequential(Conv(64, use_bias=False), BatchNorm(), relu, *blocks, jaxnn.Flatten(), Dense(n_classes))


def resnet() -> list[Side]:
    net, optimizer = resnet_18(10), optax.adam(1e-3)
    batch = over_examples(net)
    x, labels = normal(0, 32, 32, 32, 3), classes(1, 32, 10)

    def side(name: str, call: Callable) -> Side:
        params, state = net.init(jax.random.key(0), (32, 32, 3))

        def cost(params: Any, state: Any) -> Any:
            logits, state = call(params, state, x, train=True)
            return jnp.mean(jax.vmap(softmax_cross_entropy)(logits, labels)), state

        def step(now: Any) -> Any:
            params, state, opt_state = now
            grads, state = jax.grad(cost, has_aux=True)(params, state)
            updates, opt_state = optimizer.update(grads, opt_state)
            return optax.apply_updates(params, updates), state, opt_state

        held = [(params, state, optimizer.init(params))]
        compiled = jax.jit(step, donate_argnums=0).lower(held[0]).compile()

        def run() -> Any:
            held[0] = compiled(held[0])
            return held[0]

        return Side(name, run, temporaries(compiled))

    return [side("reference", batch.reference), *_torch_resnet(), side("jaxnn", batch)]


def _torch_resnet() -> list[Side]:
    try:
        import torch
        from torch import nn
    except ImportError:
        return []

    def conv(n_in: int, n_out: int, window: int, stride: int) -> Any:
        return nn.Conv2d(n_in, n_out, window, stride, window // 2, bias=False)

    class Block(nn.Module):
        def __init__(self, n_in: int, n: int, stride: int):
            super().__init__()
            self.body = nn.Sequential(conv(n_in, n, 3, stride), nn.BatchNorm2d(n), nn.ReLU(),
                                      conv(n, n, 3, 1), nn.BatchNorm2d(n))
            self.shortcut = nn.Identity() if n == n_in and stride == 1 else nn.Sequential(
                conv(n_in, n, 1, stride), nn.BatchNorm2d(n))

        def forward(self, x: Any) -> Any:
            return torch.relu(self.body(x) + self.shortcut(x))

    stages = [Block(n_in, n, s) for n_in, n, s in (
        (64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1),
        (256, 512, 2), (512, 512, 1))]
    net = nn.Sequential(conv(3, 64, 3, 1), nn.BatchNorm2d(64), nn.ReLU(), *stages, nn.Flatten(),
                        nn.Linear(4 * 4 * 512, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    x, labels = torch.randn(32, 3, 32, 32), torch.randint(0, 10, (32,))

    def step() -> Any:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return [Side("PyTorch", step)]


def compilation() -> list[Side]:
    """Tracing and compiling the gradient of 50 dense layers, afresh at each call."""
    depth, n = 50, 64
    layer = {"weight": jnp.eye(n), "bias": jnp.zeros(n)}
    params, x = ((layer, ()) * depth), normal(0, 32, n)
    net = jaxnn.chain(*(dense, relu) * depth)

    def plain(params: Any, x: Any) -> Any:
        for layer in params[::2]:
            x = jax.nn.relu(layer["weight"] @ x + layer["bias"])
        return x

    def side(name: str, f: Callable) -> Side:
        def call() -> None:
            def cost(params: Any, x: Any) -> Any:  # a new function, which JAX has not seen yet
                return jnp.sum(jax.vmap(lambda x: f(params, x))(x) ** 2)

            jax.jit(jax.grad(cost)).lower(params, x).compile()

        return Side(name, call)

    return [side("autodiff", plain), side("jaxnn", net)]


CASES = [
    Case("mlp", "MLP 784-1024-1024-10, batch 256: gradient", mlp, 1.05),
    Case("per-example", "MLP 784-1024-1024-10, batch 256: gradient norm of each example",
         per_example_norms, 1.3),
    Case("step", "MLP 784-1024-1024-10, batch 256: training step, Adam", training_step),
    Case("max-pool", "max pool 2x2, 64x32x32x64: backward", pool, 0.2),
    Case("batch-norm", "batch norm, 256x32x32x64: backward", normalization, 0.5),
    *(Case(f"attention-{t}", f"causal attention, 8 heads, d = 64, T = {t}: gradient", attention_of(t))
      for t in (512, 1024, 2048, 4096)),
    Case("embedding", "1,024 rows of a 1,000,000 x 64 table: one step", embedding_step),
    Case("lstm", "LSTM, batch 64, 40 steps, 100 -> 100: gradient", recurrent),
    Case("resnet-18", "ResNet-18, batch 32 of 32x32x3: Adam step", resnet),
    Case("compilation", "50 dense layers: trace and compile", compilation, 1.3),
]
