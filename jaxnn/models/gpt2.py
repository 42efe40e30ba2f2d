"""GPT-2 (Radford et al. 2019): a decoder of pre-norm blocks, whose table of tokens is its last layer too.

    net = gpt2()
    shapes = jax.eval_shape(lambda: net.init(jax.random.key(0), (1024,)))
    params = from_gpt2(read_safetensors("model.safetensors"), shapes[0])
    logits, _ = over_examples(net)(params, {}, tokens)

Published files keep a dense layer's weight as (n_in, n_out), and queries, keys and values in one.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import at, expect, expect_integers, expect_key, expect_shape, is_integer, known
from jaxnn.initializers import random_normal
from jaxnn.layers import Dropout, Embedding, Layer, LayerNorm
from jaxnn.layers.attention import TransformerBlock, dense_over_time
from jaxnn.layers.layer import shape_of
from jaxnn.models.weights import BadWeights
from jaxnn.ops.activation import gelu_tanh
from jaxnn.ops.embedding import embedding
from jaxnn.ops.key_value_cache import KeyValueCache

__all__ = ["GPT2", "from_gpt2", "gpt2", "to_gpt2"]


def gpt2(n_rows: int = 50257, n_places: int = 1024, n_dim: int = 768, n_layers: int = 12, n_heads: int = 12, *,
         rate: float = 0.1) -> "GPT2":
    """The small one: 124,439,808 parameters."""
    return GPT2(n_rows, n_places, n_dim, n_layers, n_heads, rate)


@dataclasses.dataclass(frozen=True)
class GPT2(Layer):
    """Tokens, integers (T,), -> logits (T, n_rows) of the token behind each place; logits at place t depend on tokens
    up to t alone, so that padding behind a text needs no mask.

    n_rows: how many tokens there are.
    n_places: the longest text.
    n_dim: width of the blocks; the feed-forward networks have 4 n_dim hidden units.
    n_layers, n_heads: how many blocks, and heads of each.
    rate: the fraction dropped in training of the embedding, the attention's weights and each part's output.
    """

    n_rows: int
    n_places: int
    n_dim: int
    n_layers: int
    n_heads: int
    rate: float = 0.1
    input_dtype = jnp.int32

    def __post_init__(self) -> None:
        for name in ("n_rows", "n_places", "n_dim", "n_layers", "n_heads"):
            n = getattr(self, name)
            expect(is_integer(n, 1), "GPT2", f"{name}, a positive integer", repr(n))
        expect(self.n_dim % self.n_heads == 0, "GPT2", f"n_dim that the {self.n_heads} heads divide", str(self.n_dim))
        self.block  # refuses a rate that is none  # noqa: B018

    @property
    def random(self) -> bool:
        return self.rate > 0

    @property
    def block(self) -> TransformerBlock:
        return TransformerBlock(
            self.n_heads, 4 * self.n_dim, causal=True, pre_norm=True, activation=gelu_tanh, rate_weights=self.rate,
            rate_attention=self.rate, rate_output=self.rate, weight_init=random_normal(0.02))

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        """Weights of N(0, 0.02²); those that end a residual branch are smaller by √(2 n_layers), as published."""
        tokens = shape_of(self, shape, tree=False)
        expect(len(tokens.shape) == 1 and tokens.shape[0] <= self.n_places, "GPT2",
               f"tokens of shape (T,), T at most {self.n_places}", str(tokens.shape))
        expect_key(self.name, key)
        of_tokens, of_places, *keys = jax.random.split(key, 2 + self.n_layers)
        x = jax.ShapeDtypeStruct((*tokens.shape, self.n_dim), jnp.float32)
        params: dict[str, Any] = {
            "tokens": Embedding(self.n_rows, self.n_dim).init(of_tokens, tokens)[0],
            "places": Embedding(self.n_places, self.n_dim, random_normal(0.01)).init(of_places, tokens)[0]}
        for n, k in enumerate(keys):
            block, _ = self.block.init(k, x)
            for last in (block["attention"]["out"], block["output"]):
                last["weight"] = last["weight"] / (2 * self.n_layers) ** 0.5
            params[f"block{n}"] = block
        return params | {"norm": LayerNorm().init(None, x)[0]}, {}

    def apply(self, params, state, x, key, *, train):
        expect_integers(self.name, "x", x)
        expect_shape(self.name, "x", x, ("T",))
        keys: list[Any] = [None] * (1 + self.n_layers)
        if train and self.random:
            expect_key(self.name, key)
            keys = list(jax.random.split(key, 1 + self.n_layers))
        expect(0 < x.shape[0] <= self.n_places, self.name, f"between 1 and {self.n_places} tokens", str(x.shape[0]))
        h = embedding(params["tokens"], x) + embedding(params["places"], jnp.arange(x.shape[0]))
        h, _ = Dropout(self.rate)({}, {}, h, keys[0], train=train)
        for n in range(self.n_layers):
            with at(f"block{n}"):
                h, _ = self.block(params[f"block{n}"], {}, h, keys[n + 1], train=train)
        return self._logits(params, h), state

    def empty_caches(self, params: Any, capacity: int | None = None) -> tuple[KeyValueCache, ...]:
        """For `next`: a cache for each block, with room for `capacity` places, n_places by default."""
        capacity = self.n_places if capacity is None else capacity
        expect(is_integer(capacity, 1) and capacity <= self.n_places, self.name,
               f"capacity, an integer in 1 .. {self.n_places}", repr(capacity))
        return tuple(self.block.parts["attention"].empty_cache(params[f"block{n}"]["attention"], capacity)
                     for n in range(self.n_layers))

    def next(self, params: Any, caches: tuple[KeyValueCache, ...], x: Any) -> tuple[Any, tuple[KeyValueCache, ...]]:
        """(logits (T, n_rows), caches) of the next tokens x (T,), at inference: those of the whole text so far."""
        expect_integers(self.name, "x", x)
        expect_shape(self.name, "x", x, ("T",), "for one token pass x[None]" if jnp.ndim(x) == 0 else "")
        expect(len(caches) == self.n_layers, self.name, f"{self.n_layers} caches", str(len(caches)),
               "make them with empty_caches")
        places = caches[0].position + jnp.arange(x.shape[0])
        position = known(caches[0].position)
        n = 0 if position is None else int(position.max()) + x.shape[0]
        expect(n <= self.n_places, self.name, f"at most {self.n_places} tokens in all", str(n))
        h = embedding(params["tokens"], x) + embedding(params["places"], places)
        moved = []
        for n, cache in enumerate(caches):
            with at(f"block{n}"):
                h, cache = self.block.next(params[f"block{n}"], cache, h)
            moved.append(cache)
        return self._logits(params, h), tuple(moved)

    def _logits(self, params: Any, h: Any) -> Any:
        h, _ = LayerNorm()(params["norm"], {}, h)
        return dense_over_time({"weight": params["tokens"]["table"]}, h)


def to_gpt2(params: Any) -> dict[str, np.ndarray]:
    """Params of a GPT2, or a gradient, by their published names and in the published layout."""
    arrays = {"wte.weight": params["tokens"]["table"], "wpe.weight": params["places"]["table"],
              **_named("ln_f", params["norm"], "scale")}
    for name, block in params.items():
        if not name.startswith("block"):
            continue
        h = f"h.{name.removeprefix('block')}"
        a = block["attention"]
        joined = {leaf: np.concatenate([np.asarray(a[part][leaf]) for part in "qkv"]) for leaf in ("weight", "bias")}
        arrays |= _named(f"{h}.ln_1", block["norm_attention"], "scale")
        arrays |= _named(f"{h}.ln_2", block["norm_output"], "scale")
        for place, entries in (("attn.c_attn", joined), ("attn.c_proj", a["out"]), ("mlp.c_fc", block["hidden"]),
                               ("mlp.c_proj", block["output"])):
            arrays |= _named(f"{h}.{place}", {**entries, "weight": np.asarray(entries["weight"]).T})
    return {name: np.asarray(array) for name, array in arrays.items()}


def from_gpt2(arrays: Mapping[str, Any], params: Any) -> Any:
    """Params with the numbers of a published file.

    Args:
      arrays: by name, of `read_safetensors`; "transformer." before the names, the masks "attn.bias" and
        "attn.masked_bias", and a "lm_head.weight" that repeats the table are taken as they come.
      params: of GPT2.init, or their shapes, by `jax.eval_shape`.
    Raises:
      BadWeights: a name is missing or left over, or a shape or dtype does not fit; all of them are listed.
    """
    given = {name.removeprefix("transformer."): np.asarray(array) for name, array in arrays.items()
             if not re.search(r"\.attn\.(masked_)?bias$", name)}
    expected = to_gpt2(jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), params))
    head = given.pop("lm_head.weight", None)
    problems = []
    if head is not None and not np.array_equal(head, given.get("wte.weight", head)):
        problems.append("lm_head.weight that differs from wte.weight")
    for name, zeros in expected.items():
        if name not in given:
            problems.append(f"missing {name}")
        elif given[name].shape != zeros.shape:
            problems.append(f"{name} of shape {given[name].shape} where {zeros.shape} is expected")
        elif not (np.issubdtype(given[name].dtype, np.floating) or given[name].dtype.name == "bfloat16"):
            problems.append(f"{name} of dtype {given[name].dtype} where floating-point numbers are expected")
    problems += [f"left over {name}" for name in given if name not in expected]
    if problems:
        raise BadWeights("weights", "expects the names and shapes of GPT-2; got " + "; ".join(problems))
    n_layers = sum(name.startswith("block") for name in params)
    filled = {"tokens": {"table": given["wte.weight"]}, "places": {"table": given["wpe.weight"]},
              **{f"block{n}": _block(given, f"h.{n}") for n in range(n_layers)}, "norm": _norm(given, "ln_f")}
    return jax.tree.map(lambda leaf, array: jnp.asarray(array, leaf.dtype), params, filled)


def _block(given: Mapping[str, np.ndarray], h: str) -> dict[str, Any]:
    def dense(place: str) -> dict[str, Any]:
        return {"weight": given[f"{h}.{place}.weight"].T, "bias": given[f"{h}.{place}.bias"]}

    joined = dense("attn.c_attn")
    split = {leaf: np.split(array, 3) for leaf, array in joined.items()}
    attention = {part: {leaf: arrays[n] for leaf, arrays in split.items()} for n, part in enumerate("qkv")}
    return {"attention": attention | {"out": dense("attn.c_proj")}, "norm_attention": _norm(given, f"{h}.ln_1"),
            "hidden": dense("mlp.c_fc"), "output": dense("mlp.c_proj"), "norm_output": _norm(given, f"{h}.ln_2")}


def _named(place: str, entries: Mapping[str, Any], weight: str = "weight") -> dict[str, Any]:
    return {f"{place}.weight": entries[weight], f"{place}.bias": entries["bias"]}


def _norm(given: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {"scale": given[f"{place}.weight"], "bias": given[f"{place}.bias"]}
