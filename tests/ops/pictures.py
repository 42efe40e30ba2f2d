"""A picture in both layouts, and an op beside PyTorch's: value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.compare import check_backward


def channels_first(t):
    """PyTorch's layout, a batch of one."""
    return t.permute(t.ndim - 1, *range(t.ndim - 1))[None]


def channels_last(t):
    return t[0].permute(*range(1, t.ndim - 1), 0)


def check_beside_torch(torch, op, theirs, *args, rtol=1e-11, **static):
    """`theirs` is a function of the floating-point leaves of args, as tensors in the layout of args."""
    y, dy, cotangents = check_backward(op, *args, **static)
    leaves = [leaf for leaf in jax.tree.leaves(args) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    tensors = [torch.tensor(np.asarray(leaf), requires_grad=True) for leaf in leaves]
    want = theirs(*tensors)
    want.backward(torch.tensor(np.asarray(dy)))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=rtol, atol=1e-12)
    for cotangent, tensor in zip(cotangents, tensors, strict=True):
        np.testing.assert_allclose(cotangent, tensor.grad.numpy(), rtol=rtol, atol=1e-11)
