"""The course's network for a trigger word: a convolution over time, then two GRUs that hear only what has been."""

from typing import Any

from jaxnn.checks import expect, is_integer
from jaxnn.layers import GRU, BatchNorm, Conv, Dense, Dropout, Sequential, over_examples
from jaxnn.ops import relu

__all__ = ["trigger_word"]


def trigger_word(channels: int = 196, hidden: int = 128, rate: float = 0.8) -> Sequential:
    """Spectrogram (5511, 101), time first -> logits (1375,): whether the word has just ended, at each step.

    A convolution of 15 frames with stride 4 and no padding, batch norm, relu, then twice a GRU with one bias and batch
    norm, and a dense layer at each step. With the sizes of the course it has 522,561 numbers as Keras counts them:
    521,657 parameters and 904 running statistics.

    Args:
      channels: of the convolution.
      hidden: units of each GRU.
      rate: of each dropout, the fraction dropped: 0.8 in the course.
    Source: Deep Learning Specialization, course 5, week 3.
    """
    for name, n in (("channels", channels), ("hidden", hidden)):
        expect(is_integer(n, 1), "trigger_word", f"{name}, a positive integer", repr(n))
    return Sequential(conv=Conv(channels, (15,), stride=4, padding="VALID"), norm1=BatchNorm(), relu=relu,
                      dropout1=Dropout(rate), gru1=GRU(hidden), dropout2=Dropout(rate), norm2=BatchNorm(),
                      gru2=GRU(hidden), dropout3=Dropout(rate), norm3=BatchNorm(), dropout4=Dropout(rate),
                      head=over_examples(Dense(1)), logits=_in_a_row)


def _in_a_row(y: Any) -> Any:
    return y[:, 0]
