"""A wrong forward, a wrong backward, a wrong call: each is refused, and the message names the op, the
argument and both sides. And right backward passes of every make are not refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn import hand_derived, network, ops
from jaxnn.hand_derived import Static
from tests.compare import assert_close

X = jnp.asarray([0.5, -1.0, 2.0])
N = jnp.asarray([0, 2, 1])
PARAMS = {"w": X, "b": (jnp.ones(()), N)}


def with_backward(backward):
    """An op f(params, x, n) whose derivative is `backward`."""
    @hand_derived
    def f(params, x, n):
        return params["w"] * x + params["b"][0] + x[n], (params, x)

    f.defbackward(backward)
    return f


def right(dy):
    return {"w": dy, "b": (jnp.sum(dy), None)}, dy, None


WRONG = {
    "one cotangent too few": (
        lambda c, dy: (right(dy)[0], dy),
        "backward of 'f' returned 2 cotangents; expected a tuple of 3, one for each of (params, x, n), None "
        "where there is no gradient"),
    "one too many": (lambda c, dy: (*right(dy), dy), "returned 4 cotangents; expected a tuple of 3"),
    "not a tuple": (lambda c, dy: dy, "backward of 'f' returned"),
    "nothing": (lambda c, dy: None, "backward of 'f' returned NoneType; expected a tuple of 3"),
    "a dict": (lambda c, dy: {"params": dy}, "backward of 'f' returned dict; expected a tuple of 3"),
    "a missing key": (
        lambda c, dy: ({"w": dy}, dy, None),
        "backward of 'f': the cotangent of 'params' has structure PyTreeDef({'w': *}); the argument has "
        "PyTreeDef({'b': (*, *), 'w': *})"),
    "a list for a tuple": (
        lambda c, dy: ({"w": dy, "b": [jnp.sum(dy), None]}, dy, None),
        "the cotangent of 'params' has structure"),
    "an array for a dict": (lambda c, dy: (dy, dy, None), "the cotangent of 'params' has structure"),
    "a wrong shape": (
        lambda c, dy: (right(dy)[0], dy[:2], None),
        "backward of 'f': the cotangent of 'x' has shape (2,); the argument has shape (3,)"),
    "a shape that would broadcast": (
        lambda c, dy: (right(dy)[0], jnp.sum(dy), None),
        "backward of 'f': the cotangent of 'x' has shape (); the argument has shape (3,)"),
    "a wrong shape inside a tree": (
        lambda c, dy: ({"w": dy, "b": (dy, None)}, dy, None),
        "the cotangent of 'params['b'][0]' has shape (3,); the argument has shape ()"),
    "an integer dtype": (
        lambda c, dy: (right(dy)[0], jnp.ones(3, jnp.int32), None),
        "backward of 'f': the cotangent of 'x' has dtype int32; the argument has dtype float32"),
    "a boolean dtype": (
        lambda c, dy: (right(dy)[0], jnp.ones(3, bool), None), "the cotangent of 'x' has dtype bool"),
    "a complex dtype": (
        lambda c, dy: (right(dy)[0], dy * 1j, None), "the cotangent of 'x' has dtype complex64"),
    "a string": (
        lambda c, dy: (right(dy)[0], "dy", None),
        "backward of 'f': the cotangent of 'x' is a str; the argument is an array"),
    "a gradient of integers": (
        lambda c, dy: (right(dy)[0], dy, dy),
        "backward of 'f': the cotangent of 'n' is float32[3]; the argument is int32, which has no gradient: "
        "return None in its place"),
    "a gradient of integers in a tree": (
        lambda c, dy: ({"w": dy, "b": (jnp.sum(dy), dy)}, dy, None),
        "the cotangent of 'params['b'][1]' is float32[3]; the argument is int32"),
    "dy + 1": (
        lambda c, dy: (right(dy)[0], dy + 1, None),
        "backward of 'f' is not linear in dy: in the cotangent of 'x' it adds a term that does not depend on "
        "dy (add)"),
    "dy * dy": (
        lambda c, dy: (right(dy)[0], dy * dy, None),
        "backward of 'f' is not linear in dy: in the cotangent of 'x' it multiplies dy with itself (mul)"),
    "sin(dy)": (
        lambda c, dy: ({"w": jnp.sin(dy), "b": (jnp.sum(dy), None)}, dy, None),
        "not linear in dy: in the cotangent of 'params['w']' it takes sin of dy"),
    "where(dy > 0)": (
        lambda c, dy: (right(dy)[0], jnp.where(dy > 0, dy, 0), None),
        "not linear in dy: in the cotangent of 'x' it takes gt of dy"),
    "a constant": (
        lambda c, dy: (right(dy)[0], c[1], None),
        "not linear in dy: in the cotangent of 'x' it does not depend on dy and is not zero"),
    "a Python number": (
        lambda c, dy: ({"w": dy, "b": (1.0, None)}, dy, None),
        "in the cotangent of 'params['b'][0]' it does not depend on dy and is not zero"),
    "affine in a scan": (
        lambda c, dy: (right(dy)[0], lax.scan(lambda s, d: (s, d + 1), 0.0, dy)[1], None), "adds a term"),
    "affine in a branch": (
        lambda c, dy: (right(dy)[0], lax.cond(c[1][0] > 0, lambda d: d + 1, lambda d: d, dy), None),
        "in the cotangent of 'x' it adds a term that does not depend on dy"),
    "affine in a jit": (lambda c, dy: (right(dy)[0], jax.jit(lambda d: d + 1)(dy), None), "adds a term"),
    "affine in where": (
        lambda c, dy: (right(dy)[0], jnp.where(c[1] > 0, dy, 1.0), None),
        "it adds a term that does not depend on dy (where)"),
    "a while loop": (
        lambda c, dy: (right(dy)[0], lax.while_loop(lambda d: d[0] < 9, lambda d: 2 * d + d, dy), None),
        "in the cotangent of 'x' it takes while of dy"),
    "what JAX cannot transpose": (
        lambda c, dy: (right(dy)[0], custom(dy), None), "backward of 'f' cannot be transposed"),
}


@jax.custom_vjp
def custom(x):
    return 2 * x


custom.defvjp(lambda x: (2 * x, None), lambda _, dy: (2 * dy,))


def derivatives(f):
    """Each of the modes by which a rule is first applied."""
    cost = lambda params, x: jnp.sum(f(params, x, N))  # noqa: E731
    weights = {"w": X, "b": (jnp.ones(()), N)}
    return {
        "grad": lambda: jax.grad(cost, (0, 1), allow_int=True)(weights, X),
        "jvp": lambda: jax.jvp(lambda w, b, x: cost({"w": w, "b": (b, N)}, x), (X, 1.0, X), (X, 1.0, X)),
        "grad under jit": lambda: jax.jit(jax.grad(cost, (0, 1), allow_int=True))(weights, X),
        "vmap of grad": lambda: jax.vmap(jax.grad(cost, (0, 1), allow_int=True), (None, 0))(weights, X[None]),
    }


@pytest.mark.sampled
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_backward_is_refused(name):
    backward, words = WRONG[name]
    for derive in derivatives(with_backward(backward)).values():
        with pytest.raises(TypeError, match=re.escape(words)):
            derive()


@pytest.mark.parametrize("name", WRONG)
def test_it_stays_refused(name):
    """The second call with the same shapes is refused as the first was."""
    derive = derivatives(with_backward(WRONG[name][0]))["grad"]
    for _ in range(2):
        with pytest.raises(TypeError):
            derive()


def test_the_right_one_is_not():
    f = with_backward(lambda c, dy: (
        {"w": dy * c[1], "b": (jnp.sum(dy), None)}, dy * c[0]["w"] + jnp.zeros(3).at[N].add(dy), None))
    for name, derive in derivatives(f).items():
        assert derive() is not None, name

    def gradient(f):
        return jax.grad(lambda p, x: jnp.sum(f(p, x, N) ** 2), (0, 1), allow_int=True)(PARAMS, X)

    got, want = gradient(f), gradient(f.reference)
    assert_close(got[1], want[1])
    assert_close(got[0]["w"], want[0]["w"])


def test_cotangents_are_cast_to_their_arguments():
    """bfloat16 where float32 is due, a Python 0.0, a wider float: no reason to refuse."""
    @hand_derived
    def f(a, b, c):
        return a + b + c.astype(a.dtype) * 0, None

    @f.defbackward
    def f_backward(_, dy):
        return dy.astype(jnp.bfloat16), dy, 0.0

    grads = jax.grad(lambda *args: f(*args), (0, 1, 2))(jnp.ones(()), jnp.ones(()),
                                                        jnp.ones((), jnp.bfloat16))
    assert [g.dtype for g in grads] == [jnp.float32, jnp.float32, jnp.bfloat16]
    assert [float(g) for g in grads] == [1.0, 1.0, 0.0]


RIGHT = {
    "zeros": lambda m, c, dy: jnp.zeros_like(dy),
    "a mask": lambda m, c, dy: jnp.where(m, dy, 0),
    "a matrix product": lambda m, c, dy: jnp.einsum("i,j,j->i", dy, c, c),
    "a scatter": lambda m, c, dy: jnp.zeros(4).at[jnp.argsort(c)].add(dy),
    "a slice written into zeros": lambda m, c, dy: lax.dynamic_update_slice(jnp.zeros(4), dy[:2], (1,)),
    "a gather": lambda m, c, dy: dy[jnp.argsort(c)],
    "a convolution": lambda m, c, dy: jnp.convolve(dy, c[:3], mode="same"),
    "a cumulative sum": lambda m, c, dy: jnp.cumsum(dy),
    "what sort says of the cache": lambda m, c, dy: dy * jnp.sort(c),
    "a branch on the cache": lambda m, c, dy: lax.cond(c[0] > 0, lambda d: d, lambda d: -d, dy),
    "a scan from zero": lambda m, c, dy: lax.scan(lambda s, d: (s + d, s), jnp.zeros(()), dy)[1],
    "a scan under checkpoint": lambda m, c, dy: lax.scan(
        jax.checkpoint(lambda s, d: (jnp.sin(d[1]) * s + d[0], s), prevent_cse=False),
        jnp.zeros(()), (dy, c))[1],
    "a triangular solve": lambda m, c, dy: jax.scipy.linalg.solve_triangular(jnp.eye(4) + jnp.tril(
        jnp.outer(c, c)), dy, lower=True),
    "a Fourier transform": lambda m, c, dy: jnp.fft.irfft(jnp.fft.rfft(dy) * jnp.arange(3.0)),
    "a custom_jvp function of the cache": lambda m, c, dy: dy * jax.nn.silu(c) * jax.nn.relu(c),
    "bfloat16 inside": lambda m, c, dy: jnp.where(m, dy.astype(jnp.bfloat16), 0),
}


@pytest.mark.sampled
@pytest.mark.parametrize("name", RIGHT)
def test_a_linear_backward_is_not_refused(name):
    """Whatever the rule, jvp is its transpose: <dy, J t> = <Jᵀ dy, t>, where Jᵀ is the rule."""
    rule = RIGHT[name]

    @hand_derived
    def f(x):
        return x * 1, (x > 0, x)

    f.defbackward(lambda cache, dy: (rule(*cache, dy),))
    rng = np.random.default_rng(0)
    x, t, dy = (jnp.asarray(rng.standard_normal(4), jnp.float32) for _ in range(3))
    want = rule(x > 0, x, dy).astype(jnp.float32)
    np.testing.assert_allclose(jax.vjp(f, x)[1](dy)[0], want, rtol=1e-5, atol=1e-5)
    pushed = jax.jvp(f, (x,), (t,))[1]
    assert float(jnp.vdot(dy, pushed)) == pytest.approx(float(jnp.vdot(want, t)), rel=2e-2, abs=2e-2)
    assert jax.jit(jax.vmap(jax.grad(lambda x: jnp.sum(f(x)))))(x[None]).shape == (1, 4)


# The forward, and the call.


def test_forward_must_return_a_pair():
    @hand_derived
    def f(x):
        return x

    @f.defbackward
    def f_backward(_, dy):
        return (dy,)

    for call in (f, f.forward, f.reference, jax.grad(f)):
        with pytest.raises(TypeError, match=re.escape("forward of 'f' returned")):
            call(1.0)


def test_forward_must_not_return_three():
    @hand_derived
    def f(x):
        return x, x, x

    with pytest.raises(TypeError, match=re.escape("forward of 'f' returned tuple; expected the pair")):
        f.forward(1.0)


def test_an_op_without_backward():
    @hand_derived
    def f(x):
        return x * x, x

    assert f.reference(3.0) == 9.0
    for call in (lambda: f(3.0), lambda: jax.grad(f)(3.0), lambda: f.backward(None, 1.0)):
        with pytest.raises(TypeError, match=re.escape(
                "'f' has no backward pass; write it under @f.defbackward")):
            call()


def test_variable_arguments():
    for forward in (lambda *x: (x, None), lambda x, **options: (x, None)):
        with pytest.raises(TypeError, match=re.escape(
                "takes *args or **kwargs; name each argument, and pass several arrays as one tuple")):
            hand_derived(forward)


def test_backward_takes_cache_and_dy():
    @hand_derived
    def f(x):
        return x, None

    with pytest.raises(TypeError, match=re.escape(
            "backward of 'f' takes 3 arguments; expected (cache, dy): put what it needs of a static argument "
            "into the cache")):
        f.defbackward(lambda cache, dy, rate: (dy,))


def test_static_arguments_must_be_hashable():
    @hand_derived
    def f(x, *, sizes=()):
        return x, Static(sizes)

    f.defbackward(lambda cache, dy: (dy,))
    by_position, tuples = "pass arrays by position", "pass a number, text, or a tuple of these"
    for value, kind, inner, advice in (
            (np.ones(2), "ndarray", "numpy.ndarray", by_position),
            ([np.ones(2)], "tuple", "numpy.ndarray", by_position),
            ({}, "dict", "dict", tuples), ((1, {}), "tuple", "dict", tuples),
            (np.array(1.0), "ndarray", "numpy.ndarray", "pass a Python number as sizes: float(...)"),
            (jnp.array(1), "ArrayImpl", "jaxlib._jax.ArrayImpl", "pass a Python number as sizes: int(...)"),
            ([0, jnp.array(True)], "tuple", "jaxlib._jax.ArrayImpl", "pass a Python number as sizes[1]: bool(...)")):
        with pytest.raises(TypeError, match=re.escape(
                f"f expects the keyword argument 'sizes', which is static, to be hashable; got {kind} (unhashable "
                f"type: '{inner}'): {advice}")):
            f(1.0, sizes=value)
    with pytest.raises(TypeError, match="pass a Python number as sizes, or name it in static_argnames"):
        jax.jit(lambda sizes: f(1.0, sizes=sizes))(2)
    assert f(1.0, sizes=(1, 2)) == 1.0


def test_lists_and_numpy_numbers_are_static_too():
    """A list is a tuple, a NumPy number is Python's: equal choices are one choice."""
    choices = []

    @hand_derived
    def f(x, *, sizes=()):
        choices.append(sizes)
        return x, None

    f.defbackward(lambda cache, dy: (dy,))
    for sizes in ([1, [2, True]], (np.int64(1), [np.uint8(2), np.bool_(True)])):
        assert f(1.0, sizes=sizes) == jax.grad(f)(1.0, sizes=sizes) == 1.0
    assert {repr(choice) for choice in choices} == {"(1, (2, True))"}
    f(1.0, sizes=np.float32(0.5))
    assert type(choices[-1]) is float


def test_one_and_true_are_two_choices():
    """Though equal, and though forward has answered for the one: the other it may refuse."""
    assert ops.softmax(jnp.zeros((1, 1)), axis=1) == 1
    for axis in (True, 1.0):
        with pytest.raises(ValueError, match="softmax expects axis, an integer"):
            ops.softmax(jnp.zeros((1, 1)), axis=axis)


@pytest.mark.parametrize(("x", "came"), [
    (np.int64(2**32 + 1), "values from 4294967297 to 4294967297"),
    (np.array([3, -(2**31) - 1]), "values from -2147483649 to 3"),
    (2**40, "values from 1099511627776 to 1099511627776"),
    (2**70, f"values from {2**70} to {2**70}"),
])
def test_integers_that_would_wrap(x, came):
    with pytest.raises(ValueError, match=re.escape(
            f"embedding expects x that int32 holds; got {came}; JAX would wrap them: use smaller numbers, or "
            "jax.enable_x64(True)")):
        ops.embedding({"table": jnp.ones((3, 2))}, x)


def test_the_largest_integers_that_do_not_wrap():
    for x in (np.int64(2**31 - 1), np.array([-(2**31)]), np.uint64(2**32 - 1), np.array([], np.int64), 2**31 - 1):
        assert np.array_equal(ops.flatten(x), np.ravel(x))
    with pytest.raises(ValueError, match=re.escape("flatten expects x that uint32 holds; got values from 4294967296")):
        ops.flatten(np.uint64(2**32))


@pytest.mark.parametrize(("args", "static", "words"), [
    ((), {}, "leaky_relu expects (x, *, slope=0.01): missing a required argument: 'x'"),
    ((1.0, 2.0), {}, "too many positional arguments"),
    ((1.0,), {"slop": 1}, "got an unexpected keyword argument 'slop'"),
])
def test_a_call_that_does_not_fit(args, static, words):
    for call in (ops.leaky_relu, ops.leaky_relu.forward, ops.leaky_relu.reference):
        with pytest.raises(TypeError, match=re.escape(words)):
            call(*args, **static)


@pytest.mark.parametrize("reverse_only", [False, True])
@pytest.mark.parametrize(("cotangents", "place"), [
    (lambda d: (None, d), r"params"), (lambda d: ({"w": None, "b": d}, d), r"params\['w'\]"),
    (lambda d: ({"w": d, "b": d}, None), "x")])
def test_none_for_floating_point_numbers(cotangents, place, reverse_only):
    """They would never be trained, and nothing would say so."""
    def affine(params, x):
        return params["w"] * x + params["b"], None

    params, x = {"w": jnp.ones(2), "b": jnp.ones(2)}, jnp.ones(2)
    op = hand_derived(affine, reverse_only=reverse_only)
    op.defbackward(lambda cache, dy: cotangents(dy))
    words = rf"backward of 'affine': the cotangent of '{place}.*' is None; the argument is float32, which would never"
    with pytest.raises(TypeError, match=words):
        jax.grad(lambda params, x: jnp.sum(op(params, x)), (0, 1))(params, x)
    net = network(lambda params, x: op(params, x))
    _, cache = net.forward(params, x)
    with pytest.raises(TypeError, match=words):
        net.backward(cache, x)
    declared = hand_derived(affine, reverse_only=reverse_only, no_gradient=("params", "x"))
    declared.defbackward(lambda cache, dy: cotangents(dy))
    gradient = jax.grad(lambda params, x: jnp.sum(declared(params, x)), (0, 1))(params, x)
    assert {float(leaf.sum()) for leaf in jax.tree.leaves(gradient)} <= {0.0, 2.0}


def test_no_gradient_names_arguments():
    with pytest.raises(TypeError, match=r"'f' declares no_gradient of \['stat'\]; its arguments are \(x, state\)"):
        @hand_derived(no_gradient=("stat",))
        def f(x, state):
            return x, None
