"""Stories, restaurant dialogs and the conversation about them: arrays, short runs, saved networks, what is said."""

import io
import json
import re
import sys
from collections import Counter

import numpy as np
import pytest

from experiments.__main__ import main
from experiments.course5 import babi, restaurants, stories
from experiments.course5.responses import BUCKETS, Responder, Training, batches_of, measured, responder_of, train
from experiments.talk.restaurants import RestaurantTalk, notes_of, plain
from experiments.talk.stories import Reader, StoryTalk
from jaxnn.checks import InputError
from jaxnn.data import MissingData, Turn
from jaxnn.data.dialogs import SILENCE
from tests import course

NEEDS_DATA = pytest.mark.skipif(course.data_directory() is None,
                                reason="the course's data are not here: set JAXNN_DATA")


# Stories.


def test_made_stories_have_one_answer():
    made = stories.made_stories(300, 0)
    assert made == stories.made_stories(300, 0) != stories.made_stories(300, 1)
    assert {q.supporting for q in made} == {(0,), (1,)} and len(set(made)) > 250
    for q in made:
        relations = [re.fullmatch(r"The (\w+) is (\w+) of the (\w+)\.", fact).groups() for fact in q.facts]
        # Each fact, and the same told the other way round.
        known = {*relations, *((b, stories.OPPOSITE[way], a) for a, way, b in relations)}
        if asked := re.fullmatch(r"What is (\w+) of the (\w+)\?", q.question):
            answers = {a for a, way, b in known if (way, b) == asked.groups()}
        else:
            place, way = re.fullmatch(r"What is the (\w+) (\w+) of\?", q.question).groups()
            answers = {b for a, w, b in known if (a, w) == (place, way)}
        assert answers == {q.answer}, q
    with pytest.raises(InputError, match="n, a positive integer; got 0"):
        stories.made_stories(0, 0)


def test_stories_as_arrays():
    made = stories.made_stories(20, 0)
    vocabulary = stories.vocabulary_of(made)
    x, labels = stories.as_arrays(made, vocabulary, 3, 8)
    assert x["facts"].shape == (20, 3, 8) and x["question"].shape == (20, 8) and (x["n_facts"] == 2).all()
    assert vocabulary.decode(x["facts"][0, 1]) == made[0].facts[1].lower().rstrip(".")
    assert [vocabulary.token_of(n) for n in labels] == [q.answer for q in made]
    ids, lengths = stories.as_one_sequence(x)
    told = " ".join([*made[3].facts, made[3].question]).lower().replace(".", "").replace("?", "")
    assert vocabulary.decode(ids[3][:lengths[3]]) == told and not ids[3][lengths[3]:].any()
    with pytest.raises(InputError, match="stories of at most 1 facts; got one of 2"):
        stories.as_arrays(made, vocabulary, 1, 8)
    with pytest.raises(InputError, match="sequences of at most 3 tokens"):
        stories.as_arrays(made, vocabulary, 2, 3)


@pytest.mark.exhaustive
def test_babi_in_short(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stories, "MADE", 20)
    all_networks = babi.networks
    monkeypatch.setattr(babi, "networks", lambda *args: [all_networks(*args)[i] for i in (0, 3)])
    options = ["--steps", "2", "--trials", "1", "--embedding", "4", "--hidden", "4", "--data-dir", str(tmp_path)]
    assert main(["run", "babi", *options, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["data"] == "made" and 0 <= record["test_accuracy"] <= 1
    assert capsys.readouterr().out.startswith("stories made here in place of bAbI:\n  c5/qa_babi/train.jsonl was")
    assert record["pictures"] == ["attention.png", "training.png"]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in record["pictures"])
    assert main(["run", "babi", "--data", "babi", "--data-dir", str(tmp_path), "--out", str(tmp_path / "b")]) == 2
    assert "c5/qa_babi/train.jsonl" in capsys.readouterr().err


# Restaurants.


@pytest.fixture(scope="module")
def dialogs():
    return restaurants.made_dialogs(6, 0)


@pytest.fixture(scope="module")
def responder(dialogs):
    """A network of a short training."""
    untrained = responder_of(dialogs, 4, 2, match=True)
    trained, measures = train(untrained, dialogs, Training(2, 8, 0.01, 60.0, 0), "made")
    assert len(measures["dev"]) == 2 and np.isfinite(measures["costs"]["cost"]).all()
    trained.notes = notes_of(dialogs)
    return trained


def test_made_dialogs(dialogs):
    words = {part: {w for d in getattr(dialogs, part) for turn in d for w in f"{turn.user} {turn.response}".split()}
             for part in ("train", "test_oov")}
    assert words["test_oov"] & {"thai", "korean", "tokyo", "seoul"} and not words["train"] & {"thai", "tokyo"}
    assert {turn.response for part in dialogs[:4] for d in part for turn in d} <= set(dialogs.candidates)
    assert dialogs == restaurants.made_dialogs(6, 0)


def test_what_a_network_reads_of_a_dialog(dialogs):
    dialog = (Turn((), "hi", "i'm on it"), Turn(("a R_price cheap",), SILENCE, "where should it be"))
    texts = dialogs._replace(train=(dialog,))
    vocabulary = restaurants.vocabulary_of(texts)
    examples = restaurants.as_examples([dialog], dialogs.candidates, vocabulary, 6)
    read = [[" ".join(map(vocabulary.token_of, row[row != 0])) for row in examples.texts[facts]]
            for facts in examples.facts]
    assert read == [[], ["<user> hi", "<system> i'm on it", "<knowledge> a R_price cheap"]]
    assert [vocabulary.decode(examples.texts[q]) for q in examples.questions] == ["hi", SILENCE]
    assert [dialogs.candidates[n] for n in examples.labels] == ["i'm on it", "where should it be"]
    assert restaurants.most_words([dialog]) == 5
    # As a conversation has it.
    assert restaurants.memory_of(dialog[:1], dialog[1].facts) == read[1]


def test_entities(dialogs):
    vocabulary = restaurants.vocabulary_of(dialogs)
    texts = ["api_call thai paris two cheap", "i'm on it"]
    found = restaurants.entities_of(texts, dialogs, vocabulary)
    names = [[vocabulary.token_of(n) if n else "" for n in row] for row in found]
    assert names == [["thai", "paris", "cheap", "", "", "", "two"], [""] * 7]


@pytest.mark.exhaustive
def test_batches_have_every_turn_once(dialogs, responder):
    examples = restaurants.as_examples(dialogs.train, dialogs.candidates, responder.vocabulary, 20)
    counts = Counter()
    for x, labels, rows, n in batches_of(examples, 4, seed=1):
        assert x["facts"].shape[1] in BUCKETS and len(labels) == len(rows) == 4 and x["n_facts"].max() <= BUCKETS[-1]
        np.testing.assert_array_equal(labels, examples.labels[rows])
        for facts, k, row in zip(x["facts"], x["n_facts"], rows, strict=True):
            np.testing.assert_array_equal(facts[:k], examples.texts[examples.facts[row]])
            assert not facts[k:].any()
        counts.update(rows[:n].tolist())
    assert counts == Counter(range(len(examples.labels)))
    long = examples._replace(facts=[np.zeros(BUCKETS[-1] + 1, int)] * len(examples.labels))
    with pytest.raises(InputError, match=r"at most 192 facts; got one of 193; begin a new dialog"):
        next(batches_of(long, 4))


def test_what_is_right_is_counted(dialogs, responder, monkeypatch):
    examples = restaurants.as_examples(dialogs.train, dialogs.candidates, responder.vocabulary, 20)
    chosen = examples.labels.copy()
    chosen[examples.dialogs == 2] = 0
    wrong = int(np.sum(chosen != examples.labels))
    monkeypatch.setattr(responder, "chosen", lambda *_: chosen)
    found = measured(responder, examples)
    assert found.responses == 1 - wrong / len(chosen) and found.dialogs == 5 / 6


def test_a_saved_network_responds_as_before(dialogs, responder, tmp_path):
    responder.save(tmp_path)
    loaded = Responder.load(tmp_path)
    turns, user = dialogs.train[0][:2], dialogs.train[0][2].user
    for a, b in zip(responder.respond(turns, (), user), loaded.respond(turns, (), user), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.notes == responder.notes
    assert loaded.respond((), (), "hello")[1].shape == (2, 0), "no fact: nothing is read"
    leaf = max((tmp_path / "params").rglob("*.bin"))
    leaf.write_bytes(leaf.read_bytes()[:-1])
    with pytest.raises(InputError, match="a network that was saved there"):
        Responder.load(tmp_path)
    with pytest.raises(InputError, match="a network that was saved there"):
        Responder.load(tmp_path / "none")


@pytest.mark.exhaustive
def test_dialog_in_short(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(restaurants, "MADE", 3)
    options = ["--epochs", "1", "--embedding", "4", "--hops", "1", "--features", "match", "--data-dir", str(tmp_path)]
    assert main(["run", "dialog", *options, "--out", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "metrics.json").read_text())
    assert record["data"] == "made" and set(record["tasks"]) == {"task 1"}
    assert 0 <= record["tasks"]["task 1"]["match"]["test_oov"]["responses"] <= 1
    assert "dialogs made here, of task 1 alone, in place of dialog bAbI:\n  c5/dialog/" in capsys.readouterr().out
    assert record["pictures"] == ["accuracy.png", "attention.png", "training.png"]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in record["pictures"])
    with pytest.raises(MissingData):
        restaurants.load_restaurants("babi", 1, tmp_path, 0)


# The conversation.


class Fixed:
    """In place of a network: the responses in order, each with its probability."""

    candidates = ("hello", "i'm on it", "api_call thai paris two cheap", "here it is resto_a_phone")

    def __init__(self, *responses, notes=None):
        self.responses, self.heard, self.given = list(responses), [], []
        values = dict(zip(restaurants.PROPERTIES, ("thai", "paris", "cheap", "3", "a_phone", "a_street", "four"),
                          strict=True))
        self.notes = notes or {"knowledge": {"resto_a": values, "resto_b": values | {"R_cuisine": "korean"}},
                               "goes_on": ["i'm on it", "api_call"], "read": ["hi", "a", "table", SILENCE, "cheap"]}

    def respond(self, turns, facts, user):
        self.heard.append(user)
        self.given.append(list(facts))
        number, p = self.responses.pop(0)
        n = sum(len(turn.facts) + 2 for turn in turns) + len(facts)
        return np.eye(4)[number] * p + (1 - p) / 4, np.full((1, n), 1 / max(n, 1))


def test_the_system_goes_on_and_asks_the_knowledge_base():
    fixed = Fixed((0, 0.9), (1, 0.9), (2, 0.9), (3, 0.9))
    conversation = RestaurantTalk(fixed, 0.5)
    assert conversation.answer("Hi!") == ["hello"]
    assert conversation.answer("A table") == [
        "i'm on it", "[the knowledge base is asked for thai, paris, two, cheap: 1 restaurant]",
        "here it is resto_a_phone"]
    assert fixed.heard == ["hi", "a table", SILENCE, SILENCE]
    assert fixed.given[3][1] == "resto_a R_cuisine thai" and "resto_a R_number two" in fixed.given[3]
    assert len(fixed.given[3]) == 7 and len(conversation.turns) == 4
    lines = conversation.why()
    assert lines[0].startswith("I chose from: here it is resto_a_phone (92 %)") and "hop 1 read" in lines[1]
    conversation.begin()
    assert conversation.turns == [] and conversation.why() == ["I have not responded yet."]


def test_it_says_what_it_does_not_know():
    fixed = Fixed((0, 0.3), (0, 0.9))
    conversation = RestaurantTalk(fixed, 0.5)
    (line,) = conversation.answer("hi")
    assert line.startswith("I do not know what to say to that: my best guess, 'hello', has a probability of 48 % only.")
    assert conversation.turns == [], "what was not said is not remembered"
    assert conversation.answer("hi sushi") == [
        "I do not know the word 'sushi': no dialog that I learnt from has it. Please say it in other words."]
    assert conversation.answer("sushi tomorrow, sushi!") == [
        "I do not know the words 'sushi', 'tomorrow': no dialog that I learnt from has them. Please say it in other "
        "words."]
    assert conversation.answer("hi") == ["hello"]
    assert conversation.answer("?!") == ["I read no word in that."]
    assert "65 words; I follow 64 at most" in conversation.answer("hi " * 65)[0]
    assert len(fixed.heard) == 2


def test_utterances_are_written_as_the_dialogs_are():
    assert plain("  I’d like a TABLE, please: 'cheap' (for two)!") == "i'd like a table please cheap for two"


def test_notes_of_a_conversation(dialogs):
    notes = notes_of(dialogs)
    assert "ok let me look into some options for you" in notes["goes_on"]
    assert "where should it be" not in notes["goes_on"]
    assert "hi" in notes["read"] and "tokyo" not in notes["read"], "a word of the knowledge base alone is not read"


class OneAnswer(Reader):
    """In place of a network: the first word of the answers."""

    probability = 0.9

    def answer(self, facts, question):
        return self.answers[0], self.probability, np.eye(2)[[0]][:, :len(facts)]


def test_facts_and_questions():
    made = stories.made_stories(50, 0)
    reader = OneAnswer(None, stories.vocabulary_of(made), sorted({q.answer for q in made}), 2, 7)
    conversation = StoryTalk(reader, 0.5)
    assert conversation.answer("What is north of the kitchen?") == ["I know no fact yet. Tell me one first."]
    assert conversation.answer(" ") == ["Tell me a fact, or ask a question."]
    assert conversation.answer("The office is north of the kitchen.") == ["I see."]
    assert conversation.answer("What is north of the kitchen?") == [
        "bathroom (90 %), by 'The office is north of the kitchen.'"]
    assert conversation.why() == ["hop 1 read: 'The office is north of the kitchen.' (100 %)"]
    assert conversation.answer("The cellar is north of the attic.") == [
        "I do not know the words 'cellar', 'attic', so I can do nothing with that."]
    assert conversation.answer("What is north of the garden?") == ["I do not know: no fact names the garden."]
    assert conversation.answer("The garden is east of the office") == ["I see."]
    assert conversation.answer("The hallway is west of the garden.")[0].endswith("forget 'The office is north of the "
                                                                                  "kitchen.'.")
    reader.probability = 0.2
    assert conversation.answer("what is east of the garden") == [
        "I do not know: my best guess, 'bathroom', has a probability of 20 % only."]
    assert conversation.answer("the " * 8)[0].startswith("That is 8 words; I follow 7 at most.")
    conversation.begin()
    assert conversation.facts == [] and conversation.why() == ["I have not answered yet."]


@pytest.mark.exhaustive
def test_a_conversation_by_a_pipe(responder, tmp_path, monkeypatch, capsys):
    """Of saved networks, to the end of the input; another topic; what is no text; Ctrl-C."""
    responder.save(tmp_path / "restaurants")
    monkeypatch.setattr(stories, "MADE", 20)
    typed = (b"hi\n:why\n:stories\nThe office is north of the kitchen.\nWhat is north of the kitchen?\n:help\n\xff\n"
             b":new\n")
    argv = ["talk", "--data", "made", "--epochs", "1", "--threshold", "0", "--networks", str(tmp_path)]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"the network of {tmp_path / 'restaurants'}; --anew trains another"
    assert lines[-1] == "Good bye." and "  I have forgotten what was said." in lines
    answer = lines[lines.index("you: What is north of the kitchen?") + 1]
    assert re.fullmatch(r"  \S+ \(\d+ %\), by 'The office is north of the kitchen.'", answer)
    loaded = Reader.load(tmp_path / "stories")
    assert loaded.n_facts == 2 and set(loaded.answers) <= set(stories.PLACES)

    class Interrupted(io.StringIO):
        def readline(self, *_):
            raise KeyboardInterrupt

    monkeypatch.setattr(sys, "stdin", Interrupted())
    assert main(argv) == 0 and capsys.readouterr().out.endswith("\nGood bye.\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO(":quit\nhi\n"))
    assert main(argv) == 0 and "you: hi" not in capsys.readouterr().out


@pytest.mark.parametrize(("options", "message"), [
    (["--threshold", "1.5"], "--threshold expects a number in 0 .. 1; got 1.5"),
    (["--threshold", "nan"], "--threshold expects a number in 0 .. 1; got nan"),
    (["--epochs", "0"], "--epochs expects a number in 1 .."),
    (["--data-dir", "/nowhere"], "expects an existing directory at /nowhere"),
])
def test_refused_conversations(capsys, tmp_path, options, message):
    assert main(["talk", "--networks", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


def test_no_network_is_loaded_from_another_place(capsys, tmp_path):
    (tmp_path / "restaurants").mkdir()
    assert main(["talk", "--networks", str(tmp_path)]) == 2
    assert "a network that was saved there; got" in capsys.readouterr().err
