"""The sets that come with scikit-learn, against scikit-learn's own arrays and published counts."""

import importlib

import numpy as np
import pytest

from jaxnn.data import load_breast_cancer, load_digits, noisy_moons, read_hdf5

datasets = pytest.importorskip("sklearn.datasets")


def test_digits():
    digits = load_digits()
    assert digits.x.shape == (1797, 8, 8) and digits.x.dtype == np.float64
    assert digits.x.min() == 0 and digits.x.max() == 1
    assert digits.y.dtype == np.int64
    # Counts of the UCI test file, digits 0 to 9.
    assert np.bincount(digits.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    x, y = datasets.load_digits(return_X_y=True)
    np.testing.assert_array_equal(digits.x.reshape(1797, 64) * 16, x)
    np.testing.assert_array_equal(digits.y, y)


def test_breast_cancer():
    cancer = load_breast_cancer()
    assert cancer.x.shape == (569, 30) and cancer.x.dtype == np.float64
    assert cancer.y.dtype == np.int64
    assert np.bincount(cancer.y).tolist() == [212, 357]  # malignant, benign
    assert len(cancer.feature_names) == 30 and cancer.feature_names[0] == "mean radius"
    x, y = datasets.load_breast_cancer(return_X_y=True)
    np.testing.assert_array_equal(cancer.x, x)
    np.testing.assert_array_equal(cancer.y, y)
    # Malignant nuclei are the larger ones, whichever way the labels are read.
    assert cancer.x[cancer.y == 0, 0].mean() > cancer.x[cancer.y == 1, 0].mean()


@pytest.mark.parametrize(("load", "name", "package"), [
    (load_digits, "load_digits", "sklearn"),
    (load_breast_cancer, "load_breast_cancer", "sklearn"),
    (noisy_moons, "make_moons", "sklearn"),
    (lambda: read_hdf5("a.h5", {}), "read_hdf5", "h5py"),
], ids=["digits", "cancer", "moons", "hdf5"])
def test_without_the_package(monkeypatch, load, name, package):
    def missing(module):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(ModuleNotFoundError) as error:
        load()
    message = str(error.value)
    assert message.startswith(f"{name} expects the package {package!r}; got No module named ")
    assert message.endswith("; run: pip install 'jaxnn[experiments]'")
