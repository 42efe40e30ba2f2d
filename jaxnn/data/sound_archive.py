"""WAV files in a compressed tar archive, read from memory; nothing is unpacked to disk."""

import io
import lzma
import re
import tarfile
import zlib
from pathlib import Path
from typing import Any

from jaxnn.data.members import bad_file, members
from jaxnn.data.wav import Sound, decode_wav
from jaxnn.file_errors import BadFile

__all__ = ["read_sounds"]

MAX_BYTES = 2**27  # of the archive unpacked
AT_ONCE = 2**20


def read_sounds(path: Path, member: re.Pattern, *, rate: int) -> list[tuple[Sound, re.Match]]:
    """The sounds of one channel in the order of their names, so that the order inside the archive does not matter.

    Args:
      path: a tar archive packed by gzip or xz, of at most 128 MB unpacked.
      member: what the names of sounds match; other members are passed over.
      rate: of each, frames per second.
    Returns:
      for each sound its samples and the match of its name.
    Raises:
      BadFile: the archive or a sound is damaged, larger, empty, or of another rate or number of channels; or two have
        one name.
    """
    found: dict[str, tuple[Sound, re.Match]] = {}
    if not path.is_file():  # reading from a pipe would wait for ever
        raise bad_file(path, "a tar archive", "something other than a regular file")
    try:
        content = _unpacked(path)
        # From memory, so that no length in the archive reaches beyond its bytes.
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for name, entry, match in members(path, archive, member, "sound"):
                file = archive.extractfile(entry)
                found[name] = _one(f"{path}: {name!r}", b"" if file is None else file.read(), rate), match
    except BadFile:
        raise
    except Exception as error:  # damaged archives raise many kinds
        problem = f"bytes that do not read ({str(error) or type(error).__name__})"
        raise bad_file(path, "a whole packed tar archive", problem) from error
    return [found[name] for name in sorted(found)]


def _unpacked(path: Path) -> bytes:
    """The archive, part by part, so that one that swells beyond all measure is given up in time."""
    packed = path.read_bytes()
    is_gzip = packed[:2] == b"\x1f\x8b"
    unpack: Any = zlib.decompressobj(16 + zlib.MAX_WBITS) if is_gzip else lzma.LZMADecompressor(memlimit=2**27)
    parts, total, rest = [], 0, packed
    while not unpack.eof:
        part = unpack.decompress(rest, AT_ONCE)
        rest = unpack.unconsumed_tail if is_gzip else b""
        total += len(part)
        if total > MAX_BYTES:
            raise bad_file(path, f"at most {MAX_BYTES:,} bytes unpacked", "more")
        if not part and not rest and not unpack.eof:
            raise bad_file(path, "a whole packed archive", f"{len(packed):,} bytes that end too soon")
        parts.append(part)
    return b"".join(parts)


def _one(who: str, content: bytes, rate: int) -> Sound:
    sound = decode_wav(content, who)
    if sound.rate != rate or sound.samples.shape[1] != 1 or not len(sound.samples):
        raise bad_file(who, f"a sound of one channel with {rate:,} frames a second",
                       f"{sound.samples.shape[1]} channels, {len(sound.samples)} frames, {sound.rate:,} a second")
    return sound
