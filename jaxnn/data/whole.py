"""Files that are written whole or not at all."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

__all__ = ["written_whole"]


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file beside the path, open for writing, which takes its place at the end. After an error what stood there still
    stands, and nothing stands beside.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with written_whole(Path(folder, "a")) as file:
    ...         n = file.write(b"all of it")
    ...     [(each.name, each.read_bytes()) for each in Path(folder).iterdir()]
    [('a', b'all of it')]
    """
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
