"""A checkpoint is loaded bit for bit, or its damage is reported."""

import hashlib
import json
import warnings

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxnn.training import checkpoint
from jaxnn.training.checkpoint import BadCheckpoint, DamagedCheckpoint, load, save, steps_in
from jaxnn.training.placement import is_key

TREE = {
    "float32": np.float32([[1.5, -0.0], [np.nan, np.inf]]), "bfloat16": jnp.asarray([1.1, 3e38], jnp.bfloat16),
    "float16": np.float16([6e-8]), "float8": np.array([1.5], ml_dtypes.float8_e4m3fn), "int": np.int8([-1, 7]),
    "bool": np.array([True, False]), "complex": np.complex64([1 + 2j]), "scalar": jnp.zeros((), jnp.int32),
    "empty": np.zeros((0, 3), np.float32), "key": jax.random.key(3), "keys": jax.random.split(jax.random.key(1), 2),
    "other key": jax.random.key(1, impl="rbg"), "number": 3, "flag": True, "rate": 0.1, "none": None,
}


def same(a, b):
    if isinstance(a, int | float):
        return type(a) is type(b) and a == b
    if is_key(a):
        return jax.random.key_impl(a) == jax.random.key_impl(b) and same(jax.random.key_data(a), jax.random.key_data(b))
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_every_dtype_comes_back_bit_for_bit(tmp_path):
    save(tmp_path, 7, TREE, extra={"note": "ü", "position": [1, 2]})
    loaded = load(tmp_path, TREE)
    assert (loaded.step, loaded.extra) == (7, {"note": "ü", "position": [1, 2]})
    assert jax.tree.structure(loaded.tree) == jax.tree.structure(TREE)
    assert all(jax.tree.leaves(jax.tree.map(same, TREE, loaded.tree)))
    by_path = load(tmp_path).tree
    assert set(by_path) == set(TREE) - {"none"}


def test_float64(tmp_path, x64):
    tree = {"a": jnp.asarray([1 / 3], jnp.float64)}
    tree["number"] = np.float64(0.1)
    save(tmp_path, 1, tree)
    assert same(load(tmp_path, tree).tree["a"], tree["a"])
    with jax.enable_x64(False), pytest.raises(ValueError, match="float64 to be on, for a leaf of float64"):
        load(tmp_path, tree)


def test_the_manifest_can_be_read_by_people(tmp_path):
    path = save(tmp_path, 7, {"layer": {"weight": np.ones((2, 3), np.float32)}})
    manifest = json.loads((path / "manifest.json").read_text())
    (leaf,) = manifest["leaves"]
    assert (leaf["path"], leaf["shape"], leaf["dtype"]) == ("layer/weight", [2, 3], "float32")
    assert leaf["sha256"] == hashlib.sha256((path / leaf["file"]).read_bytes()).hexdigest()
    assert manifest["format"] == 1 and manifest["step"] == 7 and "jax" in manifest["versions"]


def test_the_newest_are_kept_and_the_newest_good_is_taken(tmp_path):
    for step in (1, 2, 3, 10):
        save(tmp_path, step, {"a": np.array(step)}, keep=3)
    assert steps_in(tmp_path) == [2, 3, 10]
    assert load(tmp_path).step == 10
    assert load(tmp_path, step=3).tree["a"] == 3
    (tmp_path / "step_00000010" / "0000.bin").write_bytes(b"12345678")
    with pytest.warns(DamagedCheckpoint, match=r"0000.bin \('a'\) is not what was written; step 3 is loaded instead"):
        assert load(tmp_path).step == 3
    save(tmp_path, 10, {"a": np.array(10)})
    assert load(tmp_path).step == 10, "a damaged one is replaced"


def test_none_is_good(tmp_path):
    with pytest.raises(BadCheckpoint, match=r"no checkpoint in .*, none at all"):
        load(tmp_path)
    save(tmp_path, 1, {"a": np.array(1)})
    with pytest.raises(BadCheckpoint, match=r"no checkpoint of step 2 in .*, only of steps 1"):
        load(tmp_path, step=2)
    (tmp_path / "step_00000001" / "manifest.json").unlink()
    with pytest.raises(BadCheckpoint, match=r"no good checkpoint in .*manifest.json cannot be read"):
        load(tmp_path)


def test_every_leaf_that_differs_is_named(tmp_path):
    save(tmp_path, 1, {"a": np.zeros(3), "b": np.zeros(2), "c": np.zeros(1)})
    with pytest.raises(ValueError, match=r"'d' is missing, 'c' is extra, 'b' is float64\[2\], not float32\[2\]"):
        load(tmp_path, {"a": np.zeros(3), "b": np.zeros(2, np.float32), "d": np.zeros(1)})


def test_another_release(tmp_path, monkeypatch):
    save(tmp_path, 1, {"a": np.zeros(3)})
    monkeypatch.setattr(checkpoint.metadata, "version", lambda name: "9.9")
    words = r"a checkpoint of the releases in use.* in place of 9\.9.*other_versions=True"
    with pytest.raises(ValueError, match=words):
        load(tmp_path)
    assert load(tmp_path, other_versions=True).step == 1


def test_another_format(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "FORMAT", 2)
    save(tmp_path, 1, {"a": np.zeros(3)})
    monkeypatch.undo()
    with pytest.raises(ValueError, match="expects checkpoints of format 1; got format 2"):
        load(tmp_path)


def test_left_under_its_old_name_it_is_found(tmp_path):
    """Ended between the two renames of a replacement."""
    save(tmp_path, 5, {"a": np.array(5)})
    (tmp_path / "step_00000005").rename(tmp_path / "step_00000005.old")
    assert load(tmp_path).tree["a"] == 5
    (tmp_path / ".writing_step_00000006").mkdir()
    save(tmp_path, 6, {"a": np.array(6)})
    assert not list(tmp_path.glob(".writing_*")), "what a killed process left is removed"


def test_restored_on_other_devices(tmp_path):
    from jaxnn.training import make_mesh, shard

    tree = {"w": jnp.arange(16.0).reshape(8, 2), "key": jax.random.key(0)}
    save(tmp_path, 1, shard(tree, make_mesh(8), fully=True))
    for n in (1, 2, 4):
        like = shard(tree, make_mesh(n), fully=True)
        loaded = load(tmp_path, like).tree
        assert loaded["w"].sharding == like["w"].sharding
        np.testing.assert_array_equal(loaded["w"], tree["w"])


def test_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for call, words in ((lambda: save(tmp_path / "file", 1, {}), "a directory for checkpoints; got the file"),
                        (lambda: save(tmp_path, 1, {}, keep=1), "keep, at least 2"),
                        (lambda: save(tmp_path, -1, {}), "a step that is not negative"),
                        (lambda: save(tmp_path, 1, {"a": object()}), "arrays and numbers as leaves; got object at 'a'"),
                        (lambda: save(tmp_path, 1, {"a/b": 1, "a": {"b": 2}}), "2 leaves with 1 paths"),
                        (lambda: save(7, 1, {}), "save expects directory, text or a path; got 7"),
                        (lambda: save(f"{tmp_path}/a\0b", 1, {}), "save expects directory, text or a path"),
                        (lambda: load(b"x"), "load expects directory, text or a path; got b'x'"),
                        (lambda: load(tmp_path / ("a" * 300)), "which does not exist"),
                        (lambda: load(tmp_path / "none"), "which does not exist"),
                        (lambda: load(tmp_path / "file"), "a directory of checkpoints; got .*, a file"),
                        (lambda: checkpoint.prepare(tmp_path / "file"), "got the file")):
        with pytest.raises(ValueError, match=words):
            call()
    assert steps_in(tmp_path) == [], "nothing was left behind"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(tmp_path, 1, {"nan": float("nan")})
        assert np.isnan(load(tmp_path).tree["nan"])


def test_orbax(tmp_path):
    pytest.importorskip("orbax.checkpoint", reason="Orbax is not installed")
    from jaxnn.training import orbax_checkpoint

    tree = {"w": jnp.arange(6.0).reshape(3, 2), "key": jax.random.key(0), "b": jnp.ones(2, jnp.bfloat16)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in (1, 2, 3):
            orbax_checkpoint.save(tmp_path, step, tree, extra={"n": step}, keep=2)
        assert orbax_checkpoint.steps_in(tmp_path) == [2, 3]
        loaded = orbax_checkpoint.load(tmp_path, tree)
        assert (loaded.step, loaded.extra) == (3, {"n": 3})
        assert all(jax.tree.leaves(jax.tree.map(same, tree, loaded.tree)))
        for path in (tmp_path / "3").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
        assert orbax_checkpoint.load(tmp_path, tree).step == 2
        with pytest.raises(ValueError, match="a directory without checkpoints of Orbax"):
            checkpoint.prepare(tmp_path)
        save(tmp_path / "ours", 1, {"a": np.zeros(1)})
        with pytest.raises(ValueError, match="a directory without other checkpoints than Orbax's"):
            orbax_checkpoint.prepare(tmp_path / "ours")
        with pytest.raises(ValueError, match="'w' is extra"):
            orbax_checkpoint.load(tmp_path, {"key": tree["key"], "b": tree["b"]})
