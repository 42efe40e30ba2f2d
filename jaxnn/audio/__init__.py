"""Sound: WAV files, resampling, spectra for networks, augmentation, and clips made of recordings.

    read_wav write_wav decode_wav encode_wav Sound    files
    resample                                          another rate
    frames stft power_spectrum mel_filters log_mel decibels mfcc spectrogram
                                                      from samples (frames,) to features (time, n), under jit and vmap
    level at_level mix clipped spec_augment           loudness, noise, masks
    is_overlapping insert_audio_clip insert_ones synthesize
                                                      clips of ten seconds with words in known places
"""

from jaxnn.audio.augmentation import spec_augment
from jaxnn.audio.clips import Clip, insert_audio_clip, insert_ones, is_overlapping, synthesize
from jaxnn.audio.loudness import at_level, clipped, level, mix
from jaxnn.audio.mel import decibels, log_mel, mel_filters, mfcc
from jaxnn.audio.resampling import resample
from jaxnn.audio.spectra import frames, hann, power_spectrum, spectrogram, stft
from jaxnn.data.wav import ENCODINGS, Sound, decode_wav, encode_wav, read_wav, write_wav

__all__ = ["ENCODINGS", "Clip", "Sound", "at_level", "clipped", "decibels", "decode_wav", "encode_wav", "frames",
           "hann", "insert_audio_clip", "insert_ones", "is_overlapping", "level", "log_mel", "mel_filters", "mfcc",
           "mix", "power_spectrum", "read_wav", "resample", "spec_augment", "spectrogram", "stft", "synthesize",
           "write_wav"]
