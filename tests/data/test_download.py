"""A download from a server on the loopback: whole, cut off, changed, redirected, too long."""

import hashlib
import http.client
import http.server
import re
import threading
import urllib.request

import numpy as np
import pytest

from jaxnn.checks import InputError
from jaxnn.data.download import DownloadFailed, download
from jaxnn.file_errors import BadFile

DATA = np.random.default_rng(0).bytes(300_000)
SHA = "sha256:" + hashlib.sha256(DATA).hexdigest()


class Server(http.server.BaseHTTPRequestHandler):
    """What each path does; `asked` are the ranges that were asked for."""

    asked = []  # noqa: RUF012

    def do_GET(self):
        start = int(re.findall(r"\d+", self.headers.get("Range", "bytes=0-"))[0])
        self.asked.append((self.path, start))
        if self.path == "/gone":
            self.send_error(404)
        elif self.path == "/no-range-at-all" or start >= len(DATA):
            self.send_error(416)
        elif self.path in ("/redirected", "/downgraded"):
            self.send_response(302)
            host = f"http://{self.headers['Host']}" if self.path == "/downgraded" else ""
            self.send_header("Location", f"{host}/whole")
            self.end_headers()
        else:
            ranged = self.path != "/no-ranges" and start > 0
            body = DATA[start:] if ranged else DATA
            if self.path == "/longer":
                body += b"more"
            if self.path == "/other":
                body = body[:-1] + bytes([body[-1] ^ 1])
            self.send_response(206 if ranged else 200)
            if ranged:
                self.send_header("Content-Range", f"bytes {start}-{len(DATA) - 1}/{len(DATA)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            cut = self.path in ("/cut", "/no-ranges") and len([1 for path, _ in self.asked if path == self.path]) == 1
            self.wfile.write(body[:100_000] if cut else body)

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_whole_file_is_fetched_once(address, tmp_path):
    pieces = []
    file = download(f"{address}/whole", tmp_path / "a" / "f", digest=SHA, size=len(DATA), progress=pieces.append)
    assert file.read_bytes() == DATA and sum(pieces) == len(DATA)
    assert [f.name for f in file.parent.iterdir()] == ["f"]
    download(f"{address}/gone", file, digest=SHA)  # it is there already
    assert download(f"{address}/redirected", tmp_path / "g", digest="md5:" + hashlib.md5(DATA).hexdigest()).is_file()


@pytest.mark.parametrize("path", ["cut", "no-ranges"])
def test_one_that_was_cut_off_goes_on(address, tmp_path, path):
    with pytest.raises(DownloadFailed, match="ended 200,000 bytes early"):
        download(f"{address}/{path}", tmp_path / "f", digest=SHA)
    assert not (tmp_path / "f").exists() and (tmp_path / "f.part").stat().st_size == 100_000
    assert download(f"{address}/{path}", tmp_path / "f", digest=SHA).read_bytes() == DATA
    assert (f"/{path}", 100_000) in Server.asked
    assert [f.name for f in tmp_path.iterdir()] == ["f"]


def test_another_file_is_not_kept(address, tmp_path):
    for path, size, words in (("other", None, "expects the published file"), ("longer", len(DATA), "got more")):
        with pytest.raises(BadFile, match=words):
            download(f"{address}/{path}", tmp_path / "f", digest=SHA, size=size)
        assert not list(tmp_path.iterdir())
    (tmp_path / "f.part").write_bytes(b"of another file" + DATA[15:1000])
    with pytest.raises(BadFile, match="expects the published file"):
        download(f"{address}/whole", tmp_path / "f", digest=SHA)
    assert download(f"{address}/whole", tmp_path / "f", digest=SHA).read_bytes() == DATA


def test_nothing_left_to_send(address, tmp_path):
    """Status 416, where the part is the whole file already, or longer than it; and without a part, where it is an
    error as any other."""
    (tmp_path / "f.part").write_bytes(DATA)
    Server.asked.clear()
    assert download(f"{address}/whole", tmp_path / "f", digest=SHA).read_bytes() == DATA
    assert Server.asked == [("/whole", len(DATA))] and [f.name for f in tmp_path.iterdir()] == ["f"]
    (tmp_path / "g.part").write_bytes(DATA + b"more")
    with pytest.raises(BadFile, match=r"expects the published file, .*; got 300,004 bytes of sha256:"):
        download(f"{address}/whole", tmp_path / "g", digest=SHA)
    assert [f.name for f in tmp_path.iterdir()] == ["f"]
    assert download(f"{address}/whole", tmp_path / "g", digest=SHA).read_bytes() == DATA
    with pytest.raises(DownloadFailed, match="answers 416"):
        download(f"{address}/no-range-at-all", tmp_path / "h", digest=SHA)
    assert not (tmp_path / "h").exists()


def test_from_https_no_redirect_to_http_is_followed(address, tmp_path, monkeypatch):
    """The server speaks no TLS: requests for https are sent to it in the clear, and only their address says https."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(urllib.request.HTTPSHandler, "https_open",
                        lambda self, request: self.do_open(http.client.HTTPConnection, request))
    secure = address.replace("http:", "https:")
    Server.asked.clear()
    with pytest.raises(DownloadFailed, match=rf"^{secure}/downgraded leads to {address}/whole, which is not https; it "
                                             "was not followed"):
        download(f"{secure}/downgraded", tmp_path / "f", digest=SHA)
    assert Server.asked == [("/downgraded", 0)] and not list(tmp_path.iterdir())
    assert download(f"{secure}/redirected", tmp_path / "f", digest=SHA).read_bytes() == DATA
    assert download(f"{address}/downgraded", tmp_path / "g", digest=SHA).read_bytes() == DATA, "http leads to http"


def test_refusals(address, tmp_path):
    with pytest.raises(DownloadFailed, match="answers 404"):
        download(f"{address}/gone", tmp_path / "f", digest=SHA)
    with pytest.raises(DownloadFailed, match="could not be had"):
        download("http://127.0.0.1:1/x", tmp_path / "f", digest=SHA)
    for url, digest in (("file:///etc/hosts", SHA), (f"{address}/whole", "crc:1")):
        with pytest.raises(InputError, match="download expects"):
            download(url, tmp_path / "f", digest=digest)
    assert not (tmp_path / "f").exists()
