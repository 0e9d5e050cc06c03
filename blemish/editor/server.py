"""The page to draw zones on, served to a browser on this machine and to nobody else."""

from __future__ import annotations

import hmac
import importlib.resources
import json
import secrets
import threading
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cv2

from blemish.editor.drawing_file import Drawing, parse_drawing, read_drawing, write_drawing
from blemish.errors import BlemishError, SettingsError
from blemish.images.decode import read_image
from blemish.schema import AS_THEY_ARE, ReadSettings

MAX_REQUEST_BYTES = 4 * 2**20
HOST = "127.0.0.1"
POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'"


class Editor:
    """A server on loopback that shows one image and writes what is drawn on it to `path`.

    Requests must know the secret part of `url`, so that no other page in the same browser can send any. A port that is
    taken is a SettingsError. `wait` returns once the person is done.
    """

    def __init__(
        self, image: Path, path: Path, *, port: int = 0, reading: ReadSettings = AS_THEY_ARE, page: str | None = None
    ) -> None:
        pixels = read_image(image, reading)
        self.image, self.path = image, path
        self.image_hw = pixels.shape[0], pixels.shape[1]
        self.png = cv2.imencode(".png", pixels[..., ::-1])[1].tobytes()
        self.drawing = read_drawing(path, self.image_hw) if path.exists() else Drawing(self.image_hw)
        self.written: tuple[Path, ...] = ()
        self.page = page if page is not None else _page()
        self.secret = secrets.token_urlsafe(16)
        self._done = threading.Event()
        try:
            self._server = ThreadingHTTPServer((HOST, port), _handler(self))
        except (OSError, OverflowError) as error:
            raise SettingsError(f"--port {port}: cannot be used ({error}); give another one, or 0 for any") from error
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def __enter__(self) -> Editor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_port}/{self.secret}/"

    @property
    def hosts(self) -> tuple[str, str]:
        """What the browser may call this server: another name is that of a page that was rebound to this machine."""
        return f"{HOST}:{self._server.server_port}", f"localhost:{self._server.server_port}"

    def save(self, value: Any) -> tuple[Path, ...]:
        """Writes a drawing as the page sends it. Raises SettingsError, OutputError."""
        self.drawing = parse_drawing(value, self.image_hw)
        self.written = write_drawing(self.drawing, self.path, self.image)
        return self.written

    def finish(self) -> None:
        self._done.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Whether the person said to be done, waited for up to `seconds`."""
        return self._done.wait(seconds)


def _page() -> str:
    return importlib.resources.files("blemish.editor").joinpath("page.html").read_text(encoding="utf-8")


def _handler(editor: Editor) -> type[BaseHTTPRequestHandler]:
    """A handler of requests to this editor."""

    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "blemish", ""
        timeout = 30

        def do_GET(self) -> None:
            """The page, the image, or what is drawn so far."""
            wanted = self._wanted()
            if wanted == "":
                self._answer(200, editor.page.encode(), "text/html; charset=utf-8")
            elif wanted == "image.png":
                self._answer(200, editor.png, "image/png")
            elif wanted == "drawing":
                self._answer_json(200, {"name": editor.image.name, "file": str(editor.path), **asdict(editor.drawing)})
            else:
                self._answer(404, b"not here", "text/plain")

        def do_POST(self) -> None:
            """Saves a drawing, or ends."""
            wanted = self._wanted()
            if wanted not in ("save", "done"):
                self._answer(404, b"not here", "text/plain")
                return
            try:
                if wanted == "done":
                    self._answer_json(200, {})
                    editor.finish()
                    return
                written = editor.save(self._body())
                self._answer_json(200, {"written": [str(path) for path in written]})
            except BlemishError as error:
                self._answer_json(400, {"error": str(error)})

        def _wanted(self) -> str | None:
            """What is asked for behind the secret; None where the secret or the name of this machine is wrong."""
            place = urlsplit(self.path).path.removeprefix("/")
            secret, _, rest = place.partition("/")
            is_known = hmac.compare_digest(secret.encode(), editor.secret.encode())
            return rest if is_known and self.headers.get("Host") in editor.hosts else None

        def _body(self) -> Any:
            text = self.headers.get("Content-Length", "")
            length = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
            if not 0 < length <= MAX_REQUEST_BYTES:
                raise SettingsError(f"a drawing of {text or 'unknown'} bytes: at most {MAX_REQUEST_BYTES:,} are taken")
            try:
                return json.loads(self.rfile.read(length))
            except (ValueError, RecursionError) as error:
                raise SettingsError(f"the request holds no drawing: {error}") from error

        def _answer_json(self, status: int, value: Any) -> None:
            self._answer(status, json.dumps(value).encode(), "application/json")

        def _answer(self, status: int, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *_: object) -> None:
            """Says nothing: the terminal is for what was written."""

    return Handler
