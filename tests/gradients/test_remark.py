"""A step of the comparison: its results, or a remark on why there are none."""

import pytest

from jaxnn.gradients.remark import Kind, Remark, attempt, one_line


def raises():
    raise ValueError("no\nand more")


def test_a_step_that_returns_has_no_remark():
    assert attempt(lambda: [1, 2], "f raised") == ((1, 2), ())


def test_a_step_that_raises_has_no_results():
    assert attempt(raises, "laws: f raised") == ((), (Remark(Kind.FAILURE, "laws: f raised ValueError: no"),))
    assert attempt(raises, "f has no rule:", Kind.NOTE).remarks[0].kind is Kind.NOTE


@pytest.mark.parametrize(("error", "line"), [
    (KeyError("weight"), "KeyError: 'weight'"),
    (ValueError(), "ValueError"),
    (TypeError("what went wrong:\n  a shape\nand more"), "TypeError: what went wrong: a shape"),
])
def test_an_error_in_one_line(error, line):
    assert one_line(error) == line
