"""Pictures of a search: its trials as parallel coordinates, and a grid beside random points."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.course2.hyperparameters.search import Trial
from experiments.shared import figures

__all__ = ["draw_grid", "draw_trials"]

LEAST = 0.1  # per cent; no error at all has no place on a logarithmic axis


def draw_trials(out: Path, stages: dict[str, list[Trial]], labels: dict[str, str]) -> None:
    """One line for each trial, through its numbers to its error on the dev set."""
    title = "Digits: each line is a trial, coloured by its dev error"
    figure, axes = figures.panels(len(stages), 1, (9, 4), title)
    colours = _scale(_error([t for trials in stages.values() for t in trials]))
    for axis, (name, trials) in zip(axes[:, 0], stages.items(), strict=True):
        parallel_coordinates(axis, {"hidden units": np.array([t.hidden for t in trials]),
                                    **{label: np.array([t.values[key] for t in trials])
                                       for key, label in labels.items()},
                                    "dev error / %": _error(trials)}, colours)
        axis.set_title(f"{name}: {len(trials)} trials, the best one thick")
    _colorbar(figure, colours, axes)
    figures.save(figure, out / "trials.png")


def parallel_coordinates(axes: Any, columns: dict[str, np.ndarray], colours: Any) -> None:
    """A vertical logarithmic axis for each column, side by side; the last column gives the colour."""
    heights, last = [], len(columns) - 1
    for i, values in enumerate(columns.values()):
        low, high = np.log10(values.min()), np.log10(values.max())
        if high - low < 1e-9:  # one value only, as of the hidden size in a small box
            low, high = low - 0.5, high + 0.5
        heights.append((np.log10(values) - low) / (high - low))
        axes.axvline(i, color="black", linewidth=0.8)
        for tick in _ticks(values, low, high):
            at = (np.log10(tick) - low) / (high - low)
            axes.annotate(f"{tick:g}", (i, at), (4 if i == last else -4, 0), textcoords="offset points", fontsize=8,
                          ha="left" if i == last else "right", va="center")
            axes.plot([i - 0.015, i + 0.015], [at, at], color="black", linewidth=0.8)
    errors = [*columns.values()][-1]
    first_best = int(errors.argmin())
    for j in [*np.argsort(-errors, kind="stable"), first_best]:  # the best above the others
        axes.plot(range(last + 1), [h[j] for h in heights], color=colours.to_rgba(errors[j]), alpha=0.8,
                  linewidth=3 if j == first_best else 1)
    axes.set_xticks(range(last + 1), columns)
    axes.set(yticks=[], xlim=(-0.3, last + 0.3), ylim=(-0.04, 1.04))
    for side in ("top", "right", "bottom", "left"):
        axes.spines[side].set_visible(False)


def draw_grid(out: Path, by_grid: Sequence[Sequence[Trial]], by_chance: Sequence[Sequence[Trial]],
              labels: dict[str, str]) -> None:
    """The points of one grid and of one random search, and how good the best is after so many trials."""
    title = f"A grid or random points, {len(by_grid[0])} trials a search; the first search of {len(by_grid)} of each"
    figure, axes = figures.panels(1, 3, (4.3, 4), title)
    colours = _scale(_error([t for trials in (*by_grid, *by_chance) for t in trials]))
    x, y = "learning_rate", "l2"
    for axis, name, trials in ((axes[0, 0], "grid", by_grid[0]), (axes[0, 1], "random", by_chance[0])):
        axis.scatter([t.values[x] for t in trials], [t.values[y] for t in trials], s=60, edgecolors="black",
                     linewidths=0.5, color=colours.to_rgba(_error(trials)))
        axis.set(xscale="log", yscale="log", xlabel=labels[x], ylabel=labels[y],
                 title=f"{name}: {len({t.values[x] for t in trials})} learning rates tried")
    axes[0, 0].sharex(axes[0, 1])
    axes[0, 0].sharey(axes[0, 1])
    _colorbar(figure, colours, axes[0, :2])
    axis, at = axes[0, 2], np.arange(1, len(by_grid[0]) + 1)
    lines, order = {}, np.random.RandomState(0).permutation(len(at))  # a grid has no order of its own
    for name, searches, colour in (("grid, in random order", by_grid, "tab:blue"),
                                   ("random", by_chance, "tab:orange")):
        errors = np.stack([_error(trials) for trials in searches])
        so_far = np.minimum.accumulate(errors[:, order], axis=1)
        axis.fill_between(at, so_far.min(axis=0), so_far.max(axis=0), color=colour, alpha=0.2)
        lines[name] = at, so_far.mean(axis=0)
    figures.curves(axis, lines, "trials", "lowest dev error so far / %", log=True)
    axis.set_title(f"mean and range of {len(by_grid)} searches")
    figures.save(figure, out / "grid_and_random.png")


def _error(trials: Sequence[Trial]) -> np.ndarray:
    """In per cent, as it is drawn."""
    return np.maximum([100 * trial.error for trial in trials], LEAST)


def _scale(errors: np.ndarray) -> Any:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LogNorm

    low, high = errors.min(), errors.max()
    return ScalarMappable(LogNorm(low, high if high > low else 2 * low), "viridis_r")


def _colorbar(figure: Any, colours: Any, axes: Any) -> None:
    low, high = colours.get_clim()
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= tick <= high]
    bar = figure.colorbar(colours, ax=axes, label="dev error / %", ticks=ticks, format="%g")
    bar.minorticks_off()


def _ticks(values: np.ndarray, low: float, high: float) -> list[float]:
    """The values themselves if they are few, else the powers of ten between, or the two ends."""
    few = sorted(set(values.tolist()))
    if len(few) <= 5:
        return few
    powers = [10.0 ** k for k in range(int(np.ceil(low - 1e-9)), int(np.floor(high + 1e-9)) + 1)]
    return powers if len(powers) > 1 else [float(f"{10 ** low:.2g}"), float(f"{10 ** high:.2g}")]
