"""What programs read: the node at a glance, one study."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException

from node.dashboard.api.description import PROBLEMS
from node.dashboard.i18n import Text
from node.dashboard.security.access import AsViewer, AtDesk
from node.registry import queries
from node.registry.views import Overview, StudyView

router = APIRouter(prefix="/api/v1", responses=PROBLEMS)


@router.get("/overview", response_model=Overview, tags=["node"], summary="The node at a glance")
def overview(desk: AtDesk, who: AsViewer) -> Any:
    with desk.registry.reading() as session:
        return asdict(queries.overview(session, desk.clock()))


@router.get(
    "/studies/{study_uid}",
    response_model=StudyView,
    tags=["studies"],
    summary="A study with its series, jobs, deliveries and events",
)
def study(desk: AtDesk, who: AsViewer, study_uid: str) -> Any:
    with desk.registry.reading() as session:
        view = queries.study_view(session, study_uid)
    if view is None:
        raise HTTPException(404, Text("This node has no such study."))
    return asdict(view)
