"""Rules of each kind that JAX has: held arguments, symbolic zeros, several outputs, rules in rules, hijax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn import by_autodiff, compare_gradients
from tests.gradients.routes.test_routes import rule

X = jnp.asarray(np.random.default_rng(0).standard_normal(4), jnp.float32)


def wrong_of(f, *args):
    """The report, and the names of the rules that are wrong."""
    report = compare_gradients(f, *args, by="rule")
    assert report.ok is not bool(report.wrong)
    return report, [rule.name for rule in report.wrong]


@pytest.mark.parametrize("factor", [1, 2])
def test_a_while_loop_inside(factor):
    """The plain function has no reverse mode: forward mode judges the rule."""
    @jax.custom_vjp
    def power(x, n):
        return lax.while_loop(lambda s: s[0] < n, lambda s: (s[0] + 1, s[1] * x), (0, jnp.ones_like(x)))[1]

    power.defvjp(lambda x, n: (power(x, n), (x, n)), lambda a, dy: (factor * dy * a[1] * power(a[0], a[1] - 1), None))
    report, wrong = wrong_of(lambda x: power(x, 3), X)
    assert wrong == ([] if factor == 1 else ["power"])
    assert any("no reverse mode" in note for note in report.rules[0].report.notes)


@pytest.mark.parametrize("factor", [1, 2])
def test_integers_and_trees(factor):
    @jax.custom_vjp
    def pick(table, ids, nothing):
        return table["rows"][ids]

    def backward(kept, dy):
        shape, ids = kept
        return {"rows": factor * jnp.zeros(shape).at[ids].add(dy)}, None, None

    pick.defvjp(lambda table, ids, _: (table["rows"][ids], (table["rows"].shape, ids)), backward)
    report, wrong = wrong_of(lambda rows, ids: [pick({"rows": rows}, ids, None), pick({"rows": rows}, 3 - ids, None)],
                             X, jnp.array([2, 0, 2]))
    assert wrong == ([] if factor == 1 else ["pick"])
    assert (report.rules[0].uses, report.rules[0].compared) == (2, 2)


@pytest.mark.parametrize("factor", [1, 2])
def test_keys_and_branches(factor):
    @jax.custom_vjp
    def noisy(key, x):
        return x * jax.random.normal(key, x.shape)

    noisy.defvjp(lambda key, x: (noisy(key, x), (key, x)),
                 lambda a, dy: (None, factor * dy * jax.random.normal(a[0], dy.shape)))

    def f(x):
        return lax.fori_loop(0, jnp.int32(3), lambda i, s: lax.cond(
            i > 0, lambda s: noisy(jax.random.fold_in(jax.random.key(0), i), s), lambda s: s, s), x)

    report, wrong = wrong_of(f, X)
    assert wrong == ([] if factor == 1 else ["noisy"])
    assert report.rules[0].compared == 2


@pytest.mark.parametrize("factor", [1, 2])
def test_held_arguments(factor):
    @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
    def applied(f, x):
        return f(x)

    applied.defvjp(lambda f, x: (f(x), x), lambda f, x, dy: (factor * jax.vjp(f, x)[1](dy)[0],))
    assert wrong_of(lambda x: applied(jnp.sin, applied(jnp.exp, x)), X)[1] == ([] if factor == 1 else ["applied"] * 2)

    @functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
    def power(x, n):
        return x ** n

    power.defjvp(lambda n, x, t: (x[0] ** n, factor * n * x[0] ** (n - 1) * t[0]))
    assert wrong_of(lambda x: power(x, 3) + power(x, 2), X)[1] == ([] if factor == 1 else ["power"] * 2)


@pytest.mark.parametrize("factor", [1, 2])
def test_symbolic_zeros(factor):
    @jax.custom_vjp
    def product(x, y):
        return x * y

    def forward(x, y):
        assert x.perturbed and not y.perturbed  # y is a constant of f
        return x.value * y.value, (x.value, y.value)

    product.defvjp(forward, lambda a, dy: (factor * dy * a[1], dy * a[0]), symbolic_zeros=True)
    assert wrong_of(lambda x: product(x, jnp.ones(4)), X)[1] == ([] if factor == 1 else ["product"])


@pytest.mark.parametrize("factor", [1, 2])
def test_optimize_remat(factor):
    cube = jax.custom_vjp(lambda x: x ** 3)
    cube.defvjp(lambda x: (x ** 3, x), lambda x, dy: (factor * dy * 3 * x * x,), optimize_remat=True)
    assert wrong_of(lambda x: jax.checkpoint(cube)(x), X)[1] == ([] if factor == 1 else ["<lambda>"])


@pytest.mark.parametrize("factor", [1, 2])
def test_several_outputs(factor):
    @jax.custom_jvp
    def both(x):
        return jnp.sin(x), {"cos": jnp.cos(x), "size": x.size}

    @both.defjvp
    def push(primals, tangents):
        (x,), (t,) = primals, tangents
        zero = np.zeros((), jax.dtypes.float0)
        return both(x), (t * jnp.cos(x), {"cos": -factor * t * jnp.sin(x), "size": zero})

    assert wrong_of(lambda x: both(x)[0] * both(x)[1]["cos"], X)[1] == ([] if factor == 1 else ["both"])
    assert wrong_of(lambda x: both(x)[0], X)[1] == []  # no gradient comes from the other


def test_rules_in_rules():
    """A wrong rule in the plain function of a right one makes neither that one nor f wrong; and the other way round."""
    right, wrong = (rule(jnp.sin, lambda a, dy, c=c: (c * dy * jnp.cos(a[0]),)) for c in (1, 3))

    def outer(inner, factor):
        @jax.custom_vjp
        def twice(x):
            return lax.fori_loop(0, 3, lambda _, x: jax.jit(inner)(x), 2 * x)

        def pull(x, dy):
            plain = lambda x: jnp.sin(jnp.sin(jnp.sin(2 * x)))  # noqa: E731
            return (factor * jax.vjp(plain, x)[1](dy)[0],)

        twice.defvjp(lambda x: (twice(x), x), pull)
        return twice

    report, names = wrong_of(outer(wrong, 1), X)
    assert names == [] and [rule.name for rule in report.wrong_inside] == ["sin"]
    assert report.rules[0].verdict == "right"  # beside a plain function without that rule
    assert report.wrong_inside[0].places[0].endswith("inside of twice, step 1 of 3")
    assert report.verdict.endswith("not so sin, in the plain functions of others")
    report, names = wrong_of(outer(right, 2), X)
    assert names == ["twice"] and not report.wrong_inside
    assert wrong_of(by_autodiff(lambda x: wrong(x)), X)[1] == ["sin"]  # whose gradient goes by the rules inside


def test_a_function_without_derivative():
    """Its rule is judged by finite differences of its value, and the report says so."""
    def host(x):
        return jax.pure_callback(lambda x: np.sin(x), jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    for factor in (1, 2):
        callback = rule(host, lambda a, dy, c=factor: (c * dy * jnp.cos(a[0]),))
        report, names = wrong_of(callback, X)
        assert names == ([] if factor == 1 else ["host"])
        assert any("finite differences of f's own value judge f" in note for note in report.rules[0].report.notes)
    rounded = rule(lambda x: jnp.round(x), lambda a, dy: (dy,))  # a surrogate, on purpose
    report, names = wrong_of(rounded, X)
    assert names == ["<lambda>"]
    assert "the plain function's gradient is zero everywhere" in str(report)


def test_a_rule_that_is_righter_than_its_plain_function():
    """Where two numbers are equal, autodiff of log(eᵃ + eᵇ) by way of their maximum is wrong, and JAX's rule is not."""
    report, names = wrong_of(jnp.logaddexp, X, X.at[1].add(1))
    assert names == []
    assert report.rules[0].verdict == "right, where the plain function's gradient is not"
    held = rule(lambda x: x * lax.stop_gradient(x), lambda a, dy: (2 * a[0] * dy,))
    assert wrong_of(held, X)[1] == ["<lambda>"]


def test_the_value_under_differentiation():
    shifted = jax.custom_vjp(lambda x: 2 * x)
    shifted.defvjp(lambda x: (2 * x + 1, None), lambda _, dy: (2 * dy,))
    report, names = wrong_of(shifted, X)
    assert names == ["<lambda>"]
    assert "under differentiation value[" in report.wrong[0].report.failures[0]


def test_what_no_gradient_passes_through():
    """A rule is judged along the inputs that depend on f's arguments."""
    scaled = rule(lambda x, s: x * s, lambda a, dy: (dy * a[1], 5 * dy))
    assert wrong_of(lambda x: scaled(x, jnp.ones(4)), X)[1] == []
    assert wrong_of(lambda x: scaled(x, lax.stop_gradient(jnp.exp(x))), X)[1] == []
    assert wrong_of(lambda x, s: scaled(x, s), X, X)[1] == ["<lambda>"]

    def late(x):  # the second argument moves from the second step on
        return lax.scan(lambda s, _: (scaled(x, s), None), jnp.ones(4), None, 3)[0]

    assert wrong_of(late, X)[1] == ["<lambda>"]
    report, _ = wrong_of(lambda x: x + lax.stop_gradient(scaled(x, x)), X)
    assert report.rules[0].verdict == "nothing to compare: no gradient passes through it"


def test_what_is_not_opened():
    mesh = jax.make_mesh((1,), ("d",))
    f = jax.shard_map(rule(jnp.sin, lambda a, dy: (dy,)), mesh=mesh, in_specs=jax.P(), out_specs=jax.P())
    report, names = wrong_of(f, X)
    assert names == ["shard_map"]
    assert "NOT COMPARED: what stands inside of it is not opened" in str(report)


def test_a_rule_that_closes_over_a_value():
    def f(x, s):
        scaled = jax.custom_vjp(lambda x: 2 * x)
        scaled.defvjp(lambda x: (2 * x, None), lambda _, dy: (s * dy,))
        return scaled(x)

    report, names = wrong_of(f, X, X)
    assert names == ["<lambda>"]
    assert "it closes over values of the function around it" in report.wrong[0].verdict


def hijax_square(factor):
    hijax = pytest.importorskip("jax.experimental.hijax", reason="this JAX has no hijax")
    base = getattr(hijax, "HiPrim", None) or getattr(hijax, "VJPHiPrimitive", None)
    if base is None:
        pytest.skip("this JAX has another hijax")

    class Square(base):
        def __init__(self, aval):
            self.in_avals, self.out_aval, self.params = (aval,), aval, {}
            super().__init__()

        def expand(self, x):
            return x * x

        def vjp_fwd(self, nzs_in, x):
            return self(x), x

        def vjp_bwd_retval(self, x, dy):
            return (factor * x * dy,)

        def batch(self, axis_data, args, dims):
            return Square(jax.typeof(args[0]))(*args), dims[0]

    return lambda x: Square(jax.typeof(x))(x)


@pytest.mark.parametrize("factor", [2, 3])
def test_hijax_primitives(factor):
    square = hijax_square(factor)
    for f in (lambda x: square(x) + square(3 * x), jax.jit(lambda x: jnp.sin(square(x)))):
        report, names = wrong_of(f, X)
        assert names == ([] if factor == 2 else ["Square"])
        assert report.rules[0].kind == "hijax"
