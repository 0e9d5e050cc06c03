"""History: any part by id, lot, time or decision, and all that is known of one."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from starlette.responses import FileResponse, Response

from blemish.station.core.parts import OUTCOMES
from blemish.station.core.pictures import picture_path, thumbnail
from blemish.station.core.rights import Right
from blemish.station.store.plant import list_lanes
from blemish.station.store.queries import PAGE_ROWS, PartFilter, find_image, find_parts, part_details
from blemish.station.web.guard import RefusedError, Routes, engine_in, settings_in
from blemish.station.web.pages import local_us, render

routes = Routes()
_TYPES = {"png": "image/png", "jpeg95": "image/jpeg"}
THUMBNAIL = 320
FOREVER = "private, max-age=31536000, immutable"


@routes.get("/parts", Right.SEE_PARTS)
def history(
    request: Request,
    lane: str = "",
    decision: str = "",
    part: str = "",
    lot: str = "",
    since: str = "",
    until: str = "",
    before: str = "",
) -> Response:
    engine = engine_in(request)
    wanted = PartFilter(
        lane=int(lane) if lane.isdecimal() else None,
        decision=decision if decision in OUTCOMES else None,
        part=None if part.startswith("#") else part.strip() or None,
        seq=int(part[1:]) if part.startswith("#") and part[1:].isdecimal() and len(part) < 19 else None,
        lot=lot.strip() or None,
        since=local_us(since),
        until=local_us(until),
    )
    rows = find_parts(engine, wanted, before=_before(before), limit=PAGE_ROWS + 1)
    asked: dict[str, Any] = {
        "lane": lane,
        "decision": decision,
        "part": part,
        "lot": lot,
        "since": since,
        "until": until,
    }
    older = ""
    if len(rows) > PAGE_ROWS:
        last = rows[PAGE_ROWS - 1]
        older = urlencode({**asked, "before": f"{last['taken_at']}-{last['seq']}"})
    return render(
        request,
        "parts.html",
        rows=rows[:PAGE_ROWS],
        asked=asked,
        older=older,
        lanes=list_lanes(engine),
        outcomes=OUTCOMES,
    )


def _before(text: str) -> tuple[int, int] | None:
    at, _, seq = text.partition("-")
    return (int(at), int(seq)) if at.isdecimal() and seq.isdecimal() and len(text) < 40 else None


@routes.get("/parts/{lane_id}/{seq}", Right.SEE_PARTS)
def part(request: Request, lane_id: int, seq: int) -> Response:
    found = part_details(engine_in(request), lane_id, seq) if seq < 2**63 else None
    if found is None:
        raise RefusedError(404, "error.no_part")
    return render(request, "part.html", part=found)


@routes.get("/parts/{lane_id}/{seq}/map.png", Right.SEE_PARTS)
def anomaly_map(request: Request, lane_id: int, seq: int) -> Response:
    """The anomaly map in color, to be laid over the picture."""
    found = part_details(engine_in(request), lane_id, seq) if seq < 2**63 else None
    kept = next((view["doc"].get("map") for view in (found.views if found else []) if view["doc"]), None)
    if not kept:
        raise RefusedError(404, "error.no_map")
    return Response(base64.b64decode(kept), media_type="image/png", headers={"Cache-Control": FOREVER})


@routes.get("/images/{sha256}", Right.SEE_PARTS)
def picture(request: Request, sha256: str, width: int | None = None) -> Response:
    """A picture that was kept, or a small copy of it."""
    return send_picture(request, sha256, width)


@routes.get("/line/{lane_id}/rejects/{sha256}", Right.WATCH)
def rejected_picture(request: Request, lane_id: int, sha256: str) -> Response:
    """A picture of a rejected part, for whoever may see the line."""
    row = find_image(engine_in(request), sha256)
    if row is None or row["decision"] == "accept":
        raise RefusedError(404, "error.no_image")
    return send_picture(request, sha256, THUMBNAIL)


def send_picture(request: Request, sha256: str, width: int | None = None) -> Response:
    row = find_image(engine_in(request), sha256)
    if row is None or row["state"] != "kept":
        raise RefusedError(404, "error.no_image")
    path = picture_path(settings_in(request).data / "images", row["sha256"], row["format"])
    if not path.is_file():
        raise RefusedError(404, "error.no_image")
    if width is not None:
        small = thumbnail(path, min(max(width, 16), 2048))
        return Response(small, media_type="image/jpeg", headers={"Cache-Control": FOREVER})
    return FileResponse(path, media_type=_TYPES[row["format"]], headers={"Cache-Control": FOREVER})
