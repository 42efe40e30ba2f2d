"""The mathematics of docstrings, which is written in plain letters, as MathML.

    formulas("dx = r (dx̂ - ⟨dx̂⟩)        dβ = Σ dy")        one <math> for each formula of the line

The notation is that of the docstrings: `_` begins an index, one word or `{...}`; `^{...}`, ², ᵀ and ' are exponents;
√ is the root of what follows; three spaces separate formulas. A quotient is stacked where both of its sides have an end
that cannot be mistaken, as in 1 / √(v + eps); in a / b c it stays in the line. MathML needs no script, no font and no
network.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

__all__ = ["formulas", "inline", "typeset", "within"]

FUNCTIONS = frozenset((
    "arccos", "cos", "cosh", "det", "diag", "erf", "exp", "log", "max", "mean", "min", "round", "sign", "sin", "sinh",
    "softmax", "softplus", "sqrt", "sum", "tanh", "tr", "var"))
BIG = {"Σ": "∑", "Π": "∏", "∫": "∫"}
RAISED = {"²": "2", "³": "3", "⁴": "4", "¹": "1", "⁰": "0", "ᵀ": "T", "⁻": "−", "ʰ": "h", "ⁿ": "n"}
LOWERED = {chr(0x2080 + digit): str(digit) for digit in range(10)}
OPENING, CLOSING = "([⟨{", ")]⟩}"
MARKS = {"\u0302": "^", "\u0304": "¯", "\u0303": "~", "\u0307": "˙", "\u0305": "¯"}  # combining, over a letter
STRONG = re.compile(r"[=∂√⟨^²³ᵀ\u0302\u0370-\u03ff]|[^\W\d_]_[\w{]|d\u0302")  # what a sentence has in formulas only
CODE = re.compile(r"[\"`\\]|\.\.|//|^\*|\w\(\w+=|[a-z]{2,}_[a-z]{2,}|\b[a-z]_(?:in|out|[a-z]{4,})")
WEAK_ENDS = ("a", "A", "I", "-", "=", "+", "/", "*", "<", ">", "·")
DOT = "<mo>·</mo>"
TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<code>`[^`]*`)|(?P<number>\d[\d,]*\.?\d*(?:e-?\d+)?)"
    r"|(?P<word>(?:(?![ΣΠᵀʰⁿ])[^\W\d_][\u0300-\u036f]?)+)|(?P<other>.)", re.DOTALL)


class Token(NamedTuple):
    kind: str
    text: str


class Part(NamedTuple):
    """One piece of a formula. kind: atom, partial (∂x), group, big (a sum), function, operator or text. inside: a group
    without its brackets."""

    kind: str
    xml: str
    inside: str = ""


def typeset(line: str) -> str:
    """One line of a derivation as HTML: its formulas, and what is said beside them as text."""
    return " ".join(f'<span class="formula">{formula}</span>' for formula in formulas(line))


def formulas(line: str) -> list[str]:
    """A <math> element, or plain text, for each column of a line; columns stand three spaces apart."""
    columns = [column for column in re.split(r"\s{3,}(?![\s=])", line.strip()) if column]  # " =" is one alignment
    return [f'<span class="aside">{escape(column)}</span>' if _is_prose(column) else
            f'<math displaystyle="true">{_row(_parts(column))}</math>' for column in columns]


def inline(text: str) -> str:
    """A formula within a sentence."""
    return f"<math>{_row(_parts(text))}</math>"


def within(sentence: str) -> list[tuple[bool, str]]:
    """A sentence as (is a formula, text) pieces. A run of words is a formula if a sign of one is in it, such as = or an
    index, and if its brackets fit."""
    pieces: list[tuple[bool, str]] = []
    run: list[str] = []

    def end() -> None:
        nonlocal run
        after: list[str] = []
        while run and (run[-1].strip() in ("", *WEAK_ENDS)):
            after.insert(0, run.pop())
        before: list[str] = []
        while run and (run[0].strip() in ("", "a", "A", "I", "-")):
            before.append(run.pop(0))
        text = "".join(run)
        if before:
            pieces.append((False, "".join(before)))
        if text:
            pieces.append((bool(STRONG.search(text)) and _fits(text), text))
        if after:
            pieces.append((False, "".join(after)))
        run = []

    for word in re.split(r"(\s+|[,.;:](?=\s|$))", sentence):
        if word and _is_formula_word(word):
            if word[0].isdigit() and run and "".join(run).rstrip()[-1:].isalpha():
                end()  # "γ is 1, β 0" is no product
            run.append(word)
        elif word:
            end()
            pieces.append((False, word))
    end()
    return pieces


def _is_formula_word(word: str) -> bool:
    if word.isspace() or word in "=+-/*<>·≤≥≠∈" or re.fullmatch(r"\d[\d.,]*", word):
        return True
    if word in ",.;:" or CODE.search(word):
        return False  # code, a range, a name
    words = re.findall(r"[^\W\d_]+", re.sub(r"_\{[^}]*\}|_[^\W_]+", "", word))
    return all(_is_variable(part) or part in FUNCTIONS for part in words) and not word.startswith("--")


def _fits(text: str) -> bool:
    """Whether each bracket that is opened is closed."""
    waiting: list[str] = []
    for sign in text:
        if sign in OPENING:
            waiting.append(sign)
        elif sign in CLOSING and (not waiting or OPENING.index(waiting.pop()) != CLOSING.index(sign)):
            return False
    return not waiting


def _is_prose(column: str) -> bool:
    """Whether a column is a remark: no equation, and mostly words."""
    words = re.findall(r"[^\W\d_]{2,}", column)
    plain = [word for word in words if word not in FUNCTIONS and not _is_variable(word)]
    return "=" not in column and len(plain) >= 2 and len("".join(plain)) > 0.5 * len(re.sub(r"\s", "", column))


def _is_variable(word: str) -> bool:
    """x, x̂, dx, dx̂, ∂x: one letter, alone or behind d; letters beyond ASCII each stand alone."""
    base = "".join(c for c in unicodedata.normalize("NFD", word) if not unicodedata.combining(c))
    return len(base) == 1 or (len(base) == 2 and base[0] == "d") or not base.isascii()


def _tokens(text: str) -> list[Token]:
    normal = unicodedata.normalize("NFD", text)
    return [Token(match.lastgroup or "other", match.group()) for match in TOKEN.finditer(normal)]


def _parts(text: str) -> list[Part]:
    tokens = _tokens(text)
    parts, end = _read(tokens, 0)
    while end < len(tokens):  # a closing bracket that nothing opened
        parts.append(Part("operator", _operator(tokens[end].text)))
        more, end = _read(tokens, end + 1)
        parts += more
    return parts


def _read(tokens: Sequence[Token], at: int, *, stacked: bool = True) -> tuple[list[Part], int]:
    """The parts from `at` up to a closing bracket, and where that is. stacked: quotients, which an index is too small
    for."""
    parts: list[Part] = []
    while at < len(tokens):
        kind, text = tokens[at]
        if text in CLOSING and kind == "other":
            break
        part, at = _one(tokens, at)
        if part is not None:
            parts.append(part)
    return _with_quotients(parts) if stacked else parts, at


def _one(tokens: Sequence[Token], at: int) -> tuple[Part | None, int]:
    """The part that begins at `at`, with its index and exponent; None for a space."""
    kind, text = tokens[at]
    if kind == "space":
        return None, at + 1
    if text == "√":
        part, after = _next_atom(tokens, at + 1)
        return (Part("atom", f"<msqrt>{part.inside or part.xml}</msqrt>"), after) if part else (
            Part("operator", _operator("√")), at + 1)
    if kind == "other" and text in OPENING:
        inner, end = _read(tokens, at + 1)
        if end >= len(tokens):  # never closed: the bracket alone
            return Part("operator", _operator(text)), at + 1
        inside = _row(inner)
        xml = f"<mrow>{_operator(text)}{inside}{_operator(tokens[end].text)}</mrow>"
        return _with_scripts(tokens, end + 1, Part("group", xml, inside))
    if kind == "word":
        return _word(tokens, at)
    if kind == "number":
        return _with_scripts(tokens, at + 1, Part("atom", f"<mn>{text}</mn>"))
    if kind == "code":
        return Part("text", f"<mtext>{escape(text.strip('`'))}</mtext>"), at + 1
    if text in BIG:
        return _with_scripts(tokens, at + 1, Part("big", f"<mo>{BIG[text]}</mo>"))
    if text == "∂":  # belongs to the variable behind it
        part, after = _next_atom(tokens, at + 1)
        if part:
            return Part("partial", f'<mrow><mo rspace="0">∂</mo>{part.xml}</mrow>'), after
    if text in "∞δ":
        return _with_scripts(tokens, at + 1, Part("atom", f"<mi>{text}</mi>"))
    return Part("operator", _operator(text)), at + 1


def _next_atom(tokens: Sequence[Token], at: int) -> tuple[Part | None, int]:
    while at < len(tokens) and tokens[at].kind == "space":
        at += 1
    if at >= len(tokens):
        return None, at
    part, after = _one(tokens, at)
    return (part, after) if part is not None and part.kind in ("atom", "group", "partial") else (None, at)


def _word(tokens: Sequence[Token], at: int) -> tuple[Part, int]:
    text = tokens[at].text
    has_index = at + 1 < len(tokens) and tokens[at + 1].text == "_"
    if text in FUNCTIONS:
        part, after = _with_scripts(tokens, at + 1, Part("atom", f"<mi>{text}</mi>"))
        return Part("function", f"{part.xml}<mo>&#x2061;</mo>"), after
    if _is_variable(text):
        return _with_scripts(tokens, at + 1, Part("atom", _letters(text)))
    if has_index or (at + 1 < len(tokens) and tokens[at + 1].text in (*RAISED, "'", "^")):
        return _with_scripts(tokens, at + 1, Part("atom", f"<mi>{escape(text)}</mi>"))
    return Part("text", f"<mtext>&#xa0;{escape(unicodedata.normalize('NFC', text))}&#xa0;</mtext>"), at + 1


def _letters(word: str) -> str:
    """Each letter a variable of its own, an accent over it."""
    pieces = [f"<mover accent=\"true\"><mi>{base}</mi><mo>{MARKS.get(mark, mark)}</mo></mover>" if mark else
              f"<mi>{base}</mi>" for base, mark in re.findall(r"([^\W\d_])([\u0300-\u036f]?)", word)]
    return pieces[0] if len(pieces) == 1 else f"<mrow>{''.join(pieces)}</mrow>"


def _with_scripts(tokens: Sequence[Token], at: int, part: Part) -> tuple[Part, int]:
    """The part with the index and the exponents that follow it without a space."""
    low, high = "", ""
    while at < len(tokens):
        text = tokens[at].text
        if text == "_" and not low:
            low, at = _script(tokens, at + 1)
        elif text in LOWERED and not low:
            low, at = f"<mn>{LOWERED[text]}</mn>", at + 1
        elif text == "^" and not high:
            high, at = _script(tokens, at + 1)
        elif text in RAISED or text == "'" :
            sign = "′" if text == "'" else RAISED[text]
            high += f"<mn>{sign}</mn>" if sign.isdigit() else f"<mi>{sign}</mi>" if sign.isalpha() else \
                f'<mo lspace="0" rspace="0">{sign}</mo>'
            at += 1
        else:
            break
    base = f"<mrow>{part.xml}</mrow>" if part.xml.count("<") > 2 else part.xml
    if low and high:
        tags = "munderover" if part.kind == "big" else "msubsup"
        xml = f"<{tags}>{base}<mrow>{low}</mrow><mrow>{high}</mrow></{tags}>"
    elif low or high:
        tag = ("munder" if part.kind == "big" else "msub") if low else "msup"
        xml = f"<{tag}>{base}<mrow>{low or high}</mrow></{tag}>"
    else:
        return part, at
    return Part("big" if part.kind == "big" else "atom", xml), at


def _script(tokens: Sequence[Token], at: int) -> tuple[str, int]:
    if at >= len(tokens):
        return "<mtext>_</mtext>", at
    kind, text = tokens[at]
    if text == "{":
        inner, end = _read(tokens, at + 1, stacked=False)
        return _row(inner), min(end + 1, len(tokens))
    if kind == "word":
        known = (text.isascii() and (len(text) > 3 or text in ("in", "out"))) or text in FUNCTIONS
        return (f"<mtext>{text}</mtext>" if known else _letters(text)), at + 1
    if kind == "number":
        return f"<mn>{text}</mn>", at + 1
    return _operator(text), at + 1


def _with_quotients(parts: list[Part]) -> list[Part]:
    """Stacks a / b where b ends at an operator, a bracket or the end; a is all that is multiplied before it."""
    slash = _operator("/")
    made: list[Part] = []
    at = 0
    while at < len(parts):
        part = parts[at]
        top, bottom = _product_before(made), _product_after(parts, at + 1)
        if made and made[-1].kind == "partial" and parts[at + 1:] and parts[at + 1].kind == "partial":
            top, bottom = [made[-1]], [parts[at + 1]]  # ∂L/∂x is one thing, whatever is multiplied with it
        if part.xml == slash and top and bottom:
            over = made[-len(top):]
            del made[-len(top):]
            made.append(Part("atom", f"<mfrac>{_bare(over)}{_bare(bottom)}</mfrac>"))
            at += 1 + len(bottom)
        else:
            made.append(part)
            at += 1
    return made


def _product_before(made: list[Part]) -> list[Part]:
    top: list[Part] = []
    for part in reversed(made):
        if part.xml == DOT and top:
            top.insert(0, part)
            continue
        if part.kind not in ("atom", "group", "partial"):
            if part.kind in ("big", "function", "text"):
                return []  # a sum, log, or a word: where the quotient begins is not plain
            break
        top.insert(0, part)
    return top[1:] if top and top[0].xml == DOT else top


def _product_after(parts: list[Part], at: int) -> list[Part]:
    bottom: list[Part] = []
    for part in parts[at:]:
        if part.kind not in ("atom", "group", "partial", "big", "text"):
            break
        bottom.append(part)
    is_sum = bool(bottom) and bottom[0].kind == "big"
    one = len(bottom) == 1 and bottom[0].kind in ("atom", "group", "partial")
    return bottom if one or (is_sum and all(part.kind != "text" for part in bottom)) else []


def _bare(parts: list[Part]) -> str:
    if len(parts) == 1 and parts[0].kind == "group" and parts[0].inside:
        return f"<mrow>{parts[0].inside}</mrow>"
    return _row(parts)


def _row(parts: Sequence[Part]) -> str:
    return f"<mrow>{''.join(part.xml for part in parts)}</mrow>"


def _operator(text: str) -> str:
    sign = {"-": "−", "*": "∗", "·": "·", "'": "′"}.get(text, text)
    attributes = ' stretchy="false"' if sign in "()[]{}⟨⟩|‖" else ""
    return f"<mo{attributes}>{escape(sign)}</mo>"
