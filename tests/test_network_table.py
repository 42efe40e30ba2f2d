"""The table of a network: its steps, their places, what is by hand and what is not, and their parameters."""

import functools
import re

import jax
import jax.numpy as jnp

from jaxnn import (
    by_autodiff,
    dense,
    look_inside,
    network,
    relu,
    summary,
    tanh,
)
from jaxnn.explicit.program import Glue, OpStep
from tests.networks import EXAMPLES, array, tied_autoencoder, weights
from tests.test_networks import check

P = weights(4, 4)
X = array(4)
BATCH = array(3, 4)


def test_the_cache_prints_as_a_table():
    @network
    def net(params, x):
        with jax.named_scope("first"):
            h = tanh(dense(params, x))
        return relu(h + x)

    text = str(net.forward(P, X)[1])
    lines = [re.split(r"\s{2,}", line.strip()) for line in text.splitlines()]
    assert lines[0] == ["net"]
    assert lines[1] == ["place", "step", "backward", "output shape", "parameters", "multiply-adds",
                        "bytes of cache"]
    assert lines[3] == ["first", "dense", "by hand", "(4,)", "20", "16", "0"]  # what it keeps are the arguments
    assert lines[4] == ["first", "tanh", "by hand", "(4,)", "16"]
    assert lines[5][1:] == ["add", "autodiff", "(4,)", "0"] and re.fullmatch(r"net:\d+", lines[5][0])
    assert lines[6][1:] == ["relu", "by hand", "(4,)", "4"]
    assert lines[8] == ["total", "20", "16", "20"]


def test_places_under_vmap_and_in_an_inner_jit_that_is_used_twice():
    @jax.jit
    def block(params, x):
        with jax.named_scope("inner"):
            return tanh(dense(params, x))

    def f(params, x):
        with jax.named_scope("a"):
            x = jax.vmap(functools.partial(block, params))(x)
        with jax.named_scope("b"):
            return block(params, x[0])

    rows = summary(f, P, BATCH).rows
    assert [row.place for row in rows if row.step == "dense"] == ["a/inner", "b/inner"]


# What is by hand and what is not.


def test_glue_is_listed_and_what_is_not_linear_in_it_is_named():
    def f(params, x):
        h = dense(params, x).reshape(2, 2)
        return jnp.exp(h) * jax.nn.softplus(h) + 1, jnp.concatenate([h, h]) * 3 - 1

    table = summary(f, P, X)
    assert (table.rows[0].step, table.rows[0].backward) == ("dense", "by hand")
    assert f"exp at {table.rows[1].place}" in table.nonlinear
    assert not {"reshape", "add", "sub", "concatenate"} & set(table.rows[1].nonlinear)
    assert "not linear: exp" in str(table)
    assert summary(lambda x: 2 * relu(x)[::-1] + 1, X).nonlinear == ()


def test_by_autodiff_is_marked():
    foreign = by_autodiff(lambda params, x: jnp.sin(x @ params["weight"].T))
    f = lambda params, x: relu(foreign(params, dense(params, x)))  # noqa: E731
    check(f, P, X)
    check(lambda params, x: jax.vmap(functools.partial(f, params))(x), P, BATCH)
    assert [(row.step, row.backward) for row in summary(f, P, X).rows] == [
        ("dense", "by hand"), ("<lambda>", "autodiff"), ("relu", "by hand")]
    assert [row.parameters for row in summary(f, P, X).rows] == [20, 0, 0]  # read twice, counted once


def test_by_autodiff_with_integers_and_static_keywords():
    power = by_autodiff(lambda x, n, *, scale: scale * x**n)
    y, cache = power.forward(2.0, 3, scale=5.0)
    assert (float(y), [None if d is None else float(d) for d in power.backward(cache, 1.0)]) == (40.0, [60.0, None])
    check(lambda x: power(x, 3, scale=2.0), X)


def test_steps_of_a_program():
    program = network(lambda params, x: relu(dense(params, x) + x)).recorded((P, X), {})[0].program
    assert [type(step) for step in program.steps] == [OpStep, Glue, OpStep]
    assert [step.names for step in program.steps if isinstance(step, Glue)] == [("add",)]


def test_a_weight_that_is_read_twice_counts_once():
    def f(params, x):
        h = tanh(dense(params, x))
        return jax.lax.scan(lambda h, _: (tanh(dense(params, h)), None), h, None, length=3)[0]

    assert summary(f, P, X).parameters == 20


def test_parameters_in_the_branches_of_a_cond_count():
    mixture, (params, x) = next(e for e in EXAMPLES if e.function.__name__ == "mixture_of_experts")
    assert [row.parameters for row in summary(mixture, params, x).rows] == [10, 30]

    def f(params, x):
        x = dense(params, x)
        loop = lambda x: jax.lax.scan(lambda x, _: (dense(params, x), None), x, None, length=2)[0]  # noqa: E731
        return jax.lax.cond(x[0] > 0, lambda: dense({"weight": params["weight"].T}, x), lambda: loop(x))

    assert summary(f, P, X).parameters == 20  # read before the cond; the transposed weight is the same numbers


def test_a_tied_weight_counts_once():
    assert summary(tied_autoencoder, array(3, 5), array(5)).parameters == 15


def test_two_uses_of_one_weight_are_told_apart():
    siamese, args = next(e for e in EXAMPLES if e.function.__name__ == "siamese")
    of_embed = [re.sub(r":\d+", "", row.place) + " " + row.step for row in summary(siamese, *args).rows[:6]]
    assert of_embed == [f"embed, use {n} {op}" for n in (1, 2) for op in ("dense", "tanh", "dense")]
    report = look_inside(siamese, *args)
    assert [row.path for row in report.rows] == [
        row.place for row in summary(siamese, *args).rows if row.backward == "by hand"]

    def deep(layers, x):
        for params in layers:
            x = dense(params, x)
        return x

    places = [row.place for row in summary(deep, [P, P | {"bias": X}], X).rows]
    assert places[0] == places[1] and "use" not in places[0]  # two weights, one use of each
