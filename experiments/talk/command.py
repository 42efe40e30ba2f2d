"""talk: a conversation with a memory network, about restaurants or about stories.

    python -m experiments talk
    python -m experiments talk --about stories
    printf 'hi\\nmay i have a table in paris\\n' | python -m experiments talk

The first time a network is trained and saved; later the saved one is loaded. It says when it does not know: a word that
it has never read is named, and a response of a low probability is said to be a guess. The conversation ends with the
input, with ':quit' or with Ctrl-C.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.course5.responses import Responder, Training
from experiments.course5.restaurants import CHOICES, WHY
from experiments.shared.run import say
from experiments.talk import restaurants, stories
from jaxnn.checks import InputError
from jaxnn.data import BadFile, MissingData, data_directory

__all__ = ["talk"]

# For each topic: what trains a network, what loads one, the conversation, its first line.
TOPICS: dict[str, tuple[Any, Any, Any, str]] = {
    "restaurants": (restaurants.trained, Responder.load, restaurants.RestaurantTalk, restaurants.GREETING),
    "stories": (stories.trained, stories.Reader.load, stories.StoryTalk, stories.GREETING)}
HELP = "':new' begins anew, ':why' shows what I read, ':restaurants' and ':stories' change the topic, ':quit' ends."
MOST_CHARACTERS = 2000  # of a line


def talk(argv: Sequence[str]) -> int:
    """talk: a conversation at the terminal; `talk --help` shows its options."""
    options = _parser().parse_args(argv)
    try:
        how = _training(options)
        if options.data_dir is not None:
            data_directory(options.data_dir)
        conversation = _conversation(options.about, options, how)
    except (InputError, MissingData, BadFile) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted before a network was trained: nothing was saved", file=sys.stderr)
        return 130
    try:
        return _converse(conversation, options, how)
    except KeyboardInterrupt:
        print("\nGood bye.")
        return 0
    except BrokenPipeError:  # the reader of our output has gone; what is left cannot be printed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _converse(conversation: Any, options: argparse.Namespace, how: Training) -> int:
    say(f"{TOPICS[options.about][3]}\n{HELP}")
    if hasattr(sys.stdin, "reconfigure"):
        sys.stdin.reconfigure(errors="replace")  # bytes that are no text are words that are not known
    is_terminal = sys.stdin.isatty()
    while True:
        if is_terminal:
            print("you: ", end="", flush=True)
        line = sys.stdin.readline()
        if not line:
            say("" if is_terminal else "Good bye.")
            return 0
        line = line.rstrip("\n")
        if not is_terminal:
            say(f"you: {line}")
        word = line.strip().lower()
        if word in (":quit", ":exit", ":q"):
            say("Good bye.")
            return 0
        if word.startswith(":") and word[1:] in TOPICS:
            try:
                conversation = _conversation(word[1:], options, how)
                say(TOPICS[word[1:]][3])
            except (InputError, MissingData, BadFile) as error:
                say(f"I cannot: {error}")
            continue
        for reply in _replies(conversation, line, word):
            say(f"  {reply}")


def _replies(conversation: Any, line: str, word: str) -> list[str]:
    if word == ":new":
        conversation.begin()
        return ["I have forgotten what was said."]
    if word == ":why":
        return list(conversation.why())
    if word.startswith(":"):
        return [HELP]
    if len(line) > MOST_CHARACTERS:
        return [f"That is {len(line):,} characters; I read {MOST_CHARACTERS:,} at most. Say it in fewer."]
    return list(conversation.answer(line))


def _conversation(topic: str, options: argparse.Namespace, how: Training) -> Any:
    """A conversation with the saved network of the topic, or with one that is trained and saved."""
    train, load, conversation, _ = TOPICS[topic]
    directory = options.networks / topic
    if directory.is_dir() and not options.anew:
        network = load(directory)
        say(f"the network of {directory}; --anew trains another")
    else:
        say(f"a network for {topic} is trained, once; that takes minutes at most")
        network = train(options.data, options.data_dir, how)
        try:
            network.save(directory)
            say(f"saved in {directory}")
        except OSError as error:
            say(f"not saved in {directory}: {error.strerror}")
    return conversation(network, options.threshold)


def _training(options: argparse.Namespace) -> Training:
    for name, low, high in (("threshold", 0, 1), ("epochs", 1, 10**6), ("seed", 0, 2**32 - 1)):
        value = getattr(options, name)
        if not low <= value <= high:
            raise InputError(f"--{name}", f"expects a number in {low} .. {high}; got {value}")
    return Training(options.epochs, 64, 0.01, 240.0, options.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m experiments talk", allow_abbrev=False,
                                     description="A conversation with a memory network, about restaurants or stories. "
                                     "In the conversation " + HELP)
    parser.add_argument("--about", choices=tuple(TOPICS), default="restaurants", help="the first topic "
                        "(default: restaurants)")
    parser.add_argument("--networks", type=Path, default=Path("runs", "talk"), metavar="DIR",
                        help="where the networks are saved (default: runs/talk)")
    parser.add_argument("--anew", action="store_true", help="train the networks again, even those that are saved")
    parser.add_argument("--threshold", type=float, default=0.5, metavar="P", help="the probability below which a "
                        "response is said to be a guess, and not made (default: 0.5)")
    parser.add_argument("--data", choices=CHOICES, default="auto", help=f"the dialogs: {WHY} (default: auto)")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="where the data files lie (default: the "
                        "environment variable JAXNN_DATA, else a per-user cache)")
    parser.add_argument("--epochs", type=int, default=12, metavar="N", help="epochs of each training (default: 12)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of each training (default: 0)")
    return parser
