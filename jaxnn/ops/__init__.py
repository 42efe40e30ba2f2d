"""The calculus: each op's forward pass is followed by its backward pass, derived by hand."""

from jaxnn.ops.activation import elu, gelu, gelu_tanh, leaky_relu, relu, sigmoid, silu, softplus, tanh
from jaxnn.ops.dense import dense
from jaxnn.ops.dropout import dropout
from jaxnn.ops.loss import binary_cross_entropy, huber, softmax_cross_entropy, squared_error
from jaxnn.ops.shape import add, concatenate, flatten
from jaxnn.ops.softmax import log_softmax, softmax
