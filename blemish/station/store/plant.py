"""Products, their recipes, lanes and what is active on them: made and changed with a row in the audit trail each."""

from __future__ import annotations

import hashlib
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from blemish.bundle.bundle import CALIBRATION
from blemish.bundle.read import read_bundle
from blemish.errors import SettingsError
from blemish.files import hash_file, make_folder, replace_file
from blemish.station.core.lane_file import ActiveRecipe, LaneFile, LaneSource, lane_ids, lane_path, write_lane
from blemish.station.settings import Settings
from blemish.station.store.audit import Actor, write_audit
from blemish.station.store.database import Connection, Engine
from blemish.station.store.people import check_name
from blemish.station.store.tables import activation, bundle, lane, product, recipe, station

STATION_ID = 1


def now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class LaneRow:
    """A lane with the recipe that is active on it."""

    id: int
    name: str
    source: LaneSource
    is_live: bool
    plc_rate: float | None
    is_simulated: bool
    recipe: ActiveRecipe | None


@dataclass(frozen=True)
class RecipeRow:
    """A version of a product."""

    id: int
    version: int
    bundle_sha256: str
    detector: str
    created_at: int
    created_by: str
    settings: dict[str, Any]


def name_station(engine: Engine, name: str) -> None:
    """The station has that name from now on."""
    with engine.begin() as connection:
        row = connection.execute(sa.select(station.c.name).where(station.c.id == STATION_ID)).one_or_none()
        if row is None:
            connection.execute(station.insert().values(id=STATION_ID, name=name, created_at=now_us()))
        elif row.name != name:
            connection.execute(station.update().where(station.c.id == STATION_ID).values(name=name))


def add_product(engine: Engine, actor: Actor, name: str) -> int:
    """The id of a new product. Raises SettingsError."""
    name = check_name(name)
    with engine.begin() as connection:
        if connection.execute(sa.select(product.c.id).where(product.c.code == name)).first() is not None:
            raise SettingsError(f"there is a product called '{name}' already; choose another name")
        product_id = int(
            connection.execute(product.insert().values(code=name, name=name).returning(product.c.id)).scalar_one()
        )
        write_audit(connection, actor, "product made", name, now_us())
    return product_id


def product_name(engine: Engine, product_id: int) -> str | None:
    with engine.connect() as connection:
        return connection.execute(sa.select(product.c.name).where(product.c.id == product_id)).scalar_one_or_none()


def list_products(engine: Engine) -> list[tuple[int, str, int]]:
    """Id, name and number of versions of each product."""
    count = sa.func.count(recipe.c.id)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(product.c.id, product.c.name, count)
            .outerjoin(recipe, recipe.c.product_id == product.c.id)
            .group_by(product.c.id, product.c.name)
            .order_by(product.c.name)
        ).all()
    return [(row[0], row[1], row[2]) for row in rows]


def add_recipe(
    engine: Engine, data: Path, actor: Actor, product_id: int, bundle_file: Path, *, job_id: int | None = None
) -> int:
    """Takes a bundle in as a new version of a product. Raises BundleError where it is none."""
    read = read_bundle(bundle_file)
    sha256 = hash_file(bundle_file)
    place = data / "bundles" / f"{sha256}.blemish"
    make_folder(place.parent)
    if not place.exists():
        replace_file(place, lambda beside: shutil.copyfile(bundle_file, beside))
    now = now_us()
    calibration_sha256 = hashlib.sha256(CALIBRATION.dump_json(read.calibration)).hexdigest()
    with engine.begin() as connection:
        if connection.execute(sa.select(bundle.c.sha256).where(bundle.c.sha256 == sha256)).first() is None:
            connection.execute(
                bundle.insert().values(
                    sha256=sha256,
                    detector=read.manifest.detector,
                    num_bytes=place.stat().st_size,
                    graph_sha256=read.graph_sha256,
                    bundle_id=read.bundle_id,
                    made_by_job=job_id,
                    created_at=now,
                )
            )
        newest = connection.execute(
            sa.select(sa.func.max(recipe.c.version)).where(recipe.c.product_id == product_id)
        ).scalar()
        version = (newest or 0) + 1
        settings = {
            "input_hw": list(read.manifest.input_hw),
            "image_threshold": read.calibration.image_threshold,
            "wanted_rate": read.calibration.promise.wanted_rate,
            "num_good": read.calibration.promise.num_good,
        }
        recipe_id = int(
            connection.execute(
                recipe.insert()
                .values(
                    product_id=product_id,
                    version=version,
                    bundle_sha256=sha256,
                    calibration_sha256=calibration_sha256,
                    settings=settings,
                    created_at=now,
                    created_by=actor.name,
                )
                .returning(recipe.c.id)
            ).scalar_one()
        )
        after = {"version": version, "bundle": sha256, "detector": read.manifest.detector}
        write_audit(connection, actor, "version made", f"product {product_id}", now, after=after)
    return recipe_id


def list_recipes(engine: Engine, product_id: int) -> list[RecipeRow]:
    """The versions of a product, newest first."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(recipe, bundle.c.detector)
            .join(bundle, bundle.c.sha256 == recipe.c.bundle_sha256)
            .where(recipe.c.product_id == product_id)
            .order_by(recipe.c.version.desc())
        ).all()
    return [
        RecipeRow(
            row.id, row.version, row.bundle_sha256, row.detector, row.created_at, row.created_by, dict(row.settings)
        )
        for row in rows
    ]


def all_recipes(engine: Engine) -> list[tuple[int, str]]:
    """Each version of each product, to choose from."""
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(recipe.c.id, product.c.name, recipe.c.version)
            .join(product, product.c.id == recipe.c.product_id)
            .order_by(product.c.name, recipe.c.version.desc())
        ).all()
    return [(row.id, f"{row.name} v{row.version}") for row in rows]


def add_lane(
    engine: Engine, settings: Settings, actor: Actor, name: str, source: LaneSource, *, plc_rate: float | None = None
) -> int:
    """The id of a new lane; it is not live yet. Raises SettingsError."""
    name = check_name(name)
    kept = {
        "source": asdict(source),
        "is_live": False,
        "plc_rate": plc_rate,
        "is_simulated": settings.is_demo or plc_rate is not None,
    }
    with engine.begin() as connection:
        if connection.execute(sa.select(lane.c.id).where(lane.c.name == name)).first() is not None:
            raise SettingsError(f"there is a lane called '{name}' already; choose another name")
        lane_id = int(
            connection.execute(
                lane.insert().values(station_id=STATION_ID, name=name, settings=kept).returning(lane.c.id)
            ).scalar_one()
        )
        write_audit(connection, actor, "lane made", name, now_us(), after=kept)
    write_lane_file(engine, settings, lane_id)
    return lane_id


def change_lane(
    engine: Engine,
    settings: Settings,
    actor: Actor,
    lane_id: int,
    *,
    source: LaneSource | None = None,
    is_live: bool | None = None,
) -> None:
    """Other settings of a lane. Raises SettingsError."""
    with engine.begin() as connection:
        before = _lane_settings(connection, lane_id)
        after = dict(before)
        if source is not None:
            after["source"] = asdict(source)
        if is_live is not None:
            after["is_live"] = is_live
        connection.execute(lane.update().where(lane.c.id == lane_id).values(settings=after))
        write_audit(connection, actor, "lane changed", f"lane {lane_id}", now_us(), before=before, after=after)
    write_lane_file(engine, settings, lane_id)


def activate(engine: Engine, settings: Settings, actor: Actor, lane_id: int, recipe_id: int, reason: str) -> None:
    """A version is in force on a lane from now on. Raises SettingsError."""
    if not reason.strip():
        raise SettingsError("an activation needs a reason; say why in a few words")
    with engine.begin() as connection:
        _lane_settings(connection, lane_id)
        if connection.execute(sa.select(recipe.c.id).where(recipe.c.id == recipe_id)).first() is None:
            raise SettingsError(f"there is no version {recipe_id}; choose one that is listed")
        before = _active_id(connection, lane_id)
        now = now_us()
        connection.execute(
            activation.insert().values(
                lane_id=lane_id, recipe_id=recipe_id, at=now, by=actor.name, reason=reason.strip()[:500], mode="live"
            )
        )
        write_audit(
            connection,
            actor,
            "activated",
            f"lane {lane_id}",
            now,
            before={"recipe": before},
            after={"recipe": recipe_id},
            reason=reason.strip()[:500],
        )
    write_lane_file(engine, settings, lane_id)


def list_lanes(engine: Engine) -> list[LaneRow]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(lane).where(lane.c.retired_at.is_(None)).order_by(lane.c.id)).all()
        return [
            LaneRow(
                row.id,
                row.name,
                LaneSource(**row.settings["source"]),
                row.settings["is_live"],
                row.settings["plc_rate"],
                row.settings["is_simulated"],
                _active_recipe(connection, row.id),
            )
            for row in rows
        ]


def find_lane(engine: Engine, lane_id: int) -> LaneRow | None:
    return next((row for row in list_lanes(engine) if row.id == lane_id), None)


def write_lane_file(engine: Engine, settings: Settings, lane_id: int) -> None:
    """Puts what the database says of a lane where its process reads it."""
    row = find_lane(engine, lane_id)
    assert row is not None
    write_lane(
        settings.data,
        LaneFile(
            id=row.id,
            station=settings.name,
            name=row.name,
            source=row.source,
            recipe=row.recipe,
            is_live=row.is_live,
            durability=settings.durability,
            answer_within_ms=settings.answer_within_ms,
            save=settings.save.rule,
            save_format=settings.save.format,
            is_simulated=row.is_simulated,
            plc_rate=row.plc_rate,
        ),
    )


def write_lane_files(engine: Engine, settings: Settings) -> None:
    """As `write_lane_file` for all lanes; files of lanes that are not in the database go."""
    known = [row.id for row in list_lanes(engine)]
    for lane_id in known:
        write_lane_file(engine, settings, lane_id)
    for lane_id in set(lane_ids(settings.data)) - set(known):
        lane_path(settings.data, lane_id).unlink(missing_ok=True)


def _lane_settings(connection: Connection, lane_id: int) -> dict[str, Any]:
    kept = connection.execute(sa.select(lane.c.settings).where(lane.c.id == lane_id)).scalar_one_or_none()
    if kept is None:
        raise SettingsError(f"there is no lane {lane_id}; make one first")
    return dict(kept)


def _active_id(connection: Connection, lane_id: int) -> int | None:
    return connection.execute(
        sa.select(activation.c.recipe_id)
        .where(activation.c.lane_id == lane_id)
        .order_by(activation.c.id.desc())
        .limit(1)
    ).scalar_one_or_none()


def _active_recipe(connection: Connection, lane_id: int) -> ActiveRecipe | None:
    recipe_id = _active_id(connection, lane_id)
    if recipe_id is None:
        return None
    row = connection.execute(
        sa.select(recipe.c.id, recipe.c.version, product.c.name, recipe.c.bundle_sha256)
        .join(product, product.c.id == recipe.c.product_id)
        .where(recipe.c.id == recipe_id)
    ).one()
    return ActiveRecipe(row.id, row.version, row.name, row.bundle_sha256)
