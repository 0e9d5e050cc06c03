"""The page of the line: this part, its verdict, the counters; and the socket that feeds it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Annotated

from fastapi import Form, Request, WebSocket
from starlette.responses import RedirectResponse, Response
from starlette.websockets import WebSocketDisconnect

from blemish.station import wire
from blemish.station.core.lane_file import lane_ids
from blemish.station.core.rights import Right
from blemish.station.store.plant import change_lane, find_lane, list_lanes, list_products
from blemish.station.store.queries import latest_rejects
from blemish.station.web.guard import RefusedError, Routes, Visit, engine_in, settings_in
from blemish.station.web.live import Live
from blemish.station.web.pages import render

routes = Routes()
SEND_SECONDS = 10.0
"""A browser that takes nothing for so long is let go."""


@routes.get("/", Right.WATCH)
def home(request: Request) -> Response:
    """The first lane that is live, or where to begin."""
    lanes = list_lanes(engine_in(request))
    chosen = next((lane for lane in lanes if lane.is_live), lanes[0] if lanes else None)
    if chosen is None:
        return render(request, "welcome.html", products=list_products(engine_in(request)))
    return _line_page(request, chosen.id)


@routes.get("/line/{lane_id}", Right.WATCH)
def line(request: Request, lane_id: int) -> Response:
    return _line_page(request, lane_id)


def _line_page(request: Request, lane_id: int) -> Response:
    engine = engine_in(request)
    lane = find_lane(engine, lane_id)
    if lane is None:
        raise RefusedError(404, "error.no_lane")
    rejects = latest_rejects(engine, lane_id)
    return render(request, "line.html", lane=lane, lanes=list_lanes(engine), rejects=rejects)


@routes.socket("/live", Right.WATCH)
async def live(socket: WebSocket, lane: int) -> None:
    """Sends the newest part of a lane, as long as the browser takes it."""
    await socket.accept()
    if lane not in lane_ids(settings_in(socket).data):
        await socket.close(4404)
        return
    following: Live = socket.app.state.live
    gone = asyncio.create_task(_wait_until_gone(socket))
    try:
        async for message in following.lane(lane).messages():
            await asyncio.wait_for(socket.send_bytes(message), SEND_SECONDS)
            if gone.done():
                return
    except (WebSocketDisconnect, RuntimeError, asyncio.TimeoutError, OSError):
        with contextlib.suppress(Exception):
            await socket.close()
    finally:
        gone.cancel()


async def _wait_until_gone(socket: WebSocket) -> None:
    with contextlib.suppress(WebSocketDisconnect, RuntimeError):
        while True:
            await socket.receive_bytes()


@routes.post("/line/{lane_id}/lot", Right.RUN)
def begin_lot(request: Request, lane_id: int, lot_id: Annotated[str, Form()]) -> Response:
    wire.ask(settings_in(request).data, f"lane-{lane_id}", {"do": "lot", "lot_id": lot_id.strip()})
    return RedirectResponse(f"/line/{lane_id}", 303)


@routes.post("/line/{lane_id}/run", Right.RUN)
def run(request: Request, visit: Visit, lane_id: int, is_live: Annotated[bool, Form()]) -> Response:
    settings = settings_in(request)
    change_lane(engine_in(request), settings, visit.actor, lane_id, is_live=is_live)
    return RedirectResponse(f"/line/{lane_id}", 303)
