"""Docstrings as mathematics: nothing is lost, everything is well formed."""

import html
import re
import unicodedata
import xml.etree.ElementTree as ET

import pytest

from experiments.gallery.uses import all_ops
from experiments.shared import mathml
from experiments.shared.docstrings import describe, parse, sentence, to_html

BACK = {"∑": "Σ", "∏": "Π", "−": "-", "∗": "*", "′": "'", "\u2061": "", "^": "\u0302", "~": "\u0303", "¯": "\u0304",
        "˙": "\u0307"}


def letters(text):
    """The letters of a formula without what only says how they are set."""
    text = unicodedata.normalize("NFD", text)
    for sign, letter in {**BACK, **mathml.RAISED, **mathml.LOWERED, "−": "-"}.items():
        text = text.replace(sign, letter)
    # A prime stands before or behind an index.
    return sorted(re.sub(r"[\s\xa0_{}()√/`\u0302-]", "", text))


@pytest.mark.parametrize("name", all_ops())
def test_each_formula_of_each_op_is_typeset_whole(name):
    described = describe(all_ops()[name])
    blocks = described.forward + described.backward
    ET.fromstring(f"<x>{to_html(blocks)}</x>")
    assert described.backward and described.signature.startswith(f"{name}(")
    for block in blocks:
        for line in block.lines if block.kind == "formulas" else ():
            made = html.unescape(re.sub(r"<[^>]*>", "", mathml.typeset(line)))
            assert letters(made) == letters(line), line


def math(text):
    """The structure of a formula, without rows."""
    return re.sub(r"</?mrow>|<mo>|</mo>|<mo [^>]*>", "", mathml.inline(text)[6:-7])


@pytest.mark.parametrize(("text", "expected"), [
    ("x_i", "<msub><mi>x</mi><mi>i</mi></msub>"),
    ("W_hᵀ", "<msubsup><mi>W</mi><mi>h</mi><mi>T</mi></msubsup>"),
    ("√x", "<msqrt><mi>x</mi></msqrt>"),
    ("1 / √(v + 2)", "<mfrac><mn>1</mn><msqrt><mi>v</mi>+<mn>2</mn></msqrt></mfrac>"),
    ("a / b c", "<mi>a</mi>/<mi>b</mi><mi>c</mi>"),  # which of b and b c is meant cannot be known
    ("a ∂L/∂x b", "<mi>a</mi><mfrac>∂<mi>L</mi>∂<mi>x</mi></mfrac><mi>b</mi>"),
    ("Σ_j y", "<munder>∑<mi>j</mi></munder><mi>y</mi>"),
    ("dx̂", '<mi>d</mi><mover accent="true"><mi>x</mi>^</mover>'),
    ("e^{x_i}", "<msup><mi>e</mi><msub><mi>x</mi><mi>i</mi></msub></msup>"),
    ("(a]", "(<mi>a</mi>]"),
    ("(a", "(<mi>a</mi>"),
    ("a)", "<mi>a</mi>)"),
    ("x_", "<msub><mi>x</mi><mtext>_</mtext></msub>"),
    ("a < b", "<mi>a</mi>&lt;<mi>b</mi>"),
])
def test_notation(text, expected):
    assert math(text) == expected


def test_formulas_in_sentences():
    pieces = [text for is_formula, text in mathml.within("With x̂ = (x - μ) r the rule gives, for a row n_in, γ 1.")
              if is_formula]
    assert pieces == ["x̂ = (x - μ) r", "γ"]
    assert sentence("pass `a < b` and c") == "pass <code>a &lt; b</code> and c"


def test_remarks_beside_a_formula_stay_words():
    first, second = mathml.formulas("dK = Σ_p dy_p       x slid over by dy")
    assert first.startswith("<math") and second == '<span class="aside">x slid over by dy</span>'


def test_blocks_of_a_docstring():
    blocks = parse("One sentence\nover two lines.\n\n    y = x\n\nArgs:\n  x: one,\n    more.\n  b, c: two.\n"
                   "Returns:\n  (y,).\nSource: A (1990).\n\n>>> f(1)\n2")
    assert [block.kind for block in blocks] == ["text", "formulas", "list", "list", "source", "example"]
    made = to_html(blocks)
    assert "<dt><code>x</code></dt><dd>one, more.</dd>" in made and "<dd>(y,).</dd>" in made
