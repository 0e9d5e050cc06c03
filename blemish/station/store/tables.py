"""The tables of a station, the same in SQLite and PostgreSQL. Times are microseconds since 1970, UTC.

Rows of the tables in `APPEND_ONLY` are never changed or taken out: triggers of the database see to it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import JSON, TypeEngine

SCHEMA_VERSION = 1

meta = MetaData()
_Id: TypeEngine[int] = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[int]:
    return Column("id", _Id, primary_key=True)


def _time(name: str = "at", *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _part_key() -> tuple[Column[int], ...]:
    return (
        Column("station_id", Integer, primary_key=True),
        Column("lane_id", Integer, primary_key=True),
        Column("seq", BigInteger, primary_key=True, autoincrement=False),
    )


schema_version = Table("schema_version", meta, Column("version", Integer, primary_key=True), _time())

station = Table("station", meta, _id(), Column("name", String(64), unique=True, nullable=False), _time("created_at"))
lane = Table(
    "lane",
    meta,
    _id(),
    Column("station_id", ForeignKey("station.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("settings", JSON, nullable=False),
    Column("retired_at", BigInteger),
    UniqueConstraint("station_id", "name"),
)
product = Table(
    "product",
    meta,
    _id(),
    Column("code", String(64), unique=True, nullable=False),
    Column("name", String(200), nullable=False),
    Column("folder", Text),
    Column("retired_at", BigInteger),
)
bundle = Table(
    "bundle",
    meta,
    Column("sha256", String(64), primary_key=True),
    Column("detector", String(64), nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Column("graph_sha256", String(64), nullable=False),
    Column("bundle_id", String(16), nullable=False),
    Column("made_by_job", BigInteger),
    _time("created_at"),
)
recipe = Table(
    "recipe",
    meta,
    _id(),
    Column("product_id", ForeignKey("product.id"), nullable=False),
    Column("lane_id", Integer),
    Column("version", Integer, nullable=False),
    Column("bundle_sha256", ForeignKey("bundle.sha256"), nullable=False),
    Column("calibration_sha256", String(64), nullable=False),
    Column("settings", JSON, nullable=False),
    _time("created_at"),
    Column("created_by", String(64), nullable=False),
    UniqueConstraint("product_id", "lane_id", "version"),
)
activation = Table(
    "activation",
    meta,
    _id(),
    Column("lane_id", ForeignKey("lane.id"), nullable=False),
    Column("recipe_id", ForeignKey("recipe.id"), nullable=False),
    _time(),
    Column("by", String(64), nullable=False),
    Column("reason", Text, nullable=False),
    Column("approval_id", BigInteger),
    Column("mode", String(8), nullable=False),
)

verdict = Table(
    "verdict",
    meta,
    *_part_key(),
    Column("boot_id", String(16), nullable=False),
    Column("plc_counter", BigInteger),
    Column("part_id", String(64), nullable=False),
    Column("lot_id", String(64), nullable=False),
    _time("taken_at"),
    Column("recipe_id", BigInteger),
    Column("decision", String(8), nullable=False),
    Column("display_score", Float),
    Column("answer_ms", Float),
    Column("is_simulated", Boolean, nullable=False),
    Column("golden_part_id", BigInteger),
    Column("answered_at", BigInteger),
    Column("answer_fault", Text),
)
Index("verdict_time", verdict.c.lane_id, verdict.c.taken_at)
Index("verdict_order", verdict.c.taken_at, verdict.c.seq)
Index("verdict_part", verdict.c.part_id)
Index("verdict_lot", verdict.c.lot_id, verdict.c.taken_at)
_not_accepted = verdict.c.decision != "accept"
Index(
    "verdict_not_accepted",
    verdict.c.decision,
    verdict.c.taken_at,
    sqlite_where=_not_accepted,
    postgresql_where=_not_accepted,
)
view = Table(
    "view",
    meta,
    *_part_key(),
    Column("view_no", Integer, primary_key=True),
    Column("decision", String(8), nullable=False),
    Column("source", Text, nullable=False),
    Column("score", Float),
    Column("threshold", Float),
    Column("p_value", Float),
    Column("display_score", Float),
    Column("inspect_ms", Float),
    Column("num_regions", Integer, nullable=False),
    Column("doc", JSON),
)
picture = Table(
    "picture",
    meta,
    *_part_key(),
    Column("view_no", Integer, primary_key=True),
    Column("image_sha256", String(64), nullable=False),
)
"""Which file shows a view. Apart from `view`, since a picture is kept after the verdict was told, or never."""
Index("picture_image", picture.c.image_sha256)
shadow_verdict = Table(
    "shadow_verdict",
    meta,
    *_part_key(),
    Column("recipe_id", BigInteger, primary_key=True),
    Column("decision", String(8), nullable=False),
    Column("display_score", Float),
    _time("taken_at"),
)
tally = Table(
    "tally",
    meta,
    Column("lane_id", Integer, primary_key=True),
    Column("recipe_id", BigInteger, primary_key=True),
    Column("hour", BigInteger, primary_key=True),
    Column("decision", String(8), primary_key=True),
    Column("num_parts", Integer, nullable=False),
    Column("sum_answer_ms", Float, nullable=False),
    Column("max_answer_ms", Float, nullable=False),
)
"""Parts by hour since 1970, kept with the verdicts in one transaction; `verify` counts again."""
segment = Table(
    "segment",
    meta,
    Column("station_id", Integer, primary_key=True),
    Column("lane_id", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("num_bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("previous_sha256", String(64), nullable=False),
    _time("closed_at"),
)
journal_place = Table(
    "journal_place",
    meta,
    Column("lane_id", Integer, primary_key=True),
    Column("segment", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("boot_id", String(16), nullable=False),
)
"""From where on a lane's journal is not in the database yet."""

image = Table(
    "image",
    meta,
    Column("sha256", String(64), primary_key=True),
    Column("station_id", Integer, nullable=False),
    Column("format", String(8), nullable=False),
    Column("num_bytes", BigInteger, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("decision", String(8), nullable=False),
    Column("kept_at", BigInteger, nullable=False),
    Column("state", String(8), nullable=False),
)
Index("image_order", image.c.state, image.c.decision, image.c.kept_at)
label = Table(
    "label",
    meta,
    _id(),
    Column("station_id", Integer, nullable=False),
    Column("lane_id", Integer, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("by", String(64), nullable=False),
    _time(),
    Column("truth", String(16), nullable=False),
    Column("defect_type", String(64)),
    Column("mask_sha256", String(64)),
    Column("note", Text),
    Column("is_blind", Boolean, nullable=False),
    Column("seconds", Float),
    Column("supersedes", ForeignKey("label.id")),
)
golden_part = Table(
    "golden_part",
    meta,
    _id(),
    Column("product_id", ForeignKey("product.id"), nullable=False),
    Column("code", String(64), nullable=False),
    Column("truth", String(16), nullable=False),
    Column("image_sha256", String(64)),
    Column("retired_at", BigInteger),
)
golden_check = Table(
    "golden_check",
    meta,
    _id(),
    Column("lane_id", ForeignKey("lane.id"), nullable=False),
    Column("why", String(64), nullable=False),
    _time("started_at"),
    Column("by", String(64), nullable=False),
    Column("ended_at", BigInteger),
    Column("result", String(16)),
)
golden_result = Table(
    "golden_result",
    meta,
    Column("check_id", ForeignKey("golden_check.id"), primary_key=True),
    Column("golden_part_id", ForeignKey("golden_part.id"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("expected", String(8), nullable=False),
    Column("got", String(8), nullable=False),
)
dataset = Table(
    "dataset",
    meta,
    _id(),
    Column("product_id", ForeignKey("product.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("manifest_sha256", String(64), nullable=False),
    _time("frozen_at"),
    Column("by", String(64), nullable=False),
)
dataset_item = Table(
    "dataset_item",
    meta,
    Column("dataset_id", ForeignKey("dataset.id"), primary_key=True),
    Column("image_sha256", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("truth", String(16), nullable=False),
    Column("mask_sha256", String(64)),
)
job = Table(
    "job",
    meta,
    _id(),
    Column("kind", String(16), nullable=False),
    Column("product_id", BigInteger),
    Column("params", JSON, nullable=False),
    Column("state", String(16), nullable=False),
    Column("asked_by", String(64), nullable=False),
    _time("asked_at"),
    Column("started_at", BigInteger),
    Column("heartbeat_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("result", Text),
    Column("log_path", Text),
)
regression = Table(
    "regression",
    meta,
    _id(),
    Column("job_id", ForeignKey("job.id"), nullable=False),
    Column("candidate", BigInteger, nullable=False),
    Column("baseline", BigInteger, nullable=False),
    Column("golden_wrong", Integer, nullable=False),
    Column("new_escapes", Integer, nullable=False),
    Column("new_rejects", Integer, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("gates", JSON, nullable=False),
    Column("report_path", Text),
)
approval = Table(
    "approval",
    meta,
    _id(),
    Column("subject_kind", String(16), nullable=False),
    Column("subject_id", BigInteger, nullable=False),
    Column("by", String(64), nullable=False),
    Column("author", String(64), nullable=False),
    _time(),
    Column("meaning", String(64), nullable=False),
    Column("reauthenticated", Boolean, nullable=False),
    Column("statement_sha256", String(64), nullable=False),
    CheckConstraint('"by" <> author', name="approval_by_another"),
)
alarm = Table(
    "alarm",
    meta,
    _id(),
    Column("lane_id", Integer),
    Column("kind", String(32), nullable=False),
    Column("text", Text, nullable=False),
    _time("since"),
    Column("ended_at", BigInteger),
    Column("acknowledged_by", String(64)),
    Column("acknowledged_at", BigInteger),
    Column("reason", Text),
    UniqueConstraint("lane_id", "kind", "since"),
)
watch_state = Table(
    "watch_state",
    meta,
    Column("lane_id", Integer, primary_key=True),
    Column("calibration_sha256", String(64), primary_key=True),
    Column("state", JSON, nullable=False),
    _time(),
)
gauge_study = Table(
    "gauge_study",
    meta,
    _id(),
    Column("product_id", ForeignKey("product.id"), nullable=False),
    Column("plan", JSON, nullable=False),
    _time("started_at"),
    Column("by", String(64), nullable=False),
)
gauge_part = Table(
    "gauge_part",
    meta,
    Column("study_id", ForeignKey("gauge_study.id"), primary_key=True),
    Column("part_id", String(64), primary_key=True),
    Column("reference", String(16)),
    Column("image_sha256", String(64)),
)
gauge_reading = Table(
    "gauge_reading",
    meta,
    Column("study_id", ForeignKey("gauge_study.id"), primary_key=True),
    Column("part_id", String(64), primary_key=True),
    Column("appraiser", String(64), primary_key=True),
    Column("trial", Integer, primary_key=True),
    Column("order_no", Integer, nullable=False),
    Column("answer", String(16), nullable=False),
    _time(),
)

user = Table(
    "user_",
    meta,
    _id(),
    Column("name", String(64), unique=True, nullable=False),
    Column("display", String(200), nullable=False),
    Column("password_hash", Text),
    Column("badge_hash", String(64), unique=True),
    Column("oidc_sub", String(200), unique=True),
    Column("language", String(8)),
    Column("disabled_at", BigInteger),
)
user_role = Table(
    "user_role",
    meta,
    Column("user_id", ForeignKey("user_.id"), primary_key=True),
    Column("role", String(16), primary_key=True),
    Column("station_id", Integer),
)
invitation = Table(
    "invitation",
    meta,
    Column("token_sha256", String(64), primary_key=True),
    Column("name", String(64)),
    Column("roles", JSON, nullable=False),
    _time("created_at"),
    _time("expires_at"),
    Column("used_at", BigInteger),
)
"""One-time links: for the first user (no name), and for each one that an admin adds."""
session = Table(
    "session",
    meta,
    Column("token_sha256", String(64), primary_key=True),
    Column("user_id", ForeignKey("user_.id"), nullable=False),
    _time("created_at"),
    _time("seen_at"),
    _time("expires_at"),
    Column("ip", String(64), nullable=False),
    Column("agent", String(200), nullable=False),
    Column("form_token", String(64), nullable=False),
    Column("revoked_at", BigInteger),
)
api_key = Table(
    "api_key",
    meta,
    _id(),
    Column("name", String(64), unique=True, nullable=False),
    Column("prefix", String(12), nullable=False),
    Column("key_sha256", String(64), unique=True, nullable=False),
    Column("rights", JSON, nullable=False),
    Column("lane_id", Integer),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
)
login_attempt = Table(
    "login_attempt",
    meta,
    _id(),
    _time(),
    Column("name", String(64), nullable=False),
    Column("ip", String(64), nullable=False),
    Column("ok", Boolean, nullable=False),
)
Index("login_attempt_who", login_attempt.c.name, login_attempt.c.ip, login_attempt.c.at)
link_cursor = Table(
    "link_cursor",
    meta,
    Column("link", String(64), primary_key=True),
    Column("station_id", Integer, primary_key=True),
    Column("lane_id", Integer, primary_key=True),
    Column("seq", BigInteger, nullable=False),
)
dead_letter = Table(
    "dead_letter",
    meta,
    Column("link", String(64), primary_key=True),
    Column("lane_id", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("fault", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    _time(),
)
audit = Table(
    "audit",
    meta,
    Column("station_id", Integer, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _time(),
    Column("actor", String(64), nullable=False),
    Column("role", String(64), nullable=False),
    Column("ip", String(64), nullable=False),
    Column("action", String(64), nullable=False),
    Column("subject", String(200), nullable=False),
    Column("before", JSON),
    Column("after", JSON),
    Column("reason", Text, nullable=False),
    Column("previous_hash", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

APPEND_ONLY = (
    bundle,
    recipe,
    activation,
    verdict,
    view,
    picture,
    shadow_verdict,
    segment,
    label,
    golden_result,
    dataset_item,
    regression,
    approval,
    gauge_reading,
    audit,
)
