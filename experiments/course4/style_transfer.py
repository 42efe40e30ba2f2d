"""What is a painter's style to a network, and can a photograph be painted in that style?

    python -m experiments run style-transfer
    python -m experiments run style-transfer --styles monet sandstone --style-weights 2 1 --together yes
    python -m experiments run style-transfer --content me.jpg --styles painting.png --colours content
    python -m experiments run style-transfer --start noise --learning-rate 0.1 --steps 200 --smoothness 10
    python -m experiments run style-transfer --network vgg19 --weights vgg19.safetensors

The picture itself is what is moved: until SqueezeNet's activations for the picture are near to those of a photograph
(content) and their Gram matrices to those of a painting (style). The weights stay as they are, and no gradient of a
weight is computed. The course does this with VGG-19, whose weights are not at hand here: a safetensors file with
torchvision's names is read where there is one. `--network random` is SqueezeNet before it has learnt anything, the
control: what it makes of a style shows what comes of the architecture alone.

Without the course's pictures two photographs of scikit-learn's are taken, and the random network.

Result of seed 0 at 400x300 and 120 steps, the Louvre in each style. One painting takes 25 s on 2 quiet CPU cores,
compile and pictures included (`--styles monet --control no`).
                    style cost falls    grid noise, of the style    detail below 4 pixels, of the style
    monet           148 fold            2.2, 1.2                    0.3 %, 1.1 %
    sandstone       165 fold            1.4, 1.1                    9.1 %, 14 %
    stone_style     344 fold            1.1, 1.2                    5.0 %, 6.6 %
    drop-of-water   184 fold            1.4, 1.0                    16 %, 23 %
    camp-nou        77 fold             2.2, 1.1                    7.2 %, 36 %
    random weights  358 fold            3.1, 1.2                    0.4 %, 1.1 %
A checkerboard of a hundredth of the range has more than 20. Random weights carry the colours of Monet over and nothing
of the strokes, although their cost falls furthest: that a cost falls does not say what it measures.
At 300x225 (--height 225 --width 300): Monet and sandstone together, as above, 4 fold, since the two pull against each
other; Monet in the photograph's colours 157 fold; by --optimizer lbfgs --steps 60 119 fold; from noise, as above, 1,903
fold, with grid noise of 1.6. With the default rate and smoothness a painting from noise keeps the noise.
"""

import collections
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import progress, say, series, table
from jaxnn.checks import InputError
from jaxnn.data import MissingData, find, read_picture
from jaxnn.data.extra import import_extra
from jaxnn.style import (
    FeatureNetwork,
    Painting,
    costs_of,
    goal_of,
    grid_noise,
    luminance,
    paint,
    random_features,
    squeezenet_features,
    total_of,
    vgg19_features,
    with_colours_of,
    with_luminance_like,
)
from jaxnn.style.features import untrained_squeezenet, untrained_vgg19

HOW_TO_GET = "it is one of the pictures of the assignment 'Art generation with neural style transfer'"
# Layers of the style, from grains to brush strokes, and of the content, from the middle of the network.
LAYERS = {"squeezenet": (("relu1", "fire2", "fire3", "fire4", "fire5"), ("fire5",)),
          "vgg19": (("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), ("relu4_2",))}  # the course's


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    content: str = knob("louvre_small", "the photograph: a name of the course's pictures, or a path; 'sample' needs "
                        "no file")
    styles: tuple[str, ...] = knob(("monet", "sandstone", "stone_style", "drop-of-water", "camp-nou"),
                                   "pictures whose style is taken: names or paths, as for content")
    style_weights: tuple[float, ...] = knob((1.0,), "weights of several styles together, one for all or one for each",
                                            at_least=0)
    together: str = knob("no", "whether all styles make one painting, or each makes its own", choices=("no", "yes"))
    network: str = knob("squeezenet", "network whose features are compared; the two random ones are untrained",
                        choices=("squeezenet", "vgg19", "random", "random-vgg19"))
    weights: str = knob("", "file of the network's weights: an .npz for squeezenet (else the course's folder), a "
                        "safetensors for vgg19")
    seed: int = random_seed(0, "seed of the noise and of random weights")
    height: int = knob(300, "height of the painting in pixels, the course's", at_least=16)
    width: int = knob(400, "width of the painting in pixels, the course's", at_least=16)
    steps: int = count(120, "steps of the painting; by the last, the style's cost hardly falls")
    optimizer: str = knob("adam", "optimizer that moves the pixels; lbfgs takes two to three times as long for a step",
                          choices=("adam", "lbfgs"))
    learning_rate: float = positive(0.02, "Adam's first learning rate, for pixels of 0 to 1; it falls to a twentieth "
                                    "as a cosine")
    levels: int = count(5, "number of sizes whose sum is the picture, so that strokes move before grains; 1 has "
                        "pixels alone")
    start: str = knob("content", "picture from which the painting starts; noise takes a larger learning rate and "
                      "smoothness", choices=("content", "noise"))
    colours: str = knob("style", "whose colours the painting has", choices=("style", "content"))
    content_weight: float = knob(0.05, "weight of the cost of the content beside that of the style; 0 leaves a texture",
                                 at_least=0)
    smoothness: float = knob(1.0, "weight of the total variation; without it flat places have grains", at_least=0)
    normalization: str = knob("relative", "what each layer's cost is divided by: its own size, or the course's "
                              "constants", choices=("relative", "size"))
    every: int = count(5, "steps between two frames of the GIF")
    control: str = knob("yes", "whether the first style is painted with random weights too", choices=("no", "yes"))


def picture_of(knobs: Knobs, name: str, data_dir: Path | None) -> np.ndarray:
    """A picture by its name among the course's or by its path, (height, width, 3) in [0, 1], its margins cut off where
    its proportions are others. What was done to it is said."""
    size, made = (knobs.height, knobs.width), collections.Counter[str]()
    if name in ("sample", "sample-style"):
        image = import_extra("PIL.Image", "style-transfer")
        loaded = import_extra("sklearn.datasets", "style-transfer").load_sample_image(
            "china.jpg" if name == "sample" else "flower.jpg")
        resized = image.fromarray(loaded).resize((knobs.width, knobs.height), image.Resampling.BILINEAR)
        return np.asarray(resized, np.float32) / 255
    path = Path(name).expanduser()
    if not path.suffix:
        path = find(f"c4/style/{name}.jpg", data_dir, how_to_get=HOW_TO_GET, instead="--content sample --styles "
                    "sample-style --network random")
    array = read_picture(path, size=size, crop=True, made=made)
    if made:
        say(f"{name}: " + ", ".join(made))
    return array.astype(np.float32) / 255


def network_of(knobs: Knobs, data_dir: Path | None) -> FeatureNetwork:
    if knobs.network == "random":
        return untrained_squeezenet(jax.random.key(knobs.seed))
    if knobs.network == "random-vgg19":
        return untrained_vgg19(jax.random.key(knobs.seed))
    if knobs.network == "vgg19":
        if not knobs.weights:
            raise InputError("--weights", "expects a safetensors file of VGG-19 with torchvision's names; got none; "
                             "pass one, or --network random-vgg19")
        return vgg19_features(knobs.weights)
    file = Path(knobs.weights) if knobs.weights else find(
        "c4/squeezenet/squeezenet_1.0_imagenet.npz", data_dir, instead="--network random",
        how_to_get="decode the published weights of SqueezeNet 1.0 into an .npz with its prototxt's names")
    return squeezenet_features(file)


def paint_one(knobs: Knobs, network: FeatureNetwork, content: np.ndarray, styles: Sequence[np.ndarray],
              weights: Sequence[float]) -> tuple[Painting, np.ndarray]:
    """The painting as it was optimised, and the picture with the colours that it is to have."""
    keeps = knobs.colours == "content"
    like, of = (luminance(content), [with_luminance_like(s, content) for s in styles]) if keeps else (content, styles)
    of_style, of_content = LAYERS["vgg19" if "vgg19" in knobs.network else "squeezenet"]
    goal = goal_of(network, like, list(of), content_layers=dict.fromkeys(of_content, 1.0),
                   style_layers=dict.fromkeys(of_style, 1.0), style_weights=list(weights),
                   normalization=knobs.normalization)
    factors = {"content": knobs.content_weight, "style": 1.0, "smooth": knobs.smoothness, "range": 10.0}

    def cost(picture: Any) -> tuple[Any, Any]:
        parts = costs_of(network, goal, picture)
        return total_of(parts, factors), parts

    begin = jnp.asarray(like)
    if knobs.start == "noise":
        begin = jax.random.uniform(jax.random.key(knobs.seed), begin.shape, begin.dtype)
    rate = optax.cosine_decay_schedule(knobs.learning_rate, knobs.steps, 0.05)
    optimizer = optax.adam(rate) if knobs.optimizer == "adam" else optax.lbfgs(
        linesearch=optax.scale_by_zoom_linesearch(max_linesearch_steps=8))
    painting = paint(cost, begin, optimizer=optimizer, steps=knobs.steps, levels=knobs.levels, every=knobs.every,
                     progress=lambda steps: iter(progress(steps, "step")))
    picture = np.asarray(with_colours_of(painting.picture, content)) if keeps else painting.picture
    return painting, picture


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    knobs, network, content, styles = loaded(knobs, data_dir)
    weights = list(knobs.style_weights) * (len(styles) if len(knobs.style_weights) == 1 else 1)
    if len(weights) != len(styles):
        raise InputError("--style-weights", f"expects one weight, or one for each of {len(styles)} styles; got "
                         f"{len(weights)}")
    jobs = {name: ([picture], [1.0]) for name, picture in styles.items()}
    if knobs.together == "yes":
        jobs = {"+".join(styles): (list(styles.values()), weights)}
    paintings: dict[str, tuple[Painting, np.ndarray]] = {}
    rows, measures = [], {}
    for name, (of, shares) in jobs.items():
        painting, picture = paint_one(knobs, network, content, of, shares)
        paintings[name] = painting, picture
        measures[name] = measured(painting, picture, of, content)
        rows.append(row(name, measures[name]))
        keep(out, name, painting, picture)
    if knobs.control == "yes" and knobs.network in ("squeezenet", "vgg19"):
        name = next(iter(jobs))
        painting, picture = paint_one(knobs, random_features(network, jax.random.key(knobs.seed)), content, *jobs[name])
        paintings["random weights"] = painting, picture
        measures["random weights"] = measured(painting, picture, jobs[name][0], content)
        rows.append(row("random weights", measures["random weights"]))
        keep(out, "random_weights", painting, picture)
    say(table(("style", "style cost falls", "content", "grid noise", "of the style", "fine detail", "of the style",
               "outside 0..1"), rows))
    draw(out, knobs, content, styles, paintings)
    costs = {name: series([c["cost"] for c in p.costs], "step", p.steps) for name, (p, _) in paintings.items()}
    return {"paintings": measures, "costs": costs, "network": knobs.network}


def loaded(knobs: Knobs, data_dir: Path | None) -> tuple[Knobs, FeatureNetwork, np.ndarray, dict[str, np.ndarray]]:
    """Network and pictures; where the course's files are missing and were not asked for by name, what needs none."""
    try:
        return (knobs, network_of(knobs, data_dir), picture_of(knobs, knobs.content, data_dir),
                {Path(name).stem: picture_of(knobs, name, data_dir) for name in knobs.styles})
    except MissingData as error:
        if (knobs.content, knobs.styles, knobs.weights) != (Knobs.content, Knobs.styles, ""):
            raise
        say(f"{error}\nso: two photographs of scikit-learn's, and SqueezeNet with random weights")
        knobs = dataclasses.replace(knobs, content="sample", styles=("sample-style",), network="random")
        return (knobs, network_of(knobs, data_dir), picture_of(knobs, "sample", data_dir),
                {"flower": picture_of(knobs, "sample-style", data_dir)})


def measured(painting: Painting, picture: np.ndarray, styles: Sequence[np.ndarray],
             content: np.ndarray) -> dict[str, Any]:
    """Costs before and after, and the noise of the painting beside that of the style and of the content."""
    first, last = painting.costs[0]["parts"], painting.costs[-1]["parts"]
    noise, of_style, of_content = (grid_noise(p) for p in (picture, styles[0], content))
    return {"style_cost": sum(last["style"].values()),
            "style_cost_falls": sum(first["style"].values()) / max(sum(last["style"].values()), 1e-30),
            "by_layer": {layer: first["style"][layer] / max(last["style"][layer], 1e-30) for layer in last["style"]},
            "content_cost": sum(last["content"].values()), "grid_noise": noise.grid,
            "grid_noise_of_style": of_style.grid, "grid_noise_of_content": of_content.grid, "fine": noise.fine,
            "fine_of_style": of_style.fine, "fine_of_content": of_content.fine, "outside": painting.outside}


def row(name: str, m: dict[str, Any]) -> tuple[str, ...]:
    return (name, f"{m['style_cost_falls']:.0f} fold", f"{m['content_cost']:.2f}", f"{m['grid_noise']:.1f}",
            f"{m['grid_noise_of_style']:.1f}", f"{100 * m['fine']:.2f} %", f"{100 * m['fine_of_style']:.2f} %",
            f"{100 * m['outside']:.1f} %")


def keep(out: Path, name: str, painting: Painting, picture: np.ndarray) -> None:
    """The painting at its own size, and how it came about as a GIF."""
    image = import_extra("PIL.Image", "style-transfer")
    image.fromarray(np.round(picture * 255).astype(np.uint8)).save(out / f"painting_{name}.png")
    first, *others = (image.fromarray(frame) for frame in painting.frames)
    first.save(out / f"evolution_{name}.gif", save_all=True, append_images=others,
               duration=[120] * len(others) + [1500], loop=0)


def draw(out: Path, knobs: Knobs, content: np.ndarray, styles: dict[str, np.ndarray],
         paintings: dict[str, tuple[Painting, np.ndarray]]) -> None:
    """Content, styles and paintings in rows; the costs over the steps; frames of each painting."""
    figure, axes = figures.panels(len(paintings), 3, (4, 3.2), f"{knobs.content} with the features of {knobs.network}")
    for (name, (_, picture)), line in zip(paintings.items(), axes, strict=True):
        style = np.concatenate([styles[part] for part in name.split("+") if part in styles] or
                               [next(iter(styles.values()))], 1)
        for axis, shown, title in zip(line, (content, style, picture), ("content", "style", name), strict=True):
            axis.imshow(shown)
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
    figures.save(figure, out / "paintings.png")

    figure, axes = figures.panels(1, 2, (5, 3.8), f"{knobs.optimizer}: costs over the painting")
    first, _ = next(iter(paintings.values()))
    # The content's cost is 0 where the content is the start.
    parts = {f"{part} {layer}" if part != layer else layer:
             (first.steps, [c["parts"][part][layer] or np.nan for c in first.costs])
             for part in ("style", "content", "smooth") for layer in first.costs[0]["parts"][part]}
    figures.curves(axes[0, 0], parts, "step", f"parts of the cost of {next(iter(paintings))}", log=True)
    axes[0, 0].legend(fontsize=7)
    figures.curves(axes[0, 1], {name: (p.steps, [sum(c["parts"]["style"].values()) for c in p.costs])
                                for name, (p, _) in paintings.items()}, "step", "style cost", log=True)
    figures.save(figure, out / "costs.png")

    figure, axes = figures.panels(len(paintings), 5, (2.6, 2.2), "frames")
    for (name, (painting, _)), line in zip(paintings.items(), axes, strict=True):
        places = np.unique(np.round(np.geomspace(1, len(painting.frames), 5)).astype(int)) - 1
        for axis in line:
            axis.set_axis_off()
        for axis, i in zip(line, places, strict=False):
            axis.imshow(painting.frames[i])
            axis.set_title(f"{name}, step {painting.steps[i]}", fontsize=8)
    figures.save(figure, out / "frames.png")
