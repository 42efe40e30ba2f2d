"""Text: vocabularies, batches of unequal lengths, and how near a text is to its reference.

    CharacterVocabulary WordVocabulary BytePairs HuggingFaceVocabulary   a text as integers, and back; load_vocabulary
    pad bucketed pack segment_mask                                       sequences of unequal length as arrays
    bleu sentence_bleu chrf edit_distance word_error_rate character_error_rate perplexity bits_per_character
    chunks_of chunk_scores                               slots and names that tags mark: precision, recall, F1
    read_text_lines                                                           of a file in UTF-8
"""

from jaxnn.data.lines import read_text_lines
from jaxnn.text.batches import Bucketed, Packed, bucketed, pack, pad, segment_mask
from jaxnn.text.byte_pairs import BytePairs
from jaxnn.text.chunks import Chunk, ChunkScores, chunk_scores, chunks_of
from jaxnn.text.hugging_face import HuggingFaceVocabulary
from jaxnn.text.load import load_vocabulary
from jaxnn.text.metrics import (
    BLEU,
    bits_per_character,
    bleu,
    character_error_rate,
    chrf,
    edit_distance,
    perplexity,
    sentence_bleu,
    word_error_rate,
)
from jaxnn.text.vocabulary import CharacterVocabulary, Vocabulary, WordVocabulary

__all__ = [
    "BLEU",
    "Bucketed",
    "BytePairs",
    "CharacterVocabulary",
    "Chunk",
    "ChunkScores",
    "HuggingFaceVocabulary",
    "Packed",
    "Vocabulary",
    "WordVocabulary",
    "bits_per_character",
    "bleu",
    "bucketed",
    "character_error_rate",
    "chrf",
    "chunk_scores",
    "chunks_of",
    "edit_distance",
    "load_vocabulary",
    "pack",
    "pad",
    "perplexity",
    "read_text_lines",
    "segment_mask",
    "sentence_bleu",
    "word_error_rate",
]
