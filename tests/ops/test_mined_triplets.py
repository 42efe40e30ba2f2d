"""Mining in a batch: the chosen triplets and their gradient against loops over all triplets; ties, edges, errors."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.ops import mined_triplet_loss, triplet_loss
from jaxnn.ops.mined_triplets import MINING
from tests.compare import check_backward

RNG = np.random.default_rng(1)
E = RNG.standard_normal((9, 3)) * 0.6
LABELS = np.array([0, 1, 0, 2, 1, 0, 2, 2, 3])


def chosen(e, labels, mining):
    """[(anchor, positive, negative)] by the definitions, in loops; it is the same for both kinds of distance."""
    D = np.linalg.norm(e[:, None] - e, axis=-1)
    n, triplets = range(len(e)), []
    for a in n:
        positives = [p for p in n if p != a and labels[p] == labels[a]]
        negatives = [q for q in n if labels[q] != labels[a]]
        if mining == "all":
            triplets += [(a, p, q) for p, q in itertools.product(positives, negatives)]
        elif mining == "hard" and positives and negatives:
            triplets.append((a, max(positives, key=lambda p: D[a, p]), min(negatives, key=lambda q: D[a, q])))
        elif mining == "semi-hard" and negatives:
            for p in positives:
                farther = [q for q in negatives if D[a, q] > D[a, p]]
                triplets.append((a, p, min(farther, key=lambda q: D[a, q]) if farther
                                 else max(negatives, key=lambda q: D[a, q])))
    return np.array(triplets)


@pytest.mark.sampled
@pytest.mark.parametrize("distance", ["squared", "euclidean"])
@pytest.mark.parametrize("mining", MINING)
@pytest.mark.usefixtures("x64")
def test_against_the_triplets_of_a_loop(mining, distance):
    a, p, n = chosen(E, LABELS, mining).T
    options = {"margin": 0.4, "distance": distance}

    def of_loop(e):
        return triplet_loss(e[a], e[p], e[n], reduction="mean", **options)

    want, slopes = jax.value_and_grad(of_loop)(jnp.asarray(E))
    y, dy, (cotangent,) = check_backward(mined_triplet_loss, E, LABELS, mining=mining, **options)
    np.testing.assert_allclose(y, want, rtol=1e-12)
    np.testing.assert_allclose(cotangent, dy * slopes, rtol=1e-11, atol=1e-13)


def test_the_first_of_equal_distances_counts():
    """Of two equally far positives and two equally near negatives; PyTorch's max and min would share."""
    e = jnp.array([[0.0], [2.0], [-2.0], [1.0], [-1.0]])
    grads = jax.grad(lambda e: mined_triplet_loss(e, jnp.array([0, 0, 0, 1, 2]), margin=1.0, mining="hard"))(e)
    reference = jax.grad(lambda e: mined_triplet_loss.reference(e, jnp.array([0, 0, 0, 1, 2]), margin=1.0,
                                                                mining="hard"))(e)
    np.testing.assert_allclose(grads, reference, rtol=1e-6)
    assert grads[3] != -grads[4]  # anchor 0 has taken embedding 3 alone


@pytest.mark.sampled
@pytest.mark.parametrize("mining", MINING)
def test_edges(mining):
    """One point; no triplet, which only run time shows; NaN."""
    loss, slopes = jax.value_and_grad(lambda e: mined_triplet_loss(e, LABELS, mining=mining))(jnp.ones((9, 2)))
    np.testing.assert_allclose(loss, 0.2, rtol=1e-6)
    assert not np.any(slopes)
    lonely = jax.jit(jax.value_and_grad(lambda e, labels: mined_triplet_loss(e, labels, mining=mining)))
    loss, slopes = lonely(jnp.asarray(E, jnp.float32), np.arange(9))
    assert loss == 0 and not np.any(slopes)
    assert np.isnan(mined_triplet_loss(jnp.asarray(E).at[0, 0].set(jnp.nan), LABELS, mining=mining))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: mined_triplet_loss(E, np.arange(9)), "mined_triplet_loss expects labels of at least two classes, of one "
     "of them two examples; got 9 examples of 9 classes, the largest of 1; draw a batch as several examples of each"),
    (lambda: mined_triplet_loss(E, np.zeros(9, int)), "got 9 examples of 1 classes"),
    (lambda: mined_triplet_loss(E, LABELS[:4]), "mined_triplet_loss expects labels of shape (9,); got (4,)"),
    (lambda: mined_triplet_loss(E, LABELS, mining="semihard"), "expects mining 'all', 'hard' or 'semi-hard'; got "
     "'semihard'"),
    (lambda: mined_triplet_loss(E[0], LABELS), "mined_triplet_loss expects embeddings of shape (examples, features)"),
    (lambda: mined_triplet_loss(E, LABELS.astype(float)), "mined_triplet_loss expects integer labels; got float"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
