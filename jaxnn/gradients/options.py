"""The options of a comparison at a command line: what they refuse, and where the report goes."""

import argparse
import contextlib
import difflib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from jaxnn.checks import InputError
from jaxnn.config import config
from jaxnn.gradients.compare import compare_at
from jaxnn.gradients.conditions import CONDITIONS, DTYPES
from jaxnn.gradients.problem import Problem
from jaxnn.gradients.report import GradientReport
from jaxnn.gradients.trees import argument_names

__all__ = ["add_options", "add_seed_and_files", "check_common", "compare", "deliver", "did_you_mean", "refuse",
           "settings"]

DEVICES = 8  # of the CPU, for `sharded`
PICTURES = ("png", "pdf", "svg", "jpg")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that every comparison has."""
    parser.add_argument("--dtypes", "--dtype", action="append", metavar="NAME[,NAME...]",
                        help=f"repeat it with the arguments in these dtypes: {', '.join(DTYPES)}; or all")
    parser.add_argument("--under", action="append", metavar="NAME[,NAME...]",
                        help="repeat it under these transformations: " + ", ".join(CONDITIONS) +
                        f"; or all. sharded runs on {DEVICES} virtual devices of the CPU")
    parser.add_argument("--cost", action="store_true",
                        help="measure time, memory and operations beside the reference's")
    parser.add_argument("--every-coordinate", action="store_true",
                        help="finite differences along each coordinate, not only along random directions")
    add_seed_and_files(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the error of every element there, as "
                        + " or ".join(PICTURES))


def add_seed_and_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", default="0", metavar="N",
                        help="seed of the arguments, the cotangent and the directions (default: 0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the report there as a document")


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The keyword arguments of `compare_at`, once all options have been checked.

    Raises:
      InputError: an option names something unknown, or a file that cannot be written.
    """
    check_common(options)
    if options.plot is not None and options.plot.suffix.lower().lstrip(".") not in PICTURES:
        raise InputError("--plot", f"expects a file named .{', .'.join(PICTURES)}; got {options.plot}")
    under = _names("--under", "transformations", options.under, CONDITIONS)
    if "sharded" in under:
        make_devices()
    return {"dtypes": _names("--dtypes", "dtypes", options.dtypes, DTYPES), "under": under,
            "cost": options.cost, "every_coordinate": options.every_coordinate}


def check_common(options: argparse.Namespace) -> None:
    """Refuses a seed that is no integer, and a file that cannot be written."""
    if not options.seed.isdecimal():
        raise InputError("--seed", f"expects an integer at least 0; got {options.seed!r}")
    for option in ("json", "markdown", "plot"):
        _expect_writable(f"--{option}", getattr(options, option))


def compare(f: Callable, reference: Callable, args: tuple[Any, ...], static: dict[str, Any], seed: int,
            **options: Any) -> GradientReport:
    """`compare_gradients`, but a static argument may have any name."""
    problem = Problem(reference, args, static, names=argument_names(f), seed=seed)
    return compare_at(f, problem, **options)


def deliver(report: Any, options: argparse.Namespace) -> int:
    """Prints the report and writes the files that were asked for; returns the exit status."""
    print(report)
    if options.json is not None:
        options.json.write_text(report.to_json() + "\n", encoding="utf-8")
    if options.markdown is not None:
        options.markdown.write_text(report.to_markdown() + "\n", encoding="utf-8")
    if options.plot is not None:
        report.plot().savefig(options.plot)
    return 0 if report.ok else 1


def refuse(message: object) -> int:
    """Prints what is wrong with the command line to the error stream; returns the exit status."""
    print(f"error: {message}", file=sys.stderr)
    return 2


def did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else ""


def make_devices() -> None:
    """Makes several devices of the CPU, unless the user has set their number, or JAX has already started."""
    n_devices: int = config.jax_num_cpu_devices
    if n_devices == -1 and "host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", DEVICES)


def _names(option: str, noun: str, texts: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    """The names in the texts of an option, with commas between them."""
    names = [name.strip() for text in texts or () for name in text.split(",")]
    for name in names:
        if name not in (*known, "all"):
            todo = did_you_mean(name, known)
            raise InputError(option, f"expects {noun} among {', '.join(map(repr, known))}, or 'all'; got {name!r}"
                             + (f"; {todo}" if todo else ""))
    return tuple(known) if "all" in names else tuple(dict.fromkeys(names))


def _expect_writable(option: str, path: Path | None) -> None:
    """A file that cannot be written is refused before the comparison, not after it."""
    if path is None:
        return
    if path.is_dir():
        why = "it is a directory"
    elif not path.parent.is_dir():
        why = f"there is no directory {path.parent}"
    elif not os.access(path if path.exists() else path.parent, os.W_OK):
        why = "it is protected"
    else:
        return
    raise InputError(option, f"expects a file that can be written; got {path}; {why}")
