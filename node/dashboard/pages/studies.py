"""Studies and series as they were received, also those that no rule wanted; one study, one series, and "Why not?".

What an operator may do: take a series as complete, have a complete one routed again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import Response

from node.assemble.explain import explain_received
from node.assemble.route_again import RoutedAgain
from node.assemble.rules import load_rules
from node.dashboard import routing
from node.dashboard.i18n import N_, Text
from node.dashboard.i18n import translate as _
from node.dashboard.pages.audit import day
from node.dashboard.pages.job import viewer_link
from node.dashboard.pages.jobs import Word, plain
from node.dashboard.patients import may_see_names, shown_patients
from node.dashboard.render import fragment_of
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.errors import ConfigurationError
from node.registry import job_actions, queries
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

JOBS = (N_("analysed"), N_("not analysed"))


@dataclass(frozen=True)
class AskedStudies:
    """The filters of studies as they were typed; `jobs` is "analysed" or "not analysed"."""

    text: Word = ""
    jobs: Word = ""
    since: Word = ""
    until: Word = ""

    def filter(self, with_patients: bool) -> StudyFilter:
        jobs = self.jobs if self.jobs in (WANTED, UNWANTED) else ""
        return StudyFilter(self.text, jobs, day(self.since), day(self.until, end=True), with_patients)


@dataclass(frozen=True)
class AskedSeries:
    """The filters of series as they were typed; `jobs` is "analysed" or "not analysed"."""

    modality: Word = ""
    source: Word = ""
    state: Word = ""
    jobs: Word = ""
    since: Word = ""
    until: Word = ""

    def filter(self) -> SeriesFilter:
        return SeriesFilter(
            modality=plain(self.modality).upper(),
            source=plain(self.source),
            state=plain(self.state),
            jobs=self.jobs if self.jobs in (WANTED, UNWANTED) else "",
            since=day(self.since),
            until=day(self.until, end=True),
        )


@router.get("/studies")
def studies_list(
    request: Request, desk: AtDesk, who: AsViewer, asked: Annotated[AskedStudies, Depends()], cursor: Word = ""
) -> Response:
    names = may_see_names(desk, who)
    with desk.registry.reading() as session:
        found = find_studies_page(session, asked.filter(names), cursor)
        patients = shown_patients(desk, who, session, {row.study_uid for row in found.page.rows})
    values = {"page": found.page, "too_many": found.too_many, "patients": patients, "with_patients": names}
    return desk.pages.page(request, "studies.html", {**values, **vars(asked), "choices": JOBS})


@router.get("/series")
def series_list(
    request: Request, desk: AtDesk, who: AsViewer, asked: Annotated[AskedSeries, Depends()], cursor: Word = ""
) -> Response:
    with desk.registry.reading() as session:
        found = series_page(session, asked.filter(), cursor)
        patients = shown_patients(desk, who, session, {row.series.study_uid for row in found.rows})
    values = {"page": found, "patients": patients, "choices": JOBS, "states": list(SeriesState)}
    return desk.pages.page(request, "series_list.html", {**values, **vars(asked)})


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
                trace = explain_received(session, desk.storage, load_rules(desk.configuration), series_uid).as_json()
            except ConfigurationError as error:
                problem = str(error)
    values: dict[str, Any] = {
        "view": view,
        "series": view.series,
        "patients": patients,
        "trace": trace,
        "problem": problem,
        "headers": dict(sorted(view.headers.items())),
    }
    return desk.pages.page(request, "series.html", values)


@router.post("/series/{series_uid}/complete")
def complete(request: Request, desk: AtDesk, who: AsOperator, series_uid: str) -> Response:
    with desk.registry.transaction() as session:
        job_actions.complete_series(session, who, series_uid, desk.clock())
    said = _("The series is taken as complete; it is routed within seconds.")
    return desk.pages.done(request, f"/series/{series_uid}", said)


@router.post("/series/{series_uid}/route")
def route(request: Request, desk: AtDesk, who: AsOperator, series_uid: str) -> Response:
    done = routing.route_series_again(desk, who, series_uid)
    asked = any(job.made for job in done.jobs)
    return desk.pages.done(request, f"/series/{series_uid}", _what_came(done), "good" if asked else "bad")


def _what_came(done: RoutedAgain) -> str:
    """A sentence for each job, or one that says why there is none."""
    said = [_("It is read together with series {uid}, by one job.", uid=done.joined_to)] if done.joined_to else []
    for job in done.jobs:
        values = {"rule": job.rule, "id": job.id, "state": _(job.state)}
        if job.made:
            said.append(_("Rule '{rule}' made job {id}: {state}.", **values))
        else:
            said.append(_("Rule '{rule}' has its job {id} already: {state}. Retry it or run it again there.", **values))
    return " ".join(said) or _(
        "No rule fires for it, so no job was made. What the rules say of it, and why, stands below."
    )
