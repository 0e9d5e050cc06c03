"""The application of the pages and of the programming interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response

from blemish import __version__
from blemish.errors import BlemishError
from blemish.station.settings import Settings
from blemish.station.store.database import DatabaseFault, Engine
from blemish.station.store.jobs import take_in_jobs
from blemish.station.web.guard import RefusedError, Shield, Visitor, check_routes, login_path
from blemish.station.web.live import Live
from blemish.station.web.pages import render
from blemish.station.web.routes import api, line, parts, people, plant, system
from blemish.station.web.texts import LANGUAGES, Words

JOBS_SECONDS = 1.0


def make_app(settings: Settings, engine: Engine) -> FastAPI:
    """The application over a database. Raises RuntimeError where a route declares no right."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.live = Live(settings.data)
        looking = asyncio.create_task(_look_for_jobs(settings, engine))
        yield
        looking.cancel()
        app.state.live.close()

    app = FastAPI(
        title="blemish station",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=lifespan,
        exception_handlers={
            RefusedError: _refused,
            BlemishError: _fault,
            DatabaseFault: _database_fault,
            HTTPException: _http_fault,
        },
    )
    app.state.settings, app.state.engine, app.state.rights = settings, engine, {}
    for routes in (line.routes, parts.routes, plant.routes, people.routes, system.routes, api.routes):
        routes.install(app)
    check_routes(app)
    app.add_middleware(Shield)
    return app


async def _look_for_jobs(settings: Settings, engine: Engine) -> None:
    """Takes in trainings that are done, whoever looks."""
    while True:
        with contextlib.suppress(Exception):
            await run_in_threadpool(take_in_jobs, engine, settings)
        await asyncio.sleep(JOBS_SECONDS)


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(("/api/", "/metrics", "/health"))


def _problem(status: int, text: str) -> Response:
    body = {"type": "about:blank", "status": status, "title": text}
    return JSONResponse(body, status, media_type="application/problem+json")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    language = getattr(getattr(request.state, "visitor", None), "language", request.app.state.settings.web.language)
    if _is_api(request):
        return _problem(error.status, Words(language)(error.text))
    if error.needs_login and request.method == "GET":
        return RedirectResponse(login_path(request), 303)
    return _page(request, error.status, Words(language)(error.text))


async def _fault(request: Request, error: Exception) -> Response:
    """A mistake of whoever asks, or a disk or database that does not work: one sentence, as on the command line."""
    return _problem(400, str(error)) if _is_api(request) else _page(request, 400, str(error))


async def _database_fault(request: Request, error: Exception) -> Response:
    text = Words(request.app.state.settings.web.language)("error.database")
    return _problem(503, text) if _is_api(request) else _page(request, 503, text)


async def _http_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return (
        _problem(error.status_code, str(error.detail))
        if _is_api(request)
        else _page(request, error.status_code, str(error.detail))
    )


def _page(request: Request, status: int, text: str) -> Response:
    if not hasattr(request.state, "visitor"):
        settings: Any = request.app.state.settings
        language = request.cookies.get("language", settings.web.language)
        language = language if language in LANGUAGES else settings.web.language
        request.state.visitor = Visitor(None, None, frozenset(), "", language)
    return render(request, "message.html", status=status, text=text)
