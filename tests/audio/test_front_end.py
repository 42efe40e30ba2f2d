"""Resampling, spectra, mel bands and cepstra beside SciPy, NumPy, matplotlib and librosa."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import audio
from jaxnn.checks import InputError

X = np.random.default_rng(0).uniform(-1, 1, 4000).astype(np.float32)
SETTINGS = {"n_fft": 256, "hop": 80, "window": 200, "centred": True}
RESULTS = {}


def power(x, n_fft, hop, window):
    """By NumPy, frame by frame."""
    x = np.pad(x.astype(float), n_fft // 2)
    before = (n_fft - window) // 2
    w = np.zeros(n_fft)
    w[before:before + window] = np.sin(np.pi * np.arange(window) / window) ** 2
    return np.array([np.abs(np.fft.rfft(w * x[t:t + n_fft])) ** 2 for t in range(0, len(x) - n_fft + 1, hop)])


@pytest.mark.parametrize(("rate", "new_rate"), [(44_100, 8000), (8000, 44_100), (10, 9), (44_101, 8000), (8, 8)])
def test_resampling(rate, new_rate):
    signal = pytest.importorskip("scipy.signal")
    found = audio.resample(X[:500], rate, new_rate)
    if rate == new_rate:
        np.testing.assert_array_equal(found, X[:500])
        return
    want = signal.resample_poly(X[:500].astype(float), *(r // np.gcd(rate, new_rate) for r in (new_rate, rate)))
    np.testing.assert_allclose(found, want, atol=1e-6)


def test_resampling_keeps_a_tone_and_folds_none():
    """A tone under half of the new rate stays, one above it goes; longer than what is computed at once."""
    n = np.arange(60_000)
    low, high = (np.sin(2 * np.pi * f * n / 16_000).astype(np.float32) for f in (1000, 5000))
    halved = np.asarray(audio.resample(low, 16_000, 8000))
    assert len(halved) == 30_000
    np.testing.assert_allclose(halved[50:-50], low[::2][50:-50], atol=2e-3)
    assert np.abs(audio.resample(high, 16_000, 8000)[50:-50]).max() < 2e-3


def test_power_mel_and_cepstra_beside_numpy():
    fft = pytest.importorskip("scipy.fft")
    P = power(X, 256, 80, 200)
    found = audio.power_spectrum(X, **SETTINGS)
    np.testing.assert_allclose(found, P, atol=1e-5 * P.max())
    bands = P @ audio.mel_filters(40, n_fft=256, rate=8000).T
    np.testing.assert_allclose(audio.log_mel(X, rate=8000, n_mels=40, **SETTINGS), np.log(bands), atol=2e-5)
    d = 10 * np.log10(bands)
    want = fft.dct(np.maximum(d, d.max() - 80), norm="ortho")[:, :13]
    np.testing.assert_allclose(audio.mfcc(X, n_coefficients=13, rate=8000, n_mels=40, **SETTINGS), want, atol=2e-4)
    # A frame at a time, without zeros before and behind.
    S = audio.stft(X[:256], n_fft=256, hop=7)
    np.testing.assert_allclose(S, np.fft.rfft(X[:256] * audio.hann(256))[None], atol=1e-4)


def test_mel_bands_beside_their_corners():
    """Each band is 1 at its middle and 0 at its neighbours' middles; 1000 Hz is 15 mel, 700 Hz 2595 log10 2."""
    for scale in ("slaney", "htk"):
        W = audio.mel_filters(20, n_fft=2**14, rate=8000, scale=scale, same_area=False)
        middles = W.argmax(1)
        np.testing.assert_allclose(W.max(1), 1, atol=0.02)
        np.testing.assert_allclose(W[:, middles], np.eye(20), atol=0.02)
        area = audio.mel_filters(20, n_fft=2**14, rate=8000, scale=scale).sum(1) * 8000 / 2**14
        np.testing.assert_allclose(area, 1, atol=0.02)
    f = middles * 8000 / 2**14
    mel = 2595 * np.log10(1 + f / 700)
    np.testing.assert_allclose(np.diff(mel), mel[0], rtol=0.01)


@pytest.mark.sampled
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("htk", [True, False])
def test_as_librosa(centred, htk):
    librosa = pytest.importorskip("librosa")
    theirs = {"n_fft": 256, "hop_length": 80, "win_length": 200, "center": centred, "pad_mode": "constant"}
    ours = SETTINGS | {"centred": centred}
    mel = {"rate": 8000, "n_mels": 32, "low": 60.0, "high": 3800.0, "scale": "htk" if htk else "slaney"}
    bands = {"sr": 8000, "n_mels": 32, "fmin": 60, "fmax": 3800, "htk": htk}
    S = librosa.stft(X, **theirs)
    np.testing.assert_allclose(audio.stft(X, **ours).T, S, atol=1e-6 * np.abs(S).max())
    W = librosa.filters.mel(n_fft=256, dtype=float, **bands)
    found = audio.mel_filters(32, n_fft=256, **{k: v for k, v in mel.items() if k != "n_mels"})
    np.testing.assert_allclose(found, W, atol=1e-12)
    M = librosa.feature.melspectrogram(y=X, **theirs, **bands)
    np.testing.assert_allclose(audio.log_mel(X, **mel, **ours).T, np.log(M), atol=2e-5)
    C = librosa.feature.mfcc(S=librosa.power_to_db(M), n_mfcc=13)
    np.testing.assert_allclose(audio.mfcc(X, n_coefficients=13, **mel, **ours).T, C, atol=1e-4)
    np.testing.assert_allclose(audio.decibels(M, most_below=20.0), librosa.power_to_db(M, top_db=20), atol=1e-4)


def test_the_courses_spectrogram():
    mlab = pytest.importorskip("matplotlib.mlab")
    x = np.random.default_rng(1).normal(size=441_000).astype(np.float32)
    found = audio.spectrogram(x)
    assert found.shape == (101, 5511)
    want, _, _ = mlab.specgram(x.astype(float), NFFT=200, Fs=8000, noverlap=120)
    np.testing.assert_allclose(found, want, atol=1e-6 * want.max())


def test_batches_and_gradients():
    """`vmap` gives each sound's own; the gradient is that of differences."""
    def cost(x):
        return jnp.sum(audio.log_mel(x, rate=8000, n_mels=10, n_fft=64, hop=32))

    both = jax.vmap(cost)(np.stack([X[:128], X[128:256]]))
    np.testing.assert_allclose(both, [cost(X[:128]), cost(X[128:256])], rtol=1e-5)
    with jax.enable_x64(True):
        x, direction = X[:128].astype(float), X[200:328].astype(float)
        slope = (cost(x + 1e-6 * direction) - cost(x - 1e-6 * direction)) / 2e-6
        np.testing.assert_allclose(jnp.vdot(jax.grad(cost)(x), direction), slope, rtol=1e-5)


def test_silence_is_defined():
    """The floor, and nothing that is not a number."""
    silence = np.zeros(400, np.float32)
    np.testing.assert_allclose(audio.log_mel(silence, rate=8000, n_mels=10, n_fft=128, hop=64), np.log(1e-10),
                               rtol=1e-6)
    assert np.isfinite(audio.mfcc(silence, n_coefficients=5, rate=8000, n_mels=10, n_fft=128, hop=64)).all()
    assert not audio.spectrogram(silence).any()
    assert np.asarray(jax.grad(lambda x: jnp.sum(audio.log_mel(x, rate=8000, n_mels=10, n_fft=128, hop=64)))(
        silence) == 0).all()


@pytest.mark.parametrize(("call", "message"), [
    (lambda: audio.frames(X[:9], size=10, hop=5), "at least one frame, 10 samples; got 9; fill it up with zeros"),
    (lambda: audio.stft(X[:99], n_fft=100, hop=10), "at least one frame, 100 samples; got 99"),
    (lambda: audio.spectrogram(X[:199]), "at least one frame, 200 samples; got 199"),
    (lambda: audio.stft(X[None], n_fft=100, hop=10), "for channels or a batch use jax.vmap"),
    (lambda: audio.stft(np.arange(200), n_fft=100, hop=10), "floating-point x; got int32; convert it"),
    (lambda: audio.stft(X, n_fft=100, hop=0), "hop, a positive integer; got 0"),
    (lambda: audio.stft(X, n_fft=100, hop=10, window=101), "window, samples in 1 .. n_fft = 100"),
    (lambda: audio.mel_filters(80, n_fft=128, rate=8000), r"62.5 hertz apart; got .* of 80 without, the first from"),
    (lambda: audio.mel_filters(8, n_fft=128, rate=8000, high=5000), "low < high <= rate / 2 = 4000 hertz"),
    (lambda: audio.mel_filters(8, n_fft=128, rate=8000, scale="bark"), "scale, one of slaney, htk; got 'bark'"),
    (lambda: audio.log_mel(X, rate=8000, n_mels=8, n_fft=128, hop=64, smallest=0.0), "smallest, a power above 0"),
    (lambda: audio.mfcc(X, n_coefficients=9, rate=8000, n_mels=8, n_fft=128, hop=64), "in 1 .. n_mels = 8; got 9"),
    (lambda: audio.decibels(X[:0]), r"power of at least one number; got \(0,\)"),
    (lambda: audio.resample(X, 8000.0, 4000), "rate, a positive integer; got 8000.0"),
    (lambda: audio.resample(X[:0], 8000, 4000), "at least one sample; got none"),
    (lambda: audio.resample(X, 999_983, 999_979), "terms up to 209,715; got 999,979 / 999,983"),
])
def test_refusals(call, message):
    with pytest.raises(InputError, match=message):
        call()
