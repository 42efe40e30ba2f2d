"""jaxnn: neural networks from first principles, with every backward pass derived by hand.

The abstraction
    hand_derived, by_autodiff    an op: a forward pass with a backward pass by hand, or with JAX's own
    network                      any function of ops, with explicit forward and backward passes
    Op, HandDerived, Network, Static, InputError

Ops, of one example; help(op) ends with its derivation
    sigmoid tanh relu leaky_relu elu softplus gelu gelu_tanh silu softmax log_softmax
    dense conv max_pool batch_norm batch_norm_inference embedding attention dropout
    rnn rnn_relu gru gru_reset_after lstm, made by over_time of a cell: rnn_cell rnn_relu_cell gru_cell
    gru_reset_after_cell lstm_cell
    flatten add concatenate
    binary_cross_entropy softmax_cross_entropy squared_error huber

Layers, which make their own parameters
    Layer Dense Conv MaxPool BatchNorm Dropout Flatten Embedding RNN GRU LSTM
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
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Layer,
    MaxPool,
    Parallel,
    Residual,
    Sequential,
    Summary,
    at_inference,
    over_examples,
    summary,
)
from jaxnn.network import Network, network
from jaxnn.ops import (
    add,
    attention,
    batch_norm,
    batch_norm_inference,
    binary_cross_entropy,
    cell,
    concatenate,
    conv,
    dense,
    dropout,
    elu,
    embedding,
    flatten,
    gelu,
    gelu_tanh,
    gru,
    gru_cell,
    gru_reset_after,
    gru_reset_after_cell,
    huber,
    leaky_relu,
    log_softmax,
    lstm,
    lstm_cell,
    max_pool,
    over_time,
    relu,
    rnn,
    rnn_cell,
    rnn_relu,
    rnn_relu_cell,
    sigmoid,
    silu,
    softmax,
    softmax_cross_entropy,
    softplus,
    squared_error,
    tanh,
)

__version__ = "0.1.0"

__all__ = [
    "GRU", "LSTM", "RNN", "BatchNorm", "Conv", "Dense", "Dropout", "Embedding", "Flatten", "GradientReport",
    "HandDerived", "InputError", "Layer", "MaxPool", "Network", "Op", "Parallel", "Residual", "Sequential",
    "Static", "Summary", "add", "at_inference", "attention", "batch_norm", "batch_norm_inference",
    "binary_cross_entropy", "by_autodiff", "cell", "clipped_gradient_sum", "compare_gradients", "concatenate",
    "conv", "dense", "dropout", "elu", "embedding", "flatten", "gelu", "gelu_tanh", "gru", "gru_cell",
    "gru_reset_after", "gru_reset_after_cell", "hand_derived", "huber", "initializers", "leaky_relu",
    "log_softmax", "look_inside", "lstm", "lstm_cell", "max_pool", "network", "over_examples", "over_time",
    "per_example", "relu", "rnn", "rnn_cell", "rnn_relu", "rnn_relu_cell", "sigmoid", "silu", "softmax",
    "softmax_cross_entropy", "softplus", "squared_error", "summary", "tanh",
]
