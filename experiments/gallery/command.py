"""python -m experiments gallery [--runs DIR] [--out DIR]: one static site of all results."""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from experiments.gallery.pages import Site, pages
from experiments.gallery.records import Run, read_runs
from experiments.shared.run import counted, prepare, say
from jaxnn.checks import InputError

__all__ = ["build", "gallery"]

MARK = "gallery.txt"  # says that a directory is a gallery, which may be replaced
MARK_TEXT = "Made by python -m experiments gallery, which replaces this directory.\n"


def gallery(argv: Sequence[str]) -> int:
    """gallery: a page for each experiment and op, from the records of runs."""
    parser = argparse.ArgumentParser("python -m experiments gallery", allow_abbrev=False, description="One static site "
                                     "from every metrics.json, with its pictures and sounds.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="DIR",
                        help="where the results lie, in folders of any depth (default: runs)")
    parser.add_argument("--out", type=Path, default=Path("gallery"), metavar="DIR",
                        help="where the site goes (default: gallery); an earlier gallery there is replaced")
    options = parser.parse_args(argv)
    from experiments.__main__ import EXPERIMENTS
    try:
        site = build(options.runs, options.out, EXPERIMENTS)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for problem in site.problems:
        say(f"left out: {problem.path}: {problem.why}")
    n_experiments = len({run.experiment for run in site.runs})
    say(f"{options.out / 'index.html'}: {counted(len(site.runs), 'run')} of {counted(n_experiments, 'experiment')}")
    return 0


def build(runs: Path, out: Path, experiments: Mapping[str, str]) -> Site:
    """Writes the site, and returns what it was made of. The site is written beside `out` first: where a page fails, the
    earlier one stays.

    Raises:
      InputError: `runs` is no directory, or `out` holds something other than a gallery.
    """
    if not runs.is_dir():
        raise InputError("--runs", f"expects a directory of results; got {runs}; run an experiment, or name another")
    prepare(out)
    if any(out.iterdir()) and not (out / MARK).is_file():
        raise InputError("--out", f"expects an empty directory or an earlier gallery; got {out} with other files; name "
                         "another place")
    if out.resolve() == runs.resolve() or out.resolve() in runs.resolve().parents:
        raise InputError("--out", f"expects a directory that does not hold the results; got {out}; name another place")
    found, problems = read_runs(runs, experiments)
    found = [run for run in found if out.resolve() not in run.folder.resolve().parents]
    with tempfile.TemporaryDirectory(prefix=".gallery_", dir=out) as folder:
        new = Path(folder, "site")
        new.mkdir()
        site = Site(experiments, found, problems, _copy(found, new))
        for place, text in pages(site).items():
            path = new / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (new / MARK).write_text(MARK_TEXT, encoding="utf-8")
        for old in out.iterdir():
            if old.name != Path(folder).name:
                shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
        for path in new.iterdir():
            path.rename(out / path.name)
    return site


def _copy(runs: Sequence[Run], out: Path) -> dict[Path, str]:
    """Copies pictures and sounds, those of each run into a folder of its own; where each went."""
    places: dict[Path, str] = {}
    for number, run in enumerate(runs):
        folder = f"results/{run.experiment}-{number}"
        for path in (*run.pictures, *run.sounds):
            (out / folder).mkdir(parents=True, exist_ok=True)
            # The name is the experiment's; what a link or a markup could mistake is left out of it.
            name = "".join(c if c.isalnum() or c in "._-" else "_" for c in path.name)
            shutil.copyfile(path, out / folder / name)
            places[path] = f"{folder}/{name}"
    return places
