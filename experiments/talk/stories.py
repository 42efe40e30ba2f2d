"""Facts told at the terminal, and questions about them: answered by attention over the facts."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from experiments.course5.responses import Training
from experiments.course5.stories import as_arrays, load_stories, vocabulary_of
from experiments.shared.run import percent, say
from jaxnn import softmax, softmax_cross_entropy
from jaxnn.checks import InputError
from jaxnn.data import Batches, Question
from jaxnn.data.babi import words_of
from jaxnn.models import memory_network
from jaxnn.text import WordVocabulary, load_vocabulary
from jaxnn.training import BadCheckpoint, evaluate, fit, load, make_step, save, start

__all__ = ["GREETING", "Reader", "StoryTalk", "trained"]

GREETING = "Tell me facts, such as 'The office is north of the kitchen.', and ask: 'What is north of the kitchen?'"
EMBEDDING, HOPS, RATE = 64, 2, 0.03  # as of the experiment babi
ASKING = ("what", "where", "who", "which", "is", "how", "why", "when")


class Reader:
    """A memory network with its words, the words that are answers, and how many facts and words it was trained on."""

    def __init__(self, params: Any, vocabulary: WordVocabulary, answers: list[str], n_facts: int, n_words: int):
        self.params, self.vocabulary, self.answers = params, vocabulary, answers
        self.n_facts, self.n_words = n_facts, n_words
        self.net = memory_network(vocabulary.size, EMBEDDING, HOPS, most_facts=n_facts)
        self._program = jax.jit(self.net.aligned)

    def answer(self, facts: list[str], question: str) -> tuple[str, float, np.ndarray]:
        """(the word that is the answer, its probability, weights (hops, facts))."""
        x, _ = as_arrays([Question(tuple(facts), question, self.answers[0], ())], self.vocabulary, self.n_facts,
                         self.n_words)
        logits, weights = self._program(self.params, jax.tree.map(lambda a: a[0], x))
        p = np.asarray(softmax(logits))
        return self.vocabulary.token_of(int(p.argmax())), float(p.max()), np.asarray(weights)[:, :len(facts)]

    def save(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.vocabulary.save(directory / "vocabulary.json")
        save(directory / "params", 0, self.params, extra={"answers": self.answers, "n_facts": self.n_facts,
                                                          "n_words": self.n_words})

    @classmethod
    def load(cls, directory: Path) -> "Reader":
        """Of what `save` has written.

        Raises:
          InputError: there is none, or the files are damaged.
        """
        try:
            vocabulary: Any = load_vocabulary(directory / "vocabulary.json")
            made = load(directory / "params", other_versions=True).extra
            found = cls(None, vocabulary, made["answers"], made["n_facts"], made["n_words"])
            shapes = jax.eval_shape(lambda: found.net.init(jax.random.key(0), _inputs(found)))[0]
            found.params = load(directory / "params", shapes, other_versions=True).tree
        except (BadCheckpoint, OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(str(directory), f"expects a network that was saved there; got {error}; train one anew"
                             ) from error
        return found


def trained(data: str, data_dir: Any, how: Training) -> Reader:
    """A network that is trained on bAbI, or on stories made here."""
    stories = load_stories(data, data_dir, how.seed)
    both = (*stories.train, *stories.test)
    reader = Reader(None, vocabulary_of(stories.train), sorted({q.answer for q in stories.train}),
                    max(len(q.facts) for q in both),
                    max(len(words_of(text)) for q in both for text in (*q.facts, q.question)))
    x, labels = as_arrays(stories.train, reader.vocabulary, reader.n_facts, reader.n_words)
    test_x, test_labels = as_arrays(stories.test, reader.vocabulary, reader.n_facts, reader.n_words)
    batches = Batches(x, labels, min(how.batch_size, len(labels)), seed=how.seed)
    steps = batches.steps(8 * how.epochs)  # the stories are few and short: eight times as many epochs as of dialogs
    optimizer = optax.adamw(optax.cosine_decay_schedule(RATE, steps), weight_decay=0.1)
    train_state, _ = fit(start(reader.net, optimizer, _inputs(reader), jax.random.key(how.seed)),
                         make_step(reader.net, softmax_cross_entropy, optimizer), batches, steps=steps, every=steps,
                         progress=False)
    reader.params = train_state.params
    right = np.asarray(evaluate(reader.net, reader.params, {}, test_x)).argmax(-1) == test_labels
    say(f"stories: {steps:,} steps, {percent(right.mean())} of the test questions")
    return reader


class StoryTalk:
    """Facts so far, and answers. `answer(line)` gives the lines to be printed."""

    def __init__(self, reader: Reader, threshold: float):
        self.reader, self.threshold = reader, threshold
        self.words = set(reader.vocabulary.tokens)
        self.begin()

    def begin(self) -> None:
        """Forgets the facts."""
        self.facts: list[str] = []
        self.last_reading: np.ndarray | None = None

    def answer(self, line: str) -> list[str]:
        words = words_of(line)
        if not words:
            return ["Tell me a fact, or ask a question."]
        unknown = [word for word in dict.fromkeys(words) if word not in self.words]
        if unknown:
            return [f"I do not know {'the word' if len(unknown) == 1 else 'the words'} "
                    f"{', '.join(map(repr, unknown))}, so I can do nothing with that."]
        if len(words) > self.reader.n_words:
            return [f"That is {len(words)} words; I follow {self.reader.n_words} at most. Say it in fewer."]
        is_question = line.rstrip().endswith("?") or words[0] in ASKING
        return self._answer_question(line, words) if is_question else self._take_fact(line)

    def why(self) -> list[str]:
        """How much each hop read each fact for the last answer."""
        if self.last_reading is None:
            return ["I have not answered yet."]
        return [f"hop {hop} read: " + "; ".join(f"{fact!r} ({100 * weight:.0f} %)" for fact, weight in zip(
            self.facts, row, strict=True)) for hop, row in enumerate(self.last_reading, 1)]

    def _take_fact(self, line: str) -> list[str]:
        self.last_reading = None
        self.facts.append(line.strip())
        if len(self.facts) <= self.reader.n_facts:
            return ["I see."]
        forgotten = self.facts.pop(0)
        return [f"I see. I learnt with {self.reader.n_facts} facts at a time, so I forget {forgotten!r}."]

    def _answer_question(self, line: str, words: list[str]) -> list[str]:
        if not self.facts:
            return ["I know no fact yet. Tell me one first."]
        named = {word for fact in self.facts for word in words_of(fact)}
        missing = [word for word in words if word in self.reader.answers and word not in named]
        if missing:
            return [f"I do not know: no fact names the {' or the '.join(missing)}."]
        answer, p, self.last_reading = self.reader.answer(self.facts, line)
        if p < self.threshold:
            return [f"I do not know: my best guess, {answer!r}, has a probability of {100 * p:.0f} % only."]
        return [f"{answer} ({100 * p:.0f} %), by {self.facts[int(self.last_reading[-1].argmax())]!r}"]


def _inputs(reader: Reader) -> dict[str, tuple[int, ...]]:
    return {"facts": (reader.n_facts, reader.n_words), "n_facts": (), "question": (reader.n_words,)}
