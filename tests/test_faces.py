"""Verification and identification: curves against scikit-learn, kinds of distance, collapse, hard triplets."""

import re

import numpy as np
import pytest

from jaxnn.faces import (
    Distances,
    Threshold,
    all_pairs,
    choose_threshold,
    collapse,
    distances,
    hardest_triplets,
    identify,
    one_shot,
    roc,
    same_person,
)
from jaxnn.ops import l2_normalize, triplet_loss

RNG = np.random.default_rng(0)
PEOPLE = np.repeat(np.arange(5), 4)
E = RNG.standard_normal((5, 6))[PEOPLE] + 0.7 * RNG.standard_normal((20, 6))


def test_the_curve_is_scikit_learns():
    metrics = pytest.importorskip("sklearn.metrics")
    found, same = all_pairs(np.round(E, 1), PEOPLE)
    found = Distances(np.round(found.values, 1), found.kind)  # with ties
    curve = roc(found, same)
    np.testing.assert_allclose(curve.area, metrics.roc_auc_score(same, -found.values), rtol=1e-12)
    fpr, tpr, _ = metrics.roc_curve(same, -found.values, drop_intermediate=False)
    np.testing.assert_allclose(np.append(0, curve.accepted_other), fpr)
    np.testing.assert_allclose(np.append(0, curve.accepted_same), tpr)


def test_by_hand():
    found, same = Distances(np.array([0.1, 0.5, 0.3, 0.9]), "euclidean"), np.array([True, True, False, False])
    curve = roc(found, same)
    assert curve.area == 0.75 and curve.equal_error == 0.5
    perfect = roc(Distances(found.values, "euclidean"), np.array([True, True, True, False]))
    assert perfect.area == 1 and perfect.equal_error == 0
    assert choose_threshold(found, np.array([True, True, True, False])) == Threshold(0.7, "euclidean")


def test_kinds_of_distance_are_not_mixed_up():
    a, b = distances(E[:3], E[3:5]), distances(E[:3], E[3:5], "squared")
    np.testing.assert_allclose(a.values, np.linalg.norm(E[:3, None] - E[3:5], axis=-1))
    np.testing.assert_allclose(b.values, a.values**2)
    threshold = Threshold(1.5, "euclidean")
    np.testing.assert_array_equal(same_person(a, threshold), same_person(b, threshold.on("squared")))
    assert threshold.on("squared").on("euclidean") == threshold
    words = ("expects distance and threshold of one kind; got squared distances and a threshold of 1.5 for euclidean "
             "ones; pass threshold.on('squared'), 2.25")
    with pytest.raises(ValueError, match=re.escape(words)):
        same_person(b, threshold)


def test_identification():
    found = Distances(np.array([[0.2, 0.9], [0.8, 0.7]]), "euclidean")
    assert identify(found).tolist() == [0, 1]
    assert identify(found, Threshold(0.5, "euclidean")).tolist() == [0, -1]
    rates = one_shot(E, PEOPLE)
    wrong = [np.mean([PEOPLE[min(range(k, 20, 4), key=lambda j, i=i: np.linalg.norm(E[i] - E[j]))] != PEOPLE[i]
                      for i in range(20) if i % 4 != k]) for k in range(4)]
    np.testing.assert_allclose(rates, 1 - np.array(wrong))


def test_a_collapsed_embedding_is_named():
    same = np.asarray(l2_normalize(np.ones((12, 8), np.float32) + 1e-4 * RNG.standard_normal((12, 8)).astype("f4")))
    loss = float(triplet_loss(same[:4], same[4:8], same[8:], margin=0.2, reduction="mean"))
    words = collapse(same, loss, 0.2)
    assert words.startswith("the embedding has collapsed: the loss 0.2 is the margin 0.2, and the mean squared "
                            "distance of its 12 points is ")
    assert "the mean euclidean distance" in collapse(same, 0.2, 0.2, "euclidean")
    assert collapse(same, 0.05, 0.2) is None  # at another loss it is none
    assert collapse(E, 0.2, 0.2) is None  # nor where embeddings differ


def test_the_triplets_that_pull_hardest():
    """The worst is the worst of all triplets; its pull is the length of the derived gradient, by finite differences."""
    e = E.astype(np.float32)
    hard = hardest_triplets(e, PEOPLE, margin=0.5, n=3)
    all_losses = {(a, p, n): float(np.sum((E[a] - E[p]) ** 2) - np.sum((E[a] - E[n]) ** 2) + 0.5)
                  for a in range(20) for p in range(20) for n in range(20)
                  if a != p and PEOPLE[a] == PEOPLE[p] != PEOPLE[n]}
    worst = max(all_losses, key=all_losses.get)
    assert tuple(hard.places[0]) == worst and np.all(np.diff(hard.losses) <= 0)
    np.testing.assert_allclose(hard.losses[0], all_losses[worst], rtol=1e-5)
    a, p, n = E[list(worst)]
    np.testing.assert_allclose(hard.pulls[0], 2 * np.sqrt(np.sum((n - p) ** 2) + np.sum((a - p) ** 2)
                                                          + np.sum((a - n) ** 2)), rtol=1e-5)
    assert len(hardest_triplets(10 * np.eye(5, dtype=np.float32)[PEOPLE], PEOPLE).places) == 0


@pytest.mark.parametrize(("call", "words"), [
    (lambda: roc(Distances(np.ones(3), "squared"), np.ones(3, bool)), "expects pairs of one person and pairs of two"),
    (lambda: roc(Distances(np.array([1, np.nan]), "squared"), np.array([True, False])), "expects finite distances"),
    (lambda: distances(E, E[:, :2]), "expects a (n, features) and b (m, features); got (20, 6) and (20, 2)"),
    (lambda: distances(E, E, "cosine"), "expects distance 'squared' or 'euclidean'; got 'cosine'"),
    (lambda: one_shot(E[:4], PEOPLE[:4]), "expects at least two people with two pictures each"),
    (lambda: one_shot(E, PEOPLE[:4]), "expects embeddings (n, features) and people (n,)"),
    (lambda: hardest_triplets(E[:4], PEOPLE[:4]), "expects at least two people, one of them with two pictures"),
    (lambda: identify(Distances(np.zeros((2, 0)), "squared")), "to at least one known picture"),
])
def test_errors(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
