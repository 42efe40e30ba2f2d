"""The gallery: records read and refused, figures beside published ones, links from the code, pages without network."""

import html.parser
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments.__main__ import EXPERIMENTS, main
from experiments.gallery import uses
from experiments.gallery.command import build
from experiments.gallery.course import ASSIGNMENTS
from experiments.gallery.data_sets import DATA_SETS
from experiments.gallery.facts import FACTS
from experiments.gallery.records import Run, command, compared, data_of, read_runs, shown
from jaxnn.checks import InputError

ROOT = Path(__file__).parents[2]
RECORD = {"experiment": "digits", "seed": 0, "configuration": {"seed": 0, "epochs": 3}, "seconds": 1.5,
          "device": "2 CPU cores", "versions": {"jax": "0.10.2"}, "pictures": ["cost.png"], "test_accuracy": 0.875,
          "commit": "abc"}
PNG = bytes.fromhex("89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63f80f0001"
                    "0101001bb6ee560000000049454e44ae426082")  # one white pixel


def put(folder, **changes):
    folder.mkdir(parents=True)
    record = {key: value for key, value in {**RECORD, **changes}.items() if value is not None}
    (folder / "metrics.json").write_text(json.dumps(record))
    (folder / "cost.png").write_bytes(PNG)
    return folder


def run_of(name, folder=Path("x"), **record):
    return Run(folder, name, {"configuration": {}, **record}, (), ())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    runs, out = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("site") / "gallery"
    put(runs / "digits")
    (runs / "digits" / "one_two.wav").write_bytes(b"RIFF")
    put(runs / "deep" / "convnet", experiment="convnet", configuration={"seed": 1, "data": "usps"},
        test_accuracy=0.9761)
    put(runs / "<b>&", experiment="planar", device="<script>", configuration={"seed": 1}, train_accuracy=0.905)
    put(runs / ".unfinished_1")
    (runs / "broken").mkdir()
    (runs / "broken" / "metrics.json").write_text('{"experiment": "digits", ')
    put(runs / "foreign", experiment=None)
    put(runs / "gone", experiment="no-such-experiment")
    build(runs, out, EXPERIMENTS)
    return out


class Parsed(html.parser.HTMLParser):
    """The links of a page, its ids, and the tags that are open."""

    VOID = ("meta", "img", "br", "mspace")

    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.open = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.links += [values[key] for key in ("href", "src") if key in values]
        self.ids |= {values["id"]} if "id" in values else set()
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_every_link_leads_somewhere_without_network(site):
    parsed = {path: Parsed(path) for path in site.rglob("*.html")}
    assert len(parsed) == 3 + len(uses.all_ops())
    for path, page in parsed.items():
        assert not page.open, path
        for link in page.links:
            assert "//" not in link and not link.startswith(("/", "data:"))
            place, _, anchor = link.partition("#")
            target = (path.parent / place).resolve() if place else path
            assert target.is_file(), f"{path.name}: {link}"
            assert not anchor or anchor in parsed[target].ids, f"{path.name}: {link}"
    assert "<script" not in "".join(path.read_text(encoding="utf-8") for path in parsed)


def test_the_derivation_of_batch_norm_is_two_clicks_away(site):
    front = Parsed(site / "index.html")
    assert "ops/batch_norm.html" in front.links  # of the experiment that trains it
    page = (site / "ops" / "batch_norm.html").read_text(encoding="utf-8")
    assert "Ioffe" in page and "<math" in page and '../index.html#batch-norm"' in page and "BatchNorm" in page


def test_a_card_has_what_a_reader_asks(site):
    card, = re.findall(r'<article class="card" id="digits">.*?</article>', (site / "index.html").read_text("utf-8"))
    for part in ("How well does a deep network", "87.50 %", "CC BY 4.0", "2 s on 2 CPU cores", "ops/dense.html",
                 "cost.png", "python -m experiments run digits --epochs 3", "one_two.wav", "<audio"):
        assert part in card
    page = (site / "index.html").read_text("utf-8")
    convnet, = re.findall(r'<article class="card" id="convnet">.*?</article>', page)
    assert "2.39 %" in convnet and "5.00 %" in convnet and "LeCun" in convnet
    assert 'class="card empty" id="style-transfer"' in page and "Not run yet" in page
    assert "&lt;script&gt;" in page


def test_files_that_are_no_record_are_named_with_a_reason(site):
    page = (site / "index.html").read_text("utf-8")
    assert "broken/metrics.json</code>: expects JSON; it ends or breaks at line 1" in page
    assert "foreign/metrics.json</code>: expects the record of an experiment" in page
    assert "expects the name of a registered experiment; got 'no-such-experiment'" in page.replace("&#x27;", "'")
    assert "unfinished" not in page


@pytest.mark.parametrize(("content", "why"), [
    (b'{"a": "\xff"}', "UTF-8"), (b"", "JSON"), (b"[1]", "another program's"), (b'{"experiment": 3}', "registered"),
    (b"[" * 100_000, "recursion"), (b'{"experiment": "digits"}', "'configuration'"),
    (json.dumps({**RECORD, "seconds": "long"}).encode(), "'seconds'"), (b"NaN", "another program's"),
])
def test_a_metrics_file_of_anything(tmp_path, content, why):
    (tmp_path / "metrics.json").write_bytes(content)
    runs, (problem,) = read_runs(tmp_path, EXPERIMENTS)
    assert not runs and why in problem.why


def test_pictures_outside_of_the_run_are_not_taken(tmp_path):
    put(tmp_path / "a", pictures=["../../secret.png", "missing.png", "cost.png"])
    (tmp_path / "secret.png").write_bytes(PNG)
    (run,), _ = read_runs(tmp_path, EXPERIMENTS)
    assert [picture.name for picture in run.pictures] == ["cost.png"]


def test_refusals(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"--runs expects a directory of results; got .*nowhere"):
        build(tmp_path / "nowhere", tmp_path / "out", EXPERIMENTS)
    with pytest.raises(InputError, match="--out expects an empty directory or an earlier gallery"):
        build(tmp_path / "runs", tmp_path / "full", EXPERIMENTS)
    put(tmp_path / "out" / "runs" / "a")
    (tmp_path / "out" / "gallery.txt").write_text("")
    with pytest.raises(InputError, match="does not hold the results"):
        build(tmp_path / "out" / "runs", tmp_path / "out", EXPERIMENTS)
    assert main(["gallery", "--runs", str(tmp_path / "nowhere")]) == 2


def test_a_gallery_replaces_an_earlier_one_and_leaves_no_remains(tmp_path, monkeypatch):
    monkeypatch.setattr("experiments.gallery.command.pages", lambda site: {"index.html": str(len(site.runs))})
    put(tmp_path / "runs" / "a")
    build(tmp_path / "runs", tmp_path / "out", EXPERIMENTS)
    (tmp_path / "out" / "old.html").write_text("")
    build(tmp_path / "runs", tmp_path / "out", EXPERIMENTS)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gallery.txt", "index.html", "results"]


def test_the_command_repeats_the_run():
    configuration = {"seed": 0, "data": "usps", "channels": [8, 16], "turn": 10.0, "dropout": 0.3}
    run = run_of("convnet", configuration=configuration)
    assert command(run, EXPERIMENTS["convnet"]) == "python -m experiments run convnet --data usps --channels 8 16"


def test_figures_stand_only_beside_those_of_the_same_data():
    def figures(**record):
        return {one.figure.name: one.ours for one in compared(run_of("logistic-regression", **record))}

    record = {"costs": {"cost": [0.6931]}, "train_accuracy": 0.99, "test_accuracy": float("nan")}
    assert figures(data="cat", **record) == {"cost at first": 0.6931, "train accuracy": 0.99}
    assert figures(data="breast-cancer", **record) == {}
    data, is_substitute = data_of(run_of("logistic-regression", data="breast-cancer"))
    assert data == DATA_SETS["breast-cancer"] and is_substitute


def test_numbers_as_they_are_shown():
    assert [shown(value, unit) for value, unit in ((0.9761, "%"), (23600006, ""), (2.919e-10, ""), (0.693147, "nats"),
                                                    (None, "%"))] == ["97.61 %", "23,600,006", "2.92e-10",
                                                                      "0.693147 nats", "–"]


def test_the_tables_agree():
    """Every experiment has its facts and its place; every data set and op that a table names exists."""
    mapped = {name for one in ASSIGNMENTS for name in one.experiments}
    assert set(EXPERIMENTS) <= set(FACTS) and mapped <= set(FACTS)
    assert {data for facts in FACTS.values() for data in facts.data.values()} <= set(DATA_SETS)
    assert {op for one in ASSIGNMENTS for op in one.ops} <= set(uses.all_ops())
    assert len({(one.course, one.week) for one in ASSIGNMENTS}) == len(ASSIGNMENTS)
    for one in ASSIGNMENTS:
        assert one.experiments or one.ops
        assert not one.tests or (ROOT / one.tests).is_file()


def test_ops_are_found_from_the_code():
    assert uses.of_layer("Dense") == {"dense"}
    assert uses.of_layer("BatchNorm") == {"batch_norm", "batch_norm_inference"}
    assert {"attention", "dense", "layer_norm"} <= uses.of_layer("TransformerBlock")
    assert "lstm" in uses.of_layer("LSTM") and "gru" not in uses.of_layer("LSTM")
    assert uses.of_experiment(EXPERIMENTS["logistic-regression"]) == {"binary_cross_entropy", "dense"}
    assert "l2_pool" in uses.of_experiment(EXPERIMENTS["face-verification"])  # through a model's helper
    assert {"gru", "lstm", "embedding"} <= uses.of_experiment(EXPERIMENTS["dinosaurus"])


def test_ops_that_a_training_records_are_among_those_found():
    """The static search against the trace of a network that an experiment trains."""
    from experiments.course4 import convnet
    from jaxnn import network

    net = convnet.network_of(convnet.Knobs(channels=(2, 2), hidden=4), 8, 3)
    params, state = net.init(jax.random.key(0), (8, 8, 1))
    _, cache = network(net).forward(params, state, jnp.zeros((8, 8, 1)))
    traced = set(re.findall(r"\b(conv|relu|max_pool|flatten|dense|dropout)\b(?=.*by hand)", str(cache)))
    assert len(traced) >= 5 and traced <= uses.of_experiment(EXPERIMENTS["convnet"])
