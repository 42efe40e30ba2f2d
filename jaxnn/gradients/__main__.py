"""Compares a gradient at the command line.

    python -m jaxnn.gradients my_module:my_function --reference my_module:plain --args "f32[64,128] f32[128]"
    python -m jaxnn.gradients jaxnn:softmax_cross_entropy --args "f32[10] i32[]<10" --static smoothing=0.1
    python -m jaxnn.gradients audit my_module:my_model --args "{weight: f32[4,3]} f32[8,4]"

`audit` compares each rule inside a function, a `jax.custom_vjp` somewhere in a model say, with its plain function.
The exit status is 0 for a gradient that is right, 1 for one that is wrong or that nothing judges, and 2 where nothing
could be compared.
"""

import argparse
import ast
import functools
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxnn.checks import InputError
from jaxnn.gradients.arguments import parse
from jaxnn.gradients.compare import compare_gradients
from jaxnn.gradients.options import (
    add_options,
    add_seed_and_files,
    check_common,
    compare,
    deliver,
    did_you_mean,
    refuse,
    settings,
)
from jaxnn.gradients.reference import with_reference

EXAMPLE = "my_module:my_function"

ARGUMENTS = """\
arguments are described in one line, and drawn from --seed:
  f32[64,128] f32[128]     one after another, standard normal; also f16, bf16, f64, c64
  f32[]                    a scalar
  f32[4]*0.1  f32[4]>0     normal times 0.1; uniform in (0, 1)
  f32[4]/sum               positive, the last axis sums to 1
  i32[8]<10  bool[8]       integers in 0 .. 9; a fair coin
  key  none                a PRNG key; None
  {weight: f32[4,3], bias: f32[4]}  (f32[3], f32[3])

exit status: 0 the gradient is right, 1 it is wrong or nothing judges it, 2 nothing could be compared"""


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv[:1] == ["audit"]:
        return audit(argv[1:])
    options = parser().parse_args(argv)
    try:
        keywords = settings(options)  # before the module's own code may start JAX
        static = dict(_static(text) for text in options.static)
        f = load("the function", options.function)
        reference = None if options.reference is None else load("--reference", options.reference)
        args = parse(options.args, int(options.seed))
        f, reference = _with_reference(f, reference, args, static, options.function)
        report = compare(f, reference, args, static, int(options.seed), **keywords)
    except InputError as error:
        return refuse(error)
    return deliver(report, options)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m jaxnn.gradients", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compares a function's gradient with its reference's: are they equal, and if not, why?\n"
        "`python -m jaxnn.gradients audit MODULE:NAME --args TEXT` compares each rule inside a function instead,\n"
        "such as a jax.custom_vjp within a model; `audit --help` shows its options.",
        epilog=ARGUMENTS)
    parser.add_argument("function", metavar="MODULE:NAME",
                        help="what is differentiated: a jax.custom_vjp, an op, any callable; the module is "
                        "looked for in the current directory too")
    parser.add_argument("--reference", metavar="MODULE:NAME",
                        help="the plain function, which jax.grad differentiates; an op, a function of ops and a "
                        "custom_vjp bring their own")
    add_arguments(parser)
    add_options(parser)
    return parser


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--args", required=True, metavar="TEXT",
                        help="the arguments; how to describe them is below")
    parser.add_argument("--static", nargs="+", default=[], action="extend", metavar="NAME=VALUE",
                        help="keyword arguments, each value a Python literal or else a word")


def audit(argv: Sequence[str]) -> int:
    """Compares each rule inside a function."""
    options = audit_parser().parse_args(argv)
    try:
        check_common(options)
        static = dict(_static(text) for text in options.static)
        f = load("the function", options.function)
        args = parse(options.args, int(options.seed))
        report = compare_gradients(functools.partial(f, **static) if static else f, *args, by="rule",
                                   seed=int(options.seed))
    except InputError as error:
        return refuse(error)
    return deliver(report._replace(name=options.function), options)


def audit_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m jaxnn.gradients audit", allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Compares each rule inside a function (an op, a jax.custom_vjp, a jax.custom_jvp) with its plain\n"
        "function, at the inputs that the rule gets there.", epilog=ARGUMENTS)
    parser.add_argument("function", metavar="MODULE:NAME", help="any function that JAX can trace")
    add_arguments(parser)
    add_seed_and_files(parser)
    parser.set_defaults(plot=None)
    return parser


def load(role: str, text: str) -> Callable:
    """The callable that MODULE:NAME names.

    Raises:
      InputError: there is none, or importing its module fails.
    """
    module_name, colon, path = text.partition(":")
    if not (colon and path and all(part.isidentifier() for part in module_name.split("."))):
        raise InputError(role, f"expects MODULE:NAME; got {text!r}; for example {EXAMPLE}")
    target: Any = _import(role, module_name)
    where = module_name
    for name in path.split("."):
        if not hasattr(target, name):
            known = [n for n in dir(target) if not n.startswith("_")]
            todo = did_you_mean(name, known) or f"it has {', '.join(known[:10]) or 'nothing'}" + (
                ", ..." if len(known) > 10 else "")
            raise InputError(role, f"expects a name in '{where}'; got {name!r}; {todo}")
        target, where = getattr(target, name), f"{where}.{name}"
    if not callable(target):
        raise InputError(role, f"expects a callable; got {text}, which is of type {type(target).__name__}")
    return target


def _import(role: str, name: str) -> Any:
    """The module, which may lie in the current directory."""
    directory = os.getcwd()
    if directory not in sys.path and "" not in sys.path:
        sys.path.insert(0, directory)
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            # "my_module.py" is looked for as the module py of my_module, and not found either.
            todo = did_you_mean(name.removesuffix(".py").replace("/", "."), _modules()) or (
                f"is it in {directory}, or installed?")
            raise InputError(role, f"expects a module that can be imported; got {name!r}; {todo}") from error
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(role, f"expects a module that can be imported; importing {name!r} raised "
                         f"{type(error).__name__}: {error} ({last.filename}, line {last.lineno})") from error


def _modules() -> Iterator[str]:
    """Names of what can be imported from the current directory, down to the second level."""
    for path in sorted([*Path().glob("*.py"), *Path().glob("*/*.py")]):
        if path.stem != "__init__":
            yield ".".join(path.with_suffix("").parts)


def _with_reference(f: Callable, reference: Callable | None, args: tuple, static: dict[str, Any],
                    name: str) -> tuple[Callable, Callable]:
    """f and the function that --reference names, or else f's own."""
    try:
        return with_reference(f, reference, args, static)
    except InputError as error:
        if reference is None and error.who == "compare_gradients":
            raise InputError("--reference", f"expects MODULE:NAME, the plain function that {name} is compared with; "
                             "got none; an op, a function of ops and a jax.custom_vjp bring their own") from error
        raise


def _static(text: str) -> tuple[str, Any]:
    """NAME=VALUE, the value a Python literal; what is none is a word."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise InputError("--static", f"expects NAME=VALUE; got {text!r}; for example --static stride=2")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


if __name__ == "__main__":
    sys.exit(main())
