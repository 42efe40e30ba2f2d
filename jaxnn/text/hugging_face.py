"""A tokenizer of Hugging Face's `tokenizers` behind the interface of our vocabularies. The package is an extra."""

from pathlib import Path
from typing import Any

import numpy as np

from jaxnn.checks import InputError, as_path, expect
from jaxnn.data.extra import import_extra
from jaxnn.file_errors import BadFile
from jaxnn.text.vocabulary import as_ids, expect_text

__all__ = ["HuggingFaceVocabulary"]


class HuggingFaceVocabulary:
    """tokenizer: a `tokenizers.Tokenizer`, as of `Tokenizer.from_file("tokenizer.json")`."""

    kind = "hugging face"

    def __init__(self, tokenizer: Any):
        has_interface = all(callable(getattr(tokenizer, name, None)) for name in (
            "encode", "decode", "token_to_id", "get_vocab_size"))
        expect(has_interface, type(self).__name__, "a tokenizers.Tokenizer", type(tokenizer).__name__,
               "of transformers' tokenizers take .backend_tokenizer")
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, path: str | Path) -> "HuggingFaceVocabulary":
        """Of a tokenizer.json.

        Raises:
          FileNotFoundError: there is no such file.
          BadFile: the file is no tokenizer.
          ModuleNotFoundError: tokenizers is not installed.
        """
        path = as_path(cls.__name__, "path", path)
        package = import_extra("tokenizers", "HuggingFaceVocabulary.load", "text")
        content = path.read_bytes()
        try:
            return cls(package.Tokenizer.from_buffer(content))
        except InputError:
            raise
        except Exception as error:  # the package raises its own kind, which is Exception itself
            raise BadFile(f"{path} expects a tokenizer.json; got {str(error)[:200]}; get the file again") from None

    @property
    def size(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def id_of(self, token: str) -> int:
        n = self.tokenizer.token_to_id(token) if isinstance(token, str) else None
        if n is None:
            raise InputError(type(self).__name__, f"expects a token of the vocabulary; got {token!r}")
        return int(n)

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, (n,) int32; no special token is added at the ends."""
        expect_text(f"{type(self).__name__}.encode", "text", text)
        return np.array(self.tokenizer.encode(text, add_special_tokens=False).ids, np.int32)

    def decode(self, ids: Any) -> str:
        """The text of tokens; special ones are left out."""
        values = as_ids(f"{type(self).__name__}.decode", ids, self.size)
        return str(self.tokenizer.decode(values.tolist(), skip_special_tokens=True))

    def save(self, path: str | Path) -> None:
        """Writes a tokenizer.json."""
        self.tokenizer.save(str(as_path(f"{type(self).__name__}.save", "path", path)))
