"""Lists of jobs by state, pipeline, modality, source, text and time, a page at a time.

The ids of a page come from one index (`ix_jobs_list` and its kin), which holds everything that is filtered by, so
that a filter that fits nothing costs a look through that index and not through the jobs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, defer

from node.registry.models import Job, Study
from node.registry.paging import Page, page
from node.registry.queries import job_rows
from node.registry.queries_overview import distinct_values
from node.registry.queries_search import Found, find_studies
from node.registry.states import JobState
from node.registry.views import JobRow


@dataclass(frozen=True)
class JobFilter:
    """What to show; empty means everything. `with_patients`: the text may be a patient's name or number."""

    state: str = ""
    pipeline: str = ""
    rule: str = ""
    modality: str = ""
    source: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    with_patients: bool = False


@dataclass(frozen=True)
class JobPage:
    """A page of jobs. `too_many`: the text fits more studies than were searched."""

    page: Page[JobRow]
    too_many: bool = False


def jobs_page(session: Session, wanted: JobFilter, cursor: str = "", limit: int = 50) -> JobPage:
    """One page of the jobs that match, newest first."""
    statement, found = _matching(session, wanted)
    ids = page(session, statement, (Job.created_at, Job.id), cursor, limit)
    rows = {row.id: row for row in job_rows(session, jobs_by_id(ids.rows))}
    return JobPage(ids.of(lambda job_id: rows[job_id]), found.more)


def matching_failed(session: Session, wanted: JobFilter, most: int) -> list[int]:
    """Ids of the failed jobs that match, newest first."""
    statement, _found = _matching(session, wanted)
    statement = statement.where(Job.state == JobState.FAILED.value)
    return list(session.scalars(statement.order_by(Job.created_at.desc(), Job.id.desc()).limit(most)))


def jobs_by_id(ids: Collection[int]) -> Select[Job, str]:
    """Jobs without their long texts, and the UIDs of their studies."""
    return (
        select(Job, Study.study_uid)
        .join(Study, Study.id == Job.study_id)
        .where(Job.id.in_(ids))
        .options(defer(Job.trace), defer(Job.summary), defer(Job.error), defer(Job.traceback))
    )


def pipelines_of_jobs(session: Session) -> list[str]:
    """Every pipeline that a job was ever made for."""
    return [str(name) for name in distinct_values(session, Job.pipeline)]


def _matching(session: Session, wanted: JobFilter) -> tuple[Select[int], Found]:
    statement = select(Job.id)
    for column, value in (
        (Job.state, wanted.state),
        (Job.pipeline, wanted.pipeline),
        (Job.rule, wanted.rule),
        (Job.modality, wanted.modality),
        (Job.source_aet, wanted.source),
    ):
        if value:
            statement = statement.where(column == value)
    if wanted.since:
        statement = statement.where(Job.created_at >= wanted.since)
    if wanted.until:
        statement = statement.where(Job.created_at < wanted.until)
    found = Found(())
    if wanted.text.strip():
        found = find_studies(session, wanted.text, wanted.with_patients)
        statement = statement.where(Job.study_id.in_(found.study_ids))
    return statement, found
