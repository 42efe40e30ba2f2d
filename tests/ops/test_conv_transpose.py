"""Transposed convolution: against PyTorch, and as the transpose of the convolution whose geometry is its own."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import conv, conv_transpose
from tests.compare import assert_close, check_backward

RNG = np.random.default_rng(1)

# spatial sizes of x, of the kernel, then stride, padding, dilation, groups, output padding
GEOMETRIES = [
    ((3, 4), (3, 2), 1, 0, 1, 1, 0), ((3, 4), (2, 2), 2, 0, 1, 1, 0), ((3, 2), (3, 3), 2, 1, 1, 1, 1),
    ((4, 3), (4, 3), (2, 3), (1, 0), 1, 1, (1, 2)), ((3, 3), (2, 3), 2, 1, (2, 1), 1, 0),
    ((3, 4), (3, 3), 2, 1, 1, 2, 0),
    ((3, 3), (2, 2), 3, 0, 1, 4, 2), ((4,), (3,), 2, 1, 2, 1, 1), ((2, 3, 2), (2, 1, 3), (1, 2, 2), (0, 0, 1), 1, 2, 0),
]


def make(size, window, groups, n_in=None, n_out=None):
    n_in, n_out = n_in or max(groups, 2), n_out or (2 * groups if groups == 2 else max(groups, 3))
    return ({"kernel": RNG.standard_normal((*window, n_in // groups, n_out)), "bias": RNG.standard_normal(n_out)},
            RNG.standard_normal((*size, n_in)))


@pytest.mark.sampled
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.usefixtures("x64")
def test_against_pytorch(geometry, torch):
    size, window, stride, padding, dilation, groups, more = geometry
    rank = len(size)
    params, x = make(size, window, groups)
    options = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "output_padding": more}
    got, dy, (dbias, dkernel, dx) = check_backward(conv_transpose, params, x, **options)

    def to_torch(a):
        return torch.tensor(np.moveaxis(np.asarray(a), -1, 0).copy(), requires_grad=True)

    def grouped(kernel):
        """(..., n_in / groups, n_out) as PyTorch has it: (n_in, n_out / groups, ...), a group after the other."""
        parts = np.split(np.asarray(kernel), groups, -1)
        return np.concatenate([part.transpose(rank, rank + 1, *range(rank)) for part in parts])

    kernel, bias, t = torch.tensor(grouped(params["kernel"]), requires_grad=True), to_torch(params["bias"]), to_torch(x)
    function = getattr(torch.nn.functional, f"conv_transpose{rank}d")
    y = function(t[None], kernel, bias, stride, padding, more, groups, dilation)[0]
    y.backward(to_torch(dy).detach())
    np.testing.assert_allclose(got, np.moveaxis(y.detach().numpy(), 0, -1), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dx, np.moveaxis(t.grad.numpy(), 0, -1), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(dbias, bias.grad.numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(grouped(dkernel), kernel.grad.numpy(), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(("window", "stride", "padding", "out"), [
    ((3, 3), 2, "SAME", (6, 8)), ((2, 4), (2, 3), "same", (6, 12)), ((1, 2), 3, "SAME", (9, 12)),
    ((4, 3), 2, "SAME_LOWER", (6, 8)), ((3, 2), 2, "VALID", (7, 8)), ((2, 2), 1, ((1, 0), (0, 2)), (3, 3)),
], ids=str)
@pytest.mark.usefixtures("x64")
def test_paddings_in_words(window, stride, padding, out):
    """The size that each word promises; and <conv_transpose(x), z> = <x, conv(z)>, the kernel's channels exchanged."""
    params, x = make((3, 4), window, 1, 2, 3)
    free = {"kernel": params["kernel"]}
    y = conv_transpose(free, x, stride=stride, padding=padding)
    assert y.shape == (*out, 3)
    z = RNG.standard_normal(y.shape)
    back = conv({"kernel": np.swapaxes(params["kernel"], -1, -2)}, z, stride=stride, padding=padding)
    assert back.shape == x.shape
    assert_close(jnp.vdot(y, z), jnp.vdot(x, back))


def test_gradient_of_an_argument_left_out():
    params, x = jax.tree.map(np.float32, make((3,), (2,), 1))
    free = {"kernel": params["kernel"]}
    assert set(jax.eval_shape(jax.grad(lambda p: jnp.sum(conv_transpose(p, x))), free)) == {"kernel"}


K = jnp.ones((3, 3, 2, 4))


@pytest.mark.parametrize(("x", "static", "words"), [
    (jnp.ones((5, 5, 3)), {}, "conv_transpose expects x of shape (height, width, 2); got (5, 5, 3)"),
    (jnp.ones((2, 5, 5)), {}, "the channels come last"),
    (jnp.ones((5, 5, 2)), {"output_padding": 1}, "output_padding, one for each of 2 axes, at least 0 and below the "
     "stride (1, 1); got 1"),
    (jnp.ones((5, 5, 2)), {"output_padding": (1,), "stride": 2}, "output_padding, one for each of 2 axes"),
    (jnp.ones((5, 5, 2)), {"output_padding": -1, "stride": 2}, "output_padding, one for each of 2 axes"),
    (jnp.ones((1, 5, 2)), {"padding": 2},
     "conv_transpose expects padding that leaves a place of y; got ((2, 2), (2, 2))"),
    (jnp.ones((5, 5, 2)), {"padding": "FULL"}, "conv_transpose expects padding to be 'VALID', 'SAME', 'SAME_LOWER', a"),
])
def test_errors(x, static, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        conv_transpose({"kernel": K}, x, **static)
