"""Music: MIDI files, notes, piano rolls, and something to hear.

    read_midi midi_from_bytes write_midi midi_to_bytes          MIDI files, formats 0 and 1
    Midi ChannelEvent MetaEvent SystemExclusive                 what a file holds
    Note notes_of midi_of tempos_of metres_of in_seconds        notes in quarter notes and in seconds
    piano_roll notes_of_roll                                    which of 88 keys sounds in which frame
    render                                                      notes as samples, for jaxnn.audio.write_wav
"""

from jaxnn.music.events import END_OF_TRACK, ChannelEvent, Event, MetaEvent, Midi, SystemExclusive
from jaxnn.music.midi_reader import midi_from_bytes, read_midi
from jaxnn.music.midi_writer import midi_to_bytes, write_midi
from jaxnn.music.notes import Note, in_seconds, metres_of, midi_of, notes_of, tempos_of
from jaxnn.music.piano_roll import notes_of_roll, piano_roll
from jaxnn.music.synthesizer import render

__all__ = ["END_OF_TRACK", "ChannelEvent", "Event", "MetaEvent", "Midi", "Note", "SystemExclusive", "in_seconds",
           "metres_of", "midi_from_bytes", "midi_of", "midi_to_bytes", "notes_of", "notes_of_roll", "piano_roll",
           "read_midi", "render", "tempos_of", "write_midi"]
