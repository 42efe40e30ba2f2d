"""Notes, piano rolls and sound: inverse of each other where they can be, and by their frequencies and levels."""


import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.music import (
    END_OF_TRACK,
    ChannelEvent,
    MetaEvent,
    Midi,
    Note,
    in_seconds,
    metres_of,
    midi_of,
    notes_of,
    notes_of_roll,
    piano_roll,
    render,
    tempos_of,
)
from jaxnn.music.events import METRE, TEMPO


def track(*events):
    return (*events, MetaEvent(events[-1].ticks, END_OF_TRACK))


def on(ticks, key, velocity=64, channel=0):
    return ChannelEvent(ticks, "note_on", channel, (key, velocity))


def test_notes_are_the_notes_of_a_file():
    notes = [Note(0.0, 1.5, 60, 80, 0), Note(1.0, 2.0, 64, 1, 3), Note(1.5, 2.0, 60, 127, 0)]
    midi = midi_of(notes, beats_per_minute=90, metre=(6, 8), programs={3: 56})
    assert notes_of(midi) == notes
    assert tempos_of(midi) == [(0.0, 666_667)] and metres_of(midi) == [(0.0, (6, 8))]
    assert ChannelEvent(0, "program", 3, (56,)) in midi.tracks[2]
    assert notes_of(midi, track=2) == [notes[1]]


def test_which_end_belongs_to_which_beginning():
    """First begun, first ended; velocity 0 ends a note; an end without a beginning means nothing; channels differ."""
    events = track(on(0, 60, 10), on(96, 60, 20), on(100, 60, 5, channel=1), on(192, 60, 0),
                   ChannelEvent(200, "note_off", 1, (60, 99)), ChannelEvent(288, "note_off", 0, (60, 0)),
                   ChannelEvent(300, "note_off", 0, (61, 0)))
    assert notes_of(Midi(0, 96, (events,))) == [
        Note(0.0, 2.0, 60, 10, 0), Note(1.0, 3.0, 60, 20, 0), Note(100 / 96, 200 / 96, 60, 5, 1)]
    with pytest.raises(InputError, match="got none for key 60 of channel 0 that begins at quarter note 1; add"):
        notes_of(Midi(0, 96, (track(on(96, 60)),)))
    with pytest.raises(InputError, match=r"notes_of expects track in 0 \.\. 0, or None for all; got 1"):
        notes_of(Midi(0, 96, (events,)), 1)


def test_changes_of_tempo_and_metre():
    events = track(MetaEvent(0, TEMPO, (10**6).to_bytes(3)), MetaEvent(192, TEMPO, (5 * 10**5).to_bytes(3)),
                   MetaEvent(192, METRE, b"\x03\x03\x18\x08"))
    midi = Midi(0, 96, (events,))
    assert tempos_of(midi) == [(0, 10**6), (2, 5 * 10**5)] and metres_of(midi) == [(0, (4, 4)), (2, (3, 8))]
    assert [(n.start, n.end) for n in in_seconds([Note(1, 3, 60), Note(2, 4, 60)], tempos_of(midi))] == [
        (1, 2.5), (2, 3)]
    with pytest.raises(InputError, match="in_seconds expects tempos by time, the first at 0"):
        in_seconds([], [(1, 500_000)])


def test_as_many_tempos_as_notes_take_no_longer_than_their_sum():
    """A file of 100 KB has so many; looking through all tempos for each note would take minutes."""
    n = 10_000
    notes = in_seconds([Note(i + 0.5, i + 1, 60) for i in range(n)], [(i, 1000 + i) for i in range(n)])
    starts = np.cumsum([0, *range(1000, 1000 + n)]) / 1e6
    np.testing.assert_allclose([note.end for note in notes], starts[1:], rtol=1e-12)
    np.testing.assert_allclose([note.start for note in notes], (starts[:-1] + starts[1:]) / 2, rtol=1e-12)


@pytest.mark.parametrize(("note", "message"), [
    (Note(1, 0, 60), "notes with 0 <= start <= end"), (Note(-1, 0, 60), "notes with 0 <= start"),
    (Note(0, 1, 128), "key in 0..127"), (Note(0, 1, 60, 0), "velocity in 1..127"), (Note(0, float("nan"), 60), "end"),
    (Note(0, 1, 60, 1, 16), "channel in 0..15"), ((0, 1, 60), "notes with"),
    (Note(0, 1e-4, 60), "notes of at least one tick, 1 / 480 of a quarter note"), (Note(0, 1e9, 60), "longest time"),
])
def test_notes_that_no_file_can_have(note, message):
    with pytest.raises(InputError, match="midi_of expects ") as refused:
        midi_of([note])
    assert message in str(refused.value)


def test_a_roll_is_the_roll_of_its_notes():
    roll = (np.random.default_rng(0).random((50, 88)) < 0.1).astype(np.uint8)
    roll[-1, 3] = 1  # silence at the end has no note
    for frame in (1.0, 0.25, 1 / 3):
        np.testing.assert_array_equal(piano_roll(notes_of_roll(roll, frame), frame), roll)
        assert notes_of(midi_of(notes_of_roll(roll, 0.5))) == notes_of_roll(roll, 0.5)
    assert notes_of_roll(np.zeros((4, 88))) == [] and piano_roll([]).shape == (0, 88)


def test_a_key_is_in_a_frame_whose_middle_it_holds():
    roll = piano_roll([Note(0.4, 1.5, 60), Note(0.6, 1.6, 62), Note(2.1, 2.4, 64)])
    assert roll.shape == (3, 88)
    assert roll[:, [39, 41, 43]].T.tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_rolls_that_are_none():
    for roll in (np.zeros((3, 87)), np.full((3, 88), 2), np.zeros(88)):
        with pytest.raises(InputError, match=r"notes_of_roll expects roll \(time, 88\) of 0 and 1; got"):
            notes_of_roll(roll)
    with pytest.raises(InputError, match=r"piano_roll expects keys in 21 \.\. 108, a piano's; got 20"):
        piano_roll([Note(0, 1, 20)])
    with pytest.raises(InputError, match="at most 1,048,576 frames; got 2,000,000; take longer frames"):
        piano_roll([Note(0, 2e6, 60)])


# Sound.


@pytest.mark.parametrize("key", [33, 69, 100])
def test_a_note_sounds_at_its_frequency(key):
    rate = 22_050
    samples = render([Note(0.5, 1.5, key)], rate)
    assert samples.dtype == np.float32 and len(samples) == np.ceil(1.62 * rate)
    assert not samples[:rate // 2].any() and np.abs(samples).max() == pytest.approx(0.8)
    spectrum = np.abs(np.fft.rfft(samples[rate // 2:]))
    loudest = np.fft.rfftfreq(len(samples) - rate // 2, 1 / rate)[spectrum.argmax()]
    assert abs(loudest - 440 * 2 ** ((key - 69) / 12)) < 1.5


def test_no_tone_is_heard_as_a_lower_one():
    """Of C8, 4186 Hz, only the first harmonic is below half of 10,000 Hz: nothing sounds below it."""
    samples = render([Note(0, 1, 108)], 10_000)
    spectrum = np.abs(np.fft.rfft(samples))
    below = np.fft.rfftfreq(len(samples), 1 / 10_000) < 4000
    assert spectrum[below].max() < 0.01 * spectrum.max()


def test_many_notes_are_not_clipped():
    notes = [Note(0, 1, key, 127) for key in range(21, 109)]
    samples = render(notes, 8000, peak=1.0)
    assert np.abs(samples).max() == pytest.approx(1.0) and (np.abs(samples) > 0.999).sum() < 3
    assert len(render([])) == 0
    loud, soft = (np.abs(render([Note(0, 1, 60, v), Note(2, 3, 60, 127)], 8000)[:8000]).max() for v in (127, 32))
    assert soft / loud == pytest.approx(32 / 127, rel=1e-3)


def test_the_ends_of_a_note_make_no_click():
    """Beginning and end are silent, and no step is larger than a tone of 55 Hz makes."""
    samples = render([Note(0, 0.3, 33)], 8000)
    assert samples[0] == 0 and abs(samples[-1]) < 0.01 and np.abs(np.diff(samples)).max() < 0.15


def test_what_is_not_rendered():
    with pytest.raises(InputError, match="render expects notes that end within 3600 s; got 10000 s; take a part"):
        render([Note(0, 1e4, 60)])
    with pytest.raises(InputError, match="render expects rate, an integer of at least 8000; got 100"):
        render([], 100)
    with pytest.raises(InputError, match=r"render expects peak in \(0, 1\]; got 2"):
        render([], peak=2)
