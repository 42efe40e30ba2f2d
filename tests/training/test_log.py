"""JSON lines: what a kill may tear, and what is cut off when a run goes on."""

import json

import numpy as np
import pytest

from jaxnn.training.history import NotSaved
from jaxnn.training.log import DamagedLog, Log, clock, read_lines


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
    path.write_text('{"step": 0}\noops\n{"stop": 1}\n{"step": 2}\n')
    with pytest.warns(DamagedLog, match=r"line . of .* is no record and left out: b'"):
        assert [r["step"] for r in read_lines(path)] == [0, 2]


def test_a_full_disk_leaves_the_file_whole(tmp_path):
    log = Log(tmp_path / "metrics.jsonl")
    log.write({"step": 0})
    real, calls = log._file, []

    class Full:
        def write(self, line):
            calls.append(line)
            if len(calls) > 1:
                raise OSError(28, "No space left on device")
            return real.write(line[:5])

        def __getattr__(self, name):
            return getattr(real, name)

    log._file = Full()
    with pytest.warns(NotSaved, match="the record of step 10 could not be written .*No space left"):
        log.write({"step": 10})
    log._file = real
    log.write({"step": 20})
    log.close()
    assert [r["step"] for r in read_lines(tmp_path / "metrics.jsonl")] == [0, 20]
    assert [r["step"] for r in log.records] == [0, 10, 20]


def test_clock():
    assert [clock(s) for s in (0.4, 59.6, 61, 3725)] == ["0:00", "1:00", "1:01", "1:02:05"]
