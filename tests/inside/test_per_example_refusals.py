"""What per-example gradients are refused for: examples that an op mixes, and arguments that do not fit."""


import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    BatchNorm,
    Dense,
    Dropout,
    InputError,
    Residual,
    Sequential,
    clipped_gradient_sum,
    ops,
    per_example,
)
from tests.inside.networks import LOSS, batch_of, centred


@pytest.mark.parametrize(("net", "who"), [
    (Sequential(Dense(3), Residual(Sequential(BatchNorm(), ops.relu)), Dense(2)),
     "batch_norm at 'residual1/body/batchnorm1'"),
    (Sequential(Dense(3), centred, Dense(2)), "centred at 'centred1'"),
])
def test_mixed_examples_are_refused(net, who):
    args = batch_of(net, (4,), 3)
    words = (f"{who} mixes the examples of a batch, so that no example has a gradient of its own; use it "
             "with train=False, or normalize within each example")
    for call in (per_example, lambda *args, **mode: clipped_gradient_sum(*args, 1.0, **mode)):
        with pytest.raises(InputError) as caught:
            call(net, LOSS, *args, train=True)
        assert str(caught.value) == words


ARGS = batch_of(Dense(3), (4,), 3)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: per_example(Dense(3), LOSS, *ARGS[:3], jnp.arange(2)),
     "per_example expects x and labels with a leading axis of as many examples, at least one; got "
     "shapes [(3, 4)] and [(2,)]"),
    (lambda: clipped_gradient_sum(Dense(3), LOSS, *ARGS[:3], 1, 1.0),
     "clipped_gradient_sum expects x and labels with a leading axis of as many examples, at least one; got "
     "shapes [(3, 4)] and [()]"),
    (lambda: clipped_gradient_sum(Dense(3), LOSS, *ARGS, 0.0),
     "clipped_gradient_sum expects max_norm > 0, one number; got 0.0"),
    (lambda: clipped_gradient_sum(Dense(3), LOSS, *ARGS, np.ones(3)),
     "clipped_gradient_sum expects max_norm > 0, one number; got array([1., 1., 1.])"),
    (lambda: per_example(ops.softmax_cross_entropy, LOSS, *ARGS),
     "per_example expects a network of one example whose arguments are among (params, state, x, key); got "
     "'softmax_cross_entropy' of (logits, labels, weights, class_weights); wrap it in a function of those"),
    (lambda: per_example(Dense(3), lambda y, label: y, *ARGS),
     "per_example expects a loss with one number, of shape (), for each example; got (3,); take its sum"),
    (lambda: per_example(Dense(3), None, *ARGS),
     "per_example expects a loss, called as loss(y, label); got None"),
    (lambda: per_example(Dense(3), LOSS, *ARGS).hardest(4),
     "hardest expects k in 1 .. 3, the size of the batch; got 4"),
    (lambda: per_example(Sequential(Dense(3), Dropout(0.5)), LOSS, {"dense1": ARGS[0]}, *ARGS[1:], train=True),
     "Dropout at 'dropout1' expects a PRNG key; got None; pass key=jax.random.key(seed)"),
    (lambda: per_example(Sequential(Dense(3)), LOSS, {"dense1": ARGS[0]}, {}, ARGS[2][0], ARGS[3]),
     "per_example expects x and labels with a leading axis of as many examples, at least one; got "
     "shapes [(4,)] and [(3,)]"),
    (lambda: per_example(Sequential(Dense(3)), LOSS, {"dense1": ARGS[0]}, {}, ARGS[2][:, :3], ARGS[3]),
     "Dense at 'dense1' expects x of shape (4,); got (3,)"),
])
def test_errors(call, words):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == words
