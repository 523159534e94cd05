"""The tumour burden index of a patient over studies; patients without a name where names are hidden."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

from node.dashboard.i18n import Text
from node.dashboard.patients import may_see_names, shown_patients
from node.dashboard.security.access import AsViewer, AtDesk
from node.dashboard.trends import SMALLEST, positions, trend_view
from node.registry import trends

router = APIRouter(prefix="/trends", include_in_schema=False)


@router.get("")
def trends_page(
    request: Request, desk: AtDesk, who: AsViewer, patient: Annotated[str, Query(max_length=128)] = ""
) -> Response:
    named = may_see_names(desk, who)
    with desk.registry.reading() as session:
        if patient.strip() and named:
            uids = trends.studies_of_patient(session, patient.strip())
            found = [one for uid in uids if (one := trends.trend(session, uid)) is not None and one.measurements]
        else:
            found = trends.recent_patients(session)
        patients = shown_patients(desk, who, session, [one.study_uid for one in found])
    values = {"found": found, "patients": patients, "patient": patient if named else "", "named": named}
    return desk.pages.page(request, "trends.html", values)


@router.get("/{study_uid}")
def trend_page(request: Request, desk: AtDesk, who: AsViewer, study_uid: str) -> Response:
    with desk.registry.reading() as session:
        found = trends.trend(session, study_uid)
        patients = shown_patients(desk, who, session, [study_uid])
    if found is None:
        raise HTTPException(404, Text("This node has no such study."))
    values = {
        "trend": trend_view(found),
        "measurements": found.measurements,
        "positions": positions(found.measurements),
        "patients": patients,
        "smallest": SMALLEST,
    }
    return desk.pages.page(request, "trend.html", values)
