"""The prediction beside a measurement: two processes, each on a core of its own, over the loopback.

    python -m experiments scale measure

One process measures the rate at which it computes the step, two measure how long a sum of a few sizes
takes, from which follow link and latency; then the two take the step together.
"""

import functools
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from experiments.scale.predict import predict
from experiments.scale.train import begin
from experiments.shared.run import say, table
from jaxnn.training import make_mesh
from jaxnn.training.distributed import connect
from jaxnn.training.mesh import place

__all__ = ["free_port", "report"]

SIZES = (2**10, 2**16, 2**20)  # numbers in a sum
REPEATS = 30


def free_port() -> int:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        return int(port.getsockname()[1])


def report(hidden: int = 512, batch: int = 512) -> tuple[float, float]:
    """Prints predicted and measured times of the digits' step; (predicted, measured) seconds on two."""
    alone = _run(1, hidden, batch)
    both = _run(2, hidden, batch)
    # Seconds of a sum = latency + bytes / link: through the smallest and the largest size.
    (small, t_small), (large, t_large) = (
        (4 * SIZES[i], both["sums"][i]) for i in (0, -1))
    link = (large - small) / max(t_large - t_small, 1e-9)
    latency = max(t_small - small / link, 0.0) / 2  # the formula counts 2 (N-1) messages
    rate = alone["flops"] / alone["step"]
    predicted = predict(2, flops=alone["flops"], n_bytes=alone["bytes"], rate=rate, link=link, latency=latency)
    say(f"one process: {rate / 1e9:.1f} GFLOP/s; between two: {link / 1e6:.0f} MB/s, {1e6 * latency:.0f} µs\n")
    say(table(("step of the digits", "predicted / ms", "measured / ms"), [
        ("on one", "-", f"{1e3 * alone['step']:.2f}"),
        ("on two", f"{1e3 * predicted.step:.2f}", f"{1e3 * both['step']:.2f}"),
        ("efficiency", f"{100 * predicted.efficiency:.0f} %", f"{100 * alone['step'] / (2 * both['step']):.0f} %")]))
    return predicted.step, both["step"]


def _run(n: int, hidden: int, batch: int) -> dict[str, Any]:
    """What the first of n processes measured."""
    port, cores = free_port(), sorted(os.sched_getaffinity(0))
    processes = [subprocess.Popen(
        [sys.executable, "-m", "experiments.scale.measure", str(port), str(n), str(i), str(hidden), str(batch),
         str(cores[i % len(cores)])], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        for i in range(n)]
    out = [process.communicate()[0] for process in processes]
    measured: dict[str, Any] = json.loads(out[0].splitlines()[-1])
    return measured


def _time(call: Callable[[], Any]) -> float:
    """Median seconds."""
    call()
    times = []
    for _ in range(REPEATS):
        begin_at = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - begin_at)
    return statistics.median(times)


def main() -> None:
    port, n, process, hidden, batch, core = map(int, sys.argv[1:])
    os.sched_setaffinity(0, {core})
    if n > 1:
        connect(f"127.0.0.1:{port}", n, process)
    mesh = make_mesh()
    state, step, batches = begin(hidden, batch, mesh, fully=False)
    data = place(batches(0), mesh)
    program = step.lower(state, *data).compile()
    costs = program.cost_analysis() or {}
    n_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))

    def take_step() -> Any:
        nonlocal state
        state, info = step(state, *data)
        return info

    measured = {"step": _time(take_step), "flops": float(costs.get("flops", 0)) * n, "bytes": n_bytes, "sums": []}
    whole = NamedSharding(mesh, PartitionSpec())
    if n > 1:
        for size in SIZES:
            host = np.ones((n, size), np.float32)
            array = place(host, mesh)
            total = jax.jit(functools.partial(jnp.sum, axis=0), out_shardings=whole)
            measured["sums"].append(_time(functools.partial(total, array)))
    if process == 0:
        print(json.dumps(measured), flush=True)


if __name__ == "__main__":
    main()
