"""The routes by which a gradient is reached, each compared with the reference's by itself.

    explicit             backward(cache, dy), the function as written; of a jax.custom_vjp too
    lifted               J_fᵀ dy by jax.vjp: the rule as JAX applies it
    float64              the same in float64 on both sides, where a wrong element has nowhere to hide
    forward              <dy, J_f t> = <Jᵀ dy, t> by jax.jvp, t a direction of one leaf
    finite differences   of f's own value, along directions of one leaf
    taylor               the order at which the remainder falls with the step: 2 if right, 1 if not
    second order         d/ds J_f(x + s t)ᵀ dy, a product with the Hessian of φ = <dy, f>

`every coordinate`, finite differences along each coordinate, is run on request only.
"""

__all__ = ["CHEAPEST", "PASSES", "ROUTES", "WHOLE"]

ROUTES = ("explicit", "lifted", "float64", "forward", "finite differences", "taylor", "second order")
CHEAPEST = ("explicit", "lifted", "forward", "finite differences")
"""Those that cost least, and compare all that a gradient is asked for."""
PASSES = ("explicit", "lifted", "float64")
"""Those that yield the gradient itself, all of it."""
WHOLE = (*PASSES, "second order", "every coordinate")
"""Those that compare each element."""
