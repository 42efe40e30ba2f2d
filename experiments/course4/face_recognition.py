"""How well do OpenFace, a network trained here and the pixels know a person from one picture?

    python -m experiments run face-recognition
    python -m experiments run face-recognition --data digits

The nearest known picture answers, or nobody where all are farther than a threshold. Of the course's 18 crops twelve are
known people and six were taken at the door. Of Olivetti's people each is known by one picture, each of the ten in turn,
and the other nine are to be recognised: one-shot identification. The network trained here has met 24 people; OpenFace's
half a million pictures of others. Both are measured on ten people that neither has met, OpenFace's on all 40 too.

Without the file of Olivetti's faces, handwritten digits stand for people.

Result of seed 0, 47 s on 2 CPU cores, compile and training included: right answers, mean over the ten choices of the
known picture.
                                ten people never met    all 40    all 40, known by their first picture
    raw pixels                  64.7 %                  55.8 %    59.4 %
    trained here, 24 people     82.4 %
    OpenFace, course's pooling  93.8 %                  76.1 %    81.7 %
    OpenFace                    92.3 %                  82.8 %    88.1 %
The course's network takes means where OpenFace's, with these weights, was trained with the norm of each window: the
printed distances need the means, faces the norms.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from experiments.course4.face_networks import (
    CROPS,
    KNOWN,
    FaceKnobs,
    Ways,
    draw_training,
    load_crops,
    openface,
    shown,
    ways_of,
)
from experiments.course4.face_verification import COURSE
from experiments.shared import figures
from experiments.shared.run import percent, say, series, table
from jaxnn.faces import distances, identify, one_shot


@dataclasses.dataclass(frozen=True)
class Knobs(FaceKnobs):
    pass


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    ways = ways_of(knobs, data_dir)
    measures: dict[str, Any] = {"data": ways.data}
    if ways.data == "olivetti":
        measures["door"] = at_the_door(out, data_dir)
    rows, embeddings = [], {}
    for name, embed in ways.embed.items():
        embeddings[name] = embed(ways.test.x)
        rates = {"test": one_shot(embeddings[name], ways.test.people)}
        if name != "trained here":  # it has met the others
            rates["everyone"] = one_shot(embed(ways.people.x), ways.people.people)
        measures[name.replace(",", "").replace(" ", "_")] = {
            f"one_shot_{whom}{of}": value for whom, r in rates.items()
            for of, value in (("", float(r.mean())), ("_by_the_first", float(r[0])), ("_of_each", r.tolist()))}
        rows.append((name, *(f"{percent(r.mean())} ({percent(r.min())} to {percent(r.max())})" for r in rates.values()),
                     *(percent(r[0]) for r in list(rates.values())[1:])))
    n = len(np.unique(ways.test.people))
    say(table(("right, by", f"of {n} people never met", f"of {len(ways.people.names)} people", "by the first picture"),
              [(*row, *[""] * (4 - len(row))) for row in rows]))
    if ways.trained:
        draw_training(out / "training.png", ways.trained)
        measures |= {"costs": series(ways.trained.losses, "step", ways.trained.steps, start=knobs.margin),
                     "collapsed": ways.trained.collapsed or ""}
    draw_map(out / "map.png", ways, embeddings)
    draw_neighbours(out / "neighbours.png", ways, *list(embeddings.items())[-1])
    return measures


def at_the_door(out: Path, data_dir: Path | None) -> dict[str, Any]:
    """For each crop of the course's camera the nearest of the twelve known people."""
    crops, embed = load_crops(data_dir), openface(data_dir, "average")
    door = [name for name in CROPS if name not in KNOWN]
    found = distances(embed(np.stack([crops[name] for name in door])), embed(np.stack([crops[n] for n in KNOWN])))
    nearest, admitted = identify(found), identify(found, COURSE)
    rows, pictures, captions = [], [], []
    for i, name in enumerate(door):
        person, d = KNOWN[nearest[i]], float(found.values[i, nearest[i]])
        verdict = person if admitted[i] >= 0 else "nobody known"
        rows.append((name, person, f"{d:.3f}", verdict))
        pictures += [crops[name], crops[person]]
        captions += [name, f"{person}, {d:.2f}:\n{verdict}"]
    say(table(("at the door", "nearest", "distance", f"at {COURSE.value}"), rows))
    figures.images(out / "door.png", "who is at the door", pictures, captions)
    return {name: {"nearest": person, "distance": float(d), "is": verdict} for name, person, d, verdict in rows}


def draw_map(path: Path, ways: Ways, embeddings: dict[str, np.ndarray]) -> None:
    """The two directions in which the test people's embeddings vary most, one colour for a person."""
    figure, axes = figures.panels(1, len(embeddings), (4.6, 4.2), f"{ways.data}: the embeddings of people never met")
    numbers = np.unique(ways.test.people)
    for axis, (name, e) in zip(axes[0], embeddings.items(), strict=True):
        around = e - e.mean(0)
        _, sizes, directions = np.linalg.svd(around, full_matrices=False)
        at = around @ directions[:2].T
        for i, person in enumerate(numbers):
            kept = ways.test.people == person
            axis.scatter(*at[kept].T, s=14, color=f"C{i % 10}", label=ways.test.names[person])
        part = float((sizes[:2] ** 2).sum() / (sizes**2).sum())
        axis.set(title=f"{name}: {percent(part)} of the variance", xlabel="first direction", ylabel="second direction")
    axes[0, -1].legend(fontsize=6, loc="best")
    figures.save(figure, path)


def draw_neighbours(path: Path, ways: Ways, name: str, e: np.ndarray) -> None:
    """For one picture of each of six people the five nearest of all others; those of somebody else in red."""
    found = distances(e, e).values + np.diag(np.full(len(e), np.inf))
    pictures, captions, wrong = [], [], []
    for person in np.unique(ways.test.people)[:4]:
        query = int(np.flatnonzero(ways.test.people == person)[0])
        nearest = np.argsort(found[query])[:5]
        pictures += [shown(ways.test.x[i]) for i in (query, *nearest)]
        captions += [ways.test.names[person], *(f"{ways.test.names[ways.test.people[i]]}, {found[query, i]:.2f}"
                                                for i in nearest)]
        wrong += [False, *(bool(ways.test.people[i] != person) for i in nearest)]
    figures.images(path, f"{name}: a picture and its five nearest", pictures, captions, wrong)
