"""Users, their links, sessions and keys. Of passwords, tokens and keys only hashes are kept."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import threading
import time
from dataclasses import dataclass

import argon2
import sqlalchemy as sa

from blemish.errors import SettingsError
from blemish.station.core.rights import FIRST_USER_ROLES, KEY_RIGHTS, ROLES, Right, rights_of
from blemish.station.store.audit import Actor, write_audit
from blemish.station.store.database import Connection, Engine
from blemish.station.store.tables import api_key, invitation, login_attempt, session, user, user_role

LINK_US = 30 * 60 * 1_000_000
SHORTEST_PASSWORD = 10
LONGEST_PASSWORD = 200
TRIES, TRIES_US = 5, 60_000_000
"""So many failed tries in that time are answered; then one has to wait."""
_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_one_at_a_time = threading.Lock()
_NOBODY = _HASHER.hash(secrets.token_hex(16))


def now_us() -> int:
    return time.time_ns() // 1000


@dataclass(frozen=True)
class Person:
    """Who is signed in."""

    id: int
    name: str
    roles: tuple[str, ...]
    rights: frozenset[Right]
    language: str | None
    form_token: str
    token_sha256: str

    def actor(self, ip: str) -> Actor:
        return Actor(self.name, ",".join(self.roles), ip)


def hashed(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def hash_password(password: str) -> str:
    """Raises SettingsError where the password is too short or too long."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise SettingsError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters; choose another")
    with _one_at_a_time:
        return _HASHER.hash(password)


def has_users(engine: Engine) -> bool:
    with engine.connect() as connection:
        return connection.execute(sa.select(user.c.id).limit(1)).first() is not None


def invite(engine: Engine, actor: Actor, name: str | None = None, roles: tuple[str, ...] = FIRST_USER_ROLES) -> str:
    """The token of a one-time link that makes a user, or sets the password of one. Raises SettingsError."""
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise SettingsError(f"no role is called '{unknown[0]}'; there are {', '.join(ROLES)}")
    token, now = secrets.token_urlsafe(32), now_us()
    with engine.begin() as connection:
        if name is None:  # of links for the first user only the newest is good
            connection.execute(invitation.delete().where(invitation.c.name.is_(None)))
        connection.execute(
            invitation.insert().values(
                token_sha256=hashed(token), name=name, roles=list(roles), created_at=now, expires_at=now + LINK_US
            )
        )
        write_audit(connection, actor, "invite", name or "first user", now, after={"roles": list(roles)})
    return token


@dataclass(frozen=True)
class Invitation:
    """A link that is good: for whom (None: who comes chooses a name), and the roles it gives."""

    name: str | None
    roles: tuple[str, ...]


def find_invitation(engine: Engine, token: str) -> Invitation | None:
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(invitation).where(
                invitation.c.token_sha256 == hashed(token),
                invitation.c.used_at.is_(None),
                invitation.c.expires_at > now_us(),
            )
        ).one_or_none()
    if row is None or (row.name is None and has_users(engine)):
        return None
    return Invitation(row.name, tuple(row.roles))


def accept_invitation(engine: Engine, token: str, name: str, password: str, ip: str) -> str:
    """Makes the user of a link, or sets his password; gives the name. Raises SettingsError."""
    found = find_invitation(engine, token)
    if found is None:
        raise SettingsError("this link is used up or too old; ask for another, or run `blemish station user add`")
    name = check_name(found.name or name)
    password_hash, now = hash_password(password), now_us()
    with engine.begin() as connection:
        used = connection.execute(
            invitation.update()
            .where(invitation.c.token_sha256 == hashed(token), invitation.c.used_at.is_(None))
            .values(used_at=now)
        )
        if not used.rowcount:
            raise SettingsError("this link is used up; ask for another")
        row = connection.execute(sa.select(user.c.id).where(user.c.name == name)).one_or_none()
        if row is None:
            user_id = connection.execute(
                user.insert().values(name=name, display=name, password_hash=password_hash).returning(user.c.id)
            ).scalar_one()
        else:
            user_id = row.id
            connection.execute(user.update().where(user.c.id == user_id).values(password_hash=password_hash))
            connection.execute(user_role.delete().where(user_role.c.user_id == user_id))
            connection.execute(session.update().where(session.c.user_id == user_id).values(revoked_at=now))
        for role in found.roles:
            connection.execute(user_role.insert().values(user_id=user_id, role=role))
        action = "user made" if row is None else "password set"
        write_audit(connection, Actor(name, "", ip), action, name, now, after={"roles": list(found.roles)})
    return name


def check_name(name: str) -> str:
    """A name as it is kept. Raises SettingsError."""
    name = name.strip()
    if not 1 <= len(name) <= 64 or not name.isprintable():
        raise SettingsError("a name has 1 to 64 characters; choose another")
    return name


def must_wait(engine: Engine, name: str, ip: str) -> bool:
    """Whether there were too many failed tries for that name from that address."""
    with engine.connect() as connection:
        failed = connection.execute(
            sa.select(sa.func.count())
            .select_from(login_attempt)
            .where(
                login_attempt.c.name == name[:64],
                login_attempt.c.ip == ip,
                login_attempt.c.at > now_us() - TRIES_US,
                login_attempt.c.ok.is_(False),
            )
        ).scalar_one()
    return int(failed) >= TRIES


def check_password(engine: Engine, name: str, password: str, ip: str) -> int | None:
    """The user of a name and password, None where they do not fit; unknown names take as long."""
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(user.c.id, user.c.password_hash).where(user.c.name == name, user.c.disabled_at.is_(None))
        ).one_or_none()
    kept = _NOBODY if row is None or row.password_hash is None else row.password_hash
    with _one_at_a_time:
        is_right = False
        with contextlib.suppress(argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            is_right = bool(_HASHER.verify(kept, password[:LONGEST_PASSWORD]))
    user_id = row.id if is_right and row is not None else None
    now = now_us()
    with engine.begin() as connection:
        connection.execute(login_attempt.delete().where(login_attempt.c.at < now - 86_400_000_000))
        connection.execute(login_attempt.insert().values(at=now, name=name[:64], ip=ip, ok=user_id is not None))
        if user_id is not None:
            write_audit(connection, Actor(name, "", ip), "sign in", name, now)
    return user_id


def begin_session(engine: Engine, user_id: int, ip: str, agent: str, idle_us: int) -> str:
    """The token of a new session."""
    token, now = secrets.token_urlsafe(32), now_us()
    with engine.begin() as connection:
        connection.execute(session.delete().where(session.c.expires_at < now - 30 * 86_400_000_000))
        connection.execute(
            session.insert().values(
                token_sha256=hashed(token),
                user_id=user_id,
                created_at=now,
                seen_at=now,
                expires_at=now + idle_us,
                ip=ip[:64],
                agent=agent[:200],
                form_token=secrets.token_urlsafe(24),
            )
        )
    return token


def find_person(engine: Engine, token: str, idle_us: int) -> Person | None:
    """Whose session a token is; None where it has ended. Being used, it goes on."""
    now, digest = now_us(), hashed(token)
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(session, user.c.name, user.c.language)
            .join(user, user.c.id == session.c.user_id)
            .where(
                session.c.token_sha256 == digest,
                session.c.revoked_at.is_(None),
                session.c.expires_at > now,
                user.c.disabled_at.is_(None),
            )
        ).one_or_none()
        if row is None:
            return None
        roles = tuple(
            connection.execute(sa.select(user_role.c.role).where(user_role.c.user_id == row.user_id)).scalars()
        )
    if now - row.seen_at > 10_000_000:
        with engine.begin() as connection:
            here = session.c.token_sha256 == digest
            connection.execute(session.update().where(here).values(seen_at=now, expires_at=now + idle_us))
    return Person(row.user_id, row.name, roles, rights_of(roles), row.language, row.form_token, digest)


def end_session(engine: Engine, token_sha256: str) -> None:
    with engine.begin() as connection:
        here = session.c.token_sha256 == token_sha256
        connection.execute(session.update().where(here).values(revoked_at=now_us()))


def set_language(engine: Engine, user_id: int, language: str) -> None:
    with engine.begin() as connection:
        connection.execute(user.update().where(user.c.id == user_id).values(language=language))


@dataclass(frozen=True)
class UserRow:
    """A user as the list shows him."""

    name: str
    roles: tuple[str, ...]
    is_disabled: bool


def list_users(engine: Engine) -> list[UserRow]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(user).order_by(user.c.name)).all()
        roles = connection.execute(sa.select(user_role.c.user_id, user_role.c.role)).all()
    return [
        UserRow(
            row.name,
            tuple(role for user_id, role in roles if user_id == row.id),
            row.disabled_at is not None,
        )
        for row in rows
    ]


def disable_user(engine: Engine, actor: Actor, name: str) -> None:
    """Ends a user's access at once; the last admin stays. Raises SettingsError."""
    now = now_us()
    with engine.begin() as connection:
        row = connection.execute(sa.select(user.c.id).where(user.c.name == name)).one_or_none()
        if row is None:
            raise SettingsError(f"no user is called '{name}'; see `blemish station user list`")
        if set(_admins(connection)) <= {row.id}:
            raise SettingsError(f"{name} is the last admin; make another one first")
        connection.execute(user.update().where(user.c.id == row.id).values(disabled_at=now))
        connection.execute(session.update().where(session.c.user_id == row.id).values(revoked_at=now))
        write_audit(connection, actor, "user disabled", name, now)


def _admins(connection: Connection) -> list[int]:
    return list(
        connection.execute(
            sa.select(user.c.id)
            .join(user_role, user_role.c.user_id == user.c.id)
            .where(user_role.c.role == "admin", user.c.disabled_at.is_(None))
        ).scalars()
    )


def make_key(engine: Engine, actor: Actor, name: str, rights: tuple[Right, ...] = (Right.INSPECT,)) -> str:
    """A new API key, shown this once. Raises SettingsError."""
    name = check_name(name)
    if not set(rights) <= set(KEY_RIGHTS):
        raise SettingsError(f"a key can hold {', '.join(right.value for right in KEY_RIGHTS)}")
    key, now = f"blemish_{secrets.token_urlsafe(32)}", now_us()
    with engine.begin() as connection:
        if connection.execute(sa.select(api_key.c.id).where(api_key.c.name == name)).first() is not None:
            raise SettingsError(f"there is a key called '{name}' already; choose another name")
        connection.execute(
            api_key.insert().values(
                name=name, prefix=key[:12], key_sha256=hashed(key), rights=[right.value for right in rights]
            )
        )
        write_audit(connection, actor, "key made", name, now, after={"rights": [right.value for right in rights]})
    return key


def key_rights(engine: Engine, key: str) -> tuple[str, frozenset[Right]] | None:
    """The name and the rights of an API key, None where there is none."""
    with engine.connect() as connection:
        row = connection.execute(
            sa.select(api_key.c.name, api_key.c.rights).where(
                api_key.c.key_sha256 == hashed(key),
                api_key.c.revoked_at.is_(None),
                sa.or_(api_key.c.expires_at.is_(None), api_key.c.expires_at > now_us()),
            )
        ).one_or_none()
    return None if row is None else (row.name, frozenset(Right(right) for right in row.rights))
