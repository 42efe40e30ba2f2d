"""What is a function's reference: the plain function whose gradient, by `jax.grad`, its own is compared with?"""

from collections.abc import Callable

from jaxnn.checks import InputError
from jaxnn.hand_derived import Op

__all__ = ["reference_of"]


def reference_of(f: Callable, reference: Callable | None = None) -> Callable:
    """The reference of f: the one that is given, or else the one that f brings, as an op does.

    Raises:
      InputError: f brings none, and none is given.
    """
    if reference is not None:
        return reference
    if isinstance(f, Op):
        return f.reference
    raise InputError("compare_gradients", "expects an op, or reference= beside a plain function; got "
                     f"{type(f).__name__}")
