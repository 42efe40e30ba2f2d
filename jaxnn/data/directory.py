"""Where data files are kept, and the error for a missing one."""

import os
import sys
from pathlib import Path

from jaxnn.checks import as_path
from jaxnn.file_errors import MissingData

__all__ = ["data_directory", "find"]

VARIABLE = "JAXNN_DATA"


def data_directory(given: str | Path | None = None) -> Path:
    """The directory of the data files.

    Args:
      given: a directory; None takes the environment variable JAXNN_DATA and, where that is unset or
        empty, `jaxnn/data` in the user's cache, which need not exist.
    Raises:
      MissingData: the directory that was asked for, by argument or variable, does not exist.
      InputError: `given` is no path.
    """
    for source, name in (("directory", given), (VARIABLE, os.environ.get(VARIABLE))):
        if name is None or name == "":
            continue
        path = as_path("data_directory", "directory", name).expanduser()
        if not path.is_dir():
            actual = "a file" if path.exists() else "nothing there"
            raise MissingData(
                f"{source} expects an existing directory at {path}; got {actual}; "
                "create it or name another"
            )
        return path
    return _user_cache() / "jaxnn" / "data"


def _user_cache() -> Path:
    """The platform's directory for files that can be fetched again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    # The XDG base directory specification: a relative path is invalid and is to be ignored.
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return cache if cache.is_absolute() else Path.home() / ".cache"


def find(
    name: str, directory: str | Path | None = None, *, how_to_get: str, instead: str
) -> Path:
    """The path of one data file, in its folder or flat in the data directory.

    Args:
      name: relative to the data directory, such as "c1/train_catvnoncat.h5".
      directory: as in `data_directory`.
      how_to_get: a clause of the message, such as "get it from the assignment ...".
      instead: an alternative that needs no file, such as "--data breast-cancer".
    Raises:
      MissingData: the file is at neither place. The message has both places and both clauses.
    """
    root = data_directory(directory)
    # People keep course files flat, so c1/train.h5 may also be train.h5.
    places = list(dict.fromkeys((root / name, root / Path(name).name)))
    for place in places:
        if place.exists():
            return place
    raise MissingData(
        f"{name} was expected at {' or '.join(map(str, places))}; got no such file; "
        f"{how_to_get}, and put it at one of these places or point {VARIABLE} at its directory; "
        f"or use {instead}, which needs no file"
    )
