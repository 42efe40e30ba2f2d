"""python -m experiments scale: the same training on many devices, what they send, and what to expect of them."""

import argparse
from collections.abc import Sequence

import jax

from experiments.scale import collectives, curves, measure, predict
from experiments.shared.run import say
from jaxnn.checks import InputError

__all__ = ["scale"]


def scale(argv: Sequence[str]) -> int:
    """scale: trains on one and on many devices, and measures and predicts what they send and take."""
    parser = argparse.ArgumentParser("python -m experiments scale", allow_abbrev=False,
                                     description="Trains on one and on many devices, and measures and predicts what "
                                     "they send and take.", epilog="`scale predict --help` shows the options of one.")
    parts = parser.add_subparsers(dest="which", required=True, title="what can be asked", metavar="WHAT")
    same_costs = parts.add_parser("curves", help="trains on 1, 2, 4 and 8 virtual devices, and compares the costs")
    same_costs.add_argument("--steps", type=int, default=50, metavar="N",
                            help="steps of each training (default: 50)")
    sent = parts.add_parser("collectives", help="prints what a step sends, read from its program, beside the formula")
    sent.add_argument("--devices", type=int, default=8, metavar="N", help="virtual devices (default: 8)")
    parts.add_parser("measure", help="times two processes on this machine, and compares prediction and measurement")
    prediction = parts.add_parser("predict", help="predicts a step's time and efficiency on N devices")
    for name, default, what in (
            ("flops", 7.8e12, "FLOP of one step: ResNet-50, 640 images of 224 x 224, three passes' worth"),
            ("bytes", 1.02e8, "bytes of gradients: 25.6 million float32"),
            ("rate", 4e14, "FLOP/s that one device reaches"), ("link", 4.5e11, "bytes/s between neighbours"),
            ("latency", 5e-6, "seconds of a message"), ("overlap", 0.0, "part that runs at the same time, 0 to 1")):
        prediction.add_argument(f"--{name}", type=float, default=default, metavar="X",
                                help=f"{what} (default: {default:g})")
    prediction.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8, 16, 64, 256], metavar="N",
                            help="numbers of devices (default: 1 2 4 8 16 64 256)")
    options = parser.parse_args(argv)
    if options.which in ("curves", "collectives"):
        jax.config.update("jax_num_cpu_devices", 8)  # virtual ones; of no effect on accelerators
    try:
        if options.which == "curves":
            differences = curves.report(options.steps)
            return int(any(error > 1e-5 or abs(ratio - 1) > 5e-4 for *_, error, ratio in differences))
        if options.which == "collectives":
            return int(any(n_bytes != formula for n_bytes, formula in collectives.report(options.devices).values()))
        if options.which == "measure":
            measure.report()
        else:
            predict.report(tuple(options.devices), flops=options.flops, n_bytes=options.bytes, rate=options.rate,
                           link=options.link, latency=options.latency, overlap=options.overlap)
    except InputError as error:
        say(f"error: {error}")
        return 2
    return 0
