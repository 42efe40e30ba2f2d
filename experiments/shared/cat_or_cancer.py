"""The two sets of examples for logistic regression and the deep network."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.shared.data import real_or_embedded
from experiments.shared.run import say
from jaxnn.data import load_breast_cancer, load_cat, pixels_to_rows, split, standardize

CHOICES = ("auto", "cat", "breast-cancer")
WHY = "the course's cat photographs where their files are found, else the breast cancer table"


class Examples(NamedTuple):
    """Examples as rows, labels 0 and 1, and what they are called.

    train_x, test_x: (n, n_features) float64. train_y, test_y: (n,) int64.
    pictures: the test photographs (n, 64, 64, 3), None for a table.
    features: the names of the columns, () for pixels.
    """

    name: str
    classes: tuple[str, str]
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    pictures: np.ndarray | None
    features: tuple[str, ...]


def load(name: str, data_dir: Path | None, seed: int) -> Examples:
    """The examples by name, one of CHOICES; "auto" prints a line where the table takes the place of the photographs.

    Raises:
      MissingData: the photographs were asked for and are not there.
      BadFile: they are there and damaged.
    """
    examples = real_or_embedded(name, "cat", lambda: cat(data_dir), lambda: breast_cancer(seed),
                                "breast cancer in place of the cat photographs")
    say(f"{examples.name}: {len(examples.train_x)} training and {len(examples.test_x)} test examples of "
        f"{examples.train_x.shape[1]:,} features")
    return examples


def cat(data_dir: Path | None) -> Examples:
    photographs = load_cat(data_dir, instead="--data breast-cancer")
    return Examples("cat", ("no cat", "cat"), pixels_to_rows(photographs.train_x), photographs.train_y,
                    pixels_to_rows(photographs.test_x), photographs.test_y, photographs.test_x, ())


def breast_cancer(seed: int) -> Examples:
    x, y, features = load_breast_cancer()
    parts = split(len(x), (0.7, 0.1, 0.2), seed=seed, labels=y)
    test = np.concatenate([parts.dev, parts.test])  # nothing is chosen here, so no dev set is needed
    train_x, test_x = standardize(x[parts.train], x[test])
    return Examples("breast-cancer", ("malignant", "benign"), train_x, y[parts.train], test_x, y[test],
                    None, features)
