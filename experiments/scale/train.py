"""One training run on all devices of all processes: the digits, data parallel or fully sharded.

    python -m experiments.scale.train --out DIR                      under SLURM, MPI, Kubernetes, or alone
    python -m experiments.scale.train --out DIR --coordinator HOST:PORT --processes N --process I

A second call with the same DIR continues the run, on as many processes and devices as there are then.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxnn import Dense, Flatten, Sequential, relu, softmax_cross_entropy
from jaxnn.data import Batches, load_digits
from jaxnn.training import Interrupted, fit, make_mesh, make_step, shard, start
from jaxnn.training.distributed import ProcessLost, connect, leave

__all__ = ["begin", "network"]


def network(hidden: int) -> Sequential:
    return Sequential(Flatten(), Dense(hidden), relu, Dense(hidden), relu, Dense(10))


def begin(hidden: int, batch_size: int, mesh: Any, *, fully: bool) -> tuple[Any, Any, Batches]:
    """(state on the mesh, step, batches); the same on every process."""
    digits, optimizer = load_digits(), optax.adam(1e-3)
    batches = Batches(digits.x.astype(np.float32), digits.y, batch_size, on_device=jax.process_count() == 1)
    state = start(network(hidden), optimizer, (8, 8), jax.random.key(0))
    return (shard(state, mesh, fully=fully), make_step(network(hidden), softmax_cross_entropy, optimizer), batches)


def main() -> int:
    parser = argparse.ArgumentParser("python -m experiments.scale.train", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="checkpoints and metrics.jsonl")
    parser.add_argument("--steps", type=int, default=500, metavar="N")
    parser.add_argument("--every", type=int, default=50, metavar="N", help="steps between checkpoints (default: 50)")
    parser.add_argument("--batch", type=int, default=128, metavar="N", help="examples of all devices (default: 128)")
    parser.add_argument("--hidden", type=int, default=256, metavar="N")
    parser.add_argument("--fully", action="store_true", help="cut the parameters over the devices, too")
    parser.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0 (default: found by the launcher)")
    parser.add_argument("--processes", type=int, metavar="N")
    parser.add_argument("--process", type=int, metavar="I")
    parser.add_argument("--timeout", type=int, default=60, metavar="S",
                        help="seconds after which a silent process is given up (default: 60)")
    options = parser.parse_args()
    n = connect(options.coordinator, options.processes, options.process, timeout=options.timeout)
    mesh = make_mesh()
    say = print if jax.process_index() == 0 else lambda *args, **kwargs: None
    say(f"{n} processes, {jax.device_count()} devices", flush=True)
    state, step, batches = begin(options.hidden, options.batch, mesh, fully=options.fully)
    try:
        state, history = fit(state, step, batches, steps=options.steps, every=options.every, directory=options.out,
                             mesh=mesh, configuration={"hidden": options.hidden, "batch": options.batch})
    except ProcessLost as lost:
        print(f"error: {lost}", file=sys.stderr, flush=True)
        leave(3)
    except Interrupted as stop:
        print(f"process {jax.process_index()} stopped at step {int(stop.train_state.step)}", flush=True)
        raise
    norm = float(jnp.sqrt(sum(jnp.sum(p**2) for p in jax.tree.leaves(state.params))))
    say(json.dumps({"step": int(state.step), "costs": [r.get("cost") for r in history.records], "norm": norm}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
