"""Values at which a derivative is easily lost: zeros, ties, large and small numbers, constant input, infinities.

The gradient is finite wherever the mathematical one is. The second route is the reference's autodiff in float64 at the
same numbers, PyTorch in float64, or a limit.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import ops
from tests.traps.table import EACH_ONCE, both_ways, leaves_of, split

# What is laid over the arguments that are drawn from a normal distribution, one variant for each.
VARIANTS = {
    "zeros": lambda a: 0 * a,
    "minus zeros": lambda a: -0.0 * np.abs(a),
    "constant": lambda a: 0 * a + 0.5,
    "ties": np.round,
    "large": lambda a: 1e4 * a,
    "small": lambda a: 1e-30 * a,
}
# Products of large numbers in the arguments would leave float32 or depend on their last bits: one of them is large.
LARGE = {name: {"v"} for name in ("attention", "attention-full", "attention-masked", "attention-heads",
                                  "attention-dropout", "multiplicative_attention")} | {
    "dense_softmax_cross_entropy": set(),  # of a large x, one weight's last bit decides the logits
    # Moved along ones, all vectors together, no distance changes: a sum that cancels.
    **{name: set() for name in ("triplet_loss", "triplet_loss-euclidean", "contrastive_loss", "mined_triplet_loss",
                                "mined_triplet_loss-hard", "mined_triplet_loss-all")}}
MOVED = {"x", "logits", "predictions", "targets", "q", "k", "v", "initial", "anchor", "embeddings", "a"}
# Boxes of 1e-30: their areas, 1e-60, are 0 in float32, and a box without area is judged otherwise.
UNDERFLOWS = {("complete_iou", "small")}


def varied(case, change, name, seed=0):
    args = case.args(seed=seed)
    leaves = jax.tree.leaves(args)
    targets = LARGE.get(case.name, MOVED) if name == "large" else MOVED
    distributions = {("binary_cross_entropy", "labels"), ("softmax_cross_entropy-distribution", "labels")}
    return [jnp.asarray(change(np.asarray(leaf, np.float32)), leaf.dtype)
            if leaf_of.moves and leaf_of.argument in targets and (case.name, leaf_of.argument) not in distributions
            else leaf for leaf, leaf_of in zip(leaves, leaves_of(case, args), strict=True) if leaf_of.moves]


@pytest.mark.sampled
@EACH_ONCE
def test_gradients_at_special_values(case):
    """All variants side by side, in one program of the op in float32 and one of its reference in float64."""
    _, f = split(case, case.args())
    stacked = [jnp.stack(leaves) for leaves in zip(*(varied(case, change, name) for name, change in VARIANTS.items()))]

    def program(moving):
        zeros = jax.tree.map(jnp.zeros_like, moving)
        return both_ways(f, moving), jax.jvp(f, (moving,), (zeros,))[1]

    (y, cotangents, tangents), still = jax.jit(jax.vmap(program))(stacked)
    for leaf in jax.tree.leaves(still):  # along a tangent of zero
        np.testing.assert_array_equal(leaf, 0)
    with jax.enable_x64(True):
        _, f64 = split(case, case.args(dtype="f64"))
        wide = [jnp.asarray(np.asarray(leaf), jnp.float64) for leaf in stacked]
        reference = functools.partial(f64, reference=True)
        want = jax.device_get(jax.jit(jax.vmap(functools.partial(both_ways, reference)))(wide))
    for what, got, right in zip(("y", "cotangent", "tangent"), (y, cotangents, tangents), want):
        for g, w in zip(jax.tree.leaves(got), jax.tree.leaves(right), strict=True):
            for n, name in enumerate(VARIANTS):
                if (case.name, name) in UNDERFLOWS:
                    continue
                # A gate of 1e4, rounded by 1e-3, has a slope that is off by as much. 1e-6: for sums that cancel.
                rounding = 0.02 if name == "large" and case.kind == "scan" else 2e-5
                atol = rounding * np.abs(w[n]).max(initial=0) + 1e-6
                np.testing.assert_allclose(g[n], w[n], rtol=0, atol=atol, err_msg=f"{what}, {name}")


ELEMENTWISE = {
    # (value, slope) at -∞ and at ∞
    "sigmoid": ((0, 0), (1, 0)), "tanh": ((-1, 0), (1, 0)), "relu": ((0, 0), (np.inf, 1)),
    "leaky_relu": ((-np.inf, 0.01), (np.inf, 1)), "elu": ((-1, 0), (np.inf, 1)), "softplus": ((0, 0), (np.inf, 1)),
    "gelu": ((0, 0), (np.inf, 1)), "gelu_tanh": ((0, 0), (np.inf, 1)), "silu": ((0, 0), (np.inf, 1))}
POINTS = [0.0, 1e-8, 1e-3, 0.3, 0.7, 1, 2, 3, 4, 5, 6, 8, 10, 20, 50, 88, 104, 1e4, 6e4, 1e19, 3e38, np.inf]


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_each_activation_from_end_to_end(name, dtype, torch):
    """Value and slope, backward and forward, with a tangent of zero, and the slope's own slope, which is finite."""
    op = getattr(ops, name)
    most = float(jnp.finfo(dtype).max)
    x = jnp.asarray([sign * p for p in POINTS if p <= most or p == np.inf for sign in (1, -1)], dtype)

    def program(x):
        y, cotangent, tangent = both_ways(op, x)
        still = jax.jvp(op, (x,), (jnp.zeros_like(x),))[1]
        bend = jax.vmap(jax.grad(jax.grad(op)))(x)
        return y, cotangent, tangent, still, bend

    y, cotangent, tangent, still, bend = (np.asarray(a, np.float64) for a in jax.jit(program)(x))
    f = torch.nn.functional
    plain = {"sigmoid": torch.sigmoid, "tanh": torch.tanh, "softplus": lambda x: torch.logaddexp(x, 0 * x),
             "gelu_tanh": lambda x: f.gelu(x, approximate="tanh")}.get(name) or getattr(f, name)
    x64 = np.asarray(x, np.float64)
    finite = np.isfinite(x64)
    at = torch.tensor(np.where(finite, x64, 0), requires_grad=True)
    value = plain(at)
    slope = torch.autograd.grad(value.sum(), at)[0].numpy().copy()
    value = value.detach().numpy().copy()
    for end, (y_end, slope_end) in zip((-np.inf, np.inf), ELEMENTWISE[name]):
        value[x64 == end], slope[x64 == end] = y_end, slope_end
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(y, value, rtol=16 * eps, atol=eps / 64)
    # A slope that is found from y = 1 - e knows e to the last bit of 1.
    np.testing.assert_allclose(cotangent, slope, rtol=16 * eps, atol=8 * eps)
    np.testing.assert_array_equal(tangent, cotangent)
    np.testing.assert_array_equal(still, 0)
    assert np.all(np.isfinite(bend))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_the_tail_in_half_precision(name, dtype, torch):
    """1 + erf and 1 + tanh would cancel: gelu(-3) was off by a half in bfloat16."""
    x = jnp.linspace(-4, -2, 9).astype(dtype)
    x64 = torch.tensor(np.asarray(x, np.float64), requires_grad=True)
    value = torch.nn.functional.gelu(x64, approximate="tanh" if name == "gelu_tanh" else "none")
    slope = torch.autograd.grad(value.sum(), x64)[0].numpy()
    y, cotangent, _ = both_ways(getattr(ops, name), x)
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(y, np.float64), value.detach().numpy(), rtol=eps)
    np.testing.assert_allclose(np.asarray(cotangent, np.float64), slope, rtol=eps)


def ways(f, x):
    """y, the gradient of its sum, and its tangents along ones and along zeros."""
    def program(x):
        y, cotangent, tangent = both_ways(f, x)
        return y, cotangent, tangent, jax.jvp(f, (x,), (jnp.zeros_like(x),))[1]

    return [np.asarray(a, np.float64) for a in jax.jit(program)(x)]


INF = np.inf
MASKED = jnp.array([0.0, -INF, 0.0])
# f, x, y, the gradient of the sum of y, the tangent along ones
INFINITE = {
    "softmax": (ops.softmax, MASKED, [0.5, 0, 0.5], [0, 0, 0], [0, 0, 0]),
    "log_softmax": (lambda x: ops.log_softmax(x)[::2], MASKED, [-np.log(2)] * 2, [0, 0, 0], [0, 0]),
    "softmax_cross_entropy, a class": (lambda z: ops.softmax_cross_entropy(z, 0), MASKED, np.log(2), [-0.5, 0, 0.5], 0),
    "softmax_cross_entropy, a distribution": (lambda z: ops.softmax_cross_entropy(z, jnp.array([0.25, 0, 0.75])),
                                              MASKED,
                                              np.log(2), [0.25, 0, -0.25], 0),
    "softmax_cross_entropy, one class left": (lambda z: ops.softmax_cross_entropy(z, 1), jnp.array([-INF, 3.0]), 0,
                                              [0, 0], 0),
    "binary_cross_entropy": (lambda z: ops.binary_cross_entropy(z, jnp.array([0, 1])), jnp.array([-INF, INF]), 0,
                             [0, 0], 0),
    "huber": (lambda p: ops.huber(p, jnp.zeros(2), delta=0.5), jnp.array([INF, -INF]), INF, [0.5, -0.5], 0),
    "max_pool": (lambda x: ops.max_pool(x[:, None], window=2)[:, 0], jnp.array([-INF, 1.0, INF, 0.0]), [1, INF],
                 [0, 1, 1, 0], [1, 1]),
    "max_pool, all the same": (lambda x: ops.max_pool(x[:, None], window=2)[:, 0], jnp.array([-INF, -INF]), [-INF],
                               [1, 0], [1]),
    "rnn": (lambda x: ops.rnn({"weight_x": jnp.ones((1, 1)), "weight_h": jnp.ones((1, 1))}, x)[1], jnp.array([[INF]]),
            [1],
            [[0]], [0]),
    "lstm": (lambda x: ops.lstm({"weight_x": jnp.ones((4, 1)), "weight_h": jnp.ones((4, 1))}, x)[1][1],
             jnp.array([[INF]]),
             [1], [[0]], [0]),
    "gru": (lambda x: ops.gru({"weight_x": jnp.ones((3, 1)), "weight_h": jnp.ones((3, 1))}, x)[1], jnp.array([[-INF]]),
            [-1], [[0]], [0]),
    "flatten": (ops.flatten, jnp.array([[INF, -INF]]), [INF, -INF], [[1, 1]], [1, 1]),
    "add": (lambda x: ops.add((x, x)), jnp.array([INF]), [INF], [2], [2]),
    "concatenate": (lambda x: ops.concatenate((x, x)), jnp.array([INF]), [INF, INF], [2], [1, 1]),
    "dropout": (lambda x: ops.dropout(x, jax.random.key(0), rate=0.5), jnp.full(4, INF), None, None, None),
    "embedding": (lambda e: ops.embedding({"table": e}, jnp.array([1])), jnp.array([[0.0], [INF]]), [[INF]],
                  [[0], [1]], [[1]]),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", INFINITE)
def test_infinities(name):
    f, x, y, cotangent, tangent = INFINITE[name]
    got = ways(f, x)
    if y is None:  # each element is dropped or scaled
        assert set(got[0]) <= {0, INF} and set(got[1]) == set(got[2]) <= {0, 2}
    else:
        for found, right in zip(got, (y, cotangent, tangent)):
            np.testing.assert_allclose(found, right, atol=1e-6)
    np.testing.assert_array_equal(got[3], 0)


@pytest.mark.parametrize("hidden", ["one key", "all keys of one query", "all keys of all queries"])
def test_masked_attention(hidden):
    """What is hidden may be inf or NaN: values, gradients and tangents are those of zeros in its place."""
    q, k, v = (jax.random.normal(jax.random.key(n), (3, 2)) for n in range(3))
    mask = jnp.ones((3, 3), bool)
    mask = {"one key": mask.at[:, 1].set(False), "all keys of one query": mask.at[1].set(False)}.get(hidden,
        mask & False)

    def program(q, k, v):
        return both_ways(lambda args: ops.attention(*args, mask), (q, k, v))

    program = jax.jit(program)
    if hidden == "one key":
        spoilt, right = (q, k.at[1].set(jnp.nan), v.at[1].set(jnp.inf)), (q, k.at[1].set(0), v.at[1].set(0))
    elif hidden == "all keys of one query":
        spoilt, right = (q.at[1].set(jnp.inf), k, v), (q.at[1].set(0), k, v)
    else:
        spoilt, right = (q * jnp.nan, k * jnp.inf, v * jnp.nan), (0 * q, 0 * k, 0 * v)
    for got, want in zip(jax.tree.leaves(program(*spoilt)), jax.tree.leaves(program(*right)), strict=True):
        assert np.all(np.isfinite(got))
        np.testing.assert_array_equal(got, want)


def test_constant_input_of_batch_norm():
    """The variance is 0: x̂ is 0, and so is dx, however large 1 / √eps is."""
    x = jnp.full((4, 3, 2), 7.0)
    state = {"mean": jnp.zeros(2), "variance": jnp.ones(2)}
    f = jax.vmap(lambda x: ops.batch_norm({}, state, x)[0], axis_name="examples")
    for found in ways(f, x):
        np.testing.assert_array_equal(found, 0)
