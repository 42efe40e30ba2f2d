"""Where the error of each leaf sits, as a picture. matplotlib is imported when one is drawn."""

from typing import Any

import numpy as np

from jaxnn.gradients.leaf import largest
from jaxnn.gradients.selection import select

__all__ = ["error_maps"]


def error_maps(report: Any) -> Any:
    """One panel for each leaf (in a large tree those that the report shows one by one): the error of every element,
    in units of eps · max|leaf|, on one scale.

    A leaf of more than two axes is laid out with its first axes down and its last across. The cross is the
    worst element; what lies above the threshold is wrong.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, NullLocator

    leaves = [next((leaf for route in ("lifted", "explicit") for leaf in report.leaves
                    if (leaf.path, leaf.route) == (path, route) and leaf.errors is not None), None)
              for path in select(report.leaves).paths]
    shown = [leaf for leaf in leaves if leaf is not None and leaf.errors.size]
    columns = min(3, max(1, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    figure = Figure((4.2 * columns + 1, 3.2 * rows + 0.8), layout="constrained")
    verdict = "right" if report.ok else "WRONG"
    took = f"; compared in {sum(time.total for time in report.times):.1f} s" if report.times else ""
    figure.suptitle(f"{report.name}, {verdict}: |gradient - reference| at each element{took}")
    panels = figure.subplots(rows, columns, squeeze=False)
    # Equal bits have no place on a logarithmic scale: they are drawn as a hundredth of a unit.
    top = max([1e3, *(largest(leaf.errors) for leaf in shown)])
    norm = LogNorm(1e-2, top)
    image = None
    for axes, leaf in zip(panels.flat, shown, strict=False):
        flat, place = _laid_out(leaf.errors), np.zeros(leaf.errors.shape, bool)
        place[leaf.element] = True
        image = axes.imshow(np.clip(np.nan_to_num(flat, posinf=top), 1e-2, top), norm=norm, cmap="magma",
                            aspect="auto", interpolation="nearest")
        row, column = np.argwhere(_laid_out(place))[0]
        axes.plot(column, row, "x", color="tab:cyan", markersize=9, markeredgewidth=2)
        axes.set_title(f"{leaf.path} {leaf.shape}: {'right' if leaf.ok else 'WRONG'}, worst {leaf.error:.3g}",
                       fontsize=9, color="black" if leaf.ok else "tab:red")
        axes.set_xlabel("last axis", fontsize=8)
        axes.set_ylabel("axes before it" if leaf.errors.ndim > 1 else "", fontsize=8)
        axes.tick_params(labelsize=7)
        for axis, n in ((axes.xaxis, flat.shape[1]), (axes.yaxis, flat.shape[0])):
            axis.set_major_locator(MaxNLocator(integer=True, nbins=8) if n > 1 else NullLocator())
    for axes in list(panels.flat)[len(shown):]:
        axes.set_axis_off()
    if image is not None:
        bar = figure.colorbar(image, ax=panels, label="error in eps · max|leaf|; the line is the threshold")
        bar.ax.axhline(report.threshold, color="tab:cyan", linewidth=2)
    return figure


def _laid_out(x: np.ndarray) -> np.ndarray:
    return x.reshape(1, -1) if x.ndim < 2 else x.reshape(-1, x.shape[-1])
