"""One job: its way, its series, why this pipeline, what was measured, its results and deliveries; and the buttons.

Pictures of slices are in `pictures.py`. DICOM files hold the patient's name, so only those may download them who may
see names.
"""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, HTTPException, Path, Request
from fastapi.responses import Response

from node.dashboard.i18n import Text
from node.dashboard.i18n import translate as _
from node.dashboard.pages.job_timeline import timeline, total_s
from node.dashboard.patients import may_see_names, shown_patients
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.registry import job_actions, queries
from node.registry.queries_job import JobDetail, job_detail, result_file
from node.registry.states import JobState

router = APIRouter(prefix="/jobs/{job_id}", include_in_schema=False)

DICOM = "application/dicom"

Number = Annotated[int, Path(ge=1, lt=2**63)]
"""Of a job, result or delivery."""


def viewer_link(template: str, study_uid: str) -> str:
    """The address of a study in the hospital's viewer; "" where none is configured."""
    return template.replace("{study_uid}", quote(study_uid, safe="")) if template else ""


@router.get("")
def job_page(request: Request, desk: AtDesk, who: AsViewer, job_id: Number) -> Response:
    with desk.registry.reading() as session:
        detail = job_detail(session, job_id)
        if detail is None:
            raise HTTPException(404, Text("There is no such job."))
        patients = shown_patients(desk, who, session, [detail.study_uid])
    steps = timeline(detail)
    values: dict[str, Any] = {
        "detail": detail,
        "job": detail.job,
        "patients": patients,
        "names": may_see_names(desk, who),
        "steps": steps,
        "total_s": total_s(steps),
        "segs": [one for one in detail.results if one.kind == "seg" and one.files_deleted_at is None],
        "pictures": [one for one in detail.results if one.kind == "png" and one.files_deleted_at is None],
        "viewer_url": viewer_link(desk.settings.viewer_url, detail.study_uid),
        "may_rerun": may_rerun(detail),
    }
    return desk.pages.page(request, "job.html", values)


def may_rerun(detail: JobDetail) -> bool:
    """Whether the analysis can be asked for once more: its latest revision has ended."""
    return detail.revisions[0][2] not in (JobState.WAITING, JobState.QUEUED, JobState.RUNNING)


@router.get("/picture.png")
def picture(desk: AtDesk, who: AsViewer, job_id: Number) -> Response:
    with desk.registry.reading() as session:
        key = queries.picture_key(session, job_id)
    if key is None or not desk.storage.exists(key):
        raise HTTPException(404, Text("There is no picture of this job."))
    with desk.storage.local_path(key) as path:
        return Response(path.read_bytes(), media_type="image/png")


@router.get("/results/{result_id}")
def download(desk: AtDesk, who: AsViewer, job_id: Number, result_id: Number) -> Response:
    with desk.registry.reading() as session:
        found = result_file(session, job_id, result_id)
    if found is None or not desk.storage.exists(found[1]):
        raise HTTPException(404, Text("There is no such result, or its file was deleted."))
    row, key = found
    if row.kind != "png" and not may_see_names(desk, who):
        raise HTTPException(403, Text("DICOM files hold the patient's name, which your role is not shown."))
    ending, media = ("png", "image/png") if row.kind == "png" else (f"{row.kind}.dcm", DICOM)
    with desk.storage.local_path(key) as path:
        content = path.read_bytes()
    return Response(content, media_type=media, headers=_attachment(f"job-{job_id}-{result_id}.{ending}"))


@router.get("/summary.json")
def summary(desk: AtDesk, who: AsViewer, job_id: Number) -> Response:
    with desk.registry.reading() as session:
        detail = job_detail(session, job_id)
    if detail is None or detail.job.summary is None:
        raise HTTPException(404, Text("This job has no summary."))
    text = json.dumps(detail.job.summary, indent=2, ensure_ascii=False)
    return Response(text, media_type="application/json", headers=_attachment(f"job-{job_id}.summary.json"))


@router.post("/retry")
def retry(request: Request, desk: AtDesk, who: AsOperator, job_id: Number) -> Response:
    with desk.registry.transaction() as session:
        job_actions.retry(session, who, job_id, desk.clock())
    return desk.pages.done(request, f"/jobs/{job_id}", _("Job {id} is queued again.", id=job_id))


@router.post("/cancel")
def cancel(request: Request, desk: AtDesk, who: AsOperator, job_id: Number) -> Response:
    with desk.registry.transaction() as session:
        state = job_actions.cancel(session, who, job_id, desk.clock())
    cancelled = _("Job {id} is cancelled.", id=job_id)
    asked = _("The worker of job {id} was asked to stop.", id=job_id)
    return desk.pages.done(request, f"/jobs/{job_id}", cancelled if state is JobState.CANCELLED else asked)


@router.post("/rerun")
def rerun(request: Request, desk: AtDesk, who: AsOperator, job_id: Number) -> Response:
    with desk.registry.transaction() as session:
        new = job_actions.rerun(session, who, job_id, desk.clock())
    return desk.pages.done(request, f"/jobs/{new}", _("Job {id} is the new revision.", id=new))


@router.post("/priority")
def priority(
    request: Request, desk: AtDesk, who: AsOperator, job_id: Number, priority: Annotated[int, Form(ge=0, le=9)]
) -> Response:
    with desk.registry.transaction() as session:
        job_actions.set_priority(session, who, job_id, priority, desk.clock())
    return desk.pages.done(request, f"/jobs/{job_id}", _("The priority is {priority} now.", priority=priority))


@router.post("/resend")
def resend_all(request: Request, desk: AtDesk, who: AsOperator, job_id: Number) -> Response:
    with desk.registry.transaction() as session:
        count = job_actions.resend_job(session, who, job_id, desk.clock())
    return desk.pages.done(request, f"/jobs/{job_id}", _("{count} results are sent again.", count=count))


@router.post("/deliveries/{delivery_id}/resend")
def resend(request: Request, desk: AtDesk, who: AsOperator, job_id: Number, delivery_id: Number) -> Response:
    with desk.registry.transaction() as session:
        job_id = job_actions.resend(session, who, delivery_id, desk.clock())
    return desk.pages.done(request, f"/jobs/{job_id}", _("The result is sent again."))


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"'}
