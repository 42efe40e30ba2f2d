"""The course's printed results, by the experiments' own code: costs, accuracies, gradients.

Descent from weights W moves them only along the photographs, 259 directions of 12,288. So the photographs
and W are turned into a basis Q of these: W x = (W Q) (Qᵀ x) to the last digits, and a step costs a fortieth.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.course1 import deep_network, logistic_regression, planar
from experiments.shared.cat_or_cancer import breast_cancer, cat
from jaxnn.data import MissingData
from jaxnn.metrics import accuracy


@functools.cache
def photographs():
    try:
        return cat(None)
    except MissingData as missing:
        return pytest.skip(f"needs the course's photographs: {missing}")


@functools.cache
def turned():
    """(Q (12288, 259) with orthonormal columns that span all photographs, the examples in its basis)."""
    examples = photographs()
    q, _ = np.linalg.qr(np.concatenate([examples.train_x, examples.test_x]).T)
    return q, examples._replace(train_x=examples.train_x @ q, test_x=examples.test_x @ q)


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


# Logistic regression: week 2.


def test_logistic_regression_prints_the_courses_costs_and_accuracies(float64):
    _, examples = turned()
    params, costs = logistic_regression.train(examples, 0.005, 2000)
    printed = [
        0.693147, 0.584508, 0.466949, 0.376007, 0.331463, 0.303273, 0.279880, 0.260042, 0.242941, 0.228004,
        0.214820, 0.203078, 0.192544, 0.183033, 0.174399, 0.166521, 0.159305, 0.152667, 0.146542, 0.140872]
    np.testing.assert_allclose(costs[::100], printed, rtol=0, atol=6e-7)
    train, test = (accuracy(logistic_regression.predict(params, x), y)
                   for x, y in ((examples.train_x, examples.train_y), (examples.test_x, examples.test_y)))
    assert 100 * train == pytest.approx(99.04306220095694, abs=1e-12)
    assert test == 0.70


@pytest.mark.parametrize(("rate", "train", "test"), [
    (0.01, 99.52153110047847, 68), (0.001, 88.99521531100478, 64), (0.0001, 68.42105263157895, 36)])
def test_logistic_regression_at_the_courses_other_learning_rates(float64, rate, train, test):
    _, examples = turned()
    params, _ = logistic_regression.train(examples, rate, 1500)
    assert 100 * accuracy(logistic_regression.predict(params, examples.train_x), examples.train_y) == (
        pytest.approx(train, abs=1e-12))
    assert 100 * accuracy(logistic_regression.predict(params, examples.test_x), examples.test_y) == (
        pytest.approx(test, abs=1e-12))


# One hidden layer: week 3. At learning rate 1.2 the wide networks, and the last costs, oscillate: there a
# change of W1 by one part in 1e15 moves the course's own NumPy code by up to what is tolerated below.


@functools.cache
def flower(n_hidden, iterations):
    knobs = planar.Knobs()
    return planar.Trained(knobs, planar.Points("flower", knobs.seed), "tanh", n_hidden, iterations)


def test_planar_prints_the_courses_costs():
    trained = flower(4, 10_000)
    printed = [
        0.693048, 0.288083, 0.254385, 0.233864, 0.226792, 0.222644, 0.219731, 0.217504, 0.219472, 0.218562]
    np.testing.assert_allclose(trained.costs[:8000:1000], printed[:8], rtol=0, atol=1e-6)
    np.testing.assert_allclose(trained.costs[8000::1000], printed[8:], rtol=0, atol=2e-4)
    assert int(100 * trained.train_accuracy) == 90


def test_planar_records_its_costs(tmp_path, monkeypatch):
    """Each fifth of 1000, and the last: enough for a curve."""
    monkeypatch.setattr(planar, "draw", lambda *args: None)
    assert main(["run", "planar", "--iterations", "1000", "--sweep-iterations", "2", "--sweep", "1", "--sets", "blobs",
                 "--out", str(tmp_path)]) == 0
    costs = json.loads((tmp_path / "metrics.json").read_text())["costs"]
    assert costs["iteration"] == [*range(0, 1000, 5), 999]
    np.testing.assert_allclose(costs["cost"], flower(4, 1000).costs[costs["iteration"]], rtol=1e-12)
    assert costs["cost"][0] == pytest.approx(0.693048, abs=1e-6) and costs["cost"][-1] < 0.3


@pytest.mark.sampled
@pytest.mark.parametrize(("n_hidden", "percent", "within"), [
    (1, 67.5, 0), (2, 67.25, 0), (3, 90.75, 0), (4, 90.5, 0), (5, 91.25, 0),
    (20, 90.5, 0.5), (50, 90.75, 0.5)])
def test_planar_reaches_the_courses_accuracies(n_hidden, percent, within):
    assert 100 * flower(n_hidden, 5000).train_accuracy == pytest.approx(percent, abs=within + 1e-9)


def test_logistic_regression_on_the_flower_is_below_chance_as_in_the_course():
    knobs = planar.Knobs()
    trained = planar.Trained(knobs, planar.Points("flower", knobs.seed), None, 0, 2000)
    assert 100 * trained.train_accuracy == 47


@pytest.mark.parametrize("name", planar.SETS)
def test_the_planar_sets_have_both_classes_in_each_part(name):
    points = planar.Points(name, 1)
    for x, y in (points.train, points.test):
        assert x.shape == (len(y), 2)
        assert set(y) == {0, 1}
        assert 0.3 < y.mean() < 0.7


def test_logistic_regression_is_trained_at_a_rate_at_which_the_cost_only_falls():
    knobs = planar.Knobs()
    for name in planar.SETS:
        costs = planar.Trained(knobs, planar.Points(name, knobs.seed), None, 0, 200).costs
        assert np.all(np.diff(costs) <= 1e-12), name


# Deep networks: week 4.


TWO_LAYER = [
    0.6930497356599888, 0.6464320953428849, 0.6325140647912678, 0.6015024920354665, 0.5601966311605748,
    0.5158304772764731, 0.47549013139433266, 0.43391631512257495, 0.40079775362038833, 0.3580705011323798,
    0.33942815383664127, 0.30527536361962665, 0.2749137728213017, 0.24681768210614843, 0.1985073503746611,
    0.17448318112556652, 0.17080762978097747, 0.11306524562164694, 0.09629426845937153, 0.08342617959726872,
    0.07439078704319087, 0.06630748132267937, 0.059193295010381765, 0.05336140348560562, 0.04855478562877021,
    0.0442149821586896]


def trained_network(hidden, scale, iterations, *, turn=True):
    q, examples = turned()
    knobs = deep_network.Knobs(iterations=iterations)
    params = deep_network.initial((12288, *hidden, 1), scale, knobs.seed)
    if not turn:
        return deep_network.train(knobs, params, photographs())
    first, *rest = params
    return deep_network.train(knobs, [first | {"weight": first["weight"] @ q}, *rest], examples)


def test_photographs_as_they_are_print_the_courses_first_costs(float64, capsys):
    result = trained_network((7,), lambda n_in: 0.01, 101, turn=False)
    np.testing.assert_allclose(result.costs[[0, 100]], TWO_LAYER[:2], rtol=0, atol=1e-11)
    _, costs = logistic_regression.train(photographs(), 0.005, 101)
    np.testing.assert_allclose(costs[[0, 100]], [0.693147, 0.584508], rtol=0, atol=6e-7)


def test_two_layers_print_the_courses_costs_and_accuracies(float64, capsys):
    result = trained_network((7,), lambda n_in: 0.01, 2500)
    np.testing.assert_allclose([*result.costs[::100], result.costs[-1]], TWO_LAYER, rtol=0, atol=1e-11)
    assert (result.train_accuracy, result.test_accuracy) == (1.0, 0.72)


def test_four_layers_print_the_courses_costs_and_accuracies(float64, capsys):
    result = trained_network((20, 7, 5), lambda n_in: 1 / np.sqrt(n_in), 2500)
    printed = [0.771749, 0.672053, 0.092878]
    np.testing.assert_allclose(result.costs[[0, 100, 2400]], printed, rtol=0, atol=6e-7)
    assert result.costs[2499] == pytest.approx(0.088439943441702, abs=1e-11)
    assert 100 * result.train_accuracy == pytest.approx(98.56459330143541, abs=1e-12)
    assert result.test_accuracy == 0.80


def test_the_walk_through_the_caches_gives_the_gradient_of_the_cost(float64):
    examples = breast_cancer(seed=1)
    params = deep_network.initial((30, 5, 3, 1), lambda n_in: 1 / np.sqrt(n_in), seed=1)
    x, labels = jnp.asarray(examples.train_x[:40]), jnp.asarray(examples.train_y[:40])

    def cost(params):
        logits = x
        for layer in params:
            logits = jnp.maximum(logits, 0) if logits is not x else x
            logits = logits @ layer["weight"].T + layer["bias"]
        return -jnp.mean(jax.nn.log_sigmoid(jnp.where(labels == 1, 1, -1) * logits[:, 0]))

    value, grads = jax.jit(deep_network.cost_and_gradient)(params, x, labels)
    expected_value, expected = jax.jit(jax.value_and_grad(cost))(params)
    assert float(value) == pytest.approx(float(expected_value), rel=1e-14)
    for got, want in zip(jax.tree.leaves(grads), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-14)


def test_the_table_of_dimensions_is_the_courses(capsys):
    params = deep_network.initial((12288, 20, 7, 5, 1), lambda n_in: 0.01, seed=1)
    rows = [line.split("  ") for line in deep_network.dimensions(params, 209).splitlines()[2:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert cells == [["1", "(20, 12288)", "(20, 1)", "(20, 209)", "relu"],
                     ["2", "(7, 20)", "(7, 1)", "(7, 209)", "relu"],
                     ["3", "(5, 7)", "(5, 1)", "(5, 209)", "relu"],
                     ["4", "(1, 5)", "(1, 1)", "(1, 209)", "sigmoid"]]


def test_logistic_regression_learns_the_embedded_table():
    examples = breast_cancer(seed=1)
    params, costs = logistic_regression.train(examples, 0.005, 500)
    assert np.all(np.diff(costs) < 0)
    assert accuracy(logistic_regression.predict(params, examples.test_x), examples.test_y) > 0.9
