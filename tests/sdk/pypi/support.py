"""Generated images, a web server that has them, and assertions that several tests share."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import struct
import threading
import time
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from cloudflare import Cloudflare

ACCOUNT = os.environ["CLOUDFLARE_ACCOUNT_ID"]
TEN_MB = 10 * 1024 * 1024

# The suite deletes images and replaces keys, so it must not run on a real account.
if urlsplit(os.environ.get("CLOUDFLARE_BASE_URL", "")).hostname != "127.0.0.1":
    raise SystemExit("CLOUDFLARE_BASE_URL must be an emulator on 127.0.0.1")

# For delivery and uploads, which the SDK does not have.
web = httpx.Client(timeout=20, trust_env=False, follow_redirects=False)


def connect(**options: Any) -> Cloudflare:
    """A client that reads token and base URL from the environment, as in the SDK's examples, and does not retry."""
    return Cloudflare(**{"max_retries": 0, "timeout": 20, **options})


_counter = itertools.count(1)


def unique(prefix: str = "pypi") -> str:
    """Text that no other test uses."""
    return f"{prefix}{next(_counter)}x{time.time_ns() // 1_000_000:x}"


def png(width: int = 3, height: int = 2, *, size: int | None = None, shade: int = 128) -> bytes:
    """A grey PNG; with ``size``, it has that many bytes, through a chunk that decoders skip."""
    rows = (b"\0" + bytes([shade]) * width) * height
    start = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    end = _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    fill = _chunk(b"fiLl", bytes(size - len(start) - len(end) - 12)) if size else b""
    return start + fill + end


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


# 16 by 12 pixels.
JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxO"
    "UlNSMj5aYVpQYEpRUk//2wBDAQ4ODhMREyYVFSZPNS01T09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09P"
    "T09PT09PT0//wAARCAAMABADASIAAhEBAxEB/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUF"
    "BAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkKFhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVW"
    "V1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1NXW19jZ2uHi"
    "4+Tl5ufo6erx8vP09fb3+Pn6/8QAHwEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQoL/8QAtREAAgECBAQDBAcFBAQAAQJ3AAEC"
    "AxEEBSExBhJBUQdhcRMiMoEIFEKRobHBCSMzUvAVYnLRChYkNOEl8RcYGRomJygpKjU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVm"
    "Z2hpanN0dXZ3eHl6goOEhYaHiImKkpOUlZaXmJmaoqOkpaanqKmqsrO0tba3uLm6wsPExcbHyMnK0tPU1dbX2Nna4uPk5ebn6Onq"
    "8vP09fb3+Pn6/9oADAMBAAIRAxEAPwDmbbSuny1r22ldPlratraLj5a1ra2i4+WuSvjpGeV5jPQ//9k="
)
# 16 by 12 pixels, lossless.
WEBP = base64.b64decode("UklGRioAAABXRUJQVlA4TB4AAAAvD8ACALmM6H/sIqL/ASEBYYT/dzV5HkYrJgCpyi4=")
# 1 by 1 pixel.
GIF = base64.b64decode("R0lGODlhAQABAPAAAMgoKP///yH5BAAAAAAALAAAAAABAAEAAAICRAEAOw==")
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 8 8"><circle cx="4" cy="4" r="3"/></svg>'


def size_of(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG."""
    assert data[1:4] == b"PNG", data[:16]
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def deliver(url: str, accept: str = "image/png,image/*") -> httpx.Response:
    """The response of the delivery host."""
    return web.get(url, headers={"accept": accept})


def sign(url: str, key: str, expires: int | None = None) -> str:
    """Signs a delivery URL as Cloudflare documents it."""
    query = f"exp={expires if expires is not None else int(time.time()) + 600}"
    message = f"{urlsplit(url).path}?{query}"
    signature = hmac.new(key.encode(), message.encode(), hashlib.sha256).hexdigest()
    return f"{url}?{query}&sig={signature}"


class Uploaded(NamedTuple):
    status: int
    headers: httpx.Headers
    body: dict[str, Any]

    @property
    def code(self) -> int | None:
        return self.body["errors"][0]["code"] if self.body["errors"] else None


def upload(url: str, data: bytes | None = None, *, name: str = "mine.png", part: str = "file") -> Uploaded:
    """Uploads to an upload URL, as a browser or an app does."""
    answer = web.post(url, files={part: (name, png() if data is None else data, "image/png")})
    return Uploaded(answer.status_code, answer.headers, answer.json())


class _Origin(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/pictures/a%20lake.png":
            self._answer(200, png(5, 4), "image/png")
        elif path == "/moved.png":
            self._answer(302, location="/pictures/a%20lake.png")
        elif path == "/members/cat.png":
            known = self.headers.get("authorization") == "Basic " + base64.b64encode(b"ann:s3cret").decode()
            self._answer(200, png(), "image/png") if known else self._answer(401)
        elif path == "/page.html":
            self._answer(200, b"<!doctype html><p>No picture.", "text/html")
        elif path == "/huge.png":
            self._answer(200, png(size=TEN_MB + 1), "image/png")
        else:
            self._answer(500 if path == "/broken" else 404)

    def _answer(self, status: int, body: bytes = b"", kind: str = "text/plain", location: str = "") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        if location:
            self.send_header("location", location)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass  # Whoever asked has seen enough.

    def log_message(self, *_: object) -> None:
        pass


class Origin:
    """A web server on loopback with images, and with URLs that fail."""

    def __enter__(self) -> Origin:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Origin)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Recorded(httpx.BaseTransport):
    """Records the status of every response; ``lose`` selects the responses, counted from 1, that do not reach the client."""

    def __init__(self, lose: Any = lambda request: False) -> None:
        self.log: list[int] = []
        self._lose = lose
        self._real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = self._real.handle_request(request)
        self.log.append(answer.status_code)
        if self._lose(len(self.log)):
            answer.read()
            answer.close()
            raise httpx.ReadError("the answer was lost", request=request)
        return answer

    def close(self) -> None:
        self._real.close()
