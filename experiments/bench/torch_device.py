"""PyTorch's sides: on the GPU where JAX computes on one, with products as precise as JAX's."""

from typing import Any

import jax
import numpy as np

from jaxnn.config import config

__all__ = ["as_result", "on_device", "pytorch"]


def pytorch() -> Any:
    """PyTorch, with the precision of JAX's products; None where it is not installed or lacks the GPU that JAX has."""
    try:
        import torch
    except ImportError:
        return None
    if jax.default_backend() == "gpu" and not torch.cuda.is_available():
        return None
    # JAX rounds to TF32 unless it is told otherwise, PyTorch in convolutions alone.
    rounded = config.jax_default_matmul_precision not in ("highest", "float32")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = rounded
    return torch


def on_device(array: Any) -> Any:
    """A tensor of PyTorch's with these numbers, or a module of its, there where JAX computes."""
    import torch

    value = array if isinstance(array, torch.nn.Module) else torch.tensor(np.asarray(array))
    return value.to("cuda") if jax.default_backend() == "gpu" else value


def as_result(tensors: Any) -> Any:
    """Tensors as what a side returns: as NumPy's where they are in the processor's memory; on the GPU they stay, to be
    waited for at the end of a round, as JAX's are."""
    if any(tensor.is_cuda for tensor in tensors):
        return _OnGPU()
    return [tensor.detach().numpy() for tensor in tensors]


class _OnGPU:
    """All that PyTorch was asked for, which `jax.block_until_ready` waits for."""

    def block_until_ready(self) -> "_OnGPU":
        import torch

        torch.cuda.synchronize()
        return self
