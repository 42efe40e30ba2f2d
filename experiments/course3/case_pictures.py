"""The pictures of the two case studies."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.shared import figures


def draw_birds(out: Path, name: str, record: dict[str, Any], before: Any, after: Any) -> None:
    figure, axes = figures.panels(1, 3, (4.6, 4.2), f"{name}: the case study of the birds")
    for found, label in ((before, "as trained"), (after, "logits divided by the temperature")):
        at = np.array([row.confidence for row in found.bins])
        values = np.array([row.accuracy for row in found.bins])
        low, high = np.array([row.interval for row in found.bins]).T
        axes[0, 0].errorbar(at, values, np.maximum((values - low, high - values), 0), marker="o", capsize=2,
                            label=label)
    axes[0, 0].plot((0, 1), (0, 1), color="grey", linestyle=":")
    axes[0, 0].set(xlabel="confidence", ylabel="test accuracy")
    axes[0, 0].set_title("is the network as sure as it is right?\n"
                         "then points lie on the dotted line; bars: 95 % intervals", fontsize=9)
    more = record["more_data"]
    axes[0, 1].plot(more["sizes"][:-1], 100 * np.array(more["errors"][:-1]), "o", label="measured and fitted")
    axes[0, 1].plot(more["sizes"][-1:], 100 * np.array(more["errors"][-1:]), "s", label="measured after the fit")
    at = np.geomspace(more["sizes"][0], 2 * more["sizes"][-1], 60)
    a, b, c = more["law"]
    axes[0, 1].plot(at, 100 * (a * at**-b + c), color="C0", linewidth=1)
    axes[0, 1].errorbar(more["sizes"][-1:], [100 * more["predicted"]],
                        [[100 * (more["predicted"] - more["interval"][0])],
                         [100 * min(more["interval"][1] - more["predicted"], 1)]], color="C0", capsize=3,
                        label="predicted, 95 % interval")
    axes[0, 1].set(xlabel="training pictures", ylabel="test error / %", xscale="log", yscale="log")
    axes[0, 1].yaxis.set_major_formatter("{x:g}")
    axes[0, 1].yaxis.set_minor_formatter("{x:g}")
    axes[0, 1].tick_params(axis="y", which="both", labelsize=8)
    axes[0, 1].set_title("would twice as many pictures help?\nthe law of the smaller sizes predicts the largest",
                         fontsize=9)
    ways = record["new_species"]
    axes[0, 2].bar(range(len(ways)), [100 * r["missed"] for r in ways.values()], capsize=3,
                   yerr=np.maximum(100 * np.array([(r["missed"] - r["interval"][0], r["interval"][1] - r["missed"])
                                                   for r in ways.values()]).T, 0))
    axes[0, 2].set_xticks(range(len(ways)), [way.replace(", ", ",\n") for way in ways], fontsize=8)
    axes[0, 2].set(ylabel="missed of the new species / %", xlabel="its few pictures in training")
    axes[0, 2].set_title("how to train on a new species\nbars: 95 % intervals", fontsize=9)
    for axis in axes[0]:
        axis.grid(alpha=0.3)
        axis.set_axisbelow(True)
    for axis in axes[0, :2]:
        figures.legend_below(axis)
    figures.save(figure, out / "birds.png")


def draw_driving(out: Path, name: str, found: Any, fog: dict[str, Any], blind: float) -> None:
    figure, axes = figures.panels(1, 2, (6.2, 4.4), f"{name}: the case study of driving")
    rows = found.rows[::-1]
    at = np.arange(len(rows))
    bars = {"ceiling": "gained if all of these were right", "share": "share; shares add up"}
    for i, (field, label) in enumerate(bars.items()):
        values = 100 * np.array([getattr(row, field) for row in rows])
        low, high = 100 * np.array([getattr(row, f"{field}_interval") for row in rows]).T
        axes[0, 0].barh(at + 0.2 - 0.4 * i, values, 0.4, label=label, capsize=1.5,
                        xerr=np.maximum((values - low, high - values), 0), error_kw={"linewidth": 0.8})
    axes[0, 0].set_yticks(at, [f"{row.tag} ({row.n})" for row in rows], fontsize=8)
    axes[0, 0].set(xlabel=f"points of the error of {100 * found.n_wrong / found.n:.1f} %")
    axes[0, 0].set_title("which errors are worth work? (number of answers; lines: 95 % intervals)", fontsize=9)
    axes[0, 0].margins(y=0.01)
    lines = {f"trained with {way}": (fog["densities"], 100 * np.array(e)) for way, e in fog["errors"].items()}
    figures.curves(axes[0, 1], lines, "density of the fog (1: nothing but fog)", "test error / %", legend=False)
    axes[0, 1].axhline(100 * blind, color="grey", linestyle=":", label="without looking at the picture")
    axes[0, 1].set_title("does training with fog help in fog?", fontsize=9)
    axes[0, 0].grid(alpha=0.3, axis="x")
    axes[0, 0].set_axisbelow(True)
    for axis in axes[0]:
        figures.legend_below(axis)
    figures.save(figure, out / "driving.png")
