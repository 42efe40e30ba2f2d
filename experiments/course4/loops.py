"""Convolution and pooling as loops over windows, in NumPy: the course's own way, to be read beside the fast ops.

As in the course, pictures are (examples, height, width, channels), kernels W (f, f, channels in, channels out), biases
b (1, 1, 1, channels out), and each forward pass returns a cache for its backward pass.
"""

from typing import Any

import numpy as np

__all__ = ["conv_backward", "conv_forward", "conv_single_step", "create_mask_from_window", "distribute_value",
           "pool_backward", "pool_forward", "zero_pad"]


def zero_pad(X: np.ndarray, pad: int) -> np.ndarray:
    """Zeros around the height and the width of each picture."""
    return np.pad(X, ((0, 0), (pad, pad), (pad, pad), (0, 0)))


def conv_single_step(a_slice_prev: np.ndarray, W: np.ndarray, b: np.ndarray) -> float:
    """One window under one kernel: Z = Σ a W + b."""
    return float(np.sum(a_slice_prev * W) + np.squeeze(b))


def conv_forward(A_prev: np.ndarray, W: np.ndarray, b: np.ndarray, hparameters: dict[str, int]) -> tuple[Any, Any]:
    """(Z, cache): Z[i, h, w, c] is `conv_single_step` of the window at (h, w) and the kernel c."""
    stride, pad = hparameters["stride"], hparameters["pad"]
    f, n_C = W.shape[0], W.shape[-1]
    padded = zero_pad(A_prev, pad)
    m, height, width, _ = padded.shape
    Z = np.zeros((m, (height - f) // stride + 1, (width - f) // stride + 1, n_C))
    for i, h, w, c in np.ndindex(*Z.shape):
        window = padded[i, h * stride:h * stride + f, w * stride:w * stride + f]
        Z[i, h, w, c] = conv_single_step(window, W[..., c], b[..., c])
    return Z, (A_prev, W, b, hparameters)


def conv_backward(dZ: np.ndarray, cache: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dA_prev, dW, db). Each Z[i, h, w, c] = Σ window W_c + b_c hands its dZ on:

        to the window    dA += W_c dZ[i, h, w, c]
        to the kernel    dW_c += window dZ[i, h, w, c]
        to the bias      db_c += dZ[i, h, w, c]

    The fast op does the same by two convolutions: dW is the padded picture slid over by dZ, and dA is dZ slid over by
    the kernel reversed, because place h of Z sees place h + k with tap k, so place p of A gets tap k from h = p - k.
    """
    A_prev, W, b, hparameters = cache
    stride, pad = hparameters["stride"], hparameters["pad"]
    f = W.shape[0]
    padded = zero_pad(A_prev, pad)
    dpadded, dW, db = np.zeros_like(padded), np.zeros_like(W), np.zeros_like(b)
    for i, h, w, c in np.ndindex(*dZ.shape):
        rows, columns = slice(h * stride, h * stride + f), slice(w * stride, w * stride + f)
        dpadded[i, rows, columns] += W[..., c] * dZ[i, h, w, c]
        dW[..., c] += padded[i, rows, columns] * dZ[i, h, w, c]
        db[..., c] += dZ[i, h, w, c]
    return dpadded[:, pad:dpadded.shape[1] - pad, pad:dpadded.shape[2] - pad], dW, db


def pool_forward(A_prev: np.ndarray, hparameters: dict[str, int], mode: str = "max") -> tuple[Any, Any]:
    """(A, cache): the maximum or the average of each window, channel by channel."""
    f, stride = hparameters["f"], hparameters["stride"]
    m, height, width, n_C = A_prev.shape
    A = np.zeros((m, (height - f) // stride + 1, (width - f) // stride + 1, n_C))
    reduce = np.max if mode == "max" else np.mean
    for i, h, w, c in np.ndindex(*A.shape):
        A[i, h, w, c] = reduce(A_prev[i, h * stride:h * stride + f, w * stride:w * stride + f, c])
    return A, (A_prev, hparameters)


def create_mask_from_window(x: np.ndarray) -> np.ndarray:
    """Where a window has its maximum; as in the course, at all places that share it."""
    return x == np.max(x)


def distribute_value(dz: float, shape: tuple[int, int]) -> np.ndarray:
    """dz in equal parts over a window."""
    return np.full(shape, dz / np.prod(shape))


def pool_backward(dA: np.ndarray, cache: Any, mode: str = "max") -> np.ndarray:
    """dA_prev: a maximum hands its dA to where it was, an average to each element of its window in equal parts.

    Where a maximum is there twice, the course gives dA to both, which is no derivative; the op gives it to the first.
    """
    A_prev, hparameters = cache
    f, stride = hparameters["f"], hparameters["stride"]
    dA_prev = np.zeros_like(A_prev)
    for i, h, w, c in np.ndindex(*dA.shape):
        rows, columns = slice(h * stride, h * stride + f), slice(w * stride, w * stride + f)
        share = (dA[i, h, w, c] * create_mask_from_window(A_prev[i, rows, columns, c]) if mode == "max"
                 else distribute_value(float(dA[i, h, w, c]), (f, f)))
        dA_prev[i, rows, columns, c] += share
    return dA_prev
