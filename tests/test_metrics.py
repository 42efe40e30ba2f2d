"""Accuracy, confusion matrix and intersection over union, against scikit-learn and by their refusals."""

import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.metrics import accuracy, confusion_matrix, intersection_over_union


def test_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.RandomState(0)
    predictions, labels = random.randint(0, 5, (2, 200))
    assert accuracy(predictions, labels) == pytest.approx(metrics.accuracy_score(labels, predictions))
    wanted = metrics.confusion_matrix(labels, predictions, labels=range(5))
    np.testing.assert_array_equal(confusion_matrix(predictions, labels, 5), wanted)


def test_the_matrix_holds_each_example_once_and_the_right_ones_on_its_diagonal():
    predictions, labels = np.array([0, 2, 2, 1]), np.array([0, 2, 1, 1])
    counts = confusion_matrix(predictions, labels, 3)
    assert counts.sum() == 4
    assert np.trace(counts) / 4 == accuracy(predictions, labels)
    assert counts[1, 2] == 1  # of class 1, predicted as 2


@pytest.mark.parametrize(("predictions", "labels"), [
    (np.zeros((3, 1), int), np.zeros(3, int)),  # would broadcast to (3, 3)
    (np.zeros(3, int), np.zeros(2, int)),
    (np.zeros(0, int), np.zeros(0, int)),
    (np.zeros((3, 4)), np.zeros(3, int)),
])
def test_shapes_that_do_not_fit_are_refused(predictions, labels):
    with pytest.raises(InputError, match=r"expects predictions and labels of one shape \(B,\), B >= 1; got"):
        accuracy(predictions, labels)
    with pytest.raises(InputError, match=r"confusion_matrix expects predictions and labels of one shape"):
        confusion_matrix(predictions, labels, 4)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0]])
def test_classes_that_are_none_are_refused(labels):
    with pytest.raises(InputError, match=r"confusion_matrix expects integer classes in 0 \.\. 2; got"):
        confusion_matrix([0, 1], labels, 3)


def test_probabilities_are_no_classes():
    """Each would count as wrong, or as right where it is 1.0."""
    for metric in (accuracy, lambda p, y: confusion_matrix(p, y, 2)):
        with pytest.raises(InputError, match=r"expects classes as labels, integers or text; got float64 such as"):
            metric([0, 1], [0.5, 0.0])
    assert accuracy([0.0, 1.0], [0, 1]) == 1.0


def test_intersection_over_union():
    """Against scikit-learn's Jaccard index; the course's squares, 1 of 7, as two classes of pixels."""
    metrics = pytest.importorskip("sklearn.metrics")
    predictions, labels = np.random.RandomState(0).randint(0, 4, (2, 300))
    counts = confusion_matrix(predictions, labels, 5)
    got = intersection_over_union(counts)
    np.testing.assert_allclose(got[:4], metrics.jaccard_score(labels, predictions, average=None))
    assert np.isnan(got[4])  # there is none of it, and none is called so
    squares = np.zeros((2, 5, 5), int)
    squares[0, 1:3, 2:4] = squares[1, 2:4, 1:3] = 1
    assert intersection_over_union(confusion_matrix(squares[0].ravel(), squares[1].ravel(), 2))[1] == 1 / 7


@pytest.mark.parametrize(("counts", "message"), [
    (np.zeros((2, 3), int), r"counts of shape \(n_classes, n_classes\); got \(2, 3\); take them from confusion_matrix"),
    (np.zeros(4, int), r"counts of shape"),
    (np.eye(2) / 2, r"counts, integers >= 0; got float64"),
    (np.array([[1, -1], [0, 1]]), r"counts, integers >= 0; got int64 from -1"),
])
def test_counts_that_are_none(counts, message):
    with pytest.raises(InputError, match=message):
        intersection_over_union(counts)
