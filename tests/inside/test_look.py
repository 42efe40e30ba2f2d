"""Looking inside: the numbers of each op against NumPy's and `jax.grad`'s, of layers, plain functions, scans and
checkpoints."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Residual,
    Sequential,
    hand_derived,
    look_inside,
    network,
    ops,
    over_examples,
)
from jaxnn.hand_derived import Static
from tests.inside.small_network import NET, PARAMS, X, dense_params, mean_square


def test_every_number_of_a_small_network():
    report = look_inside(over_examples(NET), PARAMS, {}, X, loss=mean_square)
    first, last = PARAMS["dense1"], PARAMS["dense2"]
    z = X @ first["weight"].T + first["bias"]
    h = jnp.maximum(z, 0)
    y = h @ last["weight"].T + last["bias"]
    dy = 2 * y / 5
    dh = dy @ last["weight"]
    dz = dh * (z > 0)
    norm = lambda *arrays: float(np.linalg.norm(np.concatenate([np.ravel(a) for a in arrays])))  # noqa: E731
    wanted = [  # value, cache, cotangent, dx, gradient
        (norm(z), norm(first["weight"], X), norm(dz), norm(dz @ first["weight"]), norm(dz.T @ X, dz.sum(0))),
        (norm(h), None, norm(dh), norm(dz), None),
        (norm(y), norm(last["weight"], h), norm(dy), norm(dh), norm(dy.T @ h, dy.sum(0)))]
    for row, numbers in zip(report.rows, wanted, strict=True):
        got = [row.value, row.cache, row.cotangent, row.dx, row.gradient]
        assert [g is None for g in got] == [n is None for n in numbers]
        assert [g.norm for g in got if g] == pytest.approx([n for n in numbers if n], rel=1e-5)
        assert row.gain == pytest.approx(numbers[3] / numbers[2], rel=1e-5)
    assert [(row.path, row.op, row.shape) for row in report.rows] == [
        ("dense1", "dense", (5, 4)), ("relu1", "relu", (5, 4)), ("dense2", "dense", (5, 2))]
    assert report.rows[0].params.norm == pytest.approx(norm(*first.values()), rel=1e-5)
    assert report.rows[1].params is None
    assert report.rows[1].value.zeros == int(jnp.sum(h == 0)) > 0
    assert report.rows[1].value.share_of_zeros == pytest.approx(float(jnp.mean(h == 0)))
    assert report.rows[1].dead == pytest.approx(float(jnp.mean(jnp.all(h == 0, 0))))
    assert (report.x.norm, report.dy.norm) == pytest.approx((norm(X), norm(dy)), rel=1e-5)
    assert report.first_bad is None and report.vanished == () == report.exploded
    assert report.verdict == "all finite; ‖dy‖ stays between 0.001 and 1000 times the output's"


def test_one_example_and_a_batch_of_it():
    one = look_inside(NET, PARAMS, {}, X[0], dy=jnp.ones(2))
    batch = look_inside(over_examples(NET), PARAMS, {}, X[:1], dy=jnp.ones((1, 2)))
    for a, b in zip(one.rows, batch.rows, strict=True):
        assert a.dead is None and b.dead == pytest.approx(b.value.share_of_zeros)
        for name in ("value", "cache", "cotangent", "dx", "gradient"):
            x, y = getattr(a, name), getattr(b, name)
            assert (x is None) == (y is None)
            assert x is None or x == pytest.approx(y, rel=1e-5)


def test_layers_in_both_modes():
    net = Sequential(Conv(4), BatchNorm(), ops.relu, Flatten(),
                     Residual(Sequential(Dense(36), Dropout(0.5))), Dense(3))
    params, state = net.init(jax.random.key(0), (3, 3, 2))
    x, labels = jax.random.normal(jax.random.key(1), (8, 3, 3, 2)), jnp.arange(8) % 3
    args = (params, state, x, jax.random.key(2))
    for train in (False, True):
        report = look_inside(over_examples(net), *args, loss=ops.softmax_cross_entropy, labels=labels,
                             train=train)
        assert [(row.path, row.op) for row in report.rows] == [
            ("conv1", "conv"), ("batchnorm1", "batch_norm" if train else "batch_norm_inference"), ("relu1", "relu"),
            ("flatten1", "flatten"), ("residual1/body/dense1", "dense"),
            *[("residual1/body/dropout1", "dropout")] * train, ("residual1", "add"), ("dense1", "dense")]

        def cost(params, mode=train):
            logits, _ = network(over_examples(net)).reference(params, *args[1:], train=mode)
            return jnp.mean(jax.vmap(ops.softmax_cross_entropy)(logits, labels))

        grads = jax.jit(jax.grad(cost))(params)
        wanted = [np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grad)))
                  for grad in (grads["conv1"], grads["batchnorm1"], grads["residual1"]["body"], grads["dense1"])]
        got = [row.gradient.norm for row in report.rows if row.gradient is not None]
        assert got == pytest.approx(wanted, rel=1e-3, abs=1e-6)  # a bias before batch norm is rounding alone
    assert report.source == "of the loss"
    assert 0.2 < report.rows[5].value.share_of_zeros < 0.8


def test_integers_have_no_numbers():
    net = Sequential(Embedding(4, 3), Flatten(), Dense(2))
    params, state = net.init(jax.random.key(0), (2,))
    x = jnp.array([[0, 1], [2, 3], [1, 1]])
    report = look_inside(over_examples(net), params, state, x, loss=mean_square)
    assert report.x is None
    assert (report.rows[0].cache, report.rows[0].dx, report.rows[0].gain) == (None, None, None)
    assert report.rows[0].gradient.norm > 0
    assert report.rows[1].cache is None  # a shape alone


@hand_derived
def keeps_anything(x, key):
    """A cache of a key, an integer, a mask, a number that is static, and NaN beside it all."""
    return x, (key, jnp.arange(3), x > 0, Static(2.0), {"nothing": None, "bad": jnp.full(2, jnp.nan)})


keeps_anything.defbackward(lambda cache, dy: (dy, None))


@pytest.mark.parametrize("batch", [False, True])
def test_a_cache_of_many_kinds(batch):
    def net(x, key):
        return keeps_anything(ops.tanh(x), key)

    x = jnp.ones((4, 3))
    report = look_inside(jax.vmap(net, (0, None)) if batch else net, x, jax.random.key(0), dy=x)
    assert report.rows[1].cache[1:] == (2, 0, 2, 0)
    assert str(report.first_bad) == f"'{report.rows[1].path}' (keeps_anything), 2 NaN of 2 in its cache"


def test_an_op_by_itself():
    report = look_inside(ops.sigmoid, jnp.zeros(4), dy=2 * jnp.ones(4))
    (row,) = report.rows
    assert (row.op, row.value.norm, row.cotangent.norm, row.dx.norm) == ("sigmoid", 1, 4, 1)


# Functions without layers.


def skips_and_loops(params, x):
    """A skip, three steps of a scan and a checkpoint, all with one weight; each op's value is among what it returns."""
    first = ops.dense(params, x)
    h = ops.tanh(first)

    def step(h, _):
        z = ops.dense(params, h)
        h = ops.tanh(z)
        return h, (z, h)

    last, (zs, hs) = jax.lax.scan(step, h + x, length=3)
    with jax.named_scope("end"):
        y = jax.checkpoint(lambda x: ops.sigmoid(ops.relu(x)))(last + h)
    return y, (first, h, zs, hs, jnp.maximum(last + h, 0), y)


@pytest.mark.parametrize("batch", [False, True])
def test_a_plain_function_with_skips_a_scan_and_a_checkpoint(batch):
    """Places, values, and ∂L/∂value: what the value adds to itself, 0, has that gradient."""
    f = jax.vmap(skips_and_loops, (None, 0)) if batch else skips_and_loops
    x = X if batch else X[0]
    params = dense_params(3, 3)

    def loss(y):
        return jnp.sum(jnp.cos(3 * y[0]))

    report = look_inside(f, params, x, loss=loss)
    places = [row.path.replace(row.path.split(":")[1].split("/")[0], "N") if ":" in row.path else row.path
              for row in report.rows]
    assert list(zip(places, (row.op for row in report.rows))) == [
        ("skips_and_loops:N", "dense"), ("skips_and_loops:N", "tanh"), ("skips_and_loops:N/scan", "dense"),
        ("skips_and_loops:N/scan", "tanh"), ("end/checkpoint", "relu"), ("end/checkpoint", "sigmoid")]

    def with_shifts(params, x, shifts):
        first, h, zs, hs, mid, end = shifts
        h0 = jnp.tanh(params["weight"] @ x + params["bias"] + first) + h

        def step(h, shift):
            h = jnp.tanh(params["weight"] @ h + params["bias"] + shift[0]) + shift[1]
            return h, None

        last, _ = jax.lax.scan(step, h0 + x, (zs, hs))
        return jax.nn.sigmoid(jax.nn.relu(last + h0) + mid) + end

    shifted = jax.vmap(with_shifts, (None, 0, 0)) if batch else with_shifts

    @jax.jit
    def program(params, x):
        _, values = f(params, x)
        wanted = jax.grad(lambda shifts: loss((shifted(params, x, shifts),)))(jax.tree.map(jnp.zeros_like, values))
        norms = lambda trees: [jnp.linalg.norm(leaf.ravel()) for leaf in trees]  # noqa: E731
        return norms(values), norms(wanted)

    values, cotangents = program(params, x)
    # What is returned beside y gets no gradient of this loss.
    assert [row.value.norm for row in report.rows] == pytest.approx(list(map(float, values)), rel=1e-5)
    assert [row.cotangent.norm for row in report.rows] == pytest.approx(list(map(float, cotangents)), rel=1e-4)
    assert [row.dead is None for row in report.rows] == [not batch] * 6


def test_dead_units_in_a_scan():
    """The second unit is 0 at all times in every example, the first at some, the third in some."""
    def f(x):
        return jax.lax.scan(lambda carry, x_t: (carry, ops.relu(x_t)), 0.0, x)[1]

    x = jnp.array([[[1.0, -1, 0], [-1, -1, 0]], [[1, -1, 1], [-1, -1, 1]]])
    (row,) = look_inside(jax.vmap(f), x, dy=x).rows
    assert (row.value.share_of_zeros, row.dead) == (pytest.approx(8 / 12), pytest.approx(1 / 3))
