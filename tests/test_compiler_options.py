"""The options of XLA that jaxnn chooses for a program, and that a step compiles with."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import Conv, Dense, Flatten, InputError, Sequential, compiler_options, relu, softmax_cross_entropy
from jaxnn.training import make_step, start

NET = Sequential(Conv(24, (3, 3)), relu, Conv(24, (3, 3)), Flatten(), Dense(3))
X, LABELS = np.linspace(-1, 1, 4 * 6 * 6 * 2, dtype=np.float32).reshape(4, 6, 6, 2), np.array([0, 1, 2, 0])


def train_state():
    return start(NET, optax.sgd(0.1), (6, 6, 2), jax.random.key(0))


def test_they_are_chosen_where_there_is_a_convolution():
    kernel, x = jnp.ones((3, 3, 2, 4)), jnp.ones((1, 5, 5, 2))
    assert compiler_options(lambda x: 2 * x, x) == {}

    def convolved(kernel, x):
        return jax.lax.scan(lambda total, x: (total + jax.lax.conv(x[None], kernel, (1, 1), "SAME").sum(), None), 0.0,
                            x[None])[0]

    chosen = compiler_options(convolved, jnp.ones((2, 1, 3, 3)), x.reshape(1, 1, 5, 10)[0])
    assert list(chosen) == ["xla_cpu_experimental_ynn_fusion_type"]
    assert compiler_options(jax.jit(convolved), jnp.ones((2, 1, 3, 3)), x.reshape(1, 1, 5, 10)[0]) == chosen
    jax.jit(lambda k, x: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")),
            compiler_options=chosen)(kernel, x)  # the names are known to this release


def test_they_are_chosen_where_there_is_a_loop_of_several_steps():
    def loop(n):
        return lambda x: jax.lax.scan(lambda total, _: (total + x, total), 0.0, None, n)

    chosen = compiler_options(jax.jit(loop(3)), 1.0)
    assert list(chosen) == ["xla_cpu_scheduler_type"] and compiler_options(loop(1), 1.0) == {}
    jax.jit(loop(3), compiler_options=chosen)(1.0)  # the name is known to this release


def test_they_are_not_chosen_elsewhere(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compiler_options(lambda x: jax.lax.conv(x, x, (1, 1), "SAME"), jnp.ones((1, 1, 3, 3))) == {}


def test_a_step_compiles_with_them_or_with_the_callers():
    def text(**options):
        return make_step(NET, softmax_cross_entropy, optax.sgd(0.1), **options).lower(
            train_state(), X, LABELS).compile().as_text()

    chosen, own = text(), text(compiler_options={})
    assert chosen.count("ynn_fusion") < own.count("ynn_fusion")
    assert text(compiler_options={"xla_cpu_experimental_ynn_fusion_type": ""}).count("ynn_fusion") == 0


def test_a_step_is_not_traced_again_for_them():
    def traces(options):
        calls = []

        def loss(y, label):
            calls.append(1)
            return softmax_cross_entropy(y, label)

        step, before = make_step(NET, loss, optax.sgd(0.1), compiler_options=options), train_state()
        for _ in range(2):
            before, info = step(before, X, LABELS)
        assert info.applied
        return len(calls)

    assert traces(None) == traces({})


@pytest.mark.exhaustive
def test_inside_another_program_the_options_are_that_programs():
    step = make_step(NET, softmax_cross_entropy, optax.sgd(0.1))
    _, alone = step(train_state(), X, LABELS)
    _, inside = jax.jit(lambda x: step(train_state(), x, LABELS))(X)
    np.testing.assert_allclose(inside.cost, alone.cost, rtol=1e-6)


def test_what_is_no_mapping_is_refused():
    with pytest.raises(InputError, match="compiler_options, a mapping from names to values"):
        make_step(NET, softmax_cross_entropy, optax.sgd(0.1), compiler_options="fast")
