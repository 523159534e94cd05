"""What is known of studies, series, jobs, deliveries, workers and events, as plain values for pages and JSON.

Made by `node.registry.queries`. Nothing here names a patient.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class JobRow:
    """A job in a list. deliveries: state -> count over its results and destinations."""

    id: int
    revision: int
    study_uid: str
    pipeline: str
    rule: str
    modality: str
    source_aet: str
    state: str
    reason: str
    priority: int
    progress: float
    progress_text: str
    attempts: int
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deliveries: dict[str, int]


@dataclass(frozen=True)
class SeriesRow:
    """A series in a list."""

    study_uid: str
    series_uid: str
    modality: str
    description: str
    source_aet: str
    state: str
    instance_count: int
    byte_count: int
    content_revision: int
    completed_by: str
    first_received_at: datetime
    last_received_at: datetime
    completed_at: datetime | None
    files_deleted_at: datetime | None


@dataclass(frozen=True)
class WorkerRow:
    """A worker as it last said of itself."""

    name: str
    kind: str
    host: str
    pid: int
    device: str
    started_at: datetime
    heartbeat_at: datetime
    rss_bytes: int
    job_id: int | None


@dataclass(frozen=True)
class EventRow:
    """Something that happened."""

    at: datetime
    kind: str
    level: str
    message: str
    job_id: int | None
    data: dict[str, Any] | None


@dataclass(frozen=True)
class Overview:
    """The node at a glance.

    series, jobs, deliveries: state -> count, states without any left out. instances: the highest number given to an
    instance, which is their count as none is ever deleted (PostgreSQL leaves gaps where a batch was rolled back).
    oldest_queued_s: how long the job that waits longest for a worker has been waiting, in seconds.
    """

    series: dict[str, int]
    jobs: dict[str, int]
    deliveries: dict[str, int]
    instances: int
    queue_depth: int
    oldest_queued_s: float
    recent_jobs: tuple[JobRow, ...]
    recent_series: tuple[SeriesRow, ...]
    workers: tuple[WorkerRow, ...]
    recent_events: tuple[EventRow, ...]


@dataclass(frozen=True)
class DeliveryRow:
    """One result on its way to one destination; next_attempt_at is None where nothing more is due."""

    id: int
    kind: str
    sop_uid: str
    destination: str
    state: str
    attempts: int
    next_attempt_at: datetime | None
    sent_at: datetime | None
    verified_at: datetime | None
    last_error: str


@dataclass(frozen=True)
class JobView:
    """A job with all that is known of it. series: role -> series UIDs."""

    id: int
    key: str
    revision: int
    supersedes_id: int | None
    pipeline: str
    rule: str
    state: str
    reason: str
    priority: int
    progress: float
    progress_text: str
    attempts: int
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    wait_until: datetime | None
    series: dict[str, list[str]]
    trace: dict[str, Any]
    summary: dict[str, Any] | None
    deliveries: tuple[DeliveryRow, ...]


@dataclass(frozen=True)
class StudyView:
    """A study with its series, their routing (series UID -> trace), jobs (newest first) and events (oldest first)."""

    study_uid: str
    created_at: datetime
    series: tuple[SeriesRow, ...]
    routing: dict[str, dict[str, Any] | None]
    jobs: tuple[JobView, ...]
    events: tuple[EventRow, ...]


@dataclass(frozen=True)
class StudyRow:
    """A study in a list; `id` and `created_at` of the last row ask for the next page."""

    id: int
    study_uid: str
    created_at: datetime
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int
    jobs: dict[str, int]
