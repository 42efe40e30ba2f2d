"""A vocabulary from its file, of whatever kind it is."""

import json
from pathlib import Path
from typing import Any

from jaxnn.checks import as_path
from jaxnn.file_errors import BadFile
from jaxnn.text.byte_pairs import BytePairs
from jaxnn.text.vocabulary import FORMAT, CharacterVocabulary, WordVocabulary

__all__ = ["load_vocabulary"]


def load_vocabulary(path: str | Path) -> Any:
    """A vocabulary as it was saved: of characters, words or byte pairs.

    Raises:
      FileNotFoundError: there is no such file.
      BadFile: the file is not one that `save` writes.
    """
    path = as_path("load_vocabulary", "path", path)
    content = _read_json(path)
    kinds = {kind.kind: kind for kind in (CharacterVocabulary, WordVocabulary, BytePairs)}
    try:
        if content["format"] != FORMAT:
            raise KeyError("format")
        rest = {key: value for key, value in content.items() if key not in ("format", "kind")}
        return kinds[content["kind"]].from_saved(rest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadFile(f"{path} expects a vocabulary as `save` writes it; got {str(error)[:200]}; save it "
                      "again") from None


def _read_json(path: Path) -> Any:
    if path.is_dir():
        raise BadFile(f"{path} expects a vocabulary's file; got a directory; name a file in that directory")
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadFile(f"{path} expects JSON in UTF-8; got {str(error)[:200]}; save the vocabulary again") from None
