"""Checks of a batch of examples before a model learns from it."""

from typing import Any

import numpy as np

from jaxnn.checks import InputError, as_numpy, expect, is_integer

__all__ = ["check_examples"]


def check_examples(x: Any, y: Any = None, *, n_classes: int | None = None) -> None:
    """Refuses examples and class labels that would train a model to nonsense.

    Args:
      x: (B, ...) numbers, all finite, B >= 1.
      y: (B,) integer labels in 0..n_classes-1; None where there are none.
      n_classes: None leaves the labels without an upper limit.
    Raises:
      InputError: any of the above does not hold.
    """
    expect(n_classes is None or is_integer(n_classes, 1), "check_examples", "n_classes, a positive integer",
           repr(n_classes))
    x = as_numpy("check_examples", "x", x)
    if x.ndim == 0 or len(x) == 0:
        raise _wrong("x of shape (B, ...) with B >= 1", f"shape {x.shape}",
                     "check what selected these examples")
    try:
        finite = np.isfinite(x)
    except TypeError as error:
        raise _wrong("x of numbers", f"dtype {x.dtype}", "convert it") from error
    if not finite.all():
        wrong = np.argwhere(~finite)
        raise _wrong("x of finite numbers",
                     f"{len(wrong)} NaN or infinite, the first at index {tuple(wrong[0].tolist())}",
                     "drop or impute them")
    if y is None:
        return
    y = as_numpy("check_examples", "y", y)
    n = len(x)
    if y.ndim == 2 and y.shape[1] == 1:
        # Unchecked, it would broadcast against (B,) to (B, B).
        raise _wrong(f"y of shape ({n},)", f"shape {y.shape}", "pass y[:, 0]")
    if y.ndim != 1:
        raise _wrong(f"y of shape ({n},)", f"shape {y.shape}",
                     "pass class numbers, y.argmax(axis=-1) of one-hot labels")
    if len(y) != n:
        raise _wrong(f"as many labels in y as the {n} examples in x", f"{len(y)}",
                     "select x and y with the same indices")
    if y.dtype.kind not in "iu":
        raise _wrong("y of an integer dtype", f"dtype {y.dtype}",
                     "pass y.astype(int) if these are class numbers")
    outside = np.flatnonzero((y < 0) | (y >= (np.inf if n_classes is None else n_classes)))
    if outside.size:
        limit = "0 or more" if n_classes is None else f"0..{n_classes - 1}"
        raise _wrong(f"labels y in {limit}",
                     f"{outside.size} outside, the first {y[outside[0]]} at index {outside[0]}",
                     "number the classes from 0 or correct n_classes")


def _wrong(expected: str, actual: str, advice: str) -> InputError:
    return InputError("check_examples", f"expects {expected}; got {actual}; {advice}")
