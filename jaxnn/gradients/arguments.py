"""Random arguments from a description in one line, as it is typed at a command line.

    f32[64,128] f32[128]                 one argument after another
    f32[]                                a scalar
    f32[8]*0.5   f32[8]>0   f32[8]/sum   normal times 0.5; uniform in (0, 1); positive with the sum 1 over
                                         the last axis
    i32[8]<10   bool[8]                  integers in 0 .. 9; a fair coin
    key   none                           a PRNG key; None
    {weight: f32[4,3], bias: f32[4]}     pytrees: dicts and tuples, nested as one likes
    (f32[3], f32[3])   ()
    f32[m,2*n]                           sizes by name, where names are given

Floating-point and complex numbers are standard normal unless the description says otherwise. They are
drawn in float64, each leaf from a stream of its own. So another dtype gets the same numbers rounded, and
another argument added at the end changes none before that argument.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn.checks import InputError, expect, is_integer

__all__ = ["parse"]

DTYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64", "c64": "complex64",
          "c128": "complex128", "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64", "u8": "uint8",
          "u16": "uint16", "u32": "uint32", "u64": "uint64", "bool": "bool"}
EXAMPLE = "f32[64,128] i32[8]<10 {weight: f32[4,3], bias: f32[4]}"

# A number is 12, 0.5 or 1e-3; `/sum` is one sign.
_TOKEN = re.compile(r"\s*(?:(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)|(?P<word>[A-Za-z_]\w*)|(?P<sign>/sum|\S))")


def parse(text: str, seed: Any = 0, sizes: Mapping[str, int] | None = None) -> tuple[Any, ...]:
    """The arguments that a text describes.

    Args:
      text: the description, in the language at the head of this file.
      seed: an integer >= 0, or a PRNG key; the same seed gives the same arguments.
      sizes: what the names between brackets stand for.
    Raises:
      InputError: where in the text, what was expected and what was found there; or a 64-bit dtype is asked
        for and JAX runs without.

    >>> [x.shape for x in parse("f32[2,n] i32[]<10", sizes={"n": 3})]
    [(2, 3), ()]
    """
    expect(isinstance(text, str), "arguments", "a description, a string", type(text).__name__,
           f"for example {EXAMPLE!r}")
    for name, size in (sizes or {}).items():
        expect(is_integer(size, 0), "arguments", f"the size {name}, an integer >= 0", repr(size))
    reader = _Reader(text, _entropy(seed), dict(sizes or {}))
    args = []
    while reader.token.kind != "end":
        args.append(reader.argument())
        if reader.token.text == ",":
            reader.step()
    return tuple(args)


class _Token(NamedTuple):
    kind: str  # number, word, sign or end
    text: str
    at: int


class _Reader:
    """Reads one description from left to right, and draws each leaf when it is read."""

    def __init__(self, text: str, entropy: list[int], sizes: dict[str, int]):
        self.text, self.entropy, self.sizes = text, entropy, sizes
        self.end, self.leaves = 0, 0
        self.token = self.scan()

    def scan(self) -> _Token:
        """The token that begins where the last one ended."""
        match = _TOKEN.match(self.text, self.end)
        if match is None:
            return _Token("end", "", len(self.text.rstrip()))
        self.end, kind = match.end(), str(match.lastgroup)
        return _Token(kind, match[kind], match.start(kind))

    def step(self) -> _Token:
        """Moves to the next token; returns the one before."""
        token, self.token = self.token, self.scan()
        return token

    def refuse(self, expected: str, example: str, token: _Token | None = None) -> NoReturn:
        token = token or self.token
        found = repr(token.text) if token.text else "the end"
        self.fail(token, f"expect {expected}; got {found}; for example {example}")

    def fail(self, token: _Token, problem: str) -> NoReturn:
        raise InputError("arguments", f"at character {token.at + 1} of {self.text!r} {problem}")

    def take(self, sign: str, expected: str, example: str) -> None:
        if self.token.text != sign:
            self.refuse(expected, example)
        self.step()

    def argument(self) -> Any:
        if self.token.text == "{":
            return self.mapping()
        if self.token.text == "(":
            return self.sequence()
        if self.token.kind == "word":
            word = self.step()
            if word.text == "key":
                return jax.random.key(int(self.draw().integers(1 << 31)))
            if word.text == "none":
                return None
            if word.text in DTYPES:
                return self.array(word)
            self.refuse(f"a dtype ({', '.join(DTYPES)}), key or none", "f32[64,128]", word)
        self.refuse("an argument", EXAMPLE)

    def mapping(self) -> dict[str, Any]:
        example, entries = "{weight: f32[4,3], bias: f32[4]}", {}
        self.step()
        while self.token.text != "}":
            if self.token.kind != "word":
                self.refuse("the name of an entry, or '}'", example)
            name = self.step()
            if name.text in entries:
                self.refuse("a name that was not there before", example, name)
            self.take(":", "':' after the name of an entry", example)
            entries[name.text] = self.argument()
            if self.token.text != "}":
                self.take(",", "',' or '}' after an entry", example)
        self.step()
        return entries

    def sequence(self) -> tuple[Any, ...]:
        parts = []
        self.step()
        while self.token.text != ")":
            parts.append(self.argument())
            if self.token.text != ")":
                self.take(",", "',' or ')' after a part", "(f32[3], f32[3])")
        self.step()
        return tuple(parts)

    def array(self, word: _Token) -> Any:
        dtype, example = jnp.dtype(DTYPES[word.text]), f"{word.text}[64,128]"
        if jax.dtypes.canonicalize_dtype(dtype) != dtype:
            self.fail(word, f"expect no 64-bit dtype, since JAX runs without; got {word.text!r}; set "
                      "JAX_ENABLE_X64=1, or call it under jax.enable_x64(True)")
        self.take("[", "'[' and the sizes ([] for a scalar)", example)
        shape = []
        while self.token.text != "]":
            shape.append(self.size("a size or ']'", example))
            if self.token.text != "]":
                self.take(",", "',' or ']' after a size", example)
        self.step()
        if jnp.issubdtype(dtype, jnp.integer):
            return self.integers(word, dtype, shape)
        if dtype == jnp.bool_:
            return _on_device(self.draw().integers(2, size=shape), dtype)
        return self.floats(word, dtype, shape)

    def size(self, expected: str, example: str) -> int:
        """A whole number, the name of one, or their product: 3, n, 4*n."""
        product = 1
        while True:
            token = self.token
            if token.kind == "word":
                if token.text not in self.sizes:
                    known = f"one of the sizes {', '.join(self.sizes)}" if self.sizes else "a whole number"
                    self.refuse(known, example)
                product *= self.sizes[token.text]
            elif token.kind == "number" and token.text.isdigit():
                product *= int(token.text)
            else:
                self.refuse(expected, example)
            self.step()
            if self.token.text != "*":
                return product
            self.step()

    def integers(self, word: _Token, dtype: Any, shape: list[int]) -> Any:
        example = f"{word.text}[8]<10 for integers in 0 .. 9"
        self.take("<", f"'<' and a bound after {word.text}[...]", example)
        token, most = self.token, int(jnp.iinfo(dtype).max) + 1
        bound = self.size("a bound", example)
        if not 1 <= bound <= most:
            self.refuse(f"a bound in 1 .. {most}, what {word.text} can hold", example, token)
        return _on_device(self.draw().integers(bound, size=shape, dtype=np.uint64), dtype)

    def floats(self, word: _Token, dtype: Any, shape: list[int]) -> Any:
        is_complex = jnp.issubdtype(dtype, jnp.complexfloating)
        suffix, rng = self.token, self.draw()
        if suffix.text in ("<", ">", "/sum", "*", "/"):
            self.step()
        if suffix.text in ("<", "/") or (is_complex and suffix.text in (">", "/sum")):
            self.refuse(f"'*' and a factor{'' if is_complex else ', >0 or /sum'} after {word.text}[...]",
                        f"{word.text}[8]*0.5", suffix)
        if suffix.text == ">":
            if self.token.text != "0":
                self.refuse("0 after '>'", f"{word.text}[8]>0, uniform in (0, 1)")
            self.step()
        if suffix.text in (">", "/sum"):
            eps = float(jnp.finfo(dtype).eps)
            x = np.clip(rng.uniform(size=shape), eps, 1 - eps)  # in (0, 1) after rounding, too
            return _on_device(x if suffix.text == ">" else x / np.sum(x, -1, keepdims=bool(shape)), dtype)
        # Complex: standard normal as jax.random.normal has it, E|z|² = 1.
        x = rng.standard_normal((2, *shape)) / 2**0.5 if is_complex else rng.standard_normal(shape)
        if suffix.text == "*":
            if self.token.kind != "number":
                self.refuse("a factor after '*'", f"{word.text}[8]*0.5")
            x = x * float(self.step().text)
        return _on_device(x[0] + 1j * x[1] if is_complex else x, dtype)

    def draw(self) -> np.random.Generator:
        self.leaves += 1
        return np.random.default_rng([*self.entropy, self.leaves])


def _on_device(values: Any, dtype: Any) -> jax.Array:
    """The values as an array of JAX. `jnp.asarray` would compile a program for each shape."""
    array: jax.Array = jax.device_put(np.asarray(values).astype(dtype))
    return array


def _entropy(seed: Any) -> list[int]:
    if isinstance(seed, jax.Array):
        if jnp.issubdtype(seed.dtype, jax.dtypes.prng_key):
            seed = jax.random.key_data(seed)
        return [int(word) for word in np.asarray(seed).ravel()]
    expect(is_integer(seed, 0), "arguments", "a seed, an integer >= 0 or a PRNG key", repr(seed))
    return [int(seed)]
