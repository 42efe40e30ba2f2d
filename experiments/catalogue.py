"""Every op the library has, once: how to make its arguments at three sizes, what kind of op it is, what a batch shares.

Tests, mutants, `compare` and benchmarks draw from this table; a new op is one more line.
"""

import difflib
import inspect
import re
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn import ops
from jaxnn.checks import InputError, expect
from jaxnn.detection import complete_iou, distance_iou, focal_loss, generalized_iou, iou, yolo_boxes
from jaxnn.gradients.arguments import parse
from jaxnn.hand_derived import EXAMPLES, Op
from jaxnn.layers import BatchNorm, Conv, Dense, Dropout, Flatten, MaxPool, Residual, Sequential, over_examples
from jaxnn.network import Network, network

__all__ = ["CASES", "KINDS", "SIZES", "Case", "find", "over_batch"]

SIZES = ("small", "medium", "large")
# What an op is to JAX's transformations, which do not look into the calculus.
KINDS = {
    "elementwise": "one array in, one of its shape out, element by element",
    "array": "arrays in, an array out",
    "weight": "weights that the examples of a batch share",
    "scan": "a loop each way",
    "key": "a PRNG key among the arguments",
    "state": "statistics of the batch, or a state that gets no gradient",
    "integers": "an integer argument or value",
    "pytrees": "a pytree that is no dict of weights",
    "reverse only": "lifted by jax.custom_vjp",
    "network": "made of other ops",
}


class Case(NamedTuple):
    """An op and how to make its arguments.

    `kind` is one of KINDS. `arguments` is a description as `jaxnn.gradients.arguments.parse` reads it, in size
    names, each of which has its numbers in `sizes`. `shared` names the arguments that a batch has once, as
    weights. An op that needs a batch has it already, in the size "examples".
    """

    name: str
    op: Op
    kind: str
    arguments: str
    sizes: dict[str, tuple[int, int, int]]
    static: Mapping[str, Hashable] = {}
    shared: tuple[str, ...] = ("params", "state")

    def args(self, size: str = "small", seed: Any = 0, dtype: str = "f32", **sizes: int) -> tuple[Any, ...]:
        """Random arguments at a size.

        Args:
          size: one of SIZES.
          seed: an integer, or a PRNG key.
          dtype: f16, bf16 or f64, in place of f32 in the description.
          sizes: numbers by name, in place of those of `size`.
        Raises:
          InputError: a size, or the name of a number, that is not known.
        """
        return parse(re.sub(r"\bf32\b", dtype, self.arguments), seed, self.numbers(size, sizes))

    def numbers(self, size: str, sizes: Mapping[str, int]) -> dict[str, int]:
        """What the size names in `arguments` stand for at a size, those of `sizes` replaced."""
        expect(size in SIZES, self.name, f"a size, one of {', '.join(SIZES)}", repr(size))
        numbers = {name: of[SIZES.index(size)] for name, of in self.sizes.items()}
        for name in sizes:
            expect(name in numbers, self.name, f"sizes named {', '.join(numbers)}", repr(name))
        return numbers | dict(sizes)

    def batch(self, n: int, size: str = "small", seed: int = 0, dtype: str = "f32",
              **sizes: Any) -> tuple[tuple[Any, ...], tuple[int | None, ...]]:
        """(arguments, in_axes) of n examples: what is shared stands once, the rest is stacked along axis 0."""
        # A seed far from its neighbours.
        examples = [self.args(size, seed + 1_000_003 * i, dtype, **sizes) for i in range(n)]
        columns = list(zip(*examples, strict=True))
        axes = tuple(None if name in self.shared else 0 for name, _ in zip(self.op.arguments, columns, strict=False))
        args = tuple(column[0] if axis is None else jax.tree.map(lambda *leaves: jnp.stack(leaves), *column)
                     for column, axis in zip(columns, axes, strict=True))
        return args, axes

    def over_batch(self, n: int, size: str = "small", seed: int = 0, **sizes: Any) -> tuple[Op, tuple[Any, ...]]:
        """The op over n examples, and arguments for it; its keywords are those of the op."""
        expect(n >= 1, "--batch", "at least one example", str(n))
        if "examples" in self.sizes:
            return self.op, self.args(size, seed, **{**sizes, "examples": n})
        return over_batch(self.op, self.shared), self.batch(n, size, seed, **sizes)[0]


def over_batch(op: Op, shared: tuple[str, ...] = ("params", "state")) -> Network:
    """The op over the leading axis of its arguments but the shared ones, as a network: by `jax.vmap`."""
    def batch(*args: Any, **static: Any) -> Any:
        axes = tuple(None if name in shared else 0 for name in op.arguments[:len(args)])
        return jax.vmap(lambda *args: op(*args, **static), axes, axis_name=EXAMPLES)(*args)

    batch.__name__ = f"vmap({op.name})"
    batch.__signature__ = inspect.signature(op)  # type: ignore[attr-defined]
    return network(batch)


def find(name: str) -> Case:
    """The case of this name.

    Raises:
      InputError: there is none; the nearest name is proposed.
    """
    for case in CASES:
        if case.name == name:
            return case
    near = difflib.get_close_matches(name, [case.name for case in CASES], n=1)
    todo = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(c.name for c in CASES)}"
    raise InputError("the catalogue", f"expects the name of an op; got {name!r}; {todo}")


N = {"n": (6, 64, 4096)}
DENSE = "{weight: f32[o,i], bias: f32[o]}"
# Weights of one half to a third keep tanh and the gates off their flat ends, at every size here.
HIDDEN = "{weight: f32[h,i]*0.3, bias: f32[h]*0.3}"
HEAD = "{weight: f32[o,h]*0.3, bias: f32[o]*0.3}"
SQUARE = "{weight: f32[h,h]*0.3, bias: f32[h]*0.3}"
NET = {"i": (4, 16, 64), "h": (6, 16, 48), "o": (3, 4, 10)}
KERNEL = "{kernel: f32[k,k,c,o], bias: f32[o]}"
IMAGE = {"height": (4, 8, 16), "width": (5, 8, 16)}
CHANNELS = "{scale: f32[c], bias: f32[c]}"
RUNNING = "{mean: f32[c], variance: f32[c]>0}"
RECURRENT = "{weight_x: f32[G*h,i]*0.3, weight_h: f32[G*h,h]*0.3, bias: f32[G*h]*0.3} f32[t,i]"
LSTM = RECURRENT.replace("G", "4")
STEPS = {"t": (4, 8, 24), "i": (2, 6, 16), "h": (3, 6, 16)}
QKV = "f32[t,d] f32[t,d] f32[t,v]"
ALIGNED = "f32[s,m] f32[t,n] f32[t,v] bool[s,t]"
ALIGNED_SIZES = {"s": (2, 4, 16), "t": (3, 6, 24), "m": (4, 8, 32), "n": (2, 6, 24), "v": (3, 4, 16), "h": (5, 8, 32)}
VECTORS = {"m": (3, 6, 16), "n": (4, 16, 96)}
HEADS = {"t": (6, 16, 64), "d": (2, 4, 16), "v": (3, 4, 16)}


def mlp(params: Any, x: Any) -> Any:
    return ops.dense(params["head"], ops.tanh(ops.dense(params["hidden"], x)))


def residual_net(params: Any, x: Any) -> Any:
    h = ops.dense(params["first"], x)
    return ops.dense(params["head"], h + ops.gelu(ops.dense(params["body"], h)))


def branches(params: Any, x: Any) -> Any:
    return jnp.concatenate([ops.dense(params, x), ops.silu(x)])


def dropout_net(params: Any, x: Any, key: Any) -> Any:
    h = ops.gelu(ops.dropout(ops.dense(params["hidden"], x), key, rate=0.5))
    return ops.dense(params["head"], h)


def conv_net(params: Any, x: Any) -> Any:
    return ops.dense(params["head"], ops.flatten(ops.max_pool(ops.relu(ops.conv(params["conv"], x)))))


def batch_norm_net(params: Any, state: Any, x: Any) -> Any:
    def one(x: Any) -> Any:
        h, moved = ops.batch_norm(params["norm"], state, ops.dense(params["hidden"], x))
        return ops.dense(params["head"], ops.softplus(h)), moved

    return jax.vmap(one, out_axes=(0, None), axis_name=EXAMPLES)(x)


CASES = (
    *(Case(op.name, op, "elementwise", "f32[n]", N) for op in (
        ops.sigmoid, ops.tanh, ops.relu, ops.leaky_relu, ops.elu, ops.softplus, ops.gelu, ops.gelu_tanh,
        ops.silu, ops.mish, ops.relu6, ops.selu, ops.hard_sigmoid, ops.hard_swish)),
    Case("crelu", ops.crelu, "array", "f32[n]", N),
    Case("prelu", ops.prelu, "weight", "{slope: f32[c]} f32[m,c]", {"m": (3, 8, 64), "c": (2, 8, 64)}),
    Case("softmax", ops.softmax, "array", "f32[m,n]", {"m": (2, 4, 8), "n": (4, 16, 128)}),
    Case("log_softmax", ops.log_softmax, "array", "f32[m,n]", {"m": (2, 4, 8), "n": (4, 16, 128)}),
    Case("dense", ops.dense, "weight", f"{DENSE} f32[i]", {"o": (3, 12, 48), "i": (4, 16, 64)}),
    Case("binary_cross_entropy", ops.binary_cross_entropy, "array", "f32[n] f32[n]>0", N, shared=()),
    Case("softmax_cross_entropy", ops.softmax_cross_entropy, "integers", "f32[k] i32[]<k", {"k": (4, 32, 1024)},
         shared=()),
    Case("softmax_cross_entropy-distribution", ops.softmax_cross_entropy, "array", "f32[k] f32[k]/sum",
         {"k": (4, 32, 1024)}, {"smoothing": 0.1}, shared=()),
    Case("squared_error", ops.squared_error, "array", "f32[n] f32[n]", N, shared=()),
    Case("huber", ops.huber, "array", "f32[n] f32[n]", N, {"delta": 0.7}, shared=()),
    Case("focal_loss", focal_loss, "array", "f32[n] f32[n]>0", N, shared=()),
    *(Case(op.name, op, "array", "f32[n,4]>0 f32[n,4]>0", {"n": (6, 32, 256)}, {"form": "centre"}, shared=())
      for op in (iou, generalized_iou, distance_iou, complete_iou)),
    Case("yolo_boxes", yolo_boxes, "array", "f32[s,s,2,4]", {"s": (2, 4, 8)},
         {"anchors": ((0.2, 0.3), (0.5, 0.4)), "stretch": 1.2}),
    Case("dropout", ops.dropout, "key", "f32[n] key", N, {"rate": 0.4}),
    Case("flatten", ops.flatten, "array", "f32[m,n]", {"m": (2, 8, 32), "n": (3, 8, 64)}),
    Case("add", ops.add, "pytrees", "(f32[n], f32[n])", N),
    Case("scale_channels", ops.scale_channels, "array", "f32[c] f32[s,s,c]", {"s": (2, 4, 16), "c": (3, 6, 16)}),
    Case("concatenate", ops.concatenate, "pytrees", "(f32[m,n], f32[m,2*n])", {"m": (2, 8, 32), "n": (2, 8, 32)},
         {"axis": 1}),
    Case("conv", ops.conv, "weight", f"{KERNEL} f32[height,width,c]",
         {"k": (2, 3, 3), "c": (1, 3, 8), "o": (2, 4, 12), **IMAGE}),
    Case("conv-strided", ops.conv, "weight", f"{KERNEL} f32[height,width,c]",
         {"k": (3, 3, 5), "c": (1, 3, 8), "o": (2, 4, 8), **IMAGE}, {"stride": 2, "padding": "VALID"}),
    Case("max_pool", ops.max_pool, "array", "f32[height,width,c]", {"c": (1, 3, 16), **IMAGE}),
    Case("max_pool-overlapping", ops.max_pool, "array", "f32[height,width,c]", {"c": (1, 3, 16), **IMAGE},
         {"window": (3, 3), "stride": (2, 2), "padding": "SAME"}),
    Case("conv-dilated", ops.conv, "weight", f"{KERNEL} f32[height,width,c]",
         {"k": (2, 3, 3), "c": (1, 3, 8), "o": (2, 4, 8), **IMAGE}, {"dilation": 2}),
    Case("conv-grouped", ops.conv, "weight", "{kernel: f32[k,k,c,2*o], bias: f32[2*o]} f32[height,width,2*c]",
         {"k": (2, 3, 3), "c": (2, 3, 4), "o": (1, 2, 4), **IMAGE}, {"groups": 2}),
    *(Case(f"conv-depthwise-of-{c}", ops.conv, "weight",
           f"{{kernel: f32[k,k,1,{2 * c}], bias: f32[{2 * c}]}} f32[height,width,{c}]",
           {"k": (2, 3, 3), "height": (3, 8, 16), "width": (3, 8, 16)}, {"groups": c, "stride": stride})
      for c, stride in ((3, 1), (4, 2))),
    Case("conv-causal", ops.conv, "weight", "{kernel: f32[k,c,o], bias: f32[o]} f32[t,c]",
         {"k": (2, 3, 3), "c": (1, 3, 8), "o": (2, 4, 8), "t": (5, 16, 64)}, {"padding": "CAUSAL", "dilation": 2}),
    Case("conv-of-volumes", ops.conv, "weight", "{kernel: f32[2,2,2,c,o], bias: f32[o]} f32[s,s,s,c]",
         {"c": (1, 2, 4), "o": (2, 3, 4), "s": (3, 4, 6)}, {"padding": "SAME_LOWER", "stride": (1, 2, 1)}),
    Case("conv-cropping", ops.conv, "weight", f"{KERNEL} f32[height,width,c]",
         {"k": (2, 3, 3), "c": (1, 3, 8), "o": (2, 4, 8), **IMAGE}, {"padding": ((-1, 1), (2, 0))}),
    Case("max_pool-of-volumes", ops.max_pool, "array", "f32[s,s,s,c]", {"s": (4, 5, 7), "c": (1, 2, 4)},
         {"window": 2, "stride": (1, 2, 3), "dilation": (2, 1, 1), "ceil": True}),
    Case("average_pool-of-sequences", ops.average_pool, "array", "f32[t,c]", {"t": (6, 16, 64), "c": (2, 3, 8)},
         {"window": 3, "stride": 2, "padding": "SAME_LOWER", "count_padding": False}),
    Case("conv_transpose", ops.conv_transpose, "weight", f"{KERNEL} f32[height,width,c]",
         {"k": (3, 3, 4), "c": (1, 3, 8), "o": (2, 4, 8), "height": (2, 4, 8), "width": (3, 4, 8)},
         {"stride": 2, "padding": 1, "output_padding": 1}),
    *(Case(op.name + name, op, "array", "f32[height,width,c]", {"c": (1, 3, 16), **IMAGE}, static)
      for op, name, static in (
          (ops.average_pool, "", {}), (ops.l2_pool, "", {}), (ops.global_average_pool, "", {}),
          (ops.average_pool, "-overlapping", {"window": (3, 3), "stride": (2, 2), "padding": 1, "ceil": True}),
          (ops.global_max_pool, "", {}), (ops.adaptive_average_pool, "", {"size": 3}),
          (ops.resize, "", {"size": (7, 5)}),
          (ops.resize, "-corners", {"size": (3, 9), "align": "corners"}),
          (ops.resize, "-nearest", {"size": (7, 5), "method": "nearest"}))),
    Case("max_unpool", ops.max_unpool, "integers", "f32[s,s,c] i32[s,s,c]<20",
         {"s": (2, 2, 2), "c": (1, 3, 16)}, {"size": (4, 5)}, shared=()),
    Case("pixel_shuffle", ops.pixel_shuffle, "array", "f32[s,s,4*c]", {"s": (2, 4, 8), "c": (1, 3, 8)}, {"factor": 2}),
    Case("pixel_unshuffle", ops.pixel_unshuffle, "array", "f32[2*s,2*s,c]", {"s": (2, 4, 8), "c": (1, 3, 8)},
         {"factor": 2}),
    *(Case(op.name, op, "weight", f"{CHANNELS} f32[s,s,c]", {"s": (2, 3, 8), "c": (4, 6, 16)}, static)
      for op, static in ((ops.layer_norm, {}), (ops.group_norm, {"groups": 2}), (ops.instance_norm, {}))),
    Case("rms_norm", ops.rms_norm, "weight", "{scale: f32[c]} f32[s,s,c]", {"s": (2, 3, 8), "c": (4, 6, 16)}),
    Case("standardize_kernel", ops.standardize_kernel, "array", "f32[k,k,c,o]",
         {"k": (2, 3, 3), "c": (2, 3, 8), "o": (2, 4, 16)}),
    Case("local_response_norm", ops.local_response_norm, "array", "f32[s,s,c]", {"s": (2, 3, 6), "c": (6, 8, 24)},
         {"alpha": 0.2}),
    Case("dropout-shared", ops.dropout, "key", "f32[s,s,c] key", {"s": (2, 3, 6), "c": (6, 8, 24)},
         {"rate": 0.4, "shared": (0, 1)}),
    Case("batch_norm", over_batch(ops.batch_norm), "state", f"{CHANNELS} {RUNNING} f32[examples,s,s,c]",
         {"examples": (4, 8, 16), "s": (2, 3, 4), "c": (2, 4, 16)}),
    Case("batch_norm_inference", ops.batch_norm_inference, "state", f"{CHANNELS} {RUNNING} f32[s,s,c]",
         {"s": (2, 4, 16), "c": (2, 6, 16)}),
    Case("embedding", ops.embedding, "integers", "{table: f32[rows,d]} i32[t]<rows",
         {"rows": (5, 24, 128), "d": (3, 8, 32), "t": (4, 16, 96)}),
    Case("lstm", ops.lstm, "scan", f"{LSTM} (f32[h], f32[h])", STEPS, shared=("params",)),
    Case("lstm-from-zeros", ops.lstm, "scan", LSTM, STEPS),
    Case("lstm-reversed", ops.lstm, "scan", LSTM, STEPS, {"reverse": True}),
    Case("rnn", ops.rnn, "scan", f"{RECURRENT.replace('G*', '')} f32[h]", STEPS, shared=("params",)),
    Case("rnn_relu", ops.rnn_relu, "scan", f"{RECURRENT.replace('G*', '')} f32[h]", STEPS, shared=("params",)),
    Case("gru", ops.gru, "scan", f"{RECURRENT.replace('G', '3')} f32[h]", STEPS, shared=("params",)),
    Case("gru_reset_after", ops.gru_reset_after, "scan",
         f"{RECURRENT.replace('G', '3').replace('}', ', bias_h: f32[h]*0.3}')} f32[h]", STEPS, shared=("params",)),
    Case("lstm-in-segments", ops.lstm, "scan", LSTM, STEPS, {"segment": 3}),
    Case("lstm_peephole", ops.lstm_peephole, "scan",
         f"{LSTM.replace('}', ', weight_c: f32[3*h]*0.3}')} (f32[h], f32[h])", STEPS, shared=("params",)),
    Case("lstm_projected", ops.lstm_projected, "scan",
         "{weight_x: f32[4*h,i]*0.3, weight_h: f32[4*h,o]*0.3, bias: f32[4*h]*0.3, weight_p: f32[o,h]*0.3} f32[t,i] "
         "(f32[o], f32[h])", STEPS | {"o": (2, 4, 8)}, shared=("params",)),
    Case("layer_norm_lstm", ops.layer_norm_lstm, "scan",
         "{weight_x: f32[4*h,i], weight_h: f32[4*h,h], scale_x: f32[4*h]*0.3, scale_h: f32[4*h]*0.3, "
         "shift: f32[4*h]*0.3, scale_c: f32[h], shift_c: f32[h]*0.3} f32[t,i] (f32[h], f32[h])",
         STEPS | {"h": (6, 8, 16)}, shared=("params",)),  # of three numbers the variance may nearly vanish
    Case("attention", ops.attention, "scan", QKV, HEADS, {"causal": True, "chunk": 4}, shared=()),
    Case("attention-full", ops.attention, "scan", QKV, HEADS, {"chunk": 5}, shared=()),
    Case("attention-masked", ops.attention, "scan", f"{QKV} bool[t,t]", HEADS, {"chunk": 4}, shared=()),
    Case("attention-heads", ops.attention, "scan", "f32[t,4*d] f32[t,2*d] f32[t,2*v] bool[t,t] f32[t,t] f32[4]>0",
         HEADS, {"causal": True, "chunk": 4, "n_heads": 4, "n_kv_heads": 2, "window": (9, 0), "soft_cap": 2.0},
         shared=()),
    Case("attention-dropout", ops.attention, "scan", f"{QKV} none none none none none key", HEADS,
         {"chunk": 4, "rate": 0.3}, shared=()),
    Case("additive_attention", ops.additive_attention, "weight",
         f"{{weight_q: f32[h,m], weight_k: f32[h,n], bias: f32[h], score: f32[h]}} {ALIGNED}", ALIGNED_SIZES),
    Case("multiplicative_attention", ops.multiplicative_attention, "weight", f"{{weight: f32[m,n]}} {ALIGNED}",
         ALIGNED_SIZES),
    Case("rotary", ops.rotary, "array", "f32[t,2*d]", HEADS, {"layout": "halves"}),
    Case("rotary-interleaved", ops.rotary, "integers", "f32[t,4*d] i32[t]<50", HEADS,
         {"layout": "interleaved", "n_heads": 2}, shared=()),
    # Networks: plain functions of ops.
    Case("mlp", network(mlp), "network", f"{{hidden: {HIDDEN}, head: {HEAD}}} f32[i]", NET),
    Case("residual-net", network(residual_net), "network",
         f"{{first: {HIDDEN}, body: {SQUARE}, head: {HEAD}}} f32[i]", NET),
    Case("branches", network(branches), "network", f"{HIDDEN} f32[i]", NET),
    Case("dropout-net", network(dropout_net), "network", f"{{hidden: {HIDDEN}, head: {HEAD}}} f32[i] key", NET),
    Case("conv-net", network(conv_net), "network",
         "{conv: {kernel: f32[3,3,c,h], bias: f32[h]}, head: {weight: f32[o,s*s*h]*0.3, bias: f32[o]}} f32[2*s,2*s,c]",
         {"s": (2, 3, 5), "c": (1, 3, 6), "h": (2, 4, 8), "o": (3, 5, 10)}),
    Case("batch-norm-net", network(batch_norm_net), "network",
         f"{{hidden: {HIDDEN}, norm: {{scale: f32[h], bias: f32[h]}}, head: {HEAD}}} "
         "{mean: f32[h], variance: f32[h]>0} f32[examples,i]", {"examples": (4, 16, 32), **NET}),
    # Layers, in training.
    Case("layers", network(Sequential(Dense(6), ops.elu, Dropout(0.3), Dense(3))), "network",
         "{dense1: {weight: f32[6,i]*0.3, bias: f32[6]}, dense2: {weight: f32[3,6]*0.3, bias: f32[3]}} {} f32[i] key",
         {"i": (4, 16, 64)}, {"train": True}),
    Case("conv-layers", network(over_examples(Sequential(
        Conv(4, (3, 3), use_bias=False), BatchNorm(), ops.relu, MaxPool((2, 2)),
        Residual(Sequential(Conv(4, (3, 3)), ops.silu)), Flatten(), Dense(3)))), "network",
        "{conv1: {kernel: f32[3,3,c,4]*0.5}, batchnorm1: {scale: f32[4], bias: f32[4]}, "
        "residual1: {body: {conv1: {kernel: f32[3,3,4,4]*0.3, bias: f32[4]}}}, "
        "dense1: {weight: f32[3,4*s*s]*0.3, bias: f32[3]}} "
        "{batchnorm1: {mean: f32[4], variance: f32[4]>0}} f32[examples,2*s,2*s,c] none",
        {"examples": (3, 6, 12), "s": (2, 3, 5), "c": (1, 2, 3)}, {"train": True}),
    # Losses of a sequence.
    Case("dense_softmax_cross_entropy", ops.dense_softmax_cross_entropy, "weight",
         f"{DENSE} f32[t,i] i32[t]<o", {"o": (7, 20, 60), "i": (3, 8, 32), "t": (2, 6, 24)},
         {"chunk": 3, "smoothing": 0.1}),
    Case("ctc", ops.ctc, "scan", "f32[3*s,4*c] i32[s]<3", {"s": (2, 5, 20), "c": (1, 2, 8)}, {"blank": 3}, shared=()),
    # Embeddings and textures.
    Case("l2_normalize", ops.l2_normalize, "array", "f32[m,n]", {"m": (2, 4, 8), "n": (4, 16, 128)}),
    Case("triplet_loss", ops.triplet_loss, "array", "f32[m,n] f32[m,n] f32[m,n]", VECTORS, {"margin": 1.0}, shared=()),
    Case("triplet_loss-euclidean", ops.triplet_loss, "array", "f32[m,n] f32[m,n] f32[m,n]", VECTORS,
         {"margin": 0.5, "distance": "euclidean"}, shared=()),
    Case("contrastive_loss", ops.contrastive_loss, "integers", "f32[m,n]*0.5 f32[m,n]*0.5 bool[m]", VECTORS,
         {"margin": 2.0}, shared=()),
    *(Case(f"mined_triplet_loss{name}", ops.mined_triplet_loss, "integers", "f32[m,n]*0.5 i32[m]<3",
           {"m": (7, 12, 24), "n": (3, 6, 16)}, static, shared=())
      for name, static in (("", {"margin": 0.5}), ("-hard", {"margin": 0.5, "mining": "hard"}),
                           ("-all", {"margin": 0.5, "mining": "all", "distance": "euclidean"}))),
    Case("cosine_margin_loss", ops.cosine_margin_loss, "weight", "{weight: f32[k,n]} f32[n] i32[]<k",
         {"k": (4, 10, 60), "n": (3, 8, 32)}, {"scale": 4.0}),
    Case("gram_matrix", ops.gram_matrix, "array", "f32[s,s,c]", {"s": (2, 4, 8), "c": (3, 6, 24)},
         {"reduction": "mean"}),
    Case("total_variation", ops.total_variation, "array", "f32[height,width,c]", {"c": (1, 3, 8), **IMAGE}),
    Case("total_variation-of-lengths", ops.total_variation, "array", "f32[height,width,c]", {"c": (1, 3, 8), **IMAGE},
         {"power": 1.25}),
)
