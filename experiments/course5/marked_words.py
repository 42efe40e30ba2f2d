"""Sentences whose words are coloured by how much each speaks for one of two classes."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared import figures

__all__ = ["draw_marks"]


def draw_marks(path: Path, sentences: dict[str, Any], against: str, for_: str) -> None:
    """sentences: {text: {network: {"words", "marks", "unknown", "probability_good"}}}; a line for each network."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.patches import Rectangle

    lines = [(kind, found) for by_network in sentences.values() for kind, found in by_network.items()]
    widest = max(sum(len(word) + 1.5 for word in found["words"]) for _, found in lines)
    figure, ((axes,),) = figures.panels(1, 1, (max(5.0, min(0.115 * widest + 4.2, 16)), 0.33 * len(lines) + 1.3),
                                        "words marked by value times gradient; grey: not in the vocabulary")
    from matplotlib import colormaps
    map_ = colormaps["RdBu"]
    for y, (kind, found) in enumerate(lines):
        most = max(np.abs(found["marks"]).max(), 1e-12)
        at = 0.0
        axes.text(-1, y, f"{kind}, {found['probability_good']:.2f} {for_}", ha="right", va="center", fontsize=8)
        for word, mark in zip(found["words"], found["marks"], strict=True):
            is_unknown = word in found["unknown"]
            colour = "lightgrey" if is_unknown else map_(0.5 + 0.4 * mark / most)
            axes.add_patch(Rectangle((at, y - 0.4), len(word) + 1, 0.8, facecolor=colour, linewidth=0))
            axes.text(at + (len(word) + 1) / 2, y, word, ha="center", va="center", fontsize=8, family="monospace")
            at += len(word) + 1.5
    axes.set(xlim=(-28, widest), ylim=(len(lines) - 0.4, -0.6))
    axes.set_axis_off()
    scale = ScalarMappable(Normalize(-1.25, 1.25), map_)
    bar = figure.colorbar(scale, ax=axes, shrink=0.9, ticks=[-1, 0, 1])
    bar.ax.set_ylim(-1, 1)
    bar.ax.set_yticklabels([against, "nothing", for_], fontsize=8)
    bar.set_label("mark, of the line's largest", fontsize=8)
    figures.save(figure, path)
