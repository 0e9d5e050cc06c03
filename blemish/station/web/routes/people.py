"""Signing in and out, one-time links, users."""

from __future__ import annotations

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from blemish.errors import SettingsError
from blemish.station.core.rights import ROLES, Right
from blemish.station.store.people import (
    accept_invitation,
    begin_session,
    check_password,
    disable_user,
    end_session,
    find_invitation,
    has_users,
    invite,
    list_users,
    must_wait,
    set_language,
)
from blemish.station.web.guard import (
    RefusedError,
    Routes,
    Visit,
    cookie_name,
    engine_in,
    safe_next,
    settings_in,
)
from blemish.station.web.pages import render
from blemish.station.web.texts import LANGUAGES

routes = Routes()


@routes.get("/login", Right.ANYONE)
def login_page(request: Request, next: str = "/") -> Response:
    return render(request, "login.html", next=safe_next(next), fault="", has_users=has_users(engine_in(request)))


@routes.post("/login", Right.ANYONE)
def login(
    request: Request,
    visit: Visit,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    engine = engine_in(request)
    name = name.strip()
    if must_wait(engine, name, visit.ip):
        return render(request, "login.html", status=429, next=safe_next(next), fault="login.wait", has_users=True)
    user_id = check_password(engine, name, password, visit.ip)
    if user_id is None:
        return render(request, "login.html", status=401, next=safe_next(next), fault="login.wrong", has_users=True)
    return _signed_in(request, visit, user_id, safe_next(next))


def _signed_in(request: Request, visit: Visit, user_id: int, place: str) -> Response:
    settings, engine = settings_in(request), engine_in(request)
    if visit.person is not None:
        end_session(engine, visit.person.token_sha256)
    idle_us = settings.web.idle_minutes * 60_000_000
    token = begin_session(engine, user_id, visit.ip, request.headers.get("user-agent", ""), idle_us)
    response = RedirectResponse(place, 303)
    is_secure = settings.web.tls is not None
    response.set_cookie(cookie_name(settings), token, httponly=True, samesite="strict", secure=is_secure, path="/")
    return response


@routes.post("/logout", Right.SIGNED_IN)
def logout(request: Request, visit: Visit) -> Response:
    if visit.person is not None:
        end_session(engine_in(request), visit.person.token_sha256)
    response = RedirectResponse("/", 303)
    response.delete_cookie(cookie_name(settings_in(request)), path="/")
    return response


@routes.get("/first", Right.ANYONE)
def first_page(request: Request, token: str = "") -> Response:
    found = find_invitation(engine_in(request), token)
    if found is None:
        raise RefusedError(404, "error.link")
    return render(request, "first.html", token=token, invitation=found, fault="", name=found.name or "")


@routes.post("/first", Right.ANYONE)
def first(
    request: Request,
    visit: Visit,
    token: Annotated[str, Form()],
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:
    engine = engine_in(request)
    found = find_invitation(engine, token)
    if found is None:
        raise RefusedError(404, "error.link")
    try:
        if password != again:
            raise SettingsError("the two passwords differ; type the same one twice")
        made = accept_invitation(engine, token, name, password, visit.ip)
    except SettingsError as error:
        return render(
            request, "first.html", status=400, token=token, invitation=found, fault=str(error), name=found.name or name
        )
    user_id = check_password(engine, made, password, visit.ip)
    assert user_id is not None
    return _signed_in(request, visit, user_id, "/")


@routes.post("/language", Right.ANYONE)
def language(
    request: Request,
    visit: Visit,
    language: Annotated[str, Form()],
    next: Annotated[str, Form()] = "/",
) -> Response:
    response = RedirectResponse(safe_next(next), 303)
    if language in LANGUAGES:
        response.set_cookie("language", language, samesite="strict", max_age=31_536_000, path="/")
        if visit.person is not None:
            set_language(engine_in(request), visit.person.id, language)
    return response


@routes.get("/users", Right.MANAGE_USERS)
def users(request: Request) -> Response:
    return render(request, "users.html", users=list_users(engine_in(request)), roles=list(ROLES), link="", fault="")


@routes.post("/users", Right.MANAGE_USERS)
def add_user(
    request: Request,
    visit: Visit,
    name: Annotated[str, Form()] = "",
    roles: Annotated[list[str], Form()] = [],  # noqa: B006 - FastAPI copies it
) -> Response:
    engine, settings = engine_in(request), settings_in(request)
    link, fault = "", ""
    try:
        if not name.strip() or not roles:
            raise SettingsError("a user needs a name and at least one role")
        token = invite(engine, visit.actor, name.strip(), tuple(roles))
        scheme = "http" if settings.web.tls is None else "https"
        link = f"{scheme}://{request.headers.get('host', settings.web.listen)}/first?token={token}"
    except SettingsError as error:
        fault = str(error)
    return render(request, "users.html", users=list_users(engine), roles=list(ROLES), link=link, fault=fault)


@routes.post("/users/disable", Right.MANAGE_USERS)
def disable(request: Request, visit: Visit, name: Annotated[str, Form()]) -> Response:
    disable_user(engine_in(request), visit.actor, name)
    return RedirectResponse("/users", 303)
