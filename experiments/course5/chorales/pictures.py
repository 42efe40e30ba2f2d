"""Pictures of the chorales: learning curve and costs, piano rolls, entropies."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from experiments.course5.chorales.measures import entropy
from experiments.shared import figures
from jaxnn.data import PianoRolls
from jaxnn.music.piano_roll import LOWEST

__all__ = ["draw", "roll"]


def draw(out: Path, name: str, measures: dict[str, Any], costs: dict[str, float], composed: dict[float, Any],
         pieces: PianoRolls, beginning: int) -> None:
    figure, axes = figures.panels(1, 2, (5.4, 3.8), f"{name}: predicting the next frame")
    training, dev = measures["training"], measures["dev_costs"]
    figures.curves(axes[0, 0], {"training, transposed, with dropout": (training["epoch"], training["cost"]),
                                "dev": (dev["epochs"][1:], dev["nats"][1:])}, "epoch", "cost / nats per frame")
    names = list(costs)
    colours = ["tab:orange" if "here" in name else "tab:gray" for name in names]
    bars = axes[0, 1].barh(names, list(costs.values()), color=colours)
    axes[0, 1].bar_label(bars, [f"{cost:.2f}" for cost in costs.values()], padding=3)
    axes[0, 1].set(xlabel="test cost / nats per frame, over 88 keys", xlim=(0, 1.15 * max(costs.values())))
    axes[0, 1].invert_yaxis()
    figures.save(figure, out / "costs.png")

    figure, axes = figures.panels(len(composed) + 1, 1, (9, 2.1), f"{name}: a test piece, and its beginning continued")
    n = next(iter(composed.values()))[0].shape[1]
    used = np.flatnonzero(np.concatenate([p[0][0] for p in composed.values()] + [pieces.test[0][:n]]).any(axis=0))
    span = (int(used.min(initial=87)) - 2, int(used.max(initial=0)) + 2)
    roll(axes[0, 0], pieces.test[0][:n], "the test piece", span)
    for axis, (t, (rolls, _)) in zip(axes[1:, 0], composed.items(), strict=True):
        roll(axis, rolls[0], f"temperature {t:g}", span, beginning)
    axes[-1, 0].set_xlabel("frame")
    figures.save(figure, out / "piano_rolls.png")

    figure, axes = figures.panels(1, 2, (5.2, 3.8), f"{name}: are the pieces one note repeated? ({len(rolls)} pieces)")
    edges = np.arange(0, n - beginning + 1, max((n - beginning) // 7, 1))
    of_test = [entropy(np.concatenate([p[beginning + a:beginning + b] for p in pieces.test]).sum(axis=0))
               for a, b in itertools.pairwise(edges)]
    middles = (edges[:-1] + edges[1:]) / 2
    lines = {f"temperature {t:g}": (middles, [entropy(rolls[:, beginning + a:beginning + b].sum(axis=(0, 1)))
                                              for a, b in itertools.pairwise(edges)])
             for t, (rolls, _) in composed.items()}
    axes[0, 0].plot(middles, of_test, color="black", linestyle="--", label="test pieces")
    figures.curves(axes[0, 0], lines, "frames behind the beginning", "entropy of the keys / bits")
    axes[0, 0].legend()
    axes[0, 0].set_ylim(bottom=0)
    for t, (_, entropies) in composed.items():
        axes[0, 1].plot(entropies.mean(axis=0), label=f"temperature {t:g}")
    axes[0, 1].set(xlabel="frames behind the beginning", ylabel="the model's entropy / bits per frame")
    axes[0, 1].set_ylim(bottom=0)
    axes[0, 1].grid(alpha=0.3)
    axes[0, 1].legend()
    figures.save(figure, out / "entropy.png")


def roll(axes: Any, frames: np.ndarray, title: str, span: tuple[int, int], beginning: int | None = None) -> None:
    """A piano roll, keys upwards; a line stands behind the beginning."""
    axes.imshow(frames.T, origin="lower", aspect="auto", cmap="gray_r", interpolation="nearest")
    octaves = [key for key in range(span[0], span[1] + 1) if (key + LOWEST) % 12 == 0]
    axes.set(ylim=(span[0] - 0.5, span[1] + 0.5), yticks=octaves, title=title,
             yticklabels=[f"C{(key + LOWEST) // 12 - 1}" for key in octaves], ylabel="key")
    axes.title.set_fontsize(9)
    axes.grid(alpha=0.3, axis="y")
    if beginning is not None:
        axes.axvline(beginning - 0.5, color="tab:red", linewidth=1)
