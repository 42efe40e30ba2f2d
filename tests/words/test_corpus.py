"""A corpus as integers, and the chunks of an epoch: every window by a loop over the same draws."""

import numpy as np
import pytest

from jaxnn import InputError
from jaxnn.words import Epochs, encode_corpus, keep_probabilities, noise_probabilities

TEXTS = ["the cat saw the dog", "", "a dog", "rare", "the cat", "dog and cat and dog and cat"]


def test_the_words_by_their_counts():
    corpus = encode_corpus(TEXTS, min_count=2)
    assert corpus.words == ("cat", "dog", "and", "the") and corpus.counts.tolist() == [4, 4, 3, 3]
    back = [[corpus.words[n] for n in corpus.tokens[first:last]]
            for first, last in zip([0, *corpus.ends[:-1]], corpus.ends)]
    assert back == [[w for w in text.split() if w in corpus.words] for text in TEXTS]
    assert corpus.n_rare == 3
    assert encode_corpus(TEXTS, min_count=1, size=2).words == ("cat", "dog")


def test_keep_and_noise():
    counts = np.array([900, 90, 10])
    keep = keep_probabilities(counts, 0.05)
    f = counts / 1000
    np.testing.assert_allclose(keep, np.minimum(1, (np.sqrt(f / 0.05) + 1) * 0.05 / f))  # as word2vec.c writes it
    assert keep[2] == 1 and np.all(keep_probabilities(counts, 0) == 1)
    np.testing.assert_allclose(noise_probabilities(counts), counts**0.75 / (counts**0.75).sum())


def test_windows_end_with_their_sentence_and_have_every_pair():
    """Where nothing is left out, place i and place j are a pair exactly if they are in one sentence and |i - j| is
    at most the window that was drawn for i; which is any of 1 .. window."""
    rng = np.random.default_rng(1)
    corpus = encode_corpus([" ".join(rng.choice(list("abcdef"), n)) for n in rng.integers(1, 30, 80)], min_count=1)
    epochs = Epochs(corpus, window=3, n_centres=5, n_negatives=4, batch_size=6, sample=0, seed=2)
    sentence = np.repeat(np.arange(len(corpus.ends)), np.diff(corpus.ends, prepend=0))
    reach = [0, 0, 0, 0]
    found = {}
    for batch in epochs.batches(0):
        assert batch.tokens.shape == (6, 11) and batch.left.shape == (6, 5) and batch.negatives.shape == (6, 4)
        for tokens, left, right in zip(batch.tokens, batch.left, batch.right):
            if not (left + right).any():
                continue
            for i in range(5):
                key = tuple(tokens[i + 3 - left[i]: i + 4 + right[i]]), int(left[i])
                found[key] = found.get(key, 0) + (left[i] + right[i] > 0)
    # The same by a loop, from the draws of the same generator.
    draws = np.random.default_rng((2, 0))
    draws.random(len(corpus.tokens), np.float32)
    reach = draws.integers(1, 3, len(corpus.tokens), np.int32, endpoint=True)
    want = {}
    for i in range(len(corpus.tokens)):
        left = sum(1 for j in range(max(0, i - reach[i]), i) if sentence[j] == sentence[i])
        right = sum(1 for j in range(i + 1, min(len(sentence), i + reach[i] + 1)) if sentence[j] == sentence[i])
        if left + right:
            key = tuple(corpus.tokens[i - left: i + right + 1]), left
            want[key] = want.get(key, 0) + 1
    assert {k: n for k, n in found.items() if n} == want
    assert set(reach.tolist()) == {1, 2, 3}


def test_frequent_words_are_left_out_as_often_as_they_should_be():
    rng = np.random.default_rng(0)
    corpus = encode_corpus([" ".join(rng.choice(list("abc"), 50, p=[0.8, 0.15, 0.05])) for _ in range(400)])
    epochs = Epochs(corpus, sample=0.05, batch_size=8, n_negatives=16)
    kept = np.zeros(3)
    drawn = np.zeros(3)
    for epoch in range(3):
        for batch in epochs.batches(epoch):
            kept += np.bincount(batch.tokens[:, 5:-5][batch.left + batch.right > 0], minlength=3)
            drawn += np.bincount(batch.negatives.ravel(), minlength=3)
    np.testing.assert_allclose(kept / 3 / corpus.counts, keep_probabilities(corpus.counts, 0.05), atol=0.02)
    np.testing.assert_allclose(drawn / drawn.sum(), noise_probabilities(corpus.counts), atol=0.02)


def test_the_same_for_the_same_seed_and_epoch_and_no_other():
    corpus = encode_corpus(["a b c d e f g h"] * 20)
    epochs = Epochs(corpus, batch_size=2, n_centres=4, n_negatives=3, window=2)
    first, again, other = (list(epochs.batches(epoch)) for epoch in (0, 0, 1))
    assert all(np.array_equal(a, b) for x, y in zip(first, again) for a, b in zip(x, y))
    assert not all(np.array_equal(x.tokens, y.tokens) for x, y in zip(first, other))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: encode_corpus([]), "a corpus with words; got none"),
    (lambda: encode_corpus(["", " \n"]), "a corpus with words; got none"),
    (lambda: encode_corpus(["one one one one one"]), "at least two words that occur 5 times or more; got 1 of 1"),
    (lambda: encode_corpus("a text"), "sentences, a list of texts; got str; put a single text into a list"),
    (lambda: encode_corpus([b"a b"]), "a text as sentence 0; got bytes; decode it: text.decode"),
    (lambda: encode_corpus([["a", "b"]]), "a text as sentence 0; got list; join its words with blanks"),
    (lambda: keep_probabilities([1, 0], 0.1), "counts, positive numbers"),
    (lambda: keep_probabilities([1], -1), "sample, a number >= 0; got -1"),
    (lambda: Epochs(encode_corpus(["a b"], min_count=1), window=0), "window, an integer >= 1; got 0"),
])
def test_refusals(call, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        call()
