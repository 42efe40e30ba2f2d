"""A linear probe: logistic regression on features, its L2 strength chosen by cross-validation.

    cost = mean over the examples of the cross-entropy + strength / 2 · Σ W²

on standardized features. The cost is convex; L-BFGS finds its minimum.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from jaxnn import dense, softmax_cross_entropy

__all__ = ["STRENGTHS", "choose_strength", "fit_probe", "folds_of", "logits_of"]

# From a strength that leaves the classes nearly alike to one that separates the training set.
STRENGTHS = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)


def folds_of(y: np.ndarray, n: int, seed: int) -> np.ndarray:
    """(len(y),) the fold in 0 .. n-1 of each example; each class is dealt to the folds evenly."""
    random = np.random.default_rng(seed)
    fold, n_dealt = np.empty(len(y), int), 0
    for label in np.unique(y):
        members = random.permutation(np.flatnonzero(y == label))
        fold[members] = (n_dealt + np.arange(len(members))) % n
        n_dealt += len(members)
    return fold


def fit_probe(x: np.ndarray, y: np.ndarray, classes: int, strength: float, *, kept: np.ndarray | None = None,
              begin: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """Params of a dense layer on the features as they are, (n, n_features), found on standardized ones.

    With x̂ = (x - μ) / σ, W x̂ + b = (W / σ) x + b - (W / σ) μ.

    Args:
      kept: (n,) bools, the examples that count; None takes all. One program serves every choice.
      begin: the params of a fit of another strength, from which to start.
    """
    kept = np.ones(len(y), bool) if kept is None else kept
    mean, deviation = x[kept].mean(0), x[kept].std(0)
    deviation = deviation + 1e-3 * deviation.mean()  # a feature that hardly varies is not blown up
    shape = (classes, x.shape[1])
    weight, bias = np.zeros(shape), np.zeros(classes)
    if begin is not None:
        weight, bias = begin["weight"] * deviation, begin["bias"] + begin["weight"] @ mean
    scaled, labels = jnp.asarray((x - mean) / deviation, jnp.float32), jnp.asarray(y)
    share = jnp.asarray(kept / kept.sum(), jnp.float32)

    def of_vector(v: np.ndarray) -> tuple[float, np.ndarray]:
        params = {"weight": v[:weight.size].reshape(shape), "bias": v[weight.size:]}
        cost, grads = _cost_and_gradient(jax.tree.map(np.float32, params), scaled, labels, share, strength)
        return float(cost), np.concatenate([np.ravel(grads["weight"]), grads["bias"]]).astype(float)

    found = minimize(of_vector, np.concatenate([weight.ravel(), bias]), jac=True, method="L-BFGS-B",
                     options={"maxiter": 200, "ftol": 1e-6, "gtol": 1e-4}).x
    weight = found[:weight.size].reshape(shape) / deviation
    return {"weight": weight, "bias": found[weight.size:] - weight @ mean}


@jax.jit
def _cost_and_gradient(params: Any, x: Any, y: Any, share: Any, strength: Any) -> tuple[Any, Any]:
    """share: what each example counts in the mean."""
    def cost(params: Any) -> Any:
        z = jax.vmap(dense, (None, 0))(params, x)
        penalty = strength / 2 * jnp.sum(params["weight"] ** 2)
        return share @ jax.vmap(softmax_cross_entropy)(z, y) + penalty

    return jax.value_and_grad(cost)(params)


def logits_of(params: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """(..., classes) of features (..., n_features)."""
    z: np.ndarray = features @ params["weight"].T + params["bias"]
    return z


def choose_strength(features: np.ndarray, y: np.ndarray, classes: int, seed: int) -> float:
    """The strength of `STRENGTHS` with the least cost on folds that are left out, one after another.

    features: (n, n_features).
    """
    fold = folds_of(y, min(5, int(np.bincount(y).min())), seed)  # at least one example of each class is kept
    costs = np.zeros(len(STRENGTHS))
    for k in range(fold.max() + 1):
        params = None
        for i, strength in enumerate(STRENGTHS):
            params = fit_probe(features, y, classes, strength, kept=fold != k, begin=params)
            z = logits_of(params, features[fold == k])
            right = z[np.arange(len(z)), y[fold == k]]
            costs[i] += float(np.sum(np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1)) + z.max(-1) - right))
    return STRENGTHS[int(np.argmin(costs))]
