"""How long will a step take on N devices, and how much of them is used?

    compute         flops / (N · rate)                 rate: FLOP/s that one device reaches, not its peak
    communication   2 (N-1)/N · bytes / link           a ring sums `bytes` of gradients; link: bytes/s
                    + 2 (N-1) · latency
    step            compute + communication - what runs at the same time
    efficiency      step on 1 device / (N · step on N)

The batch stays the same as N grows (strong scaling); for a batch that grows with N give flops times N.
"""

from typing import NamedTuple

from experiments.shared.run import say, table
from jaxnn.checks import expect

__all__ = ["Prediction", "predict", "report"]


class Prediction(NamedTuple):
    """Seconds of one step, and the share of the devices' time that is spent computing."""

    compute: float
    communication: float
    step: float
    efficiency: float


def predict(n_devices: int, *, flops: float, n_bytes: float, rate: float, link: float, latency: float = 0.0,
            overlap: float = 0.0) -> Prediction:
    """The time of a data-parallel step.

    Args:
      flops: of one step, forward and backward, of the whole batch.
      n_bytes: of the gradients.
      rate: FLOP/s one device reaches. link: bytes/s between two neighbours. latency: seconds a message takes.
      overlap: the part of the shorter of both that runs beside the longer, in [0, 1].
    """
    for name, value in (("flops", flops), ("n_bytes", n_bytes), ("rate", rate), ("link", link)):
        expect(value > 0, "predict", f"{name} above 0", repr(value))
    expect(n_devices >= 1 and latency >= 0 and 0 <= overlap <= 1, "predict",
           "n_devices >= 1, latency >= 0 and overlap in [0, 1]", f"{n_devices}, {latency}, {overlap}")
    compute = flops / (n_devices * rate)
    communication = 2 * (n_devices - 1) / n_devices * n_bytes / link + 2 * (n_devices - 1) * latency
    step = compute + communication - overlap * min(compute, communication)
    return Prediction(compute, communication, step, flops / rate / (n_devices * step))


def report(counts: tuple[int, ...], *, flops: float, n_bytes: float, rate: float, link: float, latency: float,
           overlap: float) -> list[Prediction]:
    predictions = [predict(n, flops=flops, n_bytes=n_bytes, rate=rate, link=link, latency=latency, overlap=overlap)
             for n in counts]
    say(table(("devices", "compute / ms", "communication / ms", "step / ms", "efficiency"), [
        (n, *(f"{1e3 * seconds:.2f}" for seconds in p[:3]), f"{100 * p.efficiency:.0f} %")
        for n, p in zip(counts, predictions, strict=True)]))
    return predictions
