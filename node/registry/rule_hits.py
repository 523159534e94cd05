"""How often each rule asked for a job, from the index that lists jobs by time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from node.registry.models import Job


def rule_hits(session: Session, since: datetime) -> dict[str, tuple[int, datetime]]:
    """Rule -> number of jobs made since then, and when the last one was; rules without any are left out."""
    rows = session.execute(
        select(Job.rule, func.count(), func.max(Job.created_at)).where(Job.created_at >= since).group_by(Job.rule)
    )
    return {rule: (count, last) for rule, count, last in rows}
