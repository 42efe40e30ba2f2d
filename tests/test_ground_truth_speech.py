"""The course's trigger word (course 5 week 3): each printed number, and the size of its spectrogram and network."""

import numpy as np
import pytest

from jaxnn import audio
from jaxnn.data import MissingData, load_trigger_clips
from tests import course
from tests.test_ground_truth import assert_within

CASES = course.load()
HANDLERS = {}
pytestmark = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


def handles(*ids):
    def register(function):
        HANDLERS.update(dict.fromkeys(ids, function))
        return function

    return register


@handles("c5w3.is_overlapping")
def is_overlapping(cases):
    return [audio.is_overlapping(segment, previous) for segment, previous in cases]


@handles("c5w3.insert_ones")
def insert_ones(segment_ends_ms, Ty):
    y = np.zeros(int(Ty))
    for end in segment_ends_ms:
        y = audio.insert_ones(y, int(end))
    return {"probe_1333_634_635": y[[1333, 634, 635]]}


@handles("c5w3.random_segment")
def random_segment(clip, previous):
    clips = load_trigger_clips(course.data_directory())
    name = clip.split("/")[-1].split(".")[0]
    word = next(recording.samples for recording in clips.activates if recording.name == name)
    return audio.insert_audio_clip(np.random.RandomState(5), clips.backgrounds[1].samples, word,
                                   [tuple(map(int, s)) for s in previous], rate=clips.rate)[1]


@pytest.mark.parametrize("name", list(HANDLERS))
def test_case(name):
    case = CASES[name]
    try:
        found = HANDLERS[name](**case["inputs"])
    except MissingData as missing:
        pytest.skip(f"needs the course's recordings: {missing}")
    assert_within(found, case["expected"], case["tolerance"]["rel_to_max_abs"])


def test_every_case_of_the_week_is_computed():
    """Those of the dates are in tests/test_ground_truth_images_sequences.py and beside the translator."""
    others = {"c5w3.nmt.hard_sigmoid", "c5w3.nmt.sigmoid", "c5w3.dates_dataset"}
    assert {name for name in CASES if name.startswith("c5w3.")} == {*HANDLERS, *others}
