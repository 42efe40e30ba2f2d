"""Several processes, on one host or many, as one: each calls `connect()` before it uses JAX.

    connect()                        # under SLURM, Open MPI, mpi4py, Kubernetes, or on TPU pods
    connect("10.0.0.1:1234", 4, 2)   # anywhere: the address of process 0, how many there are, which this is

After that `jax.devices()` are those of all processes, `make_mesh()` spans them, and `fit` saves from the
first process only. On CPU the processes talk by gloo.
"""

import os
import sys

import jax

from jaxnn.checks import expect

__all__ = ["ProcessLost", "connect", "leave"]


class ProcessLost(RuntimeError):
    """Another process of this run has ended, so that no step can be finished."""


def connect(coordinator: str | None = None, n_processes: int | None = None, process: int | None = None, *,
            timeout: int = 60) -> int:
    """Joins this process with the others; the number of processes.

    Args:
      coordinator: "host:port" of process 0; with it the two numbers. None finds all three in what the
        launcher has set, and is one process alone where there is no launcher.
      timeout: seconds without a sign of life after which a process is given up.
    Raises:
      InputError: only some of the three are given, or process is not in 0 .. n_processes - 1.
      RuntimeError: JAX has been used already, or the others do not come.
    """
    given = [value is not None for value in (coordinator, n_processes, process)]
    expect(all(given) or not any(given), "connect", "coordinator, n_processes and process together, or none",
           f"{coordinator!r}, {n_processes!r}, {process!r}")
    if n_processes is not None and process is not None:
        expect(n_processes > 0 and 0 <= process < n_processes, "connect", "process in 0 .. n_processes - 1",
               f"{process} of {n_processes}")
    try:
        jax.distributed.initialize(coordinator, n_processes, process, initialization_timeout=timeout,
                                   heartbeat_timeout_seconds=timeout, shutdown_timeout_seconds=timeout)
    except ValueError as error:
        if coordinator is None and "coordinator_address" in str(error):
            return 1  # no launcher
        raise
    return jax.process_count()


def leave(status: int) -> None:
    """Ends this process at once. After another one is lost an ordinary end waits for it, and then aborts."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
