"""One study with its series, jobs and results; the pictures of a job."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import Response

from node.dashboard.i18n import Text
from node.dashboard.patients import shown_patients
from node.dashboard.security.access import AsViewer, AtDesk
from node.registry import queries

router = APIRouter(include_in_schema=False)


@router.get("/studies/{study_uid}")
def study_page(request: Request, desk: AtDesk, who: AsViewer, study_uid: str) -> Response:
    with desk.registry.reading() as session:
        view = queries.study_view(session, study_uid)
        patients = shown_patients(desk, who, session, [study_uid])
    if view is None:
        raise HTTPException(404, Text("This node has no such study."))
    return desk.pages.page(request, "study.html", {"study": view, "patients": patients})


@router.get("/jobs/{job_id}/picture.png")
def picture(desk: AtDesk, who: AsViewer, job_id: int) -> Response:
    with desk.registry.reading() as session:
        key = queries.picture_key(session, job_id)
    if key is None or not desk.storage.exists(key):
        raise HTTPException(404, Text("There is no picture of this job."))
    with desk.storage.local_path(key) as path:
        return Response(path.read_bytes(), media_type="image/png")
