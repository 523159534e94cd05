"""The tumour burden index of the patient of a study, for programs; without names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException

from node.dashboard.api.description import PROBLEMS
from node.dashboard.i18n import Text
from node.dashboard.security.access import AsViewer, AtDesk
from node.dashboard.trends import TrendView, trend_view
from node.registry import trends

router = APIRouter(prefix="/api/v1/trends", responses=PROBLEMS, tags=["studies"])


@router.get(
    "/{study_uid}", response_model=TrendView, summary="The tumour burden index of a study's patient over studies"
)
def trend(desk: AtDesk, who: AsViewer, study_uid: str) -> Any:
    with desk.registry.reading() as session:
        found = trends.trend(session, study_uid)
    if found is None:
        raise HTTPException(404, Text("This node has no such study."))
    return trend_view(found)
