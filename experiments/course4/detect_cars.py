"""Which cars does a trained network of one megabyte find in pictures of a street?

    python -m experiments run detect-cars

YOLO-Fastest 1.1 XL with the weights that its author published, 80 classes of COCO, read from Darknet's files into our
layers with batch norm folded, on the course's ten frames of drive.ai's car (CC BY 4.0). The course's own network,
YOLOv2, has 55 times as many numbers, and its weights could not be had; what it prints for test.jpg is what is compared
with. A frame is stretched to 608 x 352. Boxes are suppressed over all classes, as there.

The weights and the frames are needed: what a network without them finds says nothing. `train-detector` trains one of
its own, and needs no file.

Result: all 7 boxes that the course prints at .6, with an IoU of .71 at least and a score of .61 at least; one car is
called a bus. A frame takes 33.6 ms on 2 CPU cores, 37.6 with the same weights in PyTorch (`experiments bench
yolo-fastest`).
"""

import dataclasses
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, random_seed
from experiments.shared.run import say, table
from jaxnn.checks import expect
from jaxnn.compiler_options import compiler_options
from jaxnn.data import find, read_picture
from jaxnn.detection import (
    best_classes,
    darknet_network,
    filter_scores,
    fold_darknet,
    iou,
    non_max_suppression,
    pairwise,
    read_configuration,
    read_darknet_weights,
)

INSTEAD = "python -m experiments run train-detector"
HOW_TO_GET = "get it from the repository dog-qiuqiu/Yolo-Fastest"
FRAMES = ("test", *(f"{n:04}" for n in range(1, 10)))
SLOTS = 64  # detections of one frame at most
CANDIDATES = 400  # of all boxes of a frame those with the highest scores go into the suppression
# What the course prints for test.jpg at a score of .6: class, then left, top, right, bottom in pixels of 1280 x 720.
PRINTED = (("car", 367, 300, 745, 648), ("car", 761, 282, 942, 412), ("car", 159, 303, 346, 440),
           ("car", 947, 324, 1280, 705), ("bus", 5, 266, 220, 407), ("car", 706, 279, 786, 350),
           ("car", 925, 285, 1045, 374))


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    seed: int = random_seed(0, "seed that is recorded, as in every run; nothing is drawn")
    height: int = count(352, "height of the network's picture in pixels, a multiple of 32")
    width: int = count(608, "width of the network's picture in pixels, a multiple of 32; the course's")
    score: float = knob(0.3, "least score of a box that is kept; the course prints 0.6 and 0.3", at_least=0, below=1)
    overlap: float = knob(0.5, "IoU of two boxes above which the worse one goes, the course's", at_least=0, below=1)
    rounds: int = count(10, "number of times that a frame is timed")


class Found(NamedTuple):
    """Of one frame: boxes (n, 4) in its pixels, scores (n,), names of classes, the best first."""

    boxes: np.ndarray
    scores: np.ndarray
    names: list[str]


class Matched(NamedTuple):
    """A box that the course prints, and the one of ours that overlaps it most."""

    name: str
    box: tuple[int, ...]
    iou: float
    score: float
    ours: str


class Detector:
    """YOLO-Fastest, compiled for one size of picture."""

    def __init__(self, knobs: Knobs, data_dir: Path | None):
        expect(knobs.height % 32 == 0 and knobs.width % 32 == 0, "--height and --width", "multiples of 32",
               f"{knobs.height} and {knobs.width}")
        files = [find(f"c4/yolo_fastest/{name}", data_dir, how_to_get=HOW_TO_GET, instead=INSTEAD)
                 for name in ("yolo-fastest-1.1-xl.cfg", "yolo-fastest-1.1-xl.weights", "coco.names")]
        self.knobs, self.size = knobs, (knobs.height, knobs.width)
        self.names = files[2].read_text(encoding="utf-8").split("\n")[:80]
        self.net = darknet_network(read_configuration(files[0]))
        self.folded = fold_darknet(self.net, *read_darknet_weights(files[1], self.net))
        self.params = self.folded.params
        picture = jnp.zeros((*self.size, 3))
        self._compiled = jax.jit(self._detect, compiler_options=compiler_options(self._detect, self.params, picture))

    def _detect(self, params: Any, x: Any) -> Any:
        maps, _ = self.folded.net(params, {}, x)
        found = self.net.decode(maps, self.size)
        scores, labels = best_classes(found.confidence, found.probabilities)
        first = filter_scores(scores, threshold=self.knobs.score, slots=CANDIDATES)
        rows = first.places
        kept = non_max_suppression(found.boxes[rows], jnp.where(rows >= 0, first.scores, -1), slots=SLOTS,
                                   iou_threshold=self.knobs.overlap, score_threshold=self.knobs.score)
        places = rows[kept.places]
        return found.boxes[places], kept.scores, labels[places], kept.n, first.more | kept.more

    def run(self, x: Any) -> Any:
        """(boxes in parts, scores, labels, n, more) of a picture of the network's size, in 0 .. 1."""
        return jax.block_until_ready(self._compiled(self.params, x))

    def resized(self, frame: np.ndarray) -> Any:
        from PIL import Image

        resized = Image.fromarray(frame).resize(self.size[::-1], Image.Resampling.BILINEAR)
        return jnp.asarray(np.asarray(resized), jnp.float32) / 255

    def __call__(self, frame: np.ndarray) -> Found:
        """frame: (height, width, 3) bytes, of any size."""
        boxes, scores, labels, n, more = self.run(self.resized(frame))
        if more:
            say(f"more than {SLOTS} boxes, or {CANDIDATES} before suppression: a higher --score shows which are best")
        height, width = frame.shape[:2]
        pixels = np.clip(np.asarray(boxes[:n]), 0, 1) * [width, height, width, height]
        return Found(pixels, np.asarray(scores[:n]), [self.names[c] for c in np.asarray(labels[:n])])


def frame_of(name: str, data_dir: Path | None) -> np.ndarray:
    return read_picture(find(f"c4/yolo/images/{name}.jpg", data_dir, how_to_get="get it from the assignment 'Car "
                             "detection with YOLO' (course 4, week 3)", instead=INSTEAD))


def beside_the_course(detector: Detector, data_dir: Path | None) -> list[Matched]:
    """For each of the boxes that the course prints the best of ours on its frame."""
    found = detector(frame_of("test", data_dir))
    overlap = np.asarray(pairwise(iou, jnp.array([box for _, *box in PRINTED], jnp.float32),
                                  jnp.asarray(found.boxes, jnp.float32)))
    best = overlap.argmax(1)
    return [Matched(name, tuple(box), float(row[i]), float(found.scores[i]), found.names[i])
            for (name, *box), row, i in zip(PRINTED, overlap, best, strict=True)]


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    detector = Detector(knobs, data_dir)
    n_numbers = sum(leaf.size for leaf in jax.tree.leaves(detector.params))
    say(f"YOLO-Fastest 1.1 XL, {n_numbers:,} numbers after folding; a map for each head of "
        f"{', '.join(f'{h} x {w}' for h, w, _ in detector.net.maps(detector.size))} cells")
    matched = beside_the_course(detector, data_dir)
    say(table(("the course's box", "ours is a", "IoU", "score"), [
        (f"{row.name} {' '.join(map(str, row.box))}", row.ours, f"{row.iou:.3f}", f"{row.score:.3f}")
        for row in matched]))
    frames = {name: frame_of(name, data_dir) for name in FRAMES}
    found = {name: detector(frame) for name, frame in frames.items()}
    say(table(("frame", "boxes", "cars", "best score"), [
        (name, len(f.scores), sum(n == "car" for n in f.names), f"{f.scores.max(initial=0):.3f}")
        for name, f in found.items()]))
    x, seconds = detector.resized(frames["test"]), []
    for _ in range(knobs.rounds):
        begin = time.perf_counter()
        detector.run(x)
        seconds.append(time.perf_counter() - begin)
    say(f"{1e3 * np.median(seconds):.1f} ms a frame, network and suppression; beside PyTorch: "
        "python -m experiments bench yolo-fastest")
    draw(out, frames, found, matched, knobs)
    return {"found_of_7": sum(row.iou >= 0.7 and row.score >= 0.6 for row in matched),
            "least_iou": min(row.iou for row in matched), "least_score": min(row.score for row in matched),
            "matched": [row._asdict() for row in matched], "parameters": n_numbers,
            "milliseconds": 1e3 * float(np.median(seconds)),
            "detections": {name: [{"name": n, "score": float(s), "box": np.round(b, 1).tolist()} for b, s, n in
                                  zip(f.boxes, f.scores, f.names, strict=True)] for name, f in found.items()}}


def draw(out: Path, frames: dict[str, np.ndarray], found: dict[str, Found], matched: list[Matched],
         knobs: Knobs) -> None:
    """test.jpg with the course's boxes beside ours; then all frames."""
    figure, ((axes,),) = figures.panels(1, 1, (11, 6.2), "test.jpg: YOLO-Fastest (solid, with its score) and what the "
                                        "course's YOLOv2 prints at .6 (dashed)")
    show(axes, frames["test"], found["test"], least=0.3)
    for row in matched:
        rectangle(axes, row.box, "white", linestyle="--")
    figures.save(figure, out / "test_frame.png")
    n = len(frames)
    figure, panels = figures.panels(-(-n // 2), 2, (6.4, 3.8), f"drive.ai frames, boxes of a score of {knobs.score:g}")
    for axes in panels.flat:
        axes.set_axis_off()
    for axes, name in zip(panels.flat, frames, strict=False):
        show(axes, frames[name], found[name], least=knobs.score)
        axes.set_title(f"{name}.jpg, {len(found[name].scores)} boxes", fontsize=9)
    figures.save(figure, out / "frames.png")


COLOURS = {"car": "tab:cyan", "bus": "tab:orange", "truck": "tab:olive", "person": "tab:pink",
           "traffic light": "tab:red"}


def show(axes: Any, frame: np.ndarray, found: Found, least: float) -> None:
    axes.imshow(frame)
    axes.set_axis_off()
    for box, score, name in zip(found.boxes, found.scores, found.names, strict=True):
        if score >= least:
            colour = COLOURS.get(name, "yellow")
            rectangle(axes, box, colour)
            axes.text(box[0], box[1] - 3, f"{name} {score:.2f}", fontsize=6, color="black", clip_on=True,
                      bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.6, "alpha": 0.8})


def rectangle(axes: Any, box: Any, colour: str, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    left, top, right, bottom = map(float, box)
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour,
                             **{"linewidth": 1.4, **style}))
