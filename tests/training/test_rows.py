"""Tables moved row by row: equal to the whole table where the algorithm is, flat in the number of rows, refusals."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxnn import binary_cross_entropy, dense, embedding
from jaxnn.layers import Embedding
from jaxnn.training import make_step, start_from
from jaxnn.training.precision import loss_scaled
from jaxnn.training.rows import by_rows, row_adagrad, row_adam, row_clip, row_gradient, row_sgd

TABLES = {"in": True, "out": True, "scale": False}


def skip_gram(params, state, x, key, *, train):
    """How likely each of several words is beside a word, by two tables; a row is read once, or several times."""
    centre, others = x
    return embedding(params["out"], others) @ Embedding(*params["in"]["table"].shape)(
        params["in"], {}, centre, None, train=train)[0] * params["scale"], state


def made(n_rows=12, d=4, dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0))
    return {"in": {"table": jax.random.normal(keys[0], (n_rows, d), dtype)},
            "out": {"table": jax.random.normal(keys[1], (n_rows, d), dtype)}, "scale": jnp.ones(())}


def batches(n, n_rows=12, size=6):
    rng = np.random.default_rng(0)
    return [((rng.integers(0, n_rows, size), rng.integers(0, n_rows, (size, 3))),
             rng.integers(0, 2, (size, 3)).astype(np.float32)) for _ in range(n)]


def run(optimizer, params, batches, **options):
    step = make_step(skip_gram, binary_cross_entropy, optimizer, **options)
    train_state = start_from(params, {}, optimizer, jax.random.key(1))
    infos = []
    for x, labels in batches:
        train_state, info = step(train_state, x, labels)
        infos.append(info)
    return train_state, infos, step


def assert_alike(a, b, rtol=1e-5):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=rtol)


@pytest.mark.sampled
@pytest.mark.parametrize(("rows", "whole"), [
    (row_sgd(0.5), optax.sgd(0.5)), (row_adagrad(0.3), optax.adagrad(0.3)),
    (row_adagrad(0.3, initial=0.0, eps=1e-3), optax.adagrad(0.3, initial_accumulator_value=0.0, eps=1e-3))],
    ids=["sgd", "adagrad", "adagrad from zero"])
def test_equal_to_the_whole_table(rows, whole):
    got, infos, step = run(by_rows(whole, rows, TABLES), made(), batches(4))
    want, others, _ = run(whole, made(), batches(4))
    assert_alike(got.params, want.params)
    for a, b in zip(infos, others):
        np.testing.assert_allclose((a.cost, a.gradient_norm), (b.cost, b.gradient_norm), rtol=1e-5)
        assert a.applied
    cost, grads = step.cost_and_gradient(got, *batches(1)[0])
    want_step = make_step(skip_gram, binary_cross_entropy, whole)
    assert_alike((cost, grads), want_step.cost_and_gradient(want, *batches(1)[0]))


def test_a_model_of_tables_alone():
    """As skip-gram is: no other leaf is left for the optimizer."""
    def layer(params, state, x, key, *, train):
        return skip_gram(params | {"scale": 1.0}, state, x, key, train=train)

    params = {name: table for name, table in made().items() if name != "scale"}
    ended = []
    for optimizer in (by_rows(optax.sgd(0.5), row_sgd(0.5), True), optax.sgd(0.5)):
        step = make_step(layer, binary_cross_entropy, optimizer)
        train_state = start_from(params, {}, optimizer, jax.random.key(1))
        for x, labels in batches(3):
            train_state, info = step(train_state, x, labels)
        ended.append((train_state.params, info.cost, info.gradient_norm))
    assert_alike(*ended)


def test_a_schedule_is_the_whole_tables_and_a_clipped_row_is_no_longer_than_the_limit():
    schedule = optax.linear_schedule(0.5, 0.1, 3)
    got, *_ = run(by_rows(optax.sgd(schedule), row_sgd(schedule), TABLES), made(), batches(4))
    want, *_ = run(optax.sgd(schedule), made(), batches(4))
    assert_alike(got.params, want.params)
    gradient = row_gradient(jnp.array([2, 0]), jnp.array([[3.0, 4.0], [0.3, 0.4]]), 4)
    rows = row_clip(row_sgd(1.0), 1.0)
    table = jnp.zeros((4, 2))
    _, moved = rows.update(gradient, rows.init(table), table)
    np.testing.assert_allclose(moved, [[-0.3, -0.4], [0, 0], [-0.6, -0.8], [0, 0]], rtol=1e-6)


@pytest.mark.exhaustive
def test_adam_of_rows_that_are_all_read_is_adam():
    """And a row that is not read rests; at its first reading it moves by the learning rate, however late."""
    every = [((np.arange(6), np.tile(np.arange(6), (6, 1))[:, :6]), np.eye(6, dtype=np.float32)) for _ in range(5)]
    got, *_ = run(by_rows(optax.adam(0.1), row_adam(0.1), TABLES), made(6), every)
    want, *_ = run(optax.adam(0.1), made(6), every)
    assert_alike(got.params, want.params, 1e-4)

    few = [((np.array([0]), np.array([[1]])), np.ones((1, 1), np.float32))] * 30
    late = [((np.array([3]), np.array([[1]])), np.ones((1, 1), np.float32))]
    before = made()["in"]["table"]
    table = run(by_rows(optax.sgd(0.0), row_adam(0.1), TABLES), made(), few + late)[0].params["in"]["table"]
    np.testing.assert_array_equal(np.flatnonzero(np.any(table != before, 1)), [0, 3])
    np.testing.assert_allclose(np.abs(table[3] - before[3]), 0.1, rtol=1e-3)


@pytest.mark.sampled
@pytest.mark.parametrize("rows", [row_sgd(0.1), row_adagrad(0.1), row_adam(0.1)], ids=["sgd", "adagrad", "adam"])
def test_memory_does_not_depend_on_the_number_of_rows(rows):
    """Nor is there any operation over a whole table in the program, but for the arrays that go in and out."""
    used = []
    for n_rows in (1_000, 64_000):
        optimizer = by_rows(optax.sgd(0.1), rows, TABLES)
        train_state = start_from(made(n_rows), {}, optimizer, jax.random.key(1))
        program = make_step(skip_gram, binary_cross_entropy, optimizer).lower(
            train_state, *batches(1, n_rows)[0]).compile()
        memory = program.memory_analysis()
        used.append(memory.temp_size_in_bytes)
        assert memory.alias_size_in_bytes >= 2 * 4 * 4 * n_rows  # the tables are written where they stand
        whole = [line for line in program.as_text().splitlines() if re.search(rf"= f32\[{n_rows},4\]\S* (\w+)\(", line)]
        kinds = {re.search(r"\S* ([\w-]+)\(", line.split("] ", 1)[-1] if "] " in line else line)[1] for line in whole}
        assert not kinds & {"add", "multiply", "broadcast", "copy", "select"}, kinds
    assert used[0] == used[1]


def test_a_step_that_is_not_finite_moves_nothing():
    params = made()
    params["in"]["table"] = params["in"]["table"].at[2].set(jnp.nan)
    x, labels = batches(1)[0]
    for centre, applied in ((np.full(6, 2), False), (np.full(6, 1), True), (np.full(6, 99), False)):
        optimizer = by_rows(optax.adam(0.1), row_adam(0.1), TABLES)
        step = make_step(skip_gram, binary_cross_entropy, optimizer)
        before = start_from(params, {}, optimizer, jax.random.key(1))
        kept = jax.tree.map(jnp.copy, before)
        after, info = step(before, (centre, x[1]), labels)
        assert bool(info.applied) == applied
        same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(
            jax.tree.leaves(kept[:3]), jax.tree.leaves(after[:3]), strict=True))
        assert same != applied


@pytest.mark.exhaustive
def test_many_steps_a_smaller_batch_and_half_precision():
    optimizer = by_rows(optax.sgd(0.2), row_sgd(0.2), TABLES)
    step = make_step(skip_gram, binary_cross_entropy, optimizer)
    stacked = jax.tree.map(lambda *a: np.stack(a), *batches(3))
    many, _ = step.many(start_from(made(), {}, optimizer, jax.random.key(1)), *stacked)
    one_by_one, *_ = run(optimizer, made(), batches(3))
    assert_alike(many.params, one_by_one.params)
    some = [(jax.tree.map(lambda a: a[:4], x), labels[:4]) for x, labels in batches(1)]
    (x, labels), whole = some[0], batches(1)[0]
    filled, _ = step(start_from(made(), {}, optimizer, jax.random.key(1)), *whole, n=4)
    alone, *_ = run(optimizer, made(), [(x, labels)])
    assert_alike(filled.params, alone.params)
    rounded, *_ = run(optimizer, made(), batches(1), precision="bfloat16")
    exact, *_ = run(optimizer, made(), batches(1))
    assert rounded.params["in"]["table"].dtype == jnp.float32
    assert_alike(rounded.params, exact.params, 0.02)


@pytest.mark.parametrize(("rows", "n_rows"), [([3, 1, 3, 3, 0], 5), ([7, -1, 2], 4), ([], 3), ([1] * 6, 2)], ids=str)
def test_the_gradient_of_rows(rows, n_rows):
    values = np.random.default_rng(0).standard_normal((len(rows), 2)).astype(np.float32)
    gradient = jax.jit(row_gradient, static_argnums=2)(jnp.asarray(rows, jnp.int32), values, n_rows)
    whole = np.zeros((n_rows, 2))
    for r, v in zip(rows, values):
        if 0 <= r < n_rows:
            whole[r] += v
    got = jnp.zeros((n_rows, 2)).at[gradient.rows].add(gradient.values, mode="drop")
    np.testing.assert_allclose(got, whole, atol=1e-6)
    assert len(set(gradient.rows.tolist())) == len(rows) and np.all(np.diff(gradient.rows) > 0)


def head(params, state, x, key, *, train):
    return embedding(params["in"], x[0]) @ params["out"]["table"].T, state


def as_dense(params, state, x, key, *, train):
    h = embedding(params["in"], x[0])
    return dense({"weight": params["out"]["table"]}, h), state


def one_table(params, state, x, key, *, train):
    return embedding(params["in"], x[0]), state


@pytest.mark.parametrize(("layer", "words"), [
    (head, "by_rows expects the table of shape (12, 4) to be read by `embedding` alone; got another use of it"),
    (as_dense, "to be read by `embedding` alone"),
    (one_table, "a layer that reads each of its 2 tables by `embedding`; got one that reads 1 of them"),
])
def test_other_uses_of_a_table_are_refused(layer, words):
    """Their gradient would be lost without a word."""
    optimizer = by_rows(optax.sgd(0.1), row_sgd(0.1), TABLES)
    step = make_step(layer, lambda y, labels: jnp.sum(y), optimizer)
    with pytest.raises(ValueError, match=re.escape(words)):
        step(start_from(made(), {}, optimizer, jax.random.key(1)), *batches(1)[0])


def in_another():
    optimizer = loss_scaled(by_rows(optax.sgd(0.1), row_sgd(0.1), TABLES))
    step = make_step(skip_gram, binary_cross_entropy, optimizer)
    step(start_from(made(), {}, optimizer, jax.random.key(1)), *batches(1)[0])


ROWS = by_rows(optax.sgd(0.1), row_sgd(0.1), TABLES)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: by_rows(optax.sgd(0.1), optax.sgd(0.1), TABLES), "rows, made by row_sgd, row_adagrad or row_adam"),
    (lambda: by_rows(optax.sgd(0.1), row_sgd(0.1), False).init(made()), "a table among the parameters; got none"),
    (lambda: by_rows(optax.sgd(0.1), row_sgd(0.1), {"in": False, "out": False, "scale": True}).init(made()),
     "tables of shape (n_rows, n_dim); got ()"),
    (lambda: make_step(skip_gram, binary_cross_entropy, ROWS, accumulate=2), "accumulate=1 with an optimizer"),
    (lambda: make_step(skip_gram, binary_cross_entropy, ROWS, gradients="autodiff"), "hand-derived gradients"),
    (in_another, "by_rows(...) around everything else"),
    (lambda: row_clip(row_sgd(1), 0), "row_clip expects most, a number > 0; got 0"),
    (lambda: row_sgd(-1), "row_sgd expects learning_rate, a number >= 0; got -1"),
    (lambda: row_adam(0.1, b1=1.0), "row_adam expects b1 in [0, 1); got 1.0"),
    (lambda: row_adagrad(0.1, eps=-1), "row_adagrad expects eps, a number >= 0; got -1"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
