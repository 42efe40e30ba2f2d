"""Can a network read dates as people write them, and where does the network look meanwhile?

    python -m experiments run translate-dates
    python -m experiments run translate-dates --data course

"saturday the 28th of april 1990" becomes 1990-04-28. An LSTM in both directions reads the text, and an LSTM with
additive attention writes the date (Bahdanau, Cho & Bengio 2015); beside it a transformer (Vaswani et al. 2017). Both
learn from texts in 23 formats, made by `jaxnn.data.human_dates` (nothing is downloaded), or from the course's 10,000
pairs. They are judged on days that training has in no format. A date is right if all its characters are; greedy
decoding stands beside beam search. The pictures show the training, and how much of each character of the text the
decoder reads for each character of the date. With c5/nmt_attention_model.h5 in the data directory, the weights that the
course released translate the course's eight dates too.

Result of seed 0, 1,987 test dates on 821 days, on 2 CPU cores; seconds of processor time, compiling and measuring
included:
                            parameters    seconds    exact, greedily    beam of 3
    LSTM with attention         67,437        113          100.00 %     100.00 %
    transformer                171,789        248           99.95 %      99.95 %
The LSTM has 99 % of the dev dates after 400 of its 3,000 steps, the transformer after 1,200. Both read the course's
eight texts as meant, "5 April 09" and "21th of August 2016" among them, which are in no format of the training; the
released weights give all eight dates that the course prints, one of which is not what its text says.
"""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.course5 import released_dates
from experiments.course5.translators import (
    LONGEST,
    Languages,
    Pairs,
    Translator,
    exact,
    of_encoder_decoder,
    of_transformer,
    split_by_day,
)
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, say, series, table
from jaxnn import softmax_cross_entropy
from jaxnn.data import Batches, MissingData, human_dates, load_dates
from jaxnn.losses import mean_over_time
from jaxnn.models import encoder_decoder, transformer
from jaxnn.text import character_error_rate
from jaxnn.training import fit, make_step, start

DATA = ("formats", "course")
SHOWN = ("saturday the 28th of april 1990", "9/10/70", "10.11.19", "1999 december 31", "thu aug 06 2015", "3 may 79")
WATCHED, MEASURED = 500, 15  # dev texts that are decoded, and how many times
# The course's eight texts as a person reads them; no format of ours writes the second and the third so.
MEANT = ("1979-05-03", "2009-04-05", "2016-08-21", "2007-07-10", "2018-05-09", "2001-03-03", "2001-03-03", "2001-03-01")


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("formats", "which texts: dates in 23 formats, made here, or the course's dates_10000.tsv",
                     choices=DATA)
    seed: int = random_seed(0, "seed of the texts, the split, the initial weights and the batches")
    pairs: int = count(40_000, "texts that are made; 40,000 have each day of 51 years about twice")
    steps: int = count(3000, "steps of the training; five epochs of the texts made here, 21 of the course's")
    batch_size: int = count(64, "texts in a batch, a compromise of steps and of time for each")
    learning_rate: float = positive(0.004, "Adam's largest learning rate for the LSTMs, which falls to zero as a "
                                    "cosine")
    transformer_rate: float = positive(0.002, "Adam's largest learning rate for the transformer")
    encoder: int = count(32, "units of the encoder in each direction, as in the course")
    decoder: int = count(64, "units of the decoder, as in the course, and the width of the transformer")
    beam: int = count(3, "sequences that the beam search keeps side by side; a date has few alternatives")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    texts, dates = load_dates(data_dir) if knobs.data == "course" else human_dates(knobs.pairs, knobs.seed)
    longest = max(map(len, (*texts, *SHOWN, *released_dates.TEXTS)))
    languages = Languages.of(texts, longest)
    parts = split_by_day(texts, dates, languages, knobs.seed)
    say(f"{', '.join(f'{len(part.texts):,} {name}' for name, part in parts.items())} pairs; no day in two of the parts")
    measures, translators = {}, {}
    for name, (net, decoder_of, rate) in networks(knobs, languages).items():
        untrained = Translator(net, decoder_of, None, languages)
        measures[name], translators[name] = train(knobs, name, untrained, rate, parts)
    say()
    head = ("network", "parameters", "s", "s of processors", "greedy", f"beam of {knobs.beam}", "wrong characters")
    say(table(head, [(name, f"{m['parameters']:,}", f"{m['seconds']:.0f}", f"{m['cpu_seconds']:.0f}",
                      percent(m["exact"]), percent(m["exact_beam"]), percent(m["character_error_rate"]))
                     for name, m in measures.items()]))
    course = course_texts(translators)
    draw_training(out, measures, knobs)
    draw_attention(out / "attention.png", "Where the LSTM looks in the text for each character of the date", SHOWN,
                   *translators["LSTM with attention"].read(SHOWN))
    return {"networks": measures, "course_texts": course, **released(out, data_dir)}


def networks(knobs: Knobs, languages: Languages) -> dict[str, tuple[Any, Callable, float]]:
    """For each name the network, how to decode with it, and its learning rate."""
    n, sizes = knobs.decoder, (languages.human.size, languages.machine.size)
    return {"LSTM with attention": (encoder_decoder(*sizes, knobs.encoder, n), of_encoder_decoder, knobs.learning_rate),
            "transformer": (transformer(*sizes, n, 2, 4, 2 * n, rate=0.0, pre_norm=True), of_transformer,
                            knobs.transformer_rate)}


def train(knobs: Knobs, name: str, translator: Translator, rate: float,
          parts: dict[str, Pairs]) -> tuple[dict[str, Any], Translator]:
    """(the measures of one network, its translator with the params of the end)."""
    batches = Batches(parts["train"].x, parts["train"].labels, min(knobs.batch_size, len(parts["train"].texts)),
                      seed=knobs.seed)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(rate, knobs.steps)))
    shape = {"source": (translator.languages.longest,), "source_length": (), "target": (LONGEST,)}
    watched = {key: a[:WATCHED] for key, a in parts["dev"].x.items()}
    begin, begin_cpu = time.perf_counter(), time.process_time()

    def metrics(params: Any, state: Any) -> dict[str, Any]:
        right = exact(translator.translate(watched, params=params)[0], parts["dev"].dates[:WATCHED])
        say(f"{name}: {percent(right)} of {len(watched['source'])} dev dates after {time.perf_counter() - begin:.0f} s")
        return {"dev": right}

    train_state, history = fit(
        start(translator.net, optimizer, shape, jax.random.key(knobs.seed)),
        make_step(translator.net, mean_over_time(softmax_cross_entropy), optimizer), batches, steps=knobs.steps,
        every=max(1, knobs.steps // MEASURED), metrics=metrics, progress=False)
    seconds, cpu_seconds = time.perf_counter() - begin, time.process_time() - begin_cpu
    trained = Translator(translator.net, translator.decoder_of, train_state.params, translator.languages)
    test = parts["test"]
    greedily, _ = trained.translate(test.x)
    beams, _ = trained.translate(test.x, knobs.beam)
    wrong = [triple for triple in zip(test.texts, test.dates, greedily, strict=True) if triple[1] != triple[2]]
    for text, date, found in wrong[:5]:
        say(f"  {text!r} is {date}, not {found}")
    costs_at, costs = history.curve("cost")
    dev_at, dev = history.curve("dev")
    return {"parameters": sum(leaf.size for leaf in jax.tree.leaves(train_state.params)), "seconds": seconds,
            "cpu_seconds": cpu_seconds, "exact": exact(greedily, test.dates), "exact_beam": exact(beams, test.dates),
            "character_error_rate": character_error_rate(greedily, test.dates), "wrong": wrong[:20],
            "dev": {"step": dev_at.tolist(), "exact": dev.tolist()},
            "costs": series(costs, "step", costs_at)}, trained


def course_texts(translators: dict[str, Translator]) -> dict[str, list[str]]:
    """The course's eight texts, of which two are in no format that training has."""
    found = {name: translator.read(released_dates.TEXTS)[0] for name, translator in translators.items()}
    say()
    say(table(("the course's texts", "meant", *found),
              [(text, date, *("the same" if dates[i] == date else dates[i] for dates in found.values()))
               for i, (text, date) in enumerate(zip(released_dates.TEXTS, MEANT, strict=True))]))
    return found


def released(out: Path, data_dir: Path | None) -> dict[str, Any]:
    """The course's eight dates by the weights that it released."""
    try:
        weights = released_dates.load_released(data_dir)
    except (MissingData, ModuleNotFoundError) as error:
        say(f"without the released weights: {error}")
        return {}
    dates, attention = released_dates.translate(weights, released_dates.TEXTS)
    same = sum(a == b for a, b in zip(dates, released_dates.PRINTED, strict=True))
    say(f"the released weights give {same} of the 8 dates that the course prints")
    draw_attention(out / "released_attention.png", "The released weights: where they look in the text",
                   released_dates.TEXTS[:6], dates[:6], attention[:6])
    return {"released": {"dates": dates, "as_printed": same}}


def draw_training(out: Path, measures: dict[str, Any], knobs: Knobs) -> None:
    figure, axes = figures.panels(1, 2, (5, 3.8), "Dates in 23 formats" if knobs.data == "formats" else
                                  "The course's dates")
    figures.curves(axes[0, 0], {name: (m["costs"]["step"], m["costs"]["cost"]) for name, m in measures.items()}, "step",
                   "training cost / nats per character", log=True, legend=False)
    wrong = {name: (m["dev"]["step"], [max(100 * (1 - v), 100 / WATCHED / 2) for v in m["dev"]["exact"]])
             for name, m in measures.items()}
    figures.curves(axes[0, 1], wrong, "step", "dev dates that are wrong / %", log=True)
    axes[0, 1].axhline(1, color="grey", linestyle="--", linewidth=1)
    axes[0, 1].set_title("none wrong is drawn as half of one", fontsize=9)
    figures.save(figure, out / "training.png")


def draw_attention(path: Path, title: str, texts: Sequence[str], dates: Sequence[str], attention: np.ndarray) -> None:
    """One panel for each text: a column for each of its characters, a row for each of the date's."""
    figure, axes = figures.panels(-(-len(texts) // 2), 2, (5.6, 2.5), title)
    for axis in axes.flat[len(texts):]:
        axis.set_axis_off()
    for axis, text, date, weights in zip(axes.flat, texts, dates, attention, strict=False):
        image = axis.imshow(weights[:len(date), :len(text)], cmap="Greys", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(range(len(text)), [c if c != " " else "␣" for c in text], fontsize=8, family="monospace")
        axis.set_yticks(range(len(date)), list(date), fontsize=8, family="monospace")
        axis.set_title(f"{text}  →  {date}", fontsize=9)
    axes[0, 0].set_ylabel("written")
    axes[-1, 0].set_xlabel("read")
    figure.colorbar(image, ax=axes, label="weight of the attention", shrink=0.6)
    figures.save(figure, path)
