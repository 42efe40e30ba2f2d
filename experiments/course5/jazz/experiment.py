"""What does a network improvise after it has learnt one jazz solo by heart?

    python -m experiments run jazz
    python -m experiments run jazz --edition 2021

The course's assignment: Pat Metheny's solo is written as symbols, each a kind of tone, a length and a range; an LSTM of
64 units learns to predict the next one from 60 pieces of 30 symbols, all cut out of the one solo. --edition 2018 has 78
different symbols, and so 41,678 parameters, --edition 2021 has rests too, 90 symbols and 45,530 parameters. The cost is
summed over the 29 predictions of a piece, in nats: 126.3 of 78 symbols that are equally likely, about 6 at the end. The
network then writes a solo over the same chords at several temperatures. As it has learnt one solo, it copies: the
longest run of symbols that stand in the solo too is measured and said.

--data auto takes the course's file, and Frère Jacques where it is missing: enough to see it run.

Result of seed 0, a minute and a half on a busy CPU core:
    --edition    symbols    different    parameters    cost at first    at last    longest run copied, at temperature 1
    2018             193           78        41,678            126.4        6.0    96 of 258 symbols
    2021             275           90        45,530            130.5        7.4    28 of 270 symbols
Over seeds 0 to 7 the last cost is 5.9 to 6.2 (mean 6.0) and 7.1 to 8.5 (mean 7.8): the 2021 edition has more symbols,
and so ends higher. The same training by Keras 3.15, same pieces, 8 seeds: 5.8 to 6.5 (mean 6.0) and 7.3 to 8.9 (mean
8.0), there as means over the last epoch and here after it. The course's notebooks print 125.8 to 6.2, and 129.9 to
9.2, of one training each.
In the 2018 edition the likeliest symbols copy 149 in a row, in the 2021 edition those of temperature 0.5 copy 192; at
temperature 1.5 only 13 and 8 are left.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from experiments.course5.copied import longest_copy
from experiments.course5.jazz import pictures
from experiments.course5.jazz.solo import comping, played
from experiments.course5.jazz.tune import BAR, EDITIONS, Tune, metheny, nursery_tune
from experiments.shared.data import real_or_embedded
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import percent, say, series, table
from jaxnn import LSTM, Dense, Sequential, dense, over_examples, softmax_cross_entropy
from jaxnn.audio import write_wav
from jaxnn.data import Batches
from jaxnn.decoding import greedy, sample
from jaxnn.initializers import orthogonal, xavier_uniform
from jaxnn.music import in_seconds, midi_of, render, tempos_of, write_midi
from jaxnn.training import fit, make_step, start

DATA = ("auto", "metheny", "nursery")
PIECES, LENGTH = 60, 30  # as in the course: pieces cut out of the solo, symbols of each
GATES = 4
EPS = 1e-7  # of Adam, Keras' own


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("auto", "which tune: the course's where its file is found, or a nursery rhyme", choices=DATA)
    edition: str = knob("2018", "edition of the assignment: 2018 has notes alone, 2021 rests too", choices=EDITIONS)
    seed: int = random_seed(0, "seed of the initial weights, the batches and the solos; the pieces are the course's")
    hidden: int = count(64, "units of the LSTM, as in the course")
    epochs: int = count(100, "passes over the training pieces, as many as in the course")
    batch_size: int = count(30, "pieces in a batch, half of them; the course's 32 leave 28 over")
    learning_rate: float = positive(0.01, "Adam's first learning rate, as in the course")
    decay: float = knob(0.01, "decay d of the learning rate, first / (1 + d t) at step t, as in the course", at_least=0)
    temperatures: tuple[float, ...] = positive((0.5, 1.0, 1.5), "temperatures of the solos; 1 is the model's own")


def load(knobs: Knobs, data_dir: Path | None) -> Tune:
    return real_or_embedded(knobs.data, "metheny", lambda: metheny(knobs.edition, data_dir), nursery_tune,
                            "Frère Jacques in place of the course's tune")


def cut(symbols: list[int], n_pieces: int = PIECES, length: int = LENGTH) -> np.ndarray:
    """(n_pieces, length) int32: pieces that begin where the course's generator begins them."""
    rng = np.random.RandomState(0)
    return np.array([symbols[first:first + length]
                     for first in (rng.choice(len(symbols) - length) for _ in range(n_pieces))], np.int32)


def network_of(hidden: int, n_symbols: int) -> Sequential:
    """One-hot rows (time, n_symbols) -> logits (time, n_symbols) of the symbol behind each.

    The initial weights of the LSTM are as large as those of Keras, which draws the four gates as one matrix: uniform in
    ±√(6 / (n_symbols + 4 hidden)) for the input, columns of length 1 over all gates for the hidden state. Here each
    gate has its own orthogonal matrix, half as large.
    """
    def of_symbols(key: Any, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
        most = (6 / (shape[0] + GATES * shape[1])) ** 0.5
        return jax.random.uniform(key, shape, dtype, -most, most)

    def of_hidden(key: Any, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
        return orthogonal(key, shape, dtype) / GATES ** 0.5

    return Sequential(lstm=LSTM(hidden, weight_x_init=of_symbols, weight_h_init=of_hidden),
                      head=over_examples(Dense(n_symbols, weight_init=xavier_uniform)))


def cost(logits: Any, symbols: Any) -> Any:
    """Σ_t -ln p_t over the symbols from the second on, nats: the first, of which nothing is known, is not predicted.
    The course's input is zeros at the first step and its symbol t - 1 at step t - 1, so that step 0 predicts symbol 1
    from nothing, and step t symbol t + 1 from those from 1 to t."""
    return softmax_cross_entropy(logits[:-1], symbols[1:])


def as_rows(symbols: np.ndarray, n_symbols: int) -> np.ndarray:
    """One-hot rows of pieces (n, time), the first row zeros: (n, time, n_symbols)."""
    rows = np.eye(n_symbols, dtype=np.float32)[symbols]
    rows[:, 0] = 0
    return rows


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    tune = load(knobs, data_dir)
    names = sorted(set(tune.symbols))
    solo = [names.index(text) for text in tune.symbols]
    pieces = cut(solo)
    net = network_of(knobs.hidden, len(names))
    params, costs = train(knobs, net, pieces, len(names))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(params))
    say(f"{tune.name}: {len(tune.bars)} bars, {len(solo)} symbols, {len(names)} of them different; {PIECES} pieces of "
        f"{LENGTH}; {parameters:,} parameters")
    say(f"cost {costs[0]:.1f} nats a piece at first, {costs[-1]:.1f} after {knobs.epochs} epochs")
    write_solo = writer(net, params, len(names))
    kinds: dict[str, tuple[list[list[str]], dict[str, Any]]] = {}
    for name, temperature in (("greedy", None), *((f"{t:g}", t) for t in knobs.temperatures)):
        bars = solo_of(write_solo, names, len(tune.bars), temperature, knobs.seed)
        kinds[name] = bars, measured(bars, tune)
    say()
    say(table(("solo", "symbols", "different", "longest run copied", "part of the solo", "of 4 in a row, copied"),
              [(f"temperature {name}" if name != "greedy" else "the likeliest", m["symbols"], m["different"],
                m["longest_copy"], percent(m["longest_copy"] / m["symbols"]), percent(m["copied_fours"]))
               for name, (_, m) in kinds.items()]))
    longest = max(kinds, key=lambda name: kinds[name][1]["longest_copy"])
    say(f"longest run copied from the training tune: {kinds[longest][1]['longest_copy']} symbols, at {longest}")
    rng = np.random.default_rng(knobs.seed)
    solos = {name: played(bars, tune.bars, rng) for name, (bars, _) in kinds.items()}
    seconds = {name: record(out, f"solo_{name}", notes, tune) for name, notes in solos.items()}
    original = played([bar.symbols for bar in tune.bars], tune.bars, rng)
    record(out, "training_solo_by_its_symbols", original, tune)
    pictures.draw(out, tune, costs, {"training solo, by its symbols": original, **{
        f"temperature {name}" if name != "greedy" else "the likeliest": notes for name, notes in solos.items()}},
        {name: m for name, (_, m) in kinds.items()}, len(names))
    return {"data": tune.name, "parameters": int(parameters), "distinct_symbols": len(names), "symbols": len(solo),
            "first_cost": float(costs[0]), "last_cost": float(costs[-1]),
            "costs": series(costs, "epoch"), "solos": {name: m | {"seconds": seconds[name]}
                                                       for name, (_, m) in kinds.items()}}


def train(knobs: Knobs, net: Sequential, pieces: np.ndarray, n_symbols: int) -> tuple[Any, np.ndarray]:
    """(params, the cost of all pieces before the first epoch and after each)."""
    x = jnp.asarray(as_rows(pieces, n_symbols))
    batches = Batches(x, pieces, min(knobs.batch_size, len(pieces)), seed=knobs.seed)
    optimizer = optax.adam(lambda step: knobs.learning_rate / (1 + knobs.decay * step), eps=EPS)

    of_pieces = jnp.asarray(pieces)

    @jax.jit
    def of_all(params: Any) -> Any:
        return jnp.mean(jax.vmap(lambda rows, symbols: cost(net(params, {}, rows)[0], symbols))(x, of_pieces))

    train_state, history = fit(
        start(net, optimizer, (LENGTH, n_symbols), jax.random.key(knobs.seed)), make_step(net, cost, optimizer),
        batches, steps=batches.steps(knobs.epochs), every=batches.steps(1), progress=False,
        metrics=lambda params, state: {"all": float(of_all(params))})
    return train_state.params, history.curve("all")[1]


def writer(net: Sequential, params: Any, n_symbols: int) -> Any:
    """(temperature or None for the likeliest, key, most) -> symbols, (most,)."""
    layer: Any = net.parts["lstm"]

    def step(carry: Any, symbol: Any) -> Any:
        params, is_first, state = carry
        row = jnp.where(is_first, 0.0, jax.nn.one_hot(symbol, n_symbols))
        h, state = layer.op(params["lstm"], row[None], state)
        return (params, jnp.asarray(False), state), dense(params["head"], h[0])

    state = (jnp.zeros(layer.n_hidden), jnp.zeros(layer.n_hidden))
    carry = (params, jnp.asarray(True), state)

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def write(key: Any, temperature: float | None, most: int) -> Any:
        found = (greedy(step, carry, 0, max_length=most) if temperature is None
                 else sample(step, carry, 0, key, max_length=most, temperature=temperature))
        return found.tokens

    return write


def solo_of(write: Any, names: list[str], n_bars: int, temperature: float | None, seed: int) -> list[list[str]]:
    """Symbols for each bar: as many of one long sequence as its four quarter notes take."""
    texts = [names[n] for n in np.asarray(write(jax.random.key(seed), temperature, 30 * n_bars))]
    bars: list[list[str]] = [[]]
    filled = 0.0
    for text in texts:
        if filled >= BAR - 1e-3:
            if len(bars) == n_bars:
                break
            bars.append([])
            filled = 0.0
        bars[-1].append(text)
        filled += float(text.split(",")[1])
    return bars + [[] for _ in range(n_bars - len(bars))]


def measured(bars: list[list[str]], tune: Tune) -> dict[str, Any]:
    texts = [text for bar in bars for text in bar]
    fours = [tuple(texts[i:i + 4]) for i in range(len(texts) - 3)]
    known = {tuple(tune.symbols[i:i + 4]) for i in range(len(tune.symbols) - 3)}
    return {"symbols": len(texts), "different": len(set(texts)), "longest_copy": longest_copy(texts, [tune.symbols]),
            "copied_fours": float(np.mean([four in known for four in fours])) if fours else 0.0}


def record(out: Path, name: str, notes: list[Any], tune: Tune) -> float:
    """The solo over its chords as MIDI and WAV; how many seconds it lasts."""
    both = [*notes, *comping(tune.bars)]
    midi = midi_of(both, beats_per_minute=tune.beats_per_minute, programs={0: 26, 1: 0})  # jazz guitar, piano
    write_midi(out / f"{name}.mid", midi)
    rate = 22_050
    samples = render(in_seconds(both, tempos_of(midi)), rate)
    write_wav(out / f"{name}.wav", samples, rate)
    return len(samples) / rate
