"""Do words that stand in the same company get vectors that people would call alike?

    python -m experiments run word2vec
    python -m experiments run word2vec --data definitions --epochs 15 --gensim-epochs 1

Skip-gram with negative sampling, CBOW, the hierarchical softmax and character n-grams, on the 4.64 million words of
two dictionaries' definitions (`--data definitions`), or on a small corpus made by rules (`--data tiny`, the default).
After each epoch the vectors are compared with what people find alike: Spearman's correlation with WordSim-353 and
SimLex-999, over the pairs whose words are in the vocabulary. At the end: analogies, with the words of the question
left out as answers; nearest neighbours; a projection; and the time of a step by the size of the vocabulary, beside the
time of reading and moving its rows alone, which is the limit that gathers and scatters set.

What is shared: the words of a chunk of 32 share 32 negative samples, weighted so that the expected cost is that of
five for each pair, and the rows of 128 chunks are read once and moved once, by the sum of their gradients
(`jaxnn.words.chunks`, `jaxnn.words.fit_words`).

Result (--data definitions --epochs 15, one of 2 busy CPU cores, 174 s of CPU time for the training): WordSim-353 .655
over 334 of 353 pairs, SimLex-999 .348 over 994 of 999; six epochs, 71 s, reach .62 and .34. gensim, 15 epochs: .666 and
.343. 385,000 to 450,000 words a CPU second, gensim with one worker 340,000 to 360,000. Neighbours of violin: clarinet,
bassoon, trombone, viol. Analogies are beyond a corpus of this size: family 44 %, the others 2 to 27 %. A step takes 0.7
to 1.3 s per million pairs with 10,000 words as with 250,000; its rows alone are a quarter to a third of that, and the
rest is scores, their gradients and the sorting of rows.
"""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.course5 import tiny_words, word_speed
from experiments.course5.word_pictures import draw_projection
from experiments.shared import figures
from experiments.shared.knobs import Configuration, count, knob, positive, random_seed
from experiments.shared.run import say, table
from jaxnn.data import load_analogies, load_definitions, load_word_pairs
from jaxnn.data.extra import import_extra
from jaxnn.words import (
    Corpus,
    EpochNote,
    PairScore,
    WordVectors,
    analogy_accuracy,
    character_parts,
    encode_corpus,
    fit_words,
    pair_correlation,
    write_word_vectors,
)

DATA = ("tiny", "definitions")
GROUPS = {
    "tiny": tiny_words.KINDS | {"family": ("man", "woman", "boy", "girl", "father", "mother", "son", "daughter")},
    "definitions": {
        "animals": ("dog", "cat", "horse", "cow", "sheep", "wolf", "lion", "bear"),
        "plants": ("oak", "pine", "rose", "lily", "fern", "grass", "moss", "clover"),
        "diseases": ("malaria", "cholera", "measles", "typhus", "cancer", "diabetes", "asthma", "influenza"),
        "colours": ("red", "blue", "green", "yellow", "purple", "white", "brown", "grey"),
        "countries": ("france", "italy", "spain", "germany", "japan", "egypt", "greece", "russia"),
        "sciences": ("physics", "chemistry", "geometry", "algebra", "botany", "geology", "astronomy", "biology"),
        "ships": ("ship", "boat", "vessel", "mast", "sail", "deck", "anchor", "rudder"),
        "music": ("violin", "piano", "flute", "organ", "melody", "chord", "harmony", "song"),
    },
}
QUERIES = {"tiny": ("dog", "paris", "nurse", "red"), "definitions": ("dog", "physician", "red", "violin", "france")}


@dataclasses.dataclass(frozen=True)
class Knobs(Configuration):
    data: str = knob("tiny", "which text: a corpus made by rules, or the definitions of gcide and WordNet",
                     choices=DATA)
    seed: int = random_seed(0, "seed of the initial vectors, and of everything that is drawn")
    kind: str = knob("skip-gram", "what predicts what: skip-gram a word's neighbours, cbow the word from its "
                     "neighbours", choices=("skip-gram", "cbow"))
    output: str = knob("negative sampling", "how a word is predicted",
                       choices=("negative sampling", "hierarchical softmax"))
    buckets: int = knob(0, "rows of the table of character n-grams, such as 100000; 0 has whole words alone",
                        at_least=0)
    n_dim: int = count(100, "numbers in a vector, as word2vec's programs have by default")
    window: int = count(5, "words that are read at each side of a word, at most")
    negatives: int = count(5, "drawn words against each pair; 5 to 20 suit a small corpus")
    epochs: int = count(10, "passes over the text; the scores rise little after that")
    learning_rate: float = knob(0.0, "first learning rate; 0 takes .025 for skip-gram and .05 for CBOW", at_least=0)
    batch_size: int = count(128, "chunks of 32 words in a step; fewer where an epoch would have less than 100 steps")
    longest_step: float = positive(1.0, "longest step of a row; without a limit large batches diverge")
    vocabularies: tuple[int, ...] = knob((10_000, 50_000, 250_000), "sizes of the vocabulary at which a step is timed",
                                         at_least=1)
    rounds: int = count(5, "timings of each step, of which the least is taken")
    gensim_epochs: int = knob(0, "epochs of gensim's training beside ours, on one core, by CPU time", at_least=0)


def run(knobs: Knobs, out: Path, data_dir: Path | None) -> dict[str, Any]:
    corpus, ratings, questions, texts = read(knobs.data, knobs.seed, data_dir)
    say(f"{len(corpus.tokens):,} words of {len(corpus.words):,} different ones, {corpus.n_rare:,} rarer ones left out")
    notes: list[EpochNote] = []
    scores: list[dict[str, PairScore]] = []

    def report(note: EpochNote, vectors: Any) -> None:
        notes.append(note)
        scores.append({name: pair_correlation(vectors(), pairs) for name, pairs in ratings.items()})
        correlations = "  ".join(f"{name} {score.spearman:.3f}" for name, score in scores[-1].items())
        say(f"epoch {note.epoch + 1:2d}  loss {note.loss:.4f} nats  {correlations}  "
            f"{note.words / note.cpu_seconds:,.0f} words a CPU second")

    vectors = train(knobs, corpus, report)
    write_word_vectors(vectors, out / "vectors.txt", "word2vec")
    measures = judge(vectors, scores[-1], questions, QUERIES[knobs.data])
    rate = float(np.sum([n.words for n in notes]) / np.sum([n.cpu_seconds for n in notes]))
    measures |= {
        "words": len(corpus.tokens), "vocabulary": len(corpus.words), "words_per_cpu_second": rate,
        "seconds": [n.seconds for n in notes], "cpu_seconds": [n.cpu_seconds for n in notes],
        "costs": {"epoch": [n.epoch for n in notes], "cost": [n.loss for n in notes]},
        "by_epoch": {name: [score[name].spearman for score in scores] for name in ratings}}
    if knobs.gensim_epochs:
        measures["gensim"] = beside_gensim(knobs, texts, ratings)
        measures["times_gensims_words_per_cpu_second"] = rate / measures["gensim"]["words_per_cpu_second"]
        say(f"gensim: {measures['gensim']}; ours takes in {measures['times_gensims_words_per_cpu_second']:.2f} times "
            "as many words in a CPU second")
    times = word_speed.times(knobs.vocabularies, n_dim=knobs.n_dim, batch_size=knobs.batch_size, rounds=knobs.rounds)
    say(table(("vocabulary", "step / s per million pairs", "rows read and moved alone"),
              [(f"{n:,}", f"{step:.2f}", f"{rows:.2f}") for n, step, rows in times]))
    measures["seconds_per_million_pairs"] = {str(n): {"step": step, "rows_alone": rows} for n, step, rows in times}
    draw(out, knobs.kind, notes, scores, times, measures)
    draw_projection(out / "projection.png", vectors, GROUPS[knobs.data],
                    f"{knobs.kind}, {knobs.output}: words in the plane of the groups' means")
    return measures


def read(data: str, seed: int,
         data_dir: Path | None) -> tuple[Corpus, dict[str, Any], dict[str, Any], list[str]]:
    """(corpus, rated pairs by their name, analogy questions, sentences)."""
    if data == "tiny":
        texts = tiny_words.sentences(6000, seed)
        return encode_corpus(texts), {"made by rules": tiny_words.rated_pairs()}, tiny_words.analogies(), texts
    texts = load_definitions(data_dir, instead="--data tiny")
    pairs = {"WordSim-353": load_word_pairs("wordsim353", data_dir, instead="--data tiny"),
             "SimLex-999": load_word_pairs("simlex999", data_dir, instead="--data tiny")}
    return encode_corpus(texts), pairs, load_analogies(data_dir, instead="--data tiny"), texts


def train(knobs: Knobs, corpus: Corpus, report: Any) -> WordVectors:
    parts = character_parts(corpus.words, n_buckets=knobs.buckets) if knobs.buckets else None
    small = max(1, min(knobs.batch_size, len(corpus.tokens) // (32 * 100)))
    return fit_words(corpus, kind=knobs.kind, output=knobs.output, n_dim=knobs.n_dim, window=knobs.window,
                     negatives=knobs.negatives, epochs=knobs.epochs, learning_rate=knobs.learning_rate or None,
                     sample=1e-3 if knobs.data == "definitions" else 1e-2,  # each of 130 words is frequent
                     parts=parts, batch_size=small, longest_step=knobs.longest_step, seed=knobs.seed, report=report)


def judge(vectors: WordVectors, scores: dict[str, PairScore], questions: dict[str, Any],
          queries: tuple[str, ...]) -> dict[str, Any]:
    """Correlations, analogies and neighbours, printed and as measures."""
    say()
    say(table(("pairs", "Spearman", "in the vocabulary", "of"),
              [(name, f"{s.spearman:.3f}", s.n, s.n_pairs) for name, s in scores.items()]))
    found = analogy_accuracy(vectors, questions)
    say(table(("analogies, the question's words left out", "right", "asked", "of"),
              [(name, f"{s.right / s.n:.1%}" if s.n else "-", s.n, s.n_questions) for name, s in found.items()]))
    neighbours = {word: [a for a, _ in vectors.nearest(word, 6)] for word in vectors.known(queries)}
    for word, near in neighbours.items():
        say(f"{word}: {' '.join(near)}")
    return {"spearman": {name: s.spearman for name, s in scores.items()},
            "pairs": {name: [s.n, s.n_pairs] for name, s in scores.items()},
            "analogies": {name: [s.right, s.n, s.n_questions] for name, s in found.items()},
            "neighbours": neighbours}


def beside_gensim(knobs: Knobs, texts: list[str], ratings: dict[str, Any]) -> dict[str, Any]:
    """gensim's skip-gram on the same sentences with the same settings, one worker, by CPU time."""
    models = import_extra("gensim.models", "--gensim-epochs", "parity")
    split = [text.split() for text in texts]
    model = models.Word2Vec(vector_size=knobs.n_dim, window=knobs.window, negative=knobs.negatives, min_count=5, sg=1,
                            sample=1e-3, workers=1, seed=knobs.seed + 1)
    model.build_vocab(split)
    begin = time.process_time()
    model.train(split, total_examples=len(split), epochs=knobs.gensim_epochs)
    seconds = time.process_time() - begin
    vectors = WordVectors(tuple(model.wv.index_to_key), model.wv.vectors)
    n = sum(map(len, split)) * knobs.gensim_epochs
    return {"epochs": knobs.gensim_epochs, "words_per_cpu_second": n / seconds,
            "spearman": {name: pair_correlation(vectors, pairs).spearman for name, pairs in ratings.items()}}


def draw(out: Path, kind: str, notes: list[EpochNote], scores: list[dict[str, PairScore]],
         times: list[tuple[int, float, float]], measures: dict[str, Any]) -> None:
    """The course of the training; cosines beside ratings; the time of a step."""
    figure, axes = figures.panels(1, 3, (4.6, 3.8), f"{measures['words']:,} words, {measures['vocabulary']:,} "
                                  "different ones")
    at = np.arange(1, len(notes) + 1)
    figures.curves(axes[0, 0], {"loss": (at, [n.loss for n in notes])}, "epoch",
                   f"loss / nats per {'pair' if kind == 'skip-gram' else 'centre'}")
    seconds = np.cumsum([n.cpu_seconds for n in notes])
    figures.curves(axes[0, 1], {f"{name}, {score.n} of {score.n_pairs} pairs": (seconds, measures["by_epoch"][name])
                                for name, score in scores[-1].items()}, "CPU time / s", "Spearman's correlation")
    if "gensim" in measures:
        for i, (_name, value) in enumerate(measures["gensim"]["spearman"].items()):
            axes[0, 1].axhline(value, color=f"C{i}", linestyle=":", linewidth=1,
                               label=f"gensim, epochs in all: {measures['gensim']['epochs']}")
    axes[0, 1].legend(fontsize=8, loc="lower right")
    n, step, rows = zip(*times, strict=True)
    figures.curves(axes[0, 2], {"whole step": (n, step), "its rows read and moved alone": (n, rows)},
                   "words in the vocabulary", "CPU time / s per million pairs")
    axes[0, 2].set(xscale="log", ylim=(0, None))
    figures.save(figure, out / "training.png")
    figure, axes = figures.panels(1, len(scores[-1]), (4.6, 4.0), "cosines beside what people find")
    for axis, (name, score) in zip(axes[0], scores[-1].items()):
        axis.scatter(score.ratings, score.cosines, s=8, alpha=0.6, linewidths=0)
        axis.set(xlabel="people's rating of how alike", ylabel="cosine of the two vectors",
                 title=f"{name}: {score.spearman:.3f} over {score.n} of {score.n_pairs} pairs")
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
    figures.save(figure, out / "similarity.png")
