"""BLEU and chrF against sacreBLEU where it is installed, and numbers that it has printed; the others by hand."""

import math
import re

import numpy as np
import pytest

from jaxnn.text import (
    bits_per_character,
    bleu,
    character_error_rate,
    chrf,
    edit_distance,
    perplexity,
    sentence_bleu,
    word_error_rate,
)

RNG = np.random.default_rng(0)
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "dog", "ran", "off", "with", "it"]


def sentences(n, most=14):
    return [[WORDS[i] for i in RNG.integers(0, len(WORDS), RNG.integers(0, most))] for _ in range(n)]


def disturbed(tokens):
    kept = [t for t in tokens if RNG.uniform() > 0.15]
    return [WORDS[RNG.integers(len(WORDS))] if RNG.uniform() < 0.15 else t for t in kept] or ["the"]


HYPOTHESES = sentences(40)
REFERENCES = [[disturbed(h), *([disturbed(h)[: RNG.integers(1, 20)]] if RNG.uniform() < 0.5 else [])]
              for h in HYPOTHESES]
SYSTEM = ["The dog bit the man .", "It was n't surprising .", "The man had just bitten him ."]
TWO = [["The dog bit the man .", "The dog had bit the man ."], ["It was not unexpected .", "No one was surprised ."],
       ["The man bit him first .", "The man had bitten the dog ."]]


@pytest.mark.parametrize("smoothing", ["exp", "floor", "add-k", "none"])
def test_bleu_is_that_of_sacrebleu(smoothing):
    sacrebleu = pytest.importorskip("sacrebleu", reason="sacreBLEU is not installed")
    text = [" ".join(h) for h in HYPOTHESES]
    columns = [[" ".join(r[k]) if k < len(r) else None for r in REFERENCES] for k in range(2)]
    for order in (2, 4):
        metric = sacrebleu.BLEU(tokenize="none", smooth_method=smoothing, max_ngram_order=order, force=True)
        want, got = metric.corpus_score(text, columns), bleu(HYPOTHESES, REFERENCES, smoothing=smoothing, order=order)
        assert math.isclose(100 * got.score, want.score, rel_tol=1e-9)
        np.testing.assert_allclose(100 * np.array(got.precisions), want.precisions)
        assert (got.hypothesis_length, got.reference_length) == (want.sys_len, want.ref_len)
        assert math.isclose(got.brevity_penalty, want.bp)
    metric = sacrebleu.BLEU(tokenize="none", smooth_method=smoothing, effective_order=True, force=True)
    for h, several in zip(HYPOTHESES, REFERENCES):
        want = metric.sentence_score(" ".join(h), [" ".join(r) for r in several]).score
        got = sentence_bleu(h, several, smoothing=smoothing).score
        assert math.isclose(100 * got, want, rel_tol=1e-9, abs_tol=1e-9)


def test_chrf_is_that_of_sacrebleu():
    sacrebleu = pytest.importorskip("sacrebleu", reason="sacreBLEU is not installed")
    text = [" ".join(h) for h in HYPOTHESES]
    several = [[" ".join(r) for r in refs] for refs in REFERENCES]
    columns = [[r[k] if k < len(r) else None for r in several] for k in range(2)]
    for order, beta in ((6, 2), (3, 1)):
        want = sacrebleu.CHRF(char_order=order, beta=beta).corpus_score(text, columns).score
        assert math.isclose(100 * chrf(text, several, order=order, beta=beta), want, rel_tol=1e-9)
    for h, refs in zip(text, several):
        assert math.isclose(100 * chrf([h], [refs]), sacrebleu.CHRF().sentence_score(h, refs).score, rel_tol=1e-9,
                            abs_tol=1e-9)


def test_numbers_that_sacrebleu_prints():
    """For those who do not have it: version 2.6.0, tokenize="none"."""
    got = bleu([s.split() for s in SYSTEM], [[r.split() for r in refs] for refs in TWO])
    assert round(100 * got.score, 4) == 49.845
    assert [round(100 * p, 2) for p in got.precisions] == [83.33, 53.33, 41.67, 33.33]
    assert (got.hypothesis_length, got.reference_length) == (18, 18)
    assert round(100 * chrf(SYSTEM, TWO), 4) == 59.7275


def test_papineni_counts_a_word_once_for_each_in_the_reference():
    """The example of the paper: seven "the", of which two count."""
    got = bleu([["the", "the", "the", "the", "the", "the", "the"]],
               [[["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]]],
               order=1, smoothing="none")
    assert math.isclose(got.precisions[0], 2 / 7)


def test_bleu_at_its_edges():
    same = bleu([[1, 2, 3, 4, 5]], [[[1, 2, 3, 4, 5]]])
    assert same.score == 1 and same.brevity_penalty == 1
    assert bleu([[]], [[[1, 2]]]).score == 0
    assert bleu([[7]], [[[1, 2]]]).score == 0
    assert bleu([[1, 2]], [[[1, 2]]]).score == 0 and sentence_bleu([1, 2], [[1, 2]]).score == 1
    assert bleu([np.array([1, 2, 3, 4])], [[np.array([1, 2, 3, 4])]]).score == 1
    assert chrf([""], [["a"]]) == 0 and chrf(["a"], [["a"]]) == 1


def test_edit_distance():
    def by_table(a, b):
        d = np.zeros((len(a) + 1, len(b) + 1), int)
        d[:, 0], d[0] = np.arange(len(a) + 1), np.arange(len(b) + 1)
        for i in range(len(a)):
            for j in range(len(b)):
                d[i + 1, j + 1] = min(d[i, j + 1] + 1, d[i + 1, j] + 1, d[i, j] + (a[i] != b[j]))
        return d[-1, -1]

    for _ in range(50):
        a, b = ("".join(RNG.choice(list("abc"), RNG.integers(0, 9))) for _ in range(2))
        assert edit_distance(a, b) == edit_distance(b, a) == by_table(a, b)
    assert edit_distance([1, 2], np.array([2, 2, 3])) == 2 and edit_distance("", "") == 0


def test_error_rates():
    assert word_error_rate(["the cat", "a b c", ""], ["the cat", "a x", "one two"]) == 4 / 6
    assert character_error_rate(["ab", ""], ["abc", "d"]) == 0.5
    assert word_error_rate(["", "a b c"], ["", "a"]) == 2  # above 1, and an empty reference beside another
    jiwer = pytest.importorskip("jiwer", reason="jiwer is not installed")
    a, b = ([" ".join(s) for s in side] for side in (HYPOTHESES, [r[0] for r in REFERENCES]))
    assert math.isclose(word_error_rate(a, b), jiwer.wer(b, a))
    assert math.isclose(character_error_rate(a, b), jiwer.cer(b, a))


def test_perplexity_and_bits():
    losses = -np.log([0.5, 0.25, 0.125])
    assert math.isclose(perplexity(losses), 4) and math.isclose(perplexity(losses.sum(), 3), 4)
    assert math.isclose(bits_per_character(losses, 12), 0.5)
    assert perplexity(np.zeros(3, np.float16)) == 1


A = [["a"]]


@pytest.mark.parametrize(("call", "words"), [
    (lambda: bleu([], []), "bleu expects references for each hypothesis, by sentence, and at least one sentence"),
    (lambda: bleu(A, [A, A]), "got 1 hypotheses, and references of 2 sentences"),
    (lambda: bleu(A, [[[]]]), "at least one token for sentence 0; got an empty one; leave the sentence out"),
    (lambda: bleu(A, [[]]), "a reference for sentence 0; got none"),
    (lambda: bleu(A, ["a"]), "a list of references for sentence 0; got str 'a'"),
    (lambda: bleu(["a b"], [A]), "the hypothesis of sentence 0 as a sequence of tokens; got str 'a b'; split it"),
    (lambda: bleu(A, [A], smoothing="add"), "smoothing, one of none, exp, floor, add-k; got 'add'"),
    (lambda: bleu(A, [A], smoothing_value=1), "smoothing_value, a number >= 0 with 'floor' or 'add-k'"),
    (lambda: bleu(A, [A], order=0), "order, a positive integer; got 0"),
    (lambda: chrf("a", "a"), "hypotheses, a list with an entry for each sentence; got str 'a'"),
    (lambda: chrf(["a"], [[" "]]), "at least one token for sentence 0; got an empty one"),
    (lambda: chrf([["a"]], [["a"]]), "the hypothesis of sentence 0 as text; got list"),
    (lambda: word_error_rate("a", "a"), "hypotheses, a list of texts; got str 'a'; put a single text into a list"),
    (lambda: word_error_rate(["a"], []), "as many hypotheses as references, at least one; got 1 and 0"),
    (lambda: word_error_rate(["a"], [" "]), "references with words; got none in any of them"),
    (lambda: perplexity([]), "n_tokens, a positive integer; got 0"),
    (lambda: perplexity([-1.0]), "losses >= 0, -log p; got -1; change the sign of log p"),
    (lambda: edit_distance(1, "a"), "edit_distance expects a, text or a sequence; got int"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()
