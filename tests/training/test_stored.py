"""What a checkpoint stores comes back as it was, or is refused; what is read is not believed."""

import enum
import hashlib
import json
import os
import resource

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn.training import stored
from jaxnn.training.checkpoint import DamagedCheckpoint, load, save, steps_in
from tests.training.test_checkpoint import same

ODD = {"int64": np.int64(2**40), "float64": np.float64(0.1), "bool_": np.bool_(True), "float16": np.float16(3),
       "big": np.arange(3, dtype=">f8"), "big int": np.arange(6, dtype=">i2").reshape(2, 3),
       "big 0-d": np.array(7, ">u4"),
       "complex": 1.5 - 2j, "complex nan": complex(float("inf"), 1), "wide": 2**64, "wider": -(2**70),
       "infinite": float("inf")}


class Colour(enum.IntEnum):
    RED = 1


def test_scalars_byte_orders_and_wide_numbers_come_back_as_they_were(tmp_path):
    save(tmp_path, 1, ODD)
    for tree in (load(tmp_path).tree, load(tmp_path, ODD).tree):
        for name, leaf in ODD.items():
            assert type(tree[name]) is type(leaf)
            assert tree[name] == leaf if np.ndim(leaf) == 0 else same(tree[name], leaf), name
            if isinstance(leaf, np.ndarray | np.generic):
                assert (tree[name].dtype.str, tree[name].shape) == (leaf.dtype.str, leaf.shape)


@pytest.mark.parametrize("leaf", [
    Colour.RED, "text", b"bytes", np.str_("text"), np.array(["a"]), np.datetime64("2020-01-01"), np.zeros(2, "i4,f4"),
    np.ma.masked_array([1, 2], [True, False]), [object()], np.array([None]), 10**5000,
], ids=lambda leaf: type(leaf).__name__)
def test_a_leaf_that_would_not_come_back_is_refused(tmp_path, leaf):
    with pytest.raises(ValueError, match=r"(arrays and numbers|arrays of numbers|integers that can be written) .*'a"):
        save(tmp_path, 1, {"a": leaf})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("extra", [{"a": float("inf")}, {1: 2}, {"a": {(1, 2): 3}}, {"a": np.float32(1)}, [1],
                                   {"a": {1}}, {"a": 10**5000}])
def test_an_extra_that_would_not_come_back_is_refused(tmp_path, extra):
    with pytest.raises(ValueError, match=r"save expects extra"):
        save(tmp_path, 1, {"a": 1}, extra=extra)
    nested = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match=r"extra that JSON can hold; got one of too many levels"):
        save(tmp_path, 1, {"a": 1}, extra={"a": nested})
    assert os.listdir(tmp_path) == []


def two(tmp_path):
    save(tmp_path, 1, {"a": np.arange(4.0), "n": 1})
    return save(tmp_path, 2, {"a": np.arange(4.0) + 1, "n": 2})


def older_is_loaded(tmp_path, words=""):
    for like in (None, {"a": np.zeros(4), "n": 0}):
        with pytest.warns(DamagedCheckpoint, match=f"{words}.*step 1 is loaded instead"):
            assert load(tmp_path, like).tree["n"] == 1


def forge(path, change):
    """Changes the manifest, and its hash with it."""
    manifest = json.loads((path / "manifest.json").read_text())
    manifest = change(manifest) or manifest
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    (path / "manifest.json").write_bytes(text)
    (path / "manifest.sha256").write_text(hashlib.sha256(text).hexdigest())


@pytest.mark.parametrize("name", ["0000.bin", "manifest.json", "manifest.sha256"])
@pytest.mark.parametrize("kind", ["pipe", "link", "sparse", "directory", "other"])
def test_what_is_no_file_of_the_right_size_is_not_read(tmp_path, name, kind):
    path = two(tmp_path) / name
    whole = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(10**10)
    elif kind == "directory":
        path.mkdir()
    else:  # a link to a file that is right
        (tmp_path / "other").write_bytes(whole)
        path.symlink_to(tmp_path / "other")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    older_is_loaded(tmp_path, name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19, "kilobytes"


def leaf(**fields):
    return lambda manifest: manifest["leaves"][0].update(fields)


def outside(tmp_path):
    (tmp_path / "secret").write_bytes(np.arange(4.0).tobytes())
    return str(tmp_path / "secret")


@pytest.mark.parametrize("change", [
    leaf(shape=[2, 2]), leaf(shape=[-4]), leaf(shape=[4.0]), leaf(shape=None), leaf(shape=[10**12]),
    leaf(dtype="int64"), leaf(dtype="object"), leaf(dtype="no"), leaf(byteorder=">"), leaf(scalar=True),
    leaf(key="threefry2x32"),
    leaf(file="../../secret"), leaf(file="../step_00000001/0000.bin"), leaf(file="manifest.json"), leaf(file=7),
    leaf(sha256=None), leaf(sha256=7),
    leaf(path="b"), leaf(path=[]), leaf(path="n"), leaf(python="int", value=1.5), leaf(python="eval", value="1"),
    lambda m: m.update(leaves=None), lambda m: m.pop("step"), lambda m: m.update(step="2"), lambda m: m.update(extra=3),
    lambda m: m.update(versions=[]), lambda m: [m], lambda m: b"null", lambda m: b" ", lambda m: b"[" * 100_000,
    lambda m: b"\xff\xfe", lambda m: m.pop("format"), lambda m: m["leaves"][1].update(value="1"),
])
def test_a_manifest_whose_own_hash_fits_is_not_believed(tmp_path, change):
    outside(tmp_path)
    forge(two(tmp_path), change)
    older_is_loaded(tmp_path)


@pytest.mark.parametrize("sha256", [None, 7, "", "0" * 64])
def test_bytes_are_not_believed_without_their_hash(tmp_path, sha256):
    """Even where the entry's own hash fits."""
    path = two(tmp_path)
    (path / "0000.bin").write_bytes(np.arange(4.0).tobytes())

    def change(manifest):
        entry = manifest["leaves"][0]
        entry["sha256"] = sha256
        entry["entry_sha256"] = stored._entry_hash(entry)

    forge(path, change)
    older_is_loaded(tmp_path, "has the hash|is not what was written")


def test_a_leaf_anywhere_else_is_not_read(tmp_path):
    path = two(tmp_path)
    forge(path, leaf(file=outside(tmp_path), sha256=hashlib.sha256(np.arange(4.0).tobytes()).hexdigest()))
    older_is_loaded(tmp_path, "not in 0000.bin")


def test_a_large_file_that_fits_its_entry_takes_no_memory(tmp_path):
    path = two(tmp_path)
    with open(path / "0000.bin", "wb") as file:
        file.truncate(2**29)
    fields = {"shape": [2**26], "entry_sha256": None}
    forge(path, leaf(**fields))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.warns(DamagedCheckpoint, match=r"0000.bin \('a'\) is not what was written"):
        assert load(tmp_path).step == 1
    with pytest.raises(ValueError, match=r"'a' is float64\[67108864\], not float64\[4\]"):
        load(tmp_path, {"a": np.zeros(4), "n": 0})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**18, "kilobytes"


def test_what_kills_left_under_old_names_is_removed(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, {"a": np.array(step)})
    for step in (1, 3):  # ended between the renames, and after them
        os.rename(tmp_path / f"step_0000000{step}", tmp_path / f"step_0000000{step}.old")
    save(tmp_path, 3, {"a": np.array(30)})
    assert sorted(os.listdir(tmp_path)) == ["step_00000001.old", "step_00000002", "step_00000003"]
    for step in (4, 5):
        save(tmp_path, step, {"a": np.array(step)})
    assert steps_in(tmp_path) == [3, 4, 5] and len(os.listdir(tmp_path)) == 3


def test_keys_come_back(tmp_path):
    tree = {"key": jax.random.key(3), "keys": jax.random.split(jax.random.key(1, impl="rbg"), 2), "x": jnp.ones(2)}
    save(tmp_path, 1, tree)
    assert all(jax.tree.leaves(jax.tree.map(same, tree, load(tmp_path, tree).tree)))
