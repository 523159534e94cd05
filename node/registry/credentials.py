"""What proves who is there: login sessions, API tokens, the set-up code, and the attempts that failed.

    secret (256 random bits, shown once) --SHA-256--> row;  request's secret --SHA-256--> row --> who is it?

Time-outs and limits come in as values; clocks too. None of the functions commits.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session, joinedload

from node.errors import PermanentError
from node.registry.account_models import ApiToken, LoginAttempt, LoginSession, SetupCode, User
from node.registry.audit import Actor, audited
from node.registry.roles import Role, lower_of

TOKEN_BYTES = 32
TOKEN_PREFIX = "osteon_"
"""Lets a scanner for leaked secrets know one of ours."""

SEEN_EVERY = timedelta(seconds=60)
"""How exactly `last_seen_at` and `last_used_at` are kept; a write per request would cost more than it tells."""

ATTEMPT_WINDOW = timedelta(minutes=15)
PER_NAME_AND_ADDRESS = 5
PER_ADDRESS = 20
PER_NAME = 50
"""Failed logins within the window. The limit per name over all addresses is wide, because a narrow one would let
anyone lock anyone else out."""


@dataclass(frozen=True)
class TimeOuts:
    """When a session ends: after so long without a request, and after so long in any case."""

    idle: timedelta
    absolute: timedelta


def digest(secret: str) -> str:
    """SHA-256 in hexadecimal, as secrets are stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def new_session(session: Session, user: User, address: str, time_outs: TimeOuts, now: datetime) -> str:
    """Log a person in; returns the token for the cookie. Sessions of anybody that have run out are cleared away."""
    session.execute(
        delete(LoginSession)
        .where(
            (LoginSession.created_at < now - time_outs.absolute) | (LoginSession.last_seen_at < now - time_outs.idle)
        )
        .execution_options(synchronize_session=False)
    )
    token = secrets.token_urlsafe(TOKEN_BYTES)
    session.add(
        LoginSession(token_hash=digest(token), user_id=user.id, created_at=now, last_seen_at=now, address=address[:64])
    )
    user.last_login_at = now
    return token


def live_session(session: Session, token: str, time_outs: TimeOuts, now: datetime) -> LoginSession | None:
    """The session of that token with its user, if it has not run out and the account is not disabled."""
    found = session.get(LoginSession, digest(token), options=[joinedload(LoginSession.user)])
    if found is None or found.user.disabled:
        return None
    if now - found.last_seen_at > time_outs.idle or now - found.created_at > time_outs.absolute:
        return None
    return found


def end_session(session: Session, token: str) -> None:
    """Log out."""
    session.execute(
        delete(LoginSession)
        .where(LoginSession.token_hash == digest(token))
        .execution_options(synchronize_session=False)
    )


def add_token(session: Session, who: Actor, name: str, role: Role, user: User | None, now: datetime) -> str:
    """Make an API token; the return value is shown once and stored nowhere.

    Raises
    ------
    PermanentError
        If it has no name, or would be allowed more than the person who makes it.
    """
    name = name.strip()
    if not name or len(name) > 64:
        raise PermanentError("an API token needs a name of 1 to 64 characters that says what it is for")
    if user is not None and not Role(user.role).allows(role):
        raise PermanentError(f"a {user.role} cannot make a token for the role {role}")
    token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    row = ApiToken(
        token_hash=digest(token), name=name, role=role.value, user_id=user.id if user else None, created_at=now
    )
    session.add(row)
    session.flush()
    audited(session, who, "token.add", f"API token {row.id}", None, {"name": name, "role": role.value}, now=now)
    return token


def live_token(session: Session, token: str) -> tuple[ApiToken, Role] | None:
    """The API token and what it may do now: never more than the person who made it may."""
    found = session.scalars(
        select(ApiToken).where(ApiToken.token_hash == digest(token)).options(joinedload(ApiToken.user))
    ).one_or_none()
    if found is None or found.revoked_at is not None or (found.user is not None and found.user.disabled):
        return None
    role = Role(found.role)
    return found, lower_of(role, Role(found.user.role)) if found.user else role


def tokens(user: User | None) -> Select[ApiToken]:
    """The statement for a person's tokens, newest first; of everybody where `user` is None."""
    statement = select(ApiToken).options(joinedload(ApiToken.user)).order_by(ApiToken.id.desc())
    return statement.where(ApiToken.user_id == user.id) if user else statement


def revoke_token(session: Session, who: Actor, token_id: int, user: User | None, now: datetime) -> None:
    """Make a token useless; `user` restricts it to that person's own.

    Raises
    ------
    PermanentError
        If there is no such token.
    """
    found = session.get(ApiToken, token_id)
    if found is None or (user is not None and found.user_id != user.id):
        raise PermanentError(f"there is no API token {token_id}")
    if found.revoked_at is None:
        found.revoked_at = now
        audited(session, who, "token.revoke", f"API token {token_id}", {"name": found.name}, None, now=now)


def note_attempt(session: Session, name: str, address: str, now: datetime) -> int:
    """Record a login before it is judged; commit it before asking `is_throttled`.

    Recording first is what makes the limit hold when many guesses come at once from many processes.
    """
    session.execute(
        delete(LoginAttempt).where(LoginAttempt.at < now - ATTEMPT_WINDOW).execution_options(synchronize_session=False)
    )
    attempt = LoginAttempt(at=now, name_hash=digest(name), address=address[:64])
    session.add(attempt)
    session.flush()
    return attempt.id


def is_throttled(session: Session, name: str, address: str, now: datetime) -> bool:
    """Whether there were too many attempts, the noted one included."""
    within = LoginAttempt.at >= now - ATTEMPT_WINDOW
    of_name, of_address = LoginAttempt.name_hash == digest(name), LoginAttempt.address == address[:64]
    for conditions, limit in (
        ((of_name, of_address), PER_NAME_AND_ADDRESS),
        ((of_address,), PER_ADDRESS),
        ((of_name,), PER_NAME),
    ):
        some = select(LoginAttempt.id).where(within, *conditions).limit(limit + 1).subquery()
        if (session.scalar(select(func.count()).select_from(some)) or 0) > limit:
            return True
    return False


def forget_attempts(session: Session, attempt_id: int, name: str = "", address: str = "") -> None:
    """Take back one attempt and, where a name is given, all of that name from that address: the login was good."""
    chosen = LoginAttempt.id == attempt_id
    if name:
        chosen |= (LoginAttempt.name_hash == digest(name)) & (LoginAttempt.address == address[:64])
    session.execute(delete(LoginAttempt).where(chosen).execution_options(synchronize_session=False))


def new_setup_code(session: Session, now: datetime) -> str:
    """A code that lets whoever reads the console make the first account."""
    code = "-".join(secrets.token_hex(2) for _ in range(4))
    session.add(SetupCode(code_hash=digest(code), created_at=now))
    return code


def is_setup_code(session: Session, code: str) -> bool:
    """Whether that code was printed by a dashboard of this node."""
    return session.get(SetupCode, digest(code.strip().lower())) is not None


def forget_setup_codes(session: Session) -> None:
    """There is an account now."""
    session.execute(delete(SetupCode).execution_options(synchronize_session=False))
