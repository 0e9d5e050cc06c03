"""The programming interface, version 1."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from blemish.errors import ImageError
from blemish.images.decode import decode_image
from blemish.station import wire
from blemish.station.core.parts import OUTCOMES
from blemish.station.core.rights import Right
from blemish.station.store.plant import find_lane, list_lanes
from blemish.station.store.queries import PAGE_ROWS, PartFilter, find_parts, part_details
from blemish.station.web.guard import RefusedError, Routes, engine_in, settings_in
from blemish.station.web.routes.parts import _before, send_picture
from blemish.text import json_value

routes = Routes()
MAX_IMAGE_BYTES = 256 << 20


@routes.get("/api/v1/openapi.json", Right.ANYONE)
def openapi(request: Request) -> Response:
    return JSONResponse(request.app.openapi())


@routes.get("/api/v1/lanes", Right.WATCH)
def lanes(request: Request) -> Response:
    found = [
        {"id": lane.id, "name": lane.name, "is_live": lane.is_live, "source": lane.source.kind}
        for lane in list_lanes(engine_in(request))
    ]
    return JSONResponse(found)


@routes.get("/api/v1/lanes/{lane_id}/state", Right.WATCH)
def state(request: Request, lane_id: int) -> Response:
    fields, _ = wire.ask(settings_in(request).data, f"lane-{lane_id}", {"do": "state"})
    return JSONResponse(fields)


@routes.post("/api/v1/lanes/{lane_id}/inspect", Right.INSPECT)
async def inspect(
    request: Request, lane_id: int, part_id: str = "", lot_id: str = "", simulated: bool = False
) -> Response:
    """The verdict on the image in the body; it is a part of the lane like any other."""
    content = await _read_image(request)
    return await run_in_threadpool(_inspect, request, lane_id, content, part_id, lot_id, simulated)


async def _read_image(request: Request) -> bytes:
    content_type = request.headers.get("content-type", "")
    if content_type.startswith("multipart/form-data"):
        async with request.form() as form:
            upload = next((value for value in form.values() if not isinstance(value, str)), None)
            content = b"" if upload is None else await upload.read()
    else:
        content = await request.body()
    if not content:
        raise RefusedError(400, "error.no_body")
    if len(content) > MAX_IMAGE_BYTES:
        raise RefusedError(413, "error.large")
    return content


def _inspect(request: Request, lane_id: int, content: bytes, part_id: str, lot_id: str, simulated: bool) -> Response:
    if find_lane(engine_in(request), lane_id) is None:
        raise RefusedError(404, "error.no_lane")
    try:
        decode_image(content, "the image")  # what is no image makes no part
    except ImageError as error:
        return JSONResponse({"type": "about:blank", "status": 400, "title": str(error)}, 400)
    message = {"do": "inspect", "part_id": part_id, "lot_id": lot_id, "is_simulated": simulated, "name": "api"}
    answer, _ = wire.ask(settings_in(request).data, f"lane-{lane_id}", message, content, seconds=70.0)
    if answer.get("fault") and not answer.get("seq"):
        return JSONResponse({"type": "about:blank", "status": 503, "title": answer["fault"]}, 503)
    return JSONResponse({"lane": lane_id, **answer})


@routes.get("/api/v1/verdicts", Right.SEE_PARTS)
def verdicts(
    request: Request,
    lane: int | None = None,
    decision: str | None = None,
    part: str | None = None,
    lot: str | None = None,
    since: int | None = None,
    until: int | None = None,
    after: str = "",
) -> Response:
    """Parts, the newest first; `next` is given as `after` for those behind them. Times are microseconds since 1970."""
    if decision is not None and decision not in OUTCOMES:
        raise RefusedError(400, "error.decision")
    wanted = PartFilter(lane=lane, decision=decision, part=part, lot=lot, since=since, until=until)
    rows = find_parts(engine_in(request), wanted, before=_before(after))
    following = f"{rows[-1]['taken_at']}-{rows[-1]['seq']}" if len(rows) == PAGE_ROWS else None
    return JSONResponse({"verdicts": json_value(rows), "next": following})


@routes.get("/api/v1/verdicts/{lane_id}/{seq}", Right.SEE_PARTS)
def verdict(request: Request, lane_id: int, seq: int) -> Response:
    found = part_details(engine_in(request), lane_id, seq) if seq < 2**63 else None
    if found is None:
        raise RefusedError(404, "error.no_part")
    fields: dict[str, Any] = {
        **found.verdict,
        "views": found.views,
        "recipe": found.recipe,
        "activation": found.activation,
    }
    return JSONResponse(json_value(fields))


@routes.get("/api/v1/images/{sha256}", Right.SEE_PARTS)
def image(request: Request, sha256: str, width: int | None = None) -> Response:
    return send_picture(request, sha256, width)
