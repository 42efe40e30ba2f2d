"""Error analysis: which kinds of examples the errors are, and how much would be won by mending one kind.

    E: the wrong examples of n      E_t: those with tag t, which may have other tags too
    ceiling of t          |E_t| / n: the error that goes away when t is mended, whatever else an example has
    alone                 |{e in E_t with no other tag}| / n: what goes away by mending t and no other tag
    share of t            Σ_{e in E_t} 1 / (number of tags of e) / n

The ceilings of tags that overlap add up to more than the error. The shares, with the errors that have no tag, add up
to the error: they are the Shapley values of the game in which a set of mended tags wins every error with one of them.

Source: Ng, Machine Learning Yearning (2018), chapters 13 to 19; Shapley (1953).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxnn.analysis import intervals
from jaxnn.checks import as_numpy, expect, is_integer
from jaxnn.metrics import confusion_matrix

__all__ = ["Ceiling", "ConfusedPair", "ErrorTable", "TagRow", "confused_pairs", "error_table", "tag_columns"]

Ends = tuple[float, float]


class TagRow(NamedTuple):
    """One tag. All but `n` and `n_wrong` are fractions; each has its interval of 95 % beside it."""

    tag: str
    n: int
    """Examples with the tag."""
    n_wrong: int
    error: float
    """n_wrong / n: how often such an example is wrong."""
    error_interval: Ends
    of_errors: float
    """The part of all errors that has the tag; these parts add up to more than 1 where tags overlap."""
    of_errors_interval: Ends
    of_gradient: float
    """The part of the batch's gradient that comes from examples with the tag; NaN where no gradient was given."""
    of_gradient_interval: Ends
    ceiling: float
    """Points of error, as a fraction of all examples, that go away when the tag is mended."""
    ceiling_interval: Ends
    alone: float
    """Those that go away by mending this tag and no other."""
    alone_interval: Ends
    share: float
    """Its fair part: the shares of all tags, and of no tag, add up to the error."""
    share_interval: Ends


class Ceiling(NamedTuple):
    """One step of mending tag after tag, each time the one that wins most."""

    tag: str
    won: float
    """Points of error that go away by this step, as a fraction."""
    left: float
    """The error after this step."""
    left_interval: Ends


class ErrorTable(NamedTuple):
    """The errors by their tags, the largest ceiling first. `print` shows the table."""

    n: int
    n_wrong: int
    rows: tuple[TagRow, ...]
    untagged: TagRow
    """The examples with no tag, as a row."""
    overlaps: np.ndarray
    """(n_tags, n_tags) int64: errors that have both tags, in the order of the rows; the diagonal is n_wrong of each."""
    ceilings: tuple[Ceiling, ...]
    """What is won by mending tag after tag. These add up: what is won and the last `left` are the error."""

    def __str__(self) -> str:
        shown = intervals.shown
        with_gradient = not np.isnan(self.untagged.of_gradient)
        head = ["tag", "examples", "wrong", "error", "of the errors", *["of the gradient"] * with_gradient, "ceiling",
                "alone", "share"]
        body = [[r.tag, str(r.n), str(r.n_wrong), shown(r.error, r.error_interval) if r.n else "-",
                 shown(r.of_errors, r.of_errors_interval),
                 *[shown(r.of_gradient, r.of_gradient_interval)] * with_gradient,
                 shown(r.ceiling, r.ceiling_interval), shown(r.alone, r.alone_interval),
                 shown(r.share, r.share_interval)] for r in (*self.rows, self.untagged)]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = ["  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))])
                 for row in (head, *body)]
        steps = " -> ".join([f"{100 * self.n_wrong / self.n:.2f} %",
                             *(f"{c.tag}: {100 * c.left:.2f} %" for c in self.ceilings)])
        pairs = [(int(self.overlaps[i, j]), self.rows[i].tag, self.rows[j].tag)
                 for i in range(len(self.rows)) for j in range(i) if self.overlaps[i, j]]
        both = ", ".join(f"{a} and {b} {n}" for n, a, b in sorted(pairs, reverse=True)[:10]) or "none"
        return "\n".join([*lines, f"mended one after another: {steps}", f"errors with two tags: {both}"])


class ConfusedPair(NamedTuple):
    """Examples of class `label` that are taken for class `prediction`."""

    label: int
    prediction: int
    n: int
    of_errors: float
    of_errors_interval: Ends
    of_label: float
    """The part of the examples of `label`."""
    of_label_interval: Ends


def error_table(wrong: Any, tags: Mapping[str, Any], gradient: Any = None) -> ErrorTable:
    """The errors of any network by the tags of its examples.

    Args:
      wrong: (n,) bools, n >= 2: which examples are wrong.
      tags: for each name (n,) bools: which examples have the tag. An example may have any number of tags, or none.
      gradient: (n,) numbers with a sum above 0: what each example brings to the batch's gradient, such as
        `per_example(...).norms`, how hard each pulls, or `jaxnn.analysis.pulls(...)`, how far each pulls in the
        direction of the batch's gradient: these add up to its norm, and may be negative.
    Raises:
      InputError: an argument is not as above.

    >>> table = error_table(np.array([True, True, False, True]), {"dark": np.array([True, True, False, False]),
    ...                                                           "far": np.array([False, True, True, False])})
    >>> [(row.tag, row.ceiling, row.alone, row.share) for row in (*table.rows, table.untagged)]
    [('dark', 0.5, 0.25, 0.375), ('far', 0.25, 0.0, 0.125), ('no tag', 0.25, 0.25, 0.25)]
    """
    who = "error_table"
    wrong = as_numpy(who, "wrong", wrong)
    expect(wrong.ndim == 1 and wrong.dtype == bool and len(wrong) >= 2, who, "wrong, (n,) bools, n >= 2",
           f"{wrong.dtype} of shape {wrong.shape}", "pass predictions != labels")
    expect(isinstance(tags, Mapping) and len(tags) > 0, who, "tags, {name: (n,) bools}, at least one",
           repr(tags) if not tags else type(tags).__name__, "make such columns of lists of tags by tag_columns")
    columns = {}
    for name, column in tags.items():
        columns[str(name)] = as_numpy(who, f"tags[{name!r}]", column)
        expect(columns[str(name)].shape == wrong.shape and columns[str(name)].dtype == bool, who,
               f"tags[{name!r}], {wrong.shape} bools, one for each example",
               f"{columns[str(name)].dtype} of shape {columns[str(name)].shape}")
    pulls = _gradient(who, gradient, len(wrong))
    has = np.stack(list(columns.values()))
    n_tags = has.sum(0)
    rows = [_row(name, column, wrong, n_tags, pulls) for name, column in columns.items()]
    order = sorted(range(len(rows)), key=lambda i: -rows[i].n_wrong)
    has = has[order]
    overlaps = (has & wrong).astype(np.int64) @ has.astype(np.int64).T
    return ErrorTable(len(wrong), int(wrong.sum()), tuple(rows[i] for i in order),
                      _row("no tag", n_tags == 0, wrong, np.maximum(n_tags, 1), pulls), overlaps,
                      _mended([rows[i].tag for i in order], has, wrong))


def tag_columns(lists: Iterable[Iterable[str]]) -> dict[str, np.ndarray]:
    """Columns of bools out of the tags that each example has.

    >>> {tag: column.tolist() for tag, column in tag_columns([["dark"], [], ["dark", "far"]]).items()}
    {'dark': [True, False, True], 'far': [False, False, True]}
    """
    sets = []
    for i, names in enumerate(lists):
        expect(not isinstance(names, str), "tag_columns", f"a list of tags for example {i}", repr(names),
               "put a single tag into a list")
        sets.append(set(names))
    return {tag: np.array([tag in names for names in sets]) for tag in sorted(set().union(*sets))}


def confused_pairs(predictions: Any, labels: Any, n_classes: int, most: int = 10) -> list[ConfusedPair]:
    """The pairs of classes that are confused most, (label, prediction) apart from (prediction, label).

    Args:
      predictions, labels: (n,) integers in 0 .. n_classes - 1.
      most: how many pairs at most.
    """
    expect(is_integer(most, 1), "confused_pairs", "most, a positive integer", repr(most))
    counts = confusion_matrix(predictions, labels, n_classes)
    of_label = counts.sum(1)
    wrong = counts - np.diag(np.diag(counts))
    n_wrong = int(wrong.sum())
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = []
    for label, prediction in zip(*np.unravel_index(order, wrong.shape), strict=True):
        n, total = int(wrong[label, prediction]), int(of_label[label])
        if n:
            pairs.append(ConfusedPair(int(label), int(prediction), n, n / n_wrong, intervals.of_fraction(n, n_wrong),
                                      n / total, intervals.of_fraction(n, total)))
    return pairs


def _gradient(who: str, gradient: Any, n: int) -> np.ndarray | None:
    if gradient is None:
        return None
    pulls: np.ndarray = as_numpy(who, "gradient", gradient).astype(float)
    fits = pulls.shape == (n,) and bool(np.isfinite(pulls).all()) and pulls.sum() > 0
    expect(fits, who, f"gradient, ({n},) finite numbers with a sum above 0",
           f"shape {pulls.shape}" + (f", sum {pulls.sum():g}" if pulls.size else ""))
    return pulls


def _row(tag: str, column: np.ndarray, wrong: np.ndarray, n_tags: np.ndarray, pulls: np.ndarray | None) -> TagRow:
    n, n_all, n_wrong_all = int(column.sum()), len(wrong), int(wrong.sum())
    both = wrong & column
    n_wrong, n_alone = int(both.sum()), int((both & (n_tags <= 1)).sum())
    # Of no example at all nothing is known: anything from 0 to 1.
    error = (n_wrong / n, intervals.of_fraction(n_wrong, n)) if n else (float("nan"), (0.0, 1.0))
    of_errors = ((n_wrong / n_wrong_all, intervals.of_fraction(n_wrong, n_wrong_all)) if n_wrong_all
                 else (float("nan"), (0.0, 1.0)))
    of_gradient = ((float(pulls[column].sum() / pulls.sum()), intervals.of_ratio(pulls * column, pulls))
                   if pulls is not None else (float("nan"), (float("nan"), float("nan"))))
    fair = np.where(both, 1 / np.maximum(n_tags, 1), 0)
    return TagRow(tag, n, n_wrong, *error, *of_errors, *of_gradient, n_wrong / n_all,
                  intervals.of_fraction(n_wrong, n_all), n_alone / n_all, intervals.of_fraction(n_alone, n_all),
                  float(fair.mean()), intervals.of_fraction(float(fair.sum()), n_all))


def _mended(names: Sequence[str], has: np.ndarray, wrong: np.ndarray) -> tuple[Ceiling, ...]:
    """Greedily: the tag that wins most of what is still wrong, until no tag wins anything."""
    left, steps = wrong.copy(), list[Ceiling]()
    while True:
        wins = (has & left).sum(1)
        best = int(np.argmax(wins))
        if not wins[best]:
            return tuple(steps)
        left &= ~has[best]
        steps.append(Ceiling(names[best], wins[best] / len(wrong), float(left.mean()),
                             intervals.of_fraction(int(left.sum()), len(wrong))))
