"""Who may do what: rights stand on routes, roles are named sets of rights."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Right(str, Enum):
    """What a route may ask for. `ANYONE` needs no login, `SIGNED_IN` no right but a session."""

    ANYONE = "anyone"
    SIGNED_IN = "signed in"
    WATCH = "watch the line"
    SEE_PARTS = "see parts"
    RUN = "run a lane"
    INSPECT = "send images"
    BUILD = "build products and lanes"
    ACKNOWLEDGE = "acknowledge alarms"
    SEE_SYSTEM = "see the system"
    SEE_AUDIT = "see the audit trail"
    MANAGE_USERS = "manage users"


_SEES = {Right.WATCH, Right.SEE_PARTS}
ROLES: dict[str, frozenset[Right]] = {
    "viewer": frozenset(_SEES),
    "operator": frozenset({*_SEES, Right.RUN, Right.ACKNOWLEDGE}),
    "quality": frozenset({*_SEES, Right.RUN, Right.ACKNOWLEDGE, Right.SEE_AUDIT}),
    "engineer": frozenset(
        {*_SEES, Right.RUN, Right.INSPECT, Right.BUILD, Right.ACKNOWLEDGE, Right.SEE_SYSTEM, Right.SEE_AUDIT}
    ),
    "admin": frozenset({Right.WATCH, Right.SEE_SYSTEM, Right.SEE_AUDIT, Right.MANAGE_USERS}),
}
"""Admin manages users, and neither runs a lane nor builds a product."""
FIRST_USER_ROLES = ("admin", "engineer", "operator", "quality")
"""Of the first user: with nobody else there, somebody has to do everything."""
KEY_RIGHTS = (Right.WATCH, Right.SEE_PARTS, Right.RUN, Right.INSPECT)
"""What an API key may hold."""


def rights_of(roles: Iterable[str]) -> frozenset[Right]:
    """All rights of several roles.

    >>> Right.BUILD in rights_of(["viewer", "engineer"]), Right.BUILD in rights_of(["admin"])
    (True, False)
    """
    return frozenset().union(*(ROLES[role] for role in roles))
