"""Decoding of CTC: every path enumerated, with and without a language model; the loss of the same labels."""

import functools
import itertools
import re
from collections import defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jaxnn.decoding import ctc_beam_search, ctc_greedy
from jaxnn.ops import ctc

RNG = np.random.default_rng(2)
MODEL = RNG.standard_normal((4, 4)) * 1.5


def merged(path, blank):
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def every_labelling(logits, blank, alpha=0.0, beta=0.0):
    """{labels: (score, log p)}, the best first."""
    log_p, found = scipy.special.log_softmax(logits, -1), defaultdict(lambda: -np.inf)
    for path in itertools.product(range(logits.shape[1]), repeat=len(logits)):
        labels = merged(path, blank)
        found[labels] = np.logaddexp(found[labels], log_p[np.arange(len(logits)), path].sum())

    def of_model(labels):
        without = np.where(np.arange(4) == blank, -np.inf, MODEL)
        return sum(scipy.special.log_softmax(without[a])[b] for a, b in itertools.pairwise((0, *labels)))

    ranked = {labels: (p + alpha * of_model(labels) + beta * len(labels), p) for labels, p in found.items()}
    return sorted(ranked.items(), key=lambda item: -item[1][0])


def model(carry, label):
    return carry + 1, jnp.asarray(MODEL, jnp.float32)[label]


@pytest.mark.sampled
@pytest.mark.parametrize(("blank", "options"), [
    (0, {}), (3, {}), (1, {"model": model, "carry": 0, "start": 0, "model_weight": 0.7, "label_bonus": 0.4}),
    (3, {"model": model, "carry": 0, "start": 0}), (2, {"label_bonus": 1.5})])
def test_every_labelling(blank, options):
    """Wide enough, the search is exact: all labellings of 5 steps, their log p and their order."""
    logits = RNG.standard_normal((5, 4)).astype(np.float32) * 1.5
    alpha = options.get("model_weight", 1.0 if "model" in options else 0.0)
    want = every_labelling(logits, blank, alpha, options.get("label_bonus", 0.0))
    beams = jax.jit(functools.partial(ctc_beam_search, width=500, blank=blank, **options))(logits)
    n = int(np.sum(np.isfinite(beams.score)))
    assert n == len(want)
    got = {tuple(beams.labels[i, : beams.length[i]].tolist()): i for i in range(n)}
    assert len(got) == n  # none of them twice
    for labels, (score, log_p) in want:
        np.testing.assert_allclose((beams.score[got[labels]], beams.log_p[got[labels]]), (score, log_p), rtol=1e-4,
                                   atol=1e-4)
    assert tuple(beams.labels[0, : beams.length[0]].tolist()) == want[0][0]
    assert np.all(np.diff(beams.score[:n]) <= 1e-6) and np.all(beams.labels[n:] == -1)


def test_log_p_is_the_loss_of_the_labels():
    """But for the paths that a narrow beam has left behind: it is never more."""
    truth = np.array([1, 1, 0, 1, 3, 3, 0, 0, 2, 2, 2, 0])
    logits = jnp.asarray(8.0 * np.eye(4)[truth] + RNG.standard_normal((12, 4)) * 0.3, jnp.float32)
    beams = ctc_beam_search(logits, 11, width=16)
    labels = beams.labels[0, : beams.length[0]]
    assert labels.tolist() == [1, 1, 3, 2]
    loss = ctc(logits[:11], labels)
    np.testing.assert_allclose(-beams.log_p[0], loss, rtol=0.02)
    assert -beams.log_p[0] >= loss * (1 - 1e-5)


def test_greedy():
    logits = jnp.asarray(RNG.standard_normal((20, 5)), jnp.float32)
    for blank, n in ((0, 20), (4, 13), (2, 0)):
        path = jax.jit(functools.partial(ctc_greedy, blank=blank))(logits, n)
        best = np.argmax(logits[:n], -1)
        want = merged(best.tolist(), blank)
        assert path.labels.tolist() == [*want, *[-1] * (20 - len(want))] and path.length == len(want)
        np.testing.assert_allclose(path.log_p, scipy.special.log_softmax(np.asarray(logits), -1)[:n].max(-1).sum(),
                                   rtol=1e-5)


def test_the_sum_of_paths_beats_the_best_path():
    """Graves' example: the likeliest path is blank, the likeliest labelling is not."""
    logits = jnp.log(jnp.array([[0.6, 0.4], [0.6, 0.4]]))
    assert ctc_greedy(logits).length == 0
    beams = ctc_beam_search(logits, width=2)
    assert beams.labels[0].tolist() == [1, -1]
    np.testing.assert_allclose(jnp.exp(beams.log_p), [0.64, 0.36], rtol=1e-5)


def test_a_batch_of_lengths():
    logits = jnp.asarray(RNG.standard_normal((2, 4, 3)), jnp.float32)
    n_steps = jnp.array([0, 3])
    batch = jax.jit(jax.vmap(functools.partial(ctc_beam_search, width=5)))(logits, n_steps)
    for i in range(2):
        one = jax.jit(functools.partial(ctc_beam_search, width=5))(logits[i, : n_steps[i]])
        np.testing.assert_allclose(batch.score[i], one.score, rtol=1e-5)
        assert batch.labels[i, 0, : batch.length[i, 0]].tolist() == one.labels[0, : one.length[0]].tolist()
    assert batch.length[0].tolist() == [0] * 5 and batch.log_p[0, 0] == 0


Z = jnp.zeros((4, 3))


@pytest.mark.parametrize(("call", "words"), [
    (lambda: ctc_greedy(Z[None]), "expects logits of shape (T, n_classes); got (1, 4, 3); decode one sequence"),
    (lambda: ctc_greedy(Z, 5), "ctc_greedy expects n_steps in 0 .. 4; got 5"),
    (lambda: ctc_greedy(Z, blank=3), "ctc_greedy expects blank, a class in 0 .. 2; got 3"),
    (lambda: ctc_beam_search(Z, width=0), "ctc_beam_search expects width, a positive integer; got 0"),
    (lambda: ctc_beam_search(Z, width=2, model=model), "start, the label that the model gets first; got None"),
    (lambda: ctc_beam_search(Z, width=2, model=model, carry=0, start=0), "a model whose logits have the shape (3,)"),
    (lambda: ctc_beam_search(Z, width=2, model_weight=-1), "model_weight, a number >= 0; got -1"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


def test_out_of_range_at_run_time():
    assert np.isnan(jax.jit(ctc_greedy)(Z, 5).log_p)
    assert np.all(np.isnan(jax.jit(functools.partial(ctc_beam_search, width=2))(Z, -1).log_p))
