"""Containers: what forward takes, the gradient comes back in; what JAX takes for a leaf is refused by name."""

import collections
import dataclasses
import functools
import types
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import InputError, ops
from tests.traps.table import OPS

OF_PARAMS = [case for case in OPS if isinstance(case.args()[0], dict) and case.name != "batch_norm"]
OPTIONAL = ("bias", "bias_h", "scale")


class Ordered(NamedTuple):
    a: Any
    b: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Entries(collections.abc.Mapping):
    """A mapping that JAX knows as a pytree, as Flax and Equinox make them."""

    inner: dict

    def __getitem__(self, name):
        return self.inner[name]

    def __iter__(self):
        return iter(self.inner)

    def __len__(self):
        return len(self.inner)


MAPPINGS = {
    "dict": dict, "OrderedDict": collections.OrderedDict, "in another order": lambda p: dict(reversed(p.items())),
    "defaultdict": lambda p: collections.defaultdict(jnp.zeros, p), "a registered mapping": Entries}


@pytest.mark.sampled
@pytest.mark.parametrize("case", OF_PARAMS, ids=[case.name for case in OF_PARAMS])
def test_params_in_any_mapping(case):
    """Value and gradient are those of a dict, and the gradient has the mapping's own structure. Also with None for what
    is left out."""
    params, *rest = case.args()
    full = [params] + [{**params, name: None} for name in OPTIONAL if name in params]
    for given in full:
        def cost(p):
            return jnp.sum(jnp.sin(jax.tree.leaves(case.op(p, *rest, **case.static))[0]))

        plain = {name: a for name, a in given.items() if a is not None}
        want = jax.eval_shape(jax.value_and_grad(cost), plain)
        for make in MAPPINGS.values():
            mapping = make(given)
            before = list(mapping)
            y, gradient = jax.eval_shape(jax.value_and_grad(cost), mapping)
            assert y == want[0]
            assert jax.tree.structure(gradient) == jax.tree.structure(mapping) and list(mapping) == before
            assert {name: a for name, a in gradient.items() if a is not None} == want[1]


@pytest.mark.parametrize("case", OF_PARAMS, ids=[case.name for case in OF_PARAMS])
def test_what_jax_takes_for_a_leaf_is_refused(case):
    params, *rest = case.args()
    for mapping in (types.MappingProxyType(params), collections.UserDict(params), list(params.items())):
        with pytest.raises(InputError, match="params"):
            case.op(mapping, *rest, **case.static)
        with pytest.raises(InputError, match="params"):
            jax.jit(functools.partial(case.op, mapping, **case.static))(*rest)


X = jnp.arange(1.0, 3.0)


@pytest.mark.parametrize("op", [ops.add, ops.concatenate], ids=["add", "concatenate"])
@pytest.mark.parametrize("make", [tuple, list, lambda parts: Ordered(*parts)], ids=["tuple", "list", "namedtuple"])
def test_branches_in_any_sequence(op, make):
    parts = make([X, X + 1])
    gradient = jax.grad(lambda parts: jnp.sum(op(parts) ** 2))(parts)
    assert jax.tree.structure(gradient) == jax.tree.structure(parts)
    want = 2 * (2 * X + 1) if op is ops.add else 2 * X
    np.testing.assert_array_equal(gradient[0], want)
    explicit = op.backward(op.forward(parts)[1], 2 * op(parts))[0]
    assert jax.tree.structure(explicit) == jax.tree.structure(parts)


@pytest.mark.parametrize("make", [tuple, list, lambda parts: Ordered(*parts)], ids=["tuple", "list", "namedtuple"])
def test_an_initial_state_in_any_sequence(make):
    params = {"weight_x": jnp.ones((8, 2)) / 4, "weight_h": jnp.ones((8, 2)) / 4}
    initial = make([X, -X])
    gradient = jax.grad(lambda s: jnp.sum(ops.lstm(params, jnp.ones((3, 2)), s)[0]))(initial)
    assert jax.tree.structure(gradient) == jax.tree.structure(initial)
    want = jax.grad(lambda s: jnp.sum(ops.lstm(params, jnp.ones((3, 2)), s)[0]))((X, -X))
    for got, right in zip(jax.tree.leaves(gradient), want, strict=True):
        np.testing.assert_array_equal(got, right)


KEYWORDS = [
    ("conv", {"stride": [2, 1], "padding": [[1, 0], [0, 1]]}, {"stride": (2, 1), "padding": ((1, 0), (0, 1))}),
    ("conv", {"stride": np.int64(2)}, {"stride": 2}),
    ("max_pool", {"window": [2, 3], "stride": np.int32(1)}, {"window": (2, 3), "stride": 1}),
    ("softmax", {"axis": np.int64(0)}, {"axis": 0}),
    ("huber", {"delta": np.float32(0.5), "axes": [0]}, {"delta": 0.5, "axes": (0,)}),
    ("attention", {"causal": np.bool_(True), "chunk": np.int16(2)}, {"causal": True, "chunk": 2}),
    ("lstm", {"reverse": np.bool_(True)}, {"reverse": True}),
]


@pytest.mark.parametrize(("name", "given", "plain"), KEYWORDS, ids=lambda value: str(value)[:40])
def test_lists_and_numpy_numbers_as_keywords(name, given, plain):
    case = next(case for case in OPS if case.name == name)
    args = case.args()
    got, want = (jax.jit(lambda *args, k=k: case.op(*args, **k))(*args) for k in (given, plain))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)
