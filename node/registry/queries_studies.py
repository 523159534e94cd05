"""Lists of studies and of series as they were received, wanted by a rule or not, and one series with its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session, defer

from node.registry.models import Event, Job, JobInput, Series, Study
from node.registry.paging import Page, page
from node.registry.queries import event_rows, job_rows, study_rows, view_of
from node.registry.queries_jobs import jobs_by_id
from node.registry.queries_search import find_studies
from node.registry.views import EventRow, JobRow, SeriesRow, StudyRow

WANTED, UNWANTED = "analysed", "not analysed"
MOST_EVENTS = 200


@dataclass(frozen=True)
class StudyFilter:
    """What to show; empty means everything. `jobs`: WANTED for studies with jobs, UNWANTED for those without."""

    text: str = ""
    jobs: str = ""
    since: datetime | None = None
    until: datetime | None = None
    with_patients: bool = False


@dataclass(frozen=True)
class SeriesFilter:
    """What to show; empty means everything. `jobs`: WANTED for series that a job read, UNWANTED for the others."""

    modality: str = ""
    source: str = ""
    state: str = ""
    jobs: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True)
class StudiesPage:
    """A page of studies. `too_many`: the text fits more studies than were searched."""

    page: Page[StudyRow]
    too_many: bool = False


@dataclass(frozen=True)
class ListedSeries:
    """A series in a list, and what its routing came to."""

    series: SeriesRow
    summary: str
    fired: tuple[str, ...]


@dataclass(frozen=True)
class SeriesView:
    """One series. routing: the trace kept when it was routed; headers: what rules may ask for."""

    series: SeriesRow
    routing: dict[str, Any] | None
    headers: dict[str, Any]
    jobs: tuple[JobRow, ...]
    events: tuple[EventRow, ...]


def find_studies_page(session: Session, wanted: StudyFilter, cursor: str = "", limit: int = 50) -> StudiesPage:
    """One page of the studies that match, newest first."""
    statement, too_many = select(Study.id), False
    if wanted.text.strip():
        found = find_studies(session, wanted.text, wanted.with_patients)
        statement, too_many = statement.where(Study.id.in_(found.study_ids)), found.more
    if wanted.since:
        statement = statement.where(Study.created_at >= wanted.since)
    if wanted.until:
        statement = statement.where(Study.created_at < wanted.until)
    if wanted.jobs:
        has_job = exists().where(Job.study_id == Study.id)
        statement = statement.where(has_job if wanted.jobs == WANTED else ~has_job)
    ids = page(session, statement, (Study.created_at, Study.id), cursor, limit)
    rows = study_rows(session, select(Study.id, Study.study_uid, Study.created_at).where(Study.id.in_(ids.rows)))
    by_id = {row.id: row for row in rows}
    return StudiesPage(ids.of(lambda study_id: by_id[study_id]), too_many)


def series_page(session: Session, wanted: SeriesFilter, cursor: str = "", limit: int = 50) -> Page[ListedSeries]:
    """One page of the series that match, newest first."""
    statement = select(Series.id)
    for column, value in (
        (Series.modality, wanted.modality),
        (Series.source_aet, wanted.source),
        (Series.state, wanted.state),
    ):
        if value:
            # "+ ''" keeps the database from leaving the index that holds the order and all that is filtered by.
            statement = statement.where(column + "" == value)
    if wanted.since:
        statement = statement.where(Series.first_received_at >= wanted.since)
    if wanted.until:
        statement = statement.where(Series.first_received_at < wanted.until)
    if wanted.jobs:
        read = exists().where(JobInput.series_id == Series.id)
        statement = statement.where(read if wanted.jobs == WANTED else ~read)
    ids = page(session, statement, (Series.first_received_at, Series.id), cursor, limit)
    rows = session.execute(
        select(Series, Study.study_uid)
        .join(Study, Study.id == Series.study_id)
        .where(Series.id.in_(ids.rows))
        .options(defer(Series.headers))
    )
    by_id = {row.id: listed(row, study_uid) for row, study_uid in rows}
    return ids.of(lambda series_id: by_id[series_id])


def listed(row: Series, study_uid: str) -> ListedSeries:
    """A series for a list."""
    routing = row.routing or {}
    return ListedSeries(
        view_of(SeriesRow, row, study_uid=study_uid), routing.get("summary", ""), tuple(routing.get("fired", ()))
    )


def series_view(session: Session, series_uid: str) -> SeriesView | None:
    """Everything about one series; None if there is none of that UID."""
    found = session.execute(
        select(Series, Study.study_uid).join(Study, Study.id == Series.study_id).where(Series.series_uid == series_uid)
    ).one_or_none()
    if found is None:
        return None
    row, study_uid = found
    ids = session.scalars(select(JobInput.job_id).where(JobInput.series_id == row.id).order_by(JobInput.job_id.desc()))
    events = select(Event).where(Event.series_id == row.id).order_by(Event.id.desc()).limit(MOST_EVENTS)
    return SeriesView(
        series=view_of(SeriesRow, row, study_uid=study_uid),
        routing=row.routing,
        headers=row.headers,
        jobs=job_rows(session, jobs_by_id(list(ids.all())).order_by(Job.id.desc())),
        events=tuple(reversed(event_rows(session, events))),
    )
