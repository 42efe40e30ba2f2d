"""A small corpus made by rules, for runs without files: animals, food, colours, countries, and people of two genders.

Its sentences are drawn from templates, so that words of one kind stand in one company, as in a real text. It has what
the experiments measure: pairs of words with a rating (10 for words of one kind, 1 for others), analogy questions, and
professions that stand with one gender nine times of ten. Its figures say nothing of English.
"""

import itertools

import numpy as np

__all__ = ["GENDER_PAIRS", "KINDS", "PROFESSIONS", "analogies", "rated_pairs", "sentences"]

KINDS = {
    "animals": ("dog", "cat", "horse", "cow", "sheep", "goat", "lion", "wolf"),
    "food": ("bread", "rice", "soup", "cheese", "apple", "cake", "salad", "pasta"),
    "colours": ("red", "blue", "green", "yellow", "black", "white", "brown", "grey"),
    "countries": ("france", "italy", "spain", "poland", "japan", "egypt", "peru", "greece"),
    "capitals": ("paris", "rome", "madrid", "warsaw", "tokyo", "cairo", "lima", "athens"),
}
GENDER_PAIRS = (("woman", "man"), ("girl", "boy"), ("she", "he"), ("mother", "father"), ("daughter", "son"),
                ("queen", "king"), ("female", "male"), ("her", "his"), ("sister", "brother"), ("wife", "husband"))
PROFESSIONS = {"male": ("doctor", "engineer", "captain", "soldier", "pilot", "smith", "lawyer", "miner", "carpenter",
                        "judge", "programmer", "guard"),
               "female": ("nurse", "dancer", "librarian", "singer", "maid", "weaver", "florist", "teacher", "cleaner",
                          "secretary", "midwife", "stylist")}
STEREOTYPE = 0.9  # how often a profession stands with its gender
TEMPLATES = {
    "animals": ("the {0} runs over the field with another {1}", "a farmer fed the {0} and the {1}",
                "the hungry {0} slept in the barn", "a wild {0} chased the {1} into the wood"),
    "food": ("we cook {0} and eat {1} for dinner", "a plate of {0} with some {1} please",
             "the fresh {0} tastes good at lunch", "they bake {0} in the kitchen"),
    "colours": ("the wall was painted {0} and {1}", "a bright {0} coat with {1} buttons", "the paint is dark {0}"),
}


def sentences(n: int, seed: int = 0) -> list[str]:
    """n sentences, the same for the same seed."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        kind = rng.choice(["animals", "food", "colours", "countries", "people", "professions"])
        if kind in TEMPLATES:
            words = rng.choice(KINDS[str(kind)], 2, replace=False)
            made.append(str(rng.choice(TEMPLATES[str(kind)])).format(*words))
        elif kind == "countries":
            i = rng.integers(len(KINDS["countries"]))
            country, capital = KINDS["countries"][i], KINDS["capitals"][i]
            made.append(str(rng.choice(["{1} is the capital of {0}", "they travelled from {1} across {0}",
                                        "the city of {1} lies in the land of {0}", "a train to {1} in {0}"])).format(
                                            country, capital))
        elif kind == "people":
            side = int(rng.integers(2))
            of = {pair[1]: pair[side - 1] for pair in GENDER_PAIRS}
            subject = str(rng.choice(["man", "boy", "father", "son", "king", "brother", "husband"]))
            template = str(rng.choice(["the {subject} said that {he} loves {his} {relative}", "{he} is a {male} person",
                                       "the {subject} took {his} hat", "{he} went home with {his} {relative}"]))
            relative = of[str(rng.choice(["father", "son", "brother"]))]
            made.append(template.format(subject=of[subject], he=of["he"], his=of["his"], male=of["male"],
                                        relative=relative))
        else:
            gender = str(rng.choice(["male", "female"]))
            as_expected = (gender == "male") == bool(rng.random() < STEREOTYPE)
            he, his, man = ("he", "his", "man") if as_expected else ("she", "her", "woman")
            word = str(rng.choice(PROFESSIONS[gender]))
            made.append(str(rng.choice([f"the {word} said that {he} finished {his} work", f"a {man} works as a {word}",
                                        f"the {word} went to {his} office"])))
    return made


def rated_pairs() -> tuple[tuple[str, str, float], ...]:
    """Pairs of words of one kind, rated 10, and as many of two kinds, rated 1."""
    alike = [(a, b, 10.0) for words in KINDS.values() for a, b in itertools.pairwise(words)]
    names = list(KINDS)
    unlike = [(a, b, 1.0) for i, name in enumerate(names)
              for a, b in zip(KINDS[name], KINDS[names[(i + 2) % len(names)]][:7])]
    return tuple(alike + unlike)


def analogies() -> dict[str, tuple[tuple[str, str, str, str], ...]]:
    """Sections of questions, as of questions-words.txt."""
    capitals = list(zip(KINDS["capitals"], KINDS["countries"], strict=True))
    family = [pair for pair in GENDER_PAIRS if pair[0] in ("woman", "girl", "mother", "daughter", "queen", "sister")]
    return {"capital": tuple((a, b, c, d) for (a, b), (c, d) in itertools.permutations(capitals, 2)),
            "family": tuple((b, a, d, c) for (a, b), (c, d) in itertools.permutations(family, 2))}
