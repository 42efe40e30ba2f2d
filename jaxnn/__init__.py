"""jaxnn: neural networks from first principles, with every backward pass derived by hand.

The abstraction
    hand_derived, by_autodiff    an op: a forward pass with a backward pass by hand, or with JAX's own
    network                      any function of ops, with explicit forward and backward passes
    Op, HandDerived, Network, Static, InputError; compiler_options, those of XLA that suit a program

Ops, of one example; help(op) ends with its derivation
    sigmoid tanh relu leaky_relu relu6 prelu crelu elu selu softplus gelu gelu_tanh silu mish hard_sigmoid hard_swish
    softmax log_softmax
    dense conv conv_transpose embedding attention dropout
    max_pool pool_switches max_unpool average_pool l2_pool adaptive_average_pool global_average_pool global_max_pool
    resize pixel_shuffle pixel_unshuffle
    batch_norm batch_norm_inference layer_norm group_norm instance_norm rms_norm local_response_norm
    standardize_kernel
    rnn rnn_relu gru gru_reset_after lstm, made by over_time of a cell: rnn_cell rnn_relu_cell gru_cell
    gru_reset_after_cell lstm_cell
    lstm_peephole lstm_projected layer_norm_lstm, of lstm_peephole_cell lstm_projected_cell layer_norm_lstm_cell
    bidirectional stacked, of such ops; length_mask, for padded sequences
    flatten add concatenate scale_channels
    binary_cross_entropy softmax_cross_entropy squared_error huber dense_softmax_cross_entropy ctc

Layers, which make their own parameters
    Layer Dense Conv ConvTranspose MaxPool AveragePool BatchNorm LayerNorm GroupNorm Dropout Flatten Embedding
    RNN GRU LSTM SqueezeExcitation
    Sequential Parallel Residual over_examples at_inference; summary Summary; fold_batch_norm
    initializers (a module)

Gradients
    compare_gradients GradientReport    is a backward pass right, where is it not, why?
    look_inside                         each op's cache and cotangent
    per_example clipped_gradient_sum    the gradients of single examples

Modules beside: jaxnn.training, jaxnn.losses, jaxnn.data, jaxnn.text, jaxnn.decoding, jaxnn.metrics,
    jaxnn.gradients, jaxnn.inside, jaxnn.testing.
"""

from jaxnn import initializers
from jaxnn.by_autodiff import by_autodiff
from jaxnn.checks import InputError
from jaxnn.compiler_options import compiler_options
from jaxnn.gradients import GradientReport, compare_gradients
from jaxnn.hand_derived import HandDerived, Op, Static, hand_derived
from jaxnn.inside import clipped_gradient_sum, look_inside, per_example
from jaxnn.layers import (
    GRU,
    LSTM,
    RNN,
    AveragePool,
    BatchNorm,
    Conv,
    ConvTranspose,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    GroupNorm,
    Layer,
    LayerNorm,
    MaxPool,
    Parallel,
    Residual,
    Sequential,
    SqueezeExcitation,
    Summary,
    at_inference,
    fold_batch_norm,
    over_examples,
    summary,
)
from jaxnn.network import Network, network
from jaxnn.ops import (
    adaptive_average_pool,
    add,
    attention,
    average_pool,
    batch_norm,
    batch_norm_inference,
    bidirectional,
    binary_cross_entropy,
    cell,
    concatenate,
    conv,
    conv_transpose,
    crelu,
    ctc,
    dense,
    dense_softmax_cross_entropy,
    dropout,
    elu,
    embedding,
    flatten,
    gelu,
    gelu_tanh,
    global_average_pool,
    global_max_pool,
    group_norm,
    gru,
    gru_cell,
    gru_reset_after,
    gru_reset_after_cell,
    hard_sigmoid,
    hard_swish,
    huber,
    instance_norm,
    l2_pool,
    layer_norm,
    layer_norm_lstm,
    layer_norm_lstm_cell,
    leaky_relu,
    length_mask,
    local_response_norm,
    log_softmax,
    lstm,
    lstm_cell,
    lstm_peephole,
    lstm_peephole_cell,
    lstm_projected,
    lstm_projected_cell,
    max_pool,
    max_unpool,
    mish,
    over_time,
    pixel_shuffle,
    pixel_unshuffle,
    pool_switches,
    prelu,
    relu,
    relu6,
    resize,
    rms_norm,
    rnn,
    rnn_cell,
    rnn_relu,
    rnn_relu_cell,
    scale_channels,
    selu,
    sigmoid,
    silu,
    softmax,
    softmax_cross_entropy,
    softplus,
    squared_error,
    stacked,
    standardize_kernel,
    tanh,
)

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "AveragePool",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "GradientReport",
    "GroupNorm",
    "HandDerived",
    "InputError",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "Network",
    "Op",
    "Parallel",
    "Residual",
    "Sequential",
    "SqueezeExcitation",
    "Static",
    "Summary",
    "adaptive_average_pool",
    "add",
    "at_inference",
    "attention",
    "average_pool",
    "batch_norm",
    "batch_norm_inference",
    "bidirectional",
    "binary_cross_entropy",
    "by_autodiff",
    "cell",
    "clipped_gradient_sum",
    "compare_gradients",
    "compiler_options",
    "concatenate",
    "conv",
    "conv_transpose",
    "crelu",
    "ctc",
    "dense",
    "dense_softmax_cross_entropy",
    "dropout",
    "elu",
    "embedding",
    "flatten",
    "fold_batch_norm",
    "gelu",
    "gelu_tanh",
    "global_average_pool",
    "global_max_pool",
    "group_norm",
    "gru",
    "gru_cell",
    "gru_reset_after",
    "gru_reset_after_cell",
    "hand_derived",
    "hard_sigmoid",
    "hard_swish",
    "huber",
    "initializers",
    "instance_norm",
    "l2_pool",
    "layer_norm",
    "layer_norm_lstm",
    "layer_norm_lstm_cell",
    "leaky_relu",
    "length_mask",
    "local_response_norm",
    "log_softmax",
    "look_inside",
    "lstm",
    "lstm_cell",
    "lstm_peephole",
    "lstm_peephole_cell",
    "lstm_projected",
    "lstm_projected_cell",
    "max_pool",
    "max_unpool",
    "mish",
    "network",
    "over_examples",
    "over_time",
    "per_example",
    "pixel_shuffle",
    "pixel_unshuffle",
    "pool_switches",
    "prelu",
    "relu",
    "relu6",
    "resize",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rnn_relu",
    "rnn_relu_cell",
    "scale_channels",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "squared_error",
    "stacked",
    "standardize_kernel",
    "summary",
    "tanh",
]
