"""The pages of the gallery as HTML: plain files that need no script and no network."""

import importlib
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from experiments.gallery import uses
from experiments.gallery.course import ASSIGNMENTS, COURSES, Assignment
from experiments.gallery.facts import FACTS
from experiments.gallery.records import Problem, Run, changed_knobs, command, compared, data_of, shown
from experiments.shared.docstrings import describe, sentence, to_html
from jaxnn.hand_derived import Op

__all__ = ["Site", "pages"]

STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")


class Site(NamedTuple):
    """What the pages are made of. experiments: name to module. pictures: where each picture or sound went, from the
    site's root."""

    experiments: Mapping[str, str]
    runs: Sequence[Run]
    problems: Sequence[Problem]
    pictures: Mapping[Path, str]

    def of(self, name: str) -> list[Run]:
        """The runs of an experiment, first those with the most figures to compare, then the latest."""
        found = [run for run in self.runs if run.experiment == name]
        return sorted(found, key=lambda run: (-sum(one.figure.published is not None for one in compared(run)),
                                              len(changed_knobs(run, self.experiments[name])), str(run.folder)))


def pages(site: Site) -> dict[str, str]:
    """Each page by its place in the site."""
    made = {"index.html": _page("Experiments", _experiments(site)), "map.html": _page("Map of the course", _map(site)),
            "ops/index.html": _page("Ops", _ops(site), "../")}
    for name, op in uses.all_ops().items():
        made[f"ops/{name}.html"] = _page(name, _op(site, op), "../")
    return made


def _page(title: str, body: str, up: str = "") -> str:
    links = "".join(f'<a href="{up}{place}">{name}</a>' for place, name in (
        ("index.html", "Experiments"), ("map.html", "Map of the course"), ("ops/index.html", "Ops")))
    return (f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>jaxnn: {escape(title)}</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
            f"<body><header><strong>jaxnn</strong><nav>{links}</nav></header><main>{body}</main></body></html>\n")


def _experiments(site: Site) -> str:
    runs = {name: site.of(name) for name in site.experiments}
    n_run = sum(map(bool, runs.values()))
    parts = ["<h1>Neural networks, every backward pass by hand</h1>",
             f"<p>{n_run} of {len(runs)} experiments have been run. Each card has our figures beside the published "
             "ones, and the ops that it trains; a click on an op shows the derivation of its backward pass.</p>",
             _problems(site.problems)]
    courses = {number: [name for name in runs if _course(name) == number] for number in (*COURSES, 0)}
    jumps = "".join(f'<a href="#course{number}">{_course_title(number)}</a>' for number in courses if courses[number])
    parts.append(f'<nav class="jumps">{jumps}</nav>')
    for number, names in courses.items():
        if names:
            # Experiments with results first, else in the order in which they are registered.
            cards = "".join(_card(site, name, runs[name]) for name in sorted(names, key=lambda name: not runs[name]))
            parts.append(f'<h2 id="course{number}">{_course_title(number)}</h2><div class="cards">{cards}</div>')
    return "".join(parts)


def _course(name: str) -> int:
    return FACTS[name].course if name in FACTS else 0


def _course_title(number: int) -> str:
    return f"Course {number}: {COURSES[number]}" if number else "Beside the courses"


def _problems(problems: Sequence[Problem]) -> str:
    if not problems:
        return ""
    lines = "".join(f"<li><code>{escape(str(problem.path))}</code>: {escape(problem.why)}</li>" for problem in problems)
    return f'<div class="problems"><p>Files that are no record of an experiment:</p><ul>{lines}</ul></div>'


def _question(module: str) -> str:
    return (inspect.getdoc(importlib.import_module(module)) or "").splitlines()[0]


def _card(site: Site, name: str, runs: Sequence[Run]) -> str:
    module = site.experiments[name]
    try:
        question = _question(module)
    except ImportError as error:
        return (f'<article class="card empty" id="{name}"><h3>{name}</h3><p class="note">It cannot be imported: '
                f"{escape(str(error))}</p></article>")
    places = [f'<a href="map.html#{_anchor(one)}">{_label(one)}</a>' for one in ASSIGNMENTS if name in one.experiments]
    head = (f'<h3><a href="#{name}">{name}</a><small>{", ".join(places)}</small></h3>'
            f'<p class="question">{escape(question)}</p>')
    chips = _chips(uses.of_experiment(module), "ops/")
    if not runs:
        body = ('<p class="note">Not run yet, or its results lie elsewhere.</p>'
                f"<pre>python -m experiments run {name}</pre>")
        return f'<article class="card empty" id="{name}">{head}{body}{chips}</article>'
    first, *others = runs
    cover = _picture(site, first.pictures[0]) if first.pictures else ""
    rest, n = _pictures(site, first.pictures[1:]), len(first.pictures) - 1
    more = _folded(f"{n} more picture{'s' if n > 1 else ''}", rest) if n > 0 else ""
    more += "".join(_folded(_run_title(run), _pictures(site, run.pictures) + _run(site, run)) for run in others)
    return f'<article class="card" id="{name}">{head}{cover}{_run(site, first)}{more}{chips}</article>'


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{title}</summary>{body}</details>"


def _run_title(run: Run) -> str:
    data, _ = data_of(run)
    return f"Another run: {escape(data.name if data else run.folder.name)}"


def _run(site: Site, run: Run) -> str:
    module = site.experiments[run.experiment]
    changed = changed_knobs(run, module)
    data, is_substitute = data_of(run)
    record = run.record
    rows = "".join(
        f"<tr><td>{escape(one.figure.name)}</td><td>{shown(one.ours, one.figure.unit)}</td>"
        f"<td>{shown(one.figure.published, one.figure.unit)}"
        f"{f'<br><small>{escape(one.figure.source)}</small>' if one.figure.published is not None else ''}</td></tr>"
        for one in compared(run))
    figures = f"<table><tr><th></th><th>ours</th><th>published</th></tr>{rows}</table>" if rows else ""
    knobs = [name for name in changed if name not in ("data", "seed", "content")]
    notes = [f"Knobs that are not the defaults: {', '.join(knobs)}."] if knobs else []
    if record.get("diverged"):
        notes.append(f"Diverged: {'; '.join(map(str, record['diverged']))}")
    said = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    badge = ' <span class="badge">substitute</span>' if is_substitute else ""
    what = f"<dt>data</dt><dd>{escape(data.name)}{badge}<br><small>{escape(data.licence)}</small></dd>" if data else ""
    versions = record["versions"]
    took = (f"{record['seconds']:,.0f} s on {record.get('device')}, jax {versions.get('jax')}, "
            f"seed {record.get('seed')}, commit {str(record.get('commit'))[:8]}")
    sounds = "".join(_sound(site, path) for path in run.sounds)
    return (f"{figures}{said}{sounds}<dl>{what}<dt>took</dt><dd>{escape(took)}</dd></dl>"
            f"<pre>{escape(command(run, module))}</pre>")


def _sound(site: Site, path: Path) -> str:
    place = site.pictures.get(path)
    return "" if place is None else (f'<figure><audio controls preload="none" src="{place}"></audio>'
                                     f"<figcaption>{escape(_caption(path))}</figcaption></figure>")


def _picture(site: Site, path: Path) -> str:
    place = site.pictures.get(path)
    if place is None:
        return ""
    caption = escape(_caption(path))
    return (f'<figure><a href="{place}"><img src="{place}" loading="lazy" alt="{caption}"></a>'
            f"<figcaption>{caption}</figcaption></figure>")


def _pictures(site: Site, paths: Iterable[Path]) -> str:
    return "".join(_picture(site, path) for path in paths)


def _caption(path: Path) -> str:
    return path.stem.replace("_", " ")


def _chips(names: Iterable[str], up: str) -> str:
    chips = "".join(f'<a class="chip" href="{up}{name}.html">{name}</a>' for name in sorted(names))
    return f'<p class="chips">{chips}</p>' if chips else ""


def _label(one: Assignment) -> str:
    return f"C{one.course} {one.week}"


def _anchor(one: Assignment) -> str:
    return f"c{one.course}-{one.week.lower()}"


def _map(site: Site) -> str:
    parts = ["<h1>Map of the course</h1><p>The weeks and assignments of the Deep Learning Specialization, the "
             "experiments and ops that are each of them, and our figures beside the printed ones. Where the tests "
             "compare ours with the values that an assignment prints, their file is named.</p>"]
    for number, title in COURSES.items():
        rows = "".join(_row(site, one) for one in ASSIGNMENTS if one.course == number)
        parts.append(f'<h2 id="course{number}">Course {number}: {title}</h2><div class="wide"><table class="map">'
                     "<tr><th>week</th><th>assignment</th><th>experiments, ops</th>"
                     f"<th>ours, printed</th></tr>{rows}</table></div>")
    mapped = {name for one in ASSIGNMENTS for name in one.experiments}
    beside = sorted(set(site.experiments) - mapped)
    if beside:
        links = ", ".join(f'<a href="index.html#{name}">{name}</a>' for name in beside)
        parts.append(f"<p>Experiments that belong to no assignment: {links}.</p>")
    return "".join(parts)


def _row(site: Site, one: Assignment) -> str:
    names, figures = [], []
    for name in one.experiments:
        if name not in site.experiments:
            names.append(f'{name} <span class="badge">not registered</span>')
            continue
        runs = site.of(name)
        badge = "" if runs else ' <span class="badge">not run</span>'
        names.append(f'<a href="index.html#{name}">{name}</a>{badge}')
        for run in runs:
            other = bool([knob for knob in changed_knobs(run, site.experiments[name]) if knob not in ("data", "seed")])
            lines = "".join(f"<tr><td>{escape(figure.name)}</td><td><b>{shown(ours, figure.unit)}</b></td>"
                            f"<td>{shown(figure.published, figure.unit)}</td></tr>"
                            for figure, ours in compared(run) if figure.published is not None)
            note = " <small>with other knobs than the defaults</small>" if other else ""
            if lines:
                figures.append(f"<div>{name}{note}</div><table>{lines}</table>")
    ops = set(one.ops).union(*(uses.of_experiment(site.experiments[name]) for name in one.experiments
                               if name in site.experiments))
    notes = [f"Not to be had: {escape(one.missing)}." if one.missing and "there is no" not in one.missing else
             f"{escape(one.missing)}." if one.missing else "",
             f"Printed values: <code>{one.tests}</code>" if one.tests else ""]
    return (f'<tr id="{_anchor(one)}"><td>{one.week}</td><td>{escape(one.title)}'
            f"{''.join(f'<br><small>{note}</small>' for note in notes if note)}</td>"
            f"<td>{', '.join(names) or 'by its ops alone'}{_chips(ops, 'ops/')}</td>"
            f"<td>{''.join(figures) or 'none in the records that were found'}</td></tr>")


def _ops(site: Site) -> str:
    rows = "".join(f'<tr><td><a href="{name}.html">{name}</a></td><td>{sentence(describe(op).summary)}</td></tr>'
                   for name, op in uses.all_ops().items())
    layers = "".join(f"<tr><td><code>{name}</code></td><td>{_chips(uses.of_layer(name), '')}</td></tr>"
                     for name in uses.all_layers())
    return (f"<h1>Ops</h1><p>{len(uses.all_ops())} ops; each page has the equation, and the derivation of the backward "
            f'pass.</p><div class="wide"><table class="list">{rows}</table></div>'
            '<h2 id="layers">Layers, and the ops that they use</h2>'
            f'<div class="wide"><table class="list">{layers}</table></div>')


def _op(site: Site, op: Op) -> str:
    described = describe(op)
    layers = [name for name in uses.all_layers() if op.name in uses.of_layer(name)]
    training = [name for name, module in site.experiments.items() if op.name in uses.of_experiment(module)]
    used = ", ".join(f'<a href="index.html#layers"><code>{name}</code></a>' for name in layers) or "no layer"
    trained = ", ".join(f'<a href="../index.html#{name}">{name}</a>' for name in training) or "no experiment"
    source = re.sub(r".*?(jaxnn/)", r"\1", inspect.getsourcefile(inspect.unwrap(op)) or "")
    return (f"<h1>{op.name}</h1><pre>{escape(described.signature)}</pre>{to_html(described.forward)}"
            f"<h2>The backward pass</h2>{to_html(described.backward)}"
            f"<h2>Where it is used</h2><p>Layers: {used}.</p><p>Experiments: {trained}.</p>"
            f"<p>Source: <code>{source}</code></p>")
