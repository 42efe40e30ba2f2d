"""Ops that no library would have, each of which shows one freedom of the contract, as further entries of the catalogue.

`CASES` are these and the catalogue's own; `ONE_OF_EACH` names one for each kind: what JAX's transformations make of
an op does not depend on its calculus.
"""

import jax
import jax.numpy as jnp
import pytest

from experiments import catalogue
from experiments.catalogue import Case
from jaxnn import hand_derived
from jaxnn.hand_derived import Static
from tests.random_arguments import NONE, _kernel, array, distribution, integers, several, tree, uniform, weights  # noqa: F401


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


@hand_derived(no_gradient=("scale",))
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


@hand_derived(reverse_only=True)
def weighed(params, x):
    """y = w³ x + sin(x), by `jax.custom_vjp`."""
    w = params["w"]
    return w**3 * x + jnp.sin(x), (w, x)


@weighed.defbackward
def weighed_backward(cache, dy):
    """dw = 3 w² x dy, dx = (w³ + cos x) dy."""
    w, x = cache
    return {"w": 3 * w * w * jnp.vdot(x, dy)}, (w**3 + jnp.cos(x)) * dy


N = {"n": (3, 4, 5)}
OWN = (
    Case("pytrees", pytrees, "pytrees", "{u: f32[n], v: f32[n]} (f32[],)", N),
    Case("an integer output", largest, "integers", "f32[n]", N),
    Case("an argument without gradient", held, "array", "f32[n] f32[n]", N),
    Case("static keywords", powers, "array", "f32[n]", N, {"exponents": (1, 3), "scale": 0.5}),
    Case("a PRNG key", noisy, "key", "f32[n] key", N),
    Case("a scan", recurrence, "scan", "f32[] f32[n,2]", N, shared=("weight",)),
    Case("reverse only", weighed, "reverse only", "{w: f32[]} f32[n]", N),
)
CASES = (*OWN, *catalogue.CASES)
ONE_OF_EACH = {
    "elementwise": "sigmoid", "array": "softmax", "weight": "dense", "scan": "a scan", "key": "dropout",
    "state": "batch_norm", "integers": "softmax_cross_entropy", "pytrees": "pytrees", "reverse only": "reverse only",
    "network": "dropout-net"}


# What differs from another by a choice of its keywords, or by a variant of its formula: compiled for --exhaustive.
VARIED = {
    "attention", "rnn_relu", "gru", "lstm_peephole", "lstm_projected", "layer_norm_lstm", "iou", "generalized_iou",
    "distance_iou", *(case.name for case in catalogue.CASES if "-" in case.name and case.kind != "network")
} - {"attention-heads"}


# Every op's gradient is compared in every run; traps, dtypes and sizes are for these, and for all with --exhaustive.
TYPICAL = {*ONE_OF_EACH.values(), "conv", "lstm", "max_pool", "relu", "gelu", "log_softmax", "concatenate", "ctc",
           "layer_norm", "attention-masked", "binary_cross_entropy", "iou", "triplet_loss"}


def typical(names):
    """Parameters for pytest: those of the names that are not TYPICAL are exhaustive."""
    return [name if name in TYPICAL else pytest.param(name, marks=pytest.mark.exhaustive) for name in names]


def find(name):
    """The case of this name, of both tables."""
    return next(case for case in CASES if case.name == name)


def rows(*left_out):
    """Parameters for pytest: one op of each kind, and as `exhaustive` all others, but for those left out by name;
    networks are made of these.

    An exhaustive case may take up to a minute: attention, CTC and the loops over time are each compiled under every
    transformation and in every dtype, and the boxes' overlaps for every way in which two boxes can lie."""
    # Those that compile for seconds, not for half a minute; what is "sampled" in this table would compile all the same.
    quick = set(ONE_OF_EACH.values()) - {"dropout-net", "batch_norm", "a scan", "softmax_cross_entropy"}
    return [pytest.param(case, id=case.name, marks=[] if case.name in quick else [pytest.mark.exhaustive])
            for case in CASES if case.name in ONE_OF_EACH.values()
            or (case.kind != "network" and case.name not in left_out)]
