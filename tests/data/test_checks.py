"""What check_examples lets through, and each sentence with which it does not."""

import numpy as np
import pytest

from jaxnn.data import check_examples

X = np.ones((3, 2))
Y = np.array([0, 1, 2])


def x_with(value):
    x = np.ones((3, 2), np.float32)
    x[1, 0] = x[2, 1] = value
    return x


@pytest.mark.parametrize(("x", "y", "n_classes"), [
    (X, None, None),
    (X, Y, None),
    (X, Y, 3),
    (X.tolist(), Y.tolist(), 3),
    (X.astype(np.uint8), Y.astype(np.uint8), 3),
    (X.astype(bool), Y.astype(np.int8), 3),
    (np.ones((1, 4, 4, 3)), [0], 1),
    (np.ones(3), Y, 3),
])
def test_accepts(x, y, n_classes):
    assert check_examples(x, y, n_classes=n_classes) is None


@pytest.mark.parametrize(("x", "y", "n_classes", "kind", "message"), [
    (1.0, None, None, ValueError,
     "x of shape (B, ...) with B >= 1; got shape (); check what selected these examples"),
    (X[:0], None, None, ValueError,
     "x of shape (B, ...) with B >= 1; got shape (0, 2); check what selected these examples"),
    (np.array(["a", "b"]), None, None, TypeError, "x of numbers; got dtype <U1; convert it"),
    (np.array([None]), None, None, TypeError, "x of numbers; got dtype object; convert it"),
    (x_with(np.nan), None, None, ValueError,
     "x of finite numbers; got 2 NaN or infinite, the first at index (1, 0); drop or impute them"),
    (x_with(np.inf), Y, None, ValueError,
     "x of finite numbers; got 2 NaN or infinite, the first at index (1, 0); drop or impute them"),
    (X, Y[:, None], None, ValueError, "y of shape (3,); got shape (3, 1); pass y[:, 0]"),
    (X, np.eye(3), None, ValueError,
     "y of shape (3,); got shape (3, 3); pass class numbers, y.argmax(axis=-1) of one-hot labels"),
    (X, 1, None, ValueError,
     "y of shape (3,); got shape (); pass class numbers, y.argmax(axis=-1) of one-hot labels"),
    (X, Y[:2], None, ValueError,
     "as many labels in y as the 3 examples in x; got 2; select x and y with the same indices"),
    (X, Y.astype(float), None, TypeError,
     "y of an integer dtype; got dtype float64; pass y.astype(int) if these are class numbers"),
    (X, Y > 0, None, TypeError,
     "y of an integer dtype; got dtype bool; pass y.astype(int) if these are class numbers"),
    (X, Y, 2, ValueError,
     "labels y in 0..1; got 1 outside, the first 2 at index 2; "
     "number the classes from 0 or correct n_classes"),
    (X, Y - 2, None, ValueError,
     "labels y in 0 or more; got 2 outside, the first -2 at index 0; "
     "number the classes from 0 or correct n_classes"),
])
def test_refuses(x, y, n_classes, kind, message):
    with pytest.raises(kind) as error:
        check_examples(x, y, n_classes=n_classes)
    assert str(error.value) == f"check_examples expects {message}"
