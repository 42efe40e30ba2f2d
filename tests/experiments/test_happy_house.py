"""The Happy House: the course's model, the interval, and folds without doubles, each by a second route."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.course4 import happy_house
from experiments.course4.happy_house import Knobs, dealt_by_group, distances, folds_of, groups, happy_model, wilson
from jaxnn.data import MissingData, published
from tests import course

RNG = np.random.default_rng(0)


def test_the_courses_model(torch):
    """37,633 numbers, as Keras counts them: with the running statistics. And its logit is that of a twin in PyTorch."""
    params, state = jax.eval_shape(lambda: happy_model().init(jax.random.key(0), (64, 64, 3)))
    assert {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()} == {
        "conv": 4_736, "norm": 64, "logit": 32_769}
    assert sum(leaf.size for leaf in jax.tree.leaves((params, state))) == 37_633

    shapes = jax.eval_shape(lambda: happy_model().init(jax.random.key(0), (10, 12, 3)))
    params, state = jax.tree.map(lambda leaf: RNG.uniform(0.1, 1, leaf.shape).astype(np.float32) - (
        0.5 if leaf.ndim > 1 else 0), shapes)  # variances stay above zero
    x = RNG.random((10, 12, 3)).astype(np.float32)
    z, _ = happy_model()(params, state, x)
    F, (conv, norm, logit, running) = torch.nn.functional, (jax.tree.map(torch.tensor, part) for part in (
        params["conv"], params["norm"], params["logit"], state["norm"]))
    h = F.pad(torch.tensor(x).permute(2, 0, 1)[None], (3, 3, 3, 3))
    h = F.conv2d(h, conv["kernel"].permute(3, 2, 0, 1), conv["bias"])
    h = F.batch_norm(h, running["mean"], running["variance"], norm["scale"], norm["bias"], eps=1e-3)
    h = F.max_pool2d(torch.relu(h), 2)[0].permute(1, 2, 0).reshape(-1)
    np.testing.assert_allclose(z, logit["weight"] @ h + logit["bias"], rtol=1e-4)
    both, _ = happy_house.two_logits(params, state, jnp.asarray(x))
    np.testing.assert_allclose(jax.nn.softmax(both)[1], jax.nn.sigmoid(z[0]), rtol=1e-5)


@pytest.mark.parametrize(("right", "n"), [(140, 150), (129, 150), (0, 5), (5, 5)])
def test_the_interval_is_scipys(right, n):
    stats = pytest.importorskip("scipy.stats")
    interval = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
    np.testing.assert_allclose(wilson(right, n), (interval.low, interval.high), atol=2e-5)


def test_distances_of_thumbnails():
    a, b = RNG.random((3, 64, 64, 3)).astype(np.float32), RNG.random((2, 64, 64, 3)).astype(np.float32)
    for i in range(3):
        for j in range(2):
            small = [np.array([[p[4 * r:4 * r + 4, 4 * c:4 * c + 4].mean((0, 1)) for c in range(16)]
                               for r in range(16)]) for p in (a[i], b[j])]
            assert distances(a, b)[i, j] == pytest.approx(255 * np.abs(small[0] - small[1]).mean(), rel=1e-4)
    assert (np.diag(distances(a, a)) == 0).all()


def test_similar_pictures_are_in_one_fold():
    """Points on a line: groups are the runs without a gap, and no fold has part of one; folds are about even."""
    places = np.sort(RNG.integers(0, 200, 80))
    apart = np.abs(places[:, None] - places)
    group = groups(apart, 3)
    np.testing.assert_array_equal(np.diff(group) != 0, np.diff(places) >= 3)
    fold = dealt_by_group(group, 4)
    folds = folds_of(fold, 4)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(80))
    for train, test in folds:
        assert apart[np.ix_(test, train)].min() >= 3 and len(train) + len(test) == 80
        assert 80 / 4 - max(np.bincount(group)) <= len(test) <= 80 / 4 + max(np.bincount(group))


def test_the_first_data_that_are_there(tmp_path, capsys, monkeypatch):
    """The course's two files, else its test file alone, else digits; what is missing is said, or refused."""
    monkeypatch.setenv("JAXNN_DATA", str(tmp_path))
    pictures = happy_house.load(Knobs(), None)
    assert pictures.classes == ("no loop", "loop") and list(pictures.ways) == ["held out"]
    printed = capsys.readouterr().out
    assert "not --data happy: c4/train_happy.h5 was expected at" in printed
    assert "not --data happy-test: c4/test_happy.h5 was expected at" in printed
    for name in ("happy", "happy-test"):
        with pytest.raises(MissingData, match=r"or use --data digits, which needs no file"):
            happy_house.load(Knobs(data=name), None)
    h5py = pytest.importorskip("h5py")
    monkeypatch.setattr(published, "SHA256", {})
    for part, n in (("test", 150), ("train", 600)):
        with h5py.File(tmp_path / f"{part}_happy.h5", "w") as file:
            file[f"{part}_set_x"] = RNG.integers(0, 256, (n, 64, 64, 3), np.uint8)
            file[f"{part}_set_y"] = np.arange(n) % 2
        pictures = happy_house.load(Knobs(folds=3), None)
        assert list(pictures.ways) == (["folds at random", "similar ones in one fold"] if part == "test"
                                       else ["the course's split"])
    ((train, test),) = pictures.ways["the course's split"]
    assert train.tolist() == list(range(600)) and test.tolist() == list(range(600, 750)) and len(pictures.x) == 750


@pytest.mark.skipif(course.data_directory() is None, reason="the course's faces are not here: set JAXNN_DATA")
def test_folds_of_the_courses_faces():
    """Dealt at random most test pictures have a similar one in training; the other way none has."""
    pictures = happy_house.in_folds(Knobs(), None)
    nearest = {way: np.concatenate([distances(pictures.x[test], pictures.x[train]).min(1) for train, test in folds])
               for way, folds in pictures.ways.items()}
    assert (nearest["folds at random"] < 16).mean() > 0.8
    assert (nearest["similar ones in one fold"] >= 16).all()
    assert [len(test) for _, test in pictures.ways["similar ones in one fold"]] == [30] * 5
