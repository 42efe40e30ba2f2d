"""What a batch's weight gradient compiles to: one product, one scatter or one convolution over the
batch, and never one gradient for each example."""

import math
import re

import jax
import jax.numpy as jnp
import pytest

from jaxnn import network, ops

BATCH = 13  # prime, so that no other axis is taken for it

DENSE = {"weight": jnp.ones((7, 5)), "bias": jnp.ones(7)}
MLP = {"hidden": DENSE, "out": {"weight": jnp.ones((3, 7)), "bias": jnp.ones(3)}}
X = jnp.ones((BATCH, 5))


@network
def two_layers(params, x):
    return ops.dense(params["out"], ops.tanh(ops.dense(params["hidden"], x)))


# op, params, x, the pattern of its operation in the HLO, how often it is in the weights' gradient
CASES = {
    "dense": (ops.dense, DENSE, X, r" dot\(", 1),
    # forward of the hidden layer, dW of both layers, dx of the second
    "two layers": (two_layers, MLP, X, r" dot\(", 4),
    "embedding": (ops.embedding, {"table": jnp.ones((17, 3))}, jnp.zeros((BATCH, 4), int), r" scatter\(", 1),
    "conv": (ops.conv, {"kernel": jnp.ones((3, 3, 2, 5)), "bias": jnp.ones(5)}, jnp.ones((BATCH, 6, 6, 2)),
             r" convolution\(", 1),
}


def lifted(op, params, x, dy):
    return jax.vjp(lambda params: jax.vmap(op, (None, 0))(params, x), params)[1](dy)


def plain(op, params, x, dy):
    return lifted(op.reference, params, x, dy)


def explicit(op, params, x, dy):
    batch = network(jax.vmap(op, (None, 0)))
    _, cache = batch.forward(params, x)
    return batch.backward(cache, dy)[0]


def summed(op, params, x, dy):
    """What is not to be: a gradient for each example, then their sum."""
    _, cache = jax.vmap(op.forward, (None, 0))(params, x)
    return jax.tree.map(lambda g: jnp.sum(g, 0), jax.vmap(op.backward)(cache, dy)[0])


def hlo(route, op, params, x):
    y = jax.eval_shape(jax.vmap(op, (None, 0)), params, x)
    with jax.default_device(jax.devices("cpu")[0]):
        return jax.jit(lambda *args: route(op, *args)).lower(params, x, y).compile().as_text()


def sizes(text):
    """The number of elements of each array in the program."""
    shapes = re.findall(r"\b(?:f|bf|s|u|pred)\d*\[([\d,]*)\]", text)
    return {math.prod(map(int, shape.split(","))) for shape in shapes if shape}


def per_example(params):
    """The sizes a copy of each weight for each example would have; a bias's is that of y itself."""
    return {BATCH * leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim > 1}


@pytest.mark.sampled
@pytest.mark.parametrize("route", [lifted, explicit])
@pytest.mark.parametrize("name", CASES)
def test_weight_gradient(name, route):
    op, params, x, pattern, count = CASES[name]
    text = hlo(route, op, params, x)
    assert len(re.findall(pattern, text)) == count
    assert not per_example(params) & sizes(text)


@pytest.mark.parametrize("name", CASES)
def test_it_is_what_autodiff_makes_of_the_forward(name):
    op, params, x, pattern, count = CASES[name]
    assert len(re.findall(pattern, hlo(plain, op, params, x))) == count


def test_the_search_finds_per_example_gradients():
    """So that the absence above means something."""
    op, params, x, pattern, _ = CASES["dense"]
    text = hlo(summed, op, params, x)
    assert per_example(params) & sizes(text)
    assert not re.findall(pattern, text)


def test_per_example_gradients_are_there_when_asked_for():
    """vmap(grad) does make one for each example, and it is right."""
    op, params, x, _, _ = CASES["dense"]
    grads = jax.vmap(jax.grad(lambda p, x: jnp.sum(op(p, x))), (None, 0))(params, x)
    assert grads["weight"].shape == (BATCH, 7, 5)
    assert jnp.all(grads["weight"] == 1)


def test_inside_a_scan_over_batches():
    """Gradient accumulation: still one product in the loop's body, and no copies."""
    op, params, x, pattern, _ = CASES["dense"]

    def accumulated(op, params, x, dy):
        def step(total, batch):
            return jax.tree.map(jnp.add, total, lifted(op, params, *batch)[0]), None

        zeros = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(step, zeros, jax.tree.map(lambda a: jnp.stack([a, a]), (x, dy)))[0]

    text = hlo(accumulated, op, params, x)
    assert len(re.findall(pattern, text)) == 1
    assert not per_example(params) & sizes(text)
