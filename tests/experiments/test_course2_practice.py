"""Course 2, week 3, and course 3's bias and variance: signs, batch norm, verdicts, search."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.course2 import softmax_signs as signs
from experiments.course2.batch_norm import experiment as batch_norm
from experiments.course2.bias_variance import experiment as bias_variance
from experiments.course2.hyperparameters import experiment as hyperparameters
from experiments.course2.hyperparameters.search import Space, Trial, best, grid, narrowed, random_trials, with_optuna
from experiments.shared.trials import draw_batches, start_trials, train_trials
from jaxnn import Dense, Sequential
from jaxnn.analysis import diagnose
from jaxnn.checks import InputError
from jaxnn.data import MissingData
from jaxnn.training import start
from tests.experiments.test_runs import assert_picture

# Signs.


def test_a_network_whose_relu_is_shut_counts_as_dead(monkeypatch, capsys):
    random = np.random.RandomState(0)
    x, y = random.randn(60, 5).astype(np.float32), np.arange(60) % 6
    knobs = signs.Knobs(trials=2, trial_epochs=1)
    model, optimizer = signs.network((32,), 6), optax.adam(1e-4)
    step, started = signs.make_step(model, signs.loss, optimizer), signs.start_trials

    def one_shut(*args):
        states = started(*args)
        first = states.params["dense1"]
        return states._replace(params=states.params | {"dense1": first | {"bias": first["bias"].at[1].add(-100)}})

    examples = signs.Examples("random", 6, x, y, x, y, x)
    for begin, dead in ((started, 0), (one_shut, 1)):
        monkeypatch.setattr(signs, "start_trials", begin)
        counted = signs.deaths(knobs, model, optimizer, step, examples)
        assert counted == {"pixels": dead, "pixels less their mean": dead}


# Bias, variance and mismatch.


@pytest.mark.parametrize(("errors", "name"), [
    # The course's own examples, in per cent: train, dev, bayes, train-dev.
    ((1, 11, 0, None), "high variance"),
    ((15, 16, 0, None), "high bias"),
    ((15, 30, 0, None), "high bias and variance"),
    ((0.5, 1, 0, None), "low bias and variance"),
    ((15, 16, 15, None), "low bias and variance"),
    ((8, 10, 1, None), "high bias"),
    ((8, 10, 7.5, None), "high variance"),
    ((1, 10, 0, 9), "high variance"),
    ((1, 10, 0, 1.5), "high mismatch"),
    ((10, 12, 0, 11), "high bias"),
    ((10, 20, 0, 11), "high bias and mismatch"),
    # Edges: nothing wrong at all, everything wrong, a dev set that is easier than the training set.
    ((0, 0, 0, None), "low bias and variance"),
    ((100, 100, 0, None), "high bias"),
    ((5, 1, 0, None), "high bias"),
    ((7, 4, 4, 9), "high bias and variance"),
])
def test_the_verdict_is_the_courses(errors, name):
    train, dev, bayes, train_dev = (e if e is None else e / 100 for e in errors)
    verdict = diagnose(train, dev, bayes, train_dev)
    assert verdict.name == name
    assert sum(verdict.gaps.values()) == pytest.approx(dev - bayes)
    assert verdict.text.startswith(name)


def test_the_verdict_in_words():
    assert diagnose(0.002, 0.061).text == (
        "high variance: dev error 6.10 % is 5.90 points over train error 0.20 %: more data, regularisation, "
        "a smaller network")
    text = diagnose(0.002, 0.005, 0.03).text
    assert text == ("low bias and variance: no gap is more than 1 points; train error 0.20 % is below bayes error "
                    "3.00 %: that estimate is too high, or the training examples are known by heart")


@pytest.mark.parametrize("wrong", [-0.01, 1.5, float("nan"), None])
def test_an_error_that_is_no_fraction_is_refused(wrong):
    with pytest.raises(InputError, match=r"diagnose expects train error as a fraction, in \[0, 1\]"):
        diagnose(wrong, 0.1)


def test_a_mixed_set_has_so_many_pictures_from_a_phone_and_no_example_twice():
    digits = bias_variance.Digits(bias_variance.Knobs(seeds=2))
    sets = bias_variance.mixed(digits, 0.25)
    for name, fraction in (("train", 0.25), ("train-dev", 0.25), ("dev", 1.0)):
        assert np.mean(sets[name] >= digits.n) == pytest.approx(fraction, abs=2e-3)
    for seed in range(2):
        examples = np.concatenate([which[seed] % digits.n for which in sets.values()])
        assert sorted(examples) == list(range(digits.n))


def test_a_phones_picture_is_blurred():
    picture = np.zeros((1, 8, 8))
    picture[0, 3, 4] = 1
    blurred = bias_variance.from_a_phone(picture, 0.0, 0)[0]
    np.testing.assert_allclose(blurred[2:5, 3:6], np.outer([1, 2, 1], [1, 2, 1]) / 16)
    assert blurred.sum() == pytest.approx(1)


# Many networks at once.


@pytest.mark.exhaustive
def test_trials_at_once_are_the_same_trials_alone():
    """In float64: learning rate, momentum and penalty of each, and its own batches."""
    with jax.enable_x64(True):
        random = np.random.RandomState(0)
        x, y = jnp.asarray(random.randn(50, 6)), jnp.asarray(random.randint(10, size=50))
        model, optimizer, step = hyperparameters.trainer.__wrapped__(4)  # not the one kept for float32
        values = {"learning_rate": [1e-3, 0.1, 0.02], "one_minus_b1": [0.1, 0.5, 0.02], "l2": [0.0, 0.1, 1.0]}
        sets = np.stack([random.permutation(50)[:20] for _ in range(3)])
        batches = draw_batches(random, sets, 12, 8)
        for k in range(3):
            assert set(batches[:, k].ravel()) <= set(sets[k])
        begin = start_trials(model, optimizer, (6,), [0, 1, 2], **values)
        together, costs = train_trials(step, begin, x, y, batches)
        assert len({float(c) for c in costs[-1]}) == 3
        for k in range(3):
            alone = jax.tree.map(lambda a, k=k: a[k], begin)
            assert alone.opt_state.hyperparams == {name: v[k] for name, v in values.items()}
            for number, batch in enumerate(batches[:, k]):
                alone, info = step(alone, x[batch], y[batch])
                assert float(info.cost) == pytest.approx(float(costs[number, k]), rel=1e-12)
            for a, b in zip(jax.tree.leaves(together.params), jax.tree.leaves(alone.params), strict=True):
                np.testing.assert_allclose(a[k], b, rtol=0, atol=1e-12)


def test_a_trial_begins_as_start_does():
    model, optimizer = Sequential(Dense(2)), optax.sgd(0.1)
    one, many = start(model, optimizer, (6,), jax.random.key(5)), start_trials(model, optimizer, (6,), [2, 5])
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(jax.tree.map(lambda a: a[1], many)), strict=True):
        np.testing.assert_array_equal(*(jax.random.key_data(x) if a.dtype == one.key.dtype else x for x in (a, b)))


def test_the_penalty_is_that_of_the_cost():
    """One step of gradient descent's Adam: the gradient of cost + l2 / 2 · Σ W², and nothing of the biases."""
    optimizer = hyperparameters.adam_with_l2(learning_rate=1.0, one_minus_b1=1.0, l2=0.5)
    params = {"weight": jnp.array([[2.0, -4.0]]), "bias": jnp.array([3.0])}
    _, state = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    mu = state.inner_state[1][0].mu
    np.testing.assert_allclose(mu["weight"], [[1.0, -2.0]])
    np.testing.assert_array_equal(mu["bias"], [0.0])


SPACE = Space({"rate": (1e-4, 1.0), "l2": (1e-6, 1e-2)}, (8, 16))


def test_random_trials_are_uniform_in_the_order_of_magnitude():
    trials = random_trials(np.random.RandomState(0), SPACE, 2000)
    logs = np.log10([t.values["rate"] for t in trials])
    counts, _ = np.histogram(logs, bins=[-4, -3, -2, -1, 0])
    assert counts.sum() == 2000 and counts.min() > 430
    assert {t.hidden for t in trials} == {8, 16}


def test_a_grid_has_all_combinations_evenly_on_the_log_scale():
    trials = grid(np.random.RandomState(0), SPACE, 4)
    assert len(trials) == 32
    assert len({(t.hidden, *t.values.values()) for t in trials}) == 32
    for name, (low, high) in SPACE.bounds.items():
        values = np.unique([t.values[name] for t in trials])
        assert len(values) == 4 and low <= values[0] and values[-1] <= high
        np.testing.assert_allclose(values[1:] / values[:-1], (high / low) ** 0.25)


def test_the_fine_search_stays_in_the_box_of_the_best():
    trials = [t._replace(error=t.values["rate"]) for t in random_trials(np.random.RandomState(1), SPACE, 40)]
    chosen = best(trials, 5)
    assert [t.error for t in chosen] == sorted(t.error for t in trials)[:5]
    box = narrowed(chosen)
    assert box.bounds["rate"] == (chosen[0].error, chosen[-1].error)
    for trial in random_trials(np.random.RandomState(2), box, 50):
        for name, (low, high) in box.bounds.items():
            assert low * 0.999 <= trial.values[name] <= high * 1.001


def test_trials_of_several_sizes_come_back_in_their_order(monkeypatch):
    """With the training left out: each size by itself, filled up to a power of two, and put back in place."""
    trained = []

    def train(knobs, data, trials, n_steps):
        trained.append([t.hidden for t in trials])
        return [t.values["rate"] for t in trials], None

    monkeypatch.setattr(hyperparameters, "train", train)
    monkeypatch.setattr(hyperparameters, "trainer", lambda hidden: (hidden,))
    monkeypatch.setattr(hyperparameters, "error_rates", lambda model, states, x, y, sets: np.array(states))
    data = hyperparameters.Data(*[np.zeros(1)] * 5)
    trials = [Trial(hidden, {"rate": i / 10}) for i, hidden in enumerate((4, 8, 4, 16, 4))]
    done = hyperparameters.measured(hyperparameters.Knobs(), data, trials, 1)
    assert [(t.hidden, t.values) for t in done] == [(t.hidden, t.values) for t in trials]
    assert [t.error for t in done] == [0.0, 0.1, 0.2, 0.3, 0.4]
    assert trained == [[4] * 4, [8], [16]]


def test_optuna_is_asked_in_rounds_and_finds_the_better_half():
    pytest.importorskip("optuna", reason="optuna is not installed")
    rounds = []

    def measure(trials):
        rounds.append(len(trials))
        return [t._replace(error=abs(np.log10(t.values["rate"]) + 2)) for t in trials]

    done = with_optuna(SPACE, 34, 0, measure, 10)
    assert rounds == [10, 10, 10, 4]
    assert best(done)[0].error < 0.3
    assert np.mean([t.error for t in done[20:]]) < np.mean([t.error for t in done[:10]])


def test_without_optuna_it_is_said_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"--sampler optuna expects the package 'optuna'.*jaxnn\[search\]"):
        with_optuna(SPACE, 1, 0, lambda trials: trials, 1)


# Batch norm.


def test_the_landscape_of_a_known_cost():
    """One dense layer: the costs after the steps are those that a second evaluation finds."""
    knobs = batch_norm.Knobs(hidden=4, depth=1)
    model = batch_norm.network(knobs, False)
    random = np.random.RandomState(0)
    with jax.enable_x64(True):
        x, y = jnp.asarray(random.randn(20, 6)), jnp.asarray(random.randint(10, size=20))
        train_state = jax.tree.map(lambda a: a[0], start_trials(model, optax.sgd(0.1), (6,), [0]))

        def cost(params):
            z = jnp.maximum(x @ params["dense1"]["weight"].T + params["dense1"]["bias"], 0)
            z = z @ params["dense2"]["weight"].T + params["dense2"]["bias"]
            return -jnp.mean(jax.nn.log_softmax(z)[jnp.arange(20), y])

        lengths = jnp.array([0.1, 1.0])
        cost_before, costs, turned, beta = batch_norm.around(model, train_state, x, y, lengths)
        value_and_grad = jax.jit(jax.value_and_grad(cost))
        value, g = value_and_grad(train_state.params)
        norm = lambda tree: np.sqrt(sum(float(jnp.sum(leaf ** 2)) for leaf in jax.tree.leaves(tree)))  # noqa: E731
        assert float(cost_before) == pytest.approx(float(value), rel=1e-12)
        betas = []
        for i, length in enumerate(lengths):
            after_step = jax.tree.map(lambda p, d, length=length: p - length * d, train_state.params, g)
            moved, moved_g = value_and_grad(after_step)
            assert float(costs[i]) == pytest.approx(float(moved), rel=1e-12)
            assert float(turned[i]) == pytest.approx(norm(jax.tree.map(jnp.subtract, moved_g, g)), rel=1e-10)
            betas.append(float(turned[i]) / (float(length) * norm(g)))
        assert float(beta) == pytest.approx(max(betas), rel=1e-10)


def test_a_cost_that_was_not_finite_is_no_cost():
    costs = np.ones((60, 2, 3))
    costs[55, 1, 0] = np.inf
    np.testing.assert_array_equal(batch_norm.final_cost(costs), [1, np.nan])


def test_the_sentences_of_batch_norm_and_its_curve_speak_of_the_same_cost(capsys):
    """Of 60 steps one has a batch of little cost, which makes no network trained: its mean with 14 others is not."""
    knobs = batch_norm.Knobs(rates=(0.1, 1.0), seeds=2, steps=60, trained=0.1)
    costs = np.full((60, 2, 2), 0.2)
    costs[40, 0], costs[30:, 1] = 0.0, 0.25
    np.testing.assert_allclose(batch_norm.averaged(costs)[[0, 39, 40, 54, 55], 0], [0.2, 0.2, 2.8 / 15, 2.8 / 15, 0.2])
    landscape = batch_norm.Landscape(*np.ones((5, 2, 3)))
    batch_norm.report(knobs, "plain", costs, np.zeros((2, 2)), landscape, 1e-3)
    printed = capsys.readouterr().out
    assert "(cost under 0.1 nats): none" in printed and "best rate 0.1: that cost is not reached," in printed

    costs[:, 0] = np.linspace(0.3, 0, 60)[:, None]  # the mean of steps 34 to 48 is the first below 0.1
    record = batch_norm.report(knobs, "plain", costs, np.zeros((2, 2)), landscape, 1e-3)
    printed = capsys.readouterr().out
    assert record["rates_that_train"] == [0.1] and "best rate 0.1: 48 steps to that cost," in printed

    costs[:, 0] = np.where(np.arange(60) < 30, 0.0, 0.2)[:, None]
    assert batch_norm.speed(batch_norm.averaged(costs)[:, 0], 0.1) == (
        "that cost is reached after 1 step, and lost again")


# Short runs.

TINY = {
    "signs": (signs, {"data": "digits", "hidden": (8,), "epochs": 2, "every": 1, "trials": 2, "trial_epochs": 1},
              {"train_accuracy", "test_accuracy"}, {"learning_curve", "confusion_matrix", "samples"}),
    "batch-norm": (batch_norm, {"seeds": 1, "hidden": 8, "depth": 1, "rates": (0.1,), "steps": 10},
                   set(), {"cost_by_learning_rate", "landscape", "activations"}),
    "bias-variance": (bias_variance, {"seeds": 2, "sizes": (20,), "hidden": (4,), "main_hidden": 4,
                                      "mixes": (0.5,), "steps": 10}, {"train_accuracy", "dev_accuracy"},
                      {"errors", "mismatch", "pictures"}),
    "hyperparameters": (hyperparameters, {"hidden": (4,), "coarse": 4, "coarse_steps": 5, "keep": 2, "fine": 4,
                                          "fine_steps": 5, "grid": 2, "grid_hidden": 4, "repeats": 2},
                        {"dev_error", "test_error"}, {"trials", "grid_and_random"}),
}


@pytest.mark.parametrize("name", [name if name == "bias-variance" else pytest.param(name, marks=pytest.mark.exhaustive)
                                  for name in TINY])
def test_a_short_run_measures_and_draws(tmp_path, capsys, name):
    module, knobs, measures, pictures = TINY[name]
    record = module.run(module.Knobs(**knobs), tmp_path, None)
    json.dumps(record, allow_nan=False)
    for measure in measures:
        assert 0 <= record[measure] <= 1
    assert {path.stem for path in tmp_path.glob("*.png")} == pictures
    for picture in tmp_path.glob("*.png"):
        assert_picture(picture)


def test_signs_says_why_digits_take_its_place(tmp_path, capsys):
    examples = signs.load("auto", tmp_path, 0)
    assert examples.name == "digits" and len(examples.test_x) + len(examples.train_x) == 1797
    assert capsys.readouterr().out.startswith("scikit-learn's digits in place of the hands:\n  c2/signs_64x64")
    with pytest.raises(MissingData):
        signs.load("signs", tmp_path, 0)
