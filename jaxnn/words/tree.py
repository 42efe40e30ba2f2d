"""The Huffman tree of a vocabulary, for the hierarchical softmax: a frequent word has a short path."""

import heapq
from typing import Any, NamedTuple

import numpy as np

from jaxnn.checks import expect

__all__ = ["Tree", "huffman_tree"]


class Tree(NamedTuple):
    """The path to each word, from the root; behind its end, node 0 with the sign 0."""

    nodes: np.ndarray
    """(n_words, depth) int32, inner nodes in 0 .. n_words - 2."""
    signs: np.ndarray
    """(n_words, depth) int8: 1 or -1 for the way taken at the node; 0 beyond the path."""


def huffman_tree(counts: Any) -> Tree:
    """The tree whose mean path, weighted by the counts, is the shortest.

    Again and again the two rarest nodes become the children of a new one, until one is left, the root. Of equal counts
    the node that was made first is taken first, so that a tree is a function of the counts.

    Args:
      counts: (n_words,) positive integers, n_words >= 2.
    Source: Huffman (1952); for words Mikolov et al. (2013b), section 2.1.

    >>> tree = huffman_tree([4, 2, 1])
    >>> tree.nodes.tolist(), tree.signs.tolist()
    ([[1, 0], [1, 0], [1, 0]], [[1, 0], [-1, 1], [-1, -1]])
    """
    values = np.asarray(counts)
    is_counts = values.ndim == 1 and len(values) >= 2 and values.dtype.kind in "iu" and bool(np.all(values > 0))
    expect(is_counts, "huffman_tree", "counts, at least two positive integers (n_words,)",
           f"{values.dtype}{list(values.shape)}")
    n = len(values)
    heap = [(int(count), i) for i, count in enumerate(values)]
    heapq.heapify(heap)
    parent, sign = np.zeros(2 * n - 1, np.int64), np.zeros(2 * n - 1, np.int8)
    for node in range(n, 2 * n - 1):
        (low, a), (high, b) = heapq.heappop(heap), heapq.heappop(heap)
        parent[a], sign[a], parent[b], sign[b] = node, -1, node, 1
        heapq.heappush(heap, (low + high, node))
    paths = []
    for word in range(n):
        path, at = [], word
        while at != 2 * n - 2:
            path.append((int(parent[at]) - n, int(sign[at])))
            at = int(parent[at])
        paths.append(path[::-1])
    depth = max(map(len, paths))
    nodes, signs = np.zeros((n, depth), np.int32), np.zeros((n, depth), np.int8)
    for word, path in enumerate(paths):
        nodes[word, :len(path)], signs[word, :len(path)] = zip(*path, strict=True)
    return Tree(nodes, signs)
