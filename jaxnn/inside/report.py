"""The findings of `look_inside`: a table, JSON and a chart of a network's ops.

An op is bad if one of its numbers is NaN or infinite. Going forward, the report names the first bad op in forward
order, and the first of its params, value and cache that is bad. Going backward, it names the first op in backward
order whose backward pass gives a bad dx or dparams. The cotangent has vanished (exploded) where ‖dy‖ is below
(above) a stated multiple of the output's.
"""

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Bad", "Inside", "InsideRow", "Numbers"]


class Numbers(NamedTuple):
    """The floating-point numbers of some arrays, together."""

    norm: float
    """Euclidean, of the finite ones."""
    size: int
    zeros: int
    nans: int
    infinities: int

    @property
    def finite(self) -> bool:
        return not self.nans and not self.infinities

    @property
    def share_of_zeros(self) -> float:
        return self.zeros / self.size if self.size else 0.0

    @property
    def trouble(self) -> str:
        """"3 NaN, 1 inf of 320"; "" where all are finite."""
        counts = [f"{n} {what}" for n, what in ((self.nans, "NaN"), (self.infinities, "inf")) if n]
        return f"{', '.join(counts)} of {self.size}" if counts else ""


class InsideRow(NamedTuple):
    """One op. An entry is None where there are no such floating-point numbers.

    path: the named scopes around it, or else the function and line that it was called from; with "use 2" where one line
    calls it with the same params for the second time.
    """

    path: str
    op: str
    shape: Any
    """Of the value, all examples together."""
    params: Numbers | None
    cache: Numbers | None
    """What forward kept for backward: of a dense layer its x, and its weight."""
    value: Numbers | None
    cotangent: Numbers | None
    """dy = ∂L/∂value, which backward is given."""
    dx: Numbers | None
    """∂L/∂x, which backward gives."""
    gradient: Numbers | None
    """∂L/∂params, summed over the examples."""
    dead: float | None
    """The share of the value's elements that are 0 in every example; None without examples."""

    @property
    def gain(self) -> float | None:
        """‖dx‖ / ‖dy‖: below 1 the op shrinks what flows back through it."""
        if self.dx is None or self.cotangent is None or self.cotangent.norm == 0:
            return None
        return self.dx.norm / self.cotangent.norm


class Bad(NamedTuple):
    """Where the first NaN or infinity is."""

    path: str
    op: str
    where: str
    """"x", "params", "value", "cache"; or, going backward, "dx", "gradient", and of the backward pass's beginning "the
    loss's gradient ∂L/∂y", or "dy at the output" where dy is given."""
    numbers: Numbers

    def __str__(self) -> str:
        holder = f"{_label(self.path, self.op)}, " if self.op else ""
        return f"{holder}{self.numbers.trouble} in {'its ' if holder else ''}{self.where}"


class Inside(NamedTuple):
    """The ops of a network in forward order; print it."""

    rows: tuple[InsideRow, ...]
    x: Numbers | None
    dy: Numbers | None
    """The cotangent of the output, from which the backward pass starts."""
    source: str
    """The origin of dy: "given", "random" or "of the loss"."""
    vanishing: float
    exploding: float

    @property
    def bad_forward(self) -> Bad | None:
        """The first op, in forward order, whose params, cache or value is not finite."""
        entries = [("", "", "x", self.x)]
        for row in self.rows:
            # In the order of their causes: a value is bad because its params are.
            entries += [(row.path, row.op, where, getattr(row, where))
                        for where in ("params", "value", "cache")]
        return _first_bad(entries)

    @property
    def bad_backward(self) -> Bad | None:
        """The first op, in backward order, whose backward pass gives what is not finite."""
        begin = "the loss's gradient ∂L/∂y" if self.source == "of the loss" else "dy at the output"
        entries = [("", "", begin, self.dy)]
        for row in reversed(self.rows):
            entries += [(row.path, row.op, where, getattr(row, where)) for where in ("dx", "gradient")]
        return _first_bad(entries)

    @property
    def first_bad(self) -> Bad | None:
        """Where the trouble began: going forward, or else going backward; None if all is finite."""
        return self.bad_forward or self.bad_backward

    @property
    def vanished(self) -> tuple[InsideRow, ...]:
        """Ops whose ‖dy‖ is below `vanishing` times the output's, in backward order."""
        return self._where(lambda part: part < self.vanishing)

    @property
    def exploded(self) -> tuple[InsideRow, ...]:
        """Ops whose ‖dy‖ is above `exploding` times the output's, in backward order."""
        return self._where(lambda part: part > self.exploding)

    def _where(self, holds: Callable[[float], bool]) -> tuple[InsideRow, ...]:
        if self.dy is None or self.dy.norm == 0:
            return ()
        return tuple(row for row in reversed(self.rows) if row.cotangent is not None
                     and row.cotangent.finite and holds(row.cotangent.norm / self.dy.norm))

    @property
    def verdict(self) -> str:
        """The most important findings, one on each line."""
        bad = (("forward", self.bad_forward), ("backward", self.bad_backward))
        lines = [f"first bad going {way}: {first}" for way, first in bad if first is not None]
        if self.vanished:
            lines.append(self._flow("vanishes", self.vanished, min, f"below {self.vanishing:g}"))
        if self.exploded:
            lines.append(self._flow("explodes", self.exploded, max, f"above {self.exploding:g}"))
        dead = [row for row in self.rows if row.dead is not None and row.dead > 0.5]
        if dead:
            most = max(dead, key=lambda row: row.dead or 0)
            others = f", and over half of {len(dead) - 1} more" if len(dead) > 1 else ""
            lines.append(f"dead: {most.dead:.0%} of {_label(most.path, most.op)} is 0 in every example"
                         + others)
        return "\n".join(lines) or (
            f"all finite; ‖dy‖ stays between {self.vanishing:g} and {self.exploding:g} times the output's")

    def _flow(self, what: str, rows: tuple[InsideRow, ...], extreme: Callable, limit: str) -> str:
        """Where the cotangent leaves the range, where it is worst, and by what factor an op changes it."""
        def norm(row: InsideRow) -> float:
            return row.cotangent.norm if row.cotangent is not None else math.nan

        worst, at_output = extreme(rows, key=norm), self.dy.norm if self.dy is not None else math.nan
        steps, part = len(self.rows) - 1 - self.rows.index(worst), norm(worst) / at_output
        rate = f", a factor {part ** (1 / steps):.2g} for each op" if steps and part else ""
        return (f"the cotangent {what}: ‖dy‖ = {at_output:.2g} at the output, {norm(worst):.2g} at "
                f"{_label(worst.path, worst.op)}{rate}; {limit} of the output's from "
                f"{_label(rows[0].path, rows[0].op)} back")

    def __str__(self) -> str:
        head = ("path", "op", "shape", "‖y‖", "zero", "dead", "‖cache‖", "zero", "‖dy‖", "zero", "gain",
                "‖dparams‖", "")
        body = [(row.path or ".", row.op, str(row.shape), _norm(row.value), _zeros(row.value),
                 "" if row.dead is None else f"{row.dead:.0%}", _norm(row.cache), _zeros(row.cache),
                 _norm(row.cotangent), _zeros(row.cotangent),
                 "" if row.gain is None else f"{row.gain:.2g}", _norm(row.gradient), self._remarks(row))
                for row in self.rows]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = ["  ".join(c.rjust(w) if 2 < i < 12 else c.ljust(w)
                           for i, (c, w) in enumerate(zip(row, widths, strict=True))).rstrip()
                 for row in (head, tuple("-" * w for w in widths), *body)]
        legend = (f"y: an op's value; dy = ∂L/∂y, at the output {self.source}; "
                  "gain = ‖∂L/∂x‖ / ‖dy‖\n"
                  "zero: the share of what stands before it that is 0; dead: the share of y that is 0 in "
                  "every example")
        return "\n".join([legend, *lines, self.verdict])

    def _remarks(self, row: InsideRow) -> str:
        named = (("params", row.params), ("y", row.value), ("cache", row.cache), ("dy", row.cotangent),
                 ("dx", row.dx), ("dparams", row.gradient))
        remarks = [f"{x.trouble.split(' of ')[0]} in {name}" for name, x in named
                   if x is not None and not x.finite]
        if self.dy is not None and self.dy.norm and row.cotangent is not None and row.cotangent.finite:
            part = row.cotangent.norm / self.dy.norm
            remarks += ["vanished"] * (part < self.vanishing) + ["exploded"] * (part > self.exploding)
        return ", ".join(remarks)

    def to_json(self) -> str:
        """All numbers and the verdict."""
        def plain(x: Any) -> Any:
            if isinstance(x, InsideRow):
                return plain(x._asdict() | {"gain": x.gain})
            if hasattr(x, "_asdict"):
                return plain(x._asdict())
            if isinstance(x, dict):
                return {name: plain(value) for name, value in x.items()}
            return [plain(value) for value in x] if isinstance(x, tuple | list) else x

        first = plain(self.first_bad)
        return json.dumps({"verdict": self.verdict, "first_bad": first} | plain(self), indent=1,
                          ensure_ascii=False, allow_nan=False)

    def plot(self) -> Any:
        """Norms by op, forward above and backward below, as a matplotlib Figure."""
        from matplotlib.figure import Figure  # imported where a picture is drawn

        n = len(self.rows)
        figure = Figure((min(max(6.4, 0.16 * n + 2), 16), 6.4), layout="constrained")
        up, down = figure.subplots(2, 1, sharex=True)
        forward = ("value y", "value", "o-"), ("cache", "cache", ".:")
        backward = ("cotangent dy", "cotangent", "o-"), ("gradient of params", "gradient", "x")
        for axis, lines in ((up, forward), (down, backward)):
            for label, name, style in lines:
                norms = [_drawn(getattr(row, name)) for row in self.rows]
                axis.plot(range(n), norms, style, label=label, markersize=4, linewidth=1.2)
            for i, row in enumerate(self.rows):
                if any(not x.finite for x in (getattr(row, name) for _, name, _ in lines) if x is not None):
                    axis.axvspan(i - 0.5, i + 0.5, color="tab:red", alpha=0.3, linewidth=0)
            axis.set_yscale("log")
            axis.grid(alpha=0.3)
        if self.dy is not None and self.dy.norm > 0:
            low, high = (limit * self.dy.norm for limit in (self.vanishing, self.exploding))
            down.axhspan(low, high, color="tab:green", alpha=0.08, linewidth=0,
                         label=f"{self.vanishing:g} to {self.exploding:g} of the output's")
        for axis, way, bad in ((up, "forward", self.bad_forward), (down, "backward", self.bad_backward)):
            axis.set_title(f"going {way}" + ("" if bad is None else f": {bad}"), fontsize=10)
        up.set_ylabel("Euclidean norm (units of y)")
        down.set_ylabel("Euclidean norm (units of L per unit)")
        down.set_xlabel("op, in forward order; red: not finite")
        shown = range(0, n, -(-n // 50))
        names = [f"{self.rows[i].path} {self.rows[i].op}" for i in shown]
        down.set_xticks(list(shown), names, rotation=90, fontsize=7)
        for axis in (up, down):
            axis.legend(fontsize=8)
        return figure


def _first_bad(entries: list[tuple[str, str, str, Numbers | None]]) -> Bad | None:
    return next((Bad(path, op, where, numbers) for path, op, where, numbers in entries
                 if numbers is not None and not numbers.finite), None)


def _label(path: str, op: str) -> str:
    return f"'{path}' ({op})" if path else op


def _norm(numbers: Numbers | None) -> str:
    if numbers is None:
        return ""
    return "-" if numbers.size == numbers.nans + numbers.infinities else f"{numbers.norm:.2e}"


def _zeros(numbers: Numbers | None) -> str:
    return "" if numbers is None else f"{numbers.share_of_zeros:.0%}"


def _drawn(numbers: Numbers | None) -> float:
    """A norm on a logarithmic axis, which has no place for 0."""
    return numbers.norm if numbers is not None and numbers.norm > 0 else math.nan
