"""Looking inside: the first op that went bad, vanished and exploded cotangents, dead units."""


import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import (
    Dense,
    Residual,
    Sequential,
    hand_derived,
    look_inside,
    ops,
    over_examples,
)
from tests.inside.small_network import NET, PARAMS, X, logarithm, look, root, times

# What vanishes and what explodes.


def test_norms_far_below_the_smallest_square():
    """After 12 factors of 0.001 the cotangent is 1e-36, and its square is no float32."""
    report = look(*[times(1e-3)] * 12, x=jnp.ones(4), dy=jnp.ones(4))
    norms = [row.cotangent.norm for row in report.rows]
    assert norms == pytest.approx([2 * 1e-3 ** (11 - i) for i in range(12)], rel=1e-5)
    assert [row.path for row in report.vanished] == [f"times{i}" for i in range(10, 0, -1)]
    assert report.verdict == (
        "the cotangent vanishes: ‖dy‖ = 2 at the output, 2e-33 at 'times1' (times), a factor 0.001 for each op; "
        "below 0.001 of the output's from 'times10' (times) back")
    assert all(row.gain == pytest.approx(1e-3, rel=1e-5) for row in report.rows)


def test_norms_far_above_the_largest_square():
    report = look(*[times(1e4)] * 9, x=jnp.full(9, 1e-10), dy=jnp.ones(9))
    assert report.rows[0].cotangent.norm == pytest.approx(3e32, rel=1e-5)
    assert [row.path for row in report.exploded] == [f"times{i}" for i in range(8, 0, -1)]
    assert "the cotangent explodes: ‖dy‖ = 3 at the output, 3e+32 at 'times1' (times)" in report.verdict
    assert "vanish" not in report.verdict


def test_fifty_layers_of_sigmoids():
    net = Sequential(*[Dense(8), ops.sigmoid] * 50)
    params = {f"dense{i}": {"weight": jnp.eye(8), "bias": jnp.zeros(8)} for i in range(1, 51)}
    report = look_inside(over_examples(net), params, {}, jnp.ones((4, 8)))
    assert report.source == "random"
    # σ' at the fixed point of the sigmoid, 0.659: every layer takes its share.
    gains = [row.gain for row in report.rows if row.op == "sigmoid"]
    assert gains[10:] == pytest.approx([0.2247] * 40, rel=1e-2)
    assert report.rows[0].cotangent.norm / report.dy.norm == pytest.approx(np.prod(gains), rel=1e-3)
    assert report.rows[0].cotangent.norm < 1e-30
    assert "a factor 0.47 for each op" in report.verdict
    assert str(report).count("vanished") == len(report.vanished) > 80


def test_the_limits_are_the_caller_s():
    parts = [times(0.1)] * 3
    assert len(look(*parts, x=jnp.ones(2), dy=jnp.ones(2)).vanished) == 0
    report = look(*parts, x=jnp.ones(2), dy=jnp.ones(2), vanishing=0.05, exploding=0.5)
    assert [row.path for row in report.vanished] == ["times1"]
    assert [row.path for row in report.exploded] == ["times3"]


def test_dead_units():
    """Two of four units are below zero for every example, one for some."""
    x = jnp.array([[1.0, -1.0, -2.0, 1.0], [1.0, -1.0, -1.0, -3.0]])
    net = jax.vmap(lambda x: times(2.0)(ops.relu(x)))
    report = look_inside(net, x, dy=x)
    assert [row.dead for row in report.rows] == [0.5, 0.5]
    assert report.rows[0].value.share_of_zeros == 5 / 8
    assert "dead" not in report.verdict
    report = look_inside(net, x.at[:, 3].set(-1), dy=x)
    assert report.verdict.splitlines()[-1] == (
        f"dead: 75% of '{report.rows[0].path}' (relu) is 0 in every example, and over half of 1 more")


def test_a_cotangent_of_zero():
    report = look(ops.tanh, ops.relu, x=jnp.ones(3), dy=jnp.zeros(3))
    assert [row.gain for row in report.rows] == [None, None]
    assert report.vanished == ()
    stopped = look(ops.tanh, ops.relu, x=-jnp.ones(3), dy=jnp.ones(3))
    assert [row.path for row in stopped.vanished] == ["tanh1"]
    assert "0 at 'tanh1' (tanh); below" in stopped.verdict  # no factor can be told


# What went bad.


def test_the_first_bad_value():
    report = look(ops.tanh, logarithm, Residual(Sequential(times(2.0), ops.relu)), ops.tanh,
                  x=jnp.array([0.5, -0.5, 0.2, 0.0]), dy=jnp.ones(4))
    assert str(report.first_bad) == "'logarithm1' (logarithm), 1 NaN, 1 inf of 4 in its value"
    assert (report.first_bad.path, report.first_bad.where) == ("logarithm1", "value")
    assert report.rows[1].value.norm == pytest.approx(np.hypot(*np.log(np.tanh([0.5, 0.2]))), rel=1e-5)
    assert [row.path for row in report.rows if not row.value.finite] == [
        "logarithm1", "residual1/body/times1", "residual1/body/relu1", "residual1", "tanh2"]
    assert report.verdict.splitlines()[0] == f"first bad going forward: {report.first_bad}"


def test_bad_params_come_before_the_value_they_spoil():
    last = PARAMS["dense2"]
    params = PARAMS | {"dense2": last | {"weight": last["weight"].at[0, 1].set(jnp.inf)}}
    report = look_inside(over_examples(NET), params, {}, X, dy=jnp.ones((5, 2)))
    assert str(report.first_bad) == "'dense2' (dense), 1 inf of 10 in its params"


def test_a_bad_x():
    report = look_inside(over_examples(NET), PARAMS, {}, X.at[2, 0].set(jnp.nan), dy=jnp.ones((5, 2)))
    assert str(report.first_bad) == "1 NaN of 15 in x"


def test_the_first_bad_cotangent():
    """√x has a value at 0 and no slope: all is finite going forward, and going backward the root begins it."""
    report = look(times(2.0), root, times(3.0), x=jnp.array([0.0, 1.0]), dy=jnp.ones(2))
    assert report.bad_forward is None
    assert str(report.first_bad) == str(report.bad_backward) == "'root1' (root), 1 inf of 2 in its dx"
    assert report.verdict.startswith("first bad going backward: 'root1' (root), 1 inf of 2 in its dx")
    assert [row.dx.finite for row in report.rows] == [False, False, True]


def test_a_bad_gradient_alone():
    @hand_derived
    def scaled(params, x):
        return params * x, (params, x)

    scaled.defbackward(lambda cache, dy: (jnp.sum(dy * cache[1]) / 0, cache[0] * dy))
    report = look_inside(lambda params, x: scaled(params, ops.tanh(x)), jnp.asarray(2.0), jnp.ones(3), dy=jnp.ones(3))
    assert str(report.first_bad) == f"'{report.rows[1].path}' (scaled), 1 inf of 1 in its gradient"


def test_a_bad_loss():
    report = look_inside(ops.tanh, jnp.zeros(2), loss=lambda y: jnp.sum(jnp.sqrt(y)))
    assert str(report.first_bad) == "2 inf of 2 in the loss's gradient ∂L/∂y"
    report = look_inside(ops.tanh, jnp.zeros(2), dy=jnp.array([1.0, jnp.nan]))
    assert str(report.first_bad) == "1 NaN of 2 in dy at the output"
