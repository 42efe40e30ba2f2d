"""Mistakes with texts and their models: each is refused by a sentence that says what to do, or has a value that is
defined. What a single op refuses is tried beside that op."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxnn import GRU, LSTM
from jaxnn.data import BadFile
from jaxnn.decoding import beam_search, ctc_beam_search, greedy, sample
from jaxnn.models import character_model, encoder_decoder, sequence_classifier, tagger, wavenet
from jaxnn.ops import ctc
from jaxnn.text import (
    BytePairs,
    CharacterVocabulary,
    WordVocabulary,
    bits_per_character,
    character_error_rate,
    load_vocabulary,
    pad,
    read_text_lines,
    sentence_bleu,
)


def zeros(net, shape):
    shapes, _ = jax.eval_shape(lambda: net.init(jax.random.key(0), shape))
    return functools.partial(net, jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes), {})


CHARACTERS = zeros(character_model(5, LSTM(2), n_embedding=2), (3,))
CLASSIFIER = zeros(sequence_classifier(5, GRU(2, return_sequence=False), 3, n_embedding=2), ((3,), ()))
TAGGER = zeros(tagger(5, GRU(2), 3, n_embedding=2), ((3,), ()))
WAVES = zeros(wavenet(5, 2, 2, dilations=(1,)), (3,))
TRANSLATOR = zeros(encoder_decoder(5, 5, 2, 2, n_embedding=2, n_attention=2), {"source": (3,), "target": (2,)})
IDS, NONE = jnp.array([1, 4, 0]), jnp.zeros(0, int)


def step(carry, token):
    return carry, jnp.arange(3.0)


def translated(source=IDS, target=IDS, **rest):
    return TRANSLATOR({"source": source, "target": target, **rest})


@pytest.mark.parametrize(("call", "words"), [
    # Ids outside the vocabulary, and floats.
    (lambda: CHARACTERS(jnp.array([1, 5])), "at 'embedding' expects x in 0 .. 4; got values from 1 to 5; count rows"),
    (lambda: CHARACTERS(jnp.array([-1, 1], jnp.int8)), "expects x in 0 .. 4; got values from -1 to 1"),
    (lambda: CHARACTERS(jnp.ones(3)), "expects integer x; got float32; convert it: x.astype(jnp.int32)"),
    (lambda: WAVES(jnp.array([5])), "WaveNet expects x in 0 .. 4; got values from 5 to 5"),
    (lambda: translated(source=jnp.array([5])), "at 'source' expects x in 0 .. 4; got values from 5 to 5"),
    (lambda: translated(target=jnp.ones(2)), "EncoderDecoder expects integer target; got float32"),
    (lambda: beam_search(step, (), 3, width=2, max_length=2), "beam_search expects start, a token in 0 .. 2; got 3"),
    (lambda: sample(step, (), -1, jax.random.key(0), max_length=2), "sample expects start, a token in 0 .. 2; got -1"),
    (lambda: CharacterVocabulary(["a"]).decode(np.array([255], np.uint8)), "ids in 0 .. 0; got values from 255 to 255"),
    # Sequences of no length.
    (lambda: CHARACTERS(NONE), "LSTM at 'recurrent' expects at least one time step; got (0, 2)"),
    (lambda: CLASSIFIER((NONE, 0)), "expects at least one time step; got (0, 2)"),
    (lambda: WAVES(NONE), "WaveNet expects at least one symbol; got none"),
    (lambda: translated(source=NONE), "EncoderDecoder expects a source of at least one token; got none"),
    (lambda: translated(target=NONE), "a target of at least one token; got none; begin with a start token"),
    (lambda: greedy(lambda carry, token: (carry, jnp.zeros(0)), (), 0, max_length=2), "logits of shape (n_tokens,)"),
    # Lengths beyond the array; masks.
    (lambda: CLASSIFIER((IDS, 4)), "expects lengths in 0 .. 3; got values from 4 to 4; cut the sequence, or pad it"),
    (lambda: TAGGER((IDS, -1)), "expects lengths in 0 .. 3; got values from -1 to -1"),
    (lambda: translated(source_length=4), "EncoderDecoder expects lengths in 0 .. 3; got values from 4 to 4"),
    (lambda: translated(source_length=2.0), "expects integer lengths; got float32"),
    (lambda: translated(source_length=jnp.array([2, 2])), "expects mask of shape (3,); got (2, 3)"),
    (lambda: TAGGER((IDS, jnp.array([True, True, False]))), "expects integer lengths; got bool"),
    (lambda: greedy(step, (), 0, max_length=2, allowed=jnp.ones(3)),
     "allowed, an array of bool; got float32; True stands for a token that may be chosen"),
    # Metrics and labels.
    (lambda: sentence_bleu(["a"], [[]]), "references of at least one token for sentence 0; got an empty one; leave"),
    (lambda: character_error_rate(["a"], [""]), "references with characters; got none in any of them"),
    (lambda: bits_per_character([-1.0], 1), "losses >= 0, -log p; got -1; change the sign of log p"),
    (lambda: bits_per_character([], 0), "n_characters, a positive integer; got 0"),
    (lambda: ctc(jnp.zeros((2, 3)), jnp.array([1, 1])), "got 2 labels that need 3 steps, and 2 steps; leave"),
    (lambda: ctc_beam_search(jnp.zeros((2, 3)), 3, width=2), "ctc_beam_search expects n_steps in 0 .. 2; got 3"),
    # No text.
    (lambda: CharacterVocabulary.of([""]), "CharacterVocabulary expects at least one token; got none"),
    (lambda: WordVocabulary.of([" \n"]), "WordVocabulary expects at least one token; got none"),
])
def test_refused(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


@pytest.mark.parametrize(("read", "content", "words"), [
    (read_text_lines, None, "expects a text file; got a directory; name a file in that directory"),
    (read_text_lines, b"", "expects at least one line; got an empty file; get it again"),
    (read_text_lines, b"\xffabc", r"expects text in UTF-8; got b'\xffabc' at byte 0, line 1; convert it"),
    (load_vocabulary, None, "expects a vocabulary's file; got a directory; name a file in that directory"),
    (load_vocabulary, b"", "expects JSON in UTF-8"),
])
def test_refused_files(tmp_path, read, content, words):
    path = tmp_path / "text"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with pytest.raises(BadFile, match=re.escape(words)):
        read(path)


def test_what_is_defined(tmp_path):
    """A narrow integer dtype, a source of which nothing counts, a beam wider than the vocabulary, one line, no text."""
    np.testing.assert_array_equal(CHARACTERS(IDS.astype(jnp.uint8))[0], CHARACTERS(IDS)[0])
    wide = CharacterVocabulary([chr(n) for n in range(300, 600)])
    assert wide.decode(np.array([255], np.uint8)) == chr(555)
    assert pad([np.array([255], np.uint8)])[0].tolist() == [[255]]
    beams = beam_search(step, (), 0, width=7, max_length=2, end=0)
    assert sorted(beams.length.tolist()) == [0, 1, 1, 2, 2, 2, 2]  # every sequence that there is
    (tmp_path / "line").write_text("one line")
    assert read_text_lines(tmp_path / "line") == ["one line"]
    assert BytePairs.of([""], size=300).size == 256


def test_a_source_of_which_nothing_counts():
    """The attention has nothing to see: weights and gradients are 0, and not NaN."""
    net = encoder_decoder(5, 5, 2, 2, n_embedding=2, n_attention=2)
    shapes, _ = jax.eval_shape(lambda: net.init(jax.random.key(0), {"source": (3,), "target": (2,)}))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape, np.float32), shapes)

    @jax.jit
    def program(params):
        def total(params):
            logits, weights = net.aligned(params, {"source": IDS, "source_length": jnp.int32(0), "target": IDS})
            return jnp.sum(jnp.sin(logits)), weights

        return jax.grad(total, has_aux=True)(params)

    gradient, weights = program(params)
    np.testing.assert_array_equal(weights, 0)
    for leaf in jax.tree.leaves([gradient[part] for part in ("source", "encoder", "attention")]):
        np.testing.assert_array_equal(leaf, 0)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
