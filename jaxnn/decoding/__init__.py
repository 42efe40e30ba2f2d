"""Sequences from a model, one token after another, or from the classes of each step of time.

A step function gives the logits of the next token:

    step(carry, token) -> (carry, logits)           carry: a tree of arrays, all that the model remembers
    step(carry, token) -> (carry, logits, aux)      aux: a tree of arrays to be looked at, attention weights say

    greedy, sample      the likeliest token each time; a token drawn from the logits, all of them, the k likeliest or
                        the nucleus
    beam_search         the likeliest of many sequences that are kept side by side
    ctc_greedy, ctc_beam_search    labels from the logits of each step of time; the second with a language model

Each is a pure function of one sequence, one `while_loop` or `scan`: `jax.jit` compiles it, `jax.vmap` makes a batch.
"""

from jaxnn.decoding.beam import Beams, beam_search
from jaxnn.decoding.ctc import CTCBeams, CTCPath, ctc_beam_search, ctc_greedy
from jaxnn.decoding.one import Sequence, greedy, sample

__all__ = ["Beams", "CTCBeams", "CTCPath", "Sequence", "beam_search", "ctc_beam_search", "ctc_greedy", "greedy",
           "sample"]
