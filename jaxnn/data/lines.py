"""Lines of a text file."""

from pathlib import Path

from jaxnn.checks import as_path
from jaxnn.data.hdf5 import BadFile

__all__ = ["lines_of", "read_text_lines"]


def read_text_lines(path: str | Path) -> list[str]:
    """The lines of a file in UTF-8, without their ends (LF, CR LF or CR) and without a byte-order mark in front.

    A last line without an end counts; lines that are empty stay.

    Raises:
      FileNotFoundError: there is no such file.
      BadFile: a directory; or the file is empty, or not UTF-8: the message names the line and the byte.
    """
    path = as_path("read_text_lines", "path", path)
    if path.is_dir():
        raise BadFile(f"{path} expects a text file; got a directory; name a file in that directory")
    return lines_of(path, path.read_bytes())


def lines_of(name: object, content: bytes) -> list[str]:
    """As `read_text_lines`, of bytes at hand; name stands in the messages."""
    if not content:
        raise BadFile(f"{name} expects at least one line; got an empty file; get it again")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadFile(f"{name} expects text in UTF-8; got {content[error.start:error.start + 4]!r} at byte "
                      f"{error.start}, line {line}; convert it: iconv -f latin1 -t utf-8") from None
    # Not str.splitlines, which cuts at form feeds and at U+2028 too.
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
