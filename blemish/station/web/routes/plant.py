"""Products, trainings and lanes: from an empty plant to a live lane."""

from __future__ import annotations

import re
import secrets
import shutil
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from fastapi import Form, Request, UploadFile
from starlette.responses import RedirectResponse, Response

from blemish.datasets.listing import list_images
from blemish.errors import ImageError, SettingsError
from blemish.files import make_folder, write_file
from blemish.images.decode import decode_image
from blemish.station.core.lane_file import LaneSource, SourceKind
from blemish.station.core.rights import Right
from blemish.station.settings import Settings
from blemish.station.store.jobs import ask_for_training, cancel_job, jobs_of
from blemish.station.store.plant import (
    activate,
    add_lane,
    add_product,
    add_recipe,
    all_recipes,
    change_lane,
    find_lane,
    list_lanes,
    list_products,
    list_recipes,
    product_name,
)
from blemish.station.web.guard import RefusedError, Routes, Visit, engine_in, settings_in
from blemish.station.web.pages import render

routes = Routes()
MAX_IMAGE_BYTES = 256 << 20
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def _folder(settings: Settings, product_id: int) -> Path:
    """Where uploaded good images of a product lie."""
    return settings.data / "products" / str(product_id) / "good"


def _num_images(folder: Path) -> int:
    return len(list_images([folder]).images) if folder.is_dir() and any(folder.iterdir()) else 0


@routes.get("/products", Right.SEE_PARTS)
def products(request: Request) -> Response:
    return render(request, "products.html", products=list_products(engine_in(request)))


@routes.post("/products", Right.BUILD)
def make_product(request: Request, visit: Visit, name: Annotated[str, Form()] = "") -> Response:
    return RedirectResponse(f"/products/{add_product(engine_in(request), visit.actor, name)}", 303)


@routes.get("/products/{product_id}", Right.SEE_PARTS)
def product(request: Request, product_id: int, note: str = "") -> Response:
    engine, settings = engine_in(request), settings_in(request)
    name = product_name(engine, product_id)
    if name is None:
        raise RefusedError(404, "error.no_product")
    return render(
        request,
        "product.html",
        product_id=product_id,
        name=name,
        note=note,
        num_images=_num_images(_folder(settings, product_id)),
        recipes=list_recipes(engine, product_id),
        lanes=list_lanes(engine),
    )


@routes.get("/products/{product_id}/jobs", Right.SEE_PARTS)
def jobs(request: Request, product_id: int) -> Response:
    """How the trainings go: a piece of the product's page."""
    found = jobs_of(engine_in(request), settings_in(request), product_id)
    return render(request, "jobs.html", product_id=product_id, jobs=found)


@routes.post("/products/{product_id}/images", Right.BUILD)
def upload(request: Request, product_id: int, images: list[UploadFile]) -> Response:
    """Keeps good images that were sent; each is decoded first, so that none is found bad later."""
    settings = settings_in(request)
    if product_name(engine_in(request), product_id) is None:
        raise RefusedError(404, "error.no_product")
    folder = make_folder(_folder(settings, product_id))
    kept, faults = 0, []
    for image in images:
        name = Path(image.filename or "image").name
        try:
            if (image.size or 0) > MAX_IMAGE_BYTES:
                raise ImageError(f"{name}: has more than {MAX_IMAGE_BYTES >> 20} MB; scale it")
            content = image.file.read()
            decode_image(content, name)
        except ImageError as error:
            faults.append(str(error))
            continue
        stem, suffix = _UNSAFE.sub("_", Path(name).stem)[:60] or "image", Path(name).suffix.lower()[:5]
        place = folder / f"{stem}-{secrets.token_hex(4)}{_UNSAFE.sub('', suffix)}"
        write_file(place, content, survives_power_cut=False)
        kept += 1
    note = f"+{kept}" + (f"; {faults[0]}" + (f" (+{len(faults) - 1})" if len(faults) > 1 else "") if faults else "")
    return RedirectResponse(f"/products/{product_id}?note={_quoted(note)}", 303)


@routes.post("/products/{product_id}/train", Right.BUILD)
def train(
    request: Request,
    visit: Visit,
    product_id: int,
    folder: Annotated[str, Form()] = "",
    size: Annotated[str, Form()] = "",
) -> Response:
    """Trains on the images that were sent, or on those of a folder of this machine."""
    engine, settings = engine_in(request), settings_in(request)
    if product_name(engine, product_id) is None:
        raise RefusedError(404, "error.no_product")
    place = Path(folder.strip()) if folder.strip() else _folder(settings, product_id)
    if not place.is_dir():
        raise SettingsError(f"{place}: there is no such folder on this machine; check the path or send images")
    params: dict[str, object] = {"folder": str(place)}
    if size.strip():
        if not size.strip().isdecimal():
            raise SettingsError(f"size {size}: give the shorter side in pixels, for example 256, or nothing")
        params["size"] = [int(size), int(size)]
    ask_for_training(engine, settings, visit.actor, product_id, params)
    return RedirectResponse(f"/products/{product_id}", 303)


@routes.post("/products/{product_id}/jobs/{job_id}/cancel", Right.BUILD)
def cancel(request: Request, visit: Visit, product_id: int, job_id: int) -> Response:
    cancel_job(engine_in(request), settings_in(request), visit.actor, job_id)
    return RedirectResponse(f"/products/{product_id}", 303)


@routes.post("/products/{product_id}/bundle", Right.BUILD)
def bring_bundle(request: Request, visit: Visit, product_id: int, bundle: UploadFile) -> Response:
    """Takes in a bundle that was trained elsewhere."""
    engine, settings = engine_in(request), settings_in(request)
    if product_name(engine, product_id) is None:
        raise RefusedError(404, "error.no_product")
    place = make_folder(settings.data / "uploads") / f"{secrets.token_hex(8)}.blemish"
    try:
        with place.open("wb") as file:
            shutil.copyfileobj(bundle.file, file)
        add_recipe(engine, settings.data, visit.actor, product_id, place)
    finally:
        place.unlink(missing_ok=True)
    return RedirectResponse(f"/products/{product_id}", 303)


@routes.get("/lanes", Right.SEE_PARTS)
def lanes(request: Request) -> Response:
    engine = engine_in(request)
    return render(request, "lanes.html", lanes=list_lanes(engine), recipes=all_recipes(engine))


@routes.post("/lanes", Right.BUILD)
def make_lane(
    request: Request,
    visit: Visit,
    name: Annotated[str, Form()] = "",
    kind: Annotated[SourceKind, Form()] = "upload",
    place: Annotated[str, Form()] = "",
    rate: Annotated[float, Form()] = 2.0,
) -> Response:
    source = _source(kind, place, rate)
    lane_id = add_lane(engine_in(request), settings_in(request), visit.actor, name, source)
    return RedirectResponse(f"/lanes#lane-{lane_id}", 303)


@routes.post("/lanes/{lane_id}/source", Right.BUILD)
def set_source(
    request: Request,
    visit: Visit,
    lane_id: int,
    kind: Annotated[SourceKind, Form()],
    place: Annotated[str, Form()] = "",
    rate: Annotated[float, Form()] = 2.0,
) -> Response:
    settings = settings_in(request)
    change_lane(engine_in(request), settings, visit.actor, lane_id, source=_source(kind, place, rate))
    return RedirectResponse(f"/lanes#lane-{lane_id}", 303)


@routes.post("/lanes/{lane_id}/activate", Right.BUILD)
def activate_recipe(
    request: Request,
    visit: Visit,
    lane_id: int,
    recipe_id: Annotated[int, Form()],
    reason: Annotated[str, Form()] = "",
) -> Response:
    """Puts a version in force, and the lane to work."""
    engine, settings = engine_in(request), settings_in(request)
    if find_lane(engine, lane_id) is None:
        raise RefusedError(404, "error.no_lane")
    activate(engine, settings, visit.actor, lane_id, recipe_id, reason)
    change_lane(engine, settings, visit.actor, lane_id, is_live=True)
    return RedirectResponse(f"/line/{lane_id}", 303)


def _source(kind: SourceKind, place: str, rate: float) -> LaneSource:
    """A source that was typed in; what is wrong with it is said at once. Raises SettingsError."""
    source = LaneSource(kind, place.strip() if kind != "upload" else "", rate)
    if kind in ("watch", "replay") and not Path(source.place).is_dir():
        raise SettingsError(f"{source.place}: there is no such folder on this machine; make it, or check the path")
    return source


def _quoted(text: str) -> str:
    return quote(text[:300])
