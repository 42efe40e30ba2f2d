"""Vocabularies: back and forth, special and unknown tokens, files; byte pairs against a training that counts anew."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxnn.data import BadFile
from jaxnn.text import (
    BytePairs,
    CharacterVocabulary,
    HuggingFaceVocabulary,
    WordVocabulary,
    load_vocabulary,
    pad,
    read_text_lines,
)
from jaxnn.text.byte_pairs import WORDS
from tests import course

TEXTS = ["the cat sat on the mat", "the dog sat", "Ünïcödé ✓ the end\n"]
SPECIAL = ("<pad>", "<unk>", "<end>")


def of_all_kinds():
    return [CharacterVocabulary.of(TEXTS, special=SPECIAL, unknown="<unk>"),
            WordVocabulary.of(TEXTS, special=SPECIAL, unknown="<unk>"),
            BytePairs.of(TEXTS, size=280, special=SPECIAL)]


@pytest.mark.parametrize("vocabulary", of_all_kinds(), ids=lambda v: v.kind)
def test_back_and_forth(vocabulary, tmp_path):
    assert [vocabulary.id_of(name) for name in SPECIAL] == [0, 1, 2]
    ids = vocabulary.encode("the cat sat")
    assert ids.dtype == np.int32 and ids.min() >= 3 and ids.max() < vocabulary.size
    assert vocabulary.decode(ids) == "the cat sat"
    assert vocabulary.decode([0, *ids, 2]) == "the cat sat" and vocabulary.decode([]) == ""
    assert vocabulary.encode("").shape == (0,) and vocabulary.encode("").dtype == np.int32
    vocabulary.save(tmp_path / "v.json")
    loaded = load_vocabulary(tmp_path / "v.json")
    assert loaded == vocabulary and hash(loaded) == hash(vocabulary)
    assert loaded.encode("the end").tolist() == vocabulary.encode("the end").tolist()


def test_special_tokens_in_a_text_are_text():
    """A text cannot end itself, or write the token of another role."""
    for vocabulary in (CharacterVocabulary.of(["<end>"], special=SPECIAL),
                       BytePairs.of(["x"], size=259, special=SPECIAL)):
        ids = vocabulary.encode("<end>")
        assert len(ids) == 5 and ids.min() >= 3 and vocabulary.decode(ids) == "<end>"
    words = WordVocabulary.of(["<end> a"], special=["<end>"])
    assert words.encode("<end>").tolist() == [2 if words.tokens[1] == "<end>" else 1] and words.id_of("<end>") == 0


def test_unknown():
    words = WordVocabulary.of(TEXTS, special=["<unk>"], unknown="<unk>", size=4)
    assert words.tokens == ("the", "sat", "cat") and words.size == 4
    assert words.encode("the bird sat").tolist() == [1, 0, 2] and words.decode([1, 0]) == "the <unk>"
    with pytest.raises(ValueError, match=re.escape("WordVocabulary.encode expects text of the vocabulary's tokens; got "
                                                   "'bird'; make the vocabulary with an unknown token")):
        WordVocabulary.of(TEXTS).encode("the bird")
    assert CharacterVocabulary.of(["aab"], min_count=2).tokens == ("a",)


def in_python(texts, n_merges):
    """The same training, counting every pair anew each time."""
    words = Counter(w for text in texts for w in WORDS.findall(text.encode()))
    split, merges = {w: list(w) for w in words}, []
    while len(merges) < n_merges:
        counts = Counter()
        for w, n in words.items():
            for pair in zip(split[w], split[w][1:]):
                counts[pair] += n
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append(best)
        for w, tokens in split.items():
            i, out = 0, []
            while i < len(tokens):
                two = tuple(tokens[i: i + 2]) == best
                out.append(255 + len(merges) if two else tokens[i])
                i += 1 + two
            split[w] = out
    return merges, split


def test_training_and_encoding_of_byte_pairs():
    rng = np.random.default_rng(0)
    texts = [" ".join("".join(rng.choice(list("abc"), rng.integers(1, 8))) for _ in range(40)) for _ in range(5)] + [
        "aaaa aaaaa aaa"]
    merges, split = in_python(texts, 60)
    vocabulary = BytePairs.of(texts, size=256 + 60)
    assert list(vocabulary.merges) == merges
    for word, tokens in split.items():  # encoding a word of the training merges what training has merged
        assert vocabulary.encode(word).tolist() == tokens
    assert BytePairs.of(["ab"], size=300).size == 256  # no pair occurs twice


VOCABULARY = BytePairs.of(TEXTS * 3, size=290, special=("<end>",))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=60) | st.text(max_size=30).map(lambda s: s.encode("utf-8", "ignore")))
def test_byte_pairs_lose_nothing(content):
    assert VOCABULARY.decode_bytes(VOCABULARY.encode(content)) == content
    assert b"".join(WORDS.findall(content)) == content


def test_bytes_that_are_no_text():
    tokens = VOCABULARY.encode(b"a\xff")
    with pytest.raises(ValueError, match=re.escape(r"expects tokens that make up UTF-8; got b'\xff' at "
                                                   "byte 1; pass errors='replace', or call decode_bytes")):
        VOCABULARY.decode(tokens)
    assert VOCABULARY.decode(tokens, errors="replace") == "a\N{REPLACEMENT CHARACTER}"
    with pytest.raises(ValueError, match="half of a surrogate pair"):
        VOCABULARY.encode("\ud800")


def test_of_hugging_face(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
    theirs = tokenizers.Tokenizer(tokenizers.models.BPE())
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = tokenizers.decoders.ByteLevel()
    theirs.train_from_iterator(TEXTS, tokenizers.trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>"], initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet()))
    vocabulary = HuggingFaceVocabulary(theirs)
    ids = vocabulary.encode("the cat ✓")
    assert ids.dtype == np.int32 and vocabulary.decode(ids) == "the cat ✓"
    assert vocabulary.size == theirs.get_vocab_size()
    assert vocabulary.id_of("<end>") == 0
    vocabulary.save(tmp_path / "tokenizer.json")
    assert HuggingFaceVocabulary.load(tmp_path / "tokenizer.json").encode("the cat ✓").tolist() == ids.tolist()
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(BadFile, match=r"expects a tokenizer\.json"):
        HuggingFaceVocabulary.load(tmp_path / "bad.json")
    with pytest.raises(ValueError, match="expects a token of the vocabulary; got '<none>'"):
        vocabulary.id_of("<none>")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b"\xff\xfe", b"null", b'{"format": "jaxnn vocabulary 1"}',
                                     b'{"format": "jaxnn vocabulary 1", "kind": "words", "tokens": 3}',
                                     b'{"format": "jaxnn vocabulary 1", "kind": "words", "tokens": ["a", "a"]}',
                                     b'{"format": "jaxnn vocabulary 1", "kind": "byte pairs", "merges": [[0, 256]]}',
                                     b'{"format": "jaxnn vocabulary 2", "kind": "words", "tokens": ["a"]}'], ids=repr)
def test_damaged_files(content, tmp_path):
    (tmp_path / "v.json").write_bytes(content)
    with pytest.raises(BadFile, match=r"v\.json expects"):
        load_vocabulary(tmp_path / "v.json")


def test_lines_of_a_file(tmp_path):
    path = tmp_path / "lines.txt"
    for content, lines in ((b"one", ["one"]), (b"a\r\nb\rc\n", ["a", "b", "c"]), (b"\xef\xbb\xbfx\n\n", ["x", ""]),
                           ("a\u2028b\x0cc\n".encode(), ["a\u2028b\x0cc"]), (b"\n", [""])):
        path.write_bytes(content)
        assert read_text_lines(path) == lines
    path.write_bytes(b"")
    with pytest.raises(BadFile, match="expects at least one line; got an empty file"):
        read_text_lines(path)
    path.write_bytes(b"good\nna\xefve\n")
    with pytest.raises(BadFile, match=re.escape(r"in UTF-8; got b'\xefve\n' at byte 7, line 2; convert it")):
        read_text_lines(path)


V = CharacterVocabulary.of(["abc"])


@pytest.mark.parametrize(("call", "words"), [
    (lambda: V.decode([3]), "CharacterVocabulary.decode expects ids in 0 .. 2; got values from 3 to 3"),
    (lambda: V.decode([0, -1]), "ids in 0 .. 2; got values from -1 to 0; cut the sequence at its length"),
    (lambda: V.decode([0.0]), "CharacterVocabulary.decode expects integer ids; got float64"),
    (lambda: V.decode([[0]]), "ids of shape (n,); got (1, 1); decode one sequence at a time"),
    (lambda: V.encode(b"ab"), "text, a text; got bytes; decode it: text.decode('utf-8')"),
    (lambda: V.encode("abd"), "got 'd'; make the vocabulary with an unknown token"),
    (lambda: V.id_of("z"), "expects a token of the vocabulary; got 'z'"),
    (lambda: CharacterVocabulary.of("abc"), "texts, a list of them; got str; put a single text into a list"),
    (lambda: CharacterVocabulary(["ab"]), "tokens of one character each"),
    (lambda: CharacterVocabulary([]), "at least one token"),
    (lambda: WordVocabulary(["a b"]), "words without white space; got ['a b']"),
    (lambda: WordVocabulary(["a", "a"]), "each token once; got 'a' twice"),
    (lambda: WordVocabulary(["a"], unknown="<unk>"), "unknown, one of the special tokens, or None; got '<unk>'"),
    (lambda: BytePairs.of(["a"], size=100), "size, an integer of at least 256, the bytes and the special"),
    (lambda: BytePairs([(0, 300)]), "merges, each a new pair of numbers below 256"),
    (lambda: BytePairs.of("abc", size=300), "texts, a list of them; got str"),
    (lambda: VOCABULARY.id_of("the cat"), "a special token or a text of one token; got 'the cat'"),
    (lambda: HuggingFaceVocabulary("bert"), "a tokenizers.Tokenizer; got str"),
])
def test_refusals(call, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        call()


CASES = course.load()
needs_cases = pytest.mark.skipif(bool(course.missing()), reason=course.missing() or "-")


@needs_cases
def test_sentences_to_indices_of_the_course():
    case = CASES["c5w2.sentences_to_indices"]
    numbers = case["inputs"]["word_to_index"]
    words = sorted(numbers, key=numbers.get)
    vocabulary = WordVocabulary(words, special=["<fill>"])
    assert all(vocabulary.id_of(word) == n for word, n in numbers.items())
    sentences = [vocabulary.encode(sentence.lower()) for sentence in case["inputs"]["sentences"]]
    np.testing.assert_array_equal(pad(sentences, 4)[0], case["expected"])


@needs_cases
def test_sentence_to_avg_of_the_course():
    """The mean of the vectors of the words that have one; zeros where no word has."""
    case = CASES["c5w2.sentence_to_avg"]
    vectors = case["inputs"]["map"]
    vocabulary = WordVocabulary(list(vectors), special=["<unk>"], unknown="<unk>")
    table = np.array([[0, 0], *vectors.values()])
    for sentence, want in zip(case["inputs"]["sentences"], case["expected"]):
        ids = vocabulary.encode(sentence.lower())
        known = ids[ids > 0]
        np.testing.assert_allclose(table[known].sum(0) / max(len(known), 1), want, atol=1e-6)
