"""One matrix along each axis: y = (A ⊗ B ⊗ ...) x, of which resizing and pooling into parts are cases."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxnn.ops.dtypes import wide

__all__ = ["map_axes"]


def map_axes(x: Any, matrices: Sequence[np.ndarray]) -> Any:
    """y_{pq...c} = Σ_{ij...} A_pi B_qj ... x_{ij...c}; the transpose is that of the transposed matrices.

    Args:
      x: (n, m, ..., channels).
      matrices: (n_out, n) for each axis but the last.
    Returns:
      (n_out, m_out, ..., channels), of the dtype of x.
    """
    y = wide(x)
    # The axis that shrinks most goes first, so that the next ones have less to do.
    for axis in sorted(range(len(matrices)), key=lambda a: matrices[a].shape[0] / matrices[a].shape[1]):
        A = jnp.asarray(matrices[axis], y.dtype)
        # A resized picture is exact to rounding on every device.
        y = jnp.moveaxis(jnp.tensordot(A, y, (1, axis), precision=lax.Precision.HIGHEST), 0, axis)
    return y.astype(x.dtype)
