"""Which learns Shakespeare's writing better in the same time, an LSTM or a transformer?

    python -m experiments run shakespeare
    python -m experiments run shakespeare --data course --seconds 180

Both predict each character of a text from those before, and are measured in bits per character on the last tenth of the
text, each character with at least half a window before it. An LSTM of two layers (Graves 2013) and a decoder of the
shape of GPT-2 train in turns of five steps on the same windows, the one next that has had less time; so a busy machine
slows both down alike. Time is the seconds of the steps alone: not compiling, not measuring, and a step that takes more
than three times the median is taken for the machine's and counts as the median. The best network by the tenth before
(dev) is the one that is tested and that writes. Beside them stands what counting alone predicts.

--data four are four sonnets, which are here: enough to see it run, and too few to learn from; what is missing for more
is the course's shakespeare.txt, 94,275 characters.

Result of --data course --seconds 180, seed 0, 394 s in all on 2 CPU cores:
                         parameters    steps    best dev after    dev      test / bits per character
    LSTM                    242,173    5,510              36 s    2.312    2.436
    transformer             242,016    1,925             180 s    2.751    2.817
    counting, order 3                                             2.454    2.545
The LSTM makes three times as many steps, beats counting after 18 seconds and learns the text by heart from the 36th on
(training 1.35, dev 2.70 in the end); the transformer is still learning when its time is up. The text is small: 75,235
characters to train on. The course's released LSTM has 2.561 on the same test text in small letters, on which it was
trained.
"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course5 import released_sonnets
from experiments.course5.sonnets import FOUR, Text, as_text, batches, counting_bits, load_sonnets
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, progress, say, series, table
from jaxnn import LSTM, softmax_cross_entropy
from jaxnn.data import MissingData
from jaxnn.decoding import sample
from jaxnn.initializers import random_normal
from jaxnn.layers import over_examples
from jaxnn.losses import mean_over_time
from jaxnn.models import character_model, gpt2
from jaxnn.text import bits_per_character
from jaxnn.training import make_step, start

DATA = ("four", "course")
TURN = 5  # steps
DEV_POINTS = 10  # measurements of each network
ORDERS = (0, 1, 2, 3, 4, 5, 6)  # characters that the counts look back


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("four", "which text: four sonnets that are in the code, or all of the course's shakespeare.txt",
                     choices=DATA)
    seed: int = random_seed(0, "seed of the initial weights, the windows and the samples")
    seconds: float = positive(20.0, "seconds of training for each network; the course's text asks for minutes")
    window: int = count(128, "characters of a window, three lines; the transformer looks back no further")
    batch_size: int = count(16, "windows in a batch")
    hidden: int = count(128, "units of each of the two LSTM layers, as in the course")
    width: int = count(96, "width of the transformer; its step takes about twice the LSTM's time")
    blocks: int = count(2, "blocks of the transformer, as many as LSTM layers")
    heads: int = count(4, "attention heads of each block; they divide the width")
    dropout: float = knob(0.3, "fraction that is dropped in both networks, since the text is short", at_least=0,
                          below=1)
    learning_rate: float = positive(0.005, "Adam's largest rate for the LSTM; a warm-up of 5 % of the time, then a "
                                    "cosine to zero")
    transformer_rate: float = positive(0.003, "Adam's largest learning rate for the transformer")
    temperatures: tuple[float, ...] = knob((0.25, 0.5, 0.75, 1.0, 1.25, 1.5), "temperatures of the samples; 1 is the "
                                           "model's own", above=0)
    samples: int = count(20, "samples at each temperature, which give the share of words; the first is shown")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    text = as_text(load_sonnets(data_dir) if knobs.data == "course" else FOUR, least=knobs.window)
    if knobs.data != "course":
        say("four sonnets: too few to learn from; missing is the course's file, --data course")
    say(f"{len(text.train):,} characters to train on, {len(text.dev):,} dev, {len(text.test):,} test, "
        f"{text.vocabulary.size} different ones")
    trainings = [Training(knobs, text, *made) for made in networks(knobs, text.vocabulary.size)]
    take_turns(trainings, text, knobs)
    measures = {training.name: training.measures(text) for training in trainings}
    orders = {order: counting_bits(text.train, text.dev, order, text.vocabulary.size) for order in ORDERS}
    best = min(orders, key=orders.__getitem__)
    counting = {"order": best, "dev_bits": orders[best],
                "test_bits": counting_bits(text.train, text.test, best, text.vocabulary.size)}
    say()
    say(table(("network", "parameters", "s", "steps", "best dev at / s", "dev", "test / bits per character"),
              [*((name, f"{m['parameters']:,}", f"{m['seconds']:.0f}", m["steps"], f"{m['best_at']:.0f}",
                  f"{m['dev_bits']:.3f}", f"{m['test_bits']:.3f}") for name, m in measures.items()),
               (f"counting, order {best}", "", "", "", "", f"{counting['dev_bits']:.3f}",
                f"{counting['test_bits']:.3f}")]))
    course = released(data_dir, len(text.test)) if knobs.data == "course" else {}
    written = {training.name: write(knobs, training, text) for training in trainings}
    show(written)
    draw(out, measures, written, counting, knobs.data)
    return {"networks": measures, "counting": counting, **course, "written": {
        name: {f"{temperature:g}": of for temperature, of in by.items()} for name, by in written.items()}}


def networks(knobs: Knobs, symbols: int) -> list[tuple[str, Any, float, Callable]]:
    """(name, network, learning rate, how to write with it: params -> (step, carry))."""
    lstm = character_model(symbols, LSTM(knobs.hidden, layers=2, dropout=knobs.dropout), table_init=random_normal(1.0))
    decoder = gpt2(symbols, knobs.window, knobs.width, knobs.blocks, knobs.heads, rate=knobs.dropout)

    def by_cache(params: Any) -> tuple[Callable, Any]:
        def step(caches: Any, token: Any) -> Any:
            logits, caches = decoder.next(params, caches, token[None])
            return caches, logits[0]

        return step, decoder.empty_caches(params)

    return [("LSTM", lstm, knobs.learning_rate, lambda params: (functools.partial(lstm.step, params),
                                                                lstm.start(params))),
            ("transformer", decoder, knobs.transformer_rate, by_cache)]


class Training:
    """One network, the seconds that it has had, and its best params by dev."""

    def __init__(self, knobs: Knobs, text: Text, name: str, net: Any, rate: float, writer: Callable):
        self.name, self.net, self.rate, self.writer = name, net, rate, writer
        self.budget = knobs.seconds
        optimizer = optax.inject_hyperparams(_optimizer)(learning_rate=rate)
        self.state = start(net, optimizer, (knobs.window,), jax.random.key(knobs.seed))
        self.step = make_step(net, mean_over_time(softmax_cross_entropy), optimizer)
        self.batches = batches(text.train, knobs.window, knobs.batch_size, knobs.seed)
        self.seconds, self.wall = 0.0, 0.0
        self.lengths: list[float] = []  # of the steps, in seconds
        self.costs: list[float] = []
        self.dev: list[tuple[float, float]] = []
        self.best: tuple[float, Any] = np.inf, None
        self._losses = jax.jit(lambda params, x, y: jax.vmap(jax.vmap(softmax_cross_entropy))(
            over_examples(net)(params, {}, x)[0], y))
        self._window = knobs.window
        # Compiled before the clock runs, on a copy: a step takes over the state that it is given.
        self.step(jax.tree.map(jnp.copy, self.state), *next(self.batches))

    def turn(self) -> None:
        """TURN steps."""
        for x, y in (next(self.batches) for _ in range(TURN)):
            part = self.seconds / self.budget
            rate = self.rate * min(1, part / 0.05, 0.5 * (1 + np.cos(np.pi * min(part, 1))))
            moved = {**self.state.opt_state.hyperparams, "learning_rate": jnp.float32(rate)}
            self.state = self.state._replace(opt_state=self.state.opt_state._replace(hyperparams=moved))
            begin = time.perf_counter()
            self.state, info = self.step(self.state, x, y)
            self.costs.append(float(info.cost))
            self.lengths.append(time.perf_counter() - begin)
            self.seconds += counted(self.lengths)
            self.wall += self.lengths[-1]

    def measure(self, text: Text) -> None:
        value = self.bits(self.state.params, text.train, text.dev)
        self.dev.append((self.seconds, value))
        if value < self.best[0]:
            self.best = value, jax.tree.map(np.asarray, self.state.params)
        cost = f", training {np.mean(self.costs[-50:]) / np.log(2):.3f}" if self.costs else ""
        say(f"{self.name}: {len(self.costs):6,} steps, {self.seconds:5.1f} s: dev {value:.3f}{cost} bits per character")

    def bits(self, params: Any, before: np.ndarray, ids: np.ndarray) -> float:
        """Bits per character of ids, each predicted from at least half a window of what stands before."""
        half = self._window // 2
        known = np.concatenate([before[-half - 1:], ids])
        starts = range(0, len(ids), self._window - half)
        # Filled up behind: what follows changes nothing that counts.
        filled = np.concatenate([known, np.zeros(self._window, np.int32)])
        x = np.stack([filled[s:s + self._window] for s in starts])
        y = np.stack([filled[s + 1:s + 1 + self._window] for s in starts])
        losses = np.asarray(self._losses(params, x, y))[:, half:].ravel()[:len(ids)]
        return bits_per_character(losses, len(ids))

    def measures(self, text: Text) -> dict[str, Any]:
        at, values = zip(*self.dev, strict=True)
        best, params = self.best
        costs = np.array(self.costs).reshape(-1, TURN).mean(1)
        return {"parameters": sum(leaf.size for leaf in jax.tree.leaves(params)), "seconds": self.seconds,
                "wall_seconds": self.wall, "steps": len(self.costs), "milliseconds_of_a_step": float(
                    1000 * np.median(self.lengths)), "dev_bits": best, "best_at": at[int(np.argmin(values))],
                "test_bits": self.bits(params, np.concatenate([text.train, text.dev]), text.test),
                "dev": {"seconds": list(at), "bits": list(values)},
                "costs": series(costs, "step", TURN * np.arange(1, len(costs) + 1), start=self.costs[0])}


def counted(lengths: list[float]) -> float:
    """The seconds of the last step, or the median of the last 200 where the last took more than three times as long."""
    median = float(np.median(lengths[-200:]))
    return lengths[-1] if lengths[-1] <= 3 * median else median


def _optimizer(learning_rate: Any) -> Any:
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(learning_rate, weight_decay=0.01))


def take_turns(trainings: list[Training], text: Text, knobs: Knobs) -> None:
    """Until each has had its seconds; measured before the first step, at equal times between, and behind the last."""
    due = {training.name: 0.0 for training in trainings}
    for _ in progress(itertools.takewhile(lambda _: bool(due), itertools.count()), "turns"):
        for training in trainings:
            if training.name in due and training.seconds >= due[training.name]:
                training.measure(text)
                every = knobs.seconds / DEV_POINTS
                due[training.name] = min(every * (1 + training.seconds // every), knobs.seconds)
                if training.seconds >= knobs.seconds:
                    del due[training.name]
        if due:
            min((t for t in trainings if t.name in due), key=lambda t: t.seconds).turn()


def released(data_dir: Path | None, n: int) -> dict[str, float]:
    """Bits per character of the last n by the weights that the course released, which have learnt from these too."""
    try:
        weights = released_sonnets.load_released(data_dir)
    except (MissingData, ModuleNotFoundError) as error:
        say(f"without the released weights: {error}")
        return {}
    text = load_sonnets(data_dir, stripped=False)
    bits = bits_per_character(released_sonnets.losses(weights, text, len(text) - n), n)
    say(f"the course's released LSTM: {bits:.3f} bits per character of the last {n:,}, in small letters, on which it "
        "was trained")
    return {"released_bits": bits}


def write(knobs: Knobs, training: Training, text: Text) -> dict[float, dict[str, Any]]:
    """For each temperature a sample, and the share of words in all its samples that the text has."""
    words = set("".join(text.vocabulary.decode(part) for part in (text.train, text.dev, text.test)).split())
    line_end = text.vocabulary.id_of("\n")  # a sample starts a new line

    @jax.jit
    def draw_samples(params: Any, keys: Any, temperature: Any) -> Any:
        step, carry = training.writer(params)

        def cooled(carry: Any, token: Any) -> Any:  # one program for all temperatures
            carry, logits = step(carry, token)
            return carry, logits / temperature

        return jax.vmap(lambda key: sample(cooled, carry, line_end, key, max_length=knobs.window - 1).tokens)(keys)

    written: dict[float, dict[str, Any]] = {}
    for temperature in knobs.temperatures:
        tokens = draw_samples(training.best[1], jax.random.split(jax.random.key(knobs.seed + 1), knobs.samples),
                              temperature)
        texts = [text.vocabulary.decode(row) for row in np.asarray(tokens)]
        # The last word may be cut off.
        found = [word for one in texts for word in one.split()[:-1]]
        written[temperature] = {"sample": texts[0], "known_words": sum(word in words for word in found) / max(
            len(found), 1)}
    return written


def show(written: dict[str, Any]) -> None:
    for name, by_temperature in written.items():
        for temperature, of in by_temperature.items():
            say(f"\n{name}, temperature {temperature:g}: {percent(of['known_words'])} of its words are in the text")
            say("\n".join(f"    {line}" for line in of["sample"].splitlines()))


def draw(out: Path, measures: dict[str, Any], written: dict[str, Any], counting: dict[str, Any], data: str) -> None:
    title = "Four sonnets" if data == "four" else "Shakespeare's sonnets"
    figure, axes = figures.panels(1, 3, (4.6, 3.8), f"{title}, characters, at equal time")
    for name, m in measures.items():
        (line,) = axes[0, 0].plot(m["dev"]["seconds"], m["dev"]["bits"], label=f"{name}, test {m['test_bits']:.2f}")
        axes[0, 0].plot(m["best_at"], m["dev_bits"], "o", color=line.get_color())
        axes[0, 1].plot(m["costs"]["step"], np.array(m["costs"]["cost"]) / np.log(2), label=name, linewidth=1)
        axes[0, 2].plot(list(written[name]), [100 * of["known_words"] for of in written[name].values()], marker="o",
                        label=name)
    axes[0, 0].axhline(counting["dev_bits"], color="grey", linestyle="--",
                       label=f"counting, order {counting['order']}, test {counting['test_bits']:.2f}")
    for axis, x, y, name in ((axes[0, 0], "training / s", "bits per character", "dev; the best is tested"),
                             (axes[0, 1], "step", "bits per character", "training cost"),
                             (axes[0, 2], "temperature", "words that are in the text / %", "what they write")):
        axis.set(xlabel=x, ylabel=y)
        axis.set_title(name, fontsize=10)
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8)
    low = min(counting["dev_bits"], *(m["dev_bits"] for m in measures.values()))
    axes[0, 0].set_ylim(0.95 * low, 1.6 * low)
    figures.save(figure, out / "shakespeare.png")
