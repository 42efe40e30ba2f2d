"""Layers: ops with parameters of their own, and the containers that make networks of them."""

from jaxnn.layers.attention import MultiHeadAttention, TransformerBlock
from jaxnn.layers.basic import Dense, Dropout, Flatten, at_inference
from jaxnn.layers.containers import Parallel, Residual, Sequential, over_examples
from jaxnn.layers.conv import AveragePool, Conv, ConvTranspose, MaxPool
from jaxnn.layers.folding import fold_batch_norm
from jaxnn.layers.layer import Layer
from jaxnn.layers.normalization import BatchNorm, GroupNorm, LayerNorm
from jaxnn.layers.sequence import GRU, LSTM, RNN, Embedding
from jaxnn.layers.squeeze_excitation import SqueezeExcitation
from jaxnn.layers.table import Summary, summary
