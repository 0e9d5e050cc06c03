"""Templates filled in: in the visitor's language, all text escaped."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from blemish import __version__
from blemish.reports.page import environment as report_environment
from blemish.station.core.rights import Right
from blemish.station.web.guard import Visitor, settings_in
from blemish.station.web.texts import LANGUAGES, Words
from blemish.text import one_line

SIGNS = {"accept": "✓", "review": "?", "reject": "✗", "error": "!", "lost": "!", "missed": "!"}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("blemish.station.web", "templates"),
        autoescape=True,
        finalize=lambda value: one_line(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"when": when, "bytes": _bytes, "short": lambda text: str(text)[:12]}
    made.globals |= {"Right": Right, "SIGNS": SIGNS, "languages": LANGUAGES, "version": __version__}
    return made


@cache
def page_style() -> str:
    """The look of the report pages."""
    return report_environment().get_template("page.css").render()


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """A page for whoever asks."""
    visitor: Visitor = request.state.visitor
    words = Words(visitor.language)
    content = (
        _environment()
        .get_template(template)
        .render(t=words, visitor=visitor, station=settings_in(request).name, path=request.url.path, **values)
    )
    return HTMLResponse(content, status)


def when(at: int | None) -> str:
    """A time of the database for people, in the station's own time zone."""
    if at is None:
        return "–"
    return datetime.fromtimestamp(at / 1e6, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def local_us(text: str) -> int | None:
    """The microseconds of a date or time that a person typed, None where it is none.

    >>> local_us("tomorrow") is None
    True
    """
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1e6)
    except (ValueError, OverflowError, OSError):
        return None


def now_us() -> int:
    return time.time_ns() // 1000


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
