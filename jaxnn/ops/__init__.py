"""The calculus: each op's forward pass is followed by its backward pass, derived by hand.

One rule of dtypes for all: the value is computed and returned in the dtype to which the floating-point arguments
promote (`jnp.promote_types`): params, x, an initial state, labels, weights. Integers, booleans and Python's numbers do
not widen, nor does the state of batch norm, which keeps its own dtype. Each cotangent has its argument's dtype. Sums
over many terms are kept in float32 at least.
"""

from jaxnn.ops import multiply_adds
from jaxnn.ops.activation import elu, gelu, gelu_tanh, leaky_relu, relu, sigmoid, silu, softplus, tanh
from jaxnn.ops.alignment import additive_attention, multiplicative_attention
from jaxnn.ops.attention import attention
from jaxnn.ops.average_pool import adaptive_average_pool, average_pool, global_average_pool, l2_pool
from jaxnn.ops.cell import cell
from jaxnn.ops.conv import conv, conv_transpose
from jaxnn.ops.cosine_margin import cosine_margin_loss
from jaxnn.ops.ctc import ctc
from jaxnn.ops.dense import dense
from jaxnn.ops.dense_loss import dense_softmax_cross_entropy
from jaxnn.ops.dropout import dropout
from jaxnn.ops.embedding import embedding
from jaxnn.ops.embedding_losses import contrastive_loss, triplet_loss
from jaxnn.ops.key_value_cache import KeyValueCache, attend_last, empty_cache, with_next
from jaxnn.ops.loss import binary_cross_entropy, softmax_cross_entropy
from jaxnn.ops.lstm_variants import (
    layer_norm_lstm,
    layer_norm_lstm_cell,
    lstm_peephole,
    lstm_peephole_cell,
    lstm_projected,
    lstm_projected_cell,
)
from jaxnn.ops.masks import length_mask
from jaxnn.ops.mined_triplets import mined_triplet_loss
from jaxnn.ops.normalization import batch_norm, batch_norm_inference
from jaxnn.ops.norms import (
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
    standardize_kernel,
)
from jaxnn.ops.over_time import over_time
from jaxnn.ops.pool import global_max_pool, max_pool, max_unpool, pool_switches
from jaxnn.ops.positions import alibi_slopes, rotary, sinusoidal_positions
from jaxnn.ops.rectifiers import crelu, hard_sigmoid, hard_swish, mish, prelu, relu6, selu
from jaxnn.ops.recurrent import (
    gru,
    gru_cell,
    gru_reset_after,
    gru_reset_after_cell,
    lstm,
    lstm_cell,
    rnn,
    rnn_cell,
    rnn_relu,
    rnn_relu_cell,
)
from jaxnn.ops.regression_loss import huber, squared_error
from jaxnn.ops.resize import pixel_shuffle, pixel_unshuffle, resize
from jaxnn.ops.scale import scale_channels
from jaxnn.ops.shape import add, concatenate, flatten
from jaxnn.ops.softmax import log_softmax, softmax
from jaxnn.ops.stacks import bidirectional, stacked
from jaxnn.ops.texture import gram_matrix, total_variation
from jaxnn.ops.unit import l2_normalize
