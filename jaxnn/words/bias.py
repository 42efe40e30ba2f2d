"""A direction of bias in word vectors: found, taken out, and measured.

    direction     the first principal component of pairs such as (she, he), each about its own middle
    neutralize    a word's part along the direction is taken out
    equalize      two words such as (actress, actor) are put at equal distance of everything that is neutral

Taking out one direction takes out what is measured along that direction, and not the bias: words that stood together
because of it still stand together, since their other neighbours did not move. `association` with sets that are not on
the direction, `cluster_agreement` and `classifier_accuracy` show how much is left.
Source: Bolukbasi et al. (2016); Caliskan, Bryson & Narayanan (2017); Gonen & Goldberg (2019).
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import as_numpy, expect, is_integer
from jaxnn.words.vectors import WordVectors

__all__ = [
    "Association",
    "Direction",
    "association",
    "bias_direction",
    "classifier_accuracy",
    "cluster_agreement",
    "debias",
    "equalize",
    "equalize_as_course",
    "neutralize",
]


class Direction(NamedTuple):
    """Of a bias."""

    vector: np.ndarray
    """(n_dim,) of length 1, from the second words of the pairs to the first."""
    shares: np.ndarray
    """Of the pairs' variance, by component, the largest first; a direction stands for the bias if the first is large
    beside the second."""


class Association(NamedTuple):
    """The word embedding association test."""

    effect: float
    """How many standard deviations the first targets are nearer than the second to the first attributes; -2 to 2."""
    p: float
    """The share of partitions of the targets with an effect as large: one-sided."""
    is_exact: bool
    """Whether all partitions were counted, and none drawn."""


def bias_direction(vectors: WordVectors, pairs: Sequence[tuple[str, str]]) -> Direction:
    """The direction that pairs of words have in common.

    Args:
      pairs: of known words; vectors are brought to length 1 first.
    Raises:
      InputError: there is no pair, a word is not known, or the pairs differ by nothing.
    """
    who = "bias_direction"
    expect(len(pairs) > 0, who, "at least one pair", "none")
    unit = vectors.unit.astype(np.float64)
    a, b = (unit[[vectors.index[_known(who, vectors, pair[k])] for pair in pairs]] for k in (0, 1))
    half = (a - b) / 2  # of a pair about its middle the one is this, and the other its negative
    _, s, vt = np.linalg.svd(np.concatenate([half, -half]), full_matrices=False)
    expect(bool(s[0] > 0), who, "pairs of different vectors", "pairs of equal ones")
    sign = 1.0 if float(np.sum(half @ vt[0])) >= 0 else -1.0
    return Direction(sign * vt[0], s**2 / np.sum(s**2))


def neutralize(e: Any, direction: Any) -> np.ndarray:
    """e - g (e·g) / (g·g): a vector (n_dim,) or several (n, n_dim), without their part along g.

    >>> neutralize(np.array([3.0, 4.0]), np.array([0.0, 2.0])).tolist()
    [3.0, 0.0]
    """
    e, g = _with_direction("neutralize", e, direction)
    return e - _along(e, g)


def equalize(a: Any, b: Any, direction: Any) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) at one middle without the direction, and at opposite ends along it, each of length 1.

        ν = μ - μ_B,    a' = ν + √(1 - |ν|²) (a_B - μ_B) / |a_B - μ_B|

    with a, b brought to length 1, μ their mean, and x_B the part of x along the direction.

    Raises:
      InputError: the two are equally far along the direction, so that there is nothing to say which is which.
    """
    who = "equalize"
    a, g = _with_direction(who, a, direction)
    b, _ = _with_direction(who, b, direction)
    a, b = (_of_length_1(who, v) for v in (a, b))
    middle = (a + b) / 2
    nu = middle - _along(middle, g)
    half = _along(a - b, g) / 2  # a_B - μ_B
    norm = np.linalg.norm(half)
    expect(bool(norm > 0), who, "two vectors that differ along the direction", "two that do not")
    end = math.sqrt(max(1 - float(nu @ nu), 0.0)) * half / norm
    return nu + end, nu - end


def equalize_as_course(a: Any, b: Any, direction: Any) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) by the formula of the course's assignment, which takes vectors of any length and divides by another norm:

        a' = ν + √|1 - |ν|²| (a_B - μ_B) / |a - ν - μ_B|
    """
    who = "equalize_as_course"
    a, g = _with_direction(who, a, direction)
    b, _ = _with_direction(who, b, direction)
    middle = (a + b) / 2
    along = _along(middle, g)
    nu = middle - along

    def end(e: np.ndarray) -> np.ndarray:
        rest = e - nu - along
        norm = np.linalg.norm(rest)
        expect(bool(norm > 0), who, "two vectors that differ", "two that are equal")
        moved: np.ndarray = math.sqrt(abs(1 - float(nu @ nu))) * (_along(e, g) - along) / norm + nu
        return moved

    return end(a), end(b)


def debias(vectors: WordVectors, direction: Any, *, specific: Sequence[str] = (),
           pairs: Sequence[tuple[str, str]] = ()) -> WordVectors:
    """Vectors of length 1, every word neutralized but those that are about the bias, and the pairs equalized.

    Args:
      specific: words that keep their part along the direction, such as "she"; those without a vector do not matter.
      pairs: to be equalized; one of which a word has no vector, or that does not differ, is left as it is.
    Source: Bolukbasi et al. (2016), section 6, hard debiasing.
    """
    g = _with_direction("debias", direction, direction)[1]
    matrix = vectors.unit.astype(np.float64)
    paired = [pair for pair in pairs if pair[0] in vectors and pair[1] in vectors]
    kept = {vectors.index[word] for word in specific if word in vectors}
    kept |= {vectors.index[word] for pair in paired for word in pair}
    moved = np.array([i for i in range(len(vectors)) if i not in kept], int)
    neutral = neutralize(matrix[moved], g)
    norms = np.linalg.norm(neutral, axis=1, keepdims=True)
    matrix[moved] = np.divide(neutral, norms, out=np.zeros_like(neutral), where=norms > 0)
    for a, b in paired:
        i, j = vectors.index[a], vectors.index[b]
        if abs(float((matrix[i] - matrix[j]) @ g)) > 0:
            matrix[i], matrix[j] = equalize(matrix[i], matrix[j], g)
    return WordVectors(vectors.words, matrix.astype(vectors.matrix.dtype))


def association(vectors: WordVectors, targets: tuple[Sequence[str], Sequence[str]],
                attributes: tuple[Sequence[str], Sequence[str]], *, most: int = 10_000, seed: int = 0) -> Association:
    """WEAT: with s(w) = mean cos(w, A) - mean cos(w, B),

        effect = (mean s(X) - mean s(Y)) / std s(X and Y)        p = share of equal partitions with an effect as large

    Args:
      targets: (X, Y), as many in one as in the other, at least two.
      attributes: (A, B).
      most: partitions at most; if there are more, as many are drawn.
      seed: of these.
    Source: Caliskan, Bryson & Narayanan (2017).
    """
    who = "association"
    for name, sets in (("targets", targets), ("attributes", attributes)):
        expect(len(sets) == 2 and all(len(words) > 0 for words in sets), who, f"{name}, two lists of words",
               repr(sets)[:60])
    x, y = (list(words) for words in targets)
    expect(len(x) == len(y) >= 2, who, "as many targets in the one list as in the other, at least two",
           f"{len(x)} and {len(y)}")
    expect(is_integer(most, 1), who, "most, a positive integer", repr(most))
    unit = vectors.unit.astype(np.float64)

    def rows(words: Sequence[str]) -> np.ndarray:
        return unit[[vectors.index[_known(who, vectors, word)] for word in words]]

    both = rows([*x, *y])
    s = (both @ rows(attributes[0]).T).mean(axis=1) - (both @ rows(attributes[1]).T).mean(axis=1)
    n = len(x)
    spread = float(np.std(s, ddof=1))
    expect(spread > 0, who, "targets that differ", "equal ones")
    observed = s[:n].sum()
    is_exact = math.comb(2 * n, n) <= most
    if is_exact:
        chosen = np.array(list(itertools.combinations(range(2 * n), n)))
    else:
        rng = np.random.default_rng(seed)
        chosen = np.argsort(rng.random((most, 2 * n)), axis=1)[:, :n]
    # Half a rounding error: the partition that was observed is one of them, and must count as equal to itself.
    p = float(np.mean(s[chosen].sum(axis=1) >= observed - 1e-9 * abs(s).sum()))
    return Association(float(s[:n].mean() - s[n:].mean()) / spread, p, is_exact)


def cluster_agreement(x: Any, labels: Any, *, seed: int = 0, starts: int = 10) -> float:
    """How far two clusters of k-means agree with two classes: the share of the better of the two ways to match them,
    .5 to 1.

    Args:
      x: (n, n_dim); labels: (n,) of 0 and 1.
      starts: of k-means, of which that of the least cost is taken.
    Source: Gonen & Goldberg (2019), section 4.
    """
    x, labels = _examples("cluster_agreement", x, labels)
    expect(is_integer(starts, 1), "cluster_agreement", "starts, a positive integer", repr(starts))
    rng = np.random.default_rng(seed)
    best: tuple[float, np.ndarray] | None = None
    for _ in range(starts):
        centres = x[rng.choice(len(x), 2, replace=False)]
        for _ in range(100):
            distances = ((x[:, None] - centres[None]) ** 2).sum(-1)
            nearest = distances.argmin(axis=1)
            new = np.stack([x[nearest == k].mean(axis=0) if np.any(nearest == k) else centres[k] for k in (0, 1)])
            if np.array_equal(new, centres):
                break
            centres = new
        cost = float(distances.min(axis=1).sum())
        if best is None or cost < best[0]:
            best = cost, nearest
    assert best is not None  # starts >= 1
    share = float(np.mean(best[1] == labels))
    return max(share, 1 - share)


def classifier_accuracy(x: Any, labels: Any, *, folds: int = 5, strength: float = 1.0, seed: int = 0) -> float:
    """The accuracy with which a linear classifier tells two classes from vectors, of words it was not fitted to.

    Each word is in the test part of one of the folds. The classifier is ridge regression on labels ±1, with an
    intercept that is not shrunk: w = (Xᵀ X + λ I)⁻¹ Xᵀ t of centred X and t.

    Args:
      x: (n, n_dim); labels: (n,) of 0 and 1.
      strength: λ.
    """
    who = "classifier_accuracy"
    x, labels = _examples(who, x, labels)
    expect(is_integer(folds, 2) and folds <= len(x), who, f"folds in 2 .. {len(x)}", repr(folds))
    fold = np.random.default_rng(seed).permutation(len(x)) % folds
    right = 0
    for k in range(folds):
        fitted, t = x[fold != k], 2.0 * labels[fold != k] - 1
        middle, level = fitted.mean(axis=0), t.mean()
        centred = fitted - middle
        w = np.linalg.solve(centred.T @ centred + strength * np.eye(x.shape[1]), centred.T @ (t - level))
        found = (x[fold == k] - middle) @ w + level > 0
        right += int(np.sum(found == (labels[fold == k] == 1)))
    return right / len(x)


def _examples(who: str, x: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    x, labels = as_numpy(who, "x", x), as_numpy(who, "labels", labels)
    expect(x.ndim == 2 and x.dtype.kind == "f" and len(x) >= 2, who, "x, (n, n_dim) floating-point numbers, n >= 2",
           f"{x.dtype}{list(x.shape)}")
    is_labels = labels.shape == (len(x),) and labels.dtype.kind in "iub" and bool(np.all((labels == 0) | (labels == 1)))
    expect(is_labels, who, f"labels, ({len(x)},) of 0 and 1", f"{labels.dtype}{list(labels.shape)}")
    return x.astype(np.float64), labels


def _with_direction(who: str, e: Any, direction: Any) -> tuple[np.ndarray, np.ndarray]:
    e, g = (as_numpy(who, name, v).astype(np.float64) for name, v in (("a vector", e), ("direction", direction)))
    expect(g.ndim == 1 and bool(np.any(g != 0)), who, "a direction (n_dim,) that is not zero", f"shape {g.shape}")
    expect(e.shape[-1:] == g.shape, who, f"vectors of {len(g)} numbers, as the direction", f"shape {e.shape}")
    return e, g


def _along(e: np.ndarray, g: np.ndarray) -> np.ndarray:
    part: np.ndarray = (e @ g)[..., None] * g / (g @ g)
    return part


def _of_length_1(who: str, v: np.ndarray) -> np.ndarray:
    norm = np.linalg.norm(v)
    expect(bool(norm > 0), who, "a vector that is not zero", "zeros")
    unit: np.ndarray = v / norm
    return unit


def _known(who: str, vectors: WordVectors, word: str) -> str:
    expect(word in vectors, who, "words that have vectors", repr(word), "leave it out: vectors.known(words)")
    return word
