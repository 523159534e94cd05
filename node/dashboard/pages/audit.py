"""The audit trail: who changed what, when, from where; newest first, with filters."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from node.dashboard.security.access import AsAdmin, AtDesk
from node.registry.account_models import AuditEntry
from node.registry.audit import AuditFilter, entries
from node.registry.paging import page

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Query(max_length=200)]


@router.get("/audit")
def audit_page(
    request: Request,
    desk: AtDesk,
    who: AsAdmin,
    by: Word = "",
    action: Word = "",
    object: Word = "",
    since: Word = "",
    until: Word = "",
    cursor: Word = "",
) -> Response:
    wanted = AuditFilter(by.strip(), action.strip(), object.strip(), day(since), day(until, end=True))
    with desk.registry.reading() as session:
        found = page(session, entries(wanted), (AuditEntry.id,), cursor)
    values = {"page": found, "by": by, "action": action, "object": object, "since": since, "until": until}
    return desk.pages.page(request, "audit.html", values)


def day(text: str, end: bool = False) -> datetime | None:
    """The start of a day in UTC (`end`: of the one after it); None for what is no date."""
    try:
        start = datetime.combine(date.fromisoformat(text), time(), UTC)
        return start + timedelta(days=1) if end else start
    except (ValueError, OverflowError):
        return None
