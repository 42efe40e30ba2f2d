"""The campaigns of faults, small: a few of each, by the same code as the commands."""

import hashlib

import pytest

from experiments.__main__ import main
from experiments.faults import corrupt as corruption
from experiments.faults import edits as edition
from experiments.faults import failing as failures
from experiments.faults import hostile as hostility
from experiments.faults import kill as killing
from experiments.faults import signals as signalling
from jaxnn.training import checkpoint


@pytest.mark.exhaustive
def test_killed_runs_go_on_bit_for_bit(capsys):
    killed = killing.kill(3, seed=1, jobs=1, steps=60, kinds=("dense, dropout, Adam",))
    assert len(killed) == 3 and all(k.is_equal for k in killed)
    assert any(k.step is not None for k in killed), "some were killed behind a checkpoint"
    assert "3 of 3" in capsys.readouterr().out


def test_a_difference_would_be_seen(tmp_path):
    state = {"a": 1.0}
    for folder, value in (("one", 1.0), ("other", 2.0)):
        checkpoint.save(tmp_path / folder, 5, state | {"a": value})
    assert killing._compare(tmp_path / "one", tmp_path / "one") == (5, True)
    assert killing._compare(tmp_path / "one", tmp_path / "other") == (5, False)


def test_no_damage_loads_silently(capsys):
    outcomes = corruption.corrupt(70, seed=1)
    assert sum(outcomes.values()) == 70
    assert {outcome for _, outcome in outcomes} == {"reported, the older loaded"}
    assert "all " in capsys.readouterr().out


def test_a_silent_load_would_be_counted(tmp_path, monkeypatch, capsys):
    """Without the hashes damage goes unseen, and the table says so."""
    monkeypatch.setattr(corruption, "DAMAGES", {"a bit flipped": corruption.flip})
    verified = checkpoint.read_leaf

    def unverified(path, entry):
        return verified(path, entry | {"sha256": hashlib.sha256((path / entry["file"]).read_bytes()).hexdigest()})

    monkeypatch.setattr(checkpoint, "read_leaf", unverified)
    outcomes = corruption.corrupt(40, seed=0)
    assert outcomes["a bit flipped", "loaded silently"] > 0


def test_a_manifest_whose_hashes_fit_is_not_believed(capsys):
    tally = edition.edits(66, seed=1)
    assert (tally.tried, tally.foreign, tally.wrong) == (66, 0, 0)
    assert tally.whole > 40, "most are reported, and the older checkpoint is loaded"


def test_an_edit_that_is_believed_would_be_counted(monkeypatch, capsys):
    monkeypatch.setattr(edition, "EDITS", {"hash of a leaf": damaged_with_its_hash})
    tally = edition.edits(1, seed=0)
    assert tally.wrong == 1


def damaged_with_its_hash(manifest, folder, chance):
    """Bytes, and every hash of them: what no checkpoint can find out."""
    entry = next(e for e in manifest["leaves"] if e.get("dtype") == "float32" and 0 not in e["shape"])
    place = folder / entry["file"]
    place.write_bytes(b"\0\0\0\x40" + place.read_bytes()[4:])
    entry["sha256"] = hashlib.sha256(place.read_bytes()).hexdigest()
    entry["entry_sha256"] = edition._entry_hash(entry)


def test_hostile_surroundings(capsys):
    tally = hostility.hostile(every=12)
    assert tally.tried > 10 and (tally.foreign, tally.wrong) == (0, 0), capsys.readouterr().out


def test_lost_work_would_be_counted(monkeypatch, capsys):
    """A run that forgets what its checkpoint holds ends as another."""
    monkeypatch.setattr(hostility, "ALL", {"SIGTERM": hostility.ALL["SIGTERM"]})
    real = checkpoint.load

    def load(directory, like=None, **options):
        loaded = real(directory, like, **options)
        return loaded._replace(tree=like) if like is not None else loaded

    monkeypatch.setattr(checkpoint, "load", load)
    assert hostility.hostile().wrong == 1


@pytest.mark.exhaustive
def test_signals_end_a_run_with_their_status(capsys):
    sent = signalling.signals(1, seed=0, jobs=1, moments=("while it trains",))
    assert all(s.is_right for s in sent) and [s.status for s in sent] == [143]
    assert signalling.tally(sent).whole == 1


@pytest.mark.exhaustive
def test_every_call_that_fails_leaves_a_good_checkpoint(capsys):
    outcomes = failures.failing()
    assert all(is_whole for *_, is_whole in outcomes)
    assert {call for _, call, _ in outcomes} == set(failures.CALLS), "each was made to fail"


def test_the_command(capsys, monkeypatch):
    assert main(["faults", "corrupt", "-n", "7"]) == 0
    assert "0 lost" in capsys.readouterr().out
    monkeypatch.setattr("experiments.faults.kill.kill",
                        lambda n, seed, jobs: [killing.Killed("k", 1, False, False)])
    assert main(["faults", "kill", "-n", "1"]) == 1
    with pytest.raises(SystemExit):
        main(["faults", "kill", "-n", "0"])
