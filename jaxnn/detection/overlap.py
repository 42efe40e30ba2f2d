"""How much two boxes overlap: IoU and its three relatives, whose slopes do not vanish where boxes are apart.

Along one axis let box a reach from a₀ to a₁ and b from b₀ to b₁. What they share and what holds both is

    i = min(a₁, b₁) - max(a₀, b₀), or 0 where that is negative         o = max(a₁, b₁) - min(a₀, b₀)

With A and B the areas, I = i_x i_y, U = A + B - I, C = o_x o_y, ρ² the squared distance of the middles,
c² = o_x² + o_y² and θ = atan(w / h):

    iou              q = I / U
    generalized_iou  g = q - 1 + U / C
    distance_iou     d = q - ρ² / c²
    complete_iou     e = d - α v        v = 4/π² (θ_a - θ_b)²,  α = v / (1 - q + v)

A quotient whose denominator is 0 is 0. The kinks, and which slope is taken at them:

    equal edges, a₁ = b₁    the mean of both slopes; two equal boxes, where q is largest, then pull at nothing
    boxes that touch, i = 0    that of boxes that are apart, 0

Boxes are pairs: a and b have one shape, (..., 4), and the value is (...); `pairwise` makes a table of all pairs.
Values are computed in float32 at least: the area of a box of 300 pixels is more than float16 holds. An upside-down box
is refused where it is known at the call, and gives NaN in a compiled program.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import expect, expect_bool
from jaxnn.detection.boxes import FORMS, expect_boxes, expect_upright
from jaxnn.hand_derived import Op, Static, hand_derived
from jaxnn.ops.dtypes import promoted, wide

__all__ = ["complete_iou", "distance_iou", "generalized_iou", "iou", "pairwise"]

Array = Any


class Axis(NamedTuple):
    """Both boxes along one axis: edges, and what they make."""

    a0: Array
    a1: Array
    b0: Array
    b1: Array

    @property
    def shared(self) -> Array:
        """i."""
        inner = jnp.minimum(self.a1, self.b1) - jnp.maximum(self.a0, self.b0)
        return jnp.where(inner > 0, inner, 0)

    @property
    def hull(self) -> Array:
        """o."""
        return jnp.maximum(self.a1, self.b1) - jnp.minimum(self.a0, self.b0)

    @property
    def apart(self) -> Array:
        """The signed distance of the middles."""
        return (self.a0 + self.a1 - self.b0 - self.b1) / 2


class Cotangents(NamedTuple):
    """Of what the two boxes make along one axis; 0 where a measure does not depend on one of them."""

    shared: Array = 0.0
    hull: Array = 0.0
    apart: Array = 0.0
    a_size: Array = 0.0
    b_size: Array = 0.0


def pairwise(measure: Op, a: Any, b: Any, **static: Any) -> Any:
    """(n, m): a measure of this file for every box of a, (n, 4), with every one of b, (m, 4).

    >>> pairwise(iou, jnp.array([[0.0, 0, 2, 2]]), jnp.array([[1.0, 0, 4, 2], [5, 5, 6, 6]])).tolist()
    [[0.25, 0.0]]
    """
    for name, boxes in (("a", a), ("b", b)):
        expect_boxes("pairwise", name, boxes, rank=2)
    a, b = jnp.asarray(a), jnp.asarray(b)
    shape = (len(a), len(b), 4)
    return measure(jnp.broadcast_to(a[:, None], shape), jnp.broadcast_to(b, shape), **static)


@hand_derived
def iou(a: Any, b: Any, *, form: str = "corners") -> Any:
    """q = I / U, the area that both boxes share by the area that they cover together; in [0, 1].

    Args:
      a, b: boxes of one shape, (..., 4).
      form: "corners" for (left, top, right, bottom), "centre" for (x, y, width, height).
    Returns:
      (...), without a unit.
    Raises:
      InputError: the shapes differ, or a box is upside down.

    >>> round(float(iou(jnp.array([2.0, 1, 4, 3]), jnp.array([1.0, 2, 3, 4]))), 4)
    0.1429
    """
    x, y, cache = _read(iou.name, a, b, form)
    q, _, _ = _iou(x, y)
    return q.astype(cache[2].value[1]), cache


@iou.defbackward
def iou_backward(cache: Any, dy: Any) -> Any:
    """From dq = (dI - q dU) / U and dU = dA + dB - dI:

        dI = dq (1 + q) / U        dA = dB = -dq q / U

    and from I = i_x i_y, A = w h the cotangents of the sizes along each axis: di_x = dI i_y, dw_a = dA h_a. Along an
    axis the smaller of two edges has all of the slope of their minimum, and each has half of it where they are equal.
    """
    x, y = _axes(cache)
    return _to_boxes(cache, x, y, *_iou_backward(x, y, wide(dy)))


@hand_derived
def generalized_iou(a: Any, b: Any, *, form: str = "corners") -> Any:
    """g = q - (C - U) / C, C the area of the smallest box around both; in [-1, 1], negative where boxes are far apart.

    Args, Returns, Raises: as for `iou`.

    >>> round(float(generalized_iou(jnp.array([0.0, 0, 1, 1]), jnp.array([2.0, 0, 3, 1]))), 4)
    -0.3333
    """
    x, y, cache = _read(generalized_iou.name, a, b, form)
    q, _, union = _iou(x, y)
    hull = x.hull * y.hull
    g = q + jnp.where(hull > 0, union / jnp.where(hull > 0, hull, 1) - 1, 0)
    return g.astype(cache[2].value[1]), cache


@generalized_iou.defbackward
def generalized_iou_backward(cache: Any, dy: Any) -> Any:
    """With dg = dy, dq = dg as in `iou`; besides, from U / C:

        dU = dg / C, so dA = dB = dU and dI = -dU        dC = -dg U / C²

    and do_x = dC o_y. Of the hull, the larger of two edges has the slope.

    Source: Rezatofighi et al. (2019), algorithm 2.
    """
    x, y = _axes(cache)
    dg = wide(dy)
    _, _, union = _iou(x, y)
    hull = x.hull * y.hull
    safe = jnp.where(hull > 0, hull, 1)
    dU = jnp.where(hull > 0, dg / safe, 0)
    dC = -dU * union / safe
    dx, dy_ = _iou_backward(x, y, dg, dU)
    return _to_boxes(cache, x, y, dx._replace(hull=dC * y.hull), dy_._replace(hull=dC * x.hull))


@hand_derived
def distance_iou(a: Any, b: Any, *, form: str = "corners") -> Any:
    """d = q - ρ² / c²: IoU less the squared distance of the middles, in parts of the hull's squared diagonal.

    Args, Returns, Raises: as for `iou`.

    >>> round(float(distance_iou(jnp.array([0.0, 0, 1, 1]), jnp.array([2.0, 0, 3, 1]))), 4)
    -0.4
    """
    x, y, cache = _read(distance_iou.name, a, b, form)
    q, _, _ = _iou(x, y)
    return (q - _distance(x, y)).astype(cache[2].value[1]), cache


@distance_iou.defbackward
def distance_iou_backward(cache: Any, dy: Any) -> Any:
    """With dd = dy and s the signed distance of the middles along an axis, ρ² = s_x² + s_y²:

        dq = dd        ds_x = -2 dd s_x / c²        do_x = 2 dd ρ² o_x / c⁴

    Source: Zheng et al. (2020), eq. 7.
    """
    x, y = _axes(cache)
    dd = wide(dy)
    dx, dy_ = _iou_backward(x, y, dd)
    return _to_boxes(cache, x, y, *_distance_backward(x, y, dd, dx, dy_))


@hand_derived
def complete_iou(a: Any, b: Any, *, form: str = "corners", hold_alpha: bool = False) -> Any:
    """e = d - α v: `distance_iou` less a term that draws the shapes together, width by height.

    Args:
      a, b, form: as for `iou`.
      hold_alpha: whether α is held fixed when this is differentiated, as its authors' program does; the value is the
        same. The slope is then that of no function.
    Returns, Raises: as for `iou`.

    >>> round(float(complete_iou(jnp.array([0.0, 0, 2, 1]), jnp.array([0.0, 0, 1, 2]))), 4)
    0.2371
    """
    expect_bool(complete_iou.name, "hold_alpha", hold_alpha)
    x, y, (a, b, static) = _read(complete_iou.name, a, b, form)
    q, _, _ = _iou(x, y)
    v, alpha = _shape_term(x, y, q)
    if hold_alpha:
        alpha = jax.lax.stop_gradient(alpha)
    form, dtype = static.value
    return (q - _distance(x, y) - alpha * v).astype(dtype), (a, b, Static((form, dtype, hold_alpha)))


@complete_iou.defbackward
def complete_iou_backward(cache: Any, dy: Any) -> Any:
    """With de = dy, and dd = de as in `distance_iou`. Let s = 1 - q, so α v = v² / (s + v). Then

        ∂(α v)/∂v = α (2 - α)        ∂(α v)/∂q = α²

    (with α held: ∂/∂v = α, ∂/∂q = 0). Further ∂v/∂θ_a = 8/π² (θ_a - θ_b) = -∂v/∂θ_b, and for θ = atan(w / h)

        ∂θ/∂w = h / (w² + h²)        ∂θ/∂h = -w / (w² + h²)

    Where q = 1 and v = 0, α is 0, and so is its slope.

    Source: Zheng et al. (2020), eq. 9-12, which hold α.
    """
    x, y = _axes(cache)
    de, hold = wide(dy), cache[2].value[2]
    q, _, _ = _iou(x, y)
    _, alpha = _shape_term(x, y, q)
    dv = -de * (alpha if hold else alpha * (2 - alpha))
    dx, dy_ = _iou_backward(x, y, de if hold else de * (1 - alpha * alpha))
    dx, dy_ = _distance_backward(x, y, de, dx, dy_)
    turn = dv * (8 / np.pi**2) * (_angle(x.a1 - x.a0, y.a1 - y.a0) - _angle(x.b1 - x.b0, y.b1 - y.b0))
    (a_w, a_h), (b_w, b_h) = (_angle_slopes(x.a1 - x.a0, y.a1 - y.a0), _angle_slopes(x.b1 - x.b0, y.b1 - y.b0))
    return _to_boxes(cache, x, y,
                     dx._replace(a_size=dx.a_size + turn * a_w, b_size=dx.b_size - turn * b_w),
                     dy_._replace(a_size=dy_.a_size + turn * a_h, b_size=dy_.b_size - turn * b_h))


def _read(who: str, a: Any, b: Any, form: str) -> tuple[Axis, Axis, Any]:
    """Both boxes along both axes, and the cache: the boxes as they came, (form, dtype of the value)."""
    expect(isinstance(form, str) and form in FORMS, who, f"form, one of {', '.join(FORMS)}", repr(form))
    for name, boxes in (("a", a), ("b", b)):
        expect_boxes(who, name, boxes)
        expect_upright(who, name, boxes, form)
    expect(jnp.shape(a) == jnp.shape(b), who, f"b of the shape of a, {jnp.shape(a)}", f"shape {jnp.shape(b)}",
           "pairwise makes a table of all pairs")
    cache = a, b, Static((form, jnp.result_type(promoted(a, b)[0])))
    return *_axes(cache), cache


def _axes(cache: Any) -> tuple[Axis, Axis]:
    form, *_ = cache[2].value
    (ax, ay), (bx, by) = (_edges(boxes, form) for boxes in map(wide, promoted(*cache[:2])))
    return Axis(*ax, *bx), Axis(*ay, *by)


def _edges(boxes: Any, form: str) -> Any:
    """((left, right), (top, bottom)); NaN for a box that is upside down."""
    p, q, r, s = (boxes[..., i] for i in range(4))
    if form == "corners":
        sides = (p, r), (q, s)
        wrong = (r < p) | (s < q)
    else:
        sides = (p - r / 2, p + r / 2), (q - s / 2, q + s / 2)
        wrong = (r < 0) | (s < 0)
    return [tuple(jnp.where(wrong, jnp.nan, edge) for edge in side) for side in sides]


def _iou(x: Axis, y: Axis) -> tuple[Array, Array, Array]:
    """(q, I, U)."""
    shared = x.shared * y.shared
    union = (x.a1 - x.a0) * (y.a1 - y.a0) + (x.b1 - x.b0) * (y.b1 - y.b0) - shared
    # Not union > 0, which is false of NaN, and would make it 0.
    return jnp.where(union == 0, 0, shared / jnp.where(union == 0, 1, union)), shared, union


def _iou_backward(x: Axis, y: Axis, dq: Array, dU: Array = 0.0) -> tuple[Cotangents, Cotangents]:
    """Of the sizes along both axes, for a cotangent of q, and one of U from elsewhere."""
    q, _, union = _iou(x, y)
    share = jnp.where(union == 0, 0, dq / jnp.where(union == 0, 1, union))
    dA = dU - share * q
    dI = share * (1 + q) - dU
    return (Cotangents(shared=dI * y.shared, a_size=dA * (y.a1 - y.a0), b_size=dA * (y.b1 - y.b0)),
            Cotangents(shared=dI * x.shared, a_size=dA * (x.a1 - x.a0), b_size=dA * (x.b1 - x.b0)))


def _distance(x: Axis, y: Axis) -> Array:
    """ρ² / c²."""
    diagonal = x.hull**2 + y.hull**2
    return jnp.where(diagonal == 0, 0, (x.apart**2 + y.apart**2) / jnp.where(diagonal == 0, 1, diagonal))


def _distance_backward(x: Axis, y: Axis, dd: Array, dx: Cotangents,
                       dy: Cotangents) -> tuple[Cotangents, Cotangents]:
    diagonal = x.hull**2 + y.hull**2
    share = jnp.where(diagonal == 0, 0, 2 * dd / jnp.where(diagonal == 0, 1, diagonal))
    part = _distance(x, y)
    return (dx._replace(apart=-share * x.apart, hull=share * part * x.hull),
            dy._replace(apart=-share * y.apart, hull=share * part * y.hull))


def _shape_term(x: Axis, y: Axis, q: Array) -> tuple[Array, Array]:
    """(v, α)."""
    turn = _angle(x.a1 - x.a0, y.a1 - y.a0) - _angle(x.b1 - x.b0, y.b1 - y.b0)
    v = (4 / np.pi**2) * turn**2
    total = 1 - q + v
    return v, jnp.where(v == 0, 0, v / jnp.where(v == 0, 1, total))


def _angle(width: Array, height: Array) -> Array:
    """atan(w / h), 0 of a box without extent."""
    nothing = (width == 0) & (height == 0)
    return jnp.where(nothing, 0, jnp.arctan2(width, jnp.where(nothing, 1, height)))


def _angle_slopes(width: Array, height: Array) -> tuple[Array, Array]:
    square = width**2 + height**2
    safe = jnp.where(square == 0, 1, square)
    return height / safe, -width / safe


def _to_boxes(cache: Any, x: Axis, y: Axis, dx: Cotangents, dy: Cotangents) -> tuple[Any, Any]:
    """Cotangents of both boxes from those along both axes."""
    form, *_ = cache[2].value
    (ax0, ax1, bx0, bx1), (ay0, ay1, by0, by1) = _to_edges(x, dx), _to_edges(y, dy)
    if form == "corners":
        return jnp.stack([ax0, ay0, ax1, ay1], -1), jnp.stack([bx0, by0, bx1, by1], -1)
    return (jnp.stack([ax0 + ax1, ay0 + ay1, (ax1 - ax0) / 2, (ay1 - ay0) / 2], -1),
            jnp.stack([bx0 + bx1, by0 + by1, (bx1 - bx0) / 2, (by1 - by0) / 2], -1))


def _to_edges(axis: Axis, d: Cotangents) -> tuple[Array, Array, Array, Array]:
    """(da₀, da₁, db₀, db₁). Where a₁ is the smaller of two ends, min(a₁, b₁) has its slope and max(a₁, b₁) that of
    b₁; with equal ends each has half."""
    end, begin = _share(axis.b1 - axis.a1), _share(axis.a0 - axis.b0)
    inner = jnp.minimum(axis.a1, axis.b1) - jnp.maximum(axis.a0, axis.b0)
    shared = jnp.where(inner > 0, d.shared, 0)
    return (-shared * begin - d.hull * (1 - begin) + d.apart / 2 - d.a_size,
            shared * end + d.hull * (1 - end) + d.apart / 2 + d.a_size,
            -shared * (1 - begin) - d.hull * begin - d.apart / 2 - d.b_size,
            shared * (1 - end) + d.hull * end - d.apart / 2 + d.b_size)


def _share(ahead: Array) -> Array:
    """1 where positive, 1/2 at 0, 0 where negative."""
    return jnp.where(ahead == 0, 0.5, jnp.where(ahead > 0, 1.0, 0.0)).astype(ahead.dtype)
