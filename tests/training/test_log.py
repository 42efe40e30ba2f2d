"""JSON lines: what a kill may tear, and what is cut off when a run goes on."""

import json

import numpy as np
import pytest

from jaxnn.training.log import Log, clock, read_lines


def test_written_line_by_line_and_cut_where_a_run_goes_on(tmp_path):
    path = tmp_path / "a" / "metrics.jsonl"
    log = Log(path)
    for step in (0, 10, 20):
        log.write({"step": step, "cost": step / 7})
        assert len(read_lines(path)) == step // 10 + 1, "on the disk at once"
    log.close()
    with open(path, "a") as torn:
        torn.write('{"step": 30, "cost": 0.')
    assert [r["step"] for r in read_lines(path)] == [0, 10, 20]
    log = Log(path, after=10)
    assert [r["step"] for r in log.records] == [0, 10]
    log.write({"step": 20, "cost": np.nan})
    log.close()
    lines = path.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [0, 10, 20]
    assert lines[1] == json.dumps({"step": 10, "cost": 10 / 7}), "to the last digit"
    assert lines[2] == '{"step": 20, "cost": null}', "NaN is no JSON"


def test_a_line_that_is_no_record(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\noops\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"line 2 is b'oops'; delete it"):
        read_lines(path)


def test_clock():
    assert [clock(s) for s in (0.4, 59.6, 61, 3725)] == ["0:00", "1:00", "1:01", "1:02:05"]
