"""Each diagnosis on the fault it names, and on no other: one table of planted faults."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import Dropout, Sequential, compare_gradients, hand_derived, ops
from tests.cases import _kernel, array, integers, weights

RNG = np.random.default_rng(1)


def draw(make):
    return make(RNG, jnp.float32)


def stranger(plain, change):
    """A custom_vjp of plain whose gradients are those of plain, changed: change(grads, args, dy)."""
    @jax.custom_vjp
    def f(*args):
        return plain(*args)

    def backward(args, dy):
        grads = jax.vjp(plain, *args)[1](dy)
        return tuple(g if g.dtype != jax.dtypes.float0 else None for g in change(list(grads), args, dy))

    f.defvjp(lambda *args: (plain(*args), args), backward)
    return f


def changed(plain, i, change):
    """plain with the gradient of argument i changed."""
    def all_of(grads, args, dy):
        grads[i] = change(grads[i], args, dy)
        return grads

    return stranger(plain, all_of), plain


def alone(change):
    return lambda g, args, dy: change(g)


# Plain functions.


def layer(weight, bias, x):
    return jnp.tanh(x @ weight.T + bias)


def mean_cost(weight, x, labels):
    return jnp.mean((x @ weight - labels) ** 2)


def sum_cost(weight, x, labels):
    return jnp.sum((x @ weight - labels) ** 2)


def penalised(weight, x):
    return x @ weight + 0.35 * jnp.sum(weight**2)


def two(x):
    return jnp.sin(x), jnp.cumsum(x)


def product(a, b):
    return jnp.sin(a) * jnp.exp(b)


def smooth(x):
    return jnp.cumsum(jnp.sin(x), 0)


def attend(q, k):
    return q @ k.T / jnp.sqrt(q.shape[-1])


def standardise(x):
    return (x - x.mean(0)) / jnp.sqrt(x.var(0) + 1e-5)


def forget_batch_statistics(g, args, dy):
    x = args[0]
    return (dy - standardise(x) * jnp.mean(dy * standardise(x), 0)) / jnp.sqrt(x.var(0) + 1e-5)


LAYER = (draw(array(4, 4)), draw(array(4)), draw(array(7, 4)))
BATCH = (draw(array(3)), draw(array(64, 3)), draw(array(64)))
X = (draw(array(6, 5)),)
RELU = (draw(array(64)),)

# name: ((f, plain), args, kind, words)
FAULTS = {
    "sum for mean": (changed(mean_cost, 0, alone(lambda g: 64 * g)), BATCH, "sum for mean",
                     "exactly 64 x the reference, 64 being the size of axis 0 of labels: the cost is a "
                     "mean over "
                     "64 examples (it stays the same when they are given twice) and the gradient is a sum"),
    "mean for sum": (changed(sum_cost, 0, alone(lambda g: g / 64)), BATCH, "mean for sum",
                     "exactly 1/64 of the reference, 64 being the size of axis 0 of labels: the cost is a "
                     "sum over "
                     "64 examples (it doubles when they are given twice) and the gradient is a mean"),
    "bias averaged": (changed(layer, 1, alone(lambda g: g / 7)), LAYER, "mean for sum",
                      "exactly 1/7 of the reference, 7 being the size of axis 0 of y: a mean where a sum "
                      "is due"),
    "sign": (changed(layer, 0, alone(jnp.negative)), LAYER, "sign", "the sign is flipped"),
    "twice": (changed(layer, 0, alone(lambda g: 2 * g)), LAYER, "scale", "exactly twice the reference"),
    "1 % more": (changed(layer, 0, alone(lambda g: 1.01 * g)), LAYER, "scale",
                 "1.01 x the reference at every element"),
    "no 1/sqrt(d)": (changed(attend, 0, alone(lambda g: g * 3)), (draw(array(4, 9)), draw(array(5, 9))),
                     "root",
                     "exactly √9 x the reference, 9 being the size of axis 1 of k"),
    "transpose": (changed(layer, 0, alone(jnp.transpose)), LAYER, "transpose", "it is the transpose"),
    "zero": (changed(lambda x: jnp.sin(x), 0, alone(lambda g: g.at[17, 3].set(0))), (draw(array(64, 64)),),
             "zero",
             "zero at 1 of 4,096 elements, [17, 3]"),
    "a row of zeros": (changed(layer, 2, alone(lambda g: g.at[2].set(0))), LAYER, "zero",
                       "zero at all of index 2 of axis 0"),
    "all zero": (changed(layer, 0, alone(jnp.zeros_like)), LAYER, "all zero", "zero everywhere"),
    "NaN": (changed(smooth, 0, alone(lambda g: g.at[1, 2].set(jnp.nan))), X, "not finite",
            "NaN at 1 of 30 elements, [1, 2], where the reference is"),
    "first example": (changed(layer, 2, alone(lambda g: g.at[1:].mul(1.3))), LAYER, "first only",
                      "right only in the first example of the batch"),
    "reversed": (changed(smooth, 0, alone(lambda g: g[::-1])), X, "reversed", "it is reversed along axis 0"),
    "shifted in time": (changed(smooth, 0, alone(lambda g: jnp.pad(g[:-1], ((1, 0), (0, 0))))), X, "shifted",
                        "it is shifted by one step along axis 0, to later places"),
    "rolled": (changed(smooth, 0, alone(lambda g: jnp.roll(g, -1, 1))), X, "shifted",
               "it is shifted by one step along axis 1, to earlier places, and wraps"),
    "permuted": (changed(smooth, 0, alone(lambda g: g[jnp.array([3, 0, 5, 1, 4, 2])])), X, "permuted",
                 "it has the reference's numbers at other places"),
    "exchanged": ((stranger(product, lambda g, args, dy: g[::-1]), product),
                  (draw(array(5)), draw(array(5))), "another leaf", "it is the gradient of b"),
    "averaged": (changed(smooth, 0, alone(lambda g: jnp.broadcast_to(g.mean(0), g.shape))), X, "averaged",
                 "each element is the reference's mean over axis 0"),
    "mean taken off": (changed(smooth, 0, alone(lambda g: g - g.mean(0))), X, "mean taken off",
                       "it is the reference less its mean over axis 0"),
    "no mean term": (changed(standardise, 0, forget_batch_statistics), X, "mean term",
                     "it equals the reference once its own mean over axis 0 is taken off: the mean term "
                     "is missing"),
    "constant": (changed(smooth, 0, alone(lambda g: g + 0.25)), X, "constant", "0.25 is added at every "
                                                                               "element"),
    "no mask": (changed(jax.nn.relu, 0, lambda g, args, dy: dy), RELU, "mask", "where the reference is "
                                                                               "zero, and right "
                "elsewhere: what is masked comes through"),
    "bfloat16": (changed(smooth, 0, alone(lambda g: g.astype(jnp.bfloat16).astype(g.dtype))), X, "precision",
                 "rounded to bfloat16: each element is such a number near the reference's"),
    "clipped": (changed(smooth, 0, alone(lambda g: jnp.clip(g, -0.5, 0.5))), X, "clipped",
                "clipped to ±0.5: the reference is beyond at"),
    "dy ignored": (changed(smooth, 0, lambda g, args, dy: jax.vjp(smooth, *args)[1](jnp.ones_like(dy))[0]), X,
                   "cotangent ignored", "it is the gradient for dy = 1: the cotangent is ignored"),
    "dy of one output unused": (
        changed(two, 0, lambda g, args, dy: jax.vjp(two, *args)[1]((dy[0], 0 * dy[1]))[0]), RELU,
        "cotangent unused", "it is the gradient without dy of 1: that cotangent is not used"),
    "dy reversed": (changed(smooth, 0, lambda g, args, dy: jax.vjp(smooth, *args)[1](dy[::-1])[0]), X,
                    "cotangent reversed", "it is the gradient for dy reversed along axes 0"),
    "last step left out": (
        changed(smooth, 0, lambda g, args, dy: jax.vjp(smooth, *args)[1](dy.at[-1].set(0))[0]), X,
        "cotangent short", "the last of dy along axis 0 is left out"),
    "weight not transposed": (
        changed(lambda w, x: x @ w.T, 1, lambda g, args, dy: dy @ args[0].T),
        (draw(array(4, 4)), draw(array(7, 4))), "argument transposed",
        "it is the gradient for w with axes 0 and 1 exchanged, which is not transposed"),
    "no factor 1 - y": (
        changed(jax.nn.sigmoid, 0, lambda g, args, dy: dy * jax.nn.sigmoid(args[0])), RELU, "factor",
        "it lacks the factor (1 - y)"),
    "no tanh'": (changed(jnp.tanh, 0, lambda g, args, dy: dy), RELU, "factor", "it lacks the factor (1 - "
                                                                               "y²)"),
    "softmax without its second term": (
        changed(lambda x: jax.nn.softmax(x, -1), 0, lambda g, args, dy: dy * jax.nn.softmax(args[0], -1)), X,
        "term",
        "it is the reference plus a multiple of y, one for each place off axes 1: that term is missing"),
    "no weight decay": (changed(penalised, 0, lambda g, args, dy: g - 0.7 * args[0] * dy.sum()),
                        (draw(array(3)), draw(array(8, 3))), "term", "· weight: that term is missing, or "
                                                                     "too many"),
    "one element off": (changed(smooth, 0, alone(lambda g: g.at[1, 2].mul(1.5))), X, "one element",
                        "differs from the reference at 1 of 30 elements, [1, 2], by 0.5 of it; no reason "
                        "was found"),
    "noise": (changed(smooth, 0, alone(lambda g: g * (1 + 1e-3 * jnp.sin(g * 1e4)))), X,
              "unexplained", "no reason was found"),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named(name):
    (f, plain), args, kind, words = FAULTS[name]
    report = compare_gradients(f, *args, reference=plain, routes="lifted", laws=False)
    assert not report.ok
    assert report.findings[0].kind == kind, report.findings
    assert words in report.findings[0].words


# Faults of ops: what only an op has, a cache, static numbers, a shape of its own.


def backward_of(op, change):
    """The op with another backward: change(cotangents, cache, dy)."""
    @hand_derived
    def wrong(params, x):
        return op.forward(params, x)

    wrong.defbackward(lambda cache, dy: change(op.backward(cache, dy), cache, dy))
    return wrong


def finding(f, *args, **static):
    report = compare_gradients(f, *args, routes=("explicit", "lifted"), laws=False, **static)
    assert not report.ok
    return report.findings[0]


def test_a_kernel_that_is_not_flipped():
    args = draw(_kernel(3, 3, 2, 2)), draw(array(5, 6, 2))
    correlate = lambda kernel, dy: jax.lax.conv_general_dilated(  # noqa: E731
        dy[None], jnp.swapaxes(kernel, 2, 3), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))[0]
    wrong = backward_of(ops.conv, lambda d, cache, dy: (d[0], correlate(cache[1], dy)))
    found = finding(wrong, *args)
    assert found == ("x", "argument reversed", "it is the gradient for params/kernel reversed along axes "
                                               "0, 1: the "
                     "kernel is not flipped")
    wrong = backward_of(ops.conv, lambda d, cache, dy: (d[0] | {"kernel": d[0]["kernel"][::-1, ::-1]}, d[1]))
    assert finding(wrong, *args)[:2] == ("params/kernel", "reversed")


def test_dropout_that_is_not_scaled():
    @hand_derived
    def unscaled(x, key, *, rate):
        return ops.dropout.forward(x, key, rate=rate)

    unscaled.defbackward(lambda cache, dy: (jnp.where(cache[0], dy, 0), None))
    found = finding(unscaled, draw(array(40)), jax.random.key(0), rate=0.4)
    assert found == ("x", "static", "0.6 x the reference, which is 1 - rate; kept elements are not "
                                    "divided by it")
    # The number is found inside of a function that binds it, and of a layer of a container, too.
    class Unscaled(Dropout):
        def apply(self, params, state, x, key, *, train):
            return unscaled(x, key, rate=self.rate), state

    x, key = draw(array(40)), jax.random.key(0)
    assert finding(functools.partial(unscaled, rate=0.4), x, key).kind == "static"
    assert finding(Sequential(Unscaled(0.4)), {}, {}, x, key).kind == "static"


def test_batch_norm_without_its_mean_term():
    @hand_derived(no_gradient=("state",))
    def short(params, state, x):
        return ops.batch_norm.forward(params, state, x)

    @short.defbackward
    def short_backward(cache, dy):
        scale, x, mean, r, _ = cache
        dparams, dstate, _ = ops.batch_norm.backward(cache, dy)
        x_hat = (x - mean) * r
        return dparams, dstate, scale * r * (dy[0] - x_hat * jax.lax.pmean(dy[0] * x_hat, "examples"))

    args = (draw(weights(1, 4)), {"mean": jnp.zeros(4), "variance": jnp.ones(4)}, draw(array(9, 4)))
    args[0]["scale"] = args[0].pop("weight")[:, 0]
    found = finding(jax.vmap(short, (None, None, 0), (0, None), axis_name="examples"), *args)
    assert found == ("x", "mean term", "it equals the reference once its own mean over axis 0 is taken "
                                       "off: the mean "
                     "term is missing")


def test_a_transpose_that_is_not_square():
    wrong = backward_of(ops.dense, lambda d, cache, dy: (d[0] | {"weight": d[0]["weight"].T}, d[1]))
    report = compare_gradients(wrong, draw(weights(6, 4)), draw(array(6)))
    assert report.findings[0] == ("params/weight", "transpose",
                                  "it is the transpose: (6, 4), where (4, 6) is due")
    assert any(failure.startswith("lifted backward: f raised TypeError: backward of 'wrong': the "
                                  "cotangent of ")
               for failure in report.failures)
    assert {leaf.path for leaf in report.leaves if leaf.ok} == {"params/bias", "x"}


def test_a_sum_that_is_missing():
    @hand_derived
    def shifted(bias, x):
        return x + bias, None

    shifted.defbackward(lambda _, dy: (dy, dy))
    found = finding(shifted, draw(array(4)), draw(array(7, 4)))
    assert found == ("bias", "not summed", "it is not summed over axis 0, of size 7")


def test_a_conjugate():
    f, plain = changed(lambda z: jnp.exp(z), 0, alone(jnp.conj))
    found = compare_gradients(f, jnp.asarray([1 + 2j, 0.5 - 1j, -1j]), reference=plain, routes="lifted",
                              laws=False).findings
    assert found[0].words == "it is the complex conjugate"


def test_rows_of_an_embedding_that_come_twice_overwritten():
    """An unusual fault has no name: it is told where it is, and no reason is made up."""
    wrong = backward_of(ops.embedding, lambda d, cache, dy: (
        {"table": jnp.zeros_like(d[0]["table"]).at[cache[0]].set(dy)}, None))
    ids = jnp.array([1, 3, 3])
    found = finding(wrong, {"table": draw(array(5, 2))}, ids)
    assert found.kind == "unexplained"
    assert "differs from the reference at all of index 3 of axis 0" in found.words


def test_right_leaves_have_no_finding():
    report = compare_gradients(ops.softmax_cross_entropy, draw(array(5)), draw(integers(0, 5)))
    assert report.findings == ()
