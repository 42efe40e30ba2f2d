"""Lines of a text file."""

import io
import lzma
from pathlib import Path

from jaxnn.checks import as_path, expect, is_integer
from jaxnn.file_errors import BadFile

__all__ = ["lines_of", "read_text_lines"]

PIECE = 2**20


def read_text_lines(path: str | Path, *, most_bytes: int = 2**31) -> list[str]:
    """The lines of a file in UTF-8, without their ends (LF, CR LF or CR) and without a byte-order mark in front.

    A last line without an end counts; lines that are empty stay. A file whose name ends in .xz is unpacked.

    Args:
      most_bytes: how long the text may be; a packed file of a few bytes can hold gigabytes.
    Raises:
      FileNotFoundError: there is no such file.
      BadFile: no regular file; or the file is empty, too long, not UTF-8 (the message names the line and the byte), or
        no .xz file, or one that is cut off or damaged.
    """
    path = as_path("read_text_lines", "path", path)
    expect(is_integer(most_bytes, 1), "read_text_lines", "most_bytes, a positive integer", repr(most_bytes))
    if path.is_dir():
        raise BadFile(f"{path} expects a text file; got a directory; name a file in that directory")
    if path.exists() and not path.is_file():  # reading from a pipe or a device would wait, or never end
        raise BadFile(f"{path} expects a text file; got something other than a regular file; name a file")
    is_packed = path.suffix == ".xz"
    fits = is_packed or path.stat().st_size <= most_bytes
    content = b"" if not fits else _unpacked(path, most_bytes) if is_packed else path.read_bytes()
    if not fits or len(content) > most_bytes:
        raise BadFile(f"{path} expects at most {most_bytes:,} bytes of text; got more; pass most_bytes= if the text is "
                      "as long as that")
    return lines_of(path, content)


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


def _unpacked(path: Path, most_bytes: int) -> bytes:
    """What an .xz file holds, up to one byte more than `most_bytes`."""
    pieces = io.BytesIO()
    try:
        with lzma.open(path) as file:
            while pieces.tell() <= most_bytes and (piece := file.read(min(PIECE, most_bytes + 1 - pieces.tell()))):
                pieces.write(piece)
    except (lzma.LZMAError, EOFError) as error:
        raise BadFile(f"{path} expects a text packed by xz; got a file that is cut off, damaged or of another kind "
                      f"({error}); get it again") from None
    return pieces.getvalue()
