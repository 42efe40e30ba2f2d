"""Word vectors: learnt, read and written, compared, judged, and looked at for their bias.

    encode_corpus fit_words fit_glove                          vectors of a corpus, by skip-gram, CBOW or GloVe
    character_parts                                            fastText's n-grams of characters
    WordVectors cosine                                         nearest neighbours and analogies
    read_word_vectors write_word_vectors                       files of word2vec and GloVe
    read_glove_binary write_glove_binary                       GloVe's own binary files
    pair_correlation analogy_accuracy spearman                 beside what people find
    bias_direction neutralize equalize debias association cluster_agreement classifier_accuracy
"""

from jaxnn.words.bias import (
    Association,
    Direction,
    association,
    bias_direction,
    classifier_accuracy,
    cluster_agreement,
    debias,
    equalize,
    equalize_as_course,
    neutralize,
)
from jaxnn.words.chunks import Chunks, Epochs
from jaxnn.words.corpus import Corpus, encode_corpus, keep_probabilities, noise_probabilities
from jaxnn.words.evaluation import AnalogyScore, PairScore, analogy_accuracy, pair_correlation, spearman
from jaxnn.words.files import read_word_vectors, write_word_vectors
from jaxnn.words.fit_words import EpochNote, fit_words
from jaxnn.words.glove import Cooccurrences, cooccurrences, fit_glove
from jaxnn.words.glove_binary import read_glove_binary, write_glove_binary
from jaxnn.words.objectives import WordModel
from jaxnn.words.parts import Parts, character_parts, ngrams
from jaxnn.words.tree import Tree, huffman_tree
from jaxnn.words.vectors import WordVectors, cosine

__all__ = [
    "AnalogyScore",
    "Association",
    "Chunks",
    "Cooccurrences",
    "Corpus",
    "Direction",
    "EpochNote",
    "Epochs",
    "PairScore",
    "Parts",
    "Tree",
    "WordModel",
    "WordVectors",
    "analogy_accuracy",
    "association",
    "bias_direction",
    "character_parts",
    "classifier_accuracy",
    "cluster_agreement",
    "cooccurrences",
    "cosine",
    "debias",
    "encode_corpus",
    "equalize",
    "equalize_as_course",
    "fit_glove",
    "fit_words",
    "huffman_tree",
    "keep_probabilities",
    "neutralize",
    "ngrams",
    "noise_probabilities",
    "pair_correlation",
    "read_glove_binary",
    "read_word_vectors",
    "spearman",
    "write_glove_binary",
    "write_word_vectors",
]
