"""Rule by rule: every rule inside a function is found, at its own inputs, and the wrong ones are named."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxnn import compare_gradients, hand_derived, ops
from jaxnn.checks import InputError
from jaxnn.layers import Dense, Sequential
from jaxnn.testing import assert_gradients_match
from tests.gradients.routes.test_routes import rule

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.standard_normal((4, 6)), jnp.float32)
WEIGHT = jnp.asarray(RNG.standard_normal((6, 6)), jnp.float32)


def plain_norm(x, scale):
    return scale * x / jnp.sqrt(jnp.mean(x * x) + 1e-6)


def norm_rule(is_right):
    """The root-mean-square norm of one example; the wrong rule forgets that the root depends on x."""
    @jax.custom_vjp
    def rms_norm(x, scale):
        return plain_norm(x, scale)

    def backward(kept, dy):
        x, scale = kept
        r = 1 / jnp.sqrt(jnp.mean(x * x) + 1e-6)
        dx = scale * dy * r
        if is_right:
            dx = dx - x * r**3 * jnp.mean(scale * dy * x)
        return dx, dy * x * r

    rms_norm.defvjp(lambda x, scale: (plain_norm(x, scale), (x, scale)), backward)
    return rms_norm


def model(norm):
    """A model in plain JAX, of a batch: a norm in a jit in a vmap, and rules of JAX's beside it."""
    def block(params, x):
        with jax.named_scope("block"):
            return jax.jit(norm)(x, params["scale"]) @ params["weight"]

    def cost(params, x):
        hidden = jax.nn.relu(jax.vmap(block, (None, 0))(params, x))
        return -jnp.mean(jax.nn.log_softmax(hidden)[:, 0])

    return cost


PARAMS = {"scale": jnp.ones(6), "weight": WEIGHT}


def by_name(report):
    return {rule.name: rule for rule in report.rules}


def test_a_model_in_plain_jax():
    report = compare_gradients(model(norm_rule(True)), PARAMS, X, by="rule")
    assert report.ok, str(report)
    assert {"rms_norm", "relu"} <= set(by_name(report))
    assert report.verdict == (f"right: each of the {len(report.rules)} rules inside has its plain function's gradient, "
                              "at 2 of 2 uses")

    report = compare_gradients(model(norm_rule(False)), PARAMS, X, by="rule")
    assert not report.ok
    (wrong,) = report.wrong
    assert (wrong.name, wrong.kind) == ("rms_norm", "custom_vjp")
    assert re.fullmatch(r"block, test_audit\.py:\d+ in block", wrong.places[0]), wrong.places
    assert {leaf.path for leaf in wrong.report.wrong} == {"args[0]"}
    assert wrong.report.findings
    assert report.verdict == f"WRONG: rms_norm at {wrong.places[0]}"
    shown = str(report)
    assert shown.splitlines()[0] == ("cost: each rule inside beside its plain function, at its own inputs; errors in "
                                     "units of eps · max|leaf|")
    assert wrong.report.findings[0].words in shown
    assert "rms_norm" in report.to_markdown()
    assert json.loads(report.to_json())["rules"][0]["name"] == report.rules[0].name


@hand_derived
def swish(x):
    return x * jax.nn.sigmoid(x), x


swish.defbackward(lambda x, dy: (dy * jax.nn.sigmoid(x),))


def test_an_op_of_ours_that_is_wrong():
    net = Sequential(Dense(5), swish, Dense(3))
    params, state = net.init(jax.random.key(0), (6,))
    report = compare_gradients(lambda params, x: net(params, state, x, train=True)[0], params, X[0], by="rule")
    assert [(rule.name, rule.kind) for rule in report.wrong] == [("swish", "op")]
    assert {rule.name for rule in report.rules} == {"dense", "swish"}
    assert {leaf.route for leaf in report.wrong[0].report.wrong} >= {"explicit", "lifted"}

    def of_batch(params, x):
        return jax.vmap(lambda x: swish(ops.dense(params, x)))(x)

    report = compare_gradients(of_batch, {"weight": WEIGHT, "bias": jnp.zeros(6)}, X, by="rule")
    assert [rule.name for rule in report.wrong] == ["swish"]
    assert by_name(report)["dense"].report.ok
    assert by_name(report)["swish"].inputs == "float32[4,6]"


def test_steps_of_a_loop():
    """The first, the middle and the last step. The rule is wrong where x is above 1 only, at the last of four steps."""
    step = rule(lambda x: x + 0.5, lambda a, dy: (jnp.where(a[0] > 1, 2 * dy, dy),))

    def scanned(x):
        return lax.scan(lambda s, t: (step(s) * t, s), x, jnp.ones(4))[0]

    def looped(x):
        return lax.while_loop(lambda s: s[0] < 4, lambda s: (s[0] + 1, step(s[1])), (0, x))[1]

    for f in (scanned, looped, jax.jit(scanned), jax.checkpoint(scanned), jax.vmap(scanned)):
        (found,) = compare_gradients(f, jnp.zeros(2), by="rule").rules
        assert not found.ok
        assert (found.uses, found.compared) == (4, 3)
        assert [place.rpartition(", ")[2] for place in found.places] == ["step 1 of 4", "step 3 of 4", "step 4 of 4"]
        assert [place.rpartition(", ")[2] for place in found.wrong_places] == ["step 4 of 4"]
    reverse = compare_gradients(lambda x: lax.scan(lambda s, t: (s, step(t)), 0.0, x, reverse=True)[1],
                                jnp.array([2.0, 0, 0]), by="rule")
    assert [place.rpartition(", ")[2] for place in reverse.wrong[0].wrong_places] == ["step 3 of 3"]


def test_loops_in_loops_and_their_lengths():
    square = rule(lambda x: x * x, lambda a, dy: (2 * a[0] * dy,))

    def f(x, n):
        def inner(n):
            return lambda s, _: (lax.fori_loop(0, n, lambda _, s: 0.5 * square(s) + 0.1, s), None)

        return lax.scan(inner(n), lax.scan(inner(3), x, None, 2)[0], None, 5)[0]

    report = compare_gradients(f, X[0], jnp.asarray(7), by="rule")
    (found,) = report.rules
    assert (found.uses, found.compared) == (2 * 3 + 5 * 7, 2 * 3 + 3 * 3)
    assert found.places[0].endswith("step 1 of 2, step 1 of 3")
    assert found.places[-1].endswith("step 5 of 5, step 7 of 7")
    for n, compared in ((0, 6), (1, 9), (2, 12)):
        (found,) = compare_gradients(f, X[0], jnp.asarray(n), by="rule").rules
        assert (found.uses, found.compared) == (6 + 5 * n, compared)
    (none,) = compare_gradients(lambda x: lax.fori_loop(0, jnp.int32(x.size - 6), lambda _, s: square(s), x), X[0],
                                by="rule").rules
    assert none.ok and none.compared == 0 and "a branch that is not taken" in none.verdict


def test_every_use():
    """Wrong for negative numbers only, which the last of many uses has."""
    half = rule(jnp.tanh, lambda a, dy: (dy * (1 - jnp.tanh(a[0]) ** 2) * jnp.where(a[0] < 0, 1.01, 1),))

    def f(x):
        for _ in range(5):
            x = half(x) + 0.5
        return half(-x)

    (found,) = compare_gradients(f, jnp.abs(X[0]), by="rule").rules
    assert (found.uses, found.compared, len(found.wrong_places)) == (6, 6, 1)
    assert found.wrong_places[0] == found.places[-1]
    report = compare_gradients(lambda x: half(f(-x)), jnp.abs(X[0]), by="rule")
    assert "wrong at 4 of the 7 uses that were compared, also at test_audit.py:" in str(report)
    assert report.verdict.endswith("and at 3 more of its uses")


def test_as_an_assertion():
    assert assert_gradients_match(model(norm_rule(True)), PARAMS, X, by="rule").ok
    with pytest.raises(AssertionError, match=r"WRONG: rms_norm at block, test_audit.py:\d+ in block"):
        assert_gradients_match(model(norm_rule(False)), PARAMS, X, by="rule")


def test_branches_checkpoints_and_uses():
    right, wrong = (rule(jnp.sin, lambda a, dy, c=c: (c * dy * jnp.cos(a[0]),)) for c in (1, 3))

    def f(x, n):
        x = jax.checkpoint(right)(right(x))
        return lax.cond(n > 2, right, wrong, x)

    report = compare_gradients(f, X[0], jnp.asarray(3), by="rule")
    assert report.ok
    assert [(rule.uses, rule.compared) for rule in report.rules] == [(3, 3), (0, 0)]
    assert report.rules[1].verdict == "nothing to compare: it stands in a branch that is not taken at these arguments"
    assert not compare_gradients(f, X[0], jnp.asarray(1), by="rule").ok


def test_nothing_inside_and_nothing_to_compare():
    report = compare_gradients(jnp.sin, X, by="rule")
    assert report.ok and not report.rules
    assert str(report).endswith("right: there is no rule inside, JAX itself differentiates all of it")
    counts = jax.custom_jvp(lambda n: n + 1)
    counts.defjvp(lambda primals, tangents: (primals[0] + 1, tangents[0]))
    report = compare_gradients(lambda n, x: counts(n) * x, jnp.arange(2), X[0, :2], by="rule")
    assert report.ok
    assert report.rules[0].verdict.startswith("nothing to compare: ")


def test_bad_input():
    with pytest.raises(InputError, match="expects by to be 'rule', or none; got 'layer'"):
        compare_gradients(jnp.sin, X, by="layer")
    with pytest.raises(InputError, match="expects no reference beside by='rule'"):
        compare_gradients(jnp.sin, X, reference=jnp.sin, by="rule")
    with pytest.raises(InputError, match="expects a function that can be traced and run at these arguments; it raised"):
        compare_gradients(lambda x: x @ x, X, by="rule")


def test_flax():
    nnx = pytest.importorskip("flax.nnx", reason="Flax is not installed")
    norm = jax.vmap(norm_rule(False), (0, None))

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.last = nnx.Linear(6, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
            self.scale = nnx.Param(jnp.ones(6))

        def __call__(self, x):
            return self.last(jax.nn.silu(norm(self.first(x), self.scale[...])))

    graph, state = nnx.split(Net(nnx.Rngs(0)))
    report = compare_gradients(lambda state, x: nnx.merge(graph, state)(x), state, X, by="rule")
    assert [rule.name for rule in report.wrong] == ["rms_norm"]
