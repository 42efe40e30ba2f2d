"""What a painting costs: its distance from the content of one picture, and from the textures of others.

    content    E_l = Σ (F - F')² / (4 n c)                F' the content picture's activations of layer l, n places, c
                                                          channels
    style      E_l = Σ_ij (G_ij - G'_ij)² / (4 c²)        G = Σ_p F_p F_pᵀ / n the Gram matrix, G' the style picture's
    smooth     V / (n c)                                  V the total variation of the painting itself

The constants are the course's. Layers differ by orders of magnitude in E_l, because they do in their activations:
with normalization="relative" E_l is divided by the same sum for F = 0 or G = 0, so that a layer counts as its weight
says, in every network. Several styles are summed with their weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, expect, is_number
from jaxnn.network import network as network_of
from jaxnn.ops import gram_matrix, squared_error, total_variation
from jaxnn.style.features import FeatureNetwork, expect_picture, features_of

__all__ = ["NORMALIZATIONS", "Goal", "content_cost", "costs_of", "goal_of", "out_of_range", "style_cost", "total_of"]

NORMALIZATIONS = ("size", "relative")


@network_of
def content_cost(x: Any, target: Any) -> Any:
    """Σ (x - target)² / (4 n c), (): x and target (height, width, channels) of one layer, n = height width places."""
    return squared_error(x, target) / (4 * x.size)


@network_of
def style_cost(x: Any, gram: Any) -> Any:
    """Σ (G(x) - gram)² / (4 c²), (), with the Gram matrix a mean over the places: pictures of any two sizes compare.

    For pictures of one size it is the course's Σ (n G - n G')² / (4 c² n²).
    """
    return squared_error(gram_matrix(x, reduction="mean"), gram) / (4 * x.shape[-1] ** 2)


class Goal(NamedTuple):
    """What a painting is to be like."""

    content: dict[str, tuple[Any, Any]]
    """By layer (the activations of the content picture, the weight of E_l)."""
    styles: tuple[dict[str, tuple[Any, Any]], ...]
    """For each style, by layer (the Gram matrix, the weight of E_l)."""


def goal_of(network: FeatureNetwork, content: Any, styles: Sequence[Any], *, content_layers: Mapping[str, float],
            style_layers: Mapping[str, float], style_weights: Sequence[float] | None = None,
            normalization: str = "relative") -> Goal:
    """The goal of a painting with the content of one picture and the style of one or several.

    Args:
      network: the features compared.
      content: (height, width, 3), in [0, 1].
      styles: pictures (height, width, 3) of any size, at least one.
      content_layers, style_layers: the weight of each layer, by its name; they are scaled so that they sum to one.
      style_weights: of the styles, scaled in the same way; None for equal ones.
      normalization: "size" for the course's constants alone, or "relative", see above.
    Raises:
      InputError: a layer is not known, weights are not positive, or a picture is none.
    """
    who = "goal_of"
    expect(isinstance(styles, tuple | list) and len(styles) > 0, who, "styles, a list of at least one picture",
           type(styles).__name__ + (" of none" if isinstance(styles, tuple | list) else ""),
           "write [picture] for one style")
    expect(normalization in NORMALIZATIONS, who, "normalization 'size' or 'relative'", repr(normalization))
    shares = _shares(who, "style_weights", [1.0] * len(styles) if style_weights is None else list(style_weights))
    expect(len(shares) == len(styles), who, f"a weight for each of the {len(styles)} styles", str(len(shares)))
    of_content = dict(zip(content_layers, _shares(who, "content_layers", list(content_layers.values())), strict=True))
    of_style = dict(zip(style_layers, _shares(who, "style_layers", list(style_layers.values())), strict=True))
    features = jax.jit(lambda picture: features_of(network, picture, of_content))(content)
    targets = {layer: (features[layer], weight / _whole(content_cost, features[layer], normalization))
               for layer, weight in of_content.items()}
    every = []
    for picture, share in zip(styles, shares, strict=True):
        expect_picture(who, "a style", picture)
        grams = jax.jit(lambda picture: {layer: gram_matrix(x, reduction="mean") for layer, x in features_of(
            network, picture, of_style).items()})(picture)
        every.append({layer: (grams[layer], share * weight / _whole_style(grams[layer], normalization))
                      for layer, weight in of_style.items()})
    return Goal(targets, tuple(every))


def costs_of(network: FeatureNetwork, goal: Goal, picture: Any) -> dict[str, dict[str, Any]]:
    """The parts of a painting's cost, each already times its weight within the part: {"content": {layer: ()}, "style":
    {layer: ()}, "smooth": {"smooth": ()}, "range": {"range": ()}}.

    "style" is summed over the styles. "range" is the mean square by which pixels leave [0, 1].

    Raises:
      InputError: the picture has another size than the content.
    """
    features = features_of(network, picture, {*goal.content, *(layer for style in goal.styles for layer in style)})
    for layer, (target, _) in goal.content.items():
        if features[layer].shape != target.shape:
            raise InputError("costs_of", f"expects a picture of the size of the content, whose '{layer}' is "
                             f"{target.shape}; got {features[layer].shape}, of a picture {jnp.shape(picture)}; resize "
                             "one: the styles alone may have any size")
    content = {layer: weight * content_cost(features[layer], target)
               for layer, (target, weight) in goal.content.items()}
    style = {layer: sum(of[layer][1] * style_cost(features[layer], of[layer][0]) for of in goal.styles)
             for layer in goal.styles[0]}
    return {"content": content, "style": style, "smooth": {"smooth": total_variation(picture) / picture.size},
            "range": {"range": out_of_range(picture)}}


def total_of(costs: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float] | None = None) -> Any:
    """Σ weight · part; a part that `weights` does not name counts once."""
    weights = weights or {}
    return sum(weights.get(part, 1.0) * sum(of.values()) for part, of in costs.items())


def out_of_range(picture: Any) -> Any:
    """The mean square of what leaves [0, 1]: no screen shows it. Smooth, so that no pixel sticks to an end."""
    below, above = jnp.minimum(picture, 0), jnp.maximum(picture - 1, 0)
    return jnp.mean(below * below + above * above)


def _whole(cost: Any, target: Any, normalization: str) -> Any:
    """By what E_l is divided: its value at nothing, but for a layer that is nothing itself."""
    if normalization == "size":
        return 1.0
    whole = cost(jnp.zeros_like(target), target)
    return jnp.where(whole > 0, whole, 1)


def _whole_style(gram: Any, normalization: str) -> Any:
    whole = jnp.sum(gram * gram) / (4 * gram.shape[0] ** 2)
    return 1.0 if normalization == "size" else jnp.where(whole > 0, whole, 1)


def _shares(who: str, name: str, weights: list[Any]) -> list[float]:
    fits = bool(weights) and all(is_number(w, 0) for w in weights) and sum(weights) > 0
    expect(fits, who, f"{name}, finite weights >= 0 that are not all 0", str(weights))
    return [float(w) / sum(weights) for w in weights]
