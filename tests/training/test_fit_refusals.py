"""What `fit` refuses before any time is spent, and how it says so."""

import jax
import pytest

from jaxnn import ops
from jaxnn.layers import Dense, Sequential
from jaxnn.training import BadCheckpoint, make_step, start
from tests.training.small_run import OPTIMIZER, X, Y, train


@pytest.mark.sampled
@pytest.mark.parametrize(("options", "words"), [
    ({"steps": 0}, "steps, a positive integer; got 0"),
    ({"every": -1}, "every, a positive integer"),
    ({"patience": 0, "watch": "error"}, "patience, a positive integer"),
    ({"patience": 3}, "a metric to watch, for patience"),
    ({"watch": "cots"}, r"no 'cots', which is to be watched, but \['error'\]"),
    ({"goal": "down"}, "goal 'min' or 'max'"),
    ({"keep": 1}, "keep, at least 2"),
    ({"steps_per_dispatch": 3}, "every and save_every that steps_per_dispatch=3 divides"),
    ({"step": lambda s, x, y: s}, "a step made by make_step; got function"),
    ({"tensorboard": True}, "a directory, for TensorBoard"),
    ({"configuration": {"path": OPTIMIZER}}, "a configuration that JSON can hold"),
    ({"metrics": lambda p, s: {"cost": 1.0}}, "cost, which the record has of its own; name it dev_cost"),
    ({"batches": lambda s: (X[:4],)}, r"batches that give \(x, labels\); got tuple of 1"),
    ({"batches": (X, Y)}, r"batches that are called with the step's number"),
    ({"train_state": (X, Y)}, "a TrainState, made by start or returned by a step; got tuple"),
    ({"keep": 2.5}, "keep, a positive integer"),
    ({"batches": lambda s: (X[:4], Y[:3])}, "as many labels as there are examples, 4"),
])
def test_refused(options, words):
    with pytest.raises(ValueError, match=words):
        train(**options)


def test_a_directory_that_will_not_do(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="a directory for checkpoints; got the file"):
        train(directory=tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x"
    run = tmp_path / "run"
    train(10, directory=run, configuration={"rate": 0.02, "seed": 1})
    before = sorted(p.name for p in run.iterdir())
    with pytest.raises(ValueError, match="a directory without a run, as resume=False asks"):
        train(directory=run, resume=False)
    with pytest.raises(ValueError, match=r"the run that .* was begun with; got rate was 0.02, is 0.1"):
        train(directory=run, configuration={"rate": 0.1, "seed": 1})
    with pytest.raises(ValueError, match="steps of at least the 10 that are done; got 5"):
        train(5, directory=run, configuration={"rate": 0.02, "seed": 1})
    net = Sequential(Dense(8), ops.relu, Dense(2))
    with pytest.raises(ValueError, match=r"'params/.*' is"):
        train(directory=run, train_state=start(net, OPTIMIZER, (4,), jax.random.key(0)),
              step=make_step(net, ops.softmax_cross_entropy, OPTIMIZER), metrics=None,
              configuration={"rate": 0.02, "seed": 1})
    assert sorted(p.name for p in run.iterdir()) == before
    for path in run.glob("step_*/manifest.sha256"):
        path.write_text("0" * 64)
    with pytest.raises(BadCheckpoint, match="no good checkpoint in"):
        train(directory=run, configuration={"rate": 0.02, "seed": 1})
