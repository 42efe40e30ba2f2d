"""Recurrent networks made of recurrent ops: both directions, and one on top of another.

A recurrent op is a function (params, x, initial=None, mask=None, *, segment=None) -> (h, last), as `over_time` makes
them; what is made here is one too, so that `stacked(bidirectional(lstm), bidirectional(lstm))` is what it looks like.
They are plain functions of ops: `network(bidirectional(lstm))` has explicit passes.
"""

from collections.abc import Callable
from typing import Any

import jax

from jaxnn.checks import expect, expect_key, is_number
from jaxnn.ops.dropout import dropout
from jaxnn.ops.shape import concatenate

__all__ = ["bidirectional", "stacked"]


def bidirectional(op: Callable) -> Callable:
    """The op in both directions, with weights of their own: h_t is what both know of step t, side by side.

        h_t = (h→_t, h←_t)

    op: a recurrent op that takes `reverse`.

    The function that is returned takes params {"forward": ..., "reversed": ...}, each as the op's, and pairs as initial
    and last state, (forward, reversed). Its h is (time, 2 n_hidden). The last state of the reversed direction is that
    at step 0. With a mask both directions leave out the same steps: the reversed one starts at the last that counts.

    Source: Schuster & Paliwal (1997).
    """
    def both(params: Any, x: Any, initial: Any = None, mask: Any = None, *, segment: int | None = None) -> Any:
        parts = _parts("bidirectional", "params", params, ("forward", "reversed"))
        starts = (None, None) if initial is None else initial
        expect(isinstance(starts, tuple | list) and len(starts) == 2, "bidirectional",
               "initial to be a pair, (forward, reversed), or None", _described(starts))
        runs = [op(part, x, start, mask, reverse=reverse, segment=segment)
                for part, start, reverse in zip(parts, starts, (False, True), strict=True)]
        return concatenate(tuple(h for h, _ in runs), axis=-1), tuple(last for _, last in runs)

    both.__name__ = both.__qualname__ = f"bidirectional_{getattr(op, 'name', getattr(op, '__name__', 'op'))}"
    return both


def stacked(*ops: Callable, rate: float = 0.0, same_mask: bool = False) -> Callable:
    """Recurrent ops one on top of another: each reads the hidden states of the one below.

    Args:
      ops: recurrent ops, the first one next to x.
      rate: the fraction dropped of what goes up from one to the next (Zaremba et al. 2014), where a key is given.
      same_mask: drop the same units at all times (Gal & Ghahramani 2016), not others at each.

    The function that is returned takes params {"layer1": ..., "layer2": ...}, a tuple of initial states, one for each
    op, and one argument more, the key of the dropout: None where nothing is dropped. Its last state is a tuple too.
    """
    expect(bool(ops) and all(map(callable, ops)), "stacked", "recurrent ops, at least one", repr(ops))
    expect(is_number(rate, 0) and rate < 1, "stacked", "rate, the fraction dropped, in [0, 1)", repr(rate))
    names = tuple(f"layer{i}" for i in range(1, len(ops) + 1))

    def stack(params: Any, x: Any, initial: Any = None, mask: Any = None, key: Any = None, *,
              segment: int | None = None) -> Any:
        parts = _parts("stacked", "params", params, names)
        starts = (None,) * len(ops) if initial is None else initial
        expect(isinstance(starts, tuple | list) and len(starts) == len(ops), "stacked",
               f"initial to be {len(ops)} states, one for each op, or None", _described(starts))
        keys = None
        if key is not None and rate > 0 and len(ops) > 1:
            expect_key("stacked", key)
            keys = jax.random.split(key, len(ops) - 1)
        h, last = x, []
        for n, (op, part, start) in enumerate(zip(ops, parts, starts, strict=True)):
            if n and keys is not None:
                h = dropout(h, keys[n - 1], rate=rate, shared=(0,) if same_mask else ())
            h, state = op(part, h, start, mask, segment=segment)
            last.append(state)
        return h, tuple(last)

    stack.__name__ = stack.__qualname__ = "stacked"
    return stack


def _parts(who: str, argument: str, params: Any, names: tuple[str, ...]) -> list[Any]:
    """The parts of params by name."""
    given = sorted(map(str, params)) if hasattr(params, "keys") else type(params).__name__
    expect(given == sorted(names), who, f"{argument} to be a dict of {', '.join(names)}", str(given))
    return [params[name] for name in names]


def _described(starts: Any) -> str:
    return f"{len(starts)} of them" if isinstance(starts, tuple | list) else type(starts).__name__
