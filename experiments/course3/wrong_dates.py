"""Dates that contradict their texts, by the rank that a network's gradients give them."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.shared import figures
from experiments.shared.data import real_or_embedded
from experiments.shared.run import say
from jaxnn import Dense, Flatten, Sequential, relu, softmax_cross_entropy
from jaxnn.analysis import scores_in_training, suspects
from jaxnn.data import human_dates, load_dates, parse_date
from jaxnn.data.dates import COURSE_FORMATS
from jaxnn.training import make_step

LONGEST = 30  # characters of a text, as in the course
FORMATS = (*COURSE_FORMATS, "{dd} {mm} {yy}")  # one more is in the course's file


def rank(out: Path, data_dir: Path | None, n: int, epochs: int, seed: int) -> dict[str, Any]:
    """The ranks of the contradictory dates among n pairs, by gradient norm and by loss; a picture of them."""
    texts, dates, source = load(data_dir, n, seed)
    is_wrong = np.array([parse_date(text, formats=FORMATS) not in (None, date)
                         for text, date in zip(texts, dates, strict=True)])
    x, y = encoded(texts, dates)
    model = Sequential(Flatten(), Dense(256), relu, Dense(128), relu, Dense(80))
    step = make_step(model, loss_of_digits, optax.adam(1e-3))
    scores = scores_in_training(step, x, y, epochs=epochs, batch_size=min(64, len(x)), seed=seed)
    record: dict[str, Any] = {"pairs": len(x), "wrong": int(is_wrong.sum()), "source": source}
    ranks = {}
    for name, values in (("gradient norm", scores.norms), ("loss", scores.losses)):
        # The last epochs: in the first, hard formats are still unread.
        places = np.empty(len(x), int)
        places[suspects(values[-max(1, epochs // 2):]).order] = np.arange(len(x))
        ranks[name] = np.sort(places[is_wrong])
        k = int(is_wrong.sum())
        record[name] = {"ranks": ranks[name].tolist(), "among_the_first_k": int((ranks[name] < k).sum())}
    if not is_wrong.any():
        say(f"\ndates: none of {len(x)} pairs from {source} contradicts its text")
        return record
    say(f"\ndates, {len(x)} pairs from {source}: {int(is_wrong.sum())} contradict their texts")
    for name, of_wrong in ranks.items():
        say(f"by {name}: {record[name]['among_the_first_k']} of them are among the first {len(of_wrong)}; half are in "
            f"the first {int(of_wrong[(len(of_wrong) - 1) // 2]) + 1}, all in the first {int(of_wrong[-1]) + 1}")
    figure, ((axes,),) = figures.panels(1, 1, (6, 4), f"Dates that contradict their texts, among {len(x):,} pairs")
    figures.curves(axes, {name: (r + 1, np.arange(1, len(r) + 1)) for name, r in ranks.items()},
                   "pairs read in the order of suspicion", f"contradictory dates found, of {int(is_wrong.sum())}")
    axes.set_xscale("log")
    figures.save(figure, out / "dates.png")
    return record


def load(data_dir: Path | None, n: int, seed: int) -> tuple[list[str], list[str], str]:
    """The course's pairs; without its file, generated ones, of which 3 in 1,000 get the year before."""
    return real_or_embedded("auto", "course", lambda: of_the_course(data_dir, n), lambda: generated(n, seed),
                            "\ngenerated dates in place of the course's")


def of_the_course(data_dir: Path | None, n: int) -> tuple[list[str], list[str], str]:
    pairs = load_dates(data_dir, contradictory=True)
    return list(pairs.texts[:n]), list(pairs.dates[:n]), "the course's file"


def generated(n: int, seed: int) -> tuple[list[str], list[str], str]:
    pairs = human_dates(n, seed, formats=COURSE_FORMATS)
    dates = list(pairs.dates)
    for i in np.random.default_rng(seed).choice(n, max(1, round(0.003 * n)), replace=False):
        dates[i] = f"{int(dates[i][:4]) - 1}{dates[i][4:]}"
    return list(pairs.texts), dates, "our generator"


def encoded(texts: list[str], dates: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """x (n, LONGEST, n_characters) one-hot, each text at the right end, where the year is; y (n, 8) digits."""
    letters = sorted(set("".join(texts)))
    place = {c: i for i, c in enumerate(letters)}
    x = np.zeros((len(texts), LONGEST, len(letters)), np.float32)
    for i, text in enumerate(texts):
        for j, c in enumerate(text[-LONGEST:]):
            x[i, LONGEST - min(len(text), LONGEST) + j, place[c]] = 1
    return x, np.array([[int(c) for c in date if c != "-"] for date in dates], np.int32)


def loss_of_digits(logits: Any, digits: Any) -> Any:
    """Σ over the eight digits of a date of their cross-entropies, nats."""
    return jax.vmap(softmax_cross_entropy)(logits.reshape(8, 10), digits).sum()
