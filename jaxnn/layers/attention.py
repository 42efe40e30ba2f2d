"""Multi-head attention with parameters of its own, and the block of a transformer.

x is one sequence (time, n), or a mapping of the sequence and its surroundings:

    {"x": (time, n), "memory": (T_k, m), "mask": (time, time), "length": ()}

for self-attention x alone is needed; where there is a memory, as the encoder's output for a decoder, queries come from
x, and keys and values from the memory.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxnn.checks import at, expect, expect_key, expect_shape, is_integer, is_number
from jaxnn.initializers import Initializer, xavier_uniform, zeros
from jaxnn.layers.basic import Dense, Dropout
from jaxnn.layers.layer import Layer, expect_options, shape_of
from jaxnn.layers.normalization import LayerNorm
from jaxnn.ops.activation import relu
from jaxnn.ops.attention import attention
from jaxnn.ops.dense import dense
from jaxnn.ops.key_value_cache import KeyValueCache, attend_last, empty_cache, with_next
from jaxnn.ops.positions import LAYOUTS, alibi_slopes, rotary

__all__ = ["MultiHeadAttention", "TransformerBlock", "dense_over_time", "parts_of"]


def dense_over_time(params: Any, x: Any) -> Any:
    """`dense` at each place of x (time, n_in): one matrix product."""
    return jax.vmap(dense, (None, 0))(params, x)


def parts_of(layer: Layer, x: Any, *names: str) -> dict[str, Any]:
    """x as a mapping with these entries, None where there is none; the first must be there."""
    if not isinstance(x, Mapping):
        x = {names[0]: x}
    expect(names[0] in x and set(x) <= set(names), layer.name, f"x, an array or a mapping of "
           f"{', '.join(map(repr, names))}, of which {names[0]!r} must be there", f"keys {sorted(map(str, x))}")
    return {name: x.get(name) for name in names}


def _expect_sizes(layer: Layer, *names: str) -> None:
    for name in names:
        n = getattr(layer, name)
        expect(n is None or is_integer(n, 1), layer.name, f"{name}, a positive integer", repr(n))


def _expect_rates(layer: Layer, *names: str) -> None:
    for name in names:
        rate = getattr(layer, name)
        expect(is_number(rate, 0) and rate < 1, layer.name, f"{name}, the fraction dropped, in [0, 1)", repr(rate))


@dataclasses.dataclass(frozen=True)
class MultiHeadAttention(Layer):
    """x (time, n) -> (time, n_out): dense layers make queries, keys and values, `attention` mixes the values, and a
    dense layer joins the heads. Params: {"q", "k", "v", "out"}, each of a dense layer.

    x may be a mapping: {"x", "memory", "mask", "length"}, see the head of this file. mask: (time, T_k) of bool, True
    where a query may see a key. length: how many keys there are before the padding.

    n_heads: heads of queries.
    d_head: width of a head; n / n_heads by default. The scores are scaled by 1 / √d_head.
    n_kv_heads: heads of keys and values, n_heads by default.
    n_out: width of y, n by default.
    causal, window, soft_cap: as of `attention`.
    rotary: "halves" or "interleaved": queries and keys are turned by their places.
    alibi: whether the slopes of ALiBi are subtracted.
    rate: the fraction of the weights dropped in training.
    use_bias: whether the dense layers have biases.
    weight_init: initializer of each weight.
    """

    n_heads: int
    d_head: int | None = None
    n_kv_heads: int | None = None
    n_out: int | None = None
    causal: bool = False
    window: Any = None
    soft_cap: float | None = None
    rotary: str | None = None
    alibi: bool = False
    rate: float = 0.0
    use_bias: bool = True
    weight_init: Initializer = dataclasses.field(default=xavier_uniform, repr=False)

    def __post_init__(self) -> None:
        expect(self.n_heads is not None, "MultiHeadAttention", "n_heads, a positive integer", "None")
        _expect_sizes(self, "n_heads", "d_head", "n_kv_heads", "n_out")
        expect(self.n_heads % (self.n_kv_heads or self.n_heads) == 0, "MultiHeadAttention",
               f"n_kv_heads that divides the {self.n_heads} heads", repr(self.n_kv_heads))
        expect(self.rotary is None or self.rotary in LAYOUTS, "MultiHeadAttention",
               "rotary, 'halves', 'interleaved' or None", repr(self.rotary))
        _expect_rates(self, "rate")
        expect_options(self, bools=["causal", "alibi", "use_bias"], initializers=["weight_init"])

    @property
    def random(self) -> bool:
        return self.rate > 0

    @property
    def choices(self) -> dict[str, Any]:
        return {"n_heads": self.n_heads, "n_kv_heads": self.n_kv_heads or self.n_heads, "window": self.window,
                "soft_cap": self.soft_cap}

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shapes = parts_of(self, shape_of(self, shape), "x", "memory", "mask", "length")
        memory = shapes["memory"] or shapes["x"]
        for name, s in (("x", shapes["x"]), ("memory", memory)):
            expect(len(s.shape) == 2, self.name, f"{name} of shape (time, n)", str(s.shape))
        n, m = shapes["x"].shape[1], memory.shape[1]
        expect(self.d_head is not None or n % self.n_heads == 0, self.name,
               f"x of a width that its {self.n_heads} heads divide", str(n), "or give d_head")
        d, g = self.d_head or n // self.n_heads, self.n_kv_heads or self.n_heads
        expect_key(self.name, key)
        widths = {"q": (n, self.n_heads * d), "k": (m, g * d), "v": (m, g * d), "out": (self.n_heads * d,
                                                                                         self.n_out or n)}
        return {name: Dense(n_out, self.weight_init, zeros, self.use_bias).init(k, (n_in,))[0]
                for (name, (n_in, n_out)), k in zip(widths.items(), jax.random.split(key, 4), strict=True)}, {}

    def apply(self, params, state, x, key, *, train):
        parts = parts_of(self, x, "x", "memory", "mask", "length")
        x, memory = parts["x"], parts["x"] if parts["memory"] is None else parts["memory"]
        expect_shape(self.name, "x", x, ("time", "n"))
        expect_shape(self.name, "memory", memory, ("time", "m"), "for a batch use over_examples around the layer")
        q, k, v = self._projected(params, x, memory, None)
        drops = train and self.rate > 0
        y = attention(q, k, v, parts["mask"], None, self._slopes, parts["length"], None, key if drops else None,
                      causal=self.causal, rate=self.rate if drops else 0.0, **self.choices)
        return dense_over_time(params["out"], y), state

    def empty_cache(self, params: Any, capacity: int) -> KeyValueCache:
        """A cache for `next`, with room for `capacity` places."""
        weight_k, weight_v = (params[name]["weight"] for name in "kv")
        return empty_cache(capacity, weight_k.shape[0], weight_v.shape[0], weight_k.dtype)

    def next(self, params: Any, cache: KeyValueCache, x: Any) -> tuple[Any, KeyValueCache]:
        """(y, cache) of the next places, x (time, n), at inference: y is what causal attention over all places so far
        gives for these."""
        expect(self.causal, self.name, "causal=True for decoding place by place", "causal=False")
        expect_shape(self.name, "x", x, ("time", "n"), "for one place pass x[None]" if jnp.ndim(x) == 1 else "")
        q, k, v = self._projected(params, x, x, cache.position)
        cache = with_next(cache, k, v)
        return dense_over_time(params["out"], attend_last(q, cache, self._slopes, **self.choices)), cache

    @property
    def _slopes(self) -> Any:
        return alibi_slopes(self.n_heads) if self.alibi else None

    def _projected(self, params: Any, x: Any, memory: Any, position: Any) -> tuple[Any, Any, Any]:
        q, k, v = (dense_over_time(params[name], a) for name, a in (("q", x), ("k", memory), ("v", memory)))
        if self.rotary is not None:
            places = None if position is None else position + jnp.arange(x.shape[0])
            q = rotary(q, places, layout=self.rotary, n_heads=self.n_heads)
            k = rotary(k, places, layout=self.rotary, n_heads=self.n_kv_heads or self.n_heads)
        return q, k, v


@dataclasses.dataclass(frozen=True)
class TransformerBlock(Layer):
    """Self-attention, attention to a memory where `cross` is set, and a feed-forward network, each with its residual:

        post-norm    x = norm(x + part(x))        as published in 2017, and in the course
        pre-norm     x = x + part(norm(x))        as in GPT-2; a network of such blocks ends with a norm of its own

    Params: {"attention", "norm_attention", "cross", "norm_cross", "hidden", "output", "norm_output"}.

    x may be a mapping: {"x", "memory", "mask", "length", "memory_mask", "memory_length"}, as for MultiHeadAttention;
    the last two are of the attention to the memory.

    n_heads, d_head, n_kv_heads, causal, window, rotary, alibi, use_bias: of the attention. Rotations and slopes are of
      the self-attention alone.
    n_hidden: units of the feed-forward network.
    cross: whether there is a memory.
    pre_norm: see above.
    activation: of the feed-forward network.
    eps: of the norms.
    rate_weights, rate_attention, rate_hidden, rate_output: fractions dropped in training of the attention's weights, of
      the attention's output, of the hidden units, of the feed-forward network's output.
    """

    n_heads: int
    n_hidden: int
    d_head: int | None = None
    n_kv_heads: int | None = None
    causal: bool = False
    cross: bool = False
    pre_norm: bool = True
    window: Any = None
    rotary: str | None = None
    alibi: bool = False
    activation: Callable = relu
    eps: float = 1e-5
    rate_weights: float = 0.0
    rate_attention: float = 0.0
    rate_hidden: float = 0.0
    rate_output: float = 0.0
    use_bias: bool = True
    weight_init: Initializer = dataclasses.field(default=xavier_uniform, repr=False)

    def __post_init__(self) -> None:
        expect(is_integer(self.n_hidden, 1), "TransformerBlock", "n_hidden, a positive integer", repr(self.n_hidden))
        expect(callable(self.activation), "TransformerBlock", "activation, a function such as jaxnn.relu",
               repr(self.activation))
        _expect_rates(self, "rate_weights", "rate_attention", "rate_hidden", "rate_output")
        expect_options(self, bools=["cross", "pre_norm"])
        self.parts  # refuses what its parts refuse  # noqa: B018

    @property
    def random(self) -> bool:
        return max(self.rate_weights, self.rate_attention, self.rate_hidden, self.rate_output) > 0

    @property
    def parts(self) -> dict[str, Any]:
        """The layers with parameters, but the two dense layers of the feed-forward network."""
        shared: dict[str, Any] = {"n_heads": self.n_heads, "d_head": self.d_head, "n_kv_heads": self.n_kv_heads,
                  "rate": self.rate_weights, "use_bias": self.use_bias, "weight_init": self.weight_init}
        parts: dict[str, Any] = {
            "attention": MultiHeadAttention(**shared, causal=self.causal, window=self.window, rotary=self.rotary,
                                            alibi=self.alibi),
            "norm_attention": LayerNorm(self.eps)}
        if self.cross:
            parts |= {"cross": MultiHeadAttention(**shared), "norm_cross": LayerNorm(self.eps)}
        return parts | {"norm_output": LayerNorm(self.eps)}

    def init(self, key: Any, shape: Any) -> tuple[Any, Any]:
        shapes = self._parts_of(shape_of(self, shape))
        x, memory = shapes["x"], shapes["memory"]
        expect(len(x.shape) == 2, self.name, "x of shape (time, n)", str(x.shape))
        expect_key(self.name, key)
        n = x.shape[1]
        keys = iter(jax.random.split(key, 4))
        params = {}
        for name, part in self.parts.items():
            of = {"x": x, "memory": memory} if name == "cross" else x
            with at(name):
                params[name] = part.init(next(keys) if isinstance(part, MultiHeadAttention) else None, of)[0]
        for name, n_in, n_out in (("hidden", n, self.n_hidden), ("output", self.n_hidden, n)):
            params[name] = Dense(n_out, self.weight_init, zeros, self.use_bias).init(next(keys), (n_in,))[0]
        return params, {}

    def apply(self, params, state, x, key, *, train):
        given = self._parts_of(x)
        parts = self.parts
        keys = iter([None] * 6)
        if train and self.random:
            expect_key(self.name, key)
            keys = iter(jax.random.split(key, 6))

        def attended(name: str, x: Any, **surroundings: Any) -> Any:
            entries = {k: v for k, v in surroundings.items() if v is not None}
            with at(name):
                y, _ = parts[name](params[name], {}, {"x": x, **entries}, next(keys), train=train)
            return self._dropped(y, self.rate_attention, next(keys), train)

        x = self._added(params, "norm_attention", given["x"],
                        lambda x: attended("attention", x, mask=given["mask"], length=given["length"]))
        if self.cross:
            x = self._added(params, "norm_cross", x, lambda x: attended(
                "cross", x, memory=given["memory"], mask=given["memory_mask"], length=given["memory_length"]))
        return self._added(params, "norm_output", x, lambda x: self._fed_forward(
            params, x, next(keys), next(keys), train)), state

    def next(self, params: Any, cache: KeyValueCache, x: Any) -> tuple[Any, KeyValueCache]:
        """(y, cache) of the next places, x (time, n), at inference; cache: of its "attention", by that part's
        `empty_cache`."""
        expect(not self.cross, self.name, "no memory for decoding place by place", "cross=True")
        caches = []

        def attended(x: Any) -> Any:
            y, moved = self.parts["attention"].next(params["attention"], cache, x)
            caches.append(moved)
            return y

        x = self._added(params, "norm_attention", x, attended)
        return self._added(params, "norm_output", x,
                           lambda x: self._fed_forward(params, x, None, None, False)), caches[0]

    def _parts_of(self, x: Any) -> dict[str, Any]:
        parts = parts_of(self, x, "x", "memory", "mask", "length", "memory_mask", "memory_length")
        has = [name for name in ("memory", "memory_mask", "memory_length") if parts[name] is not None]
        expect((parts["memory"] is not None) if self.cross else not has, self.name,
               "a memory" if self.cross else "no memory", f"{has or 'none'} with cross={self.cross}",
               'pass {"x": ..., "memory": ...}' if self.cross else "make the block with cross=True")
        return parts

    def _added(self, params: Any, norm: str, x: Any, part: Callable) -> Any:
        """The residual of a part and its norm, before or behind."""
        def normed(x: Any) -> Any:
            return self.parts[norm](params[norm], {}, x)[0]

        return x + part(normed(x)) if self.pre_norm else normed(x + part(x))

    def _fed_forward(self, params: Any, x: Any, hidden_key: Any, output_key: Any, train: bool) -> Any:
        h = self.activation(dense_over_time(params["hidden"], x))
        y = dense_over_time(params["output"], self._dropped(h, self.rate_hidden, hidden_key, train))
        return self._dropped(y, self.rate_output, output_key, train)

    def _dropped(self, x: Any, rate: float, key: Any, train: bool) -> Any:
        return Dropout(rate)({}, {}, x, key, train=train)[0]
