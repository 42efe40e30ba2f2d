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
from jaxnn.gradients.programs import Programs
from tests.cases import array, several, weights

RNG = np.random.default_rng(0)
X = array(4)(RNG, jnp.float32)
PROGRAMS = {f"jit({program.__name__})" for program in (
    Programs.pulled_back, Programs._pushed_forward, Programs._second_order, Programs._changes,
    Candidate._explicit_pull_back)} | {"jit(outputs)"}


def compilations(caplog, f, *args, **options):
    """How often each program of f or its reference was compiled, by its name and the dtypes and shapes it is for."""
    with caplog.at_level(logging.WARNING), jax.log_compiles():
        assert compare_gradients(f, *args, **options).ok
    counts = collections.Counter()
    for record in caplog.records:
        match = re.match(r"Compiling (jit\(\w+\)) with global shapes and types (.*?)\. Argument",
                         record.getMessage(), re.DOTALL)
        if match and match[1] in PROGRAMS:
            counts[match[1], match[2]] += 1
    return counts


def test_each_program_is_compiled_once_for_f_and_once_for_the_reference(caplog):
    params = several(weights(6, 5), weights(5, 3))(RNG, jnp.float32)

    def one(params, x):
        return ops.dense(params[1], ops.tanh(ops.dense(params[0], x)))

    net = jax.vmap(one, (None, 0))
    counts = compilations(caplog, net, params, array(4, 6)(RNG, jnp.float32), under="jit", dtypes="float32")
    assert {name for name, _ in counts} == PROGRAMS
    assert max(counts.values()) <= 2, counts
    assert sum(counts.values()) <= 20


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
