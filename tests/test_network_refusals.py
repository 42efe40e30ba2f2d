"""What a network refuses, and the place that it names: bad functions, arguments, cotangents and caches."""


import jax
import jax.numpy as jnp
import pytest

from jaxnn import (
    InputError,
    batch_norm,
    dense,
    hand_derived,
    network,
    relu,
    softmax_cross_entropy,
)
from tests.networks import array, weights

P = weights(4, 4)
X = array(4)
BATCH = array(3, 4)


def test_a_backward_that_is_not_linear_is_refused_in_a_batch_too():
    @hand_derived
    def wrong(weight, x):
        return weight * x, (weight, x)

    wrong.defbackward(lambda cache, dy: (jnp.sum(dy * cache[1]) + 1, dy * cache[0]))
    net = network(lambda w, x: jax.vmap(lambda x: wrong(w, x))(x))
    y, cache = net.forward(2.0, BATCH)
    with pytest.raises(TypeError, match="'wrong' is not linear in dy: in the cotangent of 'weight' it adds"):
        net.backward(cache, y)


@pytest.mark.parametrize(("f", "args", "words"), [
    (lambda x: None, (1.0,), "expects a function whose value is an array or a tree of arrays; got NoneType; look at"),
    (lambda x: "y", (1.0,), "expects a function whose value is an array or a tree of arrays; got str"),
    (lambda x: x if x > 0 else -x, (1.0,),
     r"branches in Python on a value that is known at run time only, at <lambda>:\d+; use jnp.where or jax.lax.cond"),
    (lambda p: p.pop("a"), ({"a": 1.0, "b": 2.0},), "changes its argument 'p'; return new values"),
    (lambda p: p.append(1.0) or p[0], ([1.0],), "changes its argument 'p'; return new values"),
    (lambda p, x: dense(p, x), (P, jnp.ones((2, 4))),
     r"dense at '<lambda>:\d+' expects x of shape \(4,\); got \(2, 4\)"),
    (lambda p, x: dense(p, x), (P,), "missing a required argument: 'x'"),
], ids=["nothing", "text", "branch", "dict", "list", "shape", "missing"])
def test_bad_functions(f, args, words):
    with pytest.raises(InputError, match=words):
        network(f).forward(*args)


def test_a_label_that_is_out_of_range_is_refused_where_it_is_known():
    net = network(lambda z, label: softmax_cross_entropy(2 * z, label))
    with pytest.raises(InputError, match=r"softmax_cross_entropy at '<lambda>:\d+' expects labels in 0 [.][.] 3"):
        net.forward(X, 7)


def test_a_batch_norm_outside_of_a_batch():
    norm, state = {"scale": X, "bias": X}, {"mean": X, "variance": X * X}
    words = r"batch_norm at '<lambda>:\d+' expects a batch to average over.*axis_name='examples'"
    with pytest.raises(InputError, match=words):
        network(lambda norm, state, x: batch_norm(norm, state, x)[0]).forward(norm, state, X)


@pytest.mark.parametrize(("dy", "words"), [
    (jnp.ones(3), r"expects dy of the shape of y, \(4,\); got \(3,\)"),
    ((jnp.ones(4), jnp.ones(4)), r"expects dy with the structure of y, PyTreeDef\(\*\); got PyTreeDef\(\(\*, \*\)\)"),
    ("ones", "expects an array as dy; got str"),
])
def test_a_cotangent_of_another_structure(dy, words):
    net = network(lambda params, x: dense(params, x))
    _, cache = net.forward(P, X)
    with pytest.raises(InputError, match=f"<lambda> {words}"):
        net.backward(cache, dy)


def test_an_op_called_with_a_cotangent_of_another_shape():
    _, cache = dense.forward(P, X)
    words = (r"backward of 'dense' raised ValueError at line \d+ of .*; it expects the op's cache, and a dy of the "
             r"structure and the shapes of its value; got dy of \(7,\)")
    with pytest.raises(InputError, match=words):
        dense.backward(cache, jnp.ones(7))


def test_what_is_no_cache_and_no_function():
    with pytest.raises(InputError, match="expects the cache that its forward pass made; got tuple"):
        network(lambda x: relu(x)).backward((), X)
    with pytest.raises(TypeError, match="network expects a function of ops; got int"):
        network(3)


def test_the_reference_refuses_what_an_op_refuses_for_its_values():
    net = network(lambda z, label: softmax_cross_entropy(2 * z, label))
    with pytest.raises(InputError, match=r"expects labels in 0 .. 3"):
        net.reference(X, 7)
