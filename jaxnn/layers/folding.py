"""Batch norm folded into the layer before it, for inference.

At inference batch norm is y = γ (z - μ) / sqrt(σ² + ε) + β with fixed μ and σ², one number of each for a channel.
After z = K * x + b this is again a convolution, or a dense layer:

    y = (r K) * x + r (b - μ) + β        with r = γ / sqrt(σ² + ε), one for each channel out

so that the norm costs nothing. Zeros of the padding are those of x, and change nothing here; in front of a convolution
they would, so a norm is folded backward only.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxnn.checks import InputError, at, expect_bool
from jaxnn.layers.basic import Dense, Dropout, _AtInference
from jaxnn.layers.containers import OverExamples, Parallel, Residual, Sequential
from jaxnn.layers.conv import Conv, ConvTranspose
from jaxnn.layers.layer import Layer
from jaxnn.layers.normalization import BatchNorm

__all__ = ["Folded", "fold_batch_norm"]


class Folded(NamedTuple):
    """A network at inference, with what it is called with: y, _ = net(params, state, x)."""

    net: Any
    params: Any
    state: Any


def fold_batch_norm(net: Any, params: Any, state: Any, *, keep: bool = False) -> Folded:
    """The network without its batch norms, each folded into the convolution or the dense layer before it.

    Sequential, Parallel, Residual, `over_examples` and `at_inference` are looked into; a norm's layer may be the last
    one of a Sequential before it. Names stay as they are. The value is that of `net(params, state, x)` to rounding, at
    inference: a folded network that is trained is another one.

    Args:
      net: a layer.
      params, state: of its init or of training, or a tracer's under `jit`.
      keep: whether a norm that cannot be folded stays as it is, such as those in DenseNet's layers, which come first.
    Raises:
      InputError: a norm cannot be folded, and is not to be kept; the message has its place.

    >>> import jax
    >>> from jaxnn import BatchNorm, Dense, Sequential, relu
    >>> net = Sequential(Dense(2), BatchNorm(), relu)
    >>> fold_batch_norm(net, *net.init(jax.random.key(0), (3,))).net
    Sequential(Dense(n_out=2, use_bias=True), relu)
    """
    expect_bool("fold_batch_norm", "keep", keep)
    if not isinstance(net, Layer):
        raise InputError("fold_batch_norm", f"expects a layer; got {type(net).__name__}")
    return _fold(net, params, state, keep)


def _fold(net: Any, params: Any, state: Any, keep: bool) -> Folded:
    if type(net) is OverExamples:
        inner = _fold(net.layer, params, state, keep)
        return inner._replace(net=dataclasses.replace(net, layer=inner.net))
    if type(net) is _AtInference:
        inner = _fold(net.part, params, state, keep)
        return inner._replace(net=dataclasses.replace(net, part=inner.net))
    if type(net) in (Parallel, Residual):
        return _rebuilt(net, [(label, _part(net, label, params, state, keep)) for label in net.parts])
    if type(net) is Sequential:
        return _rebuilt(net, _in_sequence(net, params, state, keep))
    if type(net) is BatchNorm and not keep:
        raise InputError("BatchNorm", "expects a convolution or a dense layer just before it, to be folded into; got "
                         "none; pass keep=True to leave those that cannot be folded as they are")
    if state and not keep:
        raise InputError(net.name, "expects to be a layer of this library, whose batch norms can be found; got one "
                         "with a state of its own; pass keep=True to leave it as it is")
    return Folded(net, params, state)


def _part(net: Sequential, label: str, params: Any, state: Any, keep: bool) -> Folded:
    with at(label):
        return _fold(net.parts[label], params.get(label, {}), state.get(label, {}), keep)


def _in_sequence(net: Sequential, params: Any, state: Any, keep: bool) -> list[tuple[str, Folded]]:
    parts: list[tuple[str, Folded]] = []
    for label, part in net.parts.items():
        if type(part) is BatchNorm:
            with at(label):
                factor, shift = _factor_and_shift(part, params.get(label, {}), state.get(label))
            # Between them may be what does nothing at inference.
            before = next((i for i in reversed(range(len(parts))) if not isinstance(parts[i][1].net, Dropout)), None)
            scaled = None if before is None else _scaled(parts[before][1], factor, shift)
            if before is not None and scaled is not None:
                parts[before] = parts[before][0], scaled
                continue
        parts.append((label, _part(net, label, params, state, keep)))
    return parts


def _factor_and_shift(norm: BatchNorm, params: Any, state: Any) -> tuple[Any, Any]:
    """(r, β - r μ)."""
    if not isinstance(state, Mapping) or not {"mean", "variance"} <= state.keys():
        raise InputError("BatchNorm", "expects its state, {'mean': (channels,), 'variance': (channels,)}; got "
                         f"{list(state) if isinstance(state, Mapping) else state}; pass (net, params, state)")
    dtype = jnp.promote_types(state["variance"].dtype, jnp.float32)
    factor = params.get("scale", 1) / jnp.sqrt(state["variance"].astype(dtype) + norm.eps)
    return factor, params.get("bias", 0) - factor * state["mean"]


def _scaled(before: Folded, factor: Any, shift: Any) -> Folded | None:
    """The layer followed by y -> r y + shift; None where that is no layer of its kind."""
    net, params, state = before
    if type(net) in (Conv, ConvTranspose, Dense):  # a layer derived of one of them may do something else
        name, r = ("weight", factor[:, None]) if type(net) is Dense else ("kernel", factor)
        weight = params[name]
        bias = shift + factor * params.get("bias", 0)
        return Folded(dataclasses.replace(net, use_bias=True),
                      {name: (weight * r).astype(weight.dtype), "bias": bias.astype(weight.dtype)}, state)
    if type(net) is Sequential:
        *others, (label, last) = [(label, Folded(part, params.get(label, {}), state.get(label, {})))
                                  for label, part in net.parts.items()]
        scaled = _scaled(last, factor, shift)
        return None if scaled is None else _rebuilt(net, [*others, (label, scaled)])
    return None


def _rebuilt(net: Sequential, parts: list[tuple[str, Folded]]) -> Folded:
    """A container of the same kind, of these parts, with the entries of those that have any."""
    if isinstance(net, Residual):
        made: Any = Residual(**{label: part.net for label, part in parts})
    else:
        made = type(net)(**{label: part.net for label, part in parts})
    params, state = ({label: part[i] for label, part in parts if part[i]} for i in (1, 2))
    return Folded(made, params, state)
