"""Log lines of jobs, kept beside them for whoever asks why: the last lines of the newest jobs.

worker: lines of an attempt --append_lines--> job_logs (one row a job) --log_lines--> page of the job
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session

from node.registry.models import JobLog
from node.registry.text import storable

MOST_CHARACTERS = 60_000
"""Of one job, over all its attempts; the oldest lines go first."""

JOBS_KEPT = 5000


def append_lines(session: Session, job_id: int, lines: Sequence[str]) -> None:
    """Add lines (a JSON object each) to a job's log, and forget the logs of jobs long past."""
    if not lines:
        return
    row = session.get(JobLog, job_id)
    if row is None:
        row = JobLog(job_id=job_id, lines="")
        session.add(row)
        session.execute(delete(JobLog).where(JobLog.job_id <= job_id - JOBS_KEPT))
    text = row.lines + "".join(f"{storable(line)}\n" for line in lines)
    if len(text) > MOST_CHARACTERS:
        text = text[-MOST_CHARACTERS:].partition("\n")[2]
    row.lines = text


def log_lines(session: Session, job_id: int) -> list[dict[str, Any]]:
    """The kept lines of a job, oldest first."""
    row = session.get(JobLog, job_id)
    return [json.loads(line) for line in row.lines.splitlines()] if row else []
