"""Many devices and processes: the commands, and two processes trained together, killed, and asked to stop."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.scale import collectives, curves
from experiments.scale.measure import free_port
from experiments.scale.predict import predict
from jaxnn.training import checkpoint, connect

ROOT = Path(__file__).parents[2]


def launch(out, n, *options):
    """n processes of one training run, on the loopback."""
    together = ["--coordinator", f"127.0.0.1:{free_port()}", "--processes", str(n), "--timeout", "20"] if n > 1 else []
    return [subprocess.Popen(
        [sys.executable, "-m", "experiments.scale.train", "--out", str(out), "--hidden", "16", "--batch", "32",
         "--every", "10", *together, *(["--process", str(i)] if n > 1 else []), *options],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for i in range(n)]


def ended(processes):
    outs = [p.communicate(timeout=240) for p in processes]
    return [p.returncode for p in processes], [out for out, _ in outs], [err for _, err in outs]


def costs(out):
    return json.loads(out.splitlines()[-1])["costs"][1:]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The costs of one process on one device, 60 steps."""
    codes, outs, errors = ended(launch(tmp_path_factory.mktemp("alone"), 1, "--steps", "60"))
    assert codes == [0], errors
    return costs(outs[0])


def wait_for(directory, step, processes):
    end = time.monotonic() + 120
    while not checkpoint.steps_in(directory) or checkpoint.steps_in(directory)[-1] < step:
        assert time.monotonic() < end and all(p.poll() is None for p in processes), [p.communicate() for p in processes]
        time.sleep(0.02)


@pytest.mark.exhaustive
def test_one_is_killed_the_other_says_so_and_one_alone_goes_on(alone, tmp_path):
    """Four processes are started one after another, 30 s."""
    processes = launch(tmp_path, 2, "--steps", "100000", "--fully")
    wait_for(tmp_path, 20, processes)
    processes[1].kill()
    codes, _, errors = ended(processes)
    assert codes[0] != 0
    # JAX may end it before it can say so itself, and then says it in its own words.
    assert ("another process of this run has ended, near step" in errors[0]
            and f"started again, it continues from {tmp_path}" in errors[0]) or "another task died" in errors[0]
    for late in (s for s in checkpoint.steps_in(tmp_path) if s > 50):
        (tmp_path / f"step_{late:08d}" / "manifest.json").unlink()  # so that there is a rest to do
    if not any(s <= 50 for s in checkpoint.steps_in(tmp_path)):
        pytest.skip("it came too far before it was killed")
    codes, outs, errors = ended(launch(tmp_path, 1, "--steps", "60"))
    assert codes == [0], errors
    assert "continuing from step" in outs[0]
    assert max(abs(a - b) for a, b in zip(costs(outs[0]), alone, strict=True)) < 1e-5


@pytest.mark.exhaustive
def test_sigterm_to_one_stops_both_at_the_same_step(alone, tmp_path):
    processes = launch(tmp_path, 2, "--steps", "100000")
    wait_for(tmp_path, 20, processes)
    processes[1].send_signal(signal.SIGTERM)
    codes, outs, errors = ended(processes)
    assert codes == [143, 143], errors
    stops = [line.split()[-1] for out in outs for line in out.splitlines() if "stopped at step" in line
             and line.startswith("process")]
    assert len(stops) == 2 and len(set(stops)) == 1
    assert checkpoint.steps_in(tmp_path)[-1] == int(stops[0])
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    trained = {r["step"]: r["cost"] for r in records if "cost" in r}
    assert all(abs(trained[s] - alone[i]) < 1e-5 for i, s in enumerate(range(10, 61, 10)) if s in trained)
    assert 20 in trained


def test_what_is_sent_is_the_formula():
    sent = collectives.report(4)
    assert set(sent) == {("data parallel", "all-reduce"), ("fully sharded", "all-reduce"),
                         ("fully sharded", "all-gather")}
    assert all(n_bytes == formula for n_bytes, formula in sent.values())


def test_collectives_of_a_program():
    text = """
      %a = f32[4,8]{1,0} all-gather(%x), dimensions={0}
      %b = (f32[10]{0}, bf16[2]{0}, pred[]) all-reduce(%p, %q, %r), to_apply=%add
      %c = f32[10]{0} add(%a, %b)
    """
    assert list(collectives.collectives(text)) == [("all-gather", 128), ("all-reduce", 45)]


@pytest.mark.exhaustive
def test_the_same_curve_on_every_number_of_devices():
    differences = curves.report(steps=5)
    assert [(name, n) for name, n, *_ in differences] == [
        (name, n) for name in ("data parallel", "fully sharded") for n in (2, 4, 8)]
    for *_, error, ratio in differences:
        assert error < 1e-5 and abs(ratio - 1) < 5e-4


def test_predict():
    alone = predict(1, flops=1e12, n_bytes=1e8, rate=1e12, link=1e10)
    assert alone == (1.0, 0.0, 1.0, 1.0)
    eight = predict(8, flops=1e12, n_bytes=1e8, rate=1e12, link=1e10, latency=1e-3)
    assert eight.compute == 0.125
    assert eight.communication == pytest.approx(2 * 7 / 8 * 0.01 + 14e-3)
    assert eight.efficiency == pytest.approx(1 / (8 * eight.step))
    hidden = predict(8, flops=1e12, n_bytes=1e8, rate=1e12, link=1e10, overlap=1.0)
    assert hidden.step == 0.125
    with pytest.raises(ValueError, match="flops above 0"):
        predict(1, flops=0, n_bytes=1, rate=1, link=1)


def test_commands(capsys):
    assert main(["scale", "predict", "--devices", "1", "4"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("1 ")
    assert main(["scale", "predict", "--rate", "-1"]) == 2
    assert "rate above 0" in capsys.readouterr().out


def test_connect():
    with pytest.raises(ValueError, match="together, or none"):
        connect("127.0.0.1:1", 2)
    with pytest.raises(ValueError, match=r"process in 0 .. n_processes - 1; got 2 of 2"):
        connect("127.0.0.1:1", 2, 2)
