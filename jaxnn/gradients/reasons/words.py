"""Elements and axes in words."""

import numpy as np

__all__ = ["axes_in_words", "elements_in_words", "is_slice", "kernel_not_flipped", "number_of_elements"]


def elements_in_words(mask: np.ndarray) -> str:
    """The marked elements: one of them, a slice, or how many."""
    places = np.argwhere(mask)
    if not mask.ndim:
        return "its only element"
    first = [int(i) for i in places[0]]
    if len(places) == 1:
        return f"1 of {mask.size:,} elements, {first}"
    for axis in range(mask.ndim):
        if mask.shape[axis] > 1 and is_slice(mask, axis, first[axis]):
            return f"all of index {first[axis]} of axis {axis}"
    return f"{number_of_elements(mask)}, first at {first}"


def number_of_elements(mask: np.ndarray) -> str:
    return f"{int(mask.sum()):,} of {mask.size:,} elements"


def axes_in_words(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"


def kernel_not_flipped(path: str) -> str:
    """What a reversed leaf means where that leaf is a kernel."""
    return ": the kernel is not flipped" if path.endswith("kernel") else ""


def is_slice(mask: np.ndarray, axis: int, index: int) -> bool:
    """Whether the marked elements are those of one index of an axis."""
    expected = np.zeros(mask.shape, bool)
    np.moveaxis(expected, axis, 0)[index] = True
    return np.array_equal(mask, expected)
