"""The files in a tar archive at hand, by name."""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

from jaxnn.file_errors import BadFile

__all__ = ["bad_file", "members"]


def members(path: Path, archive: tarfile.TarFile, member: re.Pattern,
            what: str) -> Iterator[tuple[str, tarfile.TarInfo, re.Match]]:
    """(name, entry, match) of each regular file whose name matches `member`; others are passed over.

    Args:
      path: of the archive, for messages.
      what: such a file is, one word.
    Raises:
      BadFile: two have one name, or a size is negative.
    """
    names: set[str] = set()
    for entry in archive:
        if entry.size < 0:  # the member after it would be one before it, and so on for ever
            raise bad_file(f"{path}: {entry.name!r}", "a size that is not negative", str(entry.size))
        name = entry.name.removeprefix("./")
        match = member.fullmatch(name)
        if not match or not entry.isreg():
            continue
        if name in names:
            raise bad_file(f"{path}: {name!r}", f"one {what} of a name", "two")
        names.add(name)
        yield name, entry, match


def bad_file(who: object, expected: str, actual: str) -> BadFile:
    return BadFile(f"{who} expects {expected}; got {actual}; get the file again")
