"""The pages that are made from the code: one for each op, the layers, the modules, the experiments."""

import importlib
import inspect
import json
import re
import shutil
from html import escape
from pathlib import Path
from typing import Any

from docs.measure import TABLE
from experiments.__main__ import EXPERIMENTS
from experiments.gallery import uses
from experiments.gallery.course import COURSES
from experiments.gallery.facts import FACTS
from experiments.shared import mathml
from experiments.shared.docstrings import Block, describe, items, parse
from jaxnn.hand_derived import Op

__all__ = ["MODULES", "op_page", "to_markdown", "write_pages"]

# The modules that have a page each, with what it is about.
MODULES = {
    "jaxnn.gradients": "Comparing gradients", "jaxnn.inside": "Inside a backward pass", "jaxnn.layers": "Layers",
    "jaxnn.losses": "Losses made of a loss", "jaxnn.models": "Named networks", "jaxnn.training": "Training",
    "jaxnn.data": "Data", "jaxnn.augmentation": "Augmentation", "jaxnn.text": "Text", "jaxnn.decoding": "Decoding",
    "jaxnn.words": "Word vectors", "jaxnn.audio": "Sound", "jaxnn.music": "Music", "jaxnn.detection": "Detection",
    "jaxnn.faces": "Faces", "jaxnn.style": "Style", "jaxnn.metrics": "Metrics", "jaxnn.analysis": "Analysis of errors",
    "jaxnn.initializers": "Initializers", "jaxnn.testing": "Testing",
}
# In the order of the front page: the first whose file's name fits.
FAMILIES = {
    "Dense, embedding, dropout, shapes": "dense dropout embedding shape scale",
    "Attention": "attention alignment positions",
    "Convolution, pooling, resizing": "conv pool average_pool resize window",
    "Normalization": "normalization norms",
    "Recurrent networks": "recurrent lstm_variants cell over_time",
    "Activations": "activation rectifiers softmax",
    "Losses": "loss regression_loss dense_loss ctc focal",
    "Embeddings, textures, boxes": "embedding_losses mined_triplets cosine_margin unit texture overlap yolo_head",
}


def write_pages(folder: Path) -> None:
    """Writes all generated pages into a folder, in place of what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    for place, text in {**_op_pages(), **_module_pages(), "experiments.md": _experiments()}.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _op_pages() -> dict[str, str]:
    measured = json.loads(TABLE.read_text(encoding="utf-8"))
    made = {f"ops/{name}.md": op_page(op, measured) for name, op in uses.all_ops().items()}
    families: dict[str, list[str]] = {title: [] for title in (*FAMILIES, "More")}
    for name, op in uses.all_ops().items():
        file = Path(inspect.getsourcefile(inspect.unwrap(op)) or "").stem
        if isinstance(getattr(op, "_forward", None), object) and file == "over_time":
            file = "recurrent"
        families[next((title for title, files in FAMILIES.items() if file in files.split()), "More")].append(name)
    parts = ["# Ops\n\nEach page has the equation, the derivation of the backward pass, the error of the gradient in "
             "every dtype, and what it costs beside autodiff.\n"]
    for title, names in families.items():
        if names:
            lines = "\n".join(f"- [`{name}`](ops/{name}.md): {_first(describe(uses.all_ops()[name]).summary)}"
                              for name in names)
            toc = "\n".join(f"ops/{name}" for name in names)
            parts.append(f"## {title}\n\n{lines}\n\n```{{toctree}}\n:hidden:\n{toc}\n```\n")
    return {**made, "ops.md": "\n".join([*parts, _costs(measured)])}


def _costs(measured: Any) -> str:
    """All ops: the time of one gradient over that of autodiff, for each size of arguments."""
    sizes = [(name, [of["ratio"] for of in entry["cost"].values()]) for name, entry in measured["ops"].items()]
    rows = "\n".join(f"| [`{name}`](ops/{name}.md) | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |"
                     for name, ratios in sizes)
    where = f"{measured['device']}, jax {measured['jax']}"
    return (f"## The time of all\n\nOne gradient by hand over one by autodiff, for small, medium and large arguments "
            f"of the catalogue, {measured['examples']} examples at a time ({where}; `python -m docs.measure`). What "
            "takes microseconds is mostly the call, and differs by a tenth from run to run.\n\n"
            f"| op | small | medium | large |\n|---|---|---|---|\n{rows}\n")


def _first(text: str) -> str:
    return _sentence(re.split(r"(?<=\.)\s", text)[0].rstrip(".:"))


def op_page(op: Op, measured: Any) -> str:
    """One op: equation, arguments, derivation, what was measured, where it is used."""
    described = describe(op)
    layers = [f"[`{name}`](../reference/layers.md#{name.lower()})" for name in uses.all_layers()
              if op.name in uses.of_layer(name)]
    trained = [f"[{name}](../experiments.md#{name})" for name, module in EXPERIMENTS.items()
               if op.name in uses.of_experiment(module)]
    source = re.sub(r".*?(jaxnn/)", r"\1", inspect.getsourcefile(inspect.unwrap(op)) or "")
    first = next((name for name in EXPERIMENTS if op.name in uses.of_experiment(EXPERIMENTS[name])
                  and name.replace("-", "_") == op.name), trained and re.sub(r"\[(.*?)\].*", r"\1", trained[0]))
    command = f"\n```sh\npython -m experiments run {first}\n```\n" if trained else ""
    return "\n".join([
        f"# {op.name}\n\n```python\n{described.signature}\n```\n", to_markdown(described.forward),
        "## The backward pass\n", to_markdown(described.backward), "## Measured\n", _measured(op.name, measured),
        "## Where it is used\n", f"Layers: {', '.join(layers) or 'none'}.\n",
        f"Experiments: {', '.join(trained) or 'none'}.\n{command}", f"Source: `{source}`\n"])


def _measured(name: str, table: Any) -> str:
    entry = table["ops"].get(name)
    if entry is None:
        return f"Not measured yet: `python -m docs.measure {name}`.\n"
    rows = "\n".join(f"| {dtype} | {_units(of['ours'])} | {_units(of['autodiff'])} |"
                     for dtype, of in entry["errors"].items())
    costs = "\n".join(f"| {size} | {of['milliseconds']:.3g} ms | {of['ratio']:.2f} | {_bytes(of['bytes'])} | "
                      f"{_bytes(of['bytes_autodiff'])} |" for size, of in entry["cost"].items())
    return (f"The error of the gradient, in units of eps · max|leaf| of its dtype, from the reference's gradient in "
            f"float64 at the same arguments:\n\n| dtype | by hand | by autodiff |\n|---|---|---|\n{rows}\n\n"
            f"The cost of one gradient of {table['examples']} examples, with the catalogue's arguments for this op "
            f"({table['device']}, jax {table['jax']}):\n\n| arguments | by hand | over autodiff's time | temporary "
            "memory by hand | by autodiff"
            f" |\n|---|---|---|---|---|\n{costs}\n\n`python -m docs.measure {name}` measures again.\n")


def _units(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _bytes(n: int | None) -> str:
    if n is None:  # where XLA does not say
        return ""
    return f"{n / 1e6:.1f} MB" if n >= 1e5 else f"{n / 1e3:.1f} kB" if n >= 1000 else f"{n} bytes"


def _module_pages() -> dict[str, str]:
    made = {f"reference/{name.partition('.')[2]}.md": _module(name, title) for name, title in MODULES.items()}
    toc = "\n".join(place.removesuffix(".md") for place in made)
    body = "\n".join(f"- [`{name}`](reference/{name.partition('.')[2]}.md): {title.lower()}" for name, title in
                     MODULES.items())
    return {**made, "reference.md": f"# Reference\n\nWhat each module has, from its docstrings. The ops have "
            f"[pages of their own](ops.md).\n\n{body}\n\n```{{toctree}}\n:hidden:\n{toc}\n```\n"}


def _module(name: str, title: str) -> str:
    module = importlib.import_module(name)
    parts = [f"# {title}\n\n`{name}`\n\n", to_markdown(parse(inspect.getdoc(module) or ""))]
    for public in _public(module):
        value = getattr(module, public)
        if isinstance(value, Op):
            parts.append(f"## {public}\n\nAn op: [its page](../ops/{value.name}.md).\n")
        else:
            parts.append(f"## {public}\n\n```python\n{_signature(public, value)}\n```\n\n"
                         f"{to_markdown(parse(inspect.getdoc(value) or ''))}")
            used = uses.of_layer(public) if public in uses.all_layers() else ()
            if used:
                parts.append(f"Ops: {', '.join(f'[{op}](../ops/{op}.md)' for op in sorted(used))}.\n")
    return "\n".join(parts)


def _public(module: Any) -> list[str]:
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    return [name for name in names if (inspect.isfunction(value := getattr(module, name)) or inspect.isclass(value)
            or isinstance(value, Op)) and getattr(value, "__module__", "").startswith("jaxnn")
            and (not isinstance(value, Op) or value.name in uses.all_ops())]


def _signature(name: str, value: Any) -> str:
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):
        return name
    signature = re.sub(r"<[^>]*>", "...", signature)  # a default that prints as an address
    return f"{name}{signature}"


def _experiments() -> str:
    parts = ["# Experiments\n\n`python -m experiments list` names them, `python -m experiments run NAME --help` "
             "shows the knobs of one. `python -m experiments gallery` makes one site of all results, with a map of the "
             "course.\n"]
    numbered = {number: [name for name in EXPERIMENTS if _course(name) == number] for number in (*COURSES, 0)}
    for number, names in numbered.items():
        if names:
            title = f"Course {number}: {COURSES[number]}" if number else "Beside the courses"
            parts.append(f"## {title}\n")
            for name in names:
                ops = ", ".join(f"[{op}](ops/{op}.md)" for op in sorted(uses.of_experiment(EXPERIMENTS[name])))
                text = inspect.getdoc(importlib.import_module(EXPERIMENTS[name])) or ""
                question, _, rest = text.partition("\n")
                parts.append(f"### {name}\n\n{_sentence(question)}\n\n{_as_written(rest)}\n\nOps: {ops}.\n")
    return "\n".join(parts)


def _as_written(text: str) -> str:
    """Paragraphs as text; what stands in columns or is indented keeps its spaces."""
    made = []
    for chunk in re.split(r"\n\s*\n", text.strip("\n")):
        lines = chunk.split("\n")
        while lines:
            in_columns = _in_columns(lines[0])
            n = next((i for i, line in enumerate(lines) if _in_columns(line) != in_columns), len(lines))
            part = "\n".join(lines[:n])
            made.append(f"```text\n{part}\n```" if in_columns else _sentence(" ".join(lines[:n])))
            lines = lines[n:]
    return "\n\n".join(made)


def _in_columns(line: str) -> bool:
    return bool(re.match(r"    |--", line) or re.search(r"\S\s{3,}\S", line))


def _course(name: str) -> int:
    return FACTS[name].course if name in FACTS else 0


def to_markdown(blocks: tuple[Block, ...]) -> str:
    """Blocks of a docstring as Markdown, formulas as MathML."""
    return "\n".join(map(_block, blocks))


def _block(block: Block) -> str:
    if block.kind == "formulas":
        if any(re.search(r"\"|\w\(.*\w=|python |import |\bdef \b", line) for line in block.lines):  # code
            return "```python\n" + "\n".join(line[4:] for line in block.lines) + "\n```\n"
        rows = "".join(f'<div class="line">{mathml.typeset(line)}</div>' for line in block.lines)
        return f'```{{raw}} html\n<div class="formulas">{rows}</div>\n```\n'
    if block.kind == "example":
        return "```pycon\n" + "\n".join(block.lines) + "\n```\n"
    if block.kind == "list":
        rows = "\n".join(f"- `{name}`: {_sentence(said)}" if name else f"- {_sentence(said)}"
                         for name, said in items(block))
        return f"**{block.title}**\n\n{rows}\n"
    return _sentence(" ".join(block.lines)) + "\n"


def _sentence(text: str) -> str:
    """A sentence whose signs Markdown leaves as they are."""
    made = []
    for part in re.split(r"(`[^`]*`)", text):
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            made.append(part)
        else:
            made += [mathml.inline(piece) if is_formula else _plain(piece) for is_formula, piece in mathml.within(part)]
    return "".join(made)


def _plain(text: str) -> str:
    return re.sub(r"([\\*_\[\]{}#$|~`])", r"\\\1", escape(text, quote=False))
