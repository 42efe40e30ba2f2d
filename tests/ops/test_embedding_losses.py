"""Unit vectors and the losses of embeddings: against PyTorch and loops, at their kinks, at the edges; errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import contrastive_loss, cosine_margin_loss, l2_normalize, triplet_loss
from tests.compare import check_backward
from tests.ops.pictures import check_beside_torch

RNG = np.random.default_rng(5)
A, P, N = RNG.standard_normal((3, 5, 4))
LABELS = np.array([0, 2, 1, 2, 0])


@pytest.mark.usefixtures("x64")
def test_l2_normalize_against_pytorch(torch):
    check_beside_torch(torch, l2_normalize, lambda x: torch.nn.functional.normalize(x, dim=-1), A)
    check_beside_torch(torch, l2_normalize, lambda x: torch.nn.functional.normalize(x, dim=-1, eps=3.0), A, eps=3.0)


def test_a_vector_without_a_direction_and_one_whose_squares_overflow():
    y, pull_back = jax.vjp(l2_normalize, jnp.array([[0.0, 0.0], [3e30, -4e30], [3e-30, 4e-30]]))
    np.testing.assert_allclose(y, [[0, 0], [0.6, -0.8], [3e-18, 4e-18]], rtol=1e-6)
    np.testing.assert_allclose(pull_back(jnp.ones((3, 2)))[0][0], 1e12, rtol=1e-6)
    assert np.isnan(l2_normalize(jnp.array([1.0, jnp.nan]))).all()


@pytest.mark.parametrize(("distance", "margin"), [("squared", 1.0), ("euclidean", 0.5)])
@pytest.mark.usefixtures("x64")
def test_triplets_against_pytorch(distance, margin, torch):
    def theirs(a, p, n):
        if distance == "euclidean":
            return torch.nn.functional.triplet_margin_loss(a, p, n, margin, eps=0.0, reduction="sum")
        return torch.relu((a - p).square().sum(-1) - (a - n).square().sum(-1) + margin).sum()

    assert 0 < np.count_nonzero(triplet_loss(A, P, N, margin=margin, distance=distance, axes=())) < len(A)
    check_beside_torch(torch, triplet_loss, theirs, A, P, N, margin=margin, distance=distance)


@pytest.mark.usefixtures("x64")
def test_contrastive_against_pytorch(torch):
    same = np.array([True, False, False, True, False])

    def theirs(a, b):
        d = torch.linalg.norm(a - b, dim=-1)
        return (torch.where(torch.tensor(same), d.square(), torch.relu(3.0 - d).square()) / 2).sum()

    check_beside_torch(torch, contrastive_loss, theirs, A, P, same, margin=3.0)


@pytest.mark.usefixtures("x64")
def test_cosine_margin_against_pytorch(torch):
    of, weight = torch.nn.functional, RNG.standard_normal((3, 4))

    def theirs(w, x):
        labels = torch.tensor(LABELS)
        cosines = of.normalize(x, dim=-1) @ of.normalize(w, dim=-1).T
        return of.cross_entropy(5.0 * (cosines - 0.3 * of.one_hot(labels, 3).double()), labels, reduction="sum")

    check_beside_torch(torch, cosine_margin_loss, theirs, {"weight": weight}, A, LABELS, scale=5.0, margin=0.3)


@pytest.mark.usefixtures("x64")
def test_weights_and_reductions():
    """ℓ of each triplet, weighed and summed, is the loss; so is its gradient, that of the weights included."""
    w = np.array([1.0, 0.0, 2.0, -1.0, 0.5])
    each = triplet_loss(A, P, N, margin=2.0, axes=())
    y, *_ = check_backward(triplet_loss, A, P, N, w, margin=2.0)
    np.testing.assert_allclose(y, w @ each)
    np.testing.assert_allclose(triplet_loss(A, P, N, margin=2.0, reduction="mean"), each.mean())
    same = np.array([True, False, True, False, True])
    check_backward(contrastive_loss, A, P, same, w, margin=3.0, axes=())
    check_backward(cosine_margin_loss, {"weight": A[:3]}, P, LABELS, w, scale=3.0, reduction="mean")


@pytest.mark.sampled
@pytest.mark.parametrize(("f", "slopes"), [
    # at D(a, p) - D(a, n) + m = 0 the loss has not begun
    (lambda a: triplet_loss(a, jnp.zeros(2), jnp.array([2.0, 0.0]), margin=0.0), [0, 0]),
    # a = p: the distance to p has the slope 0, that to n the slope u
    (lambda a: triplet_loss(a, jnp.array([1.0, 0.0]), jnp.array([2.0, 0.0]), margin=2.0, distance="euclidean"), [1, 0]),
    (lambda a: contrastive_loss(a, jnp.array([1.0, 0.0]), False), [0, 0]),
    (lambda a: contrastive_loss(a, jnp.array([1.0, 0.0]), True), [0, 0]),
    (lambda a: contrastive_loss(a, jnp.array([0.0, 0.0]), False, margin=1.0), [0, 0]),
], ids=["triplet at its margin", "anchor on positive", "two classes in one place", "one class in one place",
        "contrastive at its margin"])
def test_kinks(f, slopes):
    """The rule and autodiff of the forward pass take the same slope."""
    a = jnp.array([1.0, 0.0])
    np.testing.assert_array_equal(jax.grad(f)(a), slopes)
    _, tangent = jax.jvp(f, (a,), (jnp.array([1.0, 1.0]),))
    assert tangent == sum(slopes)


def test_a_collapsed_embedding_has_the_loss_of_the_margin_and_no_gradient():
    e = jnp.ones((4, 3))
    loss, slopes = jax.value_and_grad(lambda e: triplet_loss(e, e, e, margin=0.2, reduction="mean"))(e)
    np.testing.assert_allclose(loss, 0.2)
    assert not np.any(slopes)


def test_laws():
    """What reaches the three sums to nothing; what reaches a direction is at right angles to that direction."""
    grads = jax.grad(lambda a, p, n: triplet_loss(a, p, n, margin=3.0), (0, 1, 2))(A, P, N)
    np.testing.assert_allclose(sum(grads), 0, atol=1e-5)
    dparams, dx = jax.grad(lambda p, x: cosine_margin_loss(p, x, LABELS), (0, 1))({"weight": A[:3]}, P)
    np.testing.assert_allclose(np.sum(dx * P, -1), 0, atol=1e-4)
    np.testing.assert_allclose(np.sum(dparams["weight"] * A[:3], -1), 0, atol=1e-4)
    far = cosine_margin_loss({"weight": jnp.eye(3)}, 7 * jnp.eye(3), jnp.arange(3), scale=64.0, axes=())
    np.testing.assert_allclose(far, np.log1p(2 * np.exp(-64 * (1 - 0.35))), atol=1e-6)


def test_one_number_for_weights_goes_by_its_name():
    a, b = A[0], P[0]
    for same in (True, False):
        once = contrastive_loss(a, b, same, margin=3.0)
        np.testing.assert_allclose(contrastive_loss(a, b, same, weights=2.0, margin=3.0), 2 * once, rtol=1e-6)
        np.testing.assert_allclose(contrastive_loss(a, b, same, jnp.float32(2), margin=3.0), 2 * once, rtol=1e-6)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: triplet_loss(A, P[:1], N), "triplet_loss expects positive of the shape of anchor (5, 4); got (1, 4); "
     "reshape one: JAX would broadcast them"),
    (lambda: triplet_loss(A, P, N, margin=jnp.inf), "triplet_loss expects a finite margin; got inf"),
    (lambda: triplet_loss(A, P, N, distance="cosine"), "expects distance 'squared' or 'euclidean'; got 'cosine'; "
     "a margin on a squared distance is no margin on the distance"),
    (lambda: contrastive_loss(A, P, LABELS), "contrastive_loss expects booleans as same, True where a and b are of one "
     "class; got int"),
    (lambda: contrastive_loss(A, P, LABELS == 0, margin=0), "contrastive_loss expects a finite margin > 0; got 0"),
    (lambda: cosine_margin_loss({"weight": A[:2]}, P, LABELS), "cosine_margin_loss expects labels in 0 .. 1; got "
     "values from 0 to 2; count classes from 0"),
    (lambda: cosine_margin_loss({"weight": A[:3, :2]}, P, LABELS), "cosine_margin_loss expects x of shape (..., 2)"),
    (lambda: l2_normalize(jnp.ones(3), eps=0), "l2_normalize expects a finite eps > 0; got 0"),
    (lambda: l2_normalize(jnp.ones(())), "l2_normalize expects x of shape"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
