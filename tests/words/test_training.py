"""Losses and gradients of skip-gram, CBOW, both outputs and n-grams against loops over pairs; training by rows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import InputError
from jaxnn.words import (
    Epochs,
    WordModel,
    WordVectors,
    character_parts,
    cooccurrences,
    encode_corpus,
    fit_glove,
    fit_words,
    huffman_tree,
    ngrams,
)
from jaxnn.words.glove import weight_of
from jaxnn.words.parts import row_of

RNG = np.random.default_rng(0)
CORPUS = encode_corpus([" ".join(RNG.choice([f"w{i}" for i in range(9)], n)) for n in RNG.integers(2, 12, 40)],
                       min_count=1)
TREE = huffman_tree(CORPUS.counts)
PARTS = character_parts(CORPUS.words, shortest=2, longest=3, n_buckets=7)


def softplus(z):
    return np.logaddexp(0, z)


def loss_by_loops(model, tables, x, negatives):
    """Pair by pair, in float64; the samples that a chunk shares count as `negatives` for each pair."""
    u_of, v = tables["input"], tables["output"]
    if "parts" in x:
        u = np.stack([sum(s * u_of[r] for r, s in zip(rows, shares)) for rows, shares in zip(x["parts"], x["shares"])])
    else:
        u = u_of[x["tokens"]]
    total, w = 0.0, model.window

    def target(h, place):
        word = x["tokens"][place]
        if model.output == "hierarchical softmax":
            return sum(softplus(-s * (h @ v[n])) for n, s in zip(TREE.nodes[word], TREE.signs[word]) if s)
        drawn = [k for k in x["negatives"] if k != word]
        return softplus(-h @ v[word]) + negatives / len(x["negatives"]) * sum(softplus(h @ v[k]) for k in drawn)

    for i, (left, right) in enumerate(zip(x["left"], x["right"])):
        window = [i + w + k for k in range(-left, right + 1) if k]
        if model.kind == "skip-gram":
            total += sum(target(u[i + w], j) for j in window)
        elif window:
            total += target(np.mean([u[j] for j in window], axis=0), i + w)
    return total


@pytest.mark.parametrize("kind", ["skip-gram", "cbow"])
@pytest.mark.parametrize("output", ["negative sampling", "hierarchical softmax"])
@pytest.mark.parametrize("with_parts", [False, True], ids=["words", "n-grams"])
def test_the_loss_of_a_chunk_is_that_of_its_pairs(kind, output, with_parts):
    """And its gradient that of the loops, by finite differences along a random direction in float64."""
    epochs = Epochs(CORPUS, window=2, n_centres=6, n_negatives=5, batch_size=3, sample=0, seed=1)
    batch = next(epochs.batches(0))
    x = {name: np.asarray(a[0]) for name, a in batch._asdict().items()}
    x |= {"nodes": TREE.nodes[x["tokens"]], "signs": TREE.signs[x["tokens"]]}
    if with_parts:
        x |= {"parts": PARTS.rows[x["tokens"]], "shares": PARTS.shares[x["tokens"]]}
    n_in = PARTS.n_rows if with_parts else len(CORPUS.words)
    tables = {"input": RNG.standard_normal((n_in, 4)), "output": RNG.standard_normal((len(CORPUS.words), 4))}
    model = WordModel(kind, output, 2, 3.0)
    params = {name: {"table": jnp.asarray(t, jnp.float32)} for name, t in tables.items()}
    value, grads = jax.jit(jax.value_and_grad(lambda p: model(p, {}, x)[0]))(params)
    assert value == pytest.approx(loss_by_loops(model, tables, x, 3.0), rel=1e-5)
    way = {name: RNG.standard_normal(t.shape) for name, t in tables.items()}
    at = [loss_by_loops(model, {n: t + h * way[n] for n, t in tables.items()}, x, 3.0) for h in (1e-5, -1e-5)]
    slope = sum(float(np.sum(np.asarray(grads[n]["table"]) * way[n])) for n in way)
    assert slope == pytest.approx((at[0] - at[1]) / 2e-5, rel=1e-4)


def fit(**options):
    return fit_words(CORPUS, **{"n_dim": 4, "window": 2, "n_centres": 6, "n_negatives": 5, "batch_size": 3, "sample": 0,
                                "epochs": 2, **options})


def test_bitwise_the_same_from_the_same_seed_and_losses_that_fall():
    notes = []
    first = fit(report=lambda note, vectors: notes.append((note, vectors())))
    assert first.matrix.tobytes() == fit().matrix.tobytes() != fit(seed=1).matrix.tobytes()
    assert [note.epoch for note, _ in notes] == [0, 1] and notes[1][1].matrix.tobytes() == first.matrix.tobytes()
    assert notes[0][0].words == len(CORPUS.tokens) and notes[0][0].pairs > len(CORPUS.tokens)
    assert first.words == CORPUS.words


def test_a_step_is_gradient_descent_on_the_whole_tables():
    """One batch of one epoch, beside W - η ∂(sum over the chunks)/∂W of loops' own gradient, made whole."""
    options = {"n_dim": 4, "window": 2, "n_centres": 6, "n_negatives": 5, "batch_size": 200, "epochs": 1,
               "learning_rate": 0.1, "longest_step": 1e9}
    start = WordVectors(CORPUS.words, RNG.standard_normal((len(CORPUS.words), 4)).astype(np.float32))
    found = fit_words(CORPUS, initial=start, sample=0, **options)
    epochs = Epochs(CORPUS, window=2, n_centres=6, n_negatives=5, batch_size=200, sample=0, seed=0)
    (batch,) = epochs.batches(0)
    params = {"input": {"table": jnp.asarray(start.matrix)}, "output": {"table": jnp.zeros((len(CORPUS.words), 4))}}
    model = WordModel("skip-gram", "negative sampling", 2, 5)
    grads = jax.grad(lambda p: jnp.sum(jax.vmap(lambda x: model(p, {}, x)[0])(batch._asdict())))(params)
    # From outputs of zero only they move: the inputs' gradient is Σ g v = 0.
    np.testing.assert_allclose(found.matrix, start.matrix - 0.1 * grads["input"]["table"], atol=1e-6)
    assert np.abs(grads["output"]["table"]).max() > 1


@pytest.mark.parametrize("options", [{"kind": "cbow"}, {"output": "hierarchical softmax"}, {"parts": PARTS}],
                         ids=["cbow", "tree", "n-grams"])
def test_two_groups_of_words_are_told_apart(options):
    """Words that never stand together end on two sides."""
    rng = np.random.default_rng(0)
    groups = [["kapa", "kolo", "kimu", "keri"], ["susa", "sozi", "semu", "siri"]]
    corpus = encode_corpus([" ".join(rng.choice(groups[i % 2], 8)) for i in range(300)])
    if "parts" in options:
        options = {"parts": character_parts(corpus.words, shortest=2, longest=3, n_buckets=50)}
    losses = []
    vectors = fit_words(corpus, n_dim=8, window=3, n_centres=8, n_negatives=8, batch_size=4, epochs=6, sample=0,
                        learning_rate=0.1, report=lambda note, _: losses.append(note.loss), **options)
    assert losses[-1] < losses[0]
    for group in groups:
        for word in group:
            assert {near for near, _ in vectors.nearest(word, 3)} == {*group} - {word}


def test_the_tree_is_huffmans():
    """Its mean path is that of Huffman's lengths, Σ of the merged counts, and no path begins another."""
    counts = np.array([50, 20, 20, 5, 3, 1, 1])
    tree = huffman_tree(counts)
    lengths = np.abs(tree.signs).sum(1)
    heap, total = sorted(counts.tolist()), 0
    while len(heap) > 1:
        low, high = heap[:2]
        total += low + high
        heap = sorted([*heap[2:], low + high])
    assert lengths @ counts == total
    assert sum(2.0 ** -n for n in lengths) == 1  # Kraft
    paths = [tuple(zip(nodes[:n], signs[:n])) for nodes, signs, n in zip(tree.nodes, tree.signs, lengths)]
    assert len(set(paths)) == 7 and {p[0][0] for p in paths} == {5} and tree.nodes.max() == 5
    # The probabilities of all words sum to one, whatever the scores.
    z = RNG.standard_normal(6)
    p = [np.prod([1 / (1 + np.exp(-s * z[n])) for n, s in path]) for path in paths]
    assert sum(p) == pytest.approx(1)


def test_character_parts():
    assert ngrams("where", 3, 4) == ["<wh", "<whe", "whe", "wher", "her", "here", "ere", "ere>", "re>"]
    assert ngrams("a", 3, 6) == [] and ngrams("ab", 3, 6) == ["<ab", "ab>"]
    # FNV-1a of 32 bits: published values of "" and "a" are 0x811c9dc5 and 0xe40c292c.
    assert row_of("", 2**32) == 0x811C9DC5 and row_of("a", 2**32) == 0xE40C292C
    parts = character_parts(["where", "a"], shortest=3, longest=3, n_buckets=1000)
    assert parts.rows[0].tolist() == [0, *(2 + row_of(g, 1000) for g in ngrams("where", 3, 3))]
    assert parts.rows[1].tolist() == [1, 0, 0, 0, 0, 0] and parts.shares[1].tolist() == [1, 0, 0, 0, 0, 0]
    table = RNG.standard_normal((1002, 3))
    np.testing.assert_allclose(parts.means(table)[0], table[parts.rows[0]].mean(0), rtol=1e-5)
    np.testing.assert_allclose(parts.of("there", table),
                               np.mean([table[2 + row_of(g, 1000)] for g in ngrams("there", 3, 3)], 0))
    with pytest.raises(InputError, match="a word of at least 2 letters; got 'a'"):
        parts.of("a", table)


def test_cooccurrences_by_a_loop():
    counted = cooccurrences(CORPUS, window=4)
    dense = np.zeros((9, 9))
    for first, last in zip([0, *CORPUS.ends[:-1]], CORPUS.ends):
        sentence = CORPUS.tokens[first:last]
        for i in range(len(sentence)):
            for j in range(max(0, i - 4), i):
                dense[sentence[i], sentence[j]] += 1 / (i - j)
                dense[sentence[j], sentence[i]] += 1 / (i - j)
    found = np.zeros((9, 9))
    found[counted.rows, counted.columns] = counted.values
    np.testing.assert_allclose(found, dense, rtol=1e-5)
    assert len(counted.values) == np.count_nonzero(dense)


def test_glove_minimizes_its_cost():
    """The weighted squares, of vectors that are made of w + v alone no more; so by the report, and by repeating."""
    counted = cooccurrences(CORPUS, window=4)
    losses = []
    run = functools.partial(fit_glove, counted, n_dim=6, epochs=60, batch_size=16, x_max=5.0, learning_rate=0.1)
    first = run(report=lambda epoch, loss, _: losses.append(loss))
    assert first.matrix.tobytes() == run().matrix.tobytes()
    weights = weight_of(counted.values, 5.0)
    logs = np.log(counted.values)
    level = np.sum(weights * logs) / weights.sum()
    assert losses[-1] < 0.3 * np.mean(weights * (logs - level) ** 2), "what one number for all pairs leaves"
    assert weight_of(np.array([5.0, 50.0]), 5.0).tolist() == [1, 1]


@pytest.mark.parametrize(("call", "message"), [
    (lambda: fit(kind="glove"), "kind, one of skip-gram, cbow; got 'glove'"),
    (lambda: fit(output="softmax"), "output, one of negative sampling, hierarchical softmax"),
    (lambda: fit(epochs=0), "epochs, an integer >= 1; got 0"),
    (lambda: fit(learning_rate=-1), "learning_rate, a number >= 0"),
    (lambda: fit(n_negatives=0), "n_negatives, a positive integer; got 0"),
    (lambda: fit(initial=np.ones((9, 4))), "initial, WordVectors or None; got ndarray"),
    (lambda: fit_words("a text"), "a corpus, made by encode_corpus; got str"),
    (lambda: fit(initial=WordVectors(["w1"], np.ones((1, 4)))), "a word that has a vector; got"),
    (lambda: fit(initial=WordVectors(CORPUS.words, np.ones((9, 5)))), "initial vectors of 4 numbers; got 5"),
    (lambda: fit(parts=character_parts(["a"])), "parts of the corpus's 9 words; got of 1"),
    (lambda: huffman_tree([3]), "counts, at least two positive integers"),
    (lambda: cooccurrences(encode_corpus(["a", "b"], min_count=1)), "a corpus with two words in one sentence"),
])
def test_refusals(call, message):
    with pytest.raises(InputError) as error:
        call()
    assert message in str(error.value)
