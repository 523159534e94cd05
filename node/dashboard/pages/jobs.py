"""The list of jobs with its filters, and retrying many at once: those ticked, or all failed ones that match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from fastapi.responses import Response
from pydantic import Field

from node.dashboard.i18n import translate as _
from node.dashboard.pages.audit import day
from node.dashboard.patients import may_see_names, shown_patients
from node.dashboard.render import local_path
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.registry import job_actions
from node.registry.queries_jobs import JobFilter, jobs_page, matching_failed, pipelines_of_jobs
from node.registry.states import JobState

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Query(max_length=200)]


def plain(text: str) -> str:
    """What was typed, without the NUL that PostgreSQL refuses."""
    return text.replace("\0", "").strip()


@dataclass(frozen=True)
class Asked:
    """The filters as they were typed."""

    state: Word = ""
    pipeline: Word = ""
    rule: Word = ""
    modality: Word = ""
    source: Word = ""
    text: Word = ""
    since: Word = ""
    until: Word = ""

    def filter(self, with_patients: bool) -> JobFilter:
        return JobFilter(
            state=plain(self.state),
            pipeline=plain(self.pipeline),
            rule=plain(self.rule),
            modality=plain(self.modality).upper(),
            source=plain(self.source),
            text=self.text,
            since=day(self.since),
            until=day(self.until, end=True),
            with_patients=with_patients,
        )


@router.get("/jobs")
def jobs_list(
    request: Request, desk: AtDesk, who: AsViewer, asked: Annotated[Asked, Depends()], cursor: Word = ""
) -> Response:
    names = may_see_names(desk, who)
    with desk.registry.reading() as session:
        found = jobs_page(session, asked.filter(names), cursor)
        values: dict[str, Any] = {
            "page": found.page,
            "too_many": found.too_many,
            "asked": asked,
            "with_patients": names,
            "patients": shown_patients(desk, who, session, {job.study_uid for job in found.page.rows}),
            "pipelines": pipelines_of_jobs(session),
            "states": [state.value for state in JobState],
            "most": job_actions.BULK_MOST,
        }
    return desk.pages.page(request, "jobs.html", values)


@router.post("/jobs/retry")
def retry_many(
    request: Request,
    desk: AtDesk,
    who: AsOperator,
    asked: Annotated[Asked, Depends()],
    job: Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]] | None, Form()] = None,
    everything: Annotated[bool, Form()] = False,
    back: Annotated[str, Form(max_length=2000)] = "/jobs",
) -> Response:
    """Retry the ticked jobs, or with `everything` all failed ones that the filters in the address fit."""
    wanted = asked.filter(may_see_names(desk, who))
    with desk.registry.transaction() as session:
        ids = matching_failed(session, wanted, job_actions.BULK_MOST) if everything else (job or [])
        done = job_actions.retry_all(session, who, ids[: job_actions.BULK_MOST], desk.clock())
    text = _("{count} jobs are queued again.", count=len(done.queued))
    if done.left_out:
        text += " " + _("{count} were left as they are: superseded, or not failed any more.", count=len(done.left_out))
    return desk.pages.done(request, local_path(back, "/jobs"), text, "good" if done.queued else "bad")
