"""The workers' table: which processes are alive, on what device, at which job, as they last said of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from node.registry.models import Worker


@dataclass(frozen=True)
class WorkerStatus:
    """What a worker says of itself; `kind` is the queue it serves ("infer", "deliver") or "upkeep"."""

    name: str
    kind: str
    host: str
    pid: int
    device: str
    started_at: datetime
    rss_bytes: int
    job_id: int | None


def write_status(session: Session, status: WorkerStatus, now: datetime) -> None:
    """Write the worker's row, new or not."""
    session.merge(
        Worker(
            name=status.name,
            kind=status.kind,
            host=status.host,
            pid=status.pid,
            device=status.device,
            started_at=status.started_at,
            heartbeat_at=now,
            rss_bytes=status.rss_bytes,
            job_id=status.job_id,
        )
    )


def forget_worker(session: Session, name: str) -> None:
    """Remove the row of a worker that has stopped."""
    session.execute(delete(Worker).where(Worker.name == name))


def forget_workers(session: Session, prefix: str) -> None:
    """Remove the rows of all workers whose name begins so, known to be dead."""
    session.execute(delete(Worker).where(Worker.name.startswith(prefix, autoescape=True)))


def forget_silent_workers(session: Session, now: datetime, silent_s: float) -> None:
    """Remove the rows of workers that were killed long ago."""
    session.execute(delete(Worker).where(Worker.heartbeat_at < now - timedelta(seconds=silent_s)))
