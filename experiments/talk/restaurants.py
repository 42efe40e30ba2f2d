"""Booking a table by conversation: the network chooses each response, and the knowledge base is asked as it calls."""

import re
from collections import Counter, defaultdict
from typing import Any

from experiments.course5.responses import Responder, Training, responder_of, train
from experiments.course5.restaurants import load_restaurants
from jaxnn.checks import InputError
from jaxnn.data import RestaurantDialogs, Turn
from jaxnn.data.dialogs import SILENCE

__all__ = ["GREETING", "RestaurantTalk", "trained"]

GREETING = ("I book tables. Say what you would like to eat, where, for how many people and at what price; an empty "
            "line lets me go on.")
ORDER = ("R_phone", "R_cuisine", "R_address", "R_location", "R_number", "R_price", "R_rating")  # as in the dialogs
CALL = ("R_cuisine", "R_location", "R_number", "R_price")  # the words behind api_call
TASK = 5  # whole dialogs
EMBEDDING, HOPS = 32, 3
ON_MY_OWN = 6  # responses in a row without a word of the user
MOST_WORDS = 64  # of an utterance; the longest that was trained has 19


def trained(data: str, data_dir: Any, how: Training) -> Responder:
    """A network that is trained on whole dialogs, or on those made here, with notes of what a conversation needs."""
    _, dialogs = load_restaurants(data, TASK, data_dir, how.seed)
    responder, _ = train(responder_of(dialogs, EMBEDDING, HOPS, match=False), dialogs, how, "restaurants")
    responder.notes = notes_of(dialogs)
    return responder


def notes_of(dialogs: RestaurantDialogs) -> dict[str, Any]:
    """{"knowledge": as of the dialogs, "goes_on": the responses behind which the system goes on by itself, "read": the
    words that a training dialog has}."""
    followers: dict[str, Counter] = defaultdict(Counter)
    read: set[str] = set()
    for dialog in dialogs.train:
        for turn, following in zip(dialog, (*dialog[1:], None), strict=True):
            read.update(word for text in (*turn.facts, turn.user, turn.response) for word in text.split())
            if following is not None:
                followers[_kind(turn.response)][following.user == SILENCE] += 1
    goes_on = sorted(kind for kind, counts in followers.items() if counts[True] > 9 * counts[False])
    return {"knowledge": dialogs.knowledge, "goes_on": goes_on, "read": sorted(read)}


class RestaurantTalk:
    """One conversation at a time. `answer(line)` gives the lines to be printed."""

    def __init__(self, responder: Responder, threshold: float):
        self.responder, self.threshold = responder, threshold
        self.read, self.goes_on = set(responder.notes["read"]), set(responder.notes["goes_on"])
        self.begin()

    def begin(self) -> None:
        """Forgets the conversation."""
        self.turns: list[Turn] = []
        self.facts: list[str] = []
        self.last_reading: tuple[Any, Any, list[str]] | None = None

    def answer(self, line: str) -> list[str]:
        user = plain(line)
        if line.strip() and not user:
            return ["I read no word in that."]
        user = user or SILENCE
        words = user.split()
        if len(words) > MOST_WORDS:
            return [f"That is {len(words)} words; I follow {MOST_WORDS} at most. Say it in fewer."]
        unknown = [word for word in dict.fromkeys(words) if word not in self.read]
        if unknown:  # a guess from the other words would book what nobody asked for
            return [f"I do not know {'the word' if len(unknown) == 1 else 'the words'} "
                    f"{', '.join(map(repr, unknown))}: no dialog that I learnt from has "
                    f"{'it' if len(unknown) == 1 else 'them'}. Please say it in other words."]
        return self._go_on(user)

    def why(self) -> list[str]:
        """What the last response was chosen from, and what was read for it."""
        if self.last_reading is None:
            return ["I have not responded yet."]
        p, weights, memory = self.last_reading
        best = p.argsort()[::-1][:3]
        lines = ["I chose from: " + "; ".join(f"{self.responder.candidates[i]} ({_percent(p[i])})" for i in best)]
        for hop, row in enumerate(weights, 1):
            if row.size:
                most = row.argsort()[::-1][:2]
                lines.append(f"hop {hop} read: " + "; ".join(f"{memory[i]!r} ({_percent(row[i])})" for i in most))
        return lines

    def _go_on(self, user: str) -> list[str]:
        """Responds, and goes on where the dialogs do without a word of the user."""
        lines: list[str] = []
        for _ in range(ON_MY_OWN):
            try:
                p, weights = self.responder.respond(self.turns, self.facts, user)
            except InputError:
                return [*lines, "This conversation is longer than I can follow; ':new' begins another."]
            memory = [text for turn in self.turns for text in (*turn.facts, turn.user, turn.response)] + self.facts
            self.last_reading = p, weights, memory
            response, probability = self.responder.candidates[int(p.argmax())], float(p.max())
            if probability < self.threshold:
                return [*lines, f"I do not know what to say to that: my best guess, {response!r}, has a probability of "
                        f"{_percent(probability)} only. Please say it in other words."]
            self.turns.append(Turn(tuple(self.facts), user, response))
            self.facts = []
            if response.startswith("api_call"):
                lines.append(self._call(response.split()[1:]))
            else:
                lines.append(response)
            if _kind(response) not in self.goes_on:
                break
            user = SILENCE
        return lines

    def _call(self, words: list[str]) -> str:
        """Asks the knowledge base for cuisine, place, number and price; what it has are facts of the next turn."""
        conditions = dict(zip(CALL, words, strict=True))
        number = conditions.pop("R_number")
        found = {name: values for name, values in self.responder.notes["knowledge"].items()
                 if all(values[key] == word for key, word in conditions.items())}
        for name, values in found.items():
            # The number of people is the one that is asked for: every restaurant has a table.
            self.facts += [f"{name} {key} {values[key] if key != 'R_number' else number}" for key in ORDER]
        return (f"[the knowledge base is asked for {', '.join(words)}: {len(found) or 'no'} "
                f"{'restaurant' if len(found) == 1 else 'restaurants'}]")


def plain(line: str) -> str:
    """A line as the dialogs are written: in small letters, without punctuation, but for the apostrophe in a word."""
    text = re.sub(r"[^\w'\s-]", " ", line.lower().replace("’", "'"))
    return " ".join(word for part in text.split() if (word := part.strip("'-")))


def _kind(response: str) -> str:
    """A response without what is of one restaurant alone."""
    words = response.split()
    return words[0] if words[0] == "api_call" else " ".join(w for w in words if not w.startswith("resto_"))


def _percent(p: float) -> str:
    return f"{100 * p:.0f} %"
