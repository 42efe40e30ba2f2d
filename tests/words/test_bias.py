"""Neutralize, equalize and the direction by their laws; WEAT by all partitions; clusters and a classifier."""

import itertools

import numpy as np
import pytest
import sklearn.cluster
import sklearn.decomposition
import sklearn.linear_model

from jaxnn import InputError
from jaxnn.words import (
    WordVectors,
    association,
    bias_direction,
    classifier_accuracy,
    cluster_agreement,
    cosine,
    debias,
    equalize,
    neutralize,
)

RNG = np.random.default_rng(0)
NAMES = [f"w{i}" for i in range(20)]
VECTORS = WordVectors(NAMES, RNG.standard_normal((20, 6)))
PAIRS = [("w0", "w1"), ("w2", "w3"), ("w4", "w5")]


def test_what_is_neutral_has_no_part_along_the_direction():
    e, g = RNG.standard_normal((3, 6)), RNG.standard_normal(6)
    neutral = neutralize(e, g)
    np.testing.assert_allclose(neutral @ g, 0, atol=1e-14)
    rest = e - neutral
    np.testing.assert_allclose(rest, np.outer(rest @ g / (g @ g), g), atol=1e-12)
    np.testing.assert_allclose(neutralize(e[0], 7 * g), neutral[0])


def test_what_is_equal_has_length_1_and_is_as_far_from_all_that_is_neutral():
    a, b, g = RNG.standard_normal((3, 6))
    x, y = equalize(a, b, g)
    assert np.linalg.norm(x) == pytest.approx(1) == np.linalg.norm(y)
    assert x @ g == pytest.approx(-y @ g)
    assert np.sign((a / np.linalg.norm(a) - b / np.linalg.norm(b)) @ g) == np.sign(x @ g)
    neutral = neutralize(RNG.standard_normal((5, 6)), g)
    np.testing.assert_allclose(neutral @ x, neutral @ y)
    np.testing.assert_allclose(neutralize(x, g), neutralize((a / np.linalg.norm(a) + b / np.linalg.norm(b)) / 2, g))


def test_the_direction_is_sklearns_first_component():
    found = bias_direction(VECTORS, PAIRS)
    unit = VECTORS.unit
    rows = []
    for a, b in PAIRS:
        middle = (unit[VECTORS.index[a]] + unit[VECTORS.index[b]]) / 2
        rows += [unit[VECTORS.index[a]] - middle, unit[VECTORS.index[b]] - middle]
    pca = sklearn.decomposition.PCA().fit(np.array(rows))
    assert abs(cosine(found.vector, pca.components_[0])) == pytest.approx(1)
    np.testing.assert_allclose(found.shares[:3], pca.explained_variance_ratio_[:3], atol=1e-12)
    assert sum((unit[VECTORS.index[a]] - unit[VECTORS.index[b]]) @ found.vector for a, b in PAIRS) > 0


def test_debias_moves_what_it_should():
    g = bias_direction(VECTORS, PAIRS).vector
    after = debias(VECTORS, g, specific=["w6", "unknown"], pairs=[*PAIRS, ("w7", "unknown")])
    kept = VECTORS.index["w6"]
    np.testing.assert_allclose(after.matrix[kept], VECTORS.unit[kept])
    np.testing.assert_allclose(after.matrix[7:] @ g, 0, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(after.matrix, axis=1), 1)
    for a, b in PAIRS:
        assert after.similarity(a, "w9") == pytest.approx(after.similarity(b, "w9"))
    np.testing.assert_array_equal(VECTORS.matrix[0], VECTORS["w0"])


def test_association_by_all_partitions():
    x, y, a, b = NAMES[:3], NAMES[3:6], NAMES[6:9], NAMES[9:14]
    s = {w: np.mean([VECTORS.similarity(w, v) for v in a]) - np.mean([VECTORS.similarity(w, v) for v in b])
         for w in x + y}
    effect = (np.mean([s[w] for w in x]) - np.mean([s[w] for w in y])) / np.std(list(s.values()), ddof=1)
    sums = [sum(s[w] for w in part) for part in itertools.combinations(x + y, 3)]
    found = association(VECTORS, (x, y), (a, b))
    assert found.effect == pytest.approx(effect) and found.is_exact
    assert found.p == pytest.approx(np.mean([v >= sum(s[w] for w in x) - 1e-12 for v in sums]))
    drawn = association(VECTORS, (x, y), (a, b), most=19, seed=1)
    assert not drawn.is_exact and abs(drawn.p - found.p) < 0.4
    assert association(VECTORS, (y, x), (a, b)).effect == pytest.approx(-effect)


def test_clusters_and_a_classifier_beside_sklearns():
    labels = np.arange(60) % 2
    x = RNG.standard_normal((60, 4)) + 1.2 * labels[:, None]
    theirs = sklearn.cluster.KMeans(2, n_init=10, random_state=0).fit_predict(x)
    share = np.mean(theirs == labels)
    assert cluster_agreement(x, labels) == pytest.approx(max(share, 1 - share))
    assert cluster_agreement(x + 100 * labels[:, None], labels) == 1.0
    fold = np.random.default_rng(0).permutation(60) % 5
    right = sum(int(np.sum(sklearn.linear_model.RidgeClassifier(alpha=1.0).fit(x[fold != k], labels[fold != k]).predict(
        x[fold == k]) == labels[fold == k])) for k in range(5))
    assert classifier_accuracy(x, labels) == pytest.approx(right / 60)
    assert abs(classifier_accuracy(RNG.standard_normal((300, 4)), np.arange(300) % 2) - 0.5) < 0.15


@pytest.mark.parametrize(("call", "message"), [
    (lambda: bias_direction(VECTORS, []), "at least one pair; got none"),
    (lambda: bias_direction(VECTORS, [("w0", "nobody")]), "words that have vectors; got 'nobody'; leave it out"),
    (lambda: neutralize(np.ones(3), np.zeros(3)), "a direction (n_dim,) that is not zero"),
    (lambda: neutralize(np.ones(4), np.ones(3)), "vectors of 3 numbers, as the direction; got shape (4,)"),
    (lambda: equalize([1.0, 0.0], [0.0, 1.0], [1.0, 1.0]), "two vectors that differ along the direction"),
    (lambda: association(VECTORS, (["w0"], ["w1"]), (["w2"], ["w3"])), "at least two; got 1 and 1"),
    (lambda: association(VECTORS, (["w0", "w1"], ["w2", "w3"]), ([], ["w3"])), "attributes, two lists of words"),
    (lambda: classifier_accuracy(np.ones((3, 2)), [0, 1, 2]), "labels, (3,) of 0 and 1"),
    (lambda: cluster_agreement(np.ones(3), [0, 1, 1]), "x, (n, n_dim) floating-point numbers"),
])
def test_refusals(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
