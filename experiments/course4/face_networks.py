"""Faces and networks that the two experiments with faces share: the pictures, OpenFace's network, and one trained here.

What is trained here is a small convolutional network, by triplets on some of Olivetti's people. Others of them decide
when to stop, and the rest is never met before it is measured.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.shared import figures
from experiments.shared.data import real_or_embedded
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import progress, say
from jaxnn import BatchNorm, Conv, Dense, Flatten, MaxPool, Sequential, l2_normalize, mined_triplet_loss, relu, resize
from jaxnn.augmentation import rotation, shift
from jaxnn.checks import expect
from jaxnn.data import find, load_digits, load_olivetti, read_picture
from jaxnn.faces import all_pairs, collapse, roc
from jaxnn.layers import over_examples
from jaxnn.models.nn4_small2 import SIZE, nn4_small2, read_openface
from jaxnn.ops.mined_triplets import MINING

AT_ONCE = 50  # pictures at inference
CROPS = ("andrew", "arnaud", "benoit", "bertrand", "camera_0", "camera_1", "camera_2", "camera_3", "camera_4",
         "camera_5", "dan", "danielle", "felix", "kevin", "kian", "sebastiano", "tian", "younes")
KNOWN = tuple(name for name in CROPS if not name.startswith("camera"))
INSTEAD = "--data digits"


class People(NamedTuple):
    """x: (n, height, width, channels) in [0, 1]. people: (n,). names: of the people."""

    x: np.ndarray
    people: np.ndarray
    names: tuple[str, ...]

    def of(self, chosen: Any) -> "People":
        """The pictures of some people alone, by their numbers."""
        kept = np.isin(self.people, list(chosen))
        return People(self.x[kept], self.people[kept], self.names)


def load_people(data: str, data_dir: Path | None) -> People:
    """Olivetti's 40 people; or scikit-learn's digits as ten "people", which need no file."""
    if data == "digits":
        digits = load_digits()
        places = np.concatenate([np.flatnonzero(digits.y == d)[:40] for d in range(10)])
        return People(digits.x[places].astype(np.float32)[..., None] / 16, digits.y[places], tuple("0123456789"))
    faces = load_olivetti(data_dir, instead=INSTEAD)
    return People(faces.x.astype(np.float32) / 255, faces.people, tuple(f"person {i}" for i in range(40)))


def load_crops(data_dir: Path | None) -> dict[str, np.ndarray]:
    """The course's 18 crops by name, (96, 96, 3), red-green-blue in [0, 1].

    Raises:
      InputError: a crop has another size.
    """
    crops = {}
    for name in CROPS:
        file = f"c4/faces/{name}.{'png' if name == 'danielle' else 'jpg'}"
        path = find(file, data_dir, instead=INSTEAD, how_to_get="it is one of the pictures of the assignment 'Face "
                    "recognition'")
        crops[name] = face_of(path)
    return crops


def face_of(path: str | Path) -> np.ndarray:
    """One crop of a face, (96, 96, 3) in [0, 1]; grey, transparent and turned pictures as `read_picture` makes them.

    Raises:
      InputError: it has another size: a face must be cut out and aligned, and resizing a photograph does neither.
    """
    picture = read_picture(path)
    expect(picture.shape == SIZE, "face_of", f"a crop of a face of {SIZE[0]} by {SIZE[1]} pixels",
           f"{Path(path).name} of {picture.shape[0]} by {picture.shape[1]}", "cut the face out, eyes level, and resize "
           "it to that size")
    return picture.astype(np.float32) / 255


def openface(data_dir: Path | None, pooling: str) -> Callable[[np.ndarray], np.ndarray]:
    """(n, height, width, 1 or 3) in [0, 1] -> (n, 128): pictures of other sizes are resized, greys made three.

    pooling: "l2", with which OpenFace trained these weights, or "average", with which the course uses them.
    """
    file = find("c4/facenet_nn4small2_weights.npz", data_dir, instead=INSTEAD, how_to_get="collect the weights of the "
                "assignment 'Face recognition' in an .npz by their names")
    params, state = read_openface(file)
    net = nn4_small2(pooling=pooling)

    @jax.jit
    def of_batch(x: Any) -> Any:
        def of_one(x: Any) -> Any:
            x = jnp.broadcast_to(x, (*x.shape[:2], 3))
            return net(params, state, x if x.shape == SIZE else resize(x, size=SIZE[:2]))[0]

        return jax.vmap(of_one)(x)

    return lambda x: in_batches(of_batch, x)


def with_mirror(embed: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The mean of the embeddings of a face and of its mirror image, of length one again: what both agree on."""
    def embedded(x: np.ndarray) -> np.ndarray:
        e = embed(x) + embed(np.ascontiguousarray(x[:, :, ::-1]))
        unit: np.ndarray = e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-12)
        return unit

    return embedded


def in_batches(f: Callable, x: np.ndarray) -> np.ndarray:
    """f over all rows, `AT_ONCE` at a time: the last batch is filled up, so that one program serves all."""
    parts = []
    for i in range(0, len(x), AT_ONCE):
        part = x[i:i + AT_ONCE]
        filled = np.concatenate([part, np.zeros((AT_ONCE - len(part), *x.shape[1:]), x.dtype)])
        parts.append(np.asarray(f(jnp.asarray(filled)))[:len(part)])
    return np.concatenate(parts)


def small_network(pixels: int) -> Sequential:
    """An embedding of 64 numbers: convolutions with batch norm, halved until four or five pixels are left."""
    parts: dict[str, Any] = {}
    channels, size = 16, pixels
    while size > 5:
        n = len(parts) // 4 + 1
        parts |= {f"conv{n}": Conv(channels, (3, 3), use_bias=False), f"bn{n}": BatchNorm(), f"relu{n}": relu,
                  f"pool{n}": MaxPool(2)}
        channels, size = min(2 * channels, 128), size // 2
    return Sequential(**parts, flatten=Flatten(), dense=Dense(64), unit=l2_normalize)


@dataclasses.dataclass(frozen=True)
class FaceKnobs(Configuration):
    """The knobs of both experiments."""

    data: str = knob("auto", "the pictures: Olivetti's people where the file is found, else digits that stand for "
                     "people", choices=("auto", "olivetti", "digits"))
    seed: int = random_seed(0, "seed of which people are trained on, the initial weights and the batches")
    test_people: int = knob(10, "people of the test, met neither in training nor when a threshold is chosen; of "
                            "digits, three", at_least=2)
    dev_people: int = knob(6, "people who choose when to stop, and the threshold; of digits, two", at_least=2)
    steps: int = knob(200, "steps of the training, by which hardly a triplet costs anything; 0 leaves that network out",
                      at_least=0)
    batch_people: int = knob(10, "number of people in a batch", at_least=2)
    batch_each: int = knob(5, "pictures of each person in a batch", at_least=2)
    learning_rate: float = positive(2e-3, "AdamW's first learning rate, which falls as a cosine")
    margin: float = positive(0.2, "margin of the triplet loss between squared distances, FaceNet's")
    mining: str = knob("semi-hard", "which triplets of a batch count; hard ones may collapse the embedding",
                       choices=MINING)
    every: int = count(25, "steps between two looks at the dev people")


class Trained(NamedTuple):
    embed: Callable[[np.ndarray], np.ndarray]
    steps: list[int]
    losses: list[float]
    dev_areas: list[float]
    best_step: int
    collapsed: str | None


def batches(people: np.ndarray, n_people: int, n_each: int, seed: int) -> Iterator[np.ndarray]:
    """Places of n_each pictures of each of n_people people, drawn anew for each batch: every anchor has positives."""
    random = np.random.default_rng(seed)
    places = [np.flatnonzero(people == person) for person in np.unique(people)]
    n_people, n_each = min(n_people, len(places)), min(n_each, *map(len, places))
    while True:
        chosen = random.choice(len(places), n_people, replace=False)
        yield np.concatenate([random.choice(places[i], n_each, replace=False) for i in chosen])


def train(train_set: People, dev_set: People, *, steps: int, n_people: int, n_each: int, learning_rate: float,
          margin: float, mining: str, seed: int, every: int) -> Trained:
    """Trains the small network by triplets mined in each batch; the dev people's area under the curve chooses the step.

    A collapsed embedding is said, and ends the training.
    """
    x, people = train_set.x, train_set.people
    size = x.shape[1:3]
    net = small_network(size[0])
    params, state = net.init(jax.random.key(seed), x.shape[1:])
    optimizer = optax.adamw(optax.cosine_decay_schedule(learning_rate, max(steps, 1)), weight_decay=1e-3)

    def distorted(key: Any, image: Any) -> Any:
        turned, moved, mirrored, lit = jax.random.split(key, 4)
        if size[0] < 32:  # a digit in a mirror is none
            return shift(moved, size, fraction=0.1).image(image)
        image = rotation(turned, size, degrees=8).then(shift(moved, size, fraction=0.06)).image(image)
        image = jnp.where(jax.random.bernoulli(mirrored), image[:, ::-1], image)
        gain, offset = jax.random.uniform(lit, (2,), minval=-1.0, maxval=1.0)
        return image * (1 + 0.2 * gain) + 0.1 * offset

    @jax.jit
    def step(params: Any, state: Any, opt_state: Any, x: Any, labels: Any, key: Any) -> Any:
        x = jax.vmap(distorted)(jax.random.split(key, len(x)), x)

        def cost(params: Any) -> Any:
            e, moved = over_examples(net)(params, state, x, train=True)
            return mined_triplet_loss(e, labels, margin=margin, mining=mining), (moved, e)

        (loss, (state, e)), grads = jax.value_and_grad(cost, has_aux=True)(params)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), state, opt_state, loss, e

    embed_with = jax.jit(lambda params, state, x: jax.vmap(lambda x: net(params, state, x)[0])(x))
    opt_state, draw = optimizer.init(params), batches(people, n_people, n_each, seed)
    taken, losses, areas, best, collapsed = [], [], [], (-1.0, 0, (params, state)), None
    recent: list[float] = []
    for i in progress(range(1, steps + 1), "step"):
        places = next(draw)
        params, state, opt_state, loss, e = step(params, state, opt_state, x[places], people[places],
                                                 jax.random.key(seed * 1_000_003 + i))
        recent.append(float(loss))
        if i % every == 0 or i == steps:
            collapsed = collapse(e, float(loss), margin)
            here = (params, state)
            dev = in_batches(lambda x, here=here: embed_with(*here, x), dev_set.x)
            area = roc(*all_pairs(dev, dev_set.people)).area
            taken.append(i)
            losses.append(float(np.mean(recent)))
            areas.append(area)
            recent = []
            say(f"step {i}: loss {losses[-1]:.4f}, area under the curve of the dev people {area:.4f}")
            if area > best[0]:
                best = (area, i, here)
            if collapsed:
                say(f"step {i}: {collapsed}")
                break
    chosen = best[2]
    return Trained(lambda x: in_batches(lambda x: embed_with(*chosen, x), x), taken, losses, areas, best[1], collapsed)


class Ways(NamedTuple):
    """embed: by name, pictures to embeddings. dev: by name, the people by whom its threshold is chosen."""

    data: str
    people: People
    test: People
    embed: dict[str, Callable[[np.ndarray], np.ndarray]]
    dev: dict[str, People]
    trained: Trained | None


def ways_of(knobs: FaceKnobs, data_dir: Path | None) -> Ways:
    """The people dealt into training, dev and test; raw pixels, the network trained here, and OpenFace's.

    OpenFace's network and raw pixels have met none of them: their threshold is chosen by the training and dev people.
    """
    data, people = real_or_embedded(knobs.data, "olivetti", lambda: ("olivetti", load_people("olivetti", data_dir)),
                                    lambda: ("digits", load_people("digits", data_dir)),
                                    "scikit-learn's digits in place of people")
    order = np.random.default_rng(knobs.seed).permutation(len(people.names))
    n_test, n_dev = (knobs.test_people, knobs.dev_people) if data == "olivetti" else (3, 2)
    expect(n_test + n_dev + 2 <= len(order), "--test-people", f"at least two of {len(order)} people left to train on",
           f"{n_test} for the test and {n_dev} for dev")
    test, dev, rest = order[:n_test], order[n_test:n_test + n_dev], order[n_test + n_dev:]
    say(f"{data}: {len(rest)} people to train on, {n_dev} to choose by, {n_test} to measure on, "
        f"{len(people.x) // len(order)} pictures of each")
    others = people.of([*rest, *dev])
    embed: dict[str, Callable[[np.ndarray], np.ndarray]] = {"raw pixels": pixels}
    chosen_by = {"raw pixels": others}
    trained = None
    if knobs.steps:
        trained = train(people.of(rest), people.of(dev), steps=knobs.steps, n_people=knobs.batch_people,
                        n_each=knobs.batch_each, learning_rate=knobs.learning_rate, margin=knobs.margin,
                        mining=knobs.mining, seed=knobs.seed, every=knobs.every)
        embed["trained here"] = with_mirror(trained.embed) if data == "olivetti" else trained.embed
        chosen_by["trained here"] = people.of(dev)
    if data == "olivetti":
        for name, pooling in (("OpenFace, as the course has it", "average"), ("OpenFace", "l2")):
            embed[name], chosen_by[name] = with_mirror(openface(data_dir, pooling)), others
    return Ways(data, people, people.of(test), embed, chosen_by, trained)


def draw_training(path: Path, trained: Trained) -> None:
    figure, axes = figures.panels(1, 2, (5, 3.6), "trained here by triplets")
    figures.curves(axes[0, 0], {"train": (trained.steps, trained.losses)}, "step", "triplet loss / squared distance")
    figures.curves(axes[0, 1], {"dev": (trained.steps, trained.dev_areas)}, "step", "area under the curve, dev people")
    axes[0, 1].axvline(trained.best_step, color="grey", linestyle=":")
    figures.save(figure, path)


def shown(picture: np.ndarray) -> np.ndarray:
    """Three channels, so that a grey face is drawn as a face and not as ink on paper."""
    return np.broadcast_to(picture, (*picture.shape[:2], 3))


def pixels(x: np.ndarray) -> np.ndarray:
    """The pictures as they are, one row each."""
    return x.reshape(len(x), -1)
