"""What a training step sends between devices, read from its compiled program and beside the formula.

Data parallel, each device has all P parameters and the gradient of its share of the batch: one sum over the
devices, of P numbers and the cost. Fully sharded, each has P / N of them: they are gathered before the
forward pass, and the gradients summed; of each parameter array that is cut, a share of the norm is summed
too, and of each shape among them a flag, whether the update is finite.
"""

import math
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax

from experiments.scale.train import begin
from experiments.shared.run import say, table
from jaxnn.training import make_mesh
from jaxnn.training.mesh import place

__all__ = ["Collective", "collectives", "report"]

BYTES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4, "f64": 8, "s64": 8}
KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
LINE = re.compile(rf"= (?P<shapes>.+?) (?P<kind>{'|'.join(KINDS)})(-start)?\(")
SHAPE = re.compile(rf"\b({'|'.join(BYTES)})\[([\d,]*)\]")


class Collective(NamedTuple):
    """One operation of the program: its kind and the bytes of its results on one device."""

    kind: str
    n_bytes: int


def collectives(program: str) -> Iterator[Collective]:
    """The collectives of a compiled program's text."""
    for line in program.splitlines():
        found = LINE.search(line)
        if found:
            sizes = [BYTES[dtype] * math.prod(map(int, filter(None, shape.split(","))))
                     for dtype, shape in SHAPE.findall(found["shapes"])]
            yield Collective(found["kind"], sum(sizes))


def of_step(n_devices: int, *, fully: bool, hidden: int = 256, batch: int = 128) -> tuple[list[Collective], Any]:
    """(collectives of the digits' step on so many devices, its parameters)."""
    mesh = make_mesh(n_devices)
    state, step, batches = begin(hidden, batch, mesh, fully=fully)
    return list(collectives(step.lower(state, *place(batches(0), mesh)).compile().as_text())), state.params


def report(n_devices: int) -> dict[tuple[str, str], tuple[int, int]]:
    """Prints the table; by placement and kind the bytes of the program and of the formula."""
    rows, sent = [], {}
    for fully in (False, True):
        found, params = of_step(n_devices, fully=fully)
        cut = [leaf for leaf in jax.tree.leaves(params) if not leaf.sharding.is_fully_replicated]
        formula = {"all-reduce": sum(leaf.nbytes for leaf in jax.tree.leaves(params)) + 4 + 4 * len(cut)
                   + len({leaf.shape for leaf in cut}),
                   "all-gather": sum(leaf.nbytes for leaf in cut)}
        for kind in KINDS:
            of_kind = [c.n_bytes for c in found if c.kind == kind]
            if of_kind:
                name = "fully sharded" if fully else "data parallel"
                sent[name, kind] = sum(of_kind), formula.get(kind, 0)
                rows.append((name, kind, len(of_kind), f"{sum(of_kind):,}", f"{formula.get(kind, 0):,}"))
    say(f"the digits' step on {n_devices} devices, of which each sends and receives:\n")
    say(table(("placement", "collective", "number", "bytes", "formula"), rows))
    return sent
