"""Pictures of the jazz: the cost, what is copied, and the solos as notes."""

from pathlib import Path
from typing import Any

import numpy as np

from experiments.course5.jazz.tune import BAR, Tune
from experiments.shared import figures
from jaxnn.music import Note

__all__ = ["draw"]


def draw(out: Path, tune: Tune, costs: np.ndarray, solos: dict[str, list[Note]], measures: dict[str, Any],
         n_symbols: int) -> None:
    figure, axes = figures.panels(1, 2, (5.2, 3.8), f"{tune.name}: {n_symbols} symbols")
    axes[0, 0].plot(costs)
    axes[0, 0].axhline(29 * np.log(n_symbols), color="tab:gray", linestyle="--", linewidth=1)
    axes[0, 0].text(len(costs) - 1, 29 * np.log(n_symbols), "all symbols equally likely ", ha="right", va="bottom",
                    color="tab:gray", fontsize=8)
    axes[0, 0].set(xlabel="epoch", ylabel="cost of a piece, 29 predictions / nats", title="learning by heart")
    axes[0, 0].set_ylim(bottom=0)
    axes[0, 0].grid(alpha=0.3)
    names = ["the likeliest" if name == "greedy" else f"temperature {name}" for name in measures]
    places = np.arange(len(names))
    longest = [m["longest_copy"] for m in measures.values()]
    bars = axes[0, 1].barh(places, longest)
    axes[0, 1].bar_label(bars, [f"{n} of {m['symbols']}" for n, m in zip(longest, measures.values(), strict=True)],
                         padding=3)
    axes[0, 1].set(yticks=places, yticklabels=names, xlim=(0, 1.3 * max(*longest, 1)),
                   xlabel="longest run copied from the tune / symbols", title="what the solos copy")
    axes[0, 1].invert_yaxis()
    figures.save(figure, out / "cost_and_copies.png")

    figure, axes = figures.panels(len(solos), 1, (10, 1.9), f"{tune.name}: solos over the same chords")
    keys = [note.key for notes in solos.values() for note in notes]
    n_bars = len(tune.bars)
    for axis, (name, notes) in zip(axes[:, 0], solos.items(), strict=True):
        for number, bar in enumerate(tune.bars):
            for chord in bar.chords:
                axis.barh([key for key in chord.keys if key >= 40], chord.length, 0.8, number * BAR + chord.start,
                          color="tab:gray", alpha=0.3)
        axis.barh([note.key for note in notes], [note.end - note.start for note in notes], 0.9,
                  [note.start for note in notes], color="tab:blue")
        axis.set_title(name, fontsize=9)
        axis.set(xlim=(0, n_bars * BAR), xticks=np.arange(0, n_bars * BAR + 1, BAR), ylabel="key",
                 yticks=[48, 60, 72, 84], yticklabels=["C3", "C4", "C5", "C6"],
                 ylim=(40, max(keys, default=84) + 2))
        axis.grid(alpha=0.3)
        axis.tick_params(labelsize=7)
    axes[-1, 0].set_xlabel("quarter notes; a line at each bar. Blue: the solo, grey: the chords")
    figures.save(figure, out / "solos.png")
