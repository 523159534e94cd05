"""Studies and series for programs: lists, one study, one series and why it was routed so; a series completed
or routed again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query
from pydantic import BaseModel

from node.assemble.explain import explain_received
from node.assemble.route_again import AskedJob
from node.assemble.rules import load_rules
from node.dashboard import routing
from node.dashboard.api.description import PROBLEMS
from node.dashboard.i18n import Text
from node.dashboard.pages.jobs import Word
from node.dashboard.pages.studies import AskedSeries, AskedStudies
from node.dashboard.patients import may_see_names
from node.dashboard.security.access import AsOperator, AsViewer, AtDesk
from node.registry import job_actions, queries
from node.registry.paging import PAGE_ROWS
from node.registry.queries_studies import ListedSeries, find_studies_page, series_page, series_view
from node.registry.views import StudyRow, StudyView

router = APIRouter(prefix="/api/v1", responses=PROBLEMS, tags=["studies"])

Limit = Annotated[int, Query(ge=1, le=500)]


class StudyList(BaseModel):
    """A page of studies, newest first; `older` and `newer` go into `cursor`."""

    studies: list[StudyRow]
    older: str | None
    newer: str | None
    too_many: bool


class SeriesList(BaseModel):
    """A page of series, newest first; `older` and `newer` go into `cursor`."""

    series: list[ListedSeries]
    older: str | None
    newer: str | None


class Completed(BaseModel):
    """The series is taken as complete at the next step of upkeep."""

    series_uid: str


class Rerouted(BaseModel):
    """A series that was routed again: what the rules say of it, and the job of each that fires.

    joined_to: the series that it is read together with, by that one's job; "" for most.
    """

    series_uid: str
    summary: str
    jobs: list[AskedJob]
    joined_to: str


@router.get("/studies", response_model=StudyList, summary="Studies that match, newest first, a page at a time")
def list_studies(
    desk: AtDesk, who: AsViewer, asked: Annotated[AskedStudies, Depends()], cursor: Word = "", limit: Limit = PAGE_ROWS
) -> Any:
    with desk.registry.reading() as session:
        found = find_studies_page(session, asked.filter(may_see_names(desk, who)), cursor, limit)
    page = found.page
    rows = [asdict(row) for row in page.rows]
    return {"studies": rows, "older": page.older, "newer": page.newer, "too_many": found.too_many}


@router.get(
    "/studies/{study_uid}",
    response_model=StudyView,
    summary="A study with its series, jobs, deliveries and events",
)
def study(desk: AtDesk, who: AsViewer, study_uid: str) -> Any:
    with desk.registry.reading() as session:
        view = queries.study_view(session, study_uid)
    if view is None:
        raise HTTPException(404, Text("This node has no such study."))
    return asdict(view)


@router.get("/series", response_model=SeriesList, summary="Series that match, also those that no rule wanted")
def list_series(
    desk: AtDesk, who: AsViewer, asked: Annotated[AskedSeries, Depends()], cursor: Word = "", limit: Limit = PAGE_ROWS
) -> Any:
    with desk.registry.reading() as session:
        page = series_page(session, asked.filter(), cursor, limit)
    return {"series": [asdict(row) for row in page.rows], "older": page.older, "newer": page.newer}


@router.get("/series/{series_uid}", summary="A series with its jobs, and what the rules say of it now (`explained`)")
def one_series(desk: AtDesk, who: AsViewer, series_uid: str) -> dict[str, Any]:
    """`explained` is what `osteon route explain --json` prints for one series."""
    with desk.registry.reading() as session:
        view = series_view(session, series_uid)
        if view is None:
            raise HTTPException(404, Text("This node has no such series."))
        explained = explain_received(session, desk.storage, load_rules(desk.configuration), series_uid).as_json()
    return {**asdict(view), "explained": explained}


@router.post("/series/{series_uid}/complete", response_model=Completed, summary="Take a series as complete")
def complete(desk: AtDesk, who: AsOperator, series_uid: str) -> Any:
    with desk.registry.transaction() as session:
        job_actions.complete_series(session, who, series_uid, desk.clock())
    return Completed(series_uid=series_uid)


@router.post("/series/{series_uid}/route", response_model=Rerouted, summary="Route a complete series again")
def route(desk: AtDesk, who: AsOperator, series_uid: str) -> Any:
    """The rules as they are now are asked once more; an analysis of the same input is not made twice."""
    return asdict(routing.route_series_again(desk, who, series_uid))
