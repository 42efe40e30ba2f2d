"""jaxnn: neural networks from first principles, with every backward pass derived by hand.

The abstraction
    hand_derived, by_autodiff    an op: a forward pass with a backward pass by hand, or with JAX's own
    network                      any function of ops, with explicit forward and backward passes
    Op, HandDerived, Network, Static, InputError

Ops, of one example; help(op) ends with its derivation
    sigmoid tanh relu leaky_relu relu6 prelu crelu elu selu softplus gelu gelu_tanh silu mish hard_sigmoid hard_swish
    softmax log_softmax
    dense conv conv_transpose embedding dropout
    attention additive_attention multiplicative_attention rotary; sinusoidal_positions alibi_slopes
    KeyValueCache empty_cache with_next attend_last, for decoding place by place
    max_pool pool_switches max_unpool average_pool l2_pool adaptive_average_pool global_average_pool global_max_pool
    resize pixel_shuffle pixel_unshuffle
    batch_norm batch_norm_inference layer_norm group_norm instance_norm rms_norm local_response_norm
    standardize_kernel
    rnn rnn_relu gru gru_reset_after lstm, made by over_time of a cell: rnn_cell rnn_relu_cell gru_cell
    gru_reset_after_cell lstm_cell
    flatten add concatenate
    binary_cross_entropy softmax_cross_entropy squared_error huber

Layers, which make their own parameters
    Layer Dense Conv ConvTranspose MaxPool AveragePool BatchNorm LayerNorm GroupNorm Dropout Flatten Embedding
    RNN GRU LSTM MultiHeadAttention TransformerBlock
    Sequential Parallel Residual over_examples at_inference; summary Summary
    initializers (a module)

Gradients
    compare_gradients GradientReport    is a backward pass right, where is it not, why?
    look_inside                         each op's cache and cotangent
    per_example clipped_gradient_sum    the gradients of single examples

Modules beside: jaxnn.training, jaxnn.losses, jaxnn.data, jaxnn.metrics, jaxnn.gradients, jaxnn.inside, jaxnn.testing.
"""

from jaxnn import initializers
from jaxnn.checks import InputError
from jaxnn.gradients import GradientReport, compare_gradients
from jaxnn.hand_derived import HandDerived, Op, Static, by_autodiff, hand_derived
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
    MultiHeadAttention,
    Parallel,
    Residual,
    Sequential,
    Summary,
    TransformerBlock,
    at_inference,
    over_examples,
    summary,
)
from jaxnn.network import Network, network
from jaxnn.ops import (
    KeyValueCache,
    adaptive_average_pool,
    add,
    additive_attention,
    alibi_slopes,
    attend_last,
    attention,
    average_pool,
    batch_norm,
    batch_norm_inference,
    binary_cross_entropy,
    cell,
    concatenate,
    conv,
    conv_transpose,
    crelu,
    dense,
    dropout,
    elu,
    embedding,
    empty_cache,
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
    leaky_relu,
    local_response_norm,
    log_softmax,
    lstm,
    lstm_cell,
    max_pool,
    max_unpool,
    mish,
    multiplicative_attention,
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
    rotary,
    selu,
    sigmoid,
    silu,
    sinusoidal_positions,
    softmax,
    softmax_cross_entropy,
    softplus,
    squared_error,
    standardize_kernel,
    tanh,
    with_next,
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
    "KeyValueCache",
    "Layer",
    "LayerNorm",
    "MaxPool",
    "MultiHeadAttention",
    "Network",
    "Op",
    "Parallel",
    "Residual",
    "Sequential",
    "Static",
    "Summary",
    "TransformerBlock",
    "adaptive_average_pool",
    "add",
    "additive_attention",
    "alibi_slopes",
    "at_inference",
    "attend_last",
    "attention",
    "average_pool",
    "batch_norm",
    "batch_norm_inference",
    "binary_cross_entropy",
    "by_autodiff",
    "cell",
    "clipped_gradient_sum",
    "compare_gradients",
    "concatenate",
    "conv",
    "conv_transpose",
    "crelu",
    "dense",
    "dropout",
    "elu",
    "embedding",
    "empty_cache",
    "flatten",
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
    "leaky_relu",
    "local_response_norm",
    "log_softmax",
    "look_inside",
    "lstm",
    "lstm_cell",
    "max_pool",
    "max_unpool",
    "mish",
    "multiplicative_attention",
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
    "rotary",
    "selu",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "softmax",
    "softmax_cross_entropy",
    "softplus",
    "squared_error",
    "standardize_kernel",
    "summary",
    "tanh",
    "with_next",
]
