"""Which ops a layer, a model or an experiment uses, found from the code.

A definition uses what its source names: the names are read from its syntax tree, looked up in its module, and followed
from function to function. So `Sequential` uses nothing, `Dense` uses `dense`, and an experiment whose `--data` chooses
among networks uses the ops of all of them. What hides behind a name in a string or behind a value made at run time is
not found; the tests hold the cases that matter.
"""

import ast
import functools
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jaxnn
import jaxnn.detection
from jaxnn.hand_derived import Op
from jaxnn.layers import Layer
from jaxnn.network import Network

__all__ = ["all_layers", "all_ops", "of_experiment", "of_layer", "source_of"]

# Where a name is followed to. Training, comparison and data call the ops that they are given, and have none themselves.
FOLLOWED = ("jaxnn.ops", "jaxnn.layers", "jaxnn.models", "jaxnn.losses", "jaxnn.detection", "jaxnn.style",
            "jaxnn.faces", "jaxnn.audio", "jaxnn.words", "jaxnn.text", "jaxnn.decoding", "experiments")
CONTAINERS = ("Sequential", "Parallel", "Residual", "over_examples", "at_inference")
LEFT_OUT = ("experiments.catalogue", "experiments.compare", "experiments.bench", "experiments.gallery")


@functools.cache
def all_ops() -> dict[str, Op]:
    """The public ops by name, those of `jaxnn.detection` too."""
    found: dict[str, Op] = {}
    for module in (jaxnn, jaxnn.detection):
        for name in sorted(getattr(module, "__all__", dir(module)), key=str.lower):
            value = getattr(module, name)
            if isinstance(value, Op) and not isinstance(value, Network):
                found.setdefault(value.name, value)
    return dict(sorted(found.items()))


@functools.cache
def all_layers() -> dict[str, type]:
    """The public layers by name, but the containers, which have no op of their own."""
    return {name: value for name in jaxnn.__all__ if isinstance(value := getattr(jaxnn, name), type)
            and issubclass(value, Layer) and value is not Layer and name not in CONTAINERS}


@functools.cache
def of_layer(name: str) -> frozenset[str]:
    """The names of the ops that a public layer uses."""
    layer = all_layers()[name]
    return _reached((layer.__module__, layer.__name__))


@functools.cache
def of_experiment(module: str) -> frozenset[str]:
    """The names of the ops that an experiment's module uses, directly and through layers, models and helpers."""
    importlib.import_module(module)
    return frozenset().union(*(_reached((module, name)) for name in _definitions(module)))


def source_of(module: str) -> str:
    """Where a module stands in the repository: experiments/course1/digits.py."""
    return module.replace(".", "/") + ".py"


def _reached(start: tuple[str, str]) -> frozenset[str]:
    """The ops among all that can be reached from a definition, by a search that visits each definition once."""
    found: set[str] = set()
    waiting, seen = [start], {start}
    while waiting:
        for value in _references(*waiting.pop()):
            if isinstance(value, Op) and not isinstance(value, Network) and value.name in all_ops():
                found.add(value.name)
                continue
            place = _place(value)
            if place is not None and place not in seen:
                seen.add(place)
                waiting.append(place)
    return frozenset(found)


def _place(value: Any) -> tuple[str, str] | None:
    """(module, name) of a function, a class or a named constant whose source is followed."""
    if isinstance(value, tuple) and len(value) == 3 and value[0] == "constant":
        module, name = value[1:]
    else:
        module, name = getattr(value, "__module__", None), getattr(value, "__name__", None)
        if isinstance(value, functools.partial):
            module, name = value.func.__module__, value.func.__name__
    is_followed = isinstance(module, str) and isinstance(name, str) and module.startswith(FOLLOWED) and (
        not module.startswith(LEFT_OUT))
    return (module, name) if is_followed and name in _definitions(module) else None


@functools.cache
def _definitions(module: str) -> dict[str, ast.AST]:
    """The functions, classes and constants of a module's top level, as syntax trees."""
    path = getattr(sys.modules.get(module), "__file__", None)
    if path is None:
        return {}
    found: dict[str, ast.AST] = {}
    with open(path, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        found[name.id] = node.value
    return found


def _references(module: str, name: str) -> Iterator[Any]:
    """What a definition names: objects of its module, of modules that it imported, and of its own imports."""
    names = dict(vars(sys.modules[module]))
    node = _definitions(module)[name]
    for inner in ast.walk(node):
        if isinstance(inner, ast.ImportFrom) and inner.module and inner.level == 0:  # an import inside of a function
            is_ours = inner.module.startswith(("jaxnn", "experiments"))
            source = importlib.import_module(inner.module) if is_ours else None
            names.update({alias.asname or alias.name: getattr(source, alias.name)
                          for alias in inner.names if source is not None and hasattr(source, alias.name)})
    # Of a dotted name the longest part that is found counts: ops.dense, and not ops.
    parts = {id(inner.value) for inner in ast.walk(node) if isinstance(inner, ast.Attribute)}
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name | ast.Attribute) and id(inner) not in parts:
            yield from _values(inner, names, module)


def _values(node: ast.AST, names: dict[str, Any], module: str) -> Iterator[Any]:
    dotted: list[str] = []
    while isinstance(node, ast.Attribute):
        dotted.insert(0, node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in names:
        return
    value = names[node.id]
    while dotted and isinstance(value, ModuleType):
        of, value = value, getattr(value, dotted.pop(0), None)
        module = of.__name__
    if isinstance(value, ModuleType):
        return
    yield value
    if _place(value) is None and not isinstance(value, Op):
        # A table such as NETWORKS = {"lenet-5": lenet5}: its own source says what is in it.
        yield ("constant", module, node.id)
