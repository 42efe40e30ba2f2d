"""Do counts of which words stand together give as good vectors as reading the text word by word?

    python -m experiments run glove
    python -m experiments run glove --data definitions

GloVe: the logarithm of how often two words stand together, as the inner product of two vectors, by weighted least
squares (`jaxnn.words.glove`). The corpus is read once, to count; what is trained on are the different pairs. The
vectors are judged as those of `run word2vec`: Spearman's correlation with what people find alike, analogies with the
words of the question left out, neighbours, and a projection.

Result (--data tiny, 2 CPU seconds): the pairs of one kind are all above the others, as by skip-gram; 95 % of the
questions about capitals are answered, of which skip-gram answers 21, and 7 % of those about the family, of which
skip-gram answers 63: the neighbours of a word are what stands beside it as much as what is like it.
On the definitions (8.4 million pairs, counted in 4 CPU seconds; 15 CPU seconds an epoch) ten epochs reach .436 on
WordSim-353 and .126 on SimLex-999, below skip-gram's .655 and .348; after five epochs nothing is won.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.course5 import word2vec
from experiments.course5.word_pictures import draw_projection
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import say
from jaxnn.words import cooccurrences, fit_glove, pair_correlation, write_word_vectors

DATA = word2vec.DATA


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("tiny", "which text: a corpus made by rules, or the definitions of gcide and WordNet",
                     choices=DATA)
    seed: int = random_seed(0, "seed of the initial vectors and of the order of the pairs")
    n_dim: int = count(100, "numbers in a vector")
    window: int = count(10, "words that are read at each side of a word, as in the paper; one at distance k counts 1/k")
    epochs: int = count(10, "passes over all different pairs; the scores rise little after that")
    learning_rate: float = positive(0.3, "Adagrad's learning rate; the paper's .05 is for one pair a step: the "
                                    "squares of a batch's sums grow faster")
    x_max: float = positive(10.0, "count from which on pairs have the whole weight; 100 in the paper, for larger "
                            "corpora")
    batch_size: int = count(4096, "pairs in a batch; fewer where an epoch would have less than 50 steps")


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    corpus, ratings, questions, _ = word2vec.read(knobs.data, knobs.seed, data_dir)
    begin = time.process_time()
    counted = cooccurrences(corpus, window=knobs.window)
    seconds = time.process_time() - begin
    n = len(counted.values)
    say(f"{len(corpus.tokens):,} words of {len(corpus.words):,} different ones; {n:,} different pairs, counted in "
        f"{seconds:.1f} CPU seconds")
    losses: list[float] = []
    scores: list[Any] = []
    at: list[float] = []
    begin = time.process_time()

    def report(epoch: int, loss: float, vectors: Any) -> None:
        at.append(time.process_time() - begin)
        losses.append(loss)
        scores.append({name: pair_correlation(vectors(), pairs) for name, pairs in ratings.items()})
        found = "  ".join(f"{name} {score.spearman:.3f}" for name, score in scores[-1].items())
        say(f"epoch {epoch + 1:2d}  weighted loss {loss:.5f}  {found}  {at[-1]:.0f} CPU seconds")

    vectors = fit_glove(counted, n_dim=knobs.n_dim, epochs=knobs.epochs, learning_rate=knobs.learning_rate,
                        x_max=knobs.x_max, batch_size=min(knobs.batch_size, n // 50 + 1), seed=knobs.seed,
                        report=report)
    write_word_vectors(vectors, out / "vectors.txt", "glove")
    measures = word2vec.judge(vectors, scores[-1], questions, word2vec.QUERIES[knobs.data])
    figure, axes = figures.panels(1, 2, (5.0, 3.8), f"GloVe: {n:,} pairs of {len(corpus.words):,} words")
    epochs = np.arange(1, len(losses) + 1)
    figures.curves(axes[0, 0], {"loss": (epochs, losses)}, "epoch", "weighted squared error of a pair", log=True)
    figures.curves(axes[0, 1], {f"{name}, {score.n} of {score.n_pairs} pairs": (at, [s[name].spearman for s in scores])
                                for name, score in scores[-1].items()}, "CPU time / s", "Spearman's correlation")
    axes[0, 1].legend(fontsize=8)
    figures.save(figure, out / "training.png")
    draw_projection(out / "projection.png", vectors, word2vec.GROUPS[knobs.data],
                    "GloVe: words in the plane of the groups' means")
    return {**measures, "pairs_counted": n, "pairs_per_cpu_second": n * knobs.epochs / at[-1],
            "costs": {"epoch": list(range(knobs.epochs)), "cost": losses}, "cpu_seconds": at,
            "by_epoch": {name: [s[name].spearman for s in scores] for name in ratings}}
