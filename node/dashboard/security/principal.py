"""The person or program behind a request.

    cookie osteon_session --+
    Authorization: Bearer --+--> registry --> Principal (name, role now, address)

Looked up on every request, so that a disabled account or a revoked token is shut out at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection

from node.dashboard.security import cookies
from node.dashboard.security.addresses import client_address
from node.registry import credentials
from node.registry.account_models import ApiToken, LoginSession
from node.registry.audit import Actor
from node.registry.credentials import SEEN_EVERY, TimeOuts
from node.registry.roles import Role

if TYPE_CHECKING:
    from node.dashboard.desk import Desk

BEARER = "bearer "


@dataclass(frozen=True)
class Principal(Actor):
    """An Actor for the audit trail, with what it may do.

    user_id: None for a token made on the console. session_hash: the login session's; empty for a token.
    """

    user_id: int | None = None
    session_hash: str = field(default="", repr=False)

    @property
    def by_token(self) -> bool:
        return not self.session_hash

    def may(self, needed: Role | str) -> bool:
        """Whether it may do what that role may."""
        return Role(self.role).allows(Role(needed))


def time_outs(desk: Desk) -> TimeOuts:
    settings = desk.settings
    return TimeOuts(timedelta(seconds=settings.session_idle_s), timedelta(seconds=settings.session_absolute_s))


def identify(desk: Desk, request: HTTPConnection, counts_as_use: bool) -> Principal | None:
    """Who asks; None for nobody.

    counts_as_use: False for requests that a page makes by itself, which must not keep an abandoned login alive.
    """
    now = desk.clock()
    address = client_address(request, desk.settings.trusted_proxies)
    header = request.headers.get("authorization", "")
    if header[: len(BEARER)].lower() == BEARER:
        return _by_token(desk, header[len(BEARER) :].strip(), address, now)
    token = request.cookies.get(cookies.SESSION)
    if not token:
        return None
    with desk.registry.reading() as session:
        found = credentials.live_session(session, token, time_outs(desk), now)
    if found is None:
        return None
    if counts_as_use and now - found.last_seen_at > SEEN_EVERY:
        with desk.registry.transaction() as session:
            row = session.get(LoginSession, found.token_hash)
            if row is not None:
                row.last_seen_at = now
    user = found.user
    return Principal(user.name, user.role, address, user_id=user.id, session_hash=found.token_hash)


def _by_token(desk: Desk, token: str, address: str, now: datetime) -> Principal | None:
    with desk.registry.reading() as session:
        found = credentials.live_token(session, token)
    if found is None:
        return None
    row, role = found
    if row.last_used_at is None or now - row.last_used_at > SEEN_EVERY:
        with desk.registry.transaction() as session:
            used = session.get(ApiToken, row.id)
            if used is not None:
                used.last_used_at = now
    owner = row.user.name if row.user else "console"
    return Principal(f"{owner} (token {row.name})", role.value, address, user_id=row.user_id)
