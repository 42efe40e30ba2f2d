"""Knobs given in Python are held to the same bounds as those of the command line."""

import dataclasses

import pytest

from experiments.shared.knobs import Configuration, knob
from jaxnn.checks import InputError


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    steps: int = knob(3, "steps of the training", at_least=1)
    rate: float = knob(0.5, "learning rate", above=0, below=1)
    sizes: tuple[int, ...] = knob((4, 2), "units of each layer", at_least=1)
    kind: str = knob("a", "kind of the network", choices=("a", "b"))


def test_values_in_bounds_are_kept():
    knobs = Knobs(steps=1, rate=0.25, sizes=(1,), kind="b")
    assert (knobs.steps, knobs.rate, knobs.sizes, knobs.kind) == (1, 0.25, (1,), "b")


@pytest.mark.parametrize(("value", "message"), [
    ({"steps": 0}, "--steps expects an integer at least 1; got 0"),
    ({"steps": 2.0}, "--steps expects an integer at least 1; got 2.0"),
    ({"rate": 1.0}, "--rate expects a number above 0 below 1; got 1.0"),
    ({"rate": "fast"}, "--rate expects a number above 0 below 1; got 'fast'"),
    ({"sizes": ()}, r"--sizes expects at least one value; got \(\)"),
    ({"sizes": 3}, "--sizes expects at least one value; got 3"),
    ({"sizes": (3, 0)}, "--sizes expects an integer at least 1; got 0"),
    ({"kind": "c"}, "--kind expects one of a, b; got 'c'"),
])
def test_values_out_of_bounds_are_refused(value, message):
    with pytest.raises(InputError, match=message):
        Knobs(**value)
