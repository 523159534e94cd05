"""People's accounts: made, changed, disabled, listed; each change with its line in the audit trail.

    `osteon users`, the Users page, the first start --> these functions --> users, audit

Passwords arrive as hashes (`node.dashboard.security.passwords` makes them). None of the functions commits. The node
always keeps one admin who can log in: the last one can be neither disabled nor demoted.
"""

from __future__ import annotations

import re
from datetime import datetime

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from node.errors import PermanentError
from node.registry.account_models import LoginSession, User
from node.registry.audit import Actor, audited
from node.registry.roles import Role

_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")

KEEP_AN_ADMIN = "this is the last admin who can log in; make another one first"


def normal_name(name: str) -> str:
    """The name as it is stored: lower case, without blanks around it.

    Raises
    ------
    PermanentError
        If it has other characters than letters, digits and `. _ @ -`, or more than 64.
    """
    normal = name.strip().lower()
    if not _NAME.fullmatch(normal):
        raise PermanentError(
            "a user name is 1 to 64 characters long: letters, digits, '.', '_', '-', '@', beginning with one of the "
            "first two"
        )
    return normal


def name_for(claimed: str, otherwise: str) -> str:
    """A user name out of what an identity provider calls a person, whose names may hold other characters.

    `otherwise`, its own number for the person, serves where nothing is left of the name.
    """
    for text in (claimed, otherwise):
        kept = re.sub(r"[^a-z0-9._@-]+", "-", text.strip().lower()).strip("._@-")[:64]
        if kept:
            return normal_name(kept)
    raise PermanentError("the identity provider gives no name that an account can have")


def any_user(session: Session) -> bool:
    """Whether there is an account at all; without one, the first start makes it."""
    return session.scalar(select(User.id).limit(1)) is not None


def find_user(session: Session, name: str) -> User:
    """The account of that name.

    Raises
    ------
    PermanentError
        If there is none.
    """
    user = session.scalars(select(User).where(User.name == name.strip().lower())).one_or_none()
    if user is None:
        raise PermanentError(f"there is no user '{name}'; `osteon users list` names those there are")
    return user


def add_user(
    session: Session, who: Actor, name: str, role: Role, password_hash: str, now: datetime, subject: str = ""
) -> User:
    """Make an account.

    Raises
    ------
    PermanentError
        If the name is taken or not a name.
    """
    normal = normal_name(name)
    if session.scalar(select(User.id).where(User.name == normal)) is not None:
        raise PermanentError(f"there is a user '{normal}' already; choose another name")
    user = User(
        name=normal,
        role=role.value,
        password_hash=password_hash,
        subject=subject,
        created_at=now,
        password_changed_at=now if password_hash else None,
    )
    session.add(user)
    session.flush()
    audited(session, who, "user.add", f"user {normal}", None, {"role": role.value}, now=now)
    return user


def set_password(session: Session, who: Actor, user: User, password_hash: str, now: datetime, keep: str = "") -> None:
    """Give an account another password and end its sessions, but for the one whose token hash is `keep`."""
    user.password_hash = password_hash
    user.password_changed_at = now
    end_sessions(session, user, keep)
    audited(session, who, "user.password", f"user {user.name}", now=now)


def set_role(session: Session, who: Actor, user: User, role: Role, now: datetime) -> None:
    """Give an account another role; its sessions end, so that no page stays open with the old one."""
    if user.role == role.value:
        return
    if role is not Role.ADMIN:
        _keep_an_admin(session, user)
    audited(session, who, "user.role", f"user {user.name}", {"role": user.role}, {"role": role.value}, now=now)
    user.role = role.value
    end_sessions(session, user)


def set_disabled(session: Session, who: Actor, user: User, disabled: bool, now: datetime) -> None:
    """Shut an account out, or let it in again; its sessions end and its tokens do not work meanwhile."""
    if user.disabled == disabled:
        return
    if disabled:
        _keep_an_admin(session, user)
    action = "user.disable" if disabled else "user.enable"
    audited(session, who, action, f"user {user.name}", {"disabled": user.disabled}, {"disabled": disabled}, now=now)
    user.disabled = disabled
    end_sessions(session, user)


def end_sessions(session: Session, user: User, keep: str = "") -> None:
    """Log the account out everywhere, but for the session whose token hash is `keep`."""
    session.execute(
        delete(LoginSession)
        .where(LoginSession.user_id == user.id, LoginSession.token_hash != keep)
        .execution_options(synchronize_session=False)
    )


def users(text: str = "", role: str = "", state: str = "") -> Select[User]:
    """The statement for accounts that match, without order: hand it to `node.registry.paging` with `User.name`."""
    statement = select(User)
    if text:
        statement = statement.where(User.name.contains(text.strip().lower(), autoescape=True))
    if role:
        statement = statement.where(User.role == role)
    if state:
        statement = statement.where(User.disabled.is_(state == "disabled"))
    return statement


def _keep_an_admin(session: Session, user: User) -> None:
    """Raise if `user` is the only one left who can run the node; others wait for this transaction to end."""
    admins = session.scalars(
        select(User).where(User.role == Role.ADMIN.value, User.disabled.is_(False)).with_for_update()
    ).all()
    if [admin.id for admin in admins] == [user.id]:
        raise PermanentError(KEEP_AN_ADMIN)
