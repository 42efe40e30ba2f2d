"""Pictures: each function draws one kind, `save` writes it. matplotlib is imported when one is drawn."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["boundary", "confusion", "curves", "images", "legend_below", "panels", "save"]

CLASSES = ("#c44e52", "#4c72b0")  # of the points in the plane; tints of them fill the plane


def panels(rows: int, columns: int, size: tuple[float, float], title: str) -> tuple[Any, np.ndarray]:
    """A figure and its axes, (rows, columns); size of one panel in inches."""
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    figure = Figure((columns * size[0], rows * size[1] + 0.4), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(rows, columns, squeeze=False)


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=120)


def curves(axes: Any, lines: Mapping[str, tuple[Any, Any]], x: str, y: str, *, log: bool = False,
           legend: bool = True) -> None:
    """One line for each name, from (x, y) values."""
    for name, (at, values) in lines.items():
        axes.plot(at, values, label=name, linewidth=1.5)
    axes.set(xlabel=x, ylabel=y, yscale="log" if log else "linear")
    axes.grid(alpha=0.3, which="both")
    if legend and len(lines) > 1:
        axes.legend()


def legend_below(axes: Any, inches: float = 0.5) -> None:
    """The legend under a panel, so many inches below its axis, where it hides no data."""
    from matplotlib.transforms import ScaledTranslation

    below = axes.transAxes + ScaledTranslation(0, -inches, axes.figure.dpi_scale_trans)
    axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=below, frameon=False)


def images(path: Path, title: str, pictures: Any, captions: Sequence[str],
           wrong: Sequence[bool] | None = None, *, columns: int = 6, most: int = 24) -> None:
    """The first pictures in a grid, those that are wrong with a red caption (None: no colour)."""
    n = min(len(pictures), most)
    columns = max(1, min(columns, n))
    if n < len(pictures):
        title += f" ({n} of {len(pictures)} shown)"
    figure, axes = panels(max(1, -(-n // columns)), columns, (1.6, 1.85), title)
    for i, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if i < n:
            # Ink on paper for greys; colours need no map.
            axis.imshow(pictures[i], cmap="gray_r", interpolation="nearest")
            colour = "black" if wrong is None else "tab:red" if wrong[i] else "tab:green"
            axis.set_title(captions[i], fontsize=9, color=colour)
    if not n:
        axes[0, 0].text(0.5, 0.5, "none", ha="center", va="center")
    save(figure, path)


def confusion(path: Path, title: str, counts: np.ndarray, names: Sequence[Any]) -> None:
    """counts[true, predicted] as a coloured table."""
    figure, ((axes,),) = panels(1, 1, (5.6, 5), title)
    # Shaded by the root, so that single confusions show beside the hundreds that are right.
    axes.imshow(np.sqrt(counts), cmap="Blues")
    for (true, predicted), n in np.ndenumerate(counts):
        if n:
            axes.text(predicted, true, str(n), ha="center", va="center",
                      color="white" if n > counts.max() / 3 else "black")
    ticks = range(len(names))
    axes.set(xlabel="predicted class", ylabel="true class", xticks=ticks, yticks=ticks,
             xticklabels=names, yticklabels=names)
    save(figure, path)


def boundary(axes: Any, logit: Callable[[np.ndarray], np.ndarray], x: np.ndarray, y: np.ndarray,
             title: str) -> None:
    """Points of two classes, over the half of the plane that the classifier gives to each.

    logit: (n, 2) -> (n,), positive for class 1.
    """
    low, high = x.min(axis=0), x.max(axis=0)
    low, high = low - 0.08 * (high - low), high + 0.08 * (high - low)
    grid = np.stack(np.meshgrid(*np.linspace(low, high, 150).T), axis=-1)
    z = np.asarray(logit(grid.reshape(-1, 2))).reshape(150, 150)
    axes.contourf(grid[..., 0], grid[..., 1], z > 0, levels=[-0.5, 0.5, 1.5], colors=CLASSES, alpha=0.25)
    for label, colour in enumerate(CLASSES):
        axes.scatter(*x[y == label].T, s=6, color=colour, linewidths=0)
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("x₁", fontsize=8, labelpad=1)
    axes.set_ylabel("x₂", fontsize=8, labelpad=1)
    axes.tick_params(labelsize=7)
