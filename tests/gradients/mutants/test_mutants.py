"""Wrong backward passes: each is wrong, none is counted twice, and all are lifted as ops are."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import compare_gradients, hand_derived, network, ops
from jaxnn.checks import InputError
from jaxnn.gradients.mutants import mutants
from jaxnn.gradients.mutants.mistakes import CACHE, COTANGENT, GRADIENT, TERMS
from jaxnn.hand_derived import Op
from tests.cases import array, weights

RNG = np.random.default_rng(0)
PARAMS = weights(4, 3)(RNG, jnp.float32)
X = array(4)(RNG, jnp.float32)
MISTAKES = (*GRADIENT, *TERMS, *COTANGENT, *CACHE)

# One array for each family of mistakes: two equal axes, three axes, a vector, a number, a mask, indices.
ARRAYS = {"square": np.arange(1.0, 10).reshape(3, 3) ** 1.5,
          "cube": np.arange(2.0, 26).reshape(2, 3, 4) ** 1.5,
          "vector": np.arange(1.0, 6) ** 1.5, "number": np.asarray(1.7), "mask": np.arange(6) % 3 == 0,
          "indices": np.arange(6, dtype=np.int32) ** 2}


def by_name(zoo):
    return {mutant.mutation.name: mutant for mutant in zoo}


@pytest.fixture(scope="module")
def zoo():
    return mutants(ops.dense, PARAMS, X)


def test_there_are_many_mistakes():
    assert len({mistake.name for mistake in MISTAKES}) >= 40
    for mistakes in (GRADIENT, TERMS, COTANGENT, CACHE):
        names = [(mistake.name, mistake.fits) for mistake in mistakes]
        assert len(set(names)) == len(names)


@pytest.mark.sampled
@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("mistake", dict.fromkeys(MISTAKES), ids=lambda mistake: mistake.name)
def test_numpy_and_jax_change_an_array_alike(mistake, name):
    x = ARRAYS[name]
    x = x.astype(np.float32) if x.dtype == np.float64 else x
    if not mistake.applies(x) or (x.dtype.kind != "f" and mistake not in CACHE):
        return
    with np.errstate(invalid="ignore"):
        changed = np.asarray(mistake.change(x))
    assert (changed.shape, changed.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(jax.jit(mistake.change)(x), changed, rtol=1e-5)


@pytest.mark.parametrize("mistake", [mistake for mistake in (*GRADIENT, *TERMS, *COTANGENT) if mistake.linear],
                         ids=lambda mistake: mistake.name)
def test_mistakes_marked_as_linear_are(mistake):
    x, y = (ARRAYS["square"], ARRAYS["square"][::-1] - 5)
    with np.errstate(invalid="ignore"):
        together, apart = mistake.change(2 * x + y), 2 * mistake.change(x) + mistake.change(y)
    np.testing.assert_allclose(together, apart, rtol=0.02 if "bfloat16" in mistake.name else 1e-12)


def test_names_say_the_op_the_leaf_and_the_mistake(zoo):
    names = [mutant.name for mutant in zoo]
    assert len(set(names)) == len(names) == len(zoo)
    for name in ("dense, params/weight: one element zeroed", "dense, x: its sign flipped",
                 "dense, dy: rolled by one along the first axis",
                 "dense, cache/1: rolled by one along the first axis",
                 "dense, x: only the first term of the sum"):
        assert name in names
    assert [mutant.name for mutant in mutants(ops.dense, PARAMS, X)] == names  # and nothing is left to chance


def test_a_mutant_is_its_op_but_for_the_backward_pass(zoo):
    mutant = by_name(zoo)["params/weight: one element zeroed"]
    assert isinstance(mutant, Op)
    assert mutant.arguments == ("params", "x")
    chex.assert_trees_all_equal(mutant(PARAMS, X), ops.dense(PARAMS, X))
    chex.assert_trees_all_equal(mutant.reference(PARAMS, X), ops.dense.reference(PARAMS, X))
    dy = jnp.arange(1.0, 4.0)
    _, cache = mutant.forward(PARAMS, X)
    right, dx = ops.dense.backward(cache, dy)
    expected = (right | {"weight": right["weight"].at[1, 2].set(0)}, dx)
    chex.assert_trees_all_equal(mutant.backward(cache, dy), expected)
    lifted = jax.jit(lambda p: jax.vjp(mutant, p, X)[1](dy))(PARAMS)
    chex.assert_trees_all_close(lifted, expected, rtol=1e-6)


def test_each_place_changes_what_it_should(zoo):
    dy = jnp.array([1.0, 2.0, 4.0])
    _, cache = ops.dense.forward(PARAMS, X)
    at = lambda name: by_name(zoo)[name].backward(cache, dy)  # noqa: E731
    assert jnp.array_equal(at("dy: reversed along the first axis")[0]["bias"], dy[::-1])
    assert jnp.array_equal(at("cache/1: rolled by one along the first axis")[0]["weight"],
                           jnp.outer(dy, jnp.roll(X, 1)))
    dparams, dx = at("x: only the first term of the sum")
    np.testing.assert_allclose(dx, PARAMS["weight"][0] * dy[0], rtol=1e-6)
    assert jnp.array_equal(dparams["bias"], dy)


def given(value):
    return lambda rng, dtype: value


@network
def batch(params, x):
    return jax.vmap(lambda params, x: ops.tanh(ops.dense(params, x)), (None, 0))(params, x)


@network
def branches(params, x):
    return ops.concatenate((ops.dense(params, x), ops.relu(x)))


@pytest.mark.sampled
@pytest.mark.parametrize(("op", "args", "static"), [
    (ops.softmax, (array(2, 3),), {}),
    (ops.max_pool, (array(4, 4, 1),), {"window": 2}),
    (ops.dropout, (array(5), lambda rng, dtype: jax.random.key(1)), {"rate": 0.4}),
    (ops.embedding, (given({"table": np.ones((5, 2), np.float32)}), given(np.array([0, 3, 3]))), {}),
    (batch, (given(PARAMS), array(2, 4)), {}), (branches, (given(PARAMS), array(4)), {}),
], ids=["softmax", "max_pool", "dropout", "embedding", "batch", "branches"])
def test_mutants_of_any_op_are_wrong_and_all_different(op, args, static):
    """In float32, from the explicit passes alone, at a cotangent of our own."""
    args = tuple(make(RNG, jnp.float32) for make in args)
    y, cache = op.forward(*args, **static)
    dy = jax.tree.map(lambda leaf: jnp.asarray(RNG.standard_normal(leaf.shape), leaf.dtype), y)
    right = op.backward(cache, dy)
    zoo = mutants(op, *args, **static)
    assert len(zoo) > 25
    gradients = set()
    for mutant in zoo:
        wrong = mutant.backward(cache, dy)
        chex.assert_trees_all_equal_shapes_and_dtypes(wrong, right)
        gradients.add(tuple((np.asarray(leaf) + 0.0).tobytes() for leaf in jax.tree.leaves(wrong)))
        if "clipped" not in mutant.name and "absolute value" not in mutant.name:  # these depend on dy
            is_equal = jax.tree.map(lambda a, b: np.array_equal(a, b, equal_nan=False), wrong, right)
            assert not all(jax.tree.leaves(is_equal)), mutant.name
    assert len(gradients) >= len(zoo) - 4


def test_what_is_left_out_is_told():
    """The gradient of a sum is the same everywhere: no permutation of it is wrong."""
    @hand_derived
    def total(x):
        return jnp.sum(x), jnp.shape(x)

    total.defbackward(lambda shape, dy: (jnp.broadcast_to(dy, shape),))  # a static cache, as it came
    zoo = mutants(total, jnp.ones(3))
    same = {"reversed along the first axis", "rolled by one along the first axis",
            "its mean in place of each element", "first and last element exchanged"}
    assert {f"x: {mistake}" for mistake in same} <= set(zoo.equivalent)
    assert "dy: ignored" in zoo.repeated  # which x: zero is
    assert "x: zero" in by_name(zoo)
    assert not {*zoo.equivalent, *zoo.repeated} & set(by_name(zoo))


def test_a_leaf_that_is_zero_but_for_rounding_has_no_mutant():
    """A bias ahead of batch norm."""
    @network
    def normalized(params, state, x):
        one = lambda x: ops.batch_norm(params[1], state, ops.dense(params[0], x))  # noqa: E731
        return jax.vmap(one, out_axes=(0, None), axis_name="examples")(x)

    params = (PARAMS, {"scale": jnp.ones(3), "bias": jnp.zeros(3)})
    state = {"mean": jnp.zeros(3), "variance": jnp.ones(3)}
    zoo = mutants(normalized, params, state, array(4, 4)(RNG, jnp.float32))
    names = set(by_name(zoo))
    assert "params/0/bias: zero" in zoo.equivalent
    assert {"params/0/weight: zero", "params/1/bias: zero", "params/0/bias: a constant added"} <= names


def test_only_what_is_not_linear_is_refused(zoo):
    """When a gradient is traced; nothing is run."""
    for mutant in zoo:
        trace = lambda m=mutant: jax.eval_shape(lambda p, x: jax.vjp(m, p, x)[1](jnp.ones(3)), PARAMS, X)  # noqa: E731
        if mutant.mutation.mistake.linear:
            trace()
        else:
            words = re.escape(f"backward of '{mutant.name}' is not linear in dy: in the cotangent of")
            with pytest.raises(TypeError, match=words):
                trace()


def test_mutants_are_lifted_as_their_op_is():
    @hand_derived(reverse_only=True)
    def cube(x):
        return x**3, x

    cube.defbackward(lambda x, dy: (3 * x * x * dy,))
    mutant = by_name(mutants(cube, X))["x: a constant added"]  # custom_vjp takes it
    np.testing.assert_allclose(jax.grad(lambda x: mutant(x).sum())(X), 3 * X * X + 0.01, rtol=1e-5)


def test_an_argument_may_be_left_at_its_default():
    x = array(3, 2)(RNG, jnp.float32)
    params = {"weight_x": array(8, 2)(RNG, jnp.float32), "weight_h": array(8, 2)(RNG, jnp.float32),
              "bias": array(8)(RNG, jnp.float32)}
    mutant = by_name(mutants(ops.lstm, params, x))["x: twice"]
    twice = jax.grad(lambda x: mutant(params, x)[0].sum())(x)
    np.testing.assert_allclose(twice, 2 * jax.grad(lambda x: ops.lstm(params, x)[0].sum())(x), rtol=1e-5)


@pytest.mark.sampled
@pytest.mark.parametrize("name", ["params/weight: one element 1 % too large", "x: 0.1 % too large",
                                  "cache/1: rounded to bfloat16", "dy: one element zeroed",
                                  "x: NaN at one element"])
def test_the_comparison_finds_them(zoo, name):
    assert not compare_gradients(by_name(zoo)[name], PARAMS, X, laws=False).ok


def test_what_is_no_op_is_refused():
    message = "mutants expects an op; got function; make one with @hand_derived"
    with pytest.raises(InputError, match=message):
        mutants(lambda x: x, X)
