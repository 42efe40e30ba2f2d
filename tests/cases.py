"""The table of ops that the transformation tests run over. A new op is one more line.

Each case makes its arguments for example number i; those named in `shared` are the same for all
examples, as weights are.
"""

import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import bind, chain, hand_derived, ops, over_examples, parallel, residual
from jaxnn.hand_derived import Op, Static

# Ops that no library would have: each shows one freedom of the contract.


@hand_derived
def pytrees(a, b):
    """Pytrees in, pytrees out: {"outer": u vᵀ w, "pair": (u + v, w²)}."""
    u, v, (w,) = a["u"], a["v"], b
    return {"outer": jnp.outer(u, v) * w, "pair": (u + v, w * w)}, (u, v, w)


@pytrees.defbackward
def pytrees_backward(cache, dy):
    u, v, w = cache
    d_outer, (d_sum, d_square) = dy["outer"], dy["pair"]
    du = w * jnp.einsum("ij,j->i", d_outer, v) + d_sum
    dv = w * jnp.einsum("ij,i->j", d_outer, u) + d_sum
    dw = jnp.einsum("ij,i,j->", d_outer, u, v) + 2 * w * d_square
    return {"u": du, "v": dv}, (dw,)


@hand_derived
def largest(x):
    """A value and an integer beside it, which has no derivative: (Σ x³, argmax x)."""
    return (jnp.sum(x**3), jnp.argmax(x)), x


@largest.defbackward
def largest_backward(x, dy):
    return (3 * dy[0] * x * x,)


@hand_derived
def held(x, scale):
    """y = sin(x) scale, where scale is held fixed: it gets no gradient."""
    scale = jax.lax.stop_gradient(scale)
    return jnp.sin(x) * scale, (x, scale)


@held.defbackward
def held_backward(cache, dy):
    x, scale = cache
    return dy * jnp.cos(x) * scale, None


@hand_derived
def powers(x, *, exponents=(1, 2), scale=1.0):
    """y_k = scale x^k for each of the static exponents."""
    return tuple(scale * x**k for k in exponents), (x, Static((exponents, scale)))


@powers.defbackward
def powers_backward(cache, dy):
    x, static = cache
    exponents, scale = static.value
    return (sum(scale * k * x ** (k - 1) * d for k, d in zip(exponents, dy)),)


@hand_derived
def noisy(x, key):
    """y = x² n with n drawn from a key."""
    noise = jax.random.normal(key, x.shape, x.dtype)
    return x * x * noise, (x, noise)


@noisy.defbackward
def noisy_backward(cache, dy):
    x, noise = cache
    return 2 * dy * x * noise, None


@hand_derived
def recurrence(weight, x):
    """h_t = tanh(w h_{t-1} + x_t) over the leading axis, h_{-1} = 0: one scan each way."""
    def step(h_tm1, x_t):
        h_t = jnp.tanh(weight * h_tm1 + x_t)
        return h_t, h_t

    _, h = jax.lax.scan(step, jnp.zeros_like(x[0] * weight), x)
    return h, (weight, h)


@recurrence.defbackward
def recurrence_backward(cache, dy):
    weight, h = cache
    before = jnp.concatenate([jnp.zeros_like(h[:1]), h[:-1]])

    def step(carry, at_t):
        dh_next, dweight = carry
        h_t, h_tm1, dy_t = at_t
        dz = (dy_t + dh_next) * (1 - h_t * h_t)
        return (weight * dz, dweight + jnp.sum(dz * h_tm1)), dz

    start = (jnp.zeros_like(h[0]), jnp.zeros_like(weight))
    (_, dweight), dx = jax.lax.scan(step, start, (h, before, dy), reverse=True)
    return dweight, dx


# Arguments: functions (rng, dtype) -> one argument.


def array(*shape):
    return lambda rng, dtype: jnp.asarray(rng.standard_normal(shape), dtype)


def distribution(n):
    return lambda rng, dtype: jnp.asarray(rng.dirichlet(np.ones(n)), dtype)


def uniform(*shape):
    return lambda rng, dtype: jnp.asarray(rng.uniform(size=shape), dtype)


def integers(low, high, *shape):
    return lambda rng, dtype: jnp.asarray(rng.integers(low, high, shape), jnp.int32)


def key(rng, dtype):
    return jax.random.key(int(rng.integers(1 << 30)))


def tree(**entries):
    return lambda rng, dtype: {k: make(rng, dtype) for k, make in entries.items()}


def several(*entries):
    return lambda rng, dtype: tuple(make(rng, dtype) for make in entries)


def weights(n_in, n_out):
    return tree(weight=array(n_out, n_in), bias=array(n_out))


NONE = several()


class Case(NamedTuple):
    name: str
    op: Op
    arguments: tuple[Any, ...]
    static: dict[str, Any] = {}  # noqa: RUF012
    shared: tuple[int, ...] = ()

    def example(self, i, dtype=jnp.float32):
        """The arguments of example i."""
        seed = zlib.crc32(self.name.encode())
        return tuple(make(np.random.default_rng([seed, n, 0 if n in self.shared else i]), dtype)
                     for n, make in enumerate(self.arguments))

    def batch(self, size, dtype=jnp.float32):
        """(arguments, in_axes): the examples 0 .. size - 1 stacked, shared arguments once."""
        examples = [self.example(i, dtype) for i in range(size)]
        stack = lambda *leaves: jnp.stack(leaves)  # noqa: E731
        args = tuple(column[0] if n in self.shared else jax.tree.map(stack, *column)
                     for n, column in enumerate(zip(*examples)))
        return args, tuple(None if n in self.shared else 0 for n in range(len(args)))


def _kernel(height, width, n_in, n_out):
    return tree(kernel=array(height, width, n_in, n_out), bias=array(n_out))


def _lstm_weights(n_in, n_hidden):
    return tree(weight_x=array(4 * n_hidden, n_in), weight_h=array(4 * n_hidden, n_hidden),
                bias=array(4 * n_hidden))


_mlp = chain(ops.dense, ops.tanh, ops.dense)
_mlp_weights = several(weights(4, 6), NONE, weights(6, 4))
_with_dropout = chain(ops.dense, bind(ops.dropout, rate=0.5), ops.gelu, bind(ops.dropout, rate=0.2),
                      ops.dense)

CASES = [
    *(Case(f.name, f, (array(3),)) for f in (
        ops.sigmoid, ops.tanh, ops.relu, ops.leaky_relu, ops.elu, ops.softplus, ops.gelu, ops.gelu_tanh,
        ops.silu)),
    Case("softmax", ops.softmax, (array(4),)),
    Case("log_softmax", ops.log_softmax, (array(4),)),
    Case("dense", ops.dense, (weights(4, 6), array(4)), shared=(0,)),
    Case("binary_cross_entropy", ops.binary_cross_entropy, (array(3), uniform(3))),
    Case("softmax_cross_entropy of a class", ops.softmax_cross_entropy, (array(4), integers(0, 4))),
    Case("softmax_cross_entropy of a distribution", ops.softmax_cross_entropy, (array(4), distribution(4))),
    Case("softmax_cross_entropy, smoothed", ops.softmax_cross_entropy, (array(4), integers(0, 4)),
         {"smoothing": 0.1}),
    Case("squared_error", ops.squared_error, (array(3), array(3))),
    Case("huber", ops.huber, (array(3), array(3)), {"delta": 0.7}),
    Case("dropout", ops.dropout, (array(4), key), {"rate": 0.4}),
    Case("flatten", ops.flatten, (array(2, 3),)),
    Case("add", ops.add, (several(array(3), array(3)),)),
    Case("concatenate", ops.concatenate, (several(array(2, 1), array(2, 2)),), {"axis": 1}),
    Case("pytrees", pytrees, (tree(u=array(3), v=array(3)), several(array()))),
    Case("an integer output", largest, (array(3),)),
    Case("an argument without gradient", held, (array(3), array(3))),
    Case("static keywords", powers, (array(3),), {"exponents": (1, 3), "scale": 0.5}),
    Case("a PRNG key", noisy, (array(3), key)),
    Case("a scan", recurrence, (array(), array(4, 2)), shared=(0,)),
    Case("conv", bind(ops.conv, stride=2), (_kernel(2, 2, 1, 2), array(3, 4, 1)), shared=(0,)),
    Case("max_pool", ops.max_pool, (array(3, 4, 1),), {"window": 2, "stride": 1}),
    Case("batch_norm", over_examples(ops.batch_norm), (
        tree(scale=array(2), bias=array(2)), tree(mean=array(2), variance=uniform(2)), array(3, 2)),
        shared=(0, 1)),
    Case("batch_norm_inference", ops.batch_norm_inference, (
        tree(scale=array(2), bias=array(2)), tree(mean=array(2), variance=uniform(2)), array(3, 2)),
        shared=(0, 1)),
    Case("embedding", ops.embedding, (tree(table=array(5, 2)), integers(0, 5, 3)), shared=(0,)),
    Case("lstm", ops.lstm, (_lstm_weights(2, 3), array(4, 2), several(array(3), array(3))), shared=(0,)),
    Case("attention", ops.attention, (array(5, 2), array(5, 2), array(5, 3)), {"chunk": 2}),
    Case("chain with dropout", _with_dropout,
         (several(weights(4, 6), NONE, NONE, NONE, weights(6, 2)), array(4), key), shared=(0,)),
    Case("residual with a shortcut", residual(chain(ops.dense, ops.tanh), ops.dense),
         (several(several(weights(4, 2), NONE), weights(4, 2)), array(4)), shared=(0,)),
    Case("parallel, added", chain(parallel(ops.dense, ops.gelu), ops.add),
         (several(several(weights(4, 4), NONE), NONE), array(4)), shared=(0,)),
    Case("over_examples", over_examples(_mlp), (_mlp_weights, array(2, 4)), shared=(0,)),
]


def each(cases=CASES):
    """Arguments for `pytest.mark.parametrize`."""
    return {"argnames": "case", "argvalues": cases, "ids": [case.name for case in cases]}
