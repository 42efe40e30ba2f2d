"""The mistakes in a backward pass, as changes of one array.

Each is a plain function of an array, of NumPy's or of JAX's, that keeps shape and dtype. All but those
marked so are linear, and so is the mutated backward pass then. The chosen element, where there is one,
is the one in the middle; where there are two equal axes, the first two are meant.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

__all__ = ["CACHE", "COTANGENT", "GRADIENT", "TERMS", "Mistake"]


def _always(x: Any) -> bool:
    return True


def _is_float(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.floating))


def _is_inexact(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.inexact))


def _is_bool(x: Any) -> bool:
    return x.dtype == np.bool_


def _is_integer(x: Any) -> bool:
    return bool(jnp.issubdtype(x.dtype, jnp.integer))


def _has_slices(x: Any) -> bool:
    return x.ndim > 0 and x.shape[0] > 1


def _is_matrix(x: Any) -> bool:
    return x.ndim > 1 and min(x.shape[-2:]) > 1


def _has_equal_axes(x: Any) -> bool:
    return _equal_axes(x.shape) is not None


def _equal_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The first two axes of one size > 1."""
    return next(((i, j) for i in range(len(shape)) for j in range(i + 1, len(shape))
                 if shape[i] == shape[j] > 1), None)


class Mistake(NamedTuple):
    """A mistake: its name, the change, which arrays it applies to, and whether it is linear."""

    name: str
    change: Callable[[Any], Any]
    fits: Callable[[Any], bool] = _always
    linear: bool = True

    def applies(self, x: Any) -> bool:
        return x.size > 0 and self.fits(x)


def _by(x: Any, factors: Any) -> Any:
    """x times fixed factors, in x's dtype."""
    return x * np.asarray(factors).astype(x.dtype)


def _element(factor: float) -> Callable[[Any], Any]:
    """The element in the middle times a factor."""
    def change(x: Any) -> Any:
        factors = np.ones(x.shape)
        factors[tuple(n // 2 for n in x.shape)] = factor
        return _by(x, factors)

    return change


def _slices(factors: Callable[[np.ndarray], Any]) -> Callable[[Any], Any]:
    """Each slice along the first axis times a factor, a function of its number counted from either end."""
    return lambda x: _by(x, np.asarray(factors(np.arange(len(x)))).reshape(-1, *[1] * (x.ndim - 1)))


def _last(i: np.ndarray) -> Any:
    return i == len(i) - 1


def _every_second(x: Any) -> Any:
    return _by(x, (np.arange(x.size) % 2 == 0).reshape(x.shape))


def _transposed(x: Any) -> Any:
    i, j = _equal_axes(x.shape) or (0, 0)
    return x.swapaxes(i, j)


def _rolled(x: Any) -> Any:
    return x[np.roll(np.arange(len(x)), 1)]


def _shifted(x: Any) -> Any:
    return _slices(lambda i: i > 0)(_rolled(x))


def _mean(x: Any) -> Any:
    return _by(x.mean(), np.ones(x.shape))


def _noisy(x: Any) -> Any:
    return _by(x, 1 + 1e-3 * np.random.default_rng(0).standard_normal(x.shape))


def _to_bfloat16(x: Any) -> Any:
    return x.astype(jnp.bfloat16).astype(x.dtype)


def _ends_exchanged(x: Any) -> Any:
    order = np.arange(x.size)
    order[[0, -1]] = order[[-1, 0]]
    return x.reshape(-1)[order].reshape(x.shape)


def _first_for_all(x: Any) -> Any:
    return x[np.zeros(len(x), int)]


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda x: _by(x, factor)


# Of a leaf of the gradient, and some of them of dy or of what the cache holds.
ZERO = Mistake("zero", _times(0.0))
NEGATED = Mistake("its sign flipped", _times(-1.0))
ONE_PERCENT = Mistake("1 % too large", _times(1.01))
REVERSED = Mistake("reversed along the first axis", lambda x: x[::-1], _has_slices)
ROLLED = Mistake("rolled by one along the first axis", _rolled, _has_slices)
TRANSPOSED = Mistake("transposed", _transposed, _has_equal_axes)
BFLOAT16 = Mistake("rounded to bfloat16", _to_bfloat16, _is_float)
MEAN = Mistake("its mean in place of each element", _mean, _is_inexact)
EVERY_SECOND = Mistake("every second element zeroed", _every_second)
FIRST_ZEROED = Mistake("first slice zeroed", _slices(lambda i: i > 0), _has_slices)
LAST_ZEROED = Mistake("last slice zeroed", _slices(lambda i: ~_last(i)), _has_slices)
ELEMENT_ZEROED = Mistake("one element zeroed", _element(0.0))

GRADIENT = (
    ZERO,
    NEGATED,
    Mistake("twice", _times(2.0)),
    Mistake("half", _times(0.5)),
    ONE_PERCENT,
    Mistake("0.1 % too large", _times(1.001)),
    Mistake("a mean for a sum", lambda x: _by(x, 1 / len(x)), _has_slices),
    Mistake("a sum for a mean", lambda x: _by(x, len(x)), _has_slices),
    ELEMENT_ZEROED,
    Mistake("one element with its sign flipped", _element(-1.0)),
    Mistake("one element doubled", _element(2.0)),
    Mistake("one element 1 % too large", _element(1.01)),
    Mistake("NaN at one element", _element(np.nan)),
    Mistake("infinite at one element", _element(np.inf)),
    FIRST_ZEROED,
    LAST_ZEROED,
    Mistake("right in the first slice only", _slices(lambda i: i == 0), _has_slices),
    Mistake("first slice counted twice", _slices(lambda i: 1.0 + (i == 0)), _has_slices),
    Mistake("first slice in place of all", _first_for_all, _has_slices),
    EVERY_SECOND,
    Mistake("lower triangle only", lambda x: _by(x, np.tril(np.ones(x.shape))), _is_matrix),
    TRANSPOSED,
    Mistake("symmetrised", lambda x: (x + _transposed(x)) * 0.5, _has_equal_axes),
    Mistake("laid out column by column", lambda x: x.T.reshape(x.shape), _is_matrix),
    REVERSED,
    Mistake("reversed along the last axis", lambda x: x[..., ::-1], lambda x: x.ndim > 1 and x.shape[-1] > 1),
    ROLLED,
    Mistake("shifted by one along the first axis", _shifted, _has_slices),
    Mistake("first and last element exchanged", _ends_exchanged),
    Mistake("summed up along the first axis", lambda x: x.cumsum(0), _has_slices),
    Mistake("its mean subtracted", lambda x: x - x.mean(), _is_inexact),
    MEAN,
    BFLOAT16,
    Mistake("a relative noise of 0.1 %", _noisy),
    Mistake("a constant added", lambda x: x + np.asarray(0.01).astype(x.dtype), linear=False),
    Mistake("its absolute value", abs, linear=False),
    Mistake("clipped to [-1, 1]", lambda x: x.clip(-1, 1), _is_float, linear=False),
)

# Of dy, for one leaf of the gradient: what a sum over dy's first axis becomes when it is left unfinished.
TERMS = (
    Mistake("only the first term of the sum", _slices(lambda i: i == 0), _has_slices),
    Mistake("the last term of the sum missing", _slices(lambda i: ~_last(i)), _has_slices),
)

# Of dy, for all leaves of the gradient.
COTANGENT = (
    Mistake("ignored", _times(0.0)),
    Mistake("ones in its place", lambda x: x * 0 + 1, linear=False),
    NEGATED, ONE_PERCENT, REVERSED, ROLLED, FIRST_ZEROED, LAST_ZEROED, ELEMENT_ZEROED, TRANSPOSED, MEAN,
    EVERY_SECOND, BFLOAT16,
)

# Of the cache: numbers, masks and indices.
CACHE = (
    *(mistake._replace(fits=_is_inexact) for mistake in (
        ZERO._replace(name="zeroed"), NEGATED, ONE_PERCENT, ELEMENT_ZEROED)),
    BFLOAT16,
    Mistake("inverted", lambda x: ~x, _is_bool),
    Mistake("true everywhere", lambda x: x | True, _is_bool),
    Mistake("off by one", lambda x: x + np.asarray(1).astype(x.dtype), _is_integer),
    Mistake("zeroed", lambda x: x * np.asarray(0).astype(x.dtype), _is_integer),
    REVERSED, ROLLED, TRANSPOSED, Mistake("first slice in place of all", _first_for_all, _has_slices),
)
