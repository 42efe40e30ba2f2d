"""What counting alone predicts: each key by itself, from how often it sounds, and from whether it has just sounded.

All costs are in nats per frame, summed over the 88 keys, over the frames that have one before: the first frame of a
piece is predicted from nothing, and is left out, as in Boulanger-Lewandowski et al. (2012) and Bai et al. (2018).
"""

import numpy as np

__all__ = ["marginal_cost", "markov_cost"]


def marginal_cost(train: list[np.ndarray], rolls: list[np.ndarray]) -> float:
    """Each key sounds with the frequency that it has in `train`, (n + 1) / (frames + 2) by Laplace's rule."""
    frames = np.concatenate(train)
    p = (frames.sum(axis=0) + 1) / (len(frames) + 2)
    return _cost(np.concatenate([roll[1:] for roll in rolls]), p)


def markov_cost(train: list[np.ndarray], rolls: list[np.ndarray]) -> float:
    """Each key sounds with its frequency among the frames before which it sounds, or does not, by Laplace's rule."""
    before = np.concatenate([roll[:-1] for roll in train]).astype(bool)
    after = np.concatenate([roll[1:] for roll in train]).astype(bool)
    p = [((after & (before == state)).sum(axis=0) + 1) / ((before == state).sum(axis=0) + 2) for state in (False, True)]
    sounds = np.concatenate([roll[:-1] for roll in rolls]).astype(bool)
    return _cost(np.concatenate([roll[1:] for roll in rolls]), np.where(sounds, p[1], p[0]))


def _cost(frames: np.ndarray, p: np.ndarray) -> float:
    frames = frames.astype(bool)
    return float(-np.where(frames, np.log(p), np.log1p(-p)).sum(axis=1).mean())
