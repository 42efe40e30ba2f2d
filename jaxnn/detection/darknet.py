"""Networks of Darknet, built from a .cfg of our layers.

    net = darknet_network(read_configuration("yolo.cfg"))
    params, state = read_darknet_weights("yolo.weights", net)
    fast = fold_darknet(net, params, state)                       batch norms folded, for inference
    maps, _ = fast.net(fast.params, fast.state, x)                x (height, width, 3), red-green-blue in 0 .. 1
    found = net.decode(maps, (height, width))
"""

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxnn.checks import InputError, at, expect, expect_key
from jaxnn.detection.darknet_file import BadConfiguration, Section
from jaxnn.detection.darknet_sections import LAYERS
from jaxnn.detection.yolo_head import Decoded, YoloHead, decode
from jaxnn.layers import Sequential, fold_batch_norm
from jaxnn.layers.folding import Folded
from jaxnn.layers.layer import Layer, output_of, shape_of

__all__ = ["DarknetNetwork", "darknet_network", "fold_darknet"]


class Part(NamedTuple):
    """One section after [net]: its name, its layer (None for a head), and the sections it reads; -1 is the picture."""

    name: str
    section: Section
    layer: Layer | None
    sources: tuple[int, ...]


class DarknetNetwork(Layer):
    """(height, width, channels) -> a tuple of maps, one for each head [yolo] or [region], or the last section's value.

    parts: the sections after [net]; a part of number i is called kind_i, as Darknet counts them.
    size: (height, width, channels) of the picture that [net] names; other sizes do where all strides divide them.
    """

    def __init__(self, parts: Sequence[Part], size: tuple[int, int, int]):
        self.parts, self.size = tuple(parts), size
        read = [i for part in self.parts for i in part.sources]
        # What is read for the last time need not be kept.
        self._last_reader = {i: max(n for n, part in enumerate(self.parts) if i in part.sources) for i in set(read)}

    @property
    def random(self) -> bool:
        return any(part.layer.random for part in self.parts if part.layer is not None)

    @property
    def head_parts(self) -> list[int]:
        return [i for i, part in enumerate(self.parts) if part.layer is None]

    def heads(self, size: tuple[int, int]) -> tuple[YoloHead, ...]:
        """What the numbers of each map mean for a picture of (height, width): anchors are in pixels in [yolo], and in
        cells of the map in [region]."""
        return tuple(_head(self.parts[i].section, size, (grid[0], grid[1]))
                     for i, grid in zip(self.head_parts, self.maps(size), strict=True))

    def maps(self, size: tuple[int, int]) -> list[tuple[int, ...]]:
        """The shape of each head's map for a picture of (height, width)."""
        return list(_maps(self, tuple(size)))

    def decode(self, maps: Sequence[Any], size: tuple[int, int]) -> Decoded:
        """The boxes of all heads of one picture of (height, width), in parts of it."""
        each = [decode(head, m) for head, m in zip(self.heads(size), maps, strict=True)]
        return Decoded(*(jnp.concatenate(arrays) for arrays in zip(*each, strict=True)))

    def init(self, key, shape):
        x = shape_of(self, shape)
        expect_key(self.name, key)
        values: dict[int, Any] = {-1: x}
        params: dict[str, Any] = {}
        state: dict[str, Any] = {}
        for i, (part, k) in enumerate(zip(self.parts, jax.random.split(key, len(self.parts)), strict=True)):
            source = _taken(values, part)
            if part.layer is None:
                values[i] = source
                continue
            with at(part.name):
                p, s = part.layer.init(k, source)
                values[i] = output_of(part.layer, p, s, source)
            params |= {part.name: p} if p else {}
            state |= {part.name: s} if s else {}
        return params, state

    def apply(self, params, state, x, key, *, train):
        values: dict[int, Any] = {-1: x}
        states: dict[str, Any] = {}
        keys = [None] * len(self.parts) if key is None else jax.random.split(key, len(self.parts))
        for i, (part, k) in enumerate(zip(self.parts, keys, strict=True)):
            source = _taken(values, part)
            if part.layer is None:
                values[i] = source
            else:
                with at(part.name, layer=part.layer.name):
                    values[i], new = part.layer.apply(params.get(part.name, {}), state.get(part.name, {}), source, k,
                                                      train=train)
                states |= {part.name: new} if part.name in state else {}
            for source_number in set(part.sources):
                if self._last_reader[source_number] == i:
                    del values[source_number]
        heads = self.head_parts
        return (tuple(values[i] for i in heads) if heads else values[len(self.parts) - 1]), states

    def __repr__(self) -> str:
        return f"DarknetNetwork({len(self.parts)} sections, {len(self.head_parts)} heads)"


def darknet_network(sections: Sequence[Section]) -> DarknetNetwork:
    """The network that a configuration describes.

    Raises:
      BadConfiguration: a section is of a kind that is not built, has a value that does not fit, or reads one that is
        not before it; or the sections do not fit together for the size in [net].
    """
    first, *others = sections
    height, width, channels = (first.integer(name, least=1) for name in ("height", "width", "channels"))
    parts = []
    for i, section in enumerate(others):
        if section.kind in ("yolo", "region"):
            layer: Layer | None = None
        elif section.kind in LAYERS:
            with _refused_as_configuration({}, section):
                layer = LAYERS[section.kind](section)
        else:
            raise section.bad(f"a kind among {', '.join((*LAYERS, 'yolo', 'region'))}", f"[{section.kind}]")
        parts.append(Part(f"{section.kind}_{i}", section, layer, _sources(section, i)))
    net = DarknetNetwork(parts, (height, width, channels))
    with _refused_as_configuration({part.name: part.section for part in parts}, first):
        maps = net.maps(net.size[:2])  # refuses what does not fit together
        heads = net.heads(net.size[:2])
    for i, head, grid in zip(net.head_parts, heads, maps, strict=True):
        if grid[2] != head.channels:
            raise net.parts[i].section.bad(f"a map of {head.channels} channels, {len(head.anchors)} anchors of 5 + "
                                           f"{head.classes} numbers", str(grid[2]))
    return net


@contextlib.contextmanager
def _refused_as_configuration(sections: Mapping[str, Section], otherwise: Section) -> Iterator[None]:
    """What a layer itself refuses, as a BadConfiguration of its section: that of the error's part, or `otherwise`."""
    try:
        yield
    except BadConfiguration:
        raise
    except InputError as error:
        section = sections.get(error.path[0], otherwise) if error.path else otherwise
        raise BadConfiguration(f"{section.place}:", str(error)) from None


def fold_darknet(net: DarknetNetwork, params: Any, state: Any) -> Folded:
    """The network without batch norm, each folded into its convolution, and without dropout: for inference.

    Raises:
      InputError: params and state are of another network.
    """
    parts, new = [], {}
    for part in net.parts:
        layer = part.layer
        if isinstance(layer, Sequential):
            expect(part.name in params, "fold_darknet", "the params of this network, which has a part "
                   f"'{part.name}'", f"parts {', '.join(list(params)[:3])} ...")
            layer, new[part.name], _ = fold_batch_norm(layer, params[part.name], state.get(part.name, {}))
        parts.append(part._replace(layer=layer))
    return Folded(DarknetNetwork(parts, net.size), new, {})


@functools.lru_cache(maxsize=64)
def _maps(net: DarknetNetwork, size: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    shape = (*size, net.size[2])

    def heads() -> Any:
        params, state = net.init(jax.random.key(0), shape)
        return net(params, state, jnp.zeros(shape))[0]

    found = jax.eval_shape(heads)
    return tuple(leaf.shape for leaf in found) if net.head_parts else ()


def _taken(values: dict[int, Any], part: Part) -> Any:
    """What a part reads: one value, or a tuple of several."""
    each = tuple(values[i] for i in part.sources)
    return each[0] if len(each) == 1 else each


def _sources(section: Section, i: int) -> tuple[int, ...]:
    """Numbers of the sections that section i reads; a negative one counts back from it."""
    if section.kind == "route":
        given = section.numbers("layers", int)
    elif section.kind == "shortcut":
        given = [-1, *section.numbers("from", int)]
        if len(given) != 2:
            raise section.bad("from, one section", repr(section.options["from"]))
    else:
        return (i - 1,)
    found = tuple(n if n >= 0 else i + n for n in given)
    wrong = [n for n, number in zip(given, found, strict=True) if not 0 <= number < i]
    if wrong and i == 0:
        raise section.bad("a section before this one, from which to read", "none")
    if wrong:
        raise section.bad(f"sections before this one, 0 to {i - 1}, or -1 to {-i}", str(wrong[0]))
    return found


def _head(section: Section, size: tuple[int, int], grid: tuple[int, int]) -> YoloHead:
    numbers = section.numbers("anchors")
    pairs = list(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or len(pairs) != section.integer("num", 1):
        raise section.bad(f"anchors, num = {section.integer('num', 1)} pairs", f"{len(numbers)} numbers")
    if section.kind == "yolo":
        chosen = section.numbers("mask", int) if "mask" in section.options else list(range(len(pairs)))
        if not all(0 <= m < len(pairs) for m in chosen):
            raise section.bad(f"mask, numbers of the {len(pairs)} anchors", section.options["mask"])
        pairs, (height, width) = [pairs[m] for m in chosen], size
    else:
        height, width = grid
    with _refused_as_configuration({}, section):
        return YoloHead(tuple((w / width, h / height) for w, h in pairs), section.integer("classes", 20, least=1),
                        stretch=section.number("scale_x_y", 1.0),
                        softmax=section.kind == "region" and bool(section.integer("softmax", 0)))
