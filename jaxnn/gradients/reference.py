"""What is a function's reference: the plain function whose gradient, by `jax.grad`, its own is compared with?"""

from collections.abc import Callable
from typing import Any

import jax

from jaxnn.checks import InputError
from jaxnn.explicit.recording import op_primitive
from jaxnn.hand_derived import Op
from jaxnn.linearity import equations
from jaxnn.network import network

__all__ = ["with_reference"]


def with_reference(f: Callable, reference: Callable | None, args: tuple,
                   static: dict[str, Any]) -> tuple[Callable, Callable]:
    """(f, its reference): the one that is given, or else the one that f brings: an op its own, a function of ops the
    same function of their references, a `jax.custom_vjp` or `jax.custom_jvp` the function that it was made of. A
    function of ops is returned as a network, so that its explicit passes are compared too.

    Raises:
      InputError: f brings none, and none is given.
    """
    if reference is not None:
        return f, reference
    if isinstance(f, Op):
        return f, f.reference
    if isinstance(f, jax.custom_vjp | jax.custom_jvp):
        return f, f.fun
    net = network(f)
    recording, _ = net.recorded(args, static)
    if any(eqn.primitive is op_primitive for eqn in equations(recording.closed.jaxpr)):
        return net, net.reference
    raise InputError("compare_gradients", "expects an op, a function of ops, or reference= beside a plain function; "
                     f"got '{net.name}', which calls no op")
