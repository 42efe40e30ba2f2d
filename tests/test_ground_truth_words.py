"""The course's word vectors and its Emojify (course 5 week 2), by the library; each case within its own tolerance."""

import os
from pathlib import Path

import numpy as np
import pytest

from experiments.course5.emojify import sentence_to_avg, sentences_to_indices
from jaxnn.data import find_glove
from jaxnn.words import WordVectors, cosine, equalize_as_course, neutralize, read_word_vectors
from tests import course
from tests.test_ground_truth import assert_within

CASES = course.load()
HANDLERS = {}
HAS_GLOVE = Path(os.environ.get("JAXNN_DATA", ""), "c5", "glove.6B.50d.subset.txt").is_file()
pytestmark = pytest.mark.skipif(bool(course.missing()) or not HAS_GLOVE,
                                reason=course.missing() or "GloVe's vectors are not here: set JAXNN_DATA")


def handles(name):
    def register(function):
        HANDLERS[name] = function
        return function

    return register


@pytest.fixture(scope="module")
def glove():
    return read_word_vectors(find_glove(), "glove", dtype=np.float64)


@handles("c5w2.cosine")
def cosines(glove, vectors, pairs):
    return {"father_mother": glove.similarity("father", "mother"),
            "fp_ri": cosine(glove["france"] - glove["paris"], glove["rome"] - glove["italy"])}


@handles("c5w2.gender_similarity")
def gender_similarity(glove, words):
    g = glove["woman"] - glove["man"]
    return [cosine(glove[word], g) for word in words]


@handles("c5w2.equalize")
def equalized(glove, g):
    g = glove["woman"] - glove["man"]
    pair = glove["man"], glove["woman"]
    return {"before": [cosine(e, g) for e in pair], "after": [cosine(e, g) for e in equalize_as_course(*pair, g)]}


@handles("c5w2.sentence_to_avg")
def averages(glove, map, sentences):
    vectors = WordVectors(tuple(map), np.array([np.asarray(v, float) for v in map.values()]))
    return np.stack([sentence_to_avg(text, vectors) for text in sentences])


@handles("c5w2.glove_vector")
def difference(glove):
    return {"woman_minus_man_first8": (glove["woman"] - glove["man"])[:8]}


@handles("c5w2.sentences_to_indices")
def indices(glove, word_to_index, sentences, max_len):
    return sentences_to_indices([str(text) for text in sentences], word_to_index, int(max_len))


@pytest.mark.parametrize("name", list(HANDLERS))
def test_case(name, glove):
    case = CASES[name]
    assert_within(HANDLERS[name](glove, **case["inputs"]), case["expected"], case["tolerance"]["rel_to_max_abs"])


def test_every_case_of_the_week_is_computed():
    assert {name for name in CASES if name.startswith("c5w2.")} == set(HANDLERS)


def test_the_courses_four_analogies(glove):
    """complete_analogy of the notebook, whose method is cos(b - a, d - c), over the words of the subset."""
    asked = {("italy", "italian", "spain"): "spanish", ("india", "delhi", "japan"): "tokyo",
             ("man", "woman", "boy"): "girl", ("small", "smaller", "large"): "larger"}
    for (a, b, c), d in asked.items():
        assert glove.analogy(a, b, c, method="differences")[0][0] == d, (a, b, c)


def test_neutralize(glove):
    """The notebook's word, receptionist, is not in the subset; of one whose cosine it prints nothing is left."""
    g = glove["woman"] - glove["man"]
    assert cosine(glove["engineer"], g) == pytest.approx(-0.0803928049452, abs=1e-10)
    assert abs(cosine(neutralize(glove["engineer"], g), g)) < 1e-15
