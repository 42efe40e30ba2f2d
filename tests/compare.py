"""How two results are compared: by the worst element of each leaf, in units of eps times the largest.

One threshold then serves every size and dtype. Right gradients of these ops lie within a few such
units; a gradient that is wrong by one per cent is 80,000 of them away in float32. (chex.assert_trees_all_close
allows each element an absolute and a relative error, which need another choice for every size and dtype.)
"""

from importlib.metadata import version

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

THRESHOLD = 16.0
# A leaf that is zero but for rounding, as a bias's gradient ahead of batch norm, is measured by this
# part of the largest leaf.
FLOOR = 1 / 64


def units(got, want):
    """The worst error over all leaves, in units of eps · max|leaf| of `want`."""
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got) == len(want)
    largest = max((_largest(leaf) for leaf in want), default=0.0)
    return max((_units(g, w, max(_largest(w), largest * FLOOR)) for g, w in zip(got, want)), default=0.0)


def assert_close(got, want, threshold=THRESHOLD):
    """Same structure, shapes and dtypes, and values within `threshold` units."""
    chex.assert_trees_all_equal_structs(got, want)
    chex.assert_trees_all_equal_shapes_and_dtypes(*(jax.tree.map(_described, tree) for tree in (got, want)))
    assert units(got, want) <= threshold


def _described(leaf):
    return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))


def _largest(leaf):
    if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
        return 0.0
    return float(np.abs(np.asarray(leaf).astype(np.float64)).max(initial=0.0))


def _units(got, want, scale):
    dtype = jnp.result_type(want)
    if not jnp.issubdtype(dtype, jnp.inexact):
        same = dtype == jax.dtypes.float0 or np.array_equal(np.asarray(got), np.asarray(want))
        return 0.0 if same else np.inf
    a, b = (np.asarray(leaf).astype(np.float64) for leaf in (got, want))
    assert np.all(np.isfinite(b)), "the reference itself is not finite"
    error = np.nan_to_num(np.abs(a - b), nan=np.inf).max(initial=0.0)
    return float(error / (float(jnp.finfo(dtype).eps) * (scale or 1.0)))


def random_like(tree, seed=0):
    """A tree of the same shapes and dtypes with normal entries; float0 for integer leaves."""
    rng = np.random.default_rng(seed)

    def one(leaf):
        dtype = jnp.result_type(leaf)
        if not jnp.issubdtype(dtype, jnp.inexact):
            return np.zeros(jnp.shape(leaf), jax.dtypes.float0)
        return jnp.asarray(rng.standard_normal(jnp.shape(leaf)), dtype)

    return jax.tree.map(one, tree)


def finite_differences(f, x, h=1e-5):
    """The gradient of a scalar function of a pytree, by central differences in float64."""
    flat, unravel = ravel_pytree(x)
    assert flat.dtype == jnp.float64
    steps = h * jnp.eye(flat.size)
    at = jax.vmap(lambda step: f(unravel(flat + step)))
    return unravel((at(steps) - at(-steps)) / (2 * h))


# XLA's options for most files (conftest.py): optimising small programs takes longer than running them. Release 0.10
# has the choice between two emitters, of which the plain one compiles in two thirds of the time.
_EMITTERS = version("jaxlib").startswith("0.10.")
QUICKLY = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True,
           "xla_cpu_parallel_codegen_split_count": 1} | ({"xla_cpu_use_fusion_emitters": False} if _EMITTERS else {})
# What users have, for a test that looks at a program in such a file.
AS_USERS_COMPILE = {"xla_backend_optimization_level": 3, "xla_llvm_disable_expensive_passes": False,
                    "xla_cpu_parallel_codegen_split_count": 32} | (
                        {"xla_cpu_use_fusion_emitters": True} if _EMITTERS else {})


def pulled_back(f, *args, dy=None):
    """(y, the cotangents of args at dy, or at ones), compiled as one program: eager code would compile each
    of its operations by itself."""
    def program(args, dy):
        y, pull_back = jax.vjp(f, *args)
        return y, pull_back(jax.tree.map(jnp.ones_like, y) if dy is None else dy)

    return jax.jit(program)(jax.tree.map(jnp.asarray, args), dy)


def check_backward(op, *args, differentiable=lambda y: y, fd_tolerance=1e-7, threshold=THRESHOLD, **static):
    """The explicit and the lifted backward, in float64 and at a random cotangent, against `jax.vjp` of
    the reference and against finite differences; all gradients must be finite.

    `differentiable` picks the part of y that finite differences may look at: they see through
    `stop_gradient`. Returns (value, dy, the cotangents of the floating-point leaves), to be compared with
    other references without compiling them once more.
    """
    leaves, tree = jax.tree.flatten(args)
    leaves = [jnp.asarray(leaf) for leaf in leaves]
    smooth = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    assert all(leaves[i].dtype == jnp.float64 for i in smooth)
    args = jax.tree.unflatten(tree, leaves)
    # The cache crosses from one compiled program to the next: what is no array in it is static.
    value, cache = jax.jit(lambda *args: op.forward(*args, **static))(*args)
    dy = random_like(value)

    def of_smooth(f):
        def call(moving):
            filled = list(leaves)
            for i, leaf in zip(smooth, moving, strict=True):
                filled[i] = leaf
            return f(*jax.tree.unflatten(tree, filled), **static)

        return call

    def along_dy(moving):
        pairs = zip(*map(jax.tree.leaves,
                         (differentiable(dy), differentiable(of_smooth(op.reference)(moving)))))
        return sum(jnp.vdot(d, leaf) for d, leaf in pairs if d.dtype != jax.dtypes.float0)

    def routes(moving):
        y, pull_back = jax.vjp(of_smooth(op.reference), moving)
        lifted_y, lifted_pull_back = jax.vjp(of_smooth(op), moving)
        numeric = finite_differences(along_dy, moving)
        return (y, pull_back(dy)[0]), (lifted_y, lifted_pull_back(dy)[0]), numeric

    (y, want), (lifted_y, lifted), numeric = jax.jit(routes)([leaves[i] for i in smooth])
    assert_close(value, y, threshold)
    assert_close(lifted_y, y, threshold)
    assert_close(lifted, want, threshold)
    cotangents = jax.jit(op.backward)(
        cache, jax.tree.map(lambda d: None if d.dtype == jax.dtypes.float0 else d, dy))
    explicit = []
    assert jax.tree.leaves(cotangents[len(args):]) == []  # of arguments left out
    for arg, cotangent in zip(args, cotangents[:len(args)], strict=True):
        n = jax.tree.structure(arg).num_leaves
        explicit += [None] * n if cotangent is None else jax.tree.structure(arg).flatten_up_to(cotangent)
    explicit = [jnp.zeros_like(leaves[i]) if explicit[i] is None else explicit[i] for i in smooth]
    assert_close(explicit, want, threshold)
    for got, fd in zip(lifted, numeric, strict=True):
        scale = max(1.0, _largest(got))
        np.testing.assert_allclose(got, fd, rtol=0, atol=fd_tolerance * scale)
    return value, dy, lifted
