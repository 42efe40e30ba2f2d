"""Sentences with a label: the course's emojis, and the Stanford Sentiment Treebank."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxnn.checks import expect
from jaxnn.data.directory import find
from jaxnn.data.lines import read_text_lines
from jaxnn.file_errors import BadFile

__all__ = ["EMOJIS", "LabelledSentences", "load_emojify", "load_sst2"]

EMOJIS = ("heart", "baseball", "smile", "disappointed", "fork and knife")
EMOJIFY = {"train": "train_emoji.csv", "test": "tesss.csv"}
SST2 = ("train", "dev", "test")


class LabelledSentences(NamedTuple):
    """texts[i] and its class."""

    texts: tuple[str, ...]
    y: np.ndarray
    """(n,) int64."""
    classes: tuple[str, ...]


def load_emojify(part: str, directory: str | Path | None = None, *,
                 instead: str = "sentences of your own") -> LabelledSentences:
    """The 132 training or 56 test sentences of the course's Emojify, in c5/emojify.

    White space at the ends of a sentence is taken off: the test file has tabulators there.

    Args:
      part: "train" or "test".
    Raises:
      InputError: the part is neither.
      MissingData: the file is not there.
      BadFile: a line is no sentence and class in 0 .. 4 with a comma between.
    Source: Deep Learning Specialization, course 5, week 2.
    """
    expect(part in EMOJIFY, "load_emojify", f"part, one of {', '.join(EMOJIFY)}", repr(part))
    path = find(f"c5/emojify/{EMOJIFY[part]}", directory, instead=instead, how_to_get=f"download {EMOJIFY[part]} from "
                "the assignment 'Emojify' (Deep Learning Specialization, course 5, week 2)")
    texts, labels = [], []
    for number, fields in enumerate(csv.reader(read_text_lines(path)), 1):
        is_pair = len(fields) >= 2 and fields[0].strip() and fields[1].strip() in set("01234")
        if not is_pair:
            raise BadFile(f"{path} expects a sentence, a comma and a class in 0 .. 4 in line {number}; got "
                          f"{','.join(fields)[:60]!r}; get the file again")
        texts.append(fields[0].strip())
        labels.append(int(fields[1]))
    return LabelledSentences(tuple(texts), np.array(labels, np.int64), EMOJIS)


def load_sst2(part: str, directory: str | Path | None = None, *,
              instead: str = "sentences of your own") -> LabelledSentences:
    """Sentences about films, found good or bad: 6,920 to train on, 872 dev and 1,821 test, in c5/sst2/{part}.tsv.

    Args:
      part: "train", "dev" or "test".
    Raises:
      InputError: the part is none of these.
      MissingData: the file is not there.
      BadFile: a line is no sentence and 0 or 1 with a tabulator between.
    Source: Socher et al. (2013), the sentences of two classes.
    """
    expect(part in SST2, "load_sst2", f"part, one of {', '.join(SST2)}", repr(part))
    path = find(f"c5/sst2/{part}.tsv", directory, instead=instead, how_to_get="get it from the repository "
                "clairett/pytorch-sentiment-classification, data/SST2")
    texts, labels = [], []
    for number, line in enumerate(read_text_lines(path), 1):
        text, _, label = line.rpartition("\t")
        if label not in ("0", "1") or not text.strip():
            raise BadFile(f"{path} expects a sentence, a tabulator and 0 or 1 in line {number}; got {line[-60:]!r}; "
                          "get the file again")
        texts.append(text.strip())
        labels.append(int(label))
    return LabelledSentences(tuple(texts), np.array(labels, np.int64), ("bad", "good"))
