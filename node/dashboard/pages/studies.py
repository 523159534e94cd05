"""Studies and series as they were received, also those that no rule wanted; one study, one series, and "Why not?"."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

from node.assemble.explain import explain_received
from node.assemble.rules import load_rules
from node.dashboard.i18n import N_, Text
from node.dashboard.i18n import translate as _
from node.dashboard.pages import job_actions
from node.dashboard.pages.audit import day
from node.dashboard.pages.job import viewer_link
from node.dashboard.patients import may_see_names, shown_patients
from node.dashboard.render import fragment_of
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.errors import ConfigurationError
from node.registry import queries
from node.registry.queries_studies import (
    UNWANTED,
    WANTED,
    SeriesFilter,
    StudyFilter,
    find_studies_page,
    series_page,
    series_view,
)
from node.registry.states import SeriesState

router = APIRouter(include_in_schema=False)

Word = Annotated[str, Query(max_length=200)]

JOBS = (N_("analysed"), N_("not analysed"))
PATIENT_HEADERS = ("PatientName", "PatientID", "PatientBirthDate", "PatientAge", "PatientSex", "AccessionNumber")
"""Attributes of a series that are shown to those only who may see names."""


@router.get("/studies")
def studies_list(
    request: Request,
    desk: AtDesk,
    who: AsViewer,
    text: Word = "",
    jobs: Word = "",
    since: Word = "",
    until: Word = "",
    cursor: Word = "",
) -> Response:
    names = may_see_names(desk, who)
    wanted = StudyFilter(text, jobs if jobs in (WANTED, UNWANTED) else "", day(since), day(until, end=True), names)
    with desk.registry.reading() as session:
        found = find_studies_page(session, wanted, cursor)
        patients = shown_patients(desk, who, session, {row.study_uid for row in found.page.rows})
    values = {"page": found.page, "too_many": found.too_many, "patients": patients, "with_patients": names}
    values |= {"text": text, "jobs": jobs, "since": since, "until": until, "choices": JOBS}
    return desk.pages.page(request, "studies.html", values)


@router.get("/series")
def series_list(
    request: Request,
    desk: AtDesk,
    who: AsViewer,
    modality: Word = "",
    source: Word = "",
    state: Word = "",
    jobs: Word = "",
    since: Word = "",
    until: Word = "",
    cursor: Word = "",
) -> Response:
    asked = SeriesFilter(modality.strip().upper(), source.strip(), state, jobs, day(since), day(until, end=True))
    with desk.registry.reading() as session:
        found = series_page(session, asked, cursor)
        patients = shown_patients(desk, who, session, {row.series.study_uid for row in found.rows})
    values: dict[str, Any] = {"page": found, "patients": patients, "choices": JOBS, "states": list(SeriesState)}
    values |= {"modality": modality, "source": source, "state": state, "jobs": jobs, "since": since, "until": until}
    return desk.pages.page(request, "series_list.html", values)


@router.get("/studies/{study_uid}")
def study_page(request: Request, desk: AtDesk, who: AsViewer, study_uid: str) -> Response:
    with desk.registry.reading() as session:
        view = queries.study_view(session, study_uid)
        patients = shown_patients(desk, who, session, [study_uid])
    if view is None:
        raise HTTPException(404, Text("This node has no such study."))
    values = {"study": view, "patients": patients, "viewer_url": viewer_link(desk.settings.viewer_url, study_uid)}
    return desk.pages.page(request, "study.html", values)


@router.get("/series/{series_uid}")
def one_series(request: Request, desk: AtDesk, who: AsViewer, series_uid: str) -> Response:
    """The series, what was decided when it was routed, and what the rules say of it now."""
    trace, problem = None, None
    with desk.registry.reading() as session:
        view = series_view(session, series_uid)
        if view is None:
            raise HTTPException(404, Text("This node has no such series."))
        patients = shown_patients(desk, who, session, [view.series.study_uid])
        if fragment_of(request) in ("", "why"):
            try:
                trace = explain_received(session, load_rules(desk.configuration), series_uid).as_json()
            except ConfigurationError as error:
                problem = str(error)
    hidden = () if may_see_names(desk, who) else PATIENT_HEADERS
    values: dict[str, Any] = {
        "view": view,
        "series": view.series,
        "patients": patients,
        "trace": trace,
        "problem": problem,
        "headers": {name: value for name, value in sorted(view.headers.items()) if name not in hidden},
        "hidden": hidden,
    }
    return desk.pages.page(request, "series.html", values)


@router.post("/series/{series_uid}/complete")
def complete(request: Request, desk: AtDesk, who: AsOperator, series_uid: str) -> Response:
    with desk.registry.transaction() as session:
        job_actions.complete_series(session, who, series_uid, desk.clock())
    said = _("The series is taken as complete; it is routed within seconds.")
    return desk.pages.done(request, f"/series/{series_uid}", said)
