"""The web application of `blemish serve`: images in, the rows of `inspect --json` out."""

from __future__ import annotations

import asyncio
import math
from datetime import datetime, timezone
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.responses import HTMLResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blemish import __version__
from blemish.decisions.promise import promise_sentence
from blemish.errors import CalibrationError, ImageError
from blemish.inspection.inspector import Inspector
from blemish.line.events import Judged, Origin, Unreadable
from blemish.line.sinks import event_row
from blemish.model import Model
from blemish.serve.answers import BundleAnswer, ErrorAnswer, Health, ManyAnswer, VerdictAnswer
from blemish.serve.limits import RateLimit, ServeLimits
from blemish.serve.page import describe_page
from blemish.text import json_text

DEFAULT_LIMITS = ServeLimits()
TOO_LARGE, UNREADABLE, TOO_MANY = 413, 422, 429
_FILE = {"type": "string", "format": "binary"}
_ONE = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": _FILE}}}}
_FORM = {"type": "object", "required": ["images"], "properties": {"images": {"type": "array", "items": _FILE}}}
_MANY = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}}
_REFUSED: dict[int | str, dict[str, Any]] = {
    UNREADABLE: {"model": ErrorAnswer, "description": "This is no image that can be judged"},
    TOO_LARGE: {"model": ErrorAnswer, "description": "More bytes or images than the server takes"},
    TOO_MANY: {"model": ErrorAnswer, "description": "More images a second than the server takes; see Retry-After"},
}
Name = Annotated[str, Query(max_length=1000, description="What to call the image in the answer.")]
Id = Annotated[str, Query(max_length=200)]


class _RefusedError(Exception):
    """A request that is not answered with a verdict."""

    def __init__(self, status: int, error: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(error)
        self.status, self.headers = status, headers or {}


def make_app(model: Model, limits: ServeLimits = DEFAULT_LIMITS, *, at_once: int = 1) -> FastAPI:
    """The application that judges with a model, `at_once` images at a time.

    The graph is loaded here: whoever has the application can be answered. Raises EngineError where it cannot run.
    """
    inspector = model.make_inspector(num_images=at_once)
    rate = RateLimit(limits.images_per_second)
    turns = asyncio.Semaphore(at_once)
    app = FastAPI(
        title="blemish",
        version=__version__,
        description="Verdicts on images of parts: the same that `blemish inspect --json` prints.",
        docs_url=None,  # these pages load scripts from the network
        redoc_url=None,
    )
    app.add_middleware(_BodyLimit, most=limits.max_body_bytes)

    @app.exception_handler(_RefusedError)
    async def refuse(request: Request, error: _RefusedError) -> Response:
        return _json({"path": "", "error": str(error)}, error.status, error.headers)

    async def judge(content: bytes, origin: Origin) -> Judged | Unreadable:
        async with turns:
            return await run_in_threadpool(_judge, inspector, content, origin)

    def admit(request: Request, count: int) -> None:
        seconds = rate.wait(request.client.host if request.client else "", count)
        if seconds:
            raise _RefusedError(
                TOO_MANY,
                f"more than {limits.images_per_second:g} images a second; wait {seconds:.1f} s",
                {"Retry-After": str(math.ceil(seconds))},
            )

    @app.post("/inspect", response_model=VerdictAnswer, responses=_REFUSED, openapi_extra=_ONE)
    async def inspect(request: Request, name: Name = "image", part_id: Id = "", lot_id: Id = "") -> Response:
        """The verdict on one image: the bytes of an image file are the body of the request."""
        admit(request, 1)
        content = await _read_body(request, limits.max_image_bytes)
        event = await judge(content, Origin(name, time=_now(), part_id=part_id, lot_id=lot_id))
        return _json(_row(event), 200 if isinstance(event, Judged) else UNREADABLE)

    @app.post("/inspect/many", response_model=ManyAnswer, responses=_REFUSED, openapi_extra=_MANY)
    async def inspect_many(request: Request, lot_id: Id = "") -> Response:
        """The verdicts on several images, in their order: a form with files, each called `images`."""
        try:
            async with request.form(max_files=limits.max_images) as form:
                files = [file for file in form.getlist("images") if isinstance(file, UploadFile)]
                if not files:
                    raise _RefusedError(UNREADABLE, "no image: send a form with files called 'images'")
                admit(request, len(files))
                given = []
                for number, file in enumerate(files):
                    content = await file.read(limits.max_image_bytes + 1)
                    given.append((content, file.filename or f"image {number}"))
        except _TooLargeError:
            raise _RefusedError(TOO_LARGE, _too_large(limits.max_body_bytes)) from None
        except _RefusedError:
            raise
        except Exception as error:  # a body that is no form, or one of too many files
            reason = getattr(error, "detail", None) or error
            status = TOO_LARGE if "Too many files" in str(reason) else UNREADABLE
            raise _RefusedError(status, f"not a form with files called 'images': {reason}") from error
        events = await asyncio.gather(
            *(
                judge(content, Origin(name, time=_now(), lot_id=lot_id))
                if len(content) <= limits.max_image_bytes
                else _say_too_large(name, limits.max_image_bytes, inspector)
                for content, name in given
            )
        )
        return _json({"results": [_row(event) for event in events]})

    @app.get("/health/live", response_model=Health)
    async def live() -> Response:
        """Whether the process answers."""
        return _json({"status": "ok"})

    @app.get("/health/ready", response_model=Health)
    async def ready() -> Response:
        """Whether images can be judged: the graph is loaded before the server listens."""
        return _json({"status": "ok"})

    @app.get("/bundle", response_model=BundleAnswer)
    async def bundle() -> Response:
        """What the server judges with, and what it takes."""
        manifest, calibration = model.bundle.manifest, model.calibration
        return _json(
            {
                "bundle_id": model.bundle.bundle_id,
                "detector": manifest.detector,
                "data": manifest.data.name,
                "threshold": calibration.image_threshold,
                "promise": promise_sentence(calibration.promise),
                "engine": inspector.session.engine,
                "version": __version__,
                "max_image_bytes": limits.max_image_bytes,
                "max_images": limits.max_images,
                "images_per_second": limits.images_per_second,
            }
        )

    @app.get("/", include_in_schema=False)
    async def page() -> HTMLResponse:
        return HTMLResponse(describe_page(app.openapi()))

    return app


def _judge(inspector: Inspector, content: bytes, origin: Origin) -> Judged | Unreadable:
    try:
        return Judged(origin, inspector.inspect(content, origin.name))
    except (ImageError, CalibrationError) as error:
        why = error if isinstance(error, ImageError) else ImageError(f"{origin.name}: {error}")
        return Unreadable(origin, why, inspector.bundle.bundle_id)


async def _say_too_large(name: str, most: int, inspector: Inspector) -> Unreadable:
    error = ImageError(f"{name}: {_too_large(most)}")
    return Unreadable(Origin(name, time=_now()), error, inspector.bundle.bundle_id)


def _row(event: Judged | Unreadable) -> dict[str, Any]:
    row = event_row(event) or {}
    return {name: value for name, value in row.items() if name not in ("overlay", "sorted_to")}


async def _read_body(request: Request, most: int) -> bytes:
    """The body of a request, read no further than what is taken."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _RefusedError(TOO_LARGE, _too_large(most))
        parts.append(part)
    return b"".join(parts)


class _TooLargeError(Exception):
    """A body has more bytes than are taken."""


class _BodyLimit:
    """Ends the reading of a body that is too large, before its bytes fill memory or disk."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._most:
                raise _TooLargeError
            return message

        await self._app(scope, limited if scope["type"] == "http" else receive, send)


def _too_large(most: int) -> str:
    return f"more than {most:,} bytes; raise the limit of the server (--max-mb, --max-images), or send smaller images"


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _json(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json_text(value), status, headers, media_type="application/json")
