"""Jobs for programs: lists, one job with all around it, and the same actions as on the pages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from node.dashboard.api.description import PROBLEMS
from node.dashboard.desk import Desk
from node.dashboard.i18n import Text
from node.dashboard.pages.jobs import Asked, Word
from node.dashboard.patients import may_see_names
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.registry import job_actions
from node.registry.models import Job
from node.registry.paging import PAGE_ROWS
from node.registry.queries_job import JobDetail, job_detail
from node.registry.queries_jobs import jobs_page
from node.registry.roles import Role
from node.registry.views import JobRow

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, tags=["jobs"])

JobId = Annotated[int, Path(ge=1, lt=2**63)]


class JobList(BaseModel):
    """A page of jobs, newest first; `older` and `newer` go into `cursor`. too_many: `text` fits too many studies."""

    jobs: list[JobRow]
    older: str | None
    newer: str | None
    too_many: bool


class Priority(BaseModel):
    priority: Annotated[int, Field(ge=0, le=9)]


class Retry(BaseModel):
    jobs: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], Field(max_length=job_actions.BULK_MOST)]


class Retried(BaseModel):
    """queued: jobs that are queued again. left_out: superseded, unknown, or not failed."""

    queued: list[int]
    left_out: list[int]


class JobState(BaseModel):
    """A job after an action."""

    id: int
    revision: int
    state: str
    priority: int
    cancel_requested: bool


class Resent(BaseModel):
    deliveries: int


@router.get("/jobs", response_model=JobList, summary="Jobs that match, newest first, a page at a time")
def list_jobs(
    desk: AtDesk,
    who: AsViewer,
    asked: Annotated[Asked, Depends()],
    cursor: Word = "",
    limit: Annotated[int, Query(ge=1, le=500)] = PAGE_ROWS,
) -> Any:
    with desk.registry.reading() as session:
        found = jobs_page(session, asked.filter(may_see_names(desk, who)), cursor, limit)
    page = found.page
    rows = [asdict(row) for row in page.rows]
    return {"jobs": rows, "older": page.older, "newer": page.newer, "too_many": found.too_many}


@router.post("/jobs/retry", response_model=Retried, summary="Queue several failed or cancelled jobs again")
def retry_jobs(desk: AtDesk, who: AsOperator, asked: Retry) -> Any:
    with desk.registry.transaction() as session:
        done = job_actions.retry_all(session, who, asked.jobs, desk.clock())
    return asdict(done)


@router.get(
    "/jobs/{job_id}",
    response_model=JobDetail,
    summary="A job with its series, results, deliveries, revisions, events and log; errors in full for admins only",
)
def one_job(desk: AtDesk, who: AsViewer, job_id: JobId) -> Any:
    with desk.registry.reading() as session:
        detail = job_detail(session, job_id)
    if detail is None:
        raise HTTPException(404, Text("There is no such job."))
    if not who.may(Role.ADMIN):
        detail = replace(detail, error="", traceback="")
    return asdict(detail)


@router.post("/jobs/{job_id}/retry", response_model=JobState, summary="Queue a failed or cancelled job again")
def retry(desk: AtDesk, who: AsOperator, job_id: JobId) -> Any:
    with _acting(desk, job_id) as session:
        job_actions.retry(session, who, job_id, desk.clock())
        return _state(session, job_id)


@router.post("/jobs/{job_id}/cancel", response_model=JobState, summary="Cancel a job, or ask its worker to stop")
def cancel(desk: AtDesk, who: AsOperator, job_id: JobId) -> Any:
    with _acting(desk, job_id) as session:
        job_actions.cancel(session, who, job_id, desk.clock())
        return _state(session, job_id)


@router.post("/jobs/{job_id}/rerun", response_model=JobState, summary="Queue it as a new revision; that is the answer")
def rerun(desk: AtDesk, who: AsOperator, job_id: JobId) -> Any:
    with _acting(desk, job_id) as session:
        return _state(session, job_actions.rerun(session, who, job_id, desk.clock()))


@router.post("/jobs/{job_id}/priority", response_model=JobState, summary="Change how soon an open job runs")
def priority(desk: AtDesk, who: AsOperator, job_id: JobId, wanted: Priority) -> Any:
    with _acting(desk, job_id) as session:
        job_actions.set_priority(session, who, job_id, wanted.priority, desk.clock())
        return _state(session, job_id)


@router.post("/jobs/{job_id}/resend", response_model=Resent, summary="Send all results of a job again")
def resend_job(desk: AtDesk, who: AsOperator, job_id: JobId) -> Any:
    with _acting(desk, job_id) as session:
        return Resent(deliveries=job_actions.resend_job(session, who, job_id, desk.clock()))


@router.post("/deliveries/{delivery_id}/resend", response_model=Resent, summary="Send one result again")
def resend(desk: AtDesk, who: AsOperator, delivery_id: JobId) -> Any:
    with desk.registry.transaction() as session:
        job_actions.resend(session, who, delivery_id, desk.clock())
    return Resent(deliveries=1)


@contextmanager
def _acting(desk: Desk, job_id: int) -> Iterator[Session]:
    """A transaction for an action on a job that is there."""
    with desk.registry.transaction() as session:
        if session.get(Job, job_id) is None:
            raise HTTPException(404, Text("There is no such job."))
        yield session


def _state(session: Session, job_id: int) -> JobState:
    job = session.get_one(Job, job_id, populate_existing=True)
    return JobState.model_validate(job, from_attributes=True)
