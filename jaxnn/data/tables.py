"""Real data that come with scikit-learn, and so need no file."""

from typing import NamedTuple

import numpy as np

from jaxnn.data.extra import import_extra

__all__ = ["BreastCancer", "Digits", "load_breast_cancer", "load_digits"]


class Digits(NamedTuple):
    """Handwritten digits.

    x: (1797, 8, 8) float64, ink in [0, 1]; 0 is paper.
    y: (1797,) int64, the digit 0..9.
    """

    x: np.ndarray
    y: np.ndarray


class BreastCancer(NamedTuple):
    """Cell nuclei measured in images of breast tumours.

    x: (569, 30) float64, each feature in its own unit: `standardize` them after splitting.
    y: (569,) int64, 0 for malignant and 1 for benign.
    feature_names: of the 30 columns.
    """

    x: np.ndarray
    y: np.ndarray
    feature_names: tuple[str, ...]


def load_digits() -> Digits:
    """The 1,797 test digits of the UCI set, 8 by 8 pixels of 17 grey levels, scaled to [0, 1].

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.
    Source: Alpaydin & Kaynak (1998), Optical Recognition of Handwritten Digits, UCI repository.
    """
    data = import_extra("sklearn.datasets", "load_digits").load_digits()
    return Digits(data.images / 16.0, data.target.astype(np.int64))


def load_breast_cancer() -> BreastCancer:
    """The Wisconsin diagnostic set: 212 malignant and 357 benign tumours, 30 features.

    Raises:
      ModuleNotFoundError: scikit-learn is not installed.
    Source: Street, Wolberg & Mangasarian (1993), Nuclear feature extraction for breast tumor
      diagnosis.
    """
    data = import_extra("sklearn.datasets", "load_breast_cancer").load_breast_cancer()
    names = tuple(str(name) for name in data.feature_names)
    return BreastCancer(data.data, data.target.astype(np.int64), names)
