"""What is compiled of f and of its reference is compiled once."""

import collections
import logging
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxnn import compare_gradients, ops
from jaxnn.gradients import Problem
from jaxnn.gradients.candidate import Candidate
from tests.cases import array, several, weights

RNG = np.random.default_rng(0)
X = array(4)(RNG, jnp.float32)
PROGRAMS = {"jit(joint)", "jit(_changes)", "jit(outputs)"}


def compilations(caplog, f, *args, **options):
    """How often each program of f or its reference was compiled, by its name and the dtypes and shapes it is for; and
    the report."""
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        report = compare_gradients(f, *args, **options)
    assert report.ok
    counts = collections.Counter()
    for record in caplog.records:
        match = re.match(r"Compiling (jit\(\w+\)) with global shapes and types (.*?)\. Argument",
                         record.getMessage(), re.DOTALL)
        if match and match[1] in PROGRAMS:
            counts[match[1], match[2]] += 1
    return counts, report


def test_each_program_is_compiled_once_for_f_and_once_for_the_reference(caplog):
    """All routes in the arguments' own precision are one program; so are those in float64."""
    params = several(weights(6, 5), weights(5, 3))(RNG, jnp.float32)

    def one(params, x):
        return ops.dense(params[1], ops.tanh(ops.dense(params[0], x)))

    net = jax.vmap(one, (None, 0))
    counts, report = compilations(caplog, net, params, array(4, 6)(RNG, jnp.float32))
    assert max(counts.values()) <= 2, counts
    # Of f and of the reference in both precisions, f's finite differences, f on a part of the batch.
    assert sum(counts.values()) == sum(time.programs for time in report.times) == 6
    assert {time.route for time in report.times} >= {"reference", "lifted", "finite differences, taylor", "laws"}
    assert all(min(time.tracing, time.compiling) >= 0 and time.total >= 0 for time in report.times)
    for text in (str(report), report.to_markdown()):
        assert re.search(r"seconds by route +\|? ?tracing", text)


def test_hardly_anything_is_compiled_beside_the_programs(caplog):
    """Op by op, each operation would be a program for each shape."""
    args = weights(7, 3)(RNG, jnp.float32), array(4, 7)(RNG, jnp.float32)
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        assert compare_gradients(jax.vmap(ops.dense, (None, 0)), *args).ok
    names = [match[1] for record in caplog.records if (match := re.match(
        r"Compiling (jit\(\w+\)) with global shapes", record.getMessage()))]
    assert len([name for name in names if name not in PROGRAMS]) <= 2, names


def test_problems_that_hold_the_same_share_their_programs():
    once = chex.assert_max_traces(lambda x: jnp.sin(x), n=1)
    chex.clear_trace_counter()
    problem = Problem(jnp.sin, (X,))
    candidate = Candidate(once, problem)
    for leaves in ([X], [2 * X], [X - 1]):
        there = candidate.at(problem.at(leaves))
        chex.assert_trees_all_close(there.lifted, [jnp.cos(leaves[0]) * problem.dy[0]], rtol=1e-6)


def test_problems_that_hold_something_else_do_not():
    """An integer is a constant of the compiled program."""
    def power(x, n):
        return x**n

    problem = Problem(power, (X, 2))
    candidate = Candidate(power, problem)
    there = candidate.at(problem.at([X, 3]))
    chex.assert_trees_all_close(candidate.lifted, [2 * X * problem.dy[0]], rtol=1e-6)
    chex.assert_trees_all_close(there.lifted, [3 * X**2 * problem.dy[0]], rtol=1e-6)
    assert there.programs is not candidate.programs
