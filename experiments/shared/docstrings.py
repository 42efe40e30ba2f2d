"""The docstring of an op, taken apart: sentences, formulas, arguments, examples, sources; and put together as HTML.

Docstrings here are plain text with a few habits, by which their parts are known: formulas are indented by four spaces,
`Args:`, `Returns:` and `Raises:` head lists, `>>>` begins an example, `Source:` names the papers.
"""

import inspect
import re
import textwrap
from html import escape
from typing import Any, NamedTuple

from experiments.shared import mathml
from jaxnn.hand_derived import Op

__all__ = ["Block", "Described", "describe", "parse", "sentence", "to_html"]

LISTS = ("Args", "Returns", "Raises", "Attributes")



class Block(NamedTuple):
    """One part of a docstring. kind: text, formulas, list, example or source."""

    kind: str
    lines: tuple[str, ...]
    title: str = ""


class Described(NamedTuple):
    """An op's docstring, its two halves, and the signature."""

    signature: str
    summary: str
    """The first sentence, which for most ops is the equation."""
    forward: tuple[Block, ...]
    backward: tuple[Block, ...]


def describe(op: Op) -> Described:
    """The two halves of an op's docstring: what it computes, and the derivation of its backward pass."""
    text = inspect.getdoc(op) or ""
    head, _, derivation = text.partition("\n\nBackward pass, ")
    derivation = derivation.partition("\n\n")[2]
    signature, _, body = head.partition("\n\n")
    blocks = parse(body)
    summary = " ".join(blocks[0].lines) if blocks else ""
    signature = re.sub(r": (?:[^,()\[\]]|\[[^\]]*\])+?(?=[,)]| = )", "", signature).replace(" -> Any", "")
    return Described(signature, summary, blocks, parse(derivation))


def parse(text: str) -> tuple[Block, ...]:
    """The blocks of a docstring, in order."""
    blocks: list[Block] = []
    for chunk in re.split(r"\n\s*\n", textwrap.dedent(text).strip("\n")):
        blocks += _blocks(chunk.split("\n"))
    return tuple(blocks)


def _blocks(lines: list[str]) -> list[Block]:
    """A chunk without empty lines may hold a list behind a list, or a source behind a sentence."""
    blocks: list[Block] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        heading = re.match(rf"({'|'.join(LISTS)}):\s*(.*)$", line)
        if not line.strip():
            at += 1
        elif line.startswith(">>>"):
            blocks.append(Block("example", tuple(lines[at:])))
            break
        elif heading:
            end = _while(lines, at + 1, lambda later: later.startswith("  "))
            first = (f"  {heading[2]}",) if heading[2] else ()
            blocks.append(Block("list", (*first, *lines[at + 1:end]), heading[1]))
            at = end
        elif line.startswith("Source:"):
            end = _while(lines, at + 1, lambda later: later.startswith("  "))
            blocks.append(Block("source", tuple(part.strip() for part in lines[at:end])))
            at = end
        elif line.startswith("    "):
            end = _while(lines, at, lambda later: later.startswith("    "))
            blocks.append(Block("formulas", tuple(lines[at:end])))
            at = end
        else:
            end = _while(lines, at + 1, lambda later: not later.startswith((">>>", "    ", "Source:"))
                         and not re.match(rf"({'|'.join(LISTS)}):", later))
            blocks.append(Block("text", tuple(part.strip() for part in lines[at:end])))
            at = end
    return blocks


def _while(lines: list[str], at: int, holds: Any) -> int:
    while at < len(lines) and holds(lines[at]):
        at += 1
    return at


def items(block: Block) -> list[tuple[str, str]]:
    """(name, what is said of it) of a list; the name is empty where the list is one sentence."""
    found: list[tuple[str, str]] = []
    for line in block.lines:
        named = re.match(r"  ([\w*, ]{1,40}|InputError|MissingData|BadFile): (.*)$", line)
        if named and block.title != "Returns":
            found.append((named[1], named[2]))
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            found.append(("", line.strip()))
    return found


def sentence(text: str) -> str:
    """A sentence as HTML: code in backquotes, letters with an index as mathematics."""
    made = []
    for part in re.split(r"(`[^`]*`)", text):
        if part.startswith("`") and part.endswith("`") and len(part) > 1:
            made.append(f"<code>{escape(part[1:-1])}</code>")
        else:
            made.append(_with_formulas(part))
    return "".join(made)


def _with_formulas(text: str) -> str:
    return "".join(mathml.inline(piece) if is_formula else escape(piece, quote=False)
                   for is_formula, piece in mathml.within(text))


def to_html(blocks: tuple[Block, ...]) -> str:
    """Blocks as HTML, without headings."""
    return "\n".join(map(_html, blocks))


def _html(block: Block) -> str:
    if block.kind == "formulas":
        rows = "".join(f'<div class="line">{mathml.typeset(line)}</div>' for line in block.lines)
        return f'<div class="formulas">{rows}</div>'
    if block.kind == "example":
        return f"<pre>{escape(chr(10).join(block.lines))}</pre>"
    if block.kind == "list":
        rows = "".join(f"<dt>{f'<code>{escape(name)}</code>' if name else ''}</dt><dd>{sentence(said)}</dd>"
                       for name, said in items(block))
        return f"<h4>{block.title}</h4><dl>{rows}</dl>"
    kind = ' class="source"' if block.kind == "source" else ""
    return f"<p{kind}>{sentence(' '.join(block.lines))}</p>"
