"""The audit trail: every change by a person or a program, written in the transaction that makes the change.

    page or command --Actor--> audited(session, ...) --> table `audit` (append-only by triggers)

It does not decide who may do what, and it is not the log of what the node does by itself: that is `events`.
"""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from node.registry.account_models import AuditEntry
from node.registry.text import storable

CONSOLE_ROLE = "console"


@dataclass(frozen=True)
class Actor:
    """Who acts: the name of an account or token, its role, and the address it came from."""

    name: str
    role: str
    address: str = ""


@dataclass(frozen=True)
class AuditFilter:
    """What to show of the trail; empty means everything. `object` is the beginning of the object's name."""

    who: str = ""
    action: str = ""
    object: str = ""
    since: datetime | None = None
    until: datetime | None = None


def console_actor() -> Actor:
    """Whoever runs a command on the node's own console."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's numeric user without a name
        name = "unknown"
    return Actor(f"console:{name}"[:128], CONSOLE_ROLE)


def audited(
    session: Session,
    who: Actor,
    action: str,
    object: str,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    *,
    note: str = "",
    now: datetime | None = None,
) -> None:
    """Write one entry into the session's transaction, so that it is there exactly if the change is.

    Parameters
    ----------
    action
        What was done, as `thing.verb` ("job.retry", "user.role").
    object
        To what, as a person would call it ("job 17", "user jane").
    before, after
        The values that changed, JSON-able; no secrets and no patient data.
    """
    session.add(
        AuditEntry(
            at=now or datetime.now(UTC),
            who=storable(who.name)[:128],
            role=who.role,
            address=who.address[:64],
            action=action,
            object=storable(object)[:200],
            before=dict(before) if before is not None else None,
            after=dict(after) if after is not None else None,
            note=storable(note),
        )
    )


def entries(wanted: AuditFilter) -> Select[AuditEntry]:
    """The statement for entries that match, without order: hand it to `node.registry.paging`."""
    statement = select(AuditEntry)
    if wanted.who:
        statement = statement.where(AuditEntry.who == wanted.who)
    if wanted.action:
        statement = statement.where(AuditEntry.action == wanted.action)
    if wanted.object:
        statement = statement.where(AuditEntry.object.startswith(wanted.object, autoescape=True))
    if wanted.since:
        statement = statement.where(AuditEntry.at >= wanted.since)
    if wanted.until:
        statement = statement.where(AuditEntry.at < wanted.until)
    return statement
