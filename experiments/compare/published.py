"""compare --published: are the rules inside of published models and layers right?

Each entry is a small model, layer or loss of a package that many use, at random arguments. What is not installed is
named and left out.
"""

import argparse
import importlib
import textwrap
import time
from collections.abc import Sequence
from importlib import metadata

from experiments.compare.published_models import PUBLISHED, Published
from experiments.shared.run import say, table
from jaxnn import compare_gradients
from jaxnn.checks import InputError
from jaxnn.gradients.options import refuse
from jaxnn.gradients.rules.report import RulesReport

__all__ = ["compared", "published", "verdict_on"]

MODULES = {"dm-haiku": "haiku", "e3nn-jax": "e3nn_jax", "ott-jax": "ott"}


def compared(model: Published) -> tuple[RulesReport | None, str]:
    """(the report, or None; why there is none)."""
    try:
        importlib.import_module(MODULES.get(model.package, model.package))
    except ImportError as error:
        return None, f"not installed ({error})"
    except Exception as error:
        return None, f"cannot be imported: {type(error).__name__}: {error}"
    try:
        f, args = model.make()
        return compare_gradients(f, *args, by="rule"), ""
    except Exception as error:
        return None, f"raised {type(error).__name__}: {str(error).splitlines()[0]}"


def verdict_on(model: Published, report: RulesReport) -> tuple[str, bool]:
    """(in words, whether each rule is right or known to differ)."""
    names = {rule.name: " not compared" if rule.failed else "" for rule in report.wrong}
    wrong = [f"{name}{words}" for name, words in names.items() if name not in model.known]
    if wrong:
        return f"✗ {', '.join(wrong)}", False
    known = "; ".join(f"{name} {model.known[name]}" for name in names)
    return f"known: {known}" if names else "right" if report.rules else "right: no rule inside", True


def published(argv: Sequence[str]) -> int:
    """compare --published: each rule inside published models."""
    packages = list(dict.fromkeys(model.package for model in PUBLISHED))
    parser = argparse.ArgumentParser(
        "python -m experiments compare --published", allow_abbrev=False,
        description="Compares each rule inside of published models and layers. The exit status is 1 if one of them is "
        "wrong or cannot be judged, and is not known to.")
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(packages)} (default: all)")
    options = parser.parse_args(argv)
    if unknown := sorted(set(options.packages) - set(packages)):
        return refuse(InputError("--published", f"expects packages among {', '.join(packages)}; got {unknown[0]!r}"))
    head, rows, all_ok = ["model", "version", "rules", "uses", "compared", "seconds", "verdict"], [], True
    for model in PUBLISHED:
        if options.packages and model.package not in options.packages:
            continue
        begin = time.perf_counter()
        report, why = compared(model)
        seconds = f"{time.perf_counter() - begin:.1f}"
        version = "-" if why.startswith("not installed") else metadata.version(model.package)
        verdict, is_ok = (why, True) if report is None else verdict_on(model, report)
        say(f"{model.name}: {verdict}, {seconds} s")
        if report is not None and not report.ok:
            say(f"\n{report._replace(name=model.name)}\n")
        rows.append([model.name, version, *(["-"] * 3 if report is None else [
            str(len(report.rules)), f"{report.uses:,}", f"{report.compared:,}"]), seconds,
            textwrap.shorten(verdict, 90, placeholder=" ...")])
        all_ok = all_ok and is_ok
    say("")
    say(table(head, rows))
    return 0 if all_ok else 1
