"""Who may open what: each route names the right it needs, and a station with a route that names none does not start."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlsplit

from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.routing import BaseRoute

from blemish.station.core.rights import Right
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor
from blemish.station.store.database import Engine
from blemish.station.store.people import Person, find_person, key_rights
from blemish.station.web.texts import LANGUAGES, language_of

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
SAFE = ("GET", "HEAD", "OPTIONS")
MAX_BODY_BYTES = 1 << 30
MAX_SMALL_BODY_BYTES = 64 << 10
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class RefusedError(Exception):
    """What was asked for is not given: with a status, a text of the pages, and whether a login would help."""

    def __init__(self, status: int, text: str, *, needs_login: bool = False) -> None:
        super().__init__(text)
        self.status, self.text, self.needs_login = status, text, needs_login


@dataclass(frozen=True)
class Visitor:
    """Who asks: a person, a program with a key, or nobody in particular."""

    person: Person | None
    key_name: str | None
    rights: frozenset[Right]
    ip: str
    language: str

    @property
    def actor(self) -> Actor:
        if self.person is not None:
            return self.person.actor(self.ip)
        return Actor(self.key_name or "nobody", "key" if self.key_name else "", self.ip)

    @property
    def form_token(self) -> str:
        return "" if self.person is None else self.person.form_token

    def may(self, right: Right) -> bool:
        return right in self.rights


def settings_in(connection: HTTPConnection) -> Settings:
    settings: Settings = connection.app.state.settings
    return settings


def engine_in(connection: HTTPConnection) -> Engine:
    engine: Engine = connection.app.state.engine
    return engine


def cookie_name(settings: Settings) -> str:
    return "blemish" if settings.web.tls is None else "__Host-blemish"


def _visitor(connection: HTTPConnection) -> Visitor:
    settings, engine = settings_in(connection), engine_in(connection)
    ip = connection.client.host if connection.client else ""
    cookies = connection.cookies
    language = language_of(connection.headers.get("accept-language", ""), settings.web.language)
    language = cookies.get("language", language)
    language = language if language in LANGUAGES else settings.web.language
    rights = frozenset({Right.ANYONE, *([Right.WATCH] if settings.web.line_page == "open" else [])})
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        found = key_rights(engine, key.strip())
        if found is None:
            raise RefusedError(401, "error.key")
        return Visitor(None, found[0], rights | found[1], ip, language)
    token = cookies.get(cookie_name(settings))
    person = find_person(engine, token, settings.web.idle_minutes * 60_000_000) if token else None
    if person is None:
        return Visitor(None, None, rights, ip, language)
    return Visitor(person, None, rights | person.rights | {Right.SIGNED_IN}, ip, person.language or language)


def _check_origin(connection: HTTPConnection) -> None:
    """A form or socket of another site is refused."""
    host = connection.headers.get("host", "")
    origin = connection.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != host:
        raise RefusedError(403, "error.origin")
    if connection.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise RefusedError(403, "error.origin")


def need(right: Right) -> Callable[[HTTPConnection], Awaitable[Visitor]]:
    """Lets only those in who have the right; forms must come from our own pages."""

    async def check(connection: HTTPConnection) -> Visitor:
        visitor = await run_in_threadpool(_visitor, connection)
        connection.state.visitor = visitor
        is_socket = connection.scope["type"] == "websocket"
        is_unsafe = not is_socket and connection.scope["method"] not in SAFE
        if is_socket or (is_unsafe and visitor.key_name is None):
            _check_origin(connection)
        if right not in visitor.rights:
            is_nobody = visitor.person is None and visitor.key_name is None
            raise RefusedError(401 if is_nobody else 403, "error.right", needs_login=is_nobody)
        if is_unsafe and visitor.person is not None:
            given = connection.headers.get("x-form-token")
            if given is None and isinstance(connection, Request):
                given = str((await connection.form()).get("form_token", ""))
            if not secrets.compare_digest((given or "").encode(), visitor.form_token.encode()):
                raise RefusedError(403, "error.form")
        return visitor

    return check


def _found_visitor(connection: HTTPConnection) -> Visitor:
    visitor: Visitor = connection.state.visitor
    return visitor


Visit = Annotated[Visitor, Depends(_found_visitor)]
"""In an endpoint: who asks. The route has checked the right already."""


class Routes:
    """Routes of one file, each with its right."""

    def __init__(self) -> None:
        self._entries: list[tuple[str, str, Right, Callable[..., Any], dict[str, Any]]] = []

    def get(self, path: str, right: Right, **options: Any) -> Callable[[Endpoint], Endpoint]:
        return self._add("GET", path, right, options)

    def post(self, path: str, right: Right, **options: Any) -> Callable[[Endpoint], Endpoint]:
        return self._add("POST", path, right, options)

    def socket(self, path: str, right: Right) -> Callable[[Endpoint], Endpoint]:
        return self._add("SOCKET", path, right, {})

    def _add(self, method: str, path: str, right: Right, options: dict[str, Any]) -> Callable[[Endpoint], Endpoint]:
        def note(endpoint: Endpoint) -> Endpoint:
            self._entries.append((method, path, right, endpoint, options))
            return endpoint

        return note

    def install(self, app: FastAPI) -> None:
        for method, path, right, endpoint, options in self._entries:
            dependencies = [Depends(need(right))]
            if method == "SOCKET":
                app.add_api_websocket_route(path, endpoint, dependencies=dependencies)
            else:
                app.add_api_route(
                    path,
                    endpoint,
                    methods=[method],
                    dependencies=dependencies,
                    response_model=None,
                    include_in_schema=path.startswith("/api"),
                    openapi_extra={"x-right": right.value},
                    **options,
                )
            app.state.rights[method, path] = right


def check_routes(app: FastAPI) -> None:
    """Raises RuntimeError where a route needs no declared right: such a station must not start."""
    declared = {path for _, path in app.state.rights}
    for route in app.routes:
        path = getattr(route, "path", None)
        if not isinstance(route, BaseRoute) or path not in declared:
            raise RuntimeError(f"the route {path} declares no right; add it through Routes")


Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Shield:
    """Around the application: headers of every answer, and bodies refused before anybody reads them."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        limit = MAX_BODY_BYTES
        if b"cookie" not in headers and b"authorization" not in headers:
            limit = MAX_SMALL_BODY_BYTES
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length) > limit:
            await self._refuse(send)
            return
        num_read = 0

        async def limited() -> MutableMapping[str, Any]:
            nonlocal num_read
            message = await receive()
            num_read += len(message.get("body", b""))
            if num_read > limit:
                return {"type": "http.disconnect"}
            return message

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                added = [(name.encode(), text.encode()) for name, text in HEADERS.items()]
                if b"cache-control" not in known:
                    added.append((b"Cache-Control", b"no-store"))
                message["headers"] = [*message["headers"], *added]
            await send(message)

        await self._app(scope, limited, with_headers)

    async def _refuse(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-type", b"text/plain")]})
        await send({"type": "http.response.body", "body": b"the body is too large"})


def login_path(connection: HTTPConnection) -> str:
    """The login page, which leads back to what was asked for."""
    path = connection.url.path + (f"?{connection.url.query}" if connection.url.query else "")
    return f"/login?next={quote(path, safe='')}"


def safe_next(path: str) -> str:
    """A place of this station to go on to; never another site.

    >>> safe_next("/parts?lot=7"), safe_next("//evil.example"), safe_next("https://evil.example")
    ('/parts?lot=7', '/', '/')
    """
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and "\\" not in path else "/"
