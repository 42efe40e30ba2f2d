"""Calls that are mistakes: each is refused by an error of the library's own, which says what was expected.

A row of a table is one call. What is tested together are the rows whose names begin alike: "conv: a batch of images".
"""

import re
import warnings

import pytest

from tests.bad_calls import data, every_op, fitting, layers, networks, ops, training, vision
from tests.bad_calls.row import Row, faults, why_not_refused

TABLES = {"every op": every_op, "ops": ops, "layers": layers, "networks": networks, "data": data, "training": training,
          "fitting": fitting, "vision": vision}
GROUPS: dict[str, list[Row]] = {}
for table, module in TABLES.items():
    for row in module.ROWS:
        GROUPS.setdefault(f"{table}, {re.split(r'[:(. ]', row.name)[0]}", []).append(row)


@pytest.mark.sampled
@pytest.mark.parametrize("group", GROUPS)
def test_refused(group):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a step that is traced anew, of complex numbers cast: here by design
        assert faults(GROUPS[group]) == []


@pytest.mark.parametrize("table", TABLES)
def test_what_looks_like_a_mistake_and_is_none(table):
    for call in getattr(TABLES[table], "ACCEPTED", {}).values():
        call()


def test_there_are_many_and_no_two_of_one_name():
    names = [(table, row.name) for table, module in TABLES.items() for row in module.ROWS]
    assert len(names) >= 500
    assert [name for name in set(names) if names.count(name) > 1] == []


def test_a_row_can_fail():
    def foreign():
        raise KeyError("weight")

    assert why_not_refused(Row("a call that is right", lambda: 3)) == "accepted: 3"
    assert why_not_refused(Row("a foreign error", foreign)) == "foreign: KeyError: 'weight'"
    assert why_not_refused(Row("other words", ops.DENSE[0].call,
                               "kernel")).startswith("without 'kernel': dense expects")
