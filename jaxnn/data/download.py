"""A download that is verified, goes on where it was cut off, and is there whole or not at all."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jaxnn.checks import expect
from jaxnn.file_errors import BadFile

__all__ = ["DownloadFailed", "download", "expect_digest"]

CHUNK = 2**16


class DownloadFailed(OSError):
    """A file could not be had from its address; what was had of it is kept, and the next call goes on from there."""


def download(url: str, file: str | Path, *, digest: str, size: int | None = None, timeout: float = 60.0,
             progress: Callable[[int], None] | None = None) -> Path:
    """Fetches a file, unless it is there already with this digest.

    What has come is in `file`.part until all of it has and its digest fits; then it takes the file's place.

    Args:
      url: an http or https address. From https, no other server without https is followed.
      file: where it goes; its directory is made.
      digest: "md5:..." or "sha256:...", the published one.
      size: in bytes, where it is published: a server that sends more is cut off.
      timeout: seconds without an answer after which it is given up.
      progress: called with the number of bytes of each piece.
    Raises:
      DownloadFailed: the server does not answer, answers with an error or ends early.
      BadFile: what came is another file than the published one; nothing of it is kept.
    """
    algorithm, _, expected = digest.partition(":")
    expect(algorithm in ("md5", "sha256") and bool(expected), "download", "digest 'md5:...' or 'sha256:...'",
           repr(digest))
    expect(urlsplit(url).scheme in ("http", "https"), "download", "an http or https address", repr(url))
    path = Path(file)
    if path.is_file() and _digest(path, algorithm) == expected:
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    _fetch(url, part, size, timeout, progress)
    if (actual := _digest(part, algorithm)) != expected:
        n = part.stat().st_size
        part.unlink()
        raise BadFile(f"{url} expects the published file, {digest}; got {n:,} bytes of {algorithm}:{actual}; "
                      "nothing was kept, try again or another address")
    part.replace(path)
    return path


def _fetch(url: str, part: Path, size: int | None, timeout: float, progress: Callable[[int], None] | None) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    opener = urllib.request.build_opener(_NoDowngrade)
    try:
        with opener.open(request, timeout=timeout) as answer:
            goes_on = have > 0 and answer.status == 206 and _starts_at(answer, have)
            n = have if goes_on else 0
            with part.open("ab" if goes_on else "wb") as out:
                while chunk := answer.read(CHUNK):
                    n += len(chunk)
                    if size is not None and n > size:
                        raise BadFile(f"{url} expects {size:,} bytes; got more; nothing was kept")
                    out.write(chunk)
                    if progress is not None:
                        progress(len(chunk))
            promised = answer.headers.get("Content-Length")
            missing = int(promised) - (n - (have if goes_on else 0)) if (promised or "").isdecimal() else 0
            if missing > 0:  # the library does not say so where it reads piece by piece
                raise DownloadFailed(f"{url} ended {missing:,} bytes early; got {n:,} bytes, which are kept; call "
                                     "again to go on from there")
    except BadFile:
        part.unlink(missing_ok=True)
        raise
    except DownloadFailed:
        raise
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # the whole is there already, or the file has become shorter
            return
        raise DownloadFailed(f"{url} answers {error.code} {error.reason}; check the address, or get the file by hand "
                             f"and put it at {part.with_suffix('')}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadFailed(f"{url} could not be had: {error}; what came is kept, call again to go on from there"
                             ) from error


def _starts_at(answer: Any, have: int) -> bool:
    """Whether a partial answer begins where we ended."""
    return str(answer.headers.get("Content-Range", "")).startswith(f"bytes {have}-")


class _NoDowngrade(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadFailed(f"{req.full_url} leads to {newurl}, which is not https; it was not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def expect_digest(path: Path, digest: str) -> None:
    """Compares a file with the published one, of which digest is "md5:..." or "sha256:...".

    Raises:
      BadFile: it is another one.
    """
    algorithm, _, expected = digest.partition(":")
    if (actual := _digest(path, algorithm)) != expected:
        raise BadFile(f"{path} expects the published file, {digest}; got {algorithm}:{actual}; get it again, or pass "
                      "published=False")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
