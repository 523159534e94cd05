"""The first page: is it healthy, and what runs."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from node.dashboard.health import examine
from node.dashboard.patients import shown_patients
from node.dashboard.security.access import AsViewer, AtDesk
from node.registry import queries

router = APIRouter(include_in_schema=False)


@router.get("/")
def overview_page(request: Request, desk: AtDesk, who: AsViewer) -> Response:
    now = desk.clock()
    with desk.registry.reading() as session:
        overview = queries.overview(session, now)
        uids = {job.study_uid for job in overview.recent_jobs} | {one.study_uid for one in overview.recent_series}
        patients = shown_patients(desk, who, session, uids)
    health = examine(desk.configuration, desk.registry, desk.storage, now)
    return desk.pages.page(request, "overview.html", {"overview": overview, "health": health, "patients": patients})
