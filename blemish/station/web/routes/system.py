"""Alarms, the audit trail, the state of the station, and what stays still: styles and scripts."""

from __future__ import annotations

import json
import shutil
import time
from importlib.resources import files
from typing import Annotated, Any

from fastapi import Form, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from blemish.station.core.rights import Right
from blemish.station.settings import Settings
from blemish.station.store.plant import list_lanes
from blemish.station.store.queries import acknowledge, count_parts, list_alarms, list_audit
from blemish.station.web.guard import RefusedError, Routes, Visit, engine_in, settings_in
from blemish.station.web.pages import now_us, page_style, render

routes = Routes()
_STATIC = {"station.css": "text/css", "live.js": "text/javascript", "station.js": "text/javascript"}


@routes.get("/alarms", Right.SEE_PARTS)
def alarms(request: Request) -> Response:
    engine = engine_in(request)
    names = {lane.id: lane.name for lane in list_lanes(engine)}
    return render(request, "alarms.html", alarms=list_alarms(engine), names=names)


@routes.post("/alarms/{alarm_id}/acknowledge", Right.ACKNOWLEDGE)
def acknowledge_alarm(request: Request, visit: Visit, alarm_id: int, reason: Annotated[str, Form()] = "") -> Response:
    acknowledge(engine_in(request), visit.actor, alarm_id, reason.strip(), now_us())
    return RedirectResponse("/alarms", 303)


@routes.get("/audit", Right.SEE_AUDIT)
def audit(request: Request, before: int | None = None) -> Response:
    return render(request, "audit.html", rows=list_audit(engine_in(request), before=before))


@routes.get("/system", Right.SEE_SYSTEM)
def system(request: Request) -> Response:
    settings = settings_in(request)
    disk = shutil.disk_usage(settings.data)
    return render(
        request,
        "system.html",
        processes=read_json(settings, "processes.json").get("processes", []),
        store=read_json(settings, "store.json"),
        data=str(settings.data),
        free=disk.free,
        total=disk.total,
        save=settings.save,
        durability=settings.durability,
    )


def read_json(settings: Settings, name: str) -> dict[str, Any]:
    """What another process last said of itself."""
    try:
        content = json.loads((settings.data / "run" / name).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


@routes.get("/health/live", Right.ANYONE)
def health_live() -> Response:
    return PlainTextResponse("ok\n")


@routes.get("/health/ready", Right.ANYONE)
def health_ready(request: Request) -> Response:
    settings = settings_in(request)
    processes = read_json(settings, "processes.json").get("processes", [])
    is_ready = all(each["is_ready"] for each in processes if not each["name"].startswith("work-"))
    is_ready = is_ready and not read_json(settings, "store.json").get("fault")
    return PlainTextResponse("ready\n" if is_ready else "not ready\n", 200 if is_ready else 503)


@routes.get("/metrics", Right.WATCH)
def metrics(request: Request) -> Response:
    """Counters in the text form of Prometheus, since the station was made."""
    lines = ["# TYPE blemish_parts counter"]
    times = ["# TYPE blemish_answer_seconds_sum counter"]
    for row in count_parts(engine_in(request), 0):
        labels = f'{{lane="{row["lane_id"]}",decision="{row["decision"]}"}}'
        lines.append(f"blemish_parts_total{labels} {row['num_parts']}")
        times.append(f"blemish_answer_seconds_sum{labels} {row['sum_answer_ms'] / 1000:.6f}")
    processes = read_json(settings_in(request), "processes.json").get("processes", [])
    up = ["# TYPE blemish_process_up gauge"]
    up += [f'blemish_process_up{{process="{each["name"]}"}} {int(each["is_ready"])}' for each in processes]
    up.append(f"# TYPE blemish_time_seconds gauge\nblemish_time_seconds {time.time():.0f}")
    return PlainTextResponse("\n".join([*lines, *times, *up]) + "\n")


@routes.get("/static/page.css", Right.ANYONE)
def page_css() -> Response:
    return Response(page_style(), media_type="text/css", headers={"Cache-Control": "max-age=300"})


@routes.get("/static/{name}", Right.ANYONE)
def static(name: str) -> Response:
    if name not in _STATIC:
        raise RefusedError(404, "error.no_page")
    content = files("blemish.station.web").joinpath("static").joinpath(name).read_bytes()
    return Response(content, media_type=_STATIC[name], headers={"Cache-Control": "max-age=300"})
