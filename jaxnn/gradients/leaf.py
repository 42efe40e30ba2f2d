"""One leaf of a gradient beside the same leaf of the reference, in numbers.

    error = max |f's - reference's| / (eps · max|reference's|)

One unit is the rounding of the leaf's largest element, so that one threshold serves every size and
dtype, and one wrong element among thousands is found, which a norm of the difference hides. How far the
reference itself is from exact, in the same unit, is its noise. Where terms cancel the noise is large, and no
gradient can be nearer.
"""

import enum
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

__all__ = ["THRESHOLD", "Excuse", "Leaf", "ReferenceLeaf", "as_wide", "badness", "compare_leaf", "difference",
           "largest"]

THRESHOLD = 16.0
"""The most units of error, or of the reference's noise where that is more than one, that is not wrong."""
# Right gradients lie below 3, of a whole network below 10; one element that is wrong by one per cent,
# in a leaf whose largest element is a hundred times it, lies at 800.


class Excuse(enum.Enum):
    """Why the error of a leaf does not count as wrong."""

    KINK = enum.auto()
    """Every wrong element is a subgradient at a kink."""
    HELD = enum.auto()
    """Finite differences do not test the leaf: the reference holds something fixed, or is not finite nearby."""
    APPROXIMATION = enum.auto()
    """Off in float64 alone, by less than a rounding of its own dtype."""
    REFERENCE = enum.auto()
    """The reference's own gradient is wrong: f's value has the slope that f says."""
    NOT_RUN = enum.auto()
    """The leaf was too large for the route that was asked for."""


class ReferenceLeaf(NamedTuple):
    """What a leaf should be: the reference's value, how exact that value is, and the size of a unit."""

    path: str
    value: np.ndarray
    """In float64 or complex128, which hold every narrower dtype."""
    exact: np.ndarray | None
    """The same by the reference in float64; None where that could not be had."""
    scale: float
    """The largest element; that of the whole gradient for a leaf that is zero but for rounding."""
    eps: float
    """Of the leaf's dtype."""
    noise: float
    """Units between value and exact, or between exact and exact of arguments one rounding away."""

    @property
    def unit(self) -> float:
        return self.eps * (self.scale or 1.0)

    @property
    def limit(self) -> float:
        """The most units of error that are not wrong."""
        return THRESHOLD * max(1.0, self.noise)

    @property
    def finite(self) -> np.ndarray:
        """The value; that in float64 where the value overflows and float64 does not."""
        if self.exact is None:
            return self.value
        return np.where(np.isfinite(self.value), self.value, self.exact)


class Leaf(NamedTuple):
    """One leaf of the gradient by one route, beside the reference's."""

    path: str
    route: str
    shape: tuple[int, ...]
    error: float
    """Worst error in units of eps · max|leaf|; inf where only one side is finite, or shapes differ."""
    noise: float
    """The reference's own error in the same unit."""
    element: tuple[int, ...]
    """Where the worst error is, with both values there. Of a route that compares along a direction, ()."""
    value: Any
    reference: Any
    ulps: float = np.nan
    """The worst element's error in units of its own last place."""
    cosine: float = np.nan
    relative_difference: float = np.nan
    """The course's ‖a - b‖ / (‖a‖ + ‖b‖), which one wrong element among many hardly moves."""
    exact: bool = False
    """Whether every bit agrees."""
    nearer: str = ""
    """Which of "f" and "reference" is nearer to the reference in float64; "both" where they tie."""
    under: str = "jit"
    dtype: str = ""
    note: str = ""
    """What a number does not show: a kink, an element that is not finite, a route that does not apply."""
    excuse: Excuse | None = None
    """Why the error does not count as wrong; the note has it in words."""
    errors: Any = None
    """The error of each element in units; None for a route that compares along directions."""
    judge: str = "reference"
    """What judged the worst element: "finite differences" of f's own value where the reference cannot."""

    @property
    def excused(self) -> bool:
        """Whether the error does not count as wrong, for the reason that the note gives."""
        return self.excuse is not None

    @property
    def ok(self) -> bool:
        return self.excused or self.error <= THRESHOLD * max(1.0, self.noise)


def badness(leaf: Leaf) -> tuple:
    """For sorting: wrong after right, the backward pass after what follows from it, then by error."""
    rank = {"explicit": 2, "lifted": 2, "float64": 1}.get(leaf.route, 0)
    return not leaf.ok, rank, bool(leaf.element), np.inf if np.isnan(leaf.error) else leaf.error


def as_wide(x: Any) -> np.ndarray:
    """x as float64 or complex128, which hold every narrower dtype."""
    return np.asarray(x).astype(np.complex128 if jnp.issubdtype(x.dtype, jnp.complexfloating) else np.float64)


def largest(x: np.ndarray) -> float:
    """The largest finite magnitude, 0 where there is none."""
    size = np.abs(x)
    return float(np.max(size, initial=0.0, where=np.isfinite(size)))


def difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b|; 0 where both are the same infinity or both NaN, inf where only one is finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        return np.where(same, 0.0, np.nan_to_num(np.abs(a - b), nan=np.inf, posinf=np.inf))


def compare_leaf(reference: ReferenceLeaf, route: str, value: Any, *, under: str = "jit") -> Leaf:
    """A leaf of f's gradient by a route that has all of its elements, beside the reference's."""
    a, b = as_wide(value), reference.value
    dtype = jnp.dtype(value.dtype).name
    if a.shape != b.shape:
        return Leaf(reference.path, route, a.shape, np.inf, reference.noise, (), np.nan, np.nan, under=under,
                    dtype=dtype, note=f"has shape {a.shape}; the argument has {b.shape}")
    if a.size == 0:
        return Leaf(reference.path, route, a.shape, 0.0, 0.0, (), np.nan, np.nan, exact=True, nearer="both",
                    under=under, dtype=dtype, note="has no elements")
    errors, notes = _errors(a, reference)
    index = np.unravel_index(np.argmax(errors), a.shape)
    with np.errstate(over="ignore"):
        ulps = errors[index] / _last_place(b[index], value.dtype)
    finite = np.isfinite(a) & np.isfinite(b)
    cosine, relative = _angles(a[finite], b[finite]) if finite.any() else (np.nan, np.nan)
    return Leaf(reference.path, route, a.shape, float(errors[index] / reference.unit), reference.noise,
                tuple(map(int, index)), a[index].item(), b[index].item(), float(ulps), cosine, relative,
                bool(np.all((difference(a, b) == 0) & (np.signbit(a.real) == np.signbit(b.real)))),
                _nearer(a, b, reference.exact), under, dtype, "; ".join(notes), errors=errors / reference.unit)


def _errors(a: np.ndarray, reference: ReferenceLeaf) -> tuple[np.ndarray, list[str]]:
    """|a - reference| at each element, and notes. Where the reference overflows and float64 does not, float64
    decides."""
    b = reference.value
    errors, notes = difference(a, b), [*_not_finite("f", a), *_not_finite("the reference", b)]
    undecided = ~np.isfinite(b) & np.isfinite(a)
    decided = undecided & np.isfinite(reference.finite)
    if decided.any():
        notes.append("there f is compared with the reference in float64")
    if np.any(undecided & ~decided):
        notes.append("there the reference has no gradient in float64 either")
    if undecided.any():
        errors = np.where(decided, difference(a, reference.finite), np.where(undecided, 0.0, errors))
    return errors, notes


def _not_finite(name: str, x: np.ndarray) -> list[str]:
    """Where x is not finite, in words."""
    notes = []
    for what, places in (("NaN", np.argwhere(np.isnan(x))), ("infinite", np.argwhere(np.isinf(x)))):
        if len(places):
            first = [int(i) for i in places[0]]
            notes.append(f"{name} is {what} at {len(places):,} of {x.size:,} elements, first at {first}")
    return notes


def _last_place(x: Any, dtype: Any) -> float:
    """The distance from |x| to the next number of this dtype."""
    info = jnp.finfo(dtype)
    size = abs(x)
    if not np.isfinite(size) or size < float(info.tiny):
        return float(info.tiny) * float(info.eps)
    return float(info.eps) * 2.0 ** np.floor(np.log2(size))


def _angles(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    norm_a, norm_b = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    cosine = float(np.vdot(b, a).real / (norm_a * norm_b)) if norm_a and norm_b else np.nan
    total = norm_a + norm_b
    return cosine, float(np.linalg.norm(a - b) / total) if total else 0.0


def _nearer(a: np.ndarray, b: np.ndarray, exact: np.ndarray | None) -> str:
    if exact is None:
        return ""
    of_f, of_reference = difference(a, exact).max(), difference(b, exact).max()
    return "both" if of_f == of_reference else "f" if of_f < of_reference else "reference"
