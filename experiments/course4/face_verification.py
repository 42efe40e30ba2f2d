"""How well do OpenFace, a network trained here and the pixels tell if two pictures show one person?

    python -m experiments run face-verification
    python -m experiments run face-verification --data digits

A network maps a face to a point, and two faces are taken for one person if their points are near. Training makes them
so: of a triplet (anchor, positive, negative) the anchor must be nearer to another picture of the same person than to
one of somebody else, by a margin. The course's NN4.small2 with OpenFace's weights prints the distances .659 and .862
for two of its 18 crops. They hang on the decoder of the pictures, and on red coming first: with blue first .597 and
.756 come out, and nothing looks wrong.

Then Olivetti's 40 people. Ten are set aside; the threshold is chosen on others, so that what it accepts and refuses
on the ten was never looked at. A threshold is for distances or for squared ones, and carries which with it.

Without the file of Olivetti's faces, handwritten digits stand for people.

Result of seed 0, 47 s on 2 CPU cores, compile and training included; ten people never met, 4,950 pairs:
                                area under the curve    one person accepted    two refused
    raw pixels                  .849                    70.4 %                 84.7 %
    trained here, 24 people     .944                    80.4 %                 94.6 %
    OpenFace, course's pooling  .985                    95.3 %                 92.0 %
    OpenFace                    .984                    92.2 %                 92.5 %
The course's two distances are .667 and .859 here.
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
from experiments.shared import figures
from experiments.shared.run import percent, say, series, table
from jaxnn.faces import (
    Distances,
    Roc,
    Threshold,
    all_pairs,
    choose_threshold,
    distances,
    hardest_triplets,
    roc,
    same_person,
)

# Name of the crop, name of the person, the distance that the course prints, and with blue first.
PRINTED = (("camera_0", "younes", 0.65939283, 0.597), ("camera_2", "kian", 0.86224014, 0.756))
COURSE = Threshold(0.7, "euclidean")


@dataclasses.dataclass(frozen=True)
class Knobs(FaceKnobs):
    pass


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    ways = ways_of(knobs, data_dir)
    measures: dict[str, Any] = {"data": ways.data}
    if ways.data == "olivetti":
        measures["course"] = of_the_course(out, data_dir)
    curves: dict[str, Roc] = {}
    found: dict[str, tuple[Distances, np.ndarray, Threshold]] = {}
    rows = []
    for name, embed in ways.embed.items():
        dev, test = ways.dev[name], ways.test
        threshold = choose_threshold(*all_pairs(embed(dev.x), dev.people))
        pairs, same = all_pairs(embed(test.x), test.people)
        accepted = same_person(pairs, threshold)
        curves[name], found[name] = roc(pairs, same), (pairs, same, threshold)
        m = {"area": curves[name].area, "equal_error": curves[name].equal_error, "threshold": threshold.value,
             "accepted_same": float(accepted[same].mean()), "refused_other": float((~accepted[~same]).mean())}
        measures[name.replace(",", "").replace(" ", "_")] = m
        rows.append((name, f"{m['area']:.3f}", percent(m["equal_error"]), f"{threshold.value:.3f}",
                     f"{threshold.on('squared').value:.3f}", percent(m["accepted_same"]), percent(m["refused_other"])))
    say(f"{len(same)} pairs of {len(np.unique(ways.test.people))} people never met, {int(same.sum())} of them of one:")
    say(table(("by", "area", "equal error", "threshold", "squared", "one person accepted", "two refused"), rows))
    if ways.trained:
        draw_training(out / "training.png", ways.trained)
        measures |= {"costs": series(ways.trained.losses, "step", ways.trained.steps, start=knobs.margin),
                     "best_step": ways.trained.best_step, "collapsed": ways.trained.collapsed or ""}
    draw(out, knobs, ways, curves, found)
    return measures


def of_the_course(out: Path, data_dir: Path | None) -> dict[str, Any]:
    """Its two distances, red first and blue first, and all distances between its crops."""
    crops, embed = load_crops(data_dir), openface(data_dir, "average")
    x = np.stack([crops[name] for name in CROPS])
    place = {name: i for i, name in enumerate(CROPS)}
    of = {order: distances(e, e) for order, e in (("red first", embed(x)), ("blue first", embed(x[..., ::-1])))}
    rows = []
    for crop, name, printed, blue in PRINTED:
        right, wrong = (of[order].values[place[crop], place[name]] for order in of)
        verdict = same_person(Distances(np.array(right), "euclidean"), COURSE)
        rows.append((f"{crop}, {name}", f"{right:.4f}", f"{printed:.4f}", f"{wrong:.4f}", f"{blue:.3f}",
                     "let in" if verdict else "kept out"))
    say(table(("distance of", "red first", "the course's", "blue first", "as expected", f"at {COURSE.value}"), rows))

    values = of["red first"].values
    figure, ((axes,),) = figures.panels(1, 1, (7.5, 6.6), "Euclidean distances between the course's crops")
    image = axes.imshow(values, cmap="viridis_r")
    axes.set_xticks(range(len(CROPS)), CROPS, rotation=90, fontsize=8)
    axes.set_yticks(range(len(CROPS)), CROPS, fontsize=8)
    for (i, j), value in np.ndenumerate(values):
        if i != j:
            axes.text(j, i, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=6,
                      color="white" if value > values.max() / 2 else "black")
    figure.colorbar(image, label=f"distance; the course lets in at {COURSE.value} or less")
    figures.save(figure, out / "crops.png")
    return {"distances": {f"{c}-{n}": float(of["red first"].values[place[c], place[n]]) for c, n, *_ in PRINTED},
            "blue_first": {f"{c}-{n}": float(of["blue first"].values[place[c], place[n]]) for c, n, *_ in PRINTED},
            "known": list(KNOWN)}


def draw(out: Path, knobs: Knobs, ways: Ways, curves: dict[str, Roc],
         found: dict[str, tuple[Distances, np.ndarray, Threshold]]) -> None:
    """ROC curves; distances of one person's and of two people's pairs; the triplets that pull hardest."""
    figure, ((axes,),) = figures.panels(1, 1, (5.6, 4.8), f"{ways.data}: people never met")
    figures.curves(axes, {f"{name}, area {c.area:.3f}": (100 * np.append(0, c.accepted_other),
                                                         100 * np.append(0, c.accepted_same))
                          for name, c in curves.items()}, "pairs of two people accepted / %",
                   "pairs of one person accepted / %")
    axes.plot([0, 100], [100, 0], color="grey", linestyle=":")
    figures.save(figure, out / "roc.png")

    figure, panels = figures.panels(1, len(found), (4.2, 3.4), "distances of pairs, and the threshold chosen on others")
    for axis, (name, (pairs, same, threshold)) in zip(panels[0], found.items(), strict=True):
        bins = np.linspace(0, pairs.values.max(), 40).tolist()
        for label, kept in (("one person", same), ("two people", ~same)):
            axis.hist(pairs.values[kept], bins, density=True, alpha=0.6, label=label)
        axis.axvline(threshold.value, color="black", linestyle=":", label="threshold")
        axis.set(title=name, xlabel="Euclidean distance", ylabel="density")
        axis.legend(fontsize=8)
    figures.save(figure, out / "distances.png")

    name = list(ways.embed)[-1]
    test = ways.test
    hard = hardest_triplets(ways.embed[name](test.x), test.people, margin=knobs.margin, n=6)
    pictures = [shown(test.x[i]) for triplet in hard.places for i in triplet]
    captions = [f"{role}\n{test.names[test.people[i]]}" + (f"\nloss {loss:.2f}, pull {pull:.2f}" if role == "anchor"
                                                          else "\n")
                for triplet, loss, pull in zip(hard.places, hard.losses, hard.pulls, strict=True)
                for role, i in zip(("anchor", "positive", "negative"), triplet, strict=True)]
    figures.images(out / "hardest_triplets.png", f"{name}: the triplets that pull hardest", pictures, captions)
