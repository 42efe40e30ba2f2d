"""compare: the gradient of an op or a network of the catalogue beside its reference's."""

import argparse
from collections.abc import Sequence

from experiments.catalogue import CASES, SIZES, Case, find
from experiments.shared.run import say
from jaxnn.checks import InputError
from jaxnn.gradients.options import add_options, deliver, refuse, settings
from jaxnn.gradients.options import compare as compare_with

__all__ = ["compare"]


def compare(argv: Sequence[str]) -> int:
    """compare [NAME]: gradients beside autodiff's; --list names all. --mutants tests the checkers, --resnet50 and
    --published compare rule by rule."""
    if "--mutants" in argv:
        from experiments.compare.mutation import mutation  # it may want PyTorch
        return mutation([word for word in argv if word != "--mutants"])
    if "--resnet50" in argv:
        from experiments.compare.planted import resnet50
        return resnet50([word for word in argv if word != "--resnet50"])
    if "--published" in argv:
        from experiments.compare.published import published
        return published([word for word in argv if word != "--published"])
    options = _parser().parse_args(argv)
    if options.list or not argv:
        return _list()
    if options.name is None:
        return refuse("compare expects the name of an op; got none; compare --list shows them")
    try:
        case = find(options.name)
        how = settings(options)
        seed = int(options.seed)
        if options.batch is None:
            op, args = case.op, case.args(options.size, seed)
        else:
            op, args = case.over_batch(_batch(options.batch), options.size, seed)
        say(_heading(case, options))
        report = compare_with(op, op.reference, args, dict(case.static), seed, **how)
    except InputError as error:
        return refuse(error)
    return deliver(report, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m experiments compare", allow_abbrev=False,
        description="Compares the backward pass of an op, or of a network of ops, with jax.grad of its reference. "
        "The exit status is 0 if they agree, 1 if not, and 2 if they could not be compared.")
    parser.add_argument("name", nargs="?", metavar="NAME",
                        help="the op or network that is compared; without it, and with --list, all are named")
    parser.add_argument("--list", action="store_true", help="name all ops and networks, with their arguments")
    parser.add_argument("--mutants", action="store_true",
                        help="count which deliberately wrong backward passes each gradient checker finds; "
                        "compare --mutants --help shows its options")
    parser.add_argument("--resnet50", action="store_true",
                        help="compare each rule inside ResNet-50, with a mistake planted in one layer, in about a "
                        "minute; compare --resnet50 --help shows its options")
    parser.add_argument("--published", action="store_true",
                        help="compare each rule inside those published models and layers that are installed; compare "
                        "--published --help shows its options")
    parser.add_argument("--size", default="small", metavar="SIZE",
                        help=f"size of the arguments: {', '.join(SIZES)} (default: small)")
    parser.add_argument("--batch", metavar="N", help="number of examples, which share the parameters")
    add_options(parser)
    return parser


def _list() -> int:
    width = max(len(case.name) for case in CASES)
    for case in CASES:
        static = "".join(f", {name}={value!r}" for name, value in case.static.items())
        say(f"{case.name:{width}}  {case.arguments}{static}")
    return 0


def _heading(case: Case, options: argparse.Namespace) -> str:
    numbers = [f"{name} = {of[SIZES.index(options.size)]}" for name, of in case.sizes.items()
               if not (name == "examples" and options.batch)]
    numbers += [f"examples = {options.batch}"] if options.batch else []
    static = [f"{name}={value!r}" for name, value in case.static.items()]
    return f"{case.name}, {options.size}: {', '.join(numbers + static)}"


def _batch(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise InputError("--batch", f"expects an integer at least 1; got {text!r}")
    return int(text)
