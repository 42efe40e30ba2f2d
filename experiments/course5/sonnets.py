"""Texts for a language model of characters: the course's file of all of Shakespeare's sonnets, and four that need none;
the same as parts that follow one another; and what a model that only counts can predict.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.checks import InputError
from jaxnn.data.directory import find
from jaxnn.text import CharacterVocabulary, read_text_lines

__all__ = ["FOUR", "Text", "as_text", "batches", "counting_bits", "load_sonnets"]

# Sonnets 18, 29, 73 and 116 of 1609, in today's spelling; in the public domain.
FOUR = """\
Shall I compare thee to a summer's day?
Thou art more lovely and more temperate:
Rough winds do shake the darling buds of May,
And summer's lease hath all too short a date:
Sometime too hot the eye of heaven shines,
And often is his gold complexion dimm'd;
And every fair from fair sometime declines,
By chance, or nature's changing course, untrimm'd;
But thy eternal summer shall not fade,
Nor lose possession of that fair thou ow'st;
Nor shall Death brag thou wander'st in his shade,
When in eternal lines to time thou grow'st:
So long as men can breathe, or eyes can see,
So long lives this, and this gives life to thee.

When, in disgrace with fortune and men's eyes,
I all alone beweep my outcast state,
And trouble deaf heaven with my bootless cries,
And look upon myself, and curse my fate,
Wishing me like to one more rich in hope,
Featured like him, like him with friends possess'd,
Desiring this man's art and that man's scope,
With what I most enjoy contented least;
Yet in these thoughts myself almost despising,
Haply I think on thee, and then my state,
Like to the lark at break of day arising
From sullen earth, sings hymns at heaven's gate;
For thy sweet love remember'd such wealth brings
That then I scorn to change my state with kings.

That time of year thou mayst in me behold
When yellow leaves, or none, or few, do hang
Upon those boughs which shake against the cold,
Bare ruin'd choirs, where late the sweet birds sang.
In me thou see'st the twilight of such day
As after sunset fadeth in the west,
Which by and by black night doth take away,
Death's second self, that seals up all in rest.
In me thou see'st the glowing of such fire
That on the ashes of his youth doth lie,
As the death-bed whereon it must expire,
Consumed with that which it was nourish'd by.
This thou perceiv'st, which makes thy love more strong,
To love that well which thou must leave ere long.

Let me not to the marriage of true minds
Admit impediments. Love is not love
Which alters when it alteration finds,
Or bends with the remover to remove:
O no! it is an ever-fixed mark
That looks on tempests and is never shaken;
It is the star to every wandering bark,
Whose worth's unknown, although his height be taken.
Love's not Time's fool, though rosy lips and cheeks
Within his bending sickle's compass come:
Love alters not with his brief hours and weeks,
But bears it out even to the edge of doom.
If this be error and upon me proved,
I never writ, nor no man ever loved.
"""


class Text(NamedTuple):
    """A text as numbers, int32: its first eight tenths, the next tenth, the last. The vocabulary is that of all."""

    vocabulary: CharacterVocabulary
    train: np.ndarray
    dev: np.ndarray
    test: np.ndarray


def load_sonnets(directory: Path | None = None, *, stripped: bool = True) -> str:
    """The course's shakespeare.txt, each line with an end.

    Args:
      stripped: without the white space at the ends of its lines.
    Raises:
      MissingData: the file is not there.
      BadFile: the file is empty or not UTF-8.
    """
    path = find("c5/shakespeare.txt", directory, how_to_get="get shakespeare.txt from the assignment Character level "
                "language model of course 5, week 1", instead="--data four")
    return "".join(f"{line.rstrip() if stripped else line}\n" for line in read_text_lines(path))


def as_text(text: str, least: int) -> Text:
    """least: characters that each part needs.

    Raises:
      InputError: the text is shorter than that.
    """
    if len(text) // 10 < least:
        raise InputError("as_text", f"expects a text of at least {10 * least} characters, a tenth of which is one "
                         f"window; got {len(text)}; take a longer text or a shorter window")
    vocabulary = CharacterVocabulary.of([text])
    ids = vocabulary.encode(text)
    first, second = len(ids) * 8 // 10, len(ids) * 9 // 10
    return Text(vocabulary, ids[:first], ids[first:second], ids[second:])


def batches(ids: np.ndarray, window: int, n: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Without end, n windows drawn from all places: (characters (n, window), those that follow each)."""
    rng = np.random.default_rng(seed)
    while True:
        places = rng.integers(len(ids) - window, size=(n, 1)) + np.arange(window + 1)
        drawn = ids[places]
        yield drawn[:, :-1], drawn[:, 1:]


def counting_bits(train: np.ndarray, held_out: np.ndarray, order: int, size: int) -> float:
    """Bits per character of held-out text by what followed the last `order` characters in training, mixed with what
    followed fewer of them. With N times that a context came, and T characters that ever followed it (Witten & Bell),

        p_k(c | context) = (count(c) + T p_{k-1}(c | context without its first)) / (N + T)        p_{-1} = 1 / size
    """
    counts: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    known = train.tolist()
    for place, character in enumerate(known):
        for k in range(min(order, place) + 1):
            counts[tuple(known[place - k:place])][character] += 1
    text, bits = known[-order:] if order else [], 0.0
    for character in held_out.tolist():
        p = 1 / size
        for k in range(order + 1):
            found = counts.get(tuple(text[len(text) - k:]))
            if found is None:
                break
            p = (found[character] + len(found) * p) / (found.total() + len(found))
        bits -= math.log2(p)
        text.append(character)
    return bits / len(held_out)
